"""Two real engines on loopback, as processes of their own, and a client on the first one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from p2pchat.api import types as t
from p2pchat.api.client import Client, draw_message_id
from p2pchat.paths import Paths

READY_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine and what its ready line said."""

    home: Path
    process: Process
    device_id: str
    port: int
    ready_after_ms: float

    @property
    def pid(self) -> int:
        """Of the engine process."""
        return self.process.pid


async def start_engine(home: Path, name: str) -> Engine:
    """Start ``p2pchat daemon`` on a free loopback port, without discovery."""
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "p2pchat", "--home", str(home), "daemon"),
        *("--listen", "127.0.0.1:0", "--name", name, "--no-discovery"),
        stdout=PIPE,
        stderr=DEVNULL,
        stdin=DEVNULL,
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_S)
    ready = json.loads(line)
    return Engine(home, process, ready["device_id"], ready["port"], (time.perf_counter() - started) * 1000)


async def stop_engine(engine: Engine) -> None:
    """End an engine as SIGTERM does, or by force if it does not end."""
    with contextlib.suppress(ProcessLookupError):
        engine.process.terminate()
    try:
        await asyncio.wait_for(engine.process.wait(), 10)
    except TimeoutError:
        engine.process.kill()
        await engine.process.wait()


def client_of(engine: Engine) -> Client:
    """Make a client of a running engine."""
    return Client(lambda: Paths.for_home(engine.home).socket)


class Pair:
    """Alice and bob, linked and accepted."""

    def __init__(self, alice: Engine, bob: Engine, client: Client) -> None:
        self.alice = alice
        self.bob = bob
        self.client = client
        self._delivered: dict[str, asyncio.Future[None]] = {}

    async def watch(self) -> None:
        """Follow alice's events until cancelled."""
        async for event in self.client.events():
            if event.event == "message:delivered":
                done = self._delivered.pop(event.fields["message_id"], None)
                if done is not None and not done.done():
                    done.set_result(None)

    async def deliver(self, body: str) -> None:
        """Send one message; return at its delivered tick."""
        message_id = draw_message_id()
        done = self._delivered[message_id] = asyncio.get_running_loop().create_future()
        params = t.SendParams(peer=self.bob.device_id, body=body, message_id=message_id)
        await self.client.request("message.send", t.MessageRef, params)
        await done


@contextlib.asynccontextmanager
async def linked_pair(folder: Path) -> AsyncIterator[Pair]:
    """Start two engines, link them, and follow the first one's events."""
    alice = await start_engine(folder / "alice", "alice")
    bob = await start_engine(folder / "bob", "bob")
    try:
        async with client_of(alice) as client, client_of(bob) as other:
            await client.request("peer.add", t.Peer, t.PeerAddParams(address=f"127.0.0.1:{bob.port}"))
            pair = Pair(alice, bob, client)
            watcher = asyncio.create_task(pair.watch())
            try:
                await asyncio.wait_for(pair.deliver("first contact"), READY_TIMEOUT_S)
                await other.request("peer.accept", t.Peer, t.PeerParams(peer=alice.device_id))
                yield pair
            finally:
                watcher.cancel()
    finally:
        await stop_engine(alice)
        await stop_engine(bob)
