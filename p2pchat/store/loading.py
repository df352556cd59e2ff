"""Read the records that the core starts from, in the order that it wants them in.

The queries for waiting messages and dead letters serve the reading side as well: people see what the core knows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from p2pchat.core.records import LetterRecord, PeerRecord, Snapshot, WaitingRecord
from p2pchat.model import Address, DeviceId, MessageId, PeerHasIt, Reason, State, Trust

Run = Callable[[str, tuple[object, ...]], sqlite3.Cursor]
"""``connection.execute``, or something like it."""

_PEERS: Final = """
SELECT d.key, d.device_id, coalesce(p.name, ''), coalesce(p.alias, ''), coalesce(p.trust, 'seen'),
       d.next_seq, d.applied, d.last_seq, d.acked,
       d.settled_seq, d.last_incoming, d.incoming_hlc, p.last_seen_ms, p.last_linked_ms,
       coalesce(p.stranger_messages, 0), coalesce(p.stranger_bytes, 0)
FROM devices AS d LEFT JOIN peers AS p ON p.device = d.key
WHERE d.key != 0 ORDER BY d.key
"""
_WAITING: Final = """
SELECT d.device_id, m.id, m.seq, c.body, c.hlc, c.seen, m.sent_at_ms, coalesce(m.retried_at_ms, m.sent_at_ms), m.state,
       m.transmitted, m.cancelling, m.attempts, m.next_attempt_at_ms, m.last_reason, m.last_detail, m.auto_returns
FROM messages AS m
JOIN conversations AS v ON v.key = m.conversation JOIN devices AS d ON d.key = v.device
JOIN contents AS c ON c.message = m.key
"""
_LETTERS: Final = """
SELECT d.device_id, m.id, m.seq, c.body, c.hlc, c.seen, m.sent_at_ms, l.reason, l.detail, l.attempts, l.peer_has_it,
       m.transmitted, m.auto_returns, l.moved_at_ms
FROM dead_letters AS l CROSS JOIN messages AS m ON m.key = l.message
JOIN conversations AS v ON v.key = m.conversation JOIN devices AS d ON d.key = v.device
JOIN contents AS c ON c.message = m.key
"""
_UNTOLD: Final = """
SELECT d.device_id, m.id
FROM messages AS m JOIN conversations AS v ON v.key = m.conversation JOIN devices AS d ON d.key = v.device
WHERE m.untold = 1 ORDER BY m.conversation, m.place, m.key
"""


def snapshot(run: Run) -> Snapshot:
    """Load everything; the caller holds a read transaction, so that it is of one moment."""
    untold: dict[DeviceId, list[MessageId]] = {}
    for peer, message_id in run(_UNTOLD, ()):
        untold.setdefault(peer, []).append(message_id)
    return Snapshot(
        peers=_peers(run),
        waiting=tuple(waiting(run)),
        letters=tuple(letters(run)),
        untold_reads={peer: tuple(ids) for peer, ids in untold.items()},
        hlc=run("SELECT max(clock) FROM devices", ()).fetchone()[0],
    )


def _peers(run: Run) -> tuple[PeerRecord, ...]:
    addresses: dict[int, list[Address]] = {}
    for device, host, port in run("SELECT device, host, port FROM addresses ORDER BY key DESC", ()):
        addresses.setdefault(device, []).append(Address(host, port))
    return tuple(
        PeerRecord(peer, name, alias, Trust(trust), tuple(addresses.get(device, ())), *rest)
        for device, peer, name, alias, trust, *rest in run(_PEERS, ())
    )


def waiting(run: Run, where: str = "", args: tuple[object, ...] = ()) -> list[WaitingRecord]:
    """Load waiting messages by peer and number; ``where`` begins with AND."""
    query = f"{_WAITING} WHERE m.state IN ('pending', 'sent') {where} ORDER BY m.conversation, m.seq, m.key"
    return [_waiting_record(row) for row in run(query, args)]


def _waiting_record(row: tuple[Any, ...]) -> WaitingRecord:
    *head, state, transmitted, cancelling, attempts, next_at_ms, reason, detail, auto_returns = row
    known = None if reason is None else Reason(reason)
    progress = (bool(transmitted), bool(cancelling), attempts, next_at_ms, known, detail or "", auto_returns)
    values: tuple[Any, ...] = (*head, State(state), *progress)
    return WaitingRecord(*values)


def letters(run: Run, where: str = "", args: tuple[object, ...] = ()) -> list[LetterRecord]:
    """Load dead letters, the oldest first; ``where`` begins with WHERE."""
    query = f"{_LETTERS} {where} ORDER BY l.moved_at_ms, l.message"
    return [_letter_record(row) for row in run(query, args)]


def _letter_record(row: tuple[Any, ...]) -> LetterRecord:
    *head, reason, detail, attempts, peer_has_it, transmitted, auto_returns, moved_at_ms = row
    fate = (Reason(reason), detail, attempts, PeerHasIt(peer_has_it), bool(transmitted), auto_returns, moved_at_ms)
    values: tuple[Any, ...] = (*head, *fate)
    return LetterRecord(*values)
