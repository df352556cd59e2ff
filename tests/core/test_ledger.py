"""The commit barrier: nothing that was promised leaves before the commit that makes it true."""

from __future__ import annotations

from p2pchat.core.effects import CloseLink, Effect, Persist
from p2pchat.core.inputs import Now
from p2pchat.core.ledger import Ledger
from p2pchat.core.ops import AppliedKnown, Op, Outcome, QueryApplied, ResetAttempts
from p2pchat.model import DeviceId, LinkId, MessageId

NOW = Now(1.0, 1000)
FOUND = AppliedKnown((), ())
QUERY = QueryApplied(DeviceId("p"), ())


def op(number: int) -> Op:
    return ResetAttempts(MessageId(bytes([number]) * 16))


def effect(number: int) -> Effect:
    return CloseLink(LinkId(number), "")


def test_ledger_numbers_persists_from_one_and_puts_them_first() -> None:
    ledger = Ledger()
    ledger.emit(effect(1))
    ledger.persist(op(1))
    ledger.persist(op(2))
    assert ledger.drain() == [Persist(1, (op(1), op(2))), effect(1)]
    ledger.persist(op(3))
    assert ledger.drain() == [Persist(2, (op(3),))]
    assert ledger.drain() == []


def test_promise_leaves_at_once_when_nothing_is_uncommitted() -> None:
    ledger = Ledger()
    ledger.promise(effect(1), NOW)
    assert ledger.drain() == [effect(1)]


def test_promise_waits_for_the_operations_of_its_own_step() -> None:
    ledger = Ledger()
    ledger.persist(op(1))
    ledger.promise(effect(1), NOW)
    assert ledger.drain() == [Persist(1, (op(1),))]
    ledger.committed(1, (), NOW)
    assert ledger.drain() == [effect(1)]


def test_promise_waits_for_an_operation_of_an_earlier_step() -> None:
    """The barrier is per node: a promise that stores nothing itself waits behind what is uncommitted."""
    ledger = Ledger()
    ledger.persist(op(1))
    ledger.drain()
    ledger.promise(effect(1), NOW)
    ledger.emit(effect(2))
    assert ledger.drain() == [effect(2)]
    ledger.committed(1, (), NOW)
    assert ledger.drain() == [effect(1)]


def test_promises_leave_in_the_order_in_which_they_were_made() -> None:
    ledger = Ledger()
    for number in (1, 2, 3):
        ledger.persist(op(number))
        ledger.promise(effect(number), NOW)
        ledger.drain()
    ledger.committed(2, (), NOW)
    assert ledger.drain() == [effect(1), effect(2)]
    ledger.committed(3, (), NOW)
    assert ledger.drain() == [effect(3)]


def test_lazy_operations_hold_nobody_up() -> None:
    ledger = Ledger()
    ledger.note(op(1))
    ledger.promise(effect(1), NOW)
    assert ledger.drain() == [Persist(1, (op(1),), lazy=True), effect(1)]


def test_lazy_operation_becomes_durable_in_a_step_that_stores_for_somebody() -> None:
    ledger = Ledger()
    ledger.note(op(1))
    ledger.persist(op(2))
    assert ledger.drain() == [Persist(1, (op(1), op(2)))]


def test_promise_needs_the_last_durable_commit_not_the_lazy_one_after_it() -> None:
    ledger = Ledger()
    ledger.persist(op(1))
    ledger.drain()
    ledger.note(op(2))
    ledger.drain()
    ledger.promise(effect(1), NOW)
    assert ledger.drain() == []
    ledger.committed(1, (), NOW)
    assert ledger.drain() == [effect(1)]


def test_lazy_operations_are_dropped_while_the_disk_refuses_writes() -> None:
    ledger = Ledger()
    ledger.frozen = True
    ledger.note(op(1))
    assert ledger.drain() == []
    ledger.frozen = False
    ledger.note(op(2))
    assert ledger.drain() == [Persist(1, (op(2),), lazy=True)]


def test_asked_operations_continue_with_their_outcomes_in_order() -> None:
    ledger = Ledger()
    seen: list[tuple[str, Outcome, Now]] = []
    ledger.ask(QUERY, lambda outcome, now: seen.append(("first", outcome, now)))
    ledger.ask(QUERY, lambda outcome, now: seen.append(("second", outcome, now)))
    assert ledger.drain() == [Persist(1, (QUERY, QUERY))]
    later = Now(2.0, 2000)
    other = AppliedKnown((MessageId(b"x" * 16),), ())
    ledger.committed(1, (FOUND, other), later)
    assert seen == [("first", FOUND, later), ("second", other, later)]


def test_continuation_runs_after_what_was_promised_before_it() -> None:
    ledger = Ledger()
    ledger.ask(QUERY, lambda outcome, now: ledger.promise(effect(2), now))
    ledger.promise(effect(1), NOW)
    ledger.drain()
    ledger.committed(1, (FOUND,), NOW)
    assert ledger.drain() == [effect(1), effect(2)]


def test_promise_of_a_continuation_waits_for_what_was_stored_meanwhile() -> None:
    ledger = Ledger()
    ledger.ask(QUERY, lambda outcome, now: ledger.promise(effect(1), now))
    ledger.drain()
    ledger.persist(op(2))
    ledger.drain()
    ledger.committed(1, (FOUND,), NOW)
    assert ledger.drain() == []
    ledger.committed(2, (), NOW)
    assert ledger.drain() == [effect(1)]


def test_then_runs_at_the_moment_of_release() -> None:
    ledger = Ledger()
    moments: list[Now] = []
    ledger.promise(effect(1), NOW, moments.append)
    assert moments == [NOW]
    ledger.persist(op(1))
    ledger.promise(effect(2), NOW, moments.append)
    ledger.drain()
    assert moments == [NOW]
    later = Now(5.0, 5000)
    ledger.committed(1, (), later)
    assert moments == [NOW, later]


def test_commit_that_was_told_already_changes_nothing() -> None:
    ledger = Ledger()
    ledger.persist(op(1))
    ledger.drain()
    ledger.persist(op(2))
    ledger.promise(effect(2), NOW)
    ledger.drain()
    ledger.committed(1, (), NOW)
    ledger.committed(1, (), NOW)
    assert ledger.drain() == []
