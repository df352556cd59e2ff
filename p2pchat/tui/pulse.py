"""Ask for something again, but not more often than is useful.

Events come in bursts; what they make stale is fetched once a burst. A pulse sleeps on an event until somebody
kicks it, so an idle screen runs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Pulse:
    """Runs ``fetch`` after a kick, one at a time, with at least ``interval_s`` between the ends and the starts."""

    def __init__(self, interval_s: float, fetch: Callable[[], Awaitable[None]]) -> None:
        self._interval_s = interval_s
        self._fetch = fetch
        self._kicked = asyncio.Event()
        self._busy = False

    def kick(self) -> None:
        """Have it fetched soon; kicks while a fetch runs lead to one more."""
        self._kicked.set()

    @property
    def idle(self) -> bool:
        """Nothing was asked for that has not been fetched."""
        return not self._busy and not self._kicked.is_set()

    async def run(self) -> None:
        """Serve kicks until cancelled."""
        while True:
            await self._kicked.wait()
            self._busy = True
            self._kicked.clear()
            try:
                await self._fetch()
            finally:
                self._busy = False
            await asyncio.sleep(self._interval_s)
