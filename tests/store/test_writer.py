"""The writer: what it commits together, when, and what it does when the disk fails. Time stands still in here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import pytest

from p2pchat.core import ops, records
from p2pchat.core.ops import Op, Outcome
from p2pchat.errors import StoreError
from p2pchat.model import State
from p2pchat.store.failures import DatabaseFailure, FailureKind
from p2pchat.store.interface import CommitResult
from p2pchat.store.memory import MemoryStore
from p2pchat.store.notices import Recorded
from p2pchat.store.rows import Written
from p2pchat.store.sqlite import SqliteStore
from p2pchat.store.writer import MAX_BATCH_OPS, Writer
from tests.contract.samples import BOB, at, delivered, mid, out, peer

PATIENCE_S = 10.0


class StillClock:
    """A clock that tests move; whoever waits on it wakes up when it is moved."""

    def __init__(self) -> None:
        self._now = 100.0
        self._waiting: threading.Condition | None = None
        self.timeouts: Queue[float | None] = Queue()

    def now(self) -> float:
        return self._now

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        self._waiting = condition
        self.timeouts.put(timeout_s)
        condition.wait()

    def advance(self, seconds: float) -> None:
        assert self._waiting is not None
        with self._waiting:
            self._now += seconds
            self._waiting.notify_all()

    def next_wait(self) -> float | None:
        """Return for how long the writer goes to sleep, once it does."""
        return self.timeouts.get(timeout=PATIENCE_S)


class GatedStore(MemoryStore):
    """A store in memory whose commits can be held up, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[Op]] = []
        self.entered: Queue[int] = Queue()
        self.gate = threading.Semaphore(1000)
        self.failure: Exception | None = None
        self.sick: StoreError | None = None
        self.active = 0
        self.overlapped = False
        self.checkpoints = 0

    def commit(self, ops: Sequence[Op]) -> CommitResult:
        self.active += 1
        self.overlapped |= self.active > 1
        self.entered.put(len(ops))
        assert self.gate.acquire(timeout=PATIENCE_S)
        self.active -= 1
        if self.failure is not None:
            raise self.failure
        self.batches.append(list(ops))
        return super().commit(ops)

    def shut(self) -> None:
        """Hold up commits until the gate is released."""
        self.gate = threading.Semaphore(0)

    def tidy(self) -> None:
        if self.sick is not None:
            raise self.sick

    def checkpoint(self) -> None:
        self.checkpoints += 1

    def probe(self) -> None:
        if self.failure is not None:
            raise self.failure


@dataclass
class Desk:
    """A writer with its store and what it reported."""

    clock: StillClock = field(default_factory=StillClock)
    store: GatedStore = field(default_factory=GatedStore)
    committed: Queue[tuple[int, tuple[Outcome, ...], tuple[Recorded, ...]]] = field(default_factory=Queue)
    failed: Queue[StoreError] = field(default_factory=Queue)

    def writer(self, **options: float) -> Writer:
        made = Writer(
            self.store,
            lambda upto, outcomes, recorded: self.committed.put((upto, outcomes, recorded)),
            self.failed.put,
            clock=self.clock,
            **options,  # type: ignore[arg-type]  # threshold is an int
        )
        made.start()
        return made

    def upto(self) -> int:
        return self.committed.get(timeout=PATIENCE_S)[0]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def start(desk: Desk) -> Iterator[Callable[..., Writer]]:
    writers: list[Writer] = []

    def make(**options: float) -> Writer:
        writers.append(desk.writer(**options))
        return writers[-1]

    yield make
    desk.store.gate.release(1000)
    for writer in writers:
        assert writer.close(PATIENCE_S)


def lazy(n: int) -> tuple[Op, ...]:
    return (ops.MarkTransmitted((mid(n),)),)


def test_writer_commits_a_durable_batch_at_once(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start()
    assert writer.submit(1, (peer(), out(1)), lazy=False)
    upto, outcomes, recorded = desk.committed.get(timeout=PATIENCE_S)
    assert upto == 1
    assert outcomes == (ops.OutgoingStored(BOB, mid(1), True, State.PENDING),)
    assert [event.name for event in recorded] == ["peer:changed", "message:queued"]


def test_writer_groups_what_comes_during_a_commit(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start()
    desk.store.shut()
    writer.submit(1, (peer(),), lazy=False)
    assert desk.store.entered.get(timeout=PATIENCE_S) == 1
    for n in range(2, 32):
        writer.submit(n, (out(n),), lazy=False)
    assert desk.committed.empty()
    desk.store.gate.release(2)
    assert (desk.upto(), desk.upto()) == (1, 31)
    assert [len(batch) for batch in desk.store.batches] == [1, 30]
    assert not desk.store.overlapped


def test_writer_keeps_the_order_of_submission(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start()
    desk.store.shut()
    batches = [(out(n), delivered(n)) for n in range(1, 9)]
    for n, batch in enumerate(batches, 1):
        writer.submit(n, batch, lazy=n % 2 == 0)
    desk.store.gate.release(9)
    writer.close(PATIENCE_S)
    assert [op for done in desk.store.batches for op in done] == [op for batch in batches for op in batch]


def test_writer_splits_what_is_too_long_for_one_transaction(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start()
    desk.store.shut()
    writer.submit(1, lazy(1), lazy=False)
    assert desk.store.entered.get(timeout=PATIENCE_S) == 1
    many = lazy(1) * (MAX_BATCH_OPS - 1)
    writer.submit(2, many, lazy=False)
    writer.submit(3, lazy(1) * 2, lazy=True)
    desk.store.gate.release(3)
    assert (desk.upto(), desk.upto()) == (1, 2)
    assert desk.store.batches[1] == list(many)
    writer.flush()
    assert desk.upto() == 3


def test_lazy_changes_wait_for_the_interval_since_the_first(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start(flush_interval_s=1.0)
    assert desk.clock.next_wait() is None
    writer.submit(1, lazy(1), lazy=True)
    assert desk.clock.next_wait() == pytest.approx(1.0)
    desk.clock.advance(0.75)
    assert desk.clock.next_wait() == pytest.approx(0.25)
    writer.submit(2, lazy(2), lazy=True)
    assert desk.clock.next_wait() == pytest.approx(0.25)
    assert desk.committed.empty()
    desk.clock.advance(0.25)
    assert desk.upto() == 2
    assert writer.metrics().flushes == 1
    assert len(desk.store.batches) == 1


def test_lazy_changes_are_committed_at_the_threshold(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start(flush_threshold=50)
    writer.submit(1, lazy(1) * 49, lazy=True)
    while desk.clock.next_wait() is None:
        pass
    assert desk.committed.empty()
    writer.submit(2, lazy(2), lazy=True)
    assert desk.upto() == 2
    assert len(desk.store.batches[0]) == 50


def test_lazy_changes_ride_with_a_durable_one(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start()
    writer.submit(1, lazy(1), lazy=True)
    writer.submit(2, (peer(),), lazy=False)
    assert desk.upto() == 2
    assert (len(desk.store.batches), writer.metrics().flushes) == (1, 0)


def test_lazy_changes_of_a_running_commit_start_their_own_wait(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start(flush_interval_s=1.0)
    assert desk.clock.next_wait() is None
    desk.store.shut()
    writer.submit(1, (peer(),), lazy=False)
    assert desk.store.entered.get(timeout=PATIENCE_S) == 1
    writer.submit(2, lazy(1), lazy=True)
    desk.store.gate.release()
    assert desk.upto() == 1
    assert desk.clock.next_wait() == pytest.approx(1.0)
    assert desk.committed.empty()
    assert writer.metrics().backlog == 1
    desk.store.gate.release()
    desk.clock.advance(1.0)
    assert desk.upto() == 2


def test_flush_commits_lazy_changes_now(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start()
    writer.submit(1, lazy(1), lazy=True)
    writer.flush()
    assert desk.upto() == 1


def test_flush_of_nothing_does_not_hurry_what_comes_later(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start(flush_interval_s=1.0)
    assert desk.clock.next_wait() is None
    writer.flush()
    assert desk.clock.next_wait() is None
    writer.submit(1, lazy(1), lazy=True)
    assert desk.clock.next_wait() == pytest.approx(1.0)
    assert desk.committed.empty()


def test_no_interval_means_write_through(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start(flush_interval_s=0)
    writer.submit(1, lazy(1), lazy=True)
    assert desk.upto() == 1


def test_close_commits_what_waits_and_empties_the_log(desk: Desk) -> None:
    writer = desk.writer()
    writer.submit(1, lazy(1), lazy=True)
    assert writer.close(PATIENCE_S)
    assert desk.upto() == 1
    assert desk.store.checkpoints == 1
    assert not writer.submit(2, lazy(1), lazy=False)


def test_close_gives_up_on_a_disk_that_hangs(desk: Desk) -> None:
    writer = desk.writer()
    desk.store.shut()
    writer.submit(1, lazy(1), lazy=False)
    assert desk.store.entered.get(timeout=PATIENCE_S) == 1
    assert not writer.close(0.01)
    desk.store.gate.release()
    assert writer.close(PATIENCE_S)


@pytest.mark.parametrize("error", [DatabaseFailure(FailureKind.FULL, "the disk is full"), TypeError("a bug")])
def test_failed_commit_is_reported_once_and_everything_after_it_dropped(
    desk: Desk, start: Callable[..., Writer], error: Exception
) -> None:
    writer = start()
    desk.store.shut()
    desk.store.failure = error
    writer.submit(1, (peer(),), lazy=False)
    assert desk.store.entered.get(timeout=PATIENCE_S) == 1
    writer.submit(2, (out(1),), lazy=False)
    desk.store.gate.release(1)
    reported = desk.failed.get(timeout=PATIENCE_S)
    assert str(error) in str(reported)
    desk.store.failure = None
    assert not writer.submit(3, (out(2),), lazy=False)
    assert writer.metrics().backlog == 0
    assert str(error) in (writer.metrics().last_error or "")
    writer.resume()
    desk.store.gate.release(10)
    assert writer.submit(1, (peer(),), lazy=False)
    assert desk.upto() == 1
    assert (desk.failed.empty(), desk.store.batches) == (True, [[peer()]])


def test_failed_housekeeping_fails_no_commit(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start()
    desk.store.sick = DatabaseFailure(FailureKind.IO, "the log cannot be emptied")
    writer.submit(1, (peer(),), lazy=False)
    writer.submit(2, (out(1),), lazy=False)
    while desk.upto() != 2:
        pass
    assert writer.close(PATIENCE_S)
    assert desk.failed.empty()
    assert writer.metrics().last_error == "the log cannot be emptied"


def test_probe_tells_whether_the_disk_takes_writes(desk: Desk, start: Callable[..., Writer]) -> None:
    writer = start()
    desk.store.failure = DatabaseFailure(FailureKind.FULL, "the disk is full")
    writer.submit(1, (peer(),), lazy=False)
    assert desk.failed.get(timeout=PATIENCE_S) is desk.store.failure
    probed: Queue[StoreError | None] = Queue()
    writer.probe(probed.put)
    assert probed.get(timeout=PATIENCE_S) is desk.store.failure
    desk.store.failure = None
    writer.probe(probed.put)
    assert probed.get(timeout=PATIENCE_S) is None


def test_metrics_count_what_the_disk_did(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "chat.db")
    desk = Desk()
    writer = Writer(store, lambda *report: desk.committed.put(report), desk.failed.put)
    writer.start()
    writer.submit(1, (peer(), out(1)), lazy=False)
    assert desk.upto() == 1
    writer.submit(2, (delivered(1),), lazy=True)
    assert writer.close(PATIENCE_S)
    metrics = writer.metrics()
    store.close()
    # Two commits, and the two of the checkpoint at the end.
    assert (metrics.commits, metrics.fsyncs, metrics.flushes, metrics.changes) == (2, 4, 1, 3)
    assert 10_000 < metrics.bytes_written < 60_000
    assert Written(metrics.commits, metrics.fsyncs, metrics.bytes_written) == store.written()


def test_writer_survives_a_full_database(tmp_path: Path) -> None:
    """A commit that finds the disk full changes nothing; the same messages go through once there is room."""
    store = SqliteStore(tmp_path / "chat.db")
    desk = Desk()
    writer = Writer(store, lambda *report: desk.committed.put(report), desk.failed.put)
    store._connection.execute("PRAGMA max_page_count = 60")
    writer.start()
    writer.submit(1, (peer(), *(out(n, body="x" * 500) for n in range(1, 500))), lazy=False)
    failure = desk.failed.get(timeout=PATIENCE_S)
    assert isinstance(failure, DatabaseFailure)
    assert failure.kind is FailureKind.FULL
    assert store.load() == records.Snapshot()
    probed: Queue[StoreError | None] = Queue()
    writer.probe(probed.put)
    assert probed.get(timeout=PATIENCE_S) is not None
    store._connection.execute("PRAGMA max_page_count = 1000000")
    writer.probe(probed.put)
    assert probed.get(timeout=PATIENCE_S) is None
    writer.resume()
    writer.submit(1, (peer(), out(1), ops.NotePresence(BOB, "bob", "online", True, at(1))), lazy=False)
    assert desk.upto() == 1
    assert writer.close(PATIENCE_S)
    store.close()
