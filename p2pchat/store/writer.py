"""The one thread that writes: it groups what is submitted into transactions.

Theory of operation
===================

``submit`` puts a numbered batch of operations in a queue and returns at once. The thread commits **everything** that is
queued, in order and in one transaction, as soon as one of these holds:

* a durable batch is queued (somebody waits for it): at once when idle, and while a commit runs the next one gathers;
* ``flush_threshold`` operations are queued, or the first of them waits for ``flush_interval_s``;
* ``flush`` or ``close`` was called.

Lazy batches alone wait, so that small changes that promise nothing share one commit. What is submitted while a commit
runs belongs to the next one: its own wait starts when it is submitted, and no earlier commit answers for it.

**A failed commit is a crash.** The store has rolled it back; the writer reports it once, drops what is queued and
everything that is submitted from then on, until ``resume``. Whoever owns it builds its node anew from the store first.

Callbacks run in this thread, in the order of the commits; they must not block (``loop.call_soon_threadsafe``).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import msgspec

from p2pchat.core.ops import Op, Outcome
from p2pchat.errors import StoreError
from p2pchat.store.failures import DatabaseFailure, FailureKind
from p2pchat.store.interface import Store
from p2pchat.store.notices import Recorded

OnCommit = Callable[[int, tuple[Outcome, ...], tuple[Recorded, ...]], None]
"""Called with the number of the last batch that is on disk now, and what its transaction found and recorded."""

OnFailure = Callable[[StoreError], None]
OnProbed = Callable[[StoreError | None], None]
"""Called with None if the disk takes writes."""

MAX_BATCH_OPS: Final = 4096
"""Longest transaction: beyond it, latency grows and nothing is saved."""

MAX_BACKLOG_OPS: Final = 200_000
"""So much waits only if the disk hangs; more counts as its failure."""


class Clock(Protocol):
    """What the writer knows of time; tests have one that stands still."""

    def now(self) -> float:
        """Return seconds on a clock that never jumps back."""

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        """Wait until the condition is notified or the time is over; returning early does no harm."""


class MonotonicClock:
    """The real one."""

    def now(self) -> float:
        """See :class:`Clock`."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, timeout_s: float | None) -> None:
        """See :class:`Clock`."""
        condition.wait(timeout_s)


class WriterMetrics(msgspec.Struct, frozen=True):
    """Figures since the writer was made.

    Attributes:
        commits, fsyncs, bytes_written: of the store (see :class:`~p2pchat.store.rows.Written`).
        flushes: commits that only lazy changes asked for.
        changes: operations committed; ``backlog`` those that wait.
    """

    commits: int
    fsyncs: int
    bytes_written: int
    flushes: int
    changes: int
    backlog: int
    last_error: str | None


class _Batch(NamedTuple):
    number: int
    ops: tuple[Op, ...]
    lazy: bool
    queued_at_s: float


class Writer:
    """Owns the writing side of a store from ``start`` to ``close``."""

    def __init__(
        self,
        store: Store,
        on_commit: OnCommit,
        on_failure: OnFailure,
        *,
        flush_interval_s: float = 1.0,
        flush_threshold: int = 50,
        clock: Clock | None = None,
    ) -> None:
        """Make a writer; ``flush_interval_s=0`` writes through: every batch is committed at once."""
        self._store = store
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._interval_s = flush_interval_s
        self._threshold = flush_threshold
        self._clock = clock or MonotonicClock()
        self._wake = threading.Condition()
        self._queue: deque[_Batch] = deque()
        self._ops = 0
        self._durable = 0
        self._flush_asked = False
        self._closing = False
        self._failed = False
        self._probes: list[OnProbed] = []
        self._flushes = 0
        self._changes = 0
        self._last_error: str | None = None
        self._thread = threading.Thread(target=self._run, name="p2pchat-store", daemon=True)

    # --- called from any thread; nothing here waits for the disk --------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, number: int, ops: tuple[Op, ...], lazy: bool) -> bool:
        """Queue a batch; False if it was dropped, because a commit failed or the writer was closed."""
        with self._wake:
            if self._failed or self._closing:
                return False
            self._queue.append(_Batch(number, ops, lazy, self._clock.now()))
            self._ops += len(ops)
            self._durable += not lazy
            self._wake.notify()
        return True

    def flush(self) -> None:
        """Have everything that is queued now committed without waiting."""
        with self._wake:
            self._flush_asked = bool(self._queue)
            self._wake.notify()

    def resume(self) -> None:
        """Take batches again after a failure; what was submitted in between stays dropped."""
        with self._wake:
            self._failed = False

    def probe(self, on_probed: OnProbed) -> None:
        """Try whether the disk takes writes, for real; the answer comes in the writer's thread."""
        with self._wake:
            self._probes.append(on_probed)
            self._wake.notify()

    def metrics(self) -> WriterMetrics:
        """Return the figures."""
        written = self._store.written()
        with self._wake:
            return WriterMetrics(
                commits=written.commits,
                fsyncs=written.fsyncs,
                bytes_written=written.bytes_written,
                flushes=self._flushes,
                changes=self._changes,
                backlog=self._ops,
                last_error=self._last_error,
            )

    def close(self, timeout_s: float = 30.0) -> bool:
        """Commit what is queued, empty the log, end the thread. Blocks: not for the event loop.

        The store stays open, for its owner to close.

        Returns:
            False if the disk did not answer in time; the thread may then still run.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            probes, batches = self._next()
            for on_probed in probes:
                self._probe(on_probed)
            if batches:
                self._commit(batches)
            elif not probes:
                break
        self._quietly(self._store.checkpoint)

    def _next(self) -> tuple[list[OnProbed], list[_Batch]]:
        """Wait for work; nothing of either kind means that the writer was closed and has nothing left."""
        with self._wake:
            while True:
                if self._probes:
                    probes, self._probes = self._probes, []
                    return probes, []
                if self._queue and self._due_in_s() <= 0:
                    return [], self._take()
                if self._closing:
                    return [], []
                self._clock.wait(self._wake, self._due_in_s() if self._queue else None)

    def _due_in_s(self) -> float:
        """Return how long what is queued may still wait."""
        crowded = self._ops >= self._threshold
        if self._durable or crowded or self._flush_asked or self._closing or self._interval_s <= 0:
            return 0.0
        return self._queue[0].queued_at_s + self._interval_s - self._clock.now()

    def _take(self) -> list[_Batch]:
        taken: list[_Batch] = []
        size = 0
        while self._queue and (not taken or size + len(self._queue[0].ops) <= MAX_BATCH_OPS):
            batch = self._queue.popleft()
            size += len(batch.ops)
            self._durable -= not batch.lazy
            taken.append(batch)
        self._ops -= size
        if not self._queue:
            self._flush_asked = False
        return taken

    def _commit(self, batches: list[_Batch]) -> None:
        ops = [op for batch in batches for op in batch.ops]
        try:
            result = self._store.commit(ops)
        except StoreError as error:
            self._fail(error)
            return
        except Exception as error:  # a bug must be heard of, and must not end the thread in silence
            self._fail(DatabaseFailure(FailureKind.OTHER, f"an operation could not be applied ({error!r})"))
            return
        with self._wake:
            self._changes += len(ops)
            self._flushes += all(batch.lazy for batch in batches)
            overrun = self._ops > MAX_BACKLOG_OPS
        self._on_commit(batches[-1].number, result.outcomes, result.recorded)
        self._quietly(self._store.tidy)
        if overrun:
            self._fail(DatabaseFailure(FailureKind.IO, "the disk is too slow: too many changes wait for it"))

    def _fail(self, error: StoreError) -> None:
        with self._wake:
            self._failed = True
            self._last_error = str(error)
            self._queue.clear()
            self._ops = self._durable = 0
            self._flush_asked = False
        self._on_failure(error)

    def _probe(self, on_probed: OnProbed) -> None:
        try:
            self._store.probe()
        except StoreError as error:
            with self._wake:
                self._last_error = str(error)
            on_probed(error)
        else:
            on_probed(None)

    def _quietly(self, housekeeping: Callable[[], None]) -> None:
        """Do what loses nothing if it fails; the next commit meets the same disk and says so."""
        try:
            housekeeping()
        except StoreError as error:
            with self._wake:
                self._last_error = str(error)
