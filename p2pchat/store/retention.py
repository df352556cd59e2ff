"""How long stored events are kept: at most some days and some rows, pruned a few at a time.

Pruning rides with a commit that records events anyway, when enough new ones have come or enough time has passed by
their own clock. Only the oldest go, as one run without gaps, and never the newest: its id is what the next one counts
on from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Retention:
    """The numbers to prune by.

    Attributes:
        age_ms, rows: older events and more rows than this may go.
        every: look after so many new events, or after ``interval_ms``.
        chunk: remove at most so many at once, unless more came at once.
    """

    age_ms: int = 7 * _DAY_MS
    rows: int = 200_000
    every: int = 512
    interval_ms: int = _HOUR_MS
    chunk: int = 2_000


class Pruner:
    """Decides when to prune, and how far."""

    def __init__(self, retention: Retention) -> None:
        self.retention = retention
        self._new = retention.every
        self._came = 0
        self._looked_at_ms: int | None = None

    def due(self, new: int, newest_at_ms: int) -> bool:
        """Tell whether it is time to look, now that ``new`` more events are stored."""
        self._new += new
        late = self._looked_at_ms is None or newest_at_ms - self._looked_at_ms >= self.retention.interval_ms
        if self._new < self.retention.every and not late:
            return False
        self._came, self._new, self._looked_at_ms = self._new, 0, newest_at_ms
        return True

    def reach(self) -> int:
        """Return how many of the oldest events to look at: enough to keep up with what came since the last look."""
        return max(self.retention.chunk, 2 * self._came)

    def keep_from(self, oldest: Iterable[tuple[int, int]], last_id: int, newest_at_ms: int) -> int:
        """Return the first event id to keep.

        Args:
            oldest: id and time of the oldest events, at most ``reach`` of them, in order.
            last_id: the newest event's id.
        """
        keep_from = last_id - self.retention.rows + 1
        too_old_ms = newest_at_ms - self.retention.age_ms
        first = last_id
        for event_id, at_ms in oldest:
            if event_id >= keep_from and at_ms >= too_old_ms:
                return event_id
            first = min(event_id + 1, last_id)
        return first

    def copy(self) -> Pruner:
        """Return another one in the same state."""
        other = Pruner(self.retention)
        other._new, other._looked_at_ms = self._new, self._looked_at_ms
        return other
