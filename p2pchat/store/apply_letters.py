"""Operations on dead letters: sent or pending → failed, and out of it again."""

from __future__ import annotations

from typing import Final

from p2pchat.core.ops import MoveToDeadLetters, RemoveLetters, ReviveLetter, SettleLetters
from p2pchat.model import PeerHasIt
from p2pchat.store import notices
from p2pchat.store.notices import Kind, Notice
from p2pchat.store.transaction import Transaction

_REVIVE: Final = """
UPDATE messages SET state = 'pending', seq = ?, auto_returns = ?, retried_at_ms = ?, handed_at_ms = NULL, attempts = 0,
  next_attempt_at_ms = NULL, last_reason = NULL, last_detail = NULL
WHERE key = ? AND state = 'failed'
"""


def move(tx: Transaction, op: MoveToDeadLetters) -> None:
    """Give a waiting message up."""
    stream = tx.stored(op.peer)
    ours = None if stream is None else tx.ours_to(stream, op.message_id)
    if ours is None:
        return
    changed = tx.execute(
        "UPDATE messages SET state = 'failed', cancelling = 0, ended_at_ms = ?"
        " WHERE key = ? AND state IN ('pending', 'sent')",
        (op.at_ms, ours.key),
    ).rowcount
    if changed:
        letter = (ours.key, op.reason.value, op.detail, op.attempts, op.peer_has_it.value, op.at_ms)
        tx.execute("INSERT INTO dead_letters VALUES (?, ?, ?, ?, ?, ?)", letter)
        tx.note(notices.moved_to_dlq(op), ours.key)


def revive(tx: Transaction, op: ReviveLetter) -> None:
    """Put a dead letter back in line under a new number."""
    stream = tx.stored(op.peer)
    ours = None if stream is None else tx.ours_to(stream, op.message_id)
    if stream is None or ours is None:
        return
    if tx.execute("DELETE FROM dead_letters WHERE message = ?", (ours.key,)).rowcount == 0:
        return
    tx.execute(_REVIVE, (op.seq, op.auto_returns, op.at_ms, ours.key))
    tx.execute("UPDATE contents SET seen = ?1 WHERE message = ?2 AND seen IS NOT ?1", (op.seen, ours.key))
    stream.next_seq = max(stream.next_seq, op.seq + 1)
    stream.dirty = True
    tx.note(notices.retried(op), ours.key)


def settle(tx: Transaction, op: SettleLetters) -> None:
    """Note that the peer does not have these."""
    for message_id in op.message_ids:
        ours = tx.ours(message_id)
        if ours is None:
            continue
        changed = tx.execute(
            "UPDATE dead_letters SET peer_has_it = 'no' WHERE message = ? AND peer_has_it = 'unknown'",
            (ours.key,),
        ).rowcount
        if changed:
            peer = tx.stream_of(ours.conversation).peer
            tx.note(Notice(Kind.SETTLED, op.at_ms, peer, message_id, (PeerHasIt.NO.value,)), ours.key)


def remove(tx: Transaction, op: RemoveLetters) -> None:
    """Purge letters; their messages stay as failed."""
    for message_id in op.message_ids:
        ours = tx.ours(message_id)
        if ours is None:
            continue
        if tx.execute("DELETE FROM dead_letters WHERE message = ?", (ours.key,)).rowcount:
            peer = tx.stream_of(ours.conversation).peer
            tx.note(Notice(Kind.PURGED, op.at_ms, peer, message_id), ours.key)
