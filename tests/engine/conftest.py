"""Whole engines in this process: temporary homes, ports of the system's choice, no discovery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from blockbuster import BlockBuster, blockbuster_ctx

from p2pchat.api.client import Client
from p2pchat.config import load
from p2pchat.engine import endpoint
from p2pchat.engine.engine import Engine, Timing
from p2pchat.engine.server import ApiServer
from p2pchat.engine.services import Services
from p2pchat.engine.storage import Open
from p2pchat.logs import Logs
from p2pchat.net.threads import in_thread
from p2pchat.paths import Paths

QUICK = Timing(probe_s=0.05, linger_s=0.2, look_s=0.05)


class Running:
    """One engine and its home, with a client."""

    def __init__(self, engine: Engine, services: Services, task: asyncio.Task[None], paths: Paths, logs: Logs) -> None:
        self.engine = engine
        self.services = services
        self.task = task
        self.paths = paths
        self.logs = logs
        self.client = Client(paths.find_socket, patience_s=2.0)

    @property
    def device_id(self) -> str:
        return self.services.about.device_id

    @property
    def server(self) -> ApiServer:
        found = self.engine._server
        assert found is not None
        return found

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.services.transport.port}"

    async def stop(self) -> None:
        self.engine.stop()
        await self.task
        await self.client.close()
        await in_thread("close-logs", self.logs.close)


Start = Callable[..., Awaitable[Running]]


async def befriend(ada: Running, bob: Running) -> None:
    """Have both accept each other, with a link between them."""
    assert (await ada.client.peer_add(bob.address)).device_id == bob.device_id
    await bob.client.peer_accept(ada.device_id)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start engines that end with the test."""
    async with AsyncExitStack() as stack:

        async def begin(
            name: str,
            *,
            home: Path | None = None,
            auto: bool = False,
            open_store: Callable[[Paths], Open] | None = None,
            **flags: str,
        ) -> Running:
            def prepare() -> tuple[Engine, Paths, Logs]:
                paths = Paths.for_home(home or tmp_path / name)
                paths.create()
                settings = {"listen": "127.0.0.1:0", "discovery": "false", "name": name, **flags}
                config = load(paths, environ={}, flags=settings)
                logs = Logs(paths.logs, flush_interval_s=0.01)
                made = Engine(
                    paths,
                    config,
                    logs,
                    auto=auto,
                    timing=QUICK,
                    open_store=None if open_store is None else open_store(paths),
                )
                made.prepare(endpoint.choose_path(paths))
                return made, paths, logs

            engine, paths, logs = await in_thread("prepare", prepare)
            ready: asyncio.Future[Services] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(engine.run(ready.set_result), name=f"engine-{name}")
            done, _ = await asyncio.wait((ready, task), timeout=10, return_when=asyncio.FIRST_COMPLETED)
            assert done, "the engine hangs at its start"
            if task in done:
                await task
            running = Running(engine, ready.result(), task, paths, logs)
            stack.push_async_callback(running.stop)
            return running

        yield begin


@pytest.fixture
def never_blocked() -> Iterator[BlockBuster]:
    """Fail whatever blocks the event loop of this test."""
    with blockbuster_ctx(["p2pchat.engine", "p2pchat.core", "p2pchat.net", "p2pchat.store"]) as guard:
        # The interface watch looks into /sys, which is memory.
        guard.functions["os.stat"].can_block_in("net/interfaces.py", "_is_port")
        yield guard
