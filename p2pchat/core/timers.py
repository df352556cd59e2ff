"""Many named deadlines behind one timer.

A key has at most one deadline and at most one live entry in the heap: moving a deadline later only changes the
table, and the entry is pushed again when it comes up early. So re-arming for every message costs nothing. A wake-up
may come early for that reason; it never comes late.
"""

from __future__ import annotations

import heapq

Key = tuple[str, str | int]


class Timers:
    """Deadlines by key, in seconds on the clock of ``Now.mono_s``."""

    def __init__(self) -> None:
        self._at: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._queued: dict[Key, float] = {}

    def set(self, key: Key, at_s: float) -> None:
        """Set or move the deadline of ``key``."""
        self._at[key] = at_s
        queued = self._queued.get(key)
        if queued is None or at_s < queued:
            self._queued[key] = at_s
            heapq.heappush(self._heap, (at_s, key))

    def hasten(self, key: Key, at_s: float) -> None:
        """Set the deadline of ``key`` unless it has an earlier one."""
        if at_s < self._at.get(key, float("inf")):
            self.set(key, at_s)

    def cancel(self, key: Key) -> None:
        """Forget the deadline of ``key``, if it has one."""
        self._at.pop(key, None)

    def armed(self, key: Key) -> bool:
        """Tell whether ``key`` has a deadline."""
        return key in self._at

    def next_s(self) -> float | None:
        """Return a moment not later than the earliest deadline, or None when there is none."""
        while self._heap:
            at, key = self._heap[0]
            if self._queued.get(key) == at and key in self._at:
                return at
            self._pop()
        return None

    def due(self, mono_s: float) -> list[Key]:
        """Take out the keys whose deadline has come, earliest first."""
        keys: list[Key] = []
        while self._heap and self._heap[0][0] <= mono_s:
            key = self._pop()
            if key is None:
                continue
            wanted = self._at.get(key)
            if wanted is None:
                continue
            if wanted <= mono_s:
                del self._at[key]
                keys.append(key)
            else:
                self.set(key, wanted)
        return keys

    def _pop(self) -> Key | None:
        """Drop the first heap entry; return its key if the entry was the live one."""
        at, key = heapq.heappop(self._heap)
        if self._queued.get(key) != at:
            return None
        del self._queued[key]
        return key
