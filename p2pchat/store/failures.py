"""What can go wrong with a database, in one place: ``sqlite3`` errors become :class:`DatabaseFailure`.

The kind tells what to do: ``full``, ``read_only`` and ``io`` pass when the disk does (ask
:meth:`~p2pchat.store.writer.Writer.probe`), ``corrupt`` needs a reopening with a check, ``newer`` a newer program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

import msgspec

from p2pchat.errors import StoreError


class FailureKind(StrEnum):
    """Why the database failed."""

    FULL = "full"
    READ_ONLY = "read_only"
    IO = "io"
    CORRUPT = "corrupt"
    NEWER = "newer"
    OTHER = "other"


class DatabaseFailure(StoreError):
    """The database cannot be opened, read or written.

    Attributes:
        kind: what to do about it.
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class NoSuchMessage(StoreError):
    """A message id that a query starts from is not in that conversation."""


_KINDS: Final = {
    sqlite3.SQLITE_FULL: FailureKind.FULL,
    sqlite3.SQLITE_READONLY: FailureKind.READ_ONLY,
    sqlite3.SQLITE_PERM: FailureKind.READ_ONLY,
    sqlite3.SQLITE_IOERR: FailureKind.IO,
    sqlite3.SQLITE_CORRUPT: FailureKind.CORRUPT,
    sqlite3.SQLITE_NOTADB: FailureKind.CORRUPT,
}

_ADVICE: Final = {
    FailureKind.FULL: "the disk is full: free some space",
    FailureKind.READ_ONLY: "the database cannot be written: check its permissions and the mount",
    FailureKind.IO: "the disk reports errors: check it",
    FailureKind.CORRUPT: "the database is damaged",
    FailureKind.NEWER: "the database is of a newer version",
    FailureKind.OTHER: "the database failed",
}

_PRIMARY_CODE: Final = 0xFF


def failure_of(error: Exception) -> DatabaseFailure:
    """Translate what ``sqlite3`` raised, or what reading a stored value raised."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        kind = _KINDS.get(code & _PRIMARY_CODE, FailureKind.OTHER)
    elif isinstance(error, sqlite3.OperationalError) and "decode" in str(error):
        kind = FailureKind.CORRUPT
    else:
        kind = FailureKind.OTHER
    return DatabaseFailure(kind, f"{_ADVICE[kind]} ({error})")


@contextmanager
def mapped() -> Iterator[None]:
    """Raise :class:`DatabaseFailure` for whatever SQLite, or a value that it cannot take, raises inside."""
    try:
        yield
    except (sqlite3.Error, UnicodeError, OverflowError) as error:
        raise failure_of(error) from error


@contextmanager
def decoding() -> Iterator[None]:
    """Like :func:`mapped`, for reading: a stored value that is none of ours means that the database is damaged."""
    try:
        with mapped():
            yield
    except (ValueError, KeyError, msgspec.MsgspecError) as error:
        text = f"{_ADVICE[FailureKind.CORRUPT]} (a stored value makes no sense: {error})"
        raise DatabaseFailure(FailureKind.CORRUPT, text) from error
