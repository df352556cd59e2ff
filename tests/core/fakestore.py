"""A store in a few dictionaries: every operation of ``core/ops.py``, without the notices.

Each condition is written as the operation's docstring states it, so that the core's tests need no database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from p2pchat.core import ops, records
from p2pchat.model import DeviceId, Direction, MessageId, PeerHasIt, State, Trust

WAITING = (State.PENDING, State.SENT)
SENT_ON = (State.PENDING, State.SENT, State.DELIVERED, State.READ)


@dataclass
class Stored:
    """One message; ``ticks`` are the states that it was ever told to have."""

    record: records.WaitingRecord
    direction: Direction
    letter: records.LetterRecord | None = None
    untold: bool = False

    def __post_init__(self) -> None:
        self.ticks = [self.record.state]

    @property
    def state(self) -> State:
        return self.record.state

    def become(self, state: State, **changes: Any) -> None:
        self.record = replace(self.record, state=state, **changes)
        self.ticks.append(state)


class FakeStore:
    def __init__(self) -> None:
        self.peers: dict[DeviceId, records.PeerRecord] = {}
        self.counters: dict[DeviceId, records.PeerRecord] = {}
        self.out: dict[MessageId, Stored] = {}
        self.incoming: dict[tuple[DeviceId, MessageId], Stored] = {}
        self.applied: dict[DeviceId, dict[MessageId, int]] = {}
        self.notes: list[ops.NoteStream] = []
        self.clock = 0

    def commit(self, operations: Iterable[ops.Op]) -> tuple[ops.Outcome, ...]:
        outcomes = []
        for op in operations:
            apply: Callable[[ops.Op], ops.Outcome | None] = getattr(self, f"_{type(op).__name__}")
            outcome = apply(op)
            if outcome is not None:
                outcomes.append(outcome)
        return tuple(outcomes)

    def snapshot(self) -> records.Snapshot:
        waiting = sorted(
            (one.record for one in self.out.values() if one.state in WAITING), key=lambda record: record.seq
        )
        untold: dict[DeviceId, tuple[MessageId, ...]] = {}
        for (peer, message_id), one in self.incoming.items():
            if one.untold:
                untold[peer] = (*untold.get(peer, ()), message_id)
        letters = tuple(one.letter for one in self.out.values() if one.letter is not None)
        return records.Snapshot(tuple(self.peers.values()), tuple(waiting), letters, untold, self.clock)

    def state(self, message_id: MessageId) -> State:
        return self.out[message_id].state

    def _ensure(self, peer: DeviceId, trust: Trust = Trust.REQUEST) -> None:
        if peer not in self.peers:
            kept = self.counters.get(peer, records.PeerRecord(peer, "", "", trust))
            self.peers[peer] = replace(kept, trust=trust)

    def _count(self, peer: DeviceId, **changes: Any) -> None:
        self.peers[peer] = replace(self.peers[peer], **changes)

    def _waiting(self, message_id: MessageId, peer: DeviceId | None = None) -> Stored | None:
        one = self.out.get(message_id)
        fits = one is not None and one.state in WAITING and peer in (None, one.record.peer)
        return one if fits else None

    # --- outgoing ---------------------------------------------------------------------------------------------

    def _QueryOutgoing(self, op: ops.QueryOutgoing) -> ops.Outcome:
        known = self.out.get(op.message_id)
        if known is None:
            return ops.OutgoingKnown(op.message_id, None, False)
        same = (known.record.peer, known.record.body) == (op.peer, op.body)
        return ops.OutgoingKnown(op.message_id, known.state, same)

    def _InsertOutgoing(self, op: ops.InsertOutgoing) -> ops.Outcome:
        known = self.out.get(op.message_id)
        if known is not None:
            same = (known.record.peer, known.record.body) == (op.peer, op.body)
            return ops.OutgoingStored(op.peer, op.message_id, False, known.state, same)
        self._ensure(op.peer)
        record = records.WaitingRecord(
            peer=op.peer,
            message_id=op.message_id,
            seq=op.seq,
            body=op.body,
            hlc=op.hlc,
            seen=op.seen,
            sent_at_ms=op.sent_at_ms,
            waiting_since_ms=op.sent_at_ms,
            state=State.PENDING,
            transmitted=op.transmitted,
        )
        self.out[op.message_id] = Stored(record, Direction.OUT)
        self._count(op.peer, next_seq=max(self.peers[op.peer].next_seq, op.seq + 1))
        self.clock = max(self.clock, op.hlc)
        return ops.OutgoingStored(op.peer, op.message_id, True, State.PENDING)

    def _MarkTransmitted(self, op: ops.MarkTransmitted) -> None:
        for message_id in op.message_ids:
            if message_id in self.out:
                self.out[message_id].record = replace(self.out[message_id].record, transmitted=True)

    def _MarkSent(self, op: ops.MarkSent) -> None:
        for message_id in op.message_ids:
            one = self.out.get(message_id)
            if one is not None and one.state is State.PENDING:
                one.become(State.SENT)

    def _MarkDelivered(self, op: ops.MarkDelivered) -> None:
        for message_id in op.message_ids:
            one = self.out.get(message_id)
            if one is None or one.record.peer != op.peer or one.state not in (*WAITING, State.FAILED):
                continue
            if one.state is State.PENDING:
                one.become(State.SENT)
            one.become(State.DELIVERED, cancelling=False)
            one.letter = None
            record = self.peers[op.peer]
            self._count(op.peer, acked=record.acked + 1, settled_seq=max(record.settled_seq, one.record.seq))

    def _MarkReadByPeer(self, op: ops.MarkReadByPeer) -> None:
        for message_id in op.message_ids:
            one = self.out.get(message_id)
            if one is not None and one.record.peer == op.peer and one.state is State.DELIVERED:
                one.become(State.READ)

    def _RecordAttempt(self, op: ops.RecordAttempt) -> None:
        one = self._waiting(op.message_id)
        if one is not None:
            one.record = replace(
                one.record,
                attempts=op.attempts,
                next_attempt_at_ms=op.next_attempt_at_ms,
                last_reason=op.reason,
                last_detail=op.detail,
            )

    def _ResetAttempts(self, op: ops.ResetAttempts) -> None:
        one = self._waiting(op.message_id)
        if one is not None:
            one.record = replace(one.record, attempts=0, next_attempt_at_ms=None, last_reason=None, last_detail="")

    def _MoveToDeadLetters(self, op: ops.MoveToDeadLetters) -> None:
        one = self._waiting(op.message_id, op.peer)
        if one is None:
            return
        record = one.record
        one.letter = records.LetterRecord(
            peer=op.peer,
            message_id=op.message_id,
            seq=record.seq,
            body=record.body,
            hlc=record.hlc,
            seen=record.seen,
            sent_at_ms=record.sent_at_ms,
            reason=op.reason,
            detail=op.detail,
            attempts=op.attempts,
            peer_has_it=op.peer_has_it,
            transmitted=record.transmitted,
            auto_returns=record.auto_returns,
            moved_at_ms=op.at_ms,
        )
        one.become(State.FAILED)

    def _ReviveLetter(self, op: ops.ReviveLetter) -> None:
        one = self.out.get(op.message_id)
        if one is None or one.letter is None:
            return
        one.letter = None
        fresh: dict[str, object] = {"attempts": 0, "next_attempt_at_ms": None, "last_reason": None, "last_detail": ""}
        fresh["seen"] = op.seen
        one.become(State.PENDING, seq=op.seq, auto_returns=op.auto_returns, waiting_since_ms=op.at_ms, **fresh)
        self._count(op.peer, next_seq=max(self.peers[op.peer].next_seq, op.seq + 1))

    def _SettleLetters(self, op: ops.SettleLetters) -> None:
        for message_id in op.message_ids:
            one = self.out.get(message_id)
            if one is not None and one.letter is not None:
                one.letter = replace(one.letter, peer_has_it=PeerHasIt.NO)

    def _RemoveLetters(self, op: ops.RemoveLetters) -> None:
        for message_id in op.message_ids:
            if message_id in self.out:
                self.out[message_id].letter = None

    def _BeginCancel(self, op: ops.BeginCancel) -> None:
        one = self._waiting(op.message_id, op.peer)
        if one is not None:
            one.record = replace(one.record, cancelling=True)

    def _FinishCancel(self, op: ops.FinishCancel) -> None:
        for message_id in op.message_ids:
            one = self._waiting(message_id, op.peer)
            if one is not None:
                one.become(State.CANCELLED, cancelling=False)

    # --- incoming ---------------------------------------------------------------------------------------------

    def _ApplyIncoming(self, op: ops.ApplyIncoming) -> ops.Outcome:
        ids = self.applied.setdefault(op.peer, {})
        if op.message_id in ids:
            return ops.IncomingApplied(op.peer, op.message_id, False)
        ids[op.message_id] = len(ids)
        self._ensure(op.peer)
        record = records.WaitingRecord(
            peer=op.peer,
            message_id=op.message_id,
            seq=op.seq,
            body=op.body,
            hlc=op.hlc,
            seen=op.seen,
            sent_at_ms=op.sent_at_ms,
            waiting_since_ms=op.received_at_ms,
            state=State.DELIVERED,
            transmitted=False,
        )
        self.incoming[op.peer, op.message_id] = Stored(record, Direction.IN)
        peer = self.peers[op.peer]
        self._count(op.peer, applied=peer.applied + 1, last_seq=max(peer.last_seq, op.seq), last_incoming=op.message_id)
        if peer.trust is Trust.REQUEST:
            size = peer.stranger_bytes + len(op.body.encode())
            self._count(op.peer, stranger_messages=peer.stranger_messages + 1, stranger_bytes=size)
        return ops.IncomingApplied(op.peer, op.message_id, True)

    def _MarkReadByUs(self, op: ops.MarkReadByUs) -> ops.Outcome:
        read = []
        for (peer, message_id), one in self.incoming.items():
            if peer == op.peer and one.state is State.DELIVERED:
                one.become(State.READ)
                one.untold = op.tell
                read.append(message_id)
            if peer == op.peer and message_id == op.up_to:
                break
        return ops.ReadByUs(op.peer, tuple(read))

    def _ReadTold(self, op: ops.ReadTold) -> None:
        for message_id in op.message_ids:
            self.incoming[op.peer, message_id].untold = False

    def _QueryApplied(self, op: ops.QueryApplied) -> ops.Outcome:
        ids = self.applied.get(op.peer, {})
        has = tuple(message_id for message_id in op.message_ids if message_id in ids)
        return ops.AppliedKnown(has, tuple(message_id for message_id in op.message_ids if message_id not in ids))

    def _QueryStream(self, op: ops.QueryStream) -> ops.Outcome:
        rows = [
            one.record
            for one in self.out.values()
            if one.record.peer == op.peer and op.first <= one.record.seq <= op.last
            if one.state in SENT_ON and not one.record.cancelling
        ]
        rows.sort(key=lambda row: row.seq)
        return ops.StreamFound(
            tuple(
                ops.StoredEvent(row.message_id, row.seq, row.body, row.hlc, row.seen, row.sent_at_ms)
                for row in rows[:256]
            )
        )

    # --- peers ------------------------------------------------------------------------------------------------

    def _UpsertPeer(self, op: ops.UpsertPeer) -> None:
        self._ensure(op.peer, op.trust)
        self._count(op.peer, name=op.name, alias=op.alias, trust=op.trust)

    def _RememberAddress(self, op: ops.RememberAddress) -> None:
        if op.peer in self.peers:
            others = [address for address in self.peers[op.peer].addresses if address != op.address]
            self._count(op.peer, addresses=(op.address, *others[:7]))

    def _NotePresence(self, op: ops.NotePresence) -> None:
        if op.peer in self.peers:
            self._count(op.peer, last_seen_ms=op.at_ms)
            if op.linked:
                self._count(op.peer, last_linked_ms=op.at_ms)

    def _ForgetPeer(self, op: ops.ForgetPeer) -> None:
        gone = self.peers.pop(op.peer, None)
        if gone is not None:
            fresh = records.PeerRecord(op.peer, "", "", Trust.SEEN)
            self.counters[op.peer] = replace(
                fresh,
                next_seq=gone.next_seq,
                applied=gone.applied,
                last_seq=gone.last_seq,
                acked=gone.acked,
                settled_seq=gone.settled_seq,
            )
        self.out = {key: one for key, one in self.out.items() if one.record.peer != op.peer}
        self.incoming = {key: one for key, one in self.incoming.items() if key[0] != op.peer}

    def _NoteStream(self, op: ops.NoteStream) -> None:
        self.notes.append(op)
