"""Real sockets on loopback, on ports that the system gives out, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from p2pchat.core.effects import Dial
from p2pchat.core.inputs import Input, LinkOpened
from p2pchat.model import Address, DeviceId, LinkId
from p2pchat.net.identity import Identity, generate
from p2pchat.net.limits import Limits
from p2pchat.net.transport import Transport

T = TypeVar("T")

PATIENCE_S = 10.0


class Sink:
    """Takes inputs like an engine, and lets a test wait for them in order of arrival."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self._arrived = asyncio.Event()

    def __call__(self, arrived: Input) -> None:
        self.inputs.append(arrived)
        self._arrived.set()

    def all(self, kind: type[T]) -> list[T]:
        """Everything of one kind that has arrived and was not taken yet."""
        return [arrived for arrived in self.inputs if isinstance(arrived, kind)]

    async def take(self, kind: type[T], timeout_s: float = PATIENCE_S) -> T:
        """Wait for the next of one kind and remove it."""
        async with asyncio.timeout(timeout_s):
            while True:
                for index, arrived in enumerate(self.inputs):
                    if isinstance(arrived, kind):
                        del self.inputs[index]
                        return arrived
                self._arrived.clear()
                await self._arrived.wait()


@dataclass
class Device:
    """A transport with what it told."""

    identity: Identity
    transport: Transport
    sink: Sink
    dials: int = field(default=0)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.transport.port)

    def dial(self, *addresses: Address, expected: DeviceId | None = None) -> int:
        self.dials += 1
        self.transport.dial(Dial(self.dials, addresses, expected))
        return self.dials


MakeDevice = Callable[..., Device]


@pytest.fixture
def make_device(devices: list[Device]) -> MakeDevice:
    """Make devices that are stopped at the end."""

    def make(limits: Limits | None = None) -> Device:
        identity = generate()
        sink = Sink()
        device = Device(identity, Transport(identity, sink, limits), sink)
        devices.append(device)
        return device

    return make


@pytest.fixture
async def devices() -> AsyncIterator[list[Device]]:
    """The devices of a test; stops them, and checks that nothing of theirs lives on."""
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    made: list[Device] = []
    yield made
    for device in made:
        await device.transport.stop()
    assert asyncio.all_tasks() <= tasks | {asyncio.current_task()}
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), thread.name


async def link_up(dialler: Device, listener: Device) -> tuple[LinkId, LinkId]:
    """Connect two devices as engines would; return the numbers of the dialler's and the listener's end."""
    if not listener.transport.port:
        await listener.transport.start("127.0.0.1", 0)
    dialler.dial(listener.address, expected=listener.identity.device_id)
    ours = await dialler.sink.take(LinkOpened)
    theirs = await listener.sink.take(LinkOpened)
    dialler.transport.authenticated(ours.link)
    listener.transport.authenticated(theirs.link)
    return ours.link, theirs.link
