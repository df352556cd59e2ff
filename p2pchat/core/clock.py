"""Order within a conversation: the hybrid logical clock and the place of a message.

A clock value is ``milliseconds << 16 | counter``. A *place* is a clock value fixed when a message is inserted; the
conversation is sorted by it. However wrong the author's clock is, a message stands at most five minutes after its
arrival, after everything that its author had seen, and after its author's previous one.
"""

from __future__ import annotations

from typing import Final

MAX_AHEAD_MS: Final = 300_000
"""How far after its arrival a message may stand."""

_COUNTER_BITS: Final = 16


def at_ms(wall_ms: int) -> int:
    """Return the clock value of the start of a millisecond."""
    return wall_ms << _COUNTER_BITS


def place(
    hlc: int,
    received_at_ms: int,
    seen_place: int | None,
    previous_place: int | None,
    next_place: int | None = None,
) -> int:
    """Return where an incoming message stands; of two in one place the one inserted later stands later.

    Args:
        hlc: its author's clock.
        received_at_ms: our wall clock at its arrival.
        seen_place: our place of the last message that its author had seen, if we have it.
        previous_place: our place of its author's previous message, if there is one.
        next_place: our place of its author's next message, if that came before it (a hole is being filled).
    """
    floor = max(0 if seen_place is None else seen_place + 1, 0 if previous_place is None else previous_place + 1)
    where = max(min(hlc, at_ms(received_at_ms + MAX_AHEAD_MS)), floor)
    return where if next_place is None else max(floor, min(where, next_place - 1))


class HybridClock:
    """Our own clock: never goes back, keeps ahead of what was merged."""

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def tick(self, wall_ms: int) -> int:
        """Return the clock value of a new event of ours."""
        self.last = max(self.last + 1, at_ms(wall_ms))
        return self.last

    def merge(self, remote: int, wall_ms: int) -> None:
        """Take note of a peer's clock, but of no more than five minutes ahead of ours."""
        self.last = max(self.last, min(remote, at_ms(wall_ms + MAX_AHEAD_MS)))
