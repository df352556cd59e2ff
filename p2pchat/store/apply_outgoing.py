"""Operations on messages of ours: pending → sent → delivered → read, attempts, taking back."""

from __future__ import annotations

from typing import Any, Final

from p2pchat.core.ops import (
    BeginCancel,
    FinishCancel,
    InsertOutgoing,
    MarkDelivered,
    MarkReadByPeer,
    MarkSent,
    MarkTransmitted,
    OutgoingKnown,
    OutgoingStored,
    QueryOutgoing,
    QueryStream,
    RecordAttempt,
    ResetAttempts,
    StoredEvent,
    StreamFound,
)
from p2pchat.model import MessageId, State
from p2pchat.store import notices
from p2pchat.store.notices import Kind, Notice
from p2pchat.store.transaction import OURSELVES, Ours, Stream, Transaction

MAX_STREAM_ROWS: Final = 256
"""Most events that one ``QueryStream`` returns."""

_KNOWN: Final = """
SELECT i.author, m.conversation, m.state, c.body
FROM message_ids AS i JOIN messages AS m ON m.key = i.message JOIN contents AS c ON c.message = i.message
WHERE i.id = ? ORDER BY i.author LIMIT 1
"""
_INSERT: Final = """
INSERT INTO messages (key, id, conversation, author, place, seq, state, transmitted, sent_at_ms)
VALUES (?, ?, ?, 0, ?, ?, 'pending', ?, ?)
"""
_TO_DELIVERED: Final = """
UPDATE messages SET state = 'delivered', handed_at_ms = ?, delivered_at_ms = ?, cancelling = 0
WHERE key = ? AND state IN ('pending', 'sent', 'failed')
"""
_EVENT: Final = """
SELECT m.id, m.seq, c.body, c.hlc, c.seen, m.sent_at_ms
FROM messages AS m JOIN contents AS c ON c.message = m.key
WHERE m.conversation = ?1 AND m.seq BETWEEN ?2 AND ?3 AND m.author = 0
  AND m.state IN ('pending', 'sent', 'delivered', 'read') AND m.cancelling = 0
"""
_STREAM_REVIVED: Final = f"{_EVENT} AND m.retried_at_ms IS NOT NULL ORDER BY m.seq LIMIT ?4"
_STREAM_PLAIN: Final = f"{_EVENT} AND m.retried_at_ms IS NULL AND m.place BETWEEN ?5 AND ?6 ORDER BY m.place LIMIT ?4"
_MILESTONE: Final = """
SELECT place FROM messages WHERE conversation = ? AND author = 0 AND retried_at_ms IS NULL AND seq % 64 = 0
"""
_MILESTONE_BEFORE: Final = f"{_MILESTONE} AND seq <= ? ORDER BY seq DESC LIMIT 1"
_MILESTONE_AFTER: Final = f"{_MILESTONE} AND seq >= ? ORDER BY seq LIMIT 1"
_HIGHEST: Final = 2**63 - 1


def _known(tx: Transaction, op: InsertOutgoing | QueryOutgoing) -> tuple[State | None, bool]:
    """Return the state of the message with that id, if there is one, and whether it is the same message."""
    known = tx.execute(_KNOWN, (op.message_id,)).fetchone()
    if known is None:
        return None, False
    author, conversation, state, body = known
    return State(state), author == OURSELVES and body == op.body and tx.stream_of(conversation).peer == op.peer


def query(tx: Transaction, op: QueryOutgoing) -> None:
    """Look a message of ours up."""
    tx.outcomes.append(OutgoingKnown(op.message_id, *_known(tx, op)))


def insert(tx: Transaction, op: InsertOutgoing) -> None:
    """Store a new message of ours, unless its id is known."""
    state, same = _known(tx, op)
    if state is not None:
        tx.outcomes.append(OutgoingStored(op.peer, op.message_id, False, state, same))
        return
    stream = tx.ensure(op.peer)
    place = op.hlc if stream.top_place is None else max(op.hlc, stream.top_place + 1)
    key = tx.next_message_key()
    row = (key, op.message_id, stream.conversation, place, op.seq, int(op.transmitted), op.sent_at_ms)
    tx.execute(_INSERT, row)
    tx.execute("INSERT INTO contents VALUES (?, ?, ?, ?)", (key, op.hlc, op.seen, op.body))
    tx.execute("INSERT INTO message_ids VALUES (?, 0, ?)", (op.message_id, key))
    stream.give_place(place)
    stream.next_seq = max(stream.next_seq, op.seq + 1)
    tx.outcomes.append(OutgoingStored(op.peer, op.message_id, True, State.PENDING))
    tx.note(notices.queued(op), key)


def mark_transmitted(tx: Transaction, op: MarkTransmitted) -> None:
    """Write ahead that these may have left."""
    for message_id in op.message_ids:
        tx.execute(
            "UPDATE messages SET transmitted = 1 WHERE transmitted = 0"
            " AND key = (SELECT message FROM message_ids WHERE id = ? AND author = 0)",
            (message_id,),
        )


def mark_sent(tx: Transaction, op: MarkSent) -> None:
    """Move pending messages to sent."""
    for message_id in op.message_ids:
        ours = tx.ours(message_id)
        if ours is None or ours.state != State.PENDING:
            continue
        tx.execute(
            "UPDATE messages SET state = 'sent', handed_at_ms = ? WHERE key = ? AND state = 'pending'",
            (op.at_ms, ours.key),
        )
        peer = tx.stream_of(ours.conversation).peer
        tx.note(notices.tick(Kind.SENT, op.at_ms, peer, message_id, sent_at_ms=ours.sent_at_ms), ours.key)


def mark_delivered(tx: Transaction, op: MarkDelivered) -> None:
    """Move what the addressee acknowledged to delivered."""
    stream = tx.stored(op.peer)
    if stream is None:
        return
    for message_id, handed_at_ms in zip(op.message_ids, op.sent_at_ms, strict=True):
        ours = tx.ours_to(stream, message_id)
        if ours is not None:
            _deliver(tx, stream, message_id, ours, handed_at_ms, op.at_ms)


def _deliver(
    tx: Transaction,
    stream: Stream,
    message_id: MessageId,
    ours: Ours,
    handed_at_ms: int | None,
    at_ms: int,
) -> None:
    handed = ours.handed_at_ms
    if ours.state == State.PENDING:
        handed = at_ms if handed_at_ms is None else handed_at_ms
    if tx.execute(_TO_DELIVERED, (handed, at_ms, ours.key)).rowcount == 0:
        return
    if ours.state == State.FAILED:
        tx.execute("DELETE FROM dead_letters WHERE message = ?", (ours.key,))
    stream.acked += 1
    stream.settled_seq = max(stream.settled_seq, ours.seq)
    stream.dirty = True
    peer, sent_at_ms = stream.peer, ours.sent_at_ms
    if ours.state == State.PENDING and handed is not None:
        tx.note(notices.tick(Kind.SENT, handed, peer, message_id, sent_at_ms=sent_at_ms), ours.key)
    tick = notices.tick(Kind.DELIVERED, at_ms, peer, message_id, sent_at_ms=sent_at_ms, handed_at_ms=handed)
    tx.note(tick, ours.key)


def mark_read_by_peer(tx: Transaction, op: MarkReadByPeer) -> None:
    """Move delivered messages to read."""
    stream = tx.stored(op.peer)
    if stream is None:
        return
    for message_id in op.message_ids:
        ours = tx.ours_to(stream, message_id)
        if ours is None or ours.state != State.DELIVERED:
            continue
        tx.execute(
            "UPDATE messages SET state = 'read', read_at_ms = ? WHERE key = ? AND state = 'delivered'",
            (op.at_ms, ours.key),
        )
        tick = notices.tick(
            Kind.READ_BY_PEER,
            op.at_ms,
            op.peer,
            message_id,
            sent_at_ms=ours.sent_at_ms,
            handed_at_ms=ours.handed_at_ms,
            delivered_at_ms=ours.delivered_at_ms,
        )
        tx.note(tick, ours.key)


def record_attempt(tx: Transaction, op: RecordAttempt) -> None:
    """Note a failed attempt of a waiting message."""
    ours = tx.ours(op.message_id)
    if ours is None:
        return
    changed = tx.execute(
        "UPDATE messages SET attempts = ?, next_attempt_at_ms = ?, last_reason = ?, last_detail = ?"
        " WHERE key = ? AND state IN ('pending', 'sent')",
        (op.attempts, op.next_attempt_at_ms, op.reason.value, op.detail, ours.key),
    ).rowcount
    if changed:
        tx.note(notices.retry_scheduled(tx.stream_of(ours.conversation).peer, op), ours.key)


def reset_attempts(tx: Transaction, op: ResetAttempts) -> None:
    """Forget the failed attempts of a waiting message."""
    tx.execute(
        "UPDATE messages SET attempts = 0, next_attempt_at_ms = NULL, last_reason = NULL, last_detail = NULL"
        " WHERE key = (SELECT message FROM message_ids WHERE id = ? AND author = 0) AND state IN ('pending', 'sent')",
        (op.message_id,),
    )


def begin_cancel(tx: Transaction, op: BeginCancel) -> None:
    """Take a waiting message out of the line."""
    stream = tx.stored(op.peer)
    ours = None if stream is None else tx.ours_to(stream, op.message_id)
    if ours is None:
        return
    changed = tx.execute(
        "UPDATE messages SET cancelling = 1 WHERE key = ? AND cancelling = 0 AND state IN ('pending', 'sent')",
        (ours.key,),
    ).rowcount
    if changed:
        tx.note(Notice(Kind.CANCELLING, op.at_ms, op.peer, op.message_id), ours.key)


def finish_cancel(tx: Transaction, op: FinishCancel) -> None:
    """Move waiting messages to cancelled."""
    stream = tx.stored(op.peer)
    if stream is None:
        return
    for message_id in op.message_ids:
        ours = tx.ours_to(stream, message_id)
        if ours is None:
            continue
        changed = tx.execute(
            "UPDATE messages SET state = 'cancelled', cancelling = 0, ended_at_ms = ?"
            " WHERE key = ? AND state IN ('pending', 'sent')",
            (op.at_ms, ours.key),
        ).rowcount
        if changed:
            tx.note(Notice(Kind.CANCELLED, op.at_ms, op.peer, message_id), ours.key)


def query_stream(tx: Transaction, op: QueryStream) -> None:
    """Find our events in a range of numbers that were not given up."""
    stream = tx.stored(op.peer)
    rows: list[tuple[Any, ...]] = []
    if stream is not None:
        where = (stream.conversation, op.first, op.last, MAX_STREAM_ROWS)
        low = tx.execute(_MILESTONE_BEFORE, (stream.conversation, op.first)).fetchone()
        high = tx.execute(_MILESTONE_AFTER, (stream.conversation, op.last)).fetchone()
        places = (low[0] if low else 0, high[0] if high else _HIGHEST)
        rows += tx.execute(_STREAM_PLAIN, (*where, *places)).fetchall()
        rows += tx.execute(_STREAM_REVIVED, where).fetchall()
    events = sorted((StoredEvent(*row) for row in rows), key=lambda event: event.seq)
    tx.outcomes.append(StreamFound(tuple(events[:MAX_STREAM_ROWS])))
