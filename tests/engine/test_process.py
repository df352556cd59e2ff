"""Engines as processes: starts, races, signals, kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from p2pchat.api.client import Client, draw_message_id
from p2pchat.paths import Paths

ROOT = Path(__file__).resolve().parents[2]


class Process:
    """An engine process and a client of it."""

    def __init__(self, paths: Paths, process: asyncio.subprocess.Process, ready: dict[str, Any]) -> None:
        self.paths = paths
        self.process = process
        self.ready = ready
        self.client = Client(paths.find_socket, patience_s=10.0)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ready['port']}"

    async def end(self, number: int) -> int:
        """Send a signal and return the exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 15)


Spawn = Callable[..., Awaitable[Process]]


async def launch(home: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "p2pchat", "--home", str(home), "daemon", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
async def spawn(tmp_path: Path) -> AsyncIterator[Spawn]:
    started: list[Process] = []

    async def begin(name: str, *, port: int = 0, home: Path | None = None) -> Process:
        home = home or tmp_path / name
        process = await launch(home, "--listen", f"127.0.0.1:{port}", "--no-discovery", "--name", name)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        if not line:
            _, said = await process.communicate()
            raise AssertionError(said.decode())
        started.append(Process(Paths.for_home(home), process, json.loads(line)))
        return started[-1]

    yield begin
    for one in started:
        await one.client.close()
        if one.process.returncode is None:
            one.process.kill()
        await one.process.communicate()


async def befriend(ada: Process, bob: Process) -> None:
    await ada.client.peer_add(bob.address)
    await bob.client.peer_accept(ada.ready["device_id"])


async def test_daemon_says_ready_first_and_leaves_nothing_behind_when_stopped(spawn: Spawn) -> None:
    ada = await spawn("ada")
    assert set(ada.ready) >= {"event", "device_id", "name", "host", "port"}
    assert (ada.ready["event"], ada.ready["name"], ada.ready["host"]) == ("ready", "ada", "127.0.0.1")
    status = await ada.client.status()
    assert (status.device_id, status.pid) == (ada.ready["device_id"], ada.process.pid)
    for folder in (ada.paths.data, ada.paths.run, ada.paths.logs, ada.paths.config):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await ada.client.stop()
    assert await asyncio.wait_for(ada.process.wait(), 10) == 0
    assert not ada.paths.socket.exists()
    assert not ada.paths.is_held()
    assert not ada.paths.database.with_name("p2pchat.db-wal").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_flushes_and_ends_well_however_often_it_comes(spawn: Spawn, number: signal.Signals) -> None:
    """What was accepted is on disk; a second and third signal change nothing."""
    ada, bob = await spawn("ada"), await spawn("bob")
    await befriend(ada, bob)
    await bob.end(signal.SIGKILL)
    ids = [draw_message_id() for _ in range(50)]
    await asyncio.gather(*(ada.client.send("bob", "x", one) for one in ids))
    ada.process.send_signal(number)
    ada.process.send_signal(number)
    assert await ada.end(number) == 0
    with contextlib.closing(sqlite3.connect(ada.paths.database)) as database:
        assert database.execute("SELECT count(*) FROM messages").fetchone() == (50,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not ada.paths.is_held()
    _, said = await ada.process.communicate()
    assert said == b""


async def test_second_daemon_says_who_holds_the_home(spawn: Spawn, tmp_path: Path) -> None:
    ada = await spawn("ada")
    second = await launch(tmp_path / "ada", "--no-discovery")
    _, said = await asyncio.wait_for(second.communicate(), 20)
    assert second.returncode == 6
    assert f"process {ada.process.pid} on" in said.decode()
    quiet = await launch(tmp_path / "ada", "--no-discovery", "--auto")
    assert await asyncio.wait_for(quiet.communicate(), 20) == (b"", b"")
    assert quiet.returncode == 0
    assert (await ada.client.status()).pid == ada.process.pid


async def test_exactly_one_engine_wins_when_five_start_at_once(tmp_path: Path) -> None:
    racers = [await launch(tmp_path / "home", "--listen", "127.0.0.1:0", "--no-discovery") for _ in range(5)]
    outputs = [asyncio.create_task(racer.communicate()) for racer in racers]
    try:
        losers = [asyncio.create_task(racer.wait()) for racer in racers]
        done: set[asyncio.Task[int]] = set()
        while len(done) < 4:
            done, _ = await asyncio.wait(losers, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            losers_left = [task for task in losers if not task.done()]
            if len(losers_left) == 1:
                break
        assert sorted(task.result() for task in losers if task.done()) == [6, 6, 6, 6]
        client = Client(Paths.for_home(tmp_path / "home").find_socket, patience_s=10)
        async with client:
            winner = (await client.status()).pid
        assert winner in {racer.pid for racer in racers if racer.returncode is None}
    finally:
        for racer in racers:
            with contextlib.suppress(ProcessLookupError):
                racer.terminate()
        await asyncio.gather(*outputs)


async def test_engine_is_reached_when_its_home_lies_too_deep_for_a_socket(spawn: Spawn, tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 20) / ("er" * 30)
    home.mkdir(parents=True)
    ada = await spawn("ada", home=home)
    place = ada.paths.find_socket()
    assert place != ada.paths.socket
    assert (await ada.client.status()).pid == ada.process.pid
    assert await ada.end(signal.SIGTERM) == 0
    assert not place.parent.exists()


async def test_engine_takes_over_when_the_one_before_was_killed(spawn: Spawn) -> None:
    """Its socket file and lock file stay behind and are in nobody's way."""
    ada = await spawn("ada")
    await ada.end(signal.SIGKILL)
    assert ada.paths.socket.exists()
    again = await spawn("ada")
    assert again.ready["device_id"] == ada.ready["device_id"]
    assert (await again.client.status()).pid == again.process.pid


async def test_start_fails_in_one_line_when_the_port_is_taken(spawn: Spawn, tmp_path: Path) -> None:
    ada = await spawn("ada")
    second = await launch(tmp_path / "bob", "--listen", ada.address, "--no-discovery")
    _, said = await asyncio.wait_for(second.communicate(), 20)
    assert second.returncode == 1
    assert said.decode().count("\n") == 1
    assert "cannot listen on" in said.decode()
    assert not Paths.for_home(tmp_path / "bob").is_held()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("victim", ["sender", "receiver"])
async def test_kill_at_any_moment_loses_and_repeats_nothing(spawn: Spawn, victim: str, seed: int) -> None:
    """kill -9 of one side mid-stream, restart: everything acknowledged to the client arrives once, in order."""
    rng = random.Random(seed)
    ada, bob = await spawn("ada"), await spawn("bob")
    await befriend(ada, bob)
    ids = [draw_message_id() for _ in range(400)]
    kill_at = rng.randrange(20, 350)

    async def send_all() -> None:
        for start in range(0, len(ids), 10):
            batch = range(start, start + 10)
            # A client that is cut off asks again with the same ids.
            await asyncio.gather(*(ada.client.send(bob.ready["device_id"], str(n), ids[n]) for n in batch))

    async def kill_and_restart() -> None:
        one = ada if victim == "sender" else bob
        async with asyncio.timeout(20):
            while count(ada) < kill_at:
                await one.client.status()
        await one.end(signal.SIGKILL)
        again = await spawn(one.ready["name"], port=one.ready["port"])
        one.process = again.process

    await asyncio.gather(send_all(), kill_and_restart())
    ref = await ada.client.wait(ids[-1], "delivered", 40)
    assert ref.state == "delivered"
    mine = await ada.client.history(bob.ready["device_id"], 1000)
    assert sorted(m.message_id for m in mine) == sorted(ids)
    assert {m.state for m in mine} == {"delivered"}
    theirs = await bob.client.history(ada.ready["device_id"], 1000)
    assert [m.message_id for m in theirs] == [m.message_id for m in mine]
    assert await ada.client.letters() == []


def count(ada: Process) -> int:
    """How many messages the sender's database has, seen from outside."""
    with contextlib.closing(sqlite3.connect(f"file:{ada.paths.database}?mode=ro", uri=True)) as database:
        found: int = database.execute("SELECT count(*) FROM messages").fetchone()[0]
        return found
