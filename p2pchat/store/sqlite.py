"""The store on disk: one SQLite database, one connection that writes and one that reads.

The write-ahead log is emptied into the database by :meth:`SqliteStore.tidy`, between commits and only when it has grown
to some megabytes, so that nobody waits for it and pages that change often are copied once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2pchat.core.ops import Op
from p2pchat.core.records import LetterRecord, Snapshot, WaitingRecord
from p2pchat.model import DeviceId, MessageId
from p2pchat.store.apply import apply_ops
from p2pchat.store.failures import DatabaseFailure, FailureKind, mapped
from p2pchat.store.interface import CommitResult
from p2pchat.store.notices import Recorded
from p2pchat.store.opening import BUSY_TIMEOUT_S, Opened, open_database, quarantine
from p2pchat.store.queries import SqliteReader
from p2pchat.store.retention import Pruner, Retention
from p2pchat.store.rows import Counts, MessageDetailRow, MessageRow, Written
from p2pchat.store.walmeter import WalMeter

CHECKPOINT_FRAMES: Final = 4096
"""Pages in the write-ahead log after which it is emptied: 4 MiB, some 4,000 messages of a burst."""

_GUARD_FRAMES: Final = 4 * CHECKPOINT_FRAMES
"""SQLite empties the log by itself from here on, should nobody call ``tidy``."""

_PROBE_BYTES: Final = 65_536


def _open(path: Path, *, check: bool) -> tuple[sqlite3.Connection, SqliteReader, Opened]:
    connection, opened = open_database(path, check=check)
    try:
        with mapped():
            connection.execute(f"PRAGMA wal_autocheckpoint = {_GUARD_FRAMES}")
        return connection, SqliteReader(path, busy_timeout_s=BUSY_TIMEOUT_S), opened
    except DatabaseFailure:
        connection.close()
        raise


def _roll_back(connection: sqlite3.Connection) -> None:
    # SQLite has often done it by itself; and if it cannot, what went wrong before is what matters.
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class SqliteStore:
    """A :class:`~p2pchat.store.interface.Store` in a file.

    Attributes:
        opened: how the opening went; ``opened.quarantined`` is worth telling people about.
        path: the database file.
    """

    def __init__(self, path: Path, *, check: bool = False, retention: Retention | None = None) -> None:
        """Open or create the database.

        Args:
            check: read the whole file first; do so after a ``corrupt`` failure.

        Raises:
            DatabaseFailure: it cannot be opened. Damage does not raise: see ``opened.quarantined``.
        """
        self.path = path
        self._closed = False
        self._pruner = Pruner(retention or Retention())
        self._written = Written()
        self._connection, self._reader, self.opened = _open(path, check=check)
        try:
            # What cannot be loaded is as unreadable as what fails the check.
            self._loaded: Snapshot | None = self._reader.load()
        except DatabaseFailure as failure:
            self._shut()
            if failure.kind is not FailureKind.CORRUPT:
                raise
            quarantined = quarantine(path)
            self._connection, self._reader, opened = _open(path, check=False)
            self.opened = Opened(quarantined, opened.version_before, opened.checked)
            self._loaded = self._reader.load()
        self._meter = WalMeter(path)

    # --- writing: one thread at a time ----------------------------------------------------------------------------

    def commit(self, ops: Sequence[Op]) -> CommitResult:
        """See :meth:`p2pchat.store.interface.Store.commit`."""
        connection = self._connection
        self._loaded = None
        changes = connection.total_changes
        with mapped():
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = apply_ops(connection, ops)
                self._prune(result.recorded)
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise
        if connection.total_changes != changes:
            self._count_commit()
        return result

    def _count_commit(self) -> None:
        self._meter.committed()
        self._publish(commits=self._written.commits + 1)

    def _prune(self, recorded: Sequence[Recorded]) -> None:
        if not recorded or not self._pruner.due(len(recorded), recorded[-1].at_ms):
            return
        newest = recorded[-1]
        oldest = self._connection.execute(
            "SELECT event_id, at_ms FROM events ORDER BY event_id LIMIT ?", (self._pruner.reach(),)
        )
        keep_from = self._pruner.keep_from(oldest.fetchall(), newest.event_id, newest.at_ms)
        self._connection.execute("DELETE FROM events WHERE event_id < ?", (keep_from,))

    def tidy(self) -> None:
        """See :meth:`p2pchat.store.interface.Store.tidy`."""
        self._meter.read()
        if self._meter.frames >= CHECKPOINT_FRAMES:
            self._checkpoint("PASSIVE")
        self._publish(commits=self._written.commits)

    def checkpoint(self) -> None:
        """See :meth:`p2pchat.store.interface.Store.checkpoint`."""
        self._checkpoint("PASSIVE")
        self._publish(commits=self._written.commits)

    def _checkpoint(self, mode: str) -> None:
        self._meter.read()
        with mapped():
            row = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        _, in_log, moved = row
        self._meter.checkpointed(complete=in_log == moved)

    def _publish(self, commits: int) -> None:
        self._written = Written(commits, self._meter.fsyncs, self._meter.bytes_written)

    def probe(self) -> None:
        """See :meth:`p2pchat.store.interface.Store.probe`."""
        with mapped():
            try:
                self._connection.execute("INSERT OR REPLACE INTO probe VALUES (1, randomblob(?))", (_PROBE_BYTES,))
                self._connection.execute("DELETE FROM probe")
            finally:
                _roll_back(self._connection)
        self._count_commit()
        self._count_commit()

    def written(self) -> Written:
        """See :meth:`p2pchat.store.interface.Store.written`."""
        return self._written

    def close(self) -> None:
        """See :meth:`p2pchat.store.interface.Store.close`."""
        if not self._closed:
            self._closed = True
            self._meter.close()
            self._shut()

    def _shut(self) -> None:
        # The writing connection goes last: closing it empties the log and removes it, which marks a proper end.
        self._reader.close()
        with mapped():
            self._connection.close()

    # --- reading: any thread --------------------------------------------------------------------------------------

    def load(self) -> Snapshot:
        """See :meth:`p2pchat.store.interface.Store.load`."""
        loaded, self._loaded = self._loaded, None
        return self._reader.load() if loaded is None else loaded

    def history(
        self, peer: DeviceId, limit: int, *, before: MessageId | None = None, after: MessageId | None = None
    ) -> list[MessageRow]:
        """See :meth:`p2pchat.store.interface.Reader.history`."""
        return self._reader.history(peer, limit, before=before, after=after)

    def message(self, message_id: MessageId) -> MessageDetailRow | None:
        """See :meth:`p2pchat.store.interface.Reader.message`."""
        return self._reader.message(message_id)

    def outbox(self, peer: DeviceId | None = None) -> list[WaitingRecord]:
        """See :meth:`p2pchat.store.interface.Reader.outbox`."""
        return self._reader.outbox(peer)

    def letters(self, peer: DeviceId | None = None) -> list[LetterRecord]:
        """See :meth:`p2pchat.store.interface.Reader.letters`."""
        return self._reader.letters(peer)

    def letter(self, message_id: MessageId) -> LetterRecord | None:
        """See :meth:`p2pchat.store.interface.Reader.letter`."""
        return self._reader.letter(message_id)

    def unread_count(self, peer: DeviceId) -> int:
        """See :meth:`p2pchat.store.interface.Reader.unread_count`."""
        return self._reader.unread_count(peer)

    def unread_counts(self) -> dict[DeviceId, int]:
        """See :meth:`p2pchat.store.interface.Reader.unread_counts`."""
        return self._reader.unread_counts()

    def last_messages(self) -> dict[DeviceId, MessageRow]:
        """See :meth:`p2pchat.store.interface.Reader.last_messages`."""
        return self._reader.last_messages()

    def events_since(self, event_id: int, limit: int) -> list[Recorded]:
        """See :meth:`p2pchat.store.interface.Reader.events_since`."""
        return self._reader.events_since(event_id, limit)

    def event_range(self) -> tuple[int | None, int | None]:
        """See :meth:`p2pchat.store.interface.Reader.event_range`."""
        return self._reader.event_range()

    def counts(self) -> Counts:
        """See :meth:`p2pchat.store.interface.Reader.counts`."""
        return self._reader.counts()
