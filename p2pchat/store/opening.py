"""Open the database file: modes, settings, the check after a crash, quarantine.

A database that cannot be read is never repaired in place and never written over: its files are renamed to
``<name>.unreadable-<UTC time>`` (with ``-wal`` and ``-shm`` behind that) and a new one is begun. That is for damage
alone. A full disk, missing permissions, a database of a newer version or of another program are errors, and nothing is
touched.

After a crash (the write-ahead log is still there) or when the header looks wrong, ``PRAGMA quick_check`` reads the
whole file before it is trusted. A crash of the program cannot damage it, so a file that is too large to be read in
half a second is checked only for a wrong header or on demand: nobody waits for seconds after every power cut.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from p2pchat.store import schema
from p2pchat.store.failures import DatabaseFailure, FailureKind, mapped

PAGE_SIZE: Final = 1024
"""Measured: a commit writes at least the last page of every table and index that grows, mostly for a few rows, and
SQLite spreads the entries of a growing index over three pages at a time. In bursts of 50 messages a commit this size
costs 18 % fewer bytes than 2048 and 37 % fewer than 4096, at the same speed."""

CHECKED_BYTES: Final = 64 * 1024 * 1024
"""Largest file that is read through after a crash."""

BUSY_TIMEOUT_S: Final = 5.0
_CACHE_KIB: Final = 8192
_SIDE_FILES: Final = ("-wal", "-shm")
_MAGIC: Final = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True)
class Opened:
    """How the opening went.

    Attributes:
        quarantined: where a database that could not be read is now.
        version_before: its schema's version when it was opened; 0 for a new one.
        checked: whether the whole file was read and found good.
    """

    quarantined: Path | None
    version_before: int
    checked: bool


def open_database(path: Path, *, check: bool = False) -> tuple[sqlite3.Connection, Opened]:
    """Open or create the database for writing.

    Args:
        check: read the whole file first, even if it was closed properly.

    Raises:
        DatabaseFailure: it cannot be opened, for another reason than damage.
    """
    _prepare_file(path)
    check = check or _needs_check(path)
    try:
        connection, version = _connect(path, check=check)
    except DatabaseFailure as failure:
        if failure.kind is not FailureKind.CORRUPT:
            raise
        quarantined = quarantine(path)
        _prepare_file(path)
        connection, version = _connect(path, check=False)
        return connection, Opened(quarantined, version, checked=False)
    return connection, Opened(None, version, check)


def quarantine(path: Path, now: datetime | None = None) -> Path:
    """Move a database out of the way, under a name that is free, and return that name."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    plain = path.with_name(f"{path.name}.unreadable-{stamp}")
    target, n = plain, 0
    while any(os.path.lexists(f"{target}{side}") for side in ("", *_SIDE_FILES)):
        n += 1
        target = plain.with_name(f"{plain.name}-{n}")
    try:
        for side in ("", *_SIDE_FILES):
            if os.path.lexists(f"{path}{side}"):
                os.rename(f"{path}{side}", f"{target}{side}")
    except OSError as error:
        raise _failure(path, error) from error
    return target


def _prepare_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for side in ("", *_SIDE_FILES):
            file = Path(f"{path}{side}")
            if file.exists() and file.stat().st_mode & 0o077:
                file.chmod(0o600)
    except OSError as error:
        raise _failure(path, error) from error


def _failure(path: Path, error: OSError) -> DatabaseFailure:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kind = FailureKind.FULL
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        kind = FailureKind.READ_ONLY
    else:
        kind = FailureKind.IO if error.errno == errno.EIO else FailureKind.OTHER
    return DatabaseFailure(kind, f"the database {path} cannot be opened: {error.strerror or error}")


def _needs_check(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    crashed = log.exists() and log.stat().st_size > 0
    size_bytes = path.stat().st_size
    if size_bytes == 0 or (crashed and size_bytes <= CHECKED_BYTES):
        return crashed
    with path.open("rb") as file:
        header = file.read(100)
    page_size = int.from_bytes(header[16:18], "big")
    pages = int.from_bytes(header[28:32], "big")
    whole = pages * (65536 if page_size == 1 else page_size) <= size_bytes
    return len(header) < 100 or header[:16] != _MAGIC or not (whole or crashed)


def _connect(path: Path, *, check: bool) -> tuple[sqlite3.Connection, int]:
    connection = None
    try:
        with mapped():
            connection = sqlite3.connect(
                path,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            _configure(connection)
            if check:
                _check(connection)
            before, _ = schema.migrate(connection)
    except DatabaseFailure as failure:
        if connection is not None:
            connection.close()
        raise DatabaseFailure(failure.kind, f"{path}: {failure}") from failure
    return connection, before


def _configure(connection: sqlite3.Connection) -> None:
    for setting in (
        f"page_size = {PAGE_SIZE}",
        "journal_mode = wal",
        "synchronous = full",
        "fullfsync = on",
        "foreign_keys = on",
        "trusted_schema = off",
        "temp_store = memory",
        f"cache_size = -{_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {setting}")


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise DatabaseFailure(FailureKind.CORRUPT, f"the database is damaged ({verdict})")
