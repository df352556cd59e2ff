"""The one timer of a node, and how a wake-up of the machine is noticed.

It naps at most ``MAX_NAP_S``. When it fires late, or the clock that counts sleep ran on further than the loop's, the
machine (or this process) was asleep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

MAX_NAP_S: Final = 5.0
ASLEEP_S: Final = 3.0


class Alarm:
    """Calls ``fire`` in time; sooner does no harm.

    Args:
        mono_s: the node's clock; counts sleep where the system offers that.
        fire: gets for how many seconds the machine was asleep; 0.0: it was not.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, mono_s: Callable[[], float], fire: Callable[[float], None]
    ) -> None:
        self._loop = loop
        self._mono_s = mono_s
        self._fire = fire
        self._timer: asyncio.TimerHandle | None = None
        self._armed_at = (0.0, 0.0)

    def arm(self, deadline_s: float | None) -> None:
        """Fire by this time of the node's clock (None: there is no need to), unless it will fire before anyway."""
        mono_s, loop_s = self._mono_s(), self._loop.time()
        nap_s = MAX_NAP_S if deadline_s is None else min(MAX_NAP_S, max(0.0, deadline_s - mono_s))
        due_s = loop_s + nap_s
        if self._timer is not None:
            if self._timer.when() <= due_s:
                return
            self._timer.cancel()
        else:
            self._armed_at = (mono_s, loop_s)
        self._timer = self._loop.call_at(due_s, self._fired)

    def stop(self) -> None:
        """Fire no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fired(self) -> None:
        assert self._timer is not None
        mono_s, loop_s = self._mono_s(), self._loop.time()
        late_s = loop_s - self._timer.when()
        slept_s = (mono_s - self._armed_at[0]) - (loop_s - self._armed_at[1])
        self._timer = None
        asleep_s = max(late_s, slept_s)
        self._fire(asleep_s if asleep_s > ASLEEP_S else 0.0)
