"""The simulated disk of one device: a committed store and a queue of what is to be committed.

A commit takes everything that is queued when it begins. Half-way through its time it becomes true (or fails), and at
the end the device hears of it; a crash in between leaves a store that knows more than the node was told. A crash
forgets the queue. Lazy operations wait for the next durable one, for 50 of them, or for a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from p2pchat.core.effects import Persist
from p2pchat.core.inputs import Committed
from p2pchat.core.ops import Op
from p2pchat.core.records import LetterRecord, Snapshot
from p2pchat.model import DeviceId
from p2pchat.store.interface import CommitResult
from p2pchat.store.rows import MessageRow

if TYPE_CHECKING:
    from p2pchat.sim.clockwork import Clockwork
    from p2pchat.sim.device import Device

FLUSH_S: Final = 1.0
FLUSH_OPS: Final = 50


class DiskStore(Protocol):
    """What a store must do here; :class:`p2pchat.store.memory.MemoryStore` does it."""

    def copy(self) -> DiskStore:
        """Return a store with the same contents that changes on its own from here on."""

    def load(self) -> Snapshot:
        """Return everything that a node needs to start."""

    def commit(self, ops: Sequence[Op]) -> CommitResult:
        """Apply operations in order in one transaction."""

    def letters(self) -> list[LetterRecord]:
        """Return all dead letters."""

    def history(self, peer: DeviceId, limit: int) -> list[MessageRow]:
        """Return the last so many messages of a conversation, in its order."""


class Disk:
    """The store of one device and its writer.

    Attributes:
        commit_s: bounds of the time that a commit takes.
        failing: commits fail now.
    """

    def __init__(
        self,
        clock: Clockwork,
        device: Device,
        store: DiskStore,
        commit_s: tuple[float, float],
        committed: Callable[[Device, list[Op], CommitResult], None],
    ) -> None:
        """Args: ``committed`` hears of every commit at the instant at which it becomes true."""
        self.store = store
        self.commit_s = commit_s
        self.failing = False
        self.commits = 0
        self._clock = clock
        self._device = device
        self._heard = committed
        self._queue: list[Persist] = []
        self._lazy_ops = 0
        self._busy = False
        self._flush_at_s: float | None = None
        self._epoch = 0

    def forget(self) -> None:
        """Drop what is not committed: the process is gone."""
        self._queue = []
        self._lazy_ops = 0
        self._busy = False
        self._flush_at_s = None
        self._epoch += 1

    def write(self, persist: Persist) -> None:
        """Queue operations."""
        self._queue.append(persist)
        if not persist.lazy:
            self._begin()
            return
        self._lazy_ops += len(persist.ops)
        if self._lazy_ops >= FLUSH_OPS:
            self._begin()
        elif self._flush_at_s is None:
            self._flush_at_s = self._clock.now_s + FLUSH_S
            self._clock.at(self._flush_at_s, self._flush, self._epoch)

    def _flush(self, epoch: int) -> None:
        if epoch == self._epoch:
            self._flush_at_s = None
            self._begin()

    def _begin(self) -> None:
        if self._busy or not self._queue:
            return
        batch, self._queue = self._queue, []
        self._lazy_ops = 0
        self._busy = True
        delay_s = self._clock.draw(self.commit_s) / 2
        self._clock.after(delay_s, self._commit, self._epoch, batch, delay_s)

    def _commit(self, epoch: int, batch: list[Persist], delay_s: float) -> None:
        if epoch != self._epoch:
            return
        if self.failing:
            self._device.commit_failed()
            return
        operations = [op for persist in batch for op in persist.ops]
        result = self.store.commit(operations)
        self.commits += 1
        self._heard(self._device, operations, result)
        self._clock.after(delay_s, self._done, epoch, Committed(batch[-1].number, result.outcomes))

    def _done(self, epoch: int, committed: Committed) -> None:
        if epoch != self._epoch:
            return
        self._busy = False
        self._device.feed(committed)
        if any(not persist.lazy for persist in self._queue) or self._lazy_ops >= FLUSH_OPS:
            self._begin()
