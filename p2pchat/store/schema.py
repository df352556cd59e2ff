"""The schema: numbered SQL files, applied once each, counted in ``PRAGMA user_version``.

``migrations/0001_first.sql`` makes version 1 out of an empty database, ``0002_….sql`` would make version 2 of that,
and so on. A migration and the raising of the version are one transaction, so a crash leaves the one or the other. A
database of a version that this program does not know is refused and not touched.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Final

from p2pchat.store.failures import DatabaseFailure, FailureKind

APPLICATION_ID: Final = 0x70327063
"""``p2pc``, in the header of every database of ours."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: ``sql`` takes a database from ``version - 1`` to ``version``."""

    version: int
    name: str
    sql: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all steps in order; their numbers are 1, 2, 3 …"""
    folder = resources.files("p2pchat.store") / "migrations"
    files = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda e: e.name)
    steps = tuple(Migration(int(entry.name.split("_")[0]), entry.name, entry.read_text("utf-8")) for entry in files)
    assert [step.version for step in steps] == list(range(1, len(steps) + 1))
    return steps


def latest_version() -> int:
    """Return the schema version that this program writes."""
    return len(migrations())


def migrate(connection: sqlite3.Connection, steps: tuple[Migration, ...] | None = None) -> tuple[int, int]:
    """Bring a database to the newest version.

    Args:
        connection: in autocommit mode (``isolation_level=None``).
        steps: those of this program, unless given.

    Returns:
        The version before and the version now.

    Raises:
        DatabaseFailure: the database is of a newer program (kind ``newer``) or not one of ours.
    """
    steps = migrations() if steps is None else steps
    before = _checked_version(connection, len(steps))
    for step in steps[before:]:
        script = f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {step.version};"
        try:
            connection.executescript(f"BEGIN IMMEDIATE;\n{step.sql}\n{script}\nCOMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return before, len(steps)


def _checked_version(connection: sqlite3.Connection, known: int) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise DatabaseFailure(FailureKind.OTHER, "this is the database of another program: name another home")
    if version > known:
        raise DatabaseFailure(
            FailureKind.NEWER,
            f"the database was written by a newer p2pchat (schema {version}, this one knows {known}): update p2pchat",
        )
    return version
