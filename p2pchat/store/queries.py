"""The reading side of the database: a read-only connection of its own.

It may be used from any thread, one call at a time (a lock sees to it), beside the thread that writes. Every query is
answered from an index whatever the length of the history; ``counts`` alone walks one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from p2pchat.core.records import LetterRecord, Snapshot, WaitingRecord
from p2pchat.model import DeviceId, Direction, MessageId, State
from p2pchat.store import loading, notices
from p2pchat.store.failures import NoSuchMessage, decoding
from p2pchat.store.notices import Kind, Notice, Recorded
from p2pchat.store.rows import Counts, MessageDetailRow, MessageRow, timeline

_COLUMNS: Final = """
SELECT m.id, d.device_id, m.author, c.body, m.state, m.sent_at_ms, m.handed_at_ms, m.delivered_at_ms, m.read_at_ms,
       m.seq, m.cancelling, m.place
"""
_PAGE: Final = f"""
{_COLUMNS}
FROM messages AS m JOIN contents AS c ON c.message = m.key
JOIN conversations AS v ON v.key = m.conversation JOIN devices AS d ON d.key = v.device
WHERE m.conversation =
  (SELECT v.key FROM devices AS d JOIN conversations AS v ON v.device = d.key WHERE d.device_id = ?)
"""  # noqa: S608  # constant parts
_BEFORE: Final = " AND m.place <= ? AND (m.place, m.key) < (?, ?)"
_AFTER: Final = " AND m.place >= ? AND (m.place, m.key) > (?, ?)"
_BACKWARDS: Final = " ORDER BY m.place DESC, m.key DESC LIMIT ?"
_FORWARDS: Final = " ORDER BY m.place, m.key LIMIT ?"
_POSITION: Final = """
SELECT m.place, m.key FROM message_ids AS i JOIN messages AS m ON m.key = i.message
JOIN conversations AS v ON v.key = m.conversation JOIN devices AS d ON d.key = v.device
WHERE i.id = ? AND d.device_id = ? ORDER BY i.author LIMIT 1
"""
_ONE: Final = f"""
{_COLUMNS}, m.key, m.ended_at_ms, m.retried_at_ms
FROM message_ids AS i JOIN messages AS m ON m.key = i.message JOIN contents AS c ON c.message = m.key
JOIN conversations AS v ON v.key = m.conversation JOIN devices AS d ON d.key = v.device
WHERE i.id = ? ORDER BY i.author LIMIT 1
"""
_LAST: Final = f"""
{_COLUMNS}
FROM conversations AS v JOIN devices AS d ON d.key = v.device
JOIN messages AS m ON m.key =
  (SELECT key FROM messages WHERE conversation = v.key ORDER BY place DESC, key DESC LIMIT 1)
JOIN contents AS c ON c.message = m.key
ORDER BY v.key
"""  # noqa: S608  # constant parts
_UNREAD: Final = """
SELECT d.device_id, count(*) FROM messages AS m
JOIN conversations AS v ON v.key = m.conversation JOIN devices AS d ON d.key = v.device
WHERE m.author > 0 AND m.state = 'delivered'
"""
_EVENTS: Final = """
SELECT e.event_id, e.at_ms, e.kind, coalesce(d.device_id, e.stranger), e.detail,
       m.id, m.sent_at_ms, m.handed_at_ms, m.delivered_at_ms, c.body
FROM events AS e
LEFT JOIN devices AS d ON d.key = e.device
LEFT JOIN messages AS m ON m.key = e.message
LEFT JOIN contents AS c ON c.message = e.message AND e.kind IN (?, ?)
WHERE e.event_id > ? ORDER BY e.event_id LIMIT ?
"""
_COUNTS: Final = """
SELECT (SELECT count(*) FROM peers), (SELECT count(*) FROM messages),
  (SELECT count(*) FROM messages WHERE state IN ('pending', 'sent')), (SELECT count(*) FROM dead_letters),
  (SELECT count(*) FROM messages WHERE author > 0 AND state = 'delivered'), (SELECT count(*) FROM events)
"""


class SqliteReader:
    """Reads a database that a :class:`~p2pchat.store.sqlite.SqliteStore` has opened."""

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        self._lock = threading.Lock()
        with decoding():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA query_only = on")
            self._connection.execute("PRAGMA cache_size = -4096")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _moment(self) -> Iterator[sqlite3.Connection]:
        """Read one committed state of the database, whatever is committed meanwhile."""
        with self._lock, decoding():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def load(self) -> Snapshot:
        """See :meth:`p2pchat.store.interface.Store.load`."""
        with self._moment() as connection:
            return loading.snapshot(connection.execute)

    def history(
        self, peer: DeviceId, limit: int, *, before: MessageId | None = None, after: MessageId | None = None
    ) -> list[MessageRow]:
        """See :meth:`p2pchat.store.interface.Reader.history`."""
        query = _PAGE
        args: list[object] = [peer]
        with self._moment() as connection:
            for condition, message_id in ((_BEFORE, before), (_AFTER, after)):
                if message_id is not None:
                    place, key = _position(connection, peer, message_id)
                    query, args = query + condition, [*args, place, place, key]
            forwards = after is not None and before is None
            query += _FORWARDS if forwards else _BACKWARDS
            rows = [_message_row(row) for row in connection.execute(query, (*args, limit))]
        return rows if forwards else rows[::-1]

    def message(self, message_id: MessageId) -> MessageDetailRow | None:
        """See :meth:`p2pchat.store.interface.Reader.message`."""
        with self._moment() as connection:
            row = connection.execute(_ONE, (message_id,)).fetchone()
            if row is None:
                return None
            *columns, key, ended_at_ms, retried_at_ms = row
            message = _message_row(tuple(columns))
            waiting = loading.waiting(connection.execute, "AND m.key = ?", (key,))
            letters = loading.letters(connection.execute, "WHERE l.message = ?", (key,))
        states = timeline(message, ended_at_ms=ended_at_ms, retried_at_ms=retried_at_ms)
        return MessageDetailRow(message, states, waiting[0] if waiting else None, letters[0] if letters else None)

    def outbox(self, peer: DeviceId | None = None) -> list[WaitingRecord]:
        """See :meth:`p2pchat.store.interface.Reader.outbox`."""
        with self._moment() as connection:
            if peer is None:
                return loading.waiting(connection.execute)
            return loading.waiting(connection.execute, "AND d.device_id = ?", (peer,))

    def letters(self, peer: DeviceId | None = None) -> list[LetterRecord]:
        """See :meth:`p2pchat.store.interface.Reader.letters`."""
        with self._moment() as connection:
            if peer is None:
                return loading.letters(connection.execute)
            return loading.letters(connection.execute, "WHERE d.device_id = ?", (peer,))

    def letter(self, message_id: MessageId) -> LetterRecord | None:
        """See :meth:`p2pchat.store.interface.Reader.letter`."""
        one = "WHERE l.message = (SELECT message FROM message_ids WHERE id = ? AND author = 0)"
        with self._moment() as connection:
            found = loading.letters(connection.execute, one, (message_id,))
        return found[0] if found else None

    def unread_count(self, peer: DeviceId) -> int:
        """See :meth:`p2pchat.store.interface.Reader.unread_count`."""
        with self._moment() as connection:
            query = f"{_UNREAD} AND d.device_id = ?"
            count: int = connection.execute(query, (peer,)).fetchone()[1]
        return count

    def unread_counts(self) -> dict[DeviceId, int]:
        """See :meth:`p2pchat.store.interface.Reader.unread_counts`."""
        with self._moment() as connection:
            return dict(connection.execute(f"{_UNREAD} GROUP BY m.conversation ORDER BY m.conversation"))

    def last_messages(self) -> dict[DeviceId, MessageRow]:
        """See :meth:`p2pchat.store.interface.Reader.last_messages`."""
        with self._moment() as connection:
            rows = [_message_row(row) for row in connection.execute(_LAST)]
        return {row.peer: row for row in rows}

    def events_since(self, event_id: int, limit: int) -> list[Recorded]:
        """See :meth:`p2pchat.store.interface.Reader.events_since`."""
        args = (Kind.QUEUED.value, Kind.RECEIVED.value, event_id, limit)
        with self._moment() as connection:
            return [_recorded(row) for row in connection.execute(_EVENTS, args)]

    def event_range(self) -> tuple[int | None, int | None]:
        """See :meth:`p2pchat.store.interface.Reader.event_range`."""
        with self._moment() as connection:
            first, last = connection.execute(
                "SELECT (SELECT min(event_id) FROM events), (SELECT max(event_id) FROM events)"
            ).fetchone()
        return first, last

    def counts(self) -> Counts:
        """See :meth:`p2pchat.store.interface.Reader.counts`."""
        with self._moment() as connection:
            return Counts(*connection.execute(_COUNTS).fetchone())


def _position(connection: sqlite3.Connection, peer: DeviceId, message_id: MessageId) -> tuple[int, int]:
    row = connection.execute(_POSITION, (message_id, peer)).fetchone()
    if row is None:
        raise NoSuchMessage(f"no message {message_id.hex()} in this conversation")
    return row[0], row[1]


def _message_row(row: tuple[Any, ...]) -> MessageRow:
    message_id, peer, author, body, state, *times, seq, cancelling, place = row
    direction = Direction.IN if author else Direction.OUT
    values: tuple[Any, ...] = (message_id, peer, direction, body, State(state), *times, seq, bool(cancelling), place)
    return MessageRow(*values)


def _recorded(row: tuple[Any, ...]) -> Recorded:
    event_id, at_ms, number, peer, detail, message_id, *times, body = row
    kind = Kind(number)
    ticked = kind in notices.TICKS and message_id is not None
    values = notices.tick_values(kind, at_ms, *times) if ticked else notices.unpack(detail)
    return notices.recorded(event_id, Notice(kind, at_ms, peer, message_id, values, body))
