"""The store as the engine uses it: a thread that writes, a thread that reads, nothing on the loop.

Writing goes through the group-commit :class:`~p2pchat.store.writer.Writer`. Reading (history, lists, replay) runs one
query after the other in the thread ``p2pchat-reader``; the answer is handed to a function on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from p2pchat.core.ops import AdoptIdentity, Op
from p2pchat.core.records import Snapshot
from p2pchat.errors import StoreError
from p2pchat.model import DeviceId
from p2pchat.store.interface import Reader, Store
from p2pchat.store.sqlite import SqliteStore
from p2pchat.store.writer import OnCommit, OnFailure, Writer, WriterMetrics

T = TypeVar("T")

Open = Callable[[bool], Store]
"""Open the store; True: check the whole file first."""


def open_sqlite(path: Path) -> Open:
    """Return what opens the database at ``path``."""
    return lambda check: SqliteStore(path, check=check)


class Storage:
    """Owns the store from :meth:`open` to :meth:`close`; both block.

    Attributes:
        quarantined: where databases that could not be read are now.
    """

    def __init__(self, open_store: Open, *, flush_interval_s: float = 1.0, flush_threshold: int = 50) -> None:
        self._open_store = open_store
        self._flush = (flush_interval_s, flush_threshold)
        self._store: Store | None = None
        self._device: DeviceId | None = None
        self._writer: Writer | None = None
        self._callbacks: tuple[OnCommit, OnFailure] | None = None
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="p2pchat-reader")
        self._loop: asyncio.AbstractEventLoop | None = None
        self.quarantined: list[Path] = []

    @property
    def store(self) -> Store:
        """The open store."""
        assert self._store is not None
        return self._store

    # --- life ---------------------------------------------------------------------------------------------------

    def open(self, device: DeviceId, *, check: bool = False) -> Snapshot:
        """Open the store of this device and load what a node starts from. Blocks.

        Raises:
            StoreError: it cannot be opened or read.
        """
        self._device = device
        self._store = self._open_store(check)
        # On a full disk the engine starts all the same, and holds; whose store it is was noted at its first start.
        with contextlib.suppress(StoreError):
            self._store.commit((AdoptIdentity(device),))
        opened = getattr(self._store, "opened", None)
        if opened is not None and opened.quarantined is not None:
            self.quarantined.append(opened.quarantined)
        return self._store.load()

    def start(self, on_commit: OnCommit, on_failure: OnFailure) -> None:
        """Start to write; both functions are called in the writer's thread. Call it on the loop."""
        self._loop = asyncio.get_running_loop()
        self._callbacks = (on_commit, on_failure)
        self._start_writer()

    def _start_writer(self) -> None:
        assert self._callbacks is not None
        interval_s, threshold = self._flush
        self._writer = Writer(self.store, *self._callbacks, flush_interval_s=interval_s, flush_threshold=threshold)
        self._writer.start()

    def close(self) -> bool:
        """Write what is queued and close. Blocks; idempotent. False if the disk did not answer in time."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        ended = self._writer is None or self._writer.close()
        store, self._store = self._store, None
        if store is not None and ended:
            with contextlib.suppress(StoreError):
                store.close()
        return ended

    # --- writing ------------------------------------------------------------------------------------------------

    def submit(self, number: int, ops: Sequence[Op], lazy: bool) -> None:
        """Queue operations, after all earlier ones. What comes after a failure is dropped, as the node will be."""
        assert self._writer is not None
        self._writer.submit(number, tuple(ops), lazy)

    def resume(self) -> None:
        """Take operations again after a failure."""
        assert self._writer is not None
        self._writer.resume()

    async def probe(self) -> None:
        """Write a little, for real.

        Raises:
            StoreError: the disk does not take it.
        """
        assert self._writer is not None
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[StoreError | None] = loop.create_future()

        def answer(error: StoreError | None) -> None:
            if not answered.done():
                answered.set_result(error)

        self._writer.probe(lambda error: _call_on(loop, lambda: answer(error)))
        error = await answered
        if error is not None:
            raise error

    async def reload(self, *, restart: bool = False, reopen: bool = False) -> Snapshot:
        """Load what a new node starts from.

        Args:
            restart: first write all that is queued, and begin with a new writer (the old node's numbers end).
            reopen: close the database, check it, open it anew; damage is put into quarantine.

        Raises:
            StoreError: it cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self._reload(restart or reopen, reopen)
        )

    def _reload(self, restart: bool, reopen: bool) -> Snapshot:
        if restart and self._writer is not None:
            self._writer.close()
        if reopen:
            with contextlib.suppress(StoreError):
                self.store.close()
            assert self._device is not None
            snapshot = self.open(self._device, check=True)
        else:
            snapshot = self.store.load()
        if restart:
            self._start_writer()
        return snapshot

    def metrics(self) -> WriterMetrics:
        """The writer's figures."""
        assert self._writer is not None
        return self._writer.metrics()

    # --- reading ------------------------------------------------------------------------------------------------

    def read(
        self, query: Callable[[Reader], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """Run a query in the reader's thread; one of the two functions is called on the loop, later.

        Neither is called when the engine ends first.
        """
        assert self._loop is not None
        loop = self._loop

        def came(future: Future[T]) -> None:
            if not future.cancelled():
                _call_on(loop, lambda: deliver(future))

        def deliver(future: Future[T]) -> None:
            error = future.exception()
            if error is None:
                done(future.result())
            elif isinstance(error, Exception):
                failed(error)

        try:
            self._threads.submit(lambda: query(self.store)).add_done_callback(came)
        except RuntimeError:
            failed(StoreError("the engine is ending"))


def _call_on(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everybody who asked
        loop.call_soon_threadsafe(call)
