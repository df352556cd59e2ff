"""``stats``: the engine's figures."""

from __future__ import annotations

from p2pchat.api import types as t
from p2pchat.cli.output import number, print_facts, print_json
from p2pchat.cli.session import Session, command, pass_session


@command("stats")
@pass_session
def stats(session: Session) -> None:
    """Figures of this engine run. Latency: accepted to delivered."""
    with session.engine() as engine:
        found = engine.call("stats", t.Stats)
    if session.json:
        print_json(found)
        return
    rate = found.retry_success_rate
    print_facts(
        (
            ("uptime", number(round(found.uptime_s), "s")),
            ("messages sent", number(found.messages_sent)),
            ("messages received", number(found.messages_received)),
            ("duplicates dropped", number(found.duplicates_dropped)),
            ("pending", number(found.pending)),
            ("dead letters", number(found.dlq_size)),
            ("retries", number(found.retries)),
            ("retries that succeeded", "–" if rate is None else f"{rate:.1%}"),
            ("latency p50 / p95 / p99", _latency(found.latency_ms)),
            ("flushes / commits / fsyncs", f"{found.flushes} / {found.commits} / {found.fsyncs}"),
            ("bytes written", number(found.bytes_written)),
            ("writes", number(found.writes_per_s, "per s")),
            ("memory", number(round(found.rss_bytes / 1e6, 1), "MB")),
            ("peers", number(found.peers)),
        )
    )


def _latency(found: t.Percentiles) -> str:
    return " / ".join(number(value, "ms") or "–" for value in (found.p50, found.p95, found.p99))
