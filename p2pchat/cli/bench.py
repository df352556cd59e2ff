"""``bench``: figures on this machine, each beside the bare limit measured in the same run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from p2pchat.cli.output import print_json, print_table
from p2pchat.cli.session import Session, command, pass_session

if TYPE_CHECKING:
    from p2pchat.bench import Figure

NAMES: Final = ("latency", "throughput", "startup", "idle")


@command("bench")
@click.argument("names", nargs=-1, type=click.Choice(NAMES), metavar="[NAME]...")
@click.option(
    "--runs", type=click.IntRange(1, 100), default=5, show_default=True, help="Runs of each; the median counts."
)
@click.option("--messages", type=click.IntRange(10), default=1000, show_default=True, help="Messages in each run.")
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True, help="How long idle looks.")
@pass_session
def bench(session: Session, names: tuple[str, ...], runs: int, messages: int, seconds: float) -> None:
    """Measure this program on this machine: latency, throughput, startup, idle (all of them without a NAME).

    Everything runs on loopback and in temporary folders. Machines are noisy: compare the ratios within one run.
    """
    from p2pchat.bench import delivery, process

    benches: dict[str, Callable[[], Awaitable[list[Figure]]]] = {
        "latency": lambda: delivery.latency(runs, messages),
        "throughput": lambda: delivery.throughput(runs, messages * 5),
        "startup": lambda: process.startup(runs),
        "idle": lambda: process.idle(seconds),
    }
    found: list[Figure] = []
    for name in names or NAMES:
        found += asyncio.run(_as_coroutine(benches[name]))
    if session.json:
        for figure in found:
            print_json(asdict(figure))
        return
    rows = [
        (one.name, f"{one.value:.2f}", one.unit, f"{one.low:.2f} to {one.high:.2f}", str(one.runs)) for one in found
    ]
    print_table(("FIGURE", "MEDIAN", "UNIT", "FROM … TO", "RUNS"), rows, empty="nothing was measured")


async def _as_coroutine(start: Callable[[], Awaitable[list[Figure]]]) -> list[Figure]:
    return await start()
