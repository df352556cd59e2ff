"""Devices find each other by mDNS on loopback, and whatever fails stays a line of status."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest
from zeroconf import ServiceStateChange

from p2pchat.core.inputs import NetworkChanged, PeerAnnounced, PeerWithdrawn
from p2pchat.errors import DiscoveryError
from p2pchat.model import Address
from p2pchat.net import mdns
from p2pchat.net.announcement import SERVICE_TYPE, service
from p2pchat.net.discovery import Discovery
from p2pchat.net.identity import Identity, generate
from p2pchat.net.interfaces import Interface
from p2pchat.net.mdns import Instance, Place
from tests.net.conftest import PATIENCE_S, Sink

ETH = Interface("eth0", 2, True, ("192.0.2.7/24",))
BOB = generate()
CAROL = generate()


def multicast_works() -> bool:
    """Whether this machine lets a program join the mDNS group on loopback."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            group = socket.inet_aton("224.0.0.251") + socket.inet_aton("127.0.0.1")
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError:
        return False
    return True


needs_multicast = pytest.mark.skipif(not multicast_works(), reason="no multicast on loopback here")

Start = Callable[..., "tuple[Discovery, Sink]"]


@pytest.fixture
async def make_discovery() -> AsyncIterator[Start]:
    """Make discoveries that are stopped at the end, and check that no task is left."""
    tasks = asyncio.all_tasks()
    made: list[Discovery] = []

    def make(identity: Identity, name: str, port: int = 27270, **options: object) -> tuple[Discovery, Sink]:
        sink = Sink()
        discovery = Discovery(identity.device_id, name, port, sink, **options)  # type: ignore[arg-type]  # tests' own
        made.append(discovery)
        return discovery, sink

    yield make
    for discovery in made:
        await discovery.stop()
    assert asyncio.all_tasks() <= tasks | {asyncio.current_task()}


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - a status has no event to wait for
            await asyncio.sleep(0.005)


def instance(identity: Identity, name: str = "bob", *hosts: str, label: str = "") -> Instance:
    txt: dict[bytes, bytes | None] = {b"v": b"1", b"id": identity.device_id.encode(), b"name": name.encode()}
    full = f"{label or name} {identity.device_id[:8]}.{SERVICE_TYPE}"
    return Instance(full, txt, hosts or ("192.0.2.9",), 27270)


@needs_multicast
async def test_devices_of_one_name_find_each_other_and_miss_the_one_that_leaves(
    make_discovery: Start,
) -> None:
    loopback = ["127.0.0.1"]
    alice_id, bob_id = generate(), generate()
    alice, alice_sink = make_discovery(alice_id, "laptop", 1111, interfaces=loopback)
    bob, bob_sink = make_discovery(bob_id, "laptop", 2222, interfaces=loopback)
    await alice.start()
    await bob.start()
    heard = await alice_sink.take(PeerAnnounced)
    assert heard == PeerAnnounced(bob_id.device_id, "laptop", (Address("127.0.0.1", 2222),))
    assert (await bob_sink.take(PeerAnnounced)).peer == alice_id.device_id
    assert (alice.status, bob.status) == ("on", "on")
    await bob.stop()
    assert await alice_sink.take(PeerWithdrawn) == PeerWithdrawn(bob_id.device_id)
    assert bob.status == "off"


@needs_multicast
async def test_addresses_are_announced_again_when_they_change(make_discovery: Start) -> None:
    alice_id, bob_id = generate(), generate()
    alice, alice_sink = make_discovery(alice_id, "alice", 1111, interfaces=["127.0.0.1"])
    bob, _ = make_discovery(bob_id, "bob", 2222, interfaces=["127.0.0.1"])
    await alice.start()
    await bob.start()
    await alice_sink.take(PeerAnnounced)
    await until(lambda: bob._mdns is not None)
    assert bob._mdns is not None
    await bob._mdns.move(Place(("127.0.0.1",), ("192.0.2.50",)))
    # The old address may stand beside it: a receiver keeps what is younger than a second.
    moved = Address("192.0.2.50", 2222)
    while moved not in (heard := await alice_sink.take(PeerAnnounced)).addresses:
        assert heard.peer == bob_id.device_id


async def test_start_returns_before_anything_is_known(make_discovery: Start) -> None:
    alice, _ = make_discovery(generate(), "alice", read=list)
    await alice.start()
    assert alice.status == "starting"


async def test_stop_before_start_does_nothing(make_discovery: Start) -> None:
    alice, _ = make_discovery(generate(), "alice", read=list)
    await alice.stop()
    assert alice.status == "off"


class FakeMdns:
    """Stands in for zeroconf: fails when told, and notes where it was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails = ""
        self.places: list[Place] = []
        self.closed = 0
        monkeypatch.setattr(mdns, "open_mdns", self.open)

    async def open(self, service: object, place: Place, on_seen: object, on_lost: object) -> FakeMdns:
        self.places.append(place)
        if self.fails:
            raise DiscoveryError(self.fails)
        return self

    async def move(self, place: Place) -> None:
        self.places.append(place)
        if self.fails:
            raise DiscoveryError(self.fails)

    async def close(self) -> None:
        self.closed += 1


async def test_status_says_why_when_multicast_is_not_possible(
    make_discovery: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeMdns(monkeypatch)
    fake.fails = "mDNS is not possible: address already in use"
    alice, sink = make_discovery(generate(), "alice", read=lambda: [ETH])
    await alice.start()
    await until(lambda: alice.status != "starting")
    assert alice.status == "off: mDNS is not possible: address already in use"
    assert sink.inputs == []


async def test_discovery_tries_again_when_it_failed(make_discovery: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pchat.net.discovery._RETRY_S", 0.01)
    fake = FakeMdns(monkeypatch)
    fake.fails = "no"
    alice, _ = make_discovery(generate(), "alice", read=lambda: [ETH])
    await alice.start()
    await until(lambda: len(fake.places) >= 3)
    fake.fails = ""
    await until(lambda: alice.status == "on")


async def test_discovery_follows_the_interfaces(make_discovery: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeMdns(monkeypatch)
    now = [ETH]
    alice, sink = make_discovery(generate(), "alice", read=lambda: list(now), poll_s=0.002)
    await alice.start()
    await until(lambda: alice.status == "on")
    now[:] = [ETH, Interface("wlan0", 3, True, ("198.51.100.7/24", "fd00::7/64", "fe80::7/64"))]
    assert await sink.take(NetworkChanged) == NetworkChanged("wlan0 came up")
    await until(lambda: len(fake.places) == 2)
    assert fake.places == [
        Place(("192.0.2.7",), ("192.0.2.7",)),
        Place(
            ("192.0.2.7", "198.51.100.7", "fe80::7"),
            ("192.0.2.7", "198.51.100.7", "fd00::7", "fe80::7"),
        ),
    ]
    alice._seen(instance(BOB))
    now[:] = []
    await until(lambda: alice.status == "waiting: no network")
    assert fake.closed == 1
    assert await sink.take(PeerWithdrawn) == PeerWithdrawn(BOB.device_id)
    now[:] = [ETH]
    await until(lambda: alice.status == "on")


async def test_discovery_starts_over_when_it_cannot_follow(
    make_discovery: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeMdns(monkeypatch)
    now = [ETH]
    alice, _ = make_discovery(generate(), "alice", read=lambda: list(now), poll_s=0.002)
    await alice.start()
    await until(lambda: alice.status == "on")
    fake.fails = "broken"
    now[:] = [Interface("eth0", 2, True, ("192.0.2.8/24",))]
    await until(lambda: alice.status == "off: broken")
    assert fake.closed == 1


async def test_mdns_maps_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(mdns, "AsyncZeroconf", fail)
    ours = service(BOB.device_id, "bob", 1)
    with pytest.raises(DiscoveryError, match="mDNS is not possible: address already in use"):
        await mdns.open_mdns(ours, Place(("127.0.0.1",), ()), lambda _: None, lambda _: None)


@needs_multicast
async def test_mdns_ignores_a_name_that_zeroconf_refuses() -> None:
    """An instance name with control characters, heard from a stranger, raises nothing and asks nothing."""
    ours = service(BOB.device_id, "bob", 1)
    seen: list[Instance] = []
    mine = await mdns.open_mdns(ours, Place(("127.0.0.1",), ()), seen.append, lambda _: None)
    try:
        zc = mine._zeroconf.zeroconf
        mine._state_changed(zc, SERVICE_TYPE, f"\x1b[31mmallory.{SERVICE_TYPE}", ServiceStateChange.Added)
        assert not seen
        assert not mine._questions
    finally:
        await mine.close()


# --- what is told of what is heard ------------------------------------------------------------------------


@pytest.fixture
def hearing(make_discovery: Start) -> tuple[Discovery, Sink]:
    return make_discovery(generate(), "alice", read=lambda: [ETH])


async def test_device_is_told_once_when_it_announces_the_same_at_once_again(
    hearing: tuple[Discovery, Sink],
) -> None:
    discovery, sink = hearing
    discovery._seen(instance(BOB))
    discovery._seen(instance(BOB))
    assert sink.inputs == [PeerAnnounced(BOB.device_id, "bob", (Address("192.0.2.9", 27270),))]


async def test_device_is_told_again_when_it_announces_the_same_later(
    hearing: tuple[Discovery, Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    discovery, sink = hearing
    discovery._seen(instance(BOB))
    later_s = time.monotonic() + 6
    monkeypatch.setattr("p2pchat.net.discovery.time.monotonic", lambda: later_s)
    discovery._seen(instance(BOB))
    assert len(sink.all(PeerAnnounced)) == 2


async def test_device_is_told_again_when_its_addresses_change(hearing: tuple[Discovery, Sink]) -> None:
    discovery, sink = hearing
    discovery._seen(instance(BOB))
    discovery._seen(instance(BOB, "bob", "192.0.2.10"))
    assert [heard.addresses[0].host for heard in sink.all(PeerAnnounced)] == ["192.0.2.9", "192.0.2.10"]


async def test_device_is_withdrawn_with_its_last_instance_when_it_was_renamed(
    hearing: tuple[Discovery, Sink],
) -> None:
    discovery, sink = hearing
    old, new = instance(BOB, "bob"), instance(BOB, "robert")
    discovery._seen(old)
    discovery._seen(new)
    discovery._lost(old.name)
    assert sink.all(PeerWithdrawn) == []
    discovery._lost(new.name)
    discovery._lost(new.name)
    assert sink.all(PeerWithdrawn) == [PeerWithdrawn(BOB.device_id)]


async def test_device_is_withdrawn_when_its_instance_now_names_another(
    hearing: tuple[Discovery, Sink],
) -> None:
    discovery, sink = hearing
    discovery._seen(instance(BOB, label="x"))
    taken = instance(CAROL, "carol")
    discovery._seen(Instance(instance(BOB, label="x").name, taken.txt, taken.hosts, taken.port))
    assert [type(told).__name__ for told in sink.inputs] == ["PeerAnnounced", "PeerWithdrawn", "PeerAnnounced"]


async def test_device_is_withdrawn_when_its_announcement_becomes_worthless(
    hearing: tuple[Discovery, Sink],
) -> None:
    discovery, sink = hearing
    discovery._seen(instance(BOB))
    discovery._seen(Instance(instance(BOB).name, {}, (), None))
    assert sink.all(PeerWithdrawn) == [PeerWithdrawn(BOB.device_id)]


async def test_own_announcement_is_not_told(make_discovery: Start) -> None:
    discovery, sink = make_discovery(BOB, "bob", read=lambda: [ETH])
    discovery._seen(instance(BOB))
    assert sink.inputs == []


async def test_flood_of_instances_is_bounded(hearing: tuple[Discovery, Sink], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pchat.net.discovery._MAX_INSTANCES", 3)
    discovery, sink = hearing
    for number in range(10):
        discovery._seen(instance(generate(), f"device {number}"))
    assert len(sink.all(PeerAnnounced)) == 3


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("fe80::1%1", "fe80::1%lo"),
        ("fe80::1%eth7", "fe80::1%eth7"),
        ("fe80::1%9999999", "fe80::1%9999999"),
    ],
)
def test_scope_is_written_by_name(host: str, named: str) -> None:
    assert mdns._name_scope(host) == named
