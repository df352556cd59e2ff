"""Operations on messages of peers: applied once for ever, read, told."""

from __future__ import annotations

from typing import Final

from p2pchat.core.clock import place as place_of
from p2pchat.core.ops import (
    AppliedKnown,
    ApplyIncoming,
    IncomingApplied,
    MarkReadByUs,
    QueryApplied,
    ReadByUs,
    ReadTold,
)
from p2pchat.model import MessageId, Trust
from p2pchat.store import notices
from p2pchat.store.notices import Kind
from p2pchat.store.transaction import Stream, Transaction

_INSERT: Final = """
INSERT INTO messages (key, id, conversation, author, place, seq, state, sent_at_ms, delivered_at_ms)
VALUES (?, ?, ?, ?, ?, ?, 'delivered', ?, ?)
"""
_POSITION: Final = """
SELECT m.place, m.key FROM message_ids AS i JOIN messages AS m ON m.key = i.message
WHERE i.id = ? AND i.author IN (0, ?) AND m.conversation = ?
ORDER BY i.author LIMIT 1
"""
_UNREAD: Final = """
SELECT key, id, sent_at_ms, delivered_at_ms FROM messages
WHERE conversation = ? AND author > 0 AND state = 'delivered' AND (place, key) <= (?, ?)
ORDER BY place, key
"""
_NEIGHBOURS: Final = """
SELECT max(place) FILTER (WHERE author = ?3 AND seq < ?4), min(place) FILTER (WHERE author = ?3 AND seq > ?4)
FROM (SELECT author, seq, place FROM messages WHERE conversation = ?1 ORDER BY place DESC LIMIT ?2)
"""
_HIGHEST: Final = 2**63 - 1

NEWEST: Final = 2000
"""How many messages of a conversation are looked through for the place of one that comes out of turn."""


def apply(tx: Transaction, op: ApplyIncoming) -> None:
    """Store an event of a peer, unless it was ever applied."""
    stream = tx.stream(op.peer) or tx.ensure(op.peer)
    key = tx.next_message_key()
    row = (op.message_id, stream.device, key)
    if tx.execute("INSERT OR IGNORE INTO message_ids VALUES (?, ?, ?)", row).rowcount == 0:
        tx.outcomes.append(IncomingApplied(op.peer, op.message_id, False))
        return
    stream = tx.ensure(op.peer)
    previous, following = _neighbours(tx, stream, op.seq)
    place = place_of(op.hlc, op.received_at_ms, _seen_place(tx, stream, op.seen), previous, following)
    whole = (key, op.message_id, stream.conversation, stream.device, place, op.seq, op.sent_at_ms)
    tx.execute(_INSERT, (*whole, op.received_at_ms))
    tx.execute("INSERT INTO contents VALUES (?, ?, ?, ?)", (key, op.hlc, op.seen, op.body))
    stream.give_place(place)
    stream.incoming_place = max(place, stream.incoming_place or 0)
    if op.hlc >= stream.incoming_hlc:
        stream.last_incoming, stream.incoming_hlc = op.message_id, op.hlc
    stream.applied += 1
    stream.last_seq = max(stream.last_seq, op.seq)
    if stream.trust == Trust.REQUEST:
        stream.stranger_messages += 1
        stream.stranger_bytes += len(op.body.encode())
        stream.strangers_dirty = True
    tx.outcomes.append(IncomingApplied(op.peer, op.message_id, True))
    tx.note(notices.received(op), key)


def _neighbours(tx: Transaction, stream: Stream, seq: int) -> tuple[int | None, int | None]:
    """Return the places of the author's messages before and after a number, as far as they are among the newest.

    Only one that fills a hole, or returns with its old number, has one after it.
    """
    if seq > stream.last_seq:
        return stream.incoming_place, None
    before, after = tx.execute(_NEIGHBOURS, (stream.conversation, NEWEST, stream.device, seq)).fetchone()
    return before, after


def _seen_place(tx: Transaction, stream: Stream, seen: MessageId | None) -> int | None:
    if seen is None:
        return None
    # A burst of messages has mostly seen the same one.
    if stream.seen_place is None or stream.seen_place[0] != seen:
        position = _position(tx, stream, seen)
        if position is None:
            return None
        stream.seen_place = (seen, position[0])
    return stream.seen_place[1]


def _position(tx: Transaction, stream: Stream, message_id: MessageId) -> tuple[int, int] | None:
    row = tx.execute(_POSITION, (message_id, stream.device, stream.conversation)).fetchone()
    return None if row is None else (row[0], row[1])


def mark_read_by_us(tx: Transaction, op: MarkReadByUs) -> None:
    """Mark what our user has read, up to a message or all of it."""
    stream = tx.stored(op.peer)
    up_to: tuple[int, int] | None = (_HIGHEST, _HIGHEST)
    if stream is not None and op.up_to is not None:
        up_to = _position(tx, stream, op.up_to)
    rows = []
    if stream is not None and up_to is not None:
        rows = tx.execute(_UNREAD, (stream.conversation, *up_to)).fetchall()
    for key, message_id, sent_at_ms, received_at_ms in rows:
        tx.execute(
            "UPDATE messages SET state = 'read', read_at_ms = ?, untold = ? WHERE key = ? AND state = 'delivered'",
            (op.at_ms, int(op.tell), key),
        )
        times = {"sent_at_ms": sent_at_ms, "delivered_at_ms": received_at_ms}
        tx.note(notices.tick(Kind.READ_BY_US, op.at_ms, op.peer, message_id, **times), key)
    tx.outcomes.append(ReadByUs(op.peer, tuple(row[1] for row in rows)))


def read_told(tx: Transaction, op: ReadTold) -> None:
    """Note that the peer knows that we read these."""
    stream = tx.stored(op.peer)
    if stream is None:
        return
    for message_id in op.message_ids:
        tx.execute(
            "UPDATE messages SET untold = 0 WHERE untold = 1"
            " AND key = (SELECT message FROM message_ids WHERE id = ? AND author = ?)",
            (message_id, stream.device),
        )


def query_applied(tx: Transaction, op: QueryApplied) -> None:
    """Part ids of a peer into those that were ever applied and the others."""
    stream = tx.stream(op.peer)
    has: list[MessageId] = []
    lacks: list[MessageId] = []
    for message_id in op.message_ids:
        found = (
            stream is not None
            and tx.execute(
                "SELECT 1 FROM message_ids WHERE id = ? AND author = ?", (message_id, stream.device)
            ).fetchone()
        )
        (has if found else lacks).append(message_id)
    tx.outcomes.append(AppliedKnown(tuple(has), tuple(lacks)))
