"""Many deadlines behind one timer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2pchat.core.timers import Timers

A, B = ("ack", "a"), ("ack", "b")


def test_timers_have_no_deadline_when_empty() -> None:
    timers = Timers()
    assert timers.next_s() is None
    assert timers.due(1e9) == []


def test_timers_fire_once_each_earliest_first() -> None:
    timers = Timers()
    timers.set(B, 2.0)
    timers.set(A, 1.0)
    assert timers.next_s() == 1.0
    assert timers.due(0.9) == []
    assert timers.due(2.0) == [A, B]
    assert timers.due(99.0) == []
    assert timers.next_s() is None


def test_timer_fires_at_the_later_time_when_moved_later() -> None:
    timers = Timers()
    timers.set(A, 1.0)
    timers.set(A, 5.0)
    assert timers.due(4.9) == []
    assert timers.next_s() == 5.0
    assert timers.due(5.0) == [A]


def test_timer_fires_at_the_earlier_time_when_moved_earlier() -> None:
    timers = Timers()
    timers.set(A, 5.0)
    timers.set(A, 1.0)
    assert timers.next_s() == 1.0
    assert timers.due(1.0) == [A]
    assert timers.due(5.0) == []


def test_timer_keeps_the_earlier_deadline_when_hastened() -> None:
    timers = Timers()
    timers.hasten(A, 3.0)
    timers.hasten(A, 5.0)
    assert timers.due(3.0) == [A]
    timers.hasten(A, 5.0)
    timers.hasten(A, 4.0)
    assert timers.due(4.0) == [A]


def test_timer_does_not_fire_when_cancelled() -> None:
    timers = Timers()
    timers.set(A, 1.0)
    timers.set(B, 2.0)
    assert timers.armed(A)
    timers.cancel(A)
    timers.cancel(A)
    assert not timers.armed(A)
    assert timers.next_s() == 2.0
    assert timers.due(3.0) == [B]


def test_timer_is_skipped_when_it_was_cancelled_and_its_time_comes() -> None:
    timers = Timers()
    timers.set(A, 1.0)
    timers.cancel(A)
    assert timers.due(2.0) == []


def test_timer_fires_again_when_set_again_after_a_cancel() -> None:
    timers = Timers()
    timers.set(A, 1.0)
    timers.cancel(A)
    timers.set(A, 4.0)
    assert timers.due(3.0) == []
    assert timers.due(4.0) == [A]


actions = st.lists(
    st.tuples(
        st.sampled_from(["set", "hasten", "cancel", "due"]),
        st.sampled_from([A, B, ("x", 1)]),
        st.floats(0, 100, allow_nan=False),
    ),
    max_size=60,
)


@given(actions)
def test_timers_agree_with_a_plain_table(steps: list[tuple[str, tuple[str, str | int], float]]) -> None:
    timers = Timers()
    table: dict[tuple[str, str | int], float] = {}
    for action, key, at_s in steps:
        if action == "set":
            timers.set(key, at_s)
            table[key] = at_s
        elif action == "hasten":
            timers.hasten(key, at_s)
            table[key] = min(at_s, table.get(key, at_s))
        elif action == "cancel":
            timers.cancel(key)
            table.pop(key, None)
        else:
            due = timers.due(at_s)
            assert set(due) == {key for key, wanted in table.items() if wanted <= at_s}
            assert len(due) == len(set(due))
            for one in due:
                del table[one]
        assert timers.armed(key) == (key in table)
        next_s = timers.next_s()
        if table:
            assert next_s is not None
            assert next_s <= min(table.values())
        else:
            assert next_s is None
