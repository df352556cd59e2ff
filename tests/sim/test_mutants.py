"""Prove the checker: deliberate bugs, patched in from outside, are each caught within 200 seeds.

A mutant that survives would mean that the worlds are too mild or the judge is blind. Each mutant names the kinds of
violation that may give it away, so that it is not caught by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from p2pchat.core import dialling
from p2pchat.core.effects import Effect, Transmit
from p2pchat.core.inputs import DialError, Now
from p2pchat.core.ledger import Ledger, Release
from p2pchat.core.letters import Letters
from p2pchat.core.node import Node
from p2pchat.core.ops import ApplyIncoming, MarkTransmitted, Op
from p2pchat.core.outbox import Line
from p2pchat.core.peers import Peer
from p2pchat.core.session import Session
from p2pchat.core.sync import Inbox
from p2pchat.model import DeviceId, MessageId, Reason
from p2pchat.sim.profiles import HOT, IMPATIENT, Profile
from p2pchat.sim.run import run_seed
from p2pchat.store import memory_apply
from p2pchat.store.memory_apply import MemoryTransaction
from p2pchat.wire import Ack, Event, encode

MOST_SEEDS = 200
Patch = Callable[[pytest.MonkeyPatch], None]

FORGETFUL = replace(
    HOT,
    name="forgetful",
    traffic=replace(HOT.traffic, add_every_s=0.0),
    crash_every_s=6.0,
    mdns=False,
)
"""Nothing but what is remembered leads from one device to the other again."""


@dataclass(frozen=True)
class Mutant:
    """One deliberate bug and what must give it away."""

    patch: Patch
    caught_by: frozenset[str]
    profile: Profile = HOT
    nodes: int = 2


def acknowledge_before_commit(patch: pytest.MonkeyPatch) -> None:
    take_one = Inbox._take_one

    def mutant(self: Inbox, peer: Peer, session: Session, event: Event, now: Now) -> None:
        take_one(self, peer, session, event, now)
        self._context.ledger.emit(Transmit(session.link, encode(Ack((event.id,)))))

    patch.setattr(Inbox, "_take_one", mutant)


def barrier_per_call(patch: pytest.MonkeyPatch) -> None:
    promise = Ledger.promise

    def mutant(self: Ledger, effect: Effect, now: Now, then: Release | None = None) -> None:
        if self._ops_are_durable:
            promise(self, effect, now, then)
        else:
            self._release(effect, now, then)

    patch.setattr(Ledger, "promise", mutant)


def settle_by_number(patch: pytest.MonkeyPatch) -> None:
    acked = Line.acked

    def mutant(self: Line, message_ids: list[MessageId], now: Now) -> tuple[list[MessageId], list[int | None]]:
        numbers = [item.seq for item in self.items() if item.message_id in message_ids]
        upto = max(numbers, default=0)
        wanted = [item.message_id for item in self.items() if item.seq <= upto]
        return acked(self, [*wanted, *message_ids], now)

    patch.setattr(Line, "acked", mutant)


def forget_the_dedupe(patch: pytest.MonkeyPatch) -> None:
    apply_incoming = MemoryTransaction.apply_incoming

    def mutant(self: MemoryTransaction, op: ApplyIncoming) -> None:
        self.tables.ids.pop((op.message_id, op.peer), None)
        apply_incoming(self, op)

    patch.setitem(memory_apply._HANDLERS, ApplyIncoming, mutant)


def lose_the_rearm(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Node, now: Now) -> list[Effect]:
        return self._finish(now)

    patch.setattr(Node, "start", mutant)


def charge_the_absent(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(dialling.ANSWERED, DialError.NO_ANSWER, Reason.CONNECTION_REFUSED)


def requeue_in_reverse(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Line) -> None:
        self.touch()
        for item in list(self.flying.values()):
            self.waiting[item.message_id] = item
            self.waiting.move_to_end(item.message_id, last=False)
        self.flying.clear()
        self._flying_bytes = 0

    patch.setattr(Line, "requeue", mutant)


def ask_about_no_fate(patch: pytest.MonkeyPatch) -> None:
    def mutant(self: Letters, peer: DeviceId) -> list[MessageId]:
        return []

    patch.setattr(Letters, "to_ask", mutant)


def forget_the_write_ahead(patch: pytest.MonkeyPatch) -> None:
    persist = Ledger.persist

    def mutant(self: Ledger, *ops: Op) -> None:
        persist(self, *(op for op in ops if not isinstance(op, MarkTransmitted)))

    patch.setattr(Ledger, "persist", mutant)


MUTANTS = {
    "acknowledge before commit": Mutant(acknowledge_before_commit, frozenset({"false tick"})),
    "barrier per call": Mutant(
        barrier_per_call, frozenset({"told before it was true", "cancelled, then arrived", "cancelled and there"})
    ),
    "settle by number": Mutant(settle_by_number, frozenset({"false tick"}), IMPATIENT),
    "forget the dedupe": Mutant(forget_the_dedupe, frozenset({"applied twice"})),
    "lose the re-arm": Mutant(lose_the_rearm, frozenset({"stuck"}), FORGETFUL),
    "charge the absent": Mutant(charge_the_absent, frozenset({"absent was charged"})),
    "requeue in reverse": Mutant(requeue_in_reverse, frozenset({"order"})),
    "ask about no fate": Mutant(ask_about_no_fate, frozenset({"did not drain"})),
    "forget the write-ahead": Mutant(
        forget_the_write_ahead, frozenset({"cancelled and there", "cancelled, then arrived", "letter says no"}), nodes=3
    ),
}


def _first_catch(mutant: Mutant) -> tuple[int, frozenset[str]]:
    for seed in range(MOST_SEEDS):
        violations = run_seed(seed, mutant.profile, mutant.nodes, 60.0).violations
        if violations:
            return seed, frozenset(violation.kind for violation in violations)
    return MOST_SEEDS, frozenset()


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught_within_200_seeds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutant.patch(monkeypatch)
    seed, kinds = _first_catch(mutant)
    assert seed < MOST_SEEDS, f"{name!r} survived {MOST_SEEDS} seeds"
    assert kinds & mutant.caught_by, f"{name!r} was caught at seed {seed}, but as {sorted(kinds)}"


def test_worlds_of_the_mutants_are_clean_without_them() -> None:
    for profile in (HOT, FORGETFUL, IMPATIENT):
        for seed in range(15):
            report = run_seed(seed, profile, 2, 60.0)
            assert report.ok, f"{profile.name} seed {seed}: {report.violations[:2]}"
