"""The database file: modes, restarts, damage, migrations, failures, and that nothing walks the whole history."""

from __future__ import annotations

import functools
import os
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2pchat.core import ops, records
from p2pchat.model import Reason, State
from p2pchat.store import schema
from p2pchat.store.failures import DatabaseFailure, FailureKind, failure_of
from p2pchat.store.opening import open_database, quarantine
from p2pchat.store.sqlite import SqliteStore
from tests.contract.samples import BOB, at, dead, delivered, incoming, mid, out, peer, revive


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "chat.db"


NOBODY_UID = 65534


def fill(path: Path, messages: int = 200) -> None:
    store = SqliteStore(path)
    store.commit([peer(), *(out(n, body="x" * 200) for n in range(1, messages + 1))])
    store.close()


def crash(path: Path, to: Path) -> Path:
    """Return a copy of an open database as a crash would leave it."""
    to.mkdir()
    for file in path.parent.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to / path.name


# --- files ------------------------------------------------------------------------------------------------------


def test_files_are_for_their_owner_only(path: Path) -> None:
    old_mask = os.umask(0)
    try:
        store = SqliteStore(path)
        store.commit([peer()])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(old_mask)
    assert modes == {"chat.db": 0o600, "chat.db-wal": 0o600, "chat.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_open_file_mode_is_closed_again(path: Path) -> None:
    fill(path)
    path.chmod(0o644)
    SqliteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_proper_close_leaves_one_file(path: Path) -> None:
    fill(path)
    assert [file.name for file in path.parent.iterdir()] == ["chat.db"]


def test_closing_twice_does_nothing(path: Path) -> None:
    store = SqliteStore(path)
    store.close()
    store.close()


def test_settings_are_those_of_a_durable_database(path: Path) -> None:
    connection, opened = open_database(path)
    found = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "user_version")
    }
    loose = connection.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 0").fetchall()
    connection.close()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "user_version": schema.latest_version(),
    }
    assert loose == [("sqlite_schema",)]
    assert (opened.quarantined, opened.version_before) == (None, 0)


# --- crashes and damage -----------------------------------------------------------------------------------------


def test_what_was_committed_is_there_after_a_crash(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(path)
    store.commit([peer(), out(1)])
    left = crash(path, tmp_path / "crashed")
    store.close()
    again = SqliteStore(left)
    assert (again.opened.checked, again.opened.quarantined) == (True, None)
    assert [waiting.message_id for waiting in again.load().waiting] == [mid(1)]
    again.close()


def test_a_large_file_is_not_read_through_after_a_crash(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pchat.store.opening.CHECKED_BYTES", 1000)
    store = SqliteStore(path)
    store.commit([peer(), out(1)])
    left = crash(path, tmp_path / "crashed")
    store.close()
    again = SqliteStore(left)
    assert (again.opened.checked, len(again.load().waiting)) == (False, 1)
    again.close()


def test_half_a_commit_is_nothing_after_a_crash(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(path)
    store.commit([peer(), out(1)])
    before = (path.parent / "chat.db-wal").stat().st_size
    store.commit([out(2), delivered(1)])
    left = crash(path, tmp_path / "crashed")
    store.close()
    log = left.with_name("chat.db-wal")
    log.write_bytes(log.read_bytes()[: (before + log.stat().st_size) // 2])
    again = SqliteStore(left)
    assert [(w.message_id, w.state) for w in again.load().waiting] == [(mid(1), State.PENDING)]
    again.close()


def garbage(path: Path) -> None:
    path.write_bytes(b'{"messages": []}' * 100)


def torn_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def scribbled_schema(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:1000] = b"\xff" * 900
    path.write_bytes(data)


def foreign_value(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA ignore_check_constraints = on")
    connection.execute("UPDATE peers SET trust = 'nonsense'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("damage", [garbage, torn_off, scribbled_schema, foreign_value])
def test_an_unreadable_database_is_put_aside_and_a_new_one_begun(path: Path, damage: Callable[[Path], None]) -> None:
    fill(path)
    damage(path)
    damaged = path.read_bytes()
    store = SqliteStore(path)
    aside = store.opened.quarantined
    assert aside is not None
    assert aside.name.startswith("chat.db.unreadable-2")
    assert aside.read_bytes() == damaged
    assert store.load() == records.Snapshot()
    store.commit([peer(), out(1)])
    store.close()
    again = SqliteStore(path)
    assert (again.opened.quarantined, again.load().waiting[0].message_id) == (None, mid(1))
    again.close()


def test_damage_inside_is_found_after_a_crash(path: Path, tmp_path: Path) -> None:
    """A page of a table is overwritten and the log is still there: only reading everything can tell."""
    fill(path, messages=2000)
    store = SqliteStore(path)
    store.commit([out(3000)])
    left = crash(path, tmp_path / "crashed")
    store.close()
    with left.open("r+b") as file:
        file.seek(left.stat().st_size // 2 // 1024 * 1024)
        file.write(os.urandom(20 * 1024))
    again = SqliteStore(left)
    assert again.opened.quarantined is not None
    again.close()


def test_a_check_can_be_asked_for(path: Path) -> None:
    fill(path, messages=2000)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 1024 * 1024)
        file.write(os.urandom(20 * 1024))
    store = SqliteStore(path, check=True)
    assert store.opened.quarantined is not None
    store.close()


def test_quarantine_never_writes_over_an_earlier_one(path: Path) -> None:
    path.parent.mkdir()
    moment = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    names = []
    for n in range(3):
        path.write_text(str(n))
        path.with_name("chat.db-wal").write_text(f"log {n}")
        names.append(quarantine(path, moment))
    plain = "chat.db.unreadable-20250102T030405Z"
    assert [name.name for name in names] == [plain, f"{plain}-1", f"{plain}-2"]
    assert [name.read_text() for name in names] == ["0", "1", "2"]
    assert names[1].with_name(f"{plain}-1-wal").read_text() == "log 1"
    assert not path.exists()


def test_an_empty_file_is_a_new_database(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    store = SqliteStore(path)
    assert (store.opened.quarantined, store.opened.version_before) == (None, 0)
    store.close()


# --- what is not damage -----------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_and_not_touched(path: Path) -> None:
    fill(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseFailure, match=r"newer p2pchat \(schema 99") as raised:
        SqliteStore(path)
    assert raised.value.kind is FailureKind.NEWER
    assert [file.name for file in path.parent.iterdir()] == ["chat.db"]


def test_the_database_of_another_program_is_refused_and_not_touched(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.commit()
    connection.close()
    with pytest.raises(DatabaseFailure, match="another program"):
        SqliteStore(path)
    assert [file.name for file in path.parent.iterdir()] == ["chat.db"]


def test_a_place_where_no_file_can_be_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseFailure, match=r"file/chat\.db cannot be opened"):
        SqliteStore(tmp_path / "file" / "chat.db")
    (tmp_path / "chat.db").mkdir()
    with pytest.raises(DatabaseFailure, match="directory"):
        SqliteStore(tmp_path / "chat.db")
    assert (tmp_path / "chat.db").is_dir()


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """Be somebody to whom file modes apply, with a folder of their own: root becomes nobody for the test."""
    with tempfile.TemporaryDirectory(prefix="p2pchat-test-") as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        os.chown(name, NOBODY_UID, -1)
        os.seteuid(NOBODY_UID)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def test_a_forbidden_file_is_an_error_and_not_touched(ordinary_user: Path) -> None:
    path = ordinary_user / "chat.db"
    fill(path)
    path.chmod(0)
    with pytest.raises(DatabaseFailure) as raised:
        SqliteStore(path)
    assert raised.value.kind is FailureKind.READ_ONLY
    assert [file.name for file in path.parent.iterdir()] == ["chat.db"]


def test_a_value_that_sqlite_cannot_take_fails_the_commit_as_a_whole(path: Path) -> None:
    store = SqliteStore(path)
    for bad in (out(2, hlc=2**70), out(2, body="\ud800")):
        with pytest.raises(DatabaseFailure):
            store.commit([peer(), out(1), bad])
        assert store.load() == records.Snapshot()
    store.commit([peer(), out(1)])
    assert store.events_since(0, 9)[0].event_id == 1
    store.close()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, FailureKind.FULL),
        (sqlite3.SQLITE_IOERR_FSYNC, FailureKind.IO),
        (sqlite3.SQLITE_READONLY_DBMOVED, FailureKind.READ_ONLY),
        (sqlite3.SQLITE_CORRUPT_INDEX, FailureKind.CORRUPT),
        (sqlite3.SQLITE_NOTADB, FailureKind.CORRUPT),
        (sqlite3.SQLITE_BUSY, FailureKind.OTHER),
    ],
)
def test_sqlite_s_codes_have_a_kind(code: int, kind: FailureKind) -> None:
    error = sqlite3.OperationalError("as it says")
    error.sqlite_errorcode = code
    assert failure_of(error).kind is kind
    assert "as it says" in str(failure_of(error))


def test_damage_met_while_reading_is_told_as_damage(path: Path) -> None:
    fill(path)
    store = SqliteStore(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = on")
        connection.execute("UPDATE messages SET state = 'nonsense' WHERE seq = 3")
    connection.close()
    with pytest.raises(DatabaseFailure) as raised:
        store.history(BOB, 500)
    assert raised.value.kind is FailureKind.CORRUPT
    store.close()


# --- migrations -------------------------------------------------------------------------------------------------


def test_migrations_are_numbered_without_gaps() -> None:
    steps = schema.migrations()
    assert [step.version for step in steps] == list(range(1, schema.latest_version() + 1))
    assert all(step.name.startswith(f"{step.version:04}_") for step in steps)


def test_migration_goes_on_from_where_the_database_is() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    one = schema.Migration(1, "0001_one.sql", "CREATE TABLE a (x);")
    two = schema.Migration(2, "0002_two.sql", "ALTER TABLE a ADD COLUMN y;\nINSERT INTO a VALUES (1, 2);")
    assert schema.migrate(connection, (one,)) == (0, 1)
    assert schema.migrate(connection, (one, two)) == (1, 2)
    assert schema.migrate(connection, (one, two)) == (2, 2)
    assert connection.execute("SELECT * FROM a").fetchall() == [(1, 2)]
    connection.close()


def test_migration_that_fails_changes_nothing() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    one = schema.Migration(1, "0001_one.sql", "CREATE TABLE a (x);")
    bad = schema.Migration(2, "0002_bad.sql", "CREATE TABLE b (x);\nINSERT INTO nowhere VALUES (1);")
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection, (one, bad))
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]
    connection.close()


# --- reading beside writing -------------------------------------------------------------------------------------


def test_reading_from_another_thread_sees_whole_commits(path: Path) -> None:
    """While one thread adds messages in pairs, another never sees one of a pair."""
    store = SqliteStore(path)
    store.commit([peer()])
    odd: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            snapshot = store.load()
            if len(snapshot.waiting) % 2 or len(store.history(BOB, 1000)) % 2:
                odd.append(len(snapshot.waiting))

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(1, 200, 2):
        store.commit([out(n), out(n + 1)])
        store.tidy()
    done.set()
    reader.join()
    store.close()
    assert odd == []


def test_load_sees_what_was_committed_since_the_opening(path: Path) -> None:
    store = SqliteStore(path)
    store.commit([peer()])
    assert len(store.load().peers) == 1
    store.commit([out(1)])
    assert len(store.load().waiting) == 1
    store.close()


def test_the_log_is_emptied_when_it_has_grown(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pchat.store.sqlite.CHECKPOINT_FRAMES", 100)
    store = SqliteStore(path)
    store.commit([peer()])
    for n in range(1, 300):
        store.commit([out(n)])
        store.tidy()
    log_bytes = path.with_name("chat.db-wal").stat().st_size
    written = store.written()
    store.close()
    assert log_bytes < 150 * 1048
    assert written.commits == 300
    assert written.bytes_written > 10 * log_bytes
    # One for each commit, and three for each time round: the checkpoint's two and the log's new header.
    assert 300 + 3 * 10 < written.fsyncs < 300 + 3 * 60


# --- what it costs ----------------------------------------------------------------------------------------------


def test_a_burst_stays_within_its_budget_of_bytes_and_syncs(path: Path) -> None:
    """1,000 messages of 200 bytes, sent and delivered in groups of 50: at most 1.5 MB and 40 syncs, all included."""
    store = SqliteStore(path)
    store.commit([peer()])
    before = store.written()
    groups = [range(first, first + 50) for first in range(1, 8001, 50)]
    for group, last in zip([*groups, range(0)], [range(0), *groups], strict=True):
        store.commit([*(out(n, body="x" * 200) for n in group), delivered(*last, sent=1)])
        store.tidy()
    store.checkpoint()
    after = store.written()
    store.close()
    assert (after.fsyncs - before.fsyncs) / 8 <= 40
    assert (after.bytes_written - before.bytes_written) / 8 <= 1_500_000


def test_bytes_are_counted_as_the_log_grows(path: Path) -> None:
    store = SqliteStore(path)
    log = path.with_name("chat.db-wal")
    store.tidy()
    size_bytes, written = log.stat().st_size, store.written()
    store.commit([peer(), *(out(n) for n in range(1, 100))])
    store.commit([delivered(*range(1, 100))])
    store.commit([delivered(*range(1, 100))])
    store.tidy()
    grown = store.written()
    assert grown.bytes_written - written.bytes_written == log.stat().st_size - size_bytes
    assert (grown.commits, grown.fsyncs) == (2, 2), "a commit that changes nothing costs nothing"
    store.close()


# --- long histories ---------------------------------------------------------------------------------------------

HALF = 50_000
LARGE_TABLES = {"messages", "m", "contents", "c", "message_ids", "i", "events", "e"}
SHORT_INDEXES = ("messages_waiting", "messages_unread", "messages_untold", "messages_revived")


@pytest.fixture(scope="module")
def long_history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """One conversation of 100,000 messages, all delivered and read but for a few."""
    store = SqliteStore(tmp_path_factory.mktemp("long") / "chat.db")
    store.commit([peer()])
    for first in range(1, HALF, 10_000):
        numbers = range(first, first + 10_000)
        store.commit([op for n in numbers for op in (out(n), incoming(n + HALF))])
        store.commit([delivered(*(n for n in numbers if n % 5000)), ops.MarkReadByUs(BOB, None, at(first), tell=True)])
        store.commit([ops.ReadTold(BOB, tuple(mid(n + HALF) for n in numbers))])
    store.commit([dead(5000), incoming(3 * HALF)])
    yield store
    store.close()


def statements_of(store: SqliteStore, use: Callable[[], object]) -> set[str]:
    """Return the statements that are run, with their values."""
    statements: set[str] = set()
    connections = (store._connection, store._reader._connection)
    for connection in connections:
        connection.set_trace_callback(statements.add)
    use()
    for connection in connections:
        connection.set_trace_callback(None)
    return {text for text in statements if text.lstrip().startswith(("SELECT", "UPDATE", "INSERT", "DELETE"))}


def steps_of(store: SqliteStore, use: Callable[[], object]) -> int:
    """Return how many steps of its machine SQLite takes to read."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    store._reader._connection.set_progress_handler(step, 1)
    use()
    store._reader._connection.set_progress_handler(None, 1)
    return steps


def read_everything(store: SqliteStore) -> None:
    store.load()
    store.history(BOB, 50)
    store.history(BOB, 50, before=mid(60))
    store.history(BOB, 50, after=mid(60))
    store.history(BOB, 50, before=mid(90), after=mid(60))
    store.message(mid(77))
    store.outbox()
    store.outbox(BOB)
    store.letters(BOB)
    store.letter(mid(5000))
    store.unread_count(BOB)
    store.unread_counts()
    store.last_messages()
    store.events_since(1000, 50)
    store.event_range()


def do_everything(store: SqliteStore) -> None:
    n = 4 * HALF
    store.commit(
        [
            out(n),
            incoming(n + 1, seen=mid(n)),
            ops.MarkTransmitted((mid(n),)),
            ops.MarkSent((mid(n),), at(1)),
            ops.RecordAttempt(mid(n), 1, at(2), Reason.REFUSED, "", at(1)),
            ops.ResetAttempts(mid(n)),
            dead(n),
            ops.SettleLetters((mid(n),), at(2)),
            revive(n, n + 1),
            ops.BeginCancel(BOB, mid(n), at(2)),
            delivered(n),
            ops.MarkReadByPeer(BOB, (mid(n),), at(2)),
            ops.MarkReadByUs(BOB, mid(n + 1), at(3), tell=True),
            ops.ReadTold(BOB, (mid(n + 1),)),
            ops.QueryApplied(BOB, (mid(n + 1),)),
            ops.QueryStream(BOB, 40_000, 40_100),
            ops.NotePresence(BOB, "bob", "online", True, at(3)),
            peer(alias="b"),
        ]
    )


@pytest.mark.parametrize("use", [read_everything, do_everything])
def test_no_statement_walks_the_history(long_history: SqliteStore, use: Callable[[SqliteStore], None]) -> None:
    """Whatever is read or applied, SQLite finds it by an index; only short, partial indexes are read through."""
    statements = statements_of(long_history, lambda: use(long_history))
    walks = set()
    for statement in statements:
        for *_, step in long_history._connection.execute(f"EXPLAIN QUERY PLAN {statement}"):
            verb, _, rest = step.partition(" ")
            table, _, how = rest.partition(" ")
            if verb == "SCAN" and table in LARGE_TABLES and not how.endswith(SHORT_INDEXES):
                walks.add((step, statement))
    assert len(statements) >= 13
    assert not walks


def test_reading_takes_the_same_steps_however_long_the_history(long_history: SqliteStore, path: Path) -> None:
    """A page in the middle, the newest page, the start of a node: 100,000 messages cost what 200 do."""
    short = SqliteStore(path)
    short.commit([peer(), *(op for n in range(1, 101) for op in (out(n), incoming(n + HALF)))])
    short.commit([delivered(*range(1, 101)), ops.MarkReadByUs(BOB, None, at(1), tell=False)])
    short.commit([incoming(3 * HALF)])
    uses: list[Callable[[SqliteStore], object]] = [
        lambda store: store.history(BOB, 50),
        lambda store: store.history(BOB, 50, before=mid(80)),
        lambda store: store.history(BOB, 50, after=mid(20)),
        lambda store: store.last_messages(),
        lambda store: store.unread_counts(),
        lambda store: store.events_since(100, 50),
    ]
    for number, use in enumerate(uses):
        few = steps_of(short, functools.partial(use, short))
        many = steps_of(long_history, functools.partial(use, long_history))
        assert many <= few + 100, number
    assert steps_of(long_history, long_history.load) < 1000 + steps_of(short, short.load)
    short.close()
