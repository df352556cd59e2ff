"""Operations on peers and their streams."""

from __future__ import annotations

from typing import Final

from p2pchat.core.ops import AdoptIdentity, ForgetPeer, NotePresence, NoteStream, RememberAddress, UpsertPeer
from p2pchat.store import notices
from p2pchat.store.notices import Kind, Notice
from p2pchat.store.transaction import OURSELVES, Transaction

MAX_ADDRESSES: Final = 8
"""Addresses that are kept of a peer."""

_FORGET: Final = (
    "DELETE FROM events WHERE message IN (SELECT key FROM messages WHERE conversation = ?1)",
    "UPDATE message_ids SET message = NULL"
    " WHERE (id, author) IN (SELECT id, author FROM messages WHERE conversation = ?1 AND author > 0)",
    "DELETE FROM message_ids"
    " WHERE (id, author) IN (SELECT id, author FROM messages WHERE conversation = ?1 AND author = 0)",
    "DELETE FROM messages WHERE conversation = ?1",
    "DELETE FROM conversations WHERE key = ?1",
)


def upsert(tx: Transaction, op: UpsertPeer) -> None:
    """Store or change a peer; nothing happens if it is like that already."""
    stream = tx.stored(op.peer)
    if stream is None:
        tx.ensure(op.peer, op.name, op.alias, op.trust)
    else:
        trust = op.trust.value
        changed = tx.execute(
            "UPDATE peers SET name = ?1, alias = ?2, trust = ?3"
            " WHERE device = ?4 AND (name, alias, trust) != (?1, ?2, ?3)",
            (op.name, op.alias, trust, stream.device),
        ).rowcount
        if not changed:
            return
        stream.trust = trust
    tx.note(notices.peer_changed(op))


def remember_address(tx: Transaction, op: RememberAddress) -> None:
    """Put an address first, and keep the newest few. A later proof counts as newer whatever the clock says."""
    stream = tx.stored(op.peer)
    if stream is None:
        return
    where = (stream.device, op.address.host, op.address.port)
    tx.execute("DELETE FROM addresses WHERE device = ? AND host = ? AND port = ?", where)
    tx.execute("INSERT INTO addresses (device, host, port, at_ms) VALUES (?, ?, ?, ?)", (*where, op.at_ms))
    tx.execute(
        "DELETE FROM addresses WHERE device = ?1 AND key <="
        " (SELECT key FROM addresses WHERE device = ?1 ORDER BY key DESC LIMIT 1 OFFSET ?2)",
        (stream.device, MAX_ADDRESSES),
    )


def note_presence(tx: Transaction, op: NotePresence) -> None:
    """Note when a peer was seen (and linked) last."""
    stream = tx.stored(op.peer)
    if stream is not None:
        tx.execute(
            "UPDATE peers SET last_seen_ms = max(coalesce(last_seen_ms, 0), ?) WHERE device = ?",
            (op.at_ms, stream.device),
        )
        if op.linked:
            tx.execute(
                "UPDATE peers SET last_linked_ms = max(coalesce(last_linked_ms, 0), ?) WHERE device = ?",
                (op.at_ms, stream.device),
            )
    tx.note(notices.presence(op))


def forget(tx: Transaction, op: ForgetPeer) -> None:
    """Remove a peer with all its messages and the events about them.

    The ids of what it sent, and the counters of its streams, stay.
    """
    stream = tx.stored(op.peer)
    if stream is None:
        return
    tx.write_events()
    stream.last_incoming = stream.incoming_place = None
    stream.incoming_hlc = 0
    stream.dirty = True
    tx.drop(stream)
    for statement in _FORGET:
        tx.execute(statement, (stream.conversation,))
    tx.execute("DELETE FROM peers WHERE device = ?", (stream.device,))
    tx.note(Notice(Kind.PEER_FORGOTTEN, op.at_ms, op.peer))


def note_stream(tx: Transaction, op: NoteStream) -> None:
    """Record what people should see of a stream."""
    tx.note(notices.stream(op))


def adopt_identity(tx: Transaction, op: AdoptIdentity) -> None:
    """Note whose store this is; forget what was acknowledged to another device."""
    (owner,) = tx.execute("SELECT device_id FROM devices WHERE key = ?", (OURSELVES,)).fetchone()
    if owner == op.device:
        return
    tx.execute("UPDATE devices SET device_id = ? WHERE key = ?", (op.device, OURSELVES))
    if owner:
        tx.drop_all()
        tx.execute("UPDATE devices SET acked = 0, settled_seq = 0", ())
