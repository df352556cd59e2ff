"""``startup`` and ``idle``: whole processes, timed from outside, and what an engine costs that has nothing to do."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from p2pchat.api import types as t
from p2pchat.bench import Figure, figure
from p2pchat.bench.pair import client_of, linked_pair, start_engine, stop_engine

_MIB = 1024 * 1024


async def _time_process(*arguments: str) -> float:
    """Run a command; return its wall time in milliseconds."""
    start = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL, stdin=asyncio.subprocess.DEVNULL
    )
    code = await process.wait()
    if code != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with {code}")
    return (time.perf_counter() - start) * 1000


async def startup(runs: int) -> list[Figure]:
    """Light commands, an engine until its ready line, and a send until its delivered tick, each as a process."""
    product = ("-m", "p2pchat")
    samples: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="p2pchat-bench-") as name:
        folder = Path(name)
        async with linked_pair(folder) as pair:
            home = ("--home", str(pair.alice.home))
            commands = {
                "bare python -c pass": ("-c", "pass"),
                "p2pchat --version": (*product, "--version"),
                "p2pchat peers --json, engine running": (*product, *home, "peers", "--json"),
                "p2pchat send --wait delivered": (
                    *(*product, *home, "send", pair.bob.device_id, "hello"),
                    *("--wait", "delivered"),
                ),
            }
            for label, command in commands.items():
                await _time_process(*command)
                samples[label] = []
            for _ in range(runs):
                for label, command in commands.items():
                    samples[label].append(await _time_process(*command))
        ready = []
        for run in range(runs):
            engine = await start_engine(folder / f"fresh-{run}", "fresh")
            ready.append(engine.ready_after_ms)
            await stop_engine(engine)
        samples["engine ready"] = ready
    return [figure(label, values, "ms") for label, values in samples.items()]


async def idle(seconds: float) -> list[Figure]:
    """CPU share and memory of an engine with two linked peers while nothing happens."""
    with tempfile.TemporaryDirectory(prefix="p2pchat-bench-") as name:
        folder = Path(name)
        async with linked_pair(folder) as pair:
            carol = await start_engine(folder / "carol", "carol")
            try:
                async with client_of(carol) as client:
                    address = f"127.0.0.1:{pair.alice.port}"
                    await client.request("peer.add", t.Peer, t.PeerAddParams(address=address))
                await asyncio.sleep(2)
                before = _cpu_s(pair.alice.pid)
                await asyncio.sleep(seconds)
                share = (_cpu_s(pair.alice.pid) - before) / seconds * 100
                memory = _rss_bytes(pair.alice.pid) / _MIB
            finally:
                await stop_engine(carol)
    return [
        figure("idle engine with two links, CPU", [share], "%"),
        figure("idle engine with two links, memory", [memory], "MiB"),
    ]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
