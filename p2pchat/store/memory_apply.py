"""Apply operations to the tables in memory: the same meanings as on disk, written down a second time on purpose.

The tests apply the same operations to both stores and compare everything that can be seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import msgspec

from p2pchat.core import ops
from p2pchat.core.clock import place as place_of
from p2pchat.core.ops import Op, Outcome
from p2pchat.model import Address, DeviceId, MessageId, PeerHasIt, State, Trust
from p2pchat.store import notices
from p2pchat.store.apply_incoming import NEWEST
from p2pchat.store.apply_outgoing import MAX_STREAM_ROWS
from p2pchat.store.apply_peers import MAX_ADDRESSES
from p2pchat.store.memory_tables import Device, Letter, Message, Peer, StoredNotice, Tables
from p2pchat.store.notices import Kind, Notice, Recorded

_WAITING: Final = (State.PENDING, State.SENT)
_GIVEN_UP: Final = (State.FAILED, State.CANCELLED)


class MemoryTransaction:
    """Applies operations and collects what they found and recorded; a method for each operation, of its name."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.outcomes: list[Outcome] = []
        self.recorded: list[Recorded] = []

    def apply(self, op: Op) -> None:
        """Apply one operation."""
        _HANDLERS[type(op)](self, op)

    # --- shared ---------------------------------------------------------------------------------------------------

    def _note(self, notice: Notice, message: int | None = None) -> None:
        tables = self.tables
        tables.last_event += 1
        self.recorded.append(notices.recorded(tables.last_event, notice))
        bare = msgspec.structs.replace(notice, body=None) if notice.body is not None else notice
        tables.events.append(StoredNotice(tables.last_event, bare, message))

    def _ours(self, message_id: MessageId, peer: DeviceId | None = None) -> Message | None:
        key = self.tables.ids.get((message_id, None))
        message = None if key is None else self.tables.messages[key]
        return message if message is not None and peer in (None, message.peer) else None

    def _change_device(self, peer: DeviceId, **fields: object) -> None:
        self.tables.devices[peer] = msgspec.structs.replace(self.tables.devices[peer], **fields)

    def _change_peer(self, peer: DeviceId, **fields: object) -> None:
        self.tables.peers[peer] = msgspec.structs.replace(self.tables.peers[peer], **fields)

    def _ensure(self, peer: DeviceId, name: str = "", alias: str = "", trust: Trust = Trust.REQUEST) -> Device:
        tables = self.tables
        if peer not in tables.devices:
            tables.devices[peer] = Device(len(tables.devices) + 1)
        if peer not in tables.peers:
            conversation = 1 + max((row.conversation for row in tables.peers.values()), default=0)
            tables.peers[peer] = Peer(conversation, name, alias, trust)
            tables.order[peer] = []
            tables.unread[peer] = {}
        return tables.devices[peer]

    # --- ours -----------------------------------------------------------------------------------------------------

    def _known(self, op: ops.InsertOutgoing | ops.QueryOutgoing) -> tuple[State | None, bool]:
        known = self._ours(op.message_id) or self._theirs(op.message_id)
        if known is None:
            return None, False
        return known.state, known.out and known.peer == op.peer and known.body == op.body

    def query_outgoing(self, op: ops.QueryOutgoing) -> None:
        self.outcomes.append(ops.OutgoingKnown(op.message_id, *self._known(op)))

    def insert_outgoing(self, op: ops.InsertOutgoing) -> None:
        tables = self.tables
        state, same = self._known(op)
        if state is not None:
            self.outcomes.append(ops.OutgoingStored(op.peer, op.message_id, False, state, same))
            return
        device = self._ensure(op.peer)
        order = tables.order[op.peer]
        place = max(op.hlc, order[-1][0] + 1) if order else op.hlc
        key = tables.last_message + 1
        tables.add(
            Message(
                key=key,
                id=op.message_id,
                peer=op.peer,
                out=True,
                place=place,
                seq=op.seq,
                state=State.PENDING,
                body=op.body,
                hlc=op.hlc,
                seen=op.seen,
                sent_at_ms=op.sent_at_ms,
                transmitted=op.transmitted,
            )
        )
        clock, next_seq = max(device.clock, place), max(device.next_seq, op.seq + 1)
        self._change_device(op.peer, clock=clock, next_seq=next_seq)
        self.outcomes.append(ops.OutgoingStored(op.peer, op.message_id, True, State.PENDING))
        self._note(notices.queued(op), key)

    def _theirs(self, message_id: MessageId) -> Message | None:
        authors = sorted(self.tables.devices.items(), key=lambda item: item[1].key)
        keys = (self.tables.ids.get((message_id, peer)) for peer, _ in authors)
        return next((self.tables.messages[key] for key in keys if key is not None), None)

    def mark_transmitted(self, op: ops.MarkTransmitted) -> None:
        for message_id in op.message_ids:
            message = self._ours(message_id)
            if message is not None:
                self.tables.change(message, transmitted=True)

    def mark_sent(self, op: ops.MarkSent) -> None:
        for message_id in op.message_ids:
            message = self._ours(message_id)
            if message is not None and message.state is State.PENDING:
                self.tables.change(message, state=State.SENT, handed_at_ms=op.at_ms)
                tick = notices.tick(Kind.SENT, op.at_ms, message.peer, message_id, sent_at_ms=message.sent_at_ms)
                self._note(tick, message.key)

    def mark_delivered(self, op: ops.MarkDelivered) -> None:
        for message_id, handed_at_ms in zip(op.message_ids, op.sent_at_ms, strict=True):
            message = self._ours(message_id, op.peer)
            if message is not None and message.state in (*_WAITING, State.FAILED):
                self._deliver(message, handed_at_ms, op.at_ms)

    def _deliver(self, message: Message, handed_at_ms: int | None, at_ms: int) -> None:
        was_pending = message.state is State.PENDING
        if was_pending:
            handed = at_ms if handed_at_ms is None else handed_at_ms
            tick = notices.tick(Kind.SENT, handed, message.peer, message.id, sent_at_ms=message.sent_at_ms)
            self._note(tick, message.key)
            message = self.tables.change(message, handed_at_ms=handed)
        self.tables.change(message, state=State.DELIVERED, delivered_at_ms=at_ms, cancelling=False)
        self.tables.waiting.pop(message.key, None)
        self.tables.letters.pop(message.key, None)
        device = self.tables.devices[message.peer]
        settled_seq = max(device.settled_seq, message.seq)
        self._change_device(message.peer, acked=device.acked + 1, settled_seq=settled_seq)
        times = {"sent_at_ms": message.sent_at_ms, "handed_at_ms": message.handed_at_ms}
        self._note(notices.tick(Kind.DELIVERED, at_ms, message.peer, message.id, **cast(Any, times)), message.key)

    def mark_read_by_peer(self, op: ops.MarkReadByPeer) -> None:
        for message_id in op.message_ids:
            message = self._ours(message_id, op.peer)
            if message is None or message.state is not State.DELIVERED:
                continue
            self.tables.change(message, state=State.READ, read_at_ms=op.at_ms)
            tick = notices.tick(
                Kind.READ_BY_PEER,
                op.at_ms,
                op.peer,
                message_id,
                sent_at_ms=message.sent_at_ms,
                handed_at_ms=message.handed_at_ms,
                delivered_at_ms=message.delivered_at_ms,
            )
            self._note(tick, message.key)

    def record_attempt(self, op: ops.RecordAttempt) -> None:
        message = self._ours(op.message_id)
        if message is None or message.state not in _WAITING:
            return
        self.tables.change(
            message,
            attempts=op.attempts,
            next_attempt_at_ms=op.next_attempt_at_ms,
            last_reason=op.reason,
            last_detail=op.detail,
        )
        self._note(notices.retry_scheduled(message.peer, op), message.key)

    def reset_attempts(self, op: ops.ResetAttempts) -> None:
        message = self._ours(op.message_id)
        if message is not None and message.state in _WAITING:
            self.tables.change(message, attempts=0, next_attempt_at_ms=None, last_reason=None, last_detail="")

    def begin_cancel(self, op: ops.BeginCancel) -> None:
        message = self._ours(op.message_id, op.peer)
        if message is not None and message.state in _WAITING and not message.cancelling:
            self.tables.change(message, cancelling=True)
            self._note(Notice(Kind.CANCELLING, op.at_ms, op.peer, op.message_id), message.key)

    def finish_cancel(self, op: ops.FinishCancel) -> None:
        for message_id in op.message_ids:
            message = self._ours(message_id, op.peer)
            if message is not None and message.state in _WAITING:
                self._end(message, State.CANCELLED, op.at_ms)
                self._note(Notice(Kind.CANCELLED, op.at_ms, op.peer, message_id), message.key)

    def _end(self, message: Message, state: State, at_ms: int) -> None:
        self.tables.change(message, state=state, cancelling=False, ended_at_ms=at_ms)
        del self.tables.waiting[message.key]

    def query_stream(self, op: ops.QueryStream) -> None:
        messages = (self.tables.messages[key] for _, key in self.tables.order.get(op.peer, ()))
        found = [
            ops.StoredEvent(m.id, m.seq, m.body, m.hlc, m.seen, m.sent_at_ms)
            for m in messages
            if m.out and op.first <= m.seq <= op.last and m.state not in _GIVEN_UP and not m.cancelling
        ]
        found.sort(key=lambda event: event.seq)
        self.outcomes.append(ops.StreamFound(tuple(found[:MAX_STREAM_ROWS])))

    # --- dead letters ---------------------------------------------------------------------------------------------

    def move_to_dead_letters(self, op: ops.MoveToDeadLetters) -> None:
        message = self._ours(op.message_id, op.peer)
        if message is None or message.state not in _WAITING:
            return
        self._end(message, State.FAILED, op.at_ms)
        letter = Letter(op.reason, op.detail, op.attempts, op.peer_has_it, op.at_ms)
        self.tables.letters[message.key] = letter
        self._note(notices.moved_to_dlq(op), message.key)

    def revive_letter(self, op: ops.ReviveLetter) -> None:
        message = self._ours(op.message_id, op.peer)
        if message is None or self.tables.letters.pop(message.key, None) is None:
            return
        self.tables.change(
            message,
            state=State.PENDING,
            seq=op.seq,
            seen=op.seen,
            auto_returns=op.auto_returns,
            retried_at_ms=op.at_ms,
            handed_at_ms=None,
            attempts=0,
            next_attempt_at_ms=None,
            last_reason=None,
            last_detail="",
        )
        self.tables.waiting[message.key] = None
        self._change_device(op.peer, next_seq=max(self.tables.devices[op.peer].next_seq, op.seq + 1))
        self._note(notices.retried(op), message.key)

    def settle_letters(self, op: ops.SettleLetters) -> None:
        for message_id in op.message_ids:
            message = self._ours(message_id)
            letter = None if message is None else self.tables.letters.get(message.key)
            if message is None or letter is None or letter.peer_has_it is PeerHasIt.NO:
                continue
            self.tables.letters[message.key] = msgspec.structs.replace(letter, peer_has_it=PeerHasIt.NO)
            values = (PeerHasIt.NO.value,)
            self._note(Notice(Kind.SETTLED, op.at_ms, message.peer, message_id, values), message.key)

    def remove_letters(self, op: ops.RemoveLetters) -> None:
        for message_id in op.message_ids:
            message = self._ours(message_id)
            if message is not None and self.tables.letters.pop(message.key, None) is not None:
                self._note(Notice(Kind.PURGED, op.at_ms, message.peer, message_id), message.key)

    # --- theirs ---------------------------------------------------------------------------------------------------

    def apply_incoming(self, op: ops.ApplyIncoming) -> None:
        tables = self.tables
        if (op.message_id, op.peer) in tables.ids:
            self.outcomes.append(ops.IncomingApplied(op.peer, op.message_id, False))
            return
        device = self._ensure(op.peer)
        seen = None if op.seen is None else tables.place_of(op.peer, op.seen)
        previous, following = self._neighbours(op, device)
        place = place_of(op.hlc, op.received_at_ms, None if seen is None else seen[0], previous, following)
        key = tables.last_message + 1
        tables.add(
            Message(
                key=key,
                id=op.message_id,
                peer=op.peer,
                out=False,
                place=place,
                seq=op.seq,
                state=State.DELIVERED,
                body=op.body,
                hlc=op.hlc,
                seen=op.seen,
                sent_at_ms=op.sent_at_ms,
                delivered_at_ms=op.received_at_ms,
            )
        )
        self._count_incoming(op, device, place)
        self.outcomes.append(ops.IncomingApplied(op.peer, op.message_id, True))
        self._note(notices.received(op), key)

    def _neighbours(self, op: ops.ApplyIncoming, device: Device) -> tuple[int | None, int | None]:
        if op.seq > device.last_seq:
            return device.incoming_place, None
        newest = (self.tables.messages[key] for _, key in self.tables.order[op.peer][-NEWEST:])
        theirs = [message for message in newest if not message.out]
        before = max((message.place for message in theirs if message.seq < op.seq), default=None)
        return before, min((message.place for message in theirs if message.seq > op.seq), default=None)

    def _count_incoming(self, op: ops.ApplyIncoming, device: Device, place: int) -> None:
        counts = {"applied": device.applied + 1, "last_seq": max(device.last_seq, op.seq)}
        self._change_device(op.peer, **counts, clock=max(device.clock, place))
        self._change_device(op.peer, incoming_place=max(place, device.incoming_place or 0))
        if op.hlc >= device.incoming_hlc:
            self._change_device(op.peer, last_incoming=op.message_id, incoming_hlc=op.hlc)
        row = self.tables.peers[op.peer]
        if row.trust is Trust.REQUEST:
            size_bytes = row.stranger_bytes + len(op.body.encode())
            self._change_peer(op.peer, stranger_messages=row.stranger_messages + 1, stranger_bytes=size_bytes)

    def mark_read_by_us(self, op: ops.MarkReadByUs) -> None:
        tables = self.tables
        unread = tables.unread.get(op.peer, {})
        last = None if op.up_to is None else tables.place_of(op.peer, op.up_to)
        rows = sorted((tables.messages[key] for key in unread), key=lambda m: (m.place, m.key))
        if op.up_to is not None:
            rows = [] if last is None else [m for m in rows if (m.place, m.key) <= last]
        for message in rows:
            tables.change(message, state=State.READ, read_at_ms=op.at_ms, untold=op.tell)
            del unread[message.key]
            if op.tell:
                tables.untold[message.key] = None
            times = {"sent_at_ms": message.sent_at_ms, "delivered_at_ms": message.delivered_at_ms}
            tick = notices.tick(Kind.READ_BY_US, op.at_ms, op.peer, message.id, **cast(Any, times))
            self._note(tick, message.key)
        self.outcomes.append(ops.ReadByUs(op.peer, tuple(message.id for message in rows)))

    def read_told(self, op: ops.ReadTold) -> None:
        for message_id in op.message_ids:
            key = self.tables.ids.get((message_id, op.peer))
            if key is not None and self.tables.messages[key].untold:
                self.tables.change(self.tables.messages[key], untold=False)
                del self.tables.untold[key]

    def query_applied(self, op: ops.QueryApplied) -> None:
        has = tuple(i for i in op.message_ids if (i, op.peer) in self.tables.ids)
        lacks = tuple(i for i in op.message_ids if (i, op.peer) not in self.tables.ids)
        self.outcomes.append(ops.AppliedKnown(has, lacks))

    # --- peers ----------------------------------------------------------------------------------------------------

    def upsert_peer(self, op: ops.UpsertPeer) -> None:
        row = self.tables.peers.get(op.peer)
        if row is None:
            self._ensure(op.peer, op.name, op.alias, op.trust)
        elif (row.name, row.alias, row.trust) == (op.name, op.alias, op.trust):
            return
        else:
            self._change_peer(op.peer, name=op.name, alias=op.alias, trust=op.trust)
        self._note(notices.peer_changed(op))

    def remember_address(self, op: ops.RememberAddress) -> None:
        row = self.tables.peers.get(op.peer)
        if row is not None:
            others: list[Address] = [known for known in row.addresses if known != op.address]
            self._change_peer(op.peer, addresses=(op.address, *others)[:MAX_ADDRESSES])

    def note_presence(self, op: ops.NotePresence) -> None:
        row = self.tables.peers.get(op.peer)
        if row is not None:
            self._change_peer(op.peer, last_seen_ms=max(row.last_seen_ms or 0, op.at_ms))
            if op.linked:
                self._change_peer(op.peer, last_linked_ms=max(row.last_linked_ms or 0, op.at_ms))
        self._note(notices.presence(op))

    def forget_peer(self, op: ops.ForgetPeer) -> None:
        tables = self.tables
        if tables.peers.pop(op.peer, None) is None:
            return
        gone = {key for _, key in tables.order.pop(op.peer)}
        del tables.unread[op.peer]
        tables.events = [stored for stored in tables.events if stored.message not in gone]
        for key in gone:
            message = tables.messages.pop(key)
            for table in (tables.waiting, tables.untold, tables.letters):
                cast("dict[int, object]", table).pop(key, None)
            if message.out:
                del tables.ids[message.id, None]
            else:
                tables.ids[message.id, op.peer] = None
        self._change_device(op.peer, last_incoming=None, incoming_hlc=0, incoming_place=None)
        self._note(Notice(Kind.PEER_FORGOTTEN, op.at_ms, op.peer))

    def note_stream(self, op: ops.NoteStream) -> None:
        self._note(notices.stream(op))

    def adopt_identity(self, op: ops.AdoptIdentity) -> None:
        tables = self.tables
        if tables.owner not in (None, op.device):
            for peer in tables.devices:
                self._change_device(peer, acked=0, settled_seq=0)
        tables.owner = op.device


_HANDLERS: Final[dict[type[Op], Callable[[MemoryTransaction, Any], None]]] = {
    ops.InsertOutgoing: MemoryTransaction.insert_outgoing,
    ops.QueryOutgoing: MemoryTransaction.query_outgoing,
    ops.MarkTransmitted: MemoryTransaction.mark_transmitted,
    ops.MarkSent: MemoryTransaction.mark_sent,
    ops.MarkDelivered: MemoryTransaction.mark_delivered,
    ops.MarkReadByPeer: MemoryTransaction.mark_read_by_peer,
    ops.RecordAttempt: MemoryTransaction.record_attempt,
    ops.ResetAttempts: MemoryTransaction.reset_attempts,
    ops.MoveToDeadLetters: MemoryTransaction.move_to_dead_letters,
    ops.ReviveLetter: MemoryTransaction.revive_letter,
    ops.SettleLetters: MemoryTransaction.settle_letters,
    ops.RemoveLetters: MemoryTransaction.remove_letters,
    ops.BeginCancel: MemoryTransaction.begin_cancel,
    ops.FinishCancel: MemoryTransaction.finish_cancel,
    ops.ApplyIncoming: MemoryTransaction.apply_incoming,
    ops.MarkReadByUs: MemoryTransaction.mark_read_by_us,
    ops.ReadTold: MemoryTransaction.read_told,
    ops.QueryApplied: MemoryTransaction.query_applied,
    ops.QueryStream: MemoryTransaction.query_stream,
    ops.UpsertPeer: MemoryTransaction.upsert_peer,
    ops.RememberAddress: MemoryTransaction.remember_address,
    ops.NotePresence: MemoryTransaction.note_presence,
    ops.ForgetPeer: MemoryTransaction.forget_peer,
    ops.NoteStream: MemoryTransaction.note_stream,
    ops.AdoptIdentity: MemoryTransaction.adopt_identity,
}
