"""What follows a crash of the node: a new one, made from what is stored.

::

    running ──crash──► loading ──loaded──► running, writes held back ──probe well──► running
                          └──cannot read: again, later──┘       └──no: again, later──┘

After a fault of ours there is nothing to probe. After a failure of the disk the new node knows of it, refuses new
messages, tells its peers to hold, and a probe is written every ``probe_s``, then less often, until it succeeds. A
database that turns out to be damaged is opened anew with a check, which puts it into quarantine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from p2pchat.core.records import Snapshot
from p2pchat.engine.runtime import Runtime
from p2pchat.engine.storage import Storage
from p2pchat.errors import StoreError
from p2pchat.store.failures import DatabaseFailure, FailureKind

_log = logging.getLogger(__name__)

PROBE_S: Final = 2.0
MAX_PROBE_S: Final = 10.0
_BACKOFF: Final = 1.5


class Recovery:
    """Waits for crashes and mends them, one after the other; :meth:`run` is a task of the engine.

    Args:
        told: called with each step in words, for the log and the clients.
    """

    def __init__(
        self, runtime: Runtime, storage: Storage, told: Callable[[str, str], None], *, probe_s: float = PROBE_S
    ) -> None:
        self._runtime = runtime
        self._storage = storage
        self._told = told
        self._probe_s = probe_s
        self._crashed = asyncio.Event()
        self._detail = ""
        self._of_storage = False
        self._corrupt = False

    def crashed(self, detail: str, *, storage: bool) -> None:
        """The node is gone."""
        self._detail = detail
        self._of_storage = storage
        self._crashed.set()

    def failed(self, error: Exception) -> None:
        """A commit failed; comes before the crash that follows from it, from any thread."""
        self._corrupt = isinstance(error, DatabaseFailure) and error.kind is FailureKind.CORRUPT

    async def run(self) -> None:
        """Mend until cancelled."""
        while True:
            await self._crashed.wait()
            self._crashed.clear()
            self._told("engine:crashed", self._detail)
            snapshot = await self._load()
            self._runtime.start(snapshot, storage_failure=self._detail if self._of_storage else "")
            if self._of_storage:
                await self._wait_for_the_disk()

    async def _load(self) -> Snapshot:
        delay_s = self._probe_s
        while True:
            try:
                return await self._storage.reload(restart=not self._of_storage, reopen=self._corrupt)
            except StoreError as error:
                self._of_storage = True
                self._detail = self._runtime.storage_detail = str(error)
                _log.error("the store cannot be read", extra={"error": str(error)})
            await asyncio.sleep(delay_s)
            delay_s = min(MAX_PROBE_S, delay_s * _BACKOFF)

    async def _wait_for_the_disk(self) -> None:
        delay_s = self._probe_s
        while not self._crashed.is_set():
            await asyncio.sleep(delay_s)
            delay_s = min(MAX_PROBE_S, delay_s * _BACKOFF)
            try:
                await self._storage.probe()
            except StoreError as error:
                self._runtime.storage_detail = str(error)
                continue
            self._storage.resume()
            self._runtime.storage_recovered()
            self._told("storage:recovered", "the disk takes writes again")
            return
