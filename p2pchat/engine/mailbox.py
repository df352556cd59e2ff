"""Brings what the writer's thread reports to the loop: many commits with one wake-up, and in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from p2pchat.core.ops import Outcome
from p2pchat.store.notices import Recorded


class Commits(msgspec.Struct):
    """One or more commits, put together.

    Attributes:
        upto: the number of the last one.
    """

    upto: int
    outcomes: list[Outcome]
    recorded: list[Recorded]


class Mailbox:
    """Reports go in on any thread and come out on the loop.

    Args:
        take: called on the loop with commits, or with the failure that followed them.
    """

    def __init__(self, take: Callable[[Commits | Exception], None]) -> None:
        self._take = take
        self._loop: asyncio.AbstractEventLoop | None = None
        self._posted: deque[Commits | Exception] = deque()
        self._woken = False

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver on this loop from now on."""
        self._loop = loop

    def commit(self, upto: int, outcomes: Sequence[Outcome], recorded: Sequence[Recorded]) -> None:
        """Report a commit; from any thread."""
        self._post(Commits(upto, list(outcomes), list(recorded)))

    def failure(self, error: Exception) -> None:
        """Report that a commit failed; from any thread."""
        self._post(error)

    def _post(self, item: Commits | Exception) -> None:
        # Appended first: whoever clears the flag looks into the queue after that.
        self._posted.append(item)
        if not self._woken and self._loop is not None:
            self._woken = True
            self._loop.call_soon_threadsafe(self.empty)

    def empty(self) -> None:
        """Deliver what is there."""
        self._woken = False
        gathered: Commits | None = None
        while self._posted:
            item = self._posted.popleft()
            if isinstance(item, Commits):
                if gathered is None:
                    gathered = item
                else:
                    gathered.upto = item.upto
                    gathered.outcomes += item.outcomes
                    gathered.recorded += item.recorded
                continue
            if gathered is not None:
                self._take(gathered)
                gathered = None
            self._take(item)
        if gathered is not None:
            self._take(gathered)
