"""Figures of one engine run, counted from the events that go by; the rest is asked of those who know it."""

from __future__ import annotations

import math
import os
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from p2pchat.api.types import Percentiles, Stats
from p2pchat.core.effects import Notify
from p2pchat.core.ops import IncomingApplied, Outcome
from p2pchat.model import MessageId
from p2pchat.store.notices import Recorded
from p2pchat.store.writer import WriterMetrics

LATENCIES: Final = 10_000
MAX_TRACKED: Final = 50_000
"""Messages under way whose times are remembered; older ones are measured by the wall clock."""


class Counters:
    """What can only be counted while it happens."""

    def __init__(self) -> None:
        self.messages_sent = 0
        self.messages_received = 0
        self.duplicates_dropped = 0
        self.retries = 0
        self._latencies_ms: deque[float] = deque(maxlen=LATENCIES)
        self._accepted_s: OrderedDict[MessageId, float] = OrderedDict()
        self._struggling: OrderedDict[MessageId, None] = OrderedDict()
        self._struggles_won = 0
        self._struggles_lost = 0
        self.moved_at_s = -math.inf
        """When mail last moved, on the clock of ``time.perf_counter``."""

    def outcomes(self, outcomes: Iterable[Outcome]) -> None:
        """Take the outcomes of a commit."""
        for outcome in outcomes:
            if type(outcome) is IncomingApplied and not outcome.applied:
                self.duplicates_dropped += 1

    def recorded(self, events: Collection[Recorded]) -> None:
        """Take the events of a commit."""
        now_s = time.perf_counter()
        for event in events:
            if event.message_id is not None:
                self._message(event, event.message_id, now_s)

    def _message(self, event: Recorded, message_id: MessageId, now_s: float) -> None:
        match event.name:
            case "message:queued":
                self._accepted_s[message_id] = now_s
                if len(self._accepted_s) > MAX_TRACKED:
                    self._accepted_s.popitem(last=False)
            case "message:sent":
                self.messages_sent += 1
                self.moved_at_s = now_s
            case "message:delivered":
                self.moved_at_s = now_s
                self._delivered(event, message_id, now_s)
            case "message:received":
                self.messages_received += 1
                self.moved_at_s = now_s
            case "retry:scheduled":
                self._struggling[message_id] = None
                if len(self._struggling) > MAX_TRACKED:
                    self._struggling.popitem(last=False)
            case "message:moved-to-dlq":
                self._accepted_s.pop(message_id, None)
                self._struggling.pop(message_id, None)
                self._struggles_lost += bool(event.detail.get("attempts"))
            case "message:cancelled":
                self._accepted_s.pop(message_id, None)
                self._struggling.pop(message_id, None)
            case _:
                pass

    def _delivered(self, event: Recorded, message_id: MessageId, now_s: float) -> None:
        accepted_s = self._accepted_s.pop(message_id, None)
        by_wall_ms = event.detail.get("latency_ms")
        if accepted_s is not None:
            self._latencies_ms.append((now_s - accepted_s) * 1000)
        elif isinstance(by_wall_ms, int):
            self._latencies_ms.append(float(max(0, by_wall_ms)))
        if message_id in self._struggling:
            del self._struggling[message_id]
            self._struggles_won += 1

    def noticed(self, notice: Notify) -> None:
        """Take something that is not stored."""
        if notice.name == "retry:attempt":
            self.retries += 1

    @property
    def retry_success_rate(self) -> float | None:
        """Of the messages with a failed attempt that came to an end, how many were delivered; None: there is none."""
        ended = self._struggles_won + self._struggles_lost
        return self._struggles_won / ended if ended else None

    def latency_ms(self) -> Percentiles:
        """Accepted to delivered, of the latest messages."""
        ordered = sorted(self._latencies_ms)
        return Percentiles(p50=nearest(ordered, 0.50), p95=nearest(ordered, 0.95), p99=nearest(ordered, 0.99))

    def stats(self, *, uptime_s: float, writer: WriterMetrics, dlq_size: int, pending: int, peers: int) -> Stats:
        """Put all figures together."""
        return Stats(
            uptime_s=round(uptime_s, 3),
            flushes=writer.flushes,
            commits=writer.commits,
            fsyncs=writer.fsyncs,
            bytes_written=writer.bytes_written,
            writes_per_s=round(writer.commits / uptime_s, 4) if uptime_s > 0 else 0.0,
            messages_sent=self.messages_sent,
            messages_received=self.messages_received,
            duplicates_dropped=self.duplicates_dropped,
            retries=self.retries,
            retry_success_rate=self.retry_success_rate,
            dlq_size=dlq_size,
            pending=pending,
            latency_ms=self.latency_ms(),
            rss_bytes=rss_bytes(),
            peers=peers,
        )


def nearest(ordered: Sequence[float], share: float) -> float | None:
    """Return a percentile by the nearest-rank method; None of nothing."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3)


def rss_bytes() -> int:
    """Memory of this process that is resident: now on Linux, the most that it ever was elsewhere."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        import sys

        if sys.platform == "win32":
            return 0
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
