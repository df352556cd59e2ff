"""The time of an input."""

from __future__ import annotations

import time

from p2pchat.net.clock import now


def test_now_reads_both_clocks_when_asked() -> None:
    before_s, before_ms = time.clock_gettime(time.CLOCK_BOOTTIME), time.time_ns() // 1_000_000
    reading = now()
    assert before_s <= reading.mono_s <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before_ms <= reading.wall_ms <= time.time_ns() // 1_000_000
