"""The time of an input.

``CLOCK_BOOTTIME`` counts the time that the machine sleeps, so that a closed lid is seen as the hours that it
was; where there is none, the monotonic clock serves and a wake-up is noticed by the wall clock alone.
"""

from __future__ import annotations

import time

from p2pchat.core.inputs import Now

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> Now:
    """Read both clocks."""
    return Now(mono_s=time.clock_gettime(_CLOCK), wall_ms=time.time_ns() // 1_000_000)
