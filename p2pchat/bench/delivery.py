"""``latency`` and ``throughput``: from a client's request to the delivered tick, durable on both disks."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from p2pchat.bench import Figure, figure, percentile
from p2pchat.bench.pair import linked_pair
from p2pchat.bench.reference import Link, commit_ms, reference_link

BODY = "x" * 200
WINDOW = 256
Send = Callable[[str], Awaitable[None]]


async def latency(runs: int, messages: int) -> list[Figure]:
    """One message at a time: the product, the reference, and the parts that the reference is made of."""
    samples: dict[str, list[list[float]]] = {name: [] for name in ("product", "reference", "echo", "commit")}
    with tempfile.TemporaryDirectory(prefix="p2pchat-bench-") as name:
        folder = Path(name)
        (folder / "reference").mkdir()
        async with linked_pair(folder) as pair, reference_link(folder / "reference") as link:
            for warm in (pair.deliver, link.send, _echo(link)):
                await _one_by_one(warm, 100)
            for run in range(runs):
                samples["product"].append(await _one_by_one(pair.deliver, messages))
                samples["reference"].append(await _one_by_one(link.send, messages))
                samples["echo"].append(await _one_by_one(_echo(link), messages))
                (folder / str(run)).mkdir()
                samples["commit"].append(await asyncio.to_thread(commit_ms, folder / str(run), BODY, messages))
    figures = []
    labels = {
        "product": "delivered tick, both disks",
        "reference": "group-commit reference, both disks",
        "echo": "bare TLS websocket round trip",
        "commit": "bare SQLite FULL commit",
    }
    for key, label in labels.items():
        for share in (0.5, 0.99):
            each = [percentile(run, share) for run in samples[key]]
            figures.append(figure(f"{label}, p{share * 100:.0f}", each, "ms"))
    pairs = list(zip(samples["product"], samples["reference"], strict=True))
    for share in (0.5, 0.99):
        ratios = [percentile(ours, share) / percentile(theirs, share) for ours, theirs in pairs]
        figures.append(figure(f"product / reference, p{share * 100:.0f}", ratios, "ratio"))
    return figures


async def throughput(runs: int, messages: int) -> list[Figure]:
    """A window of 256 messages, each acknowledged: the product and the reference."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="p2pchat-bench-") as name:
        folder = Path(name)
        (folder / "reference").mkdir()
        async with linked_pair(folder) as pair, reference_link(folder / "reference") as link:
            await _sustained(pair.deliver, 1000)
            await _sustained(link.send, 1000)
            for _ in range(runs):
                ours.append(await _sustained(pair.deliver, messages))
                theirs.append(await _sustained(link.send, messages))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return [
        figure("delivered messages, window 256", ours, "msg/s"),
        figure("group-commit reference, window 256", theirs, "msg/s"),
        figure("product / reference, window 256", ratios, "ratio"),
    ]


def _echo(link: Link) -> Send:
    return lambda body: link.send(body, store=False)


async def _one_by_one(send: Send, count: int) -> list[float]:
    samples = []
    for _ in range(count):
        start = time.perf_counter()
        await send(BODY)
        samples.append((time.perf_counter() - start) * 1000)
    return samples


async def _sustained(send: Send, count: int) -> float:
    """Keep a window full; return messages per second."""
    window = asyncio.Semaphore(WINDOW)

    async def one() -> None:
        try:
            await send(BODY)
        finally:
            window.release()

    start = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            await window.acquire()
            tasks.create_task(one())
    return count / (time.perf_counter() - start)
