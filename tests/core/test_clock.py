"""The hybrid clock and the place of a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pchat.core.clock import MAX_AHEAD_MS, HybridClock, at_ms, place

NOON = 1_700_000_000_000
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("hlc", "seen", "previous", "expected"),
    [
        (at_ms(NOON), None, None, at_ms(NOON)),
        (at_ms(NOON - 7 * HOUR), None, None, at_ms(NOON - 7 * HOUR)),
        (at_ms(NOON + HOUR), None, None, at_ms(NOON + MAX_AHEAD_MS)),
        (at_ms(NOON - HOUR), at_ms(NOON), None, at_ms(NOON) + 1),
        (at_ms(NOON - HOUR), None, at_ms(NOON), at_ms(NOON) + 1),
        (at_ms(NOON - HOUR), at_ms(NOON), at_ms(NOON + 1), at_ms(NOON + 1) + 1),
        (at_ms(NOON + 5), at_ms(NOON), at_ms(NOON + 1), at_ms(NOON + 5)),
        (at_ms(NOON + HOUR), at_ms(NOON + 2 * HOUR), None, at_ms(NOON + 2 * HOUR) + 1),
    ],
    ids=["as said", "late", "at most five minutes ahead", "after what it saw", "after its previous", "after both",
         "clock is later than both", "after what it saw although that is far ahead"],
)  # fmt: skip
def test_place_follows_the_rules_of_order(hlc: int, seen: int | None, previous: int | None, expected: int) -> None:
    assert place(hlc, NOON, seen, previous) == expected


@pytest.mark.parametrize(
    ("next_place", "expected"), [(at_ms(NOON) + 9, at_ms(NOON)), (at_ms(NOON) - 9, at_ms(NOON) - 10)]
)
def test_place_of_what_fills_a_hole_is_before_its_authors_next(next_place: int, expected: int) -> None:
    assert place(at_ms(NOON), NOON, None, None, next_place) == expected


places = st.integers(0, 2**62)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**45), st.none() | places, st.none() | places)
def test_place_is_after_what_came_before_and_not_far_ahead(
    hlc: int, received_ms: int, seen: int | None, previous: int | None
) -> None:
    found = place(hlc, received_ms, seen, previous)
    floors = [value for value in (seen, previous) if value is not None]
    assert all(found > value for value in floors)
    assert found <= max(at_ms(received_ms + MAX_AHEAD_MS), *[value + 1 for value in floors], 0)


def test_clock_never_stands_still_nor_goes_back() -> None:
    clock = HybridClock()
    first = clock.tick(NOON)
    assert first == at_ms(NOON)
    assert clock.tick(NOON) == first + 1
    assert clock.tick(NOON - HOUR) == first + 2
    assert clock.tick(NOON + 1) == at_ms(NOON + 1)


def test_clock_goes_on_from_what_is_stored() -> None:
    assert HybridClock(at_ms(NOON)).tick(NOON - HOUR) == at_ms(NOON) + 1


def test_clock_is_ahead_of_what_it_merged_but_of_no_more_than_five_minutes() -> None:
    clock = HybridClock()
    clock.merge(at_ms(NOON + 1000), NOON)
    assert clock.tick(NOON) == at_ms(NOON + 1000) + 1
    clock.merge(at_ms(NOON + HOUR), NOON)
    assert clock.tick(NOON) == at_ms(NOON + MAX_AHEAD_MS) + 1
    clock.merge(0, NOON)
    assert clock.tick(NOON) == at_ms(NOON + MAX_AHEAD_MS) + 2
