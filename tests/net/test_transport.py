"""Two devices on loopback: what one sends, the other gets, and both learn the end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest
from blockbuster import blockbuster_ctx

from p2pchat.core.inputs import BytesReceived, LinkClosed, LinkOpened, Role
from p2pchat.errors import LinkError
from p2pchat.model import Address, LinkId
from p2pchat.net.identity import generate
from p2pchat.net.interfaces import Interface
from p2pchat.net.limits import DEFAULT_PORT, Limits
from p2pchat.net.transport import Transport
from tests.net.conftest import MakeDevice, Sink, link_up

UNLIMITED = Limits(frames_per_s=1e9, frames_burst=1e9)


async def test_link_opens_with_role_and_id_on_both_sides_when_dialled(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    await bob.transport.start("127.0.0.1", 0)
    number = alice.dial(bob.address, expected=bob.identity.device_id)
    ours = await alice.sink.take(LinkOpened)
    theirs = await bob.sink.take(LinkOpened)
    assert ours == LinkOpened(ours.link, Role.DIALLER, bob.address, number, bob.identity.device_id)
    assert (theirs.role, theirs.dial, theirs.listener_id) == (Role.LISTENER, None, None)
    assert theirs.remote.host == "127.0.0.1"


async def test_link_learns_the_listener_when_no_id_was_expected(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    await bob.transport.start("127.0.0.1", 0)
    alice.dial(bob.address)
    assert (await alice.sink.take(LinkOpened)).listener_id == bob.identity.device_id


async def test_frames_pass_both_ways_when_a_link_is_up(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, theirs = await link_up(alice, bob)
    alice.transport.transmit(ours, b"question")
    assert await bob.sink.take(BytesReceived) == BytesReceived(theirs, b"question")
    bob.transport.transmit(theirs, b"answer")
    received = await alice.sink.take(BytesReceived)
    assert received == BytesReceived(ours, b"answer")
    assert type(received.data) is bytes


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 65535, 65536, 1024 * 1024])
async def test_frame_arrives_whole_whatever_its_size(make_device: MakeDevice, size_bytes: int) -> None:
    alice, bob = make_device(), make_device()
    ours, theirs = await link_up(alice, bob)
    data = bytes(index % 251 for index in range(size_bytes))
    alice.transport.transmit(ours, data)
    assert (await bob.sink.take(BytesReceived)).data == data
    bob.transport.transmit(theirs, data)
    assert (await alice.sink.take(BytesReceived)).data == data


async def test_frames_keep_their_order_when_20000_are_sent_at_once(make_device: MakeDevice) -> None:
    alice = make_device(Limits(queue_frames=30_000))
    bob = make_device(UNLIMITED)
    ours, theirs = await link_up(alice, bob)
    for number in range(20_000):
        alice.transport.transmit(ours, number.to_bytes(4, "big"))
        if number % 1000 == 0:
            await asyncio.sleep(0)
    alice.transport.close_link(ours, "done")
    await bob.sink.take(LinkClosed)
    received = [int.from_bytes(item.data, "big") for item in bob.sink.all(BytesReceived)]
    assert received == list(range(20_000))
    assert {item.link for item in bob.sink.all(BytesReceived)} == {theirs}


async def test_the_loop_is_never_blocked_while_links_open_talk_and_close(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    with blockbuster_ctx("p2pchat"):
        ours, _ = await link_up(alice, bob)
        alice.transport.transmit(ours, b"frame")
        await bob.sink.take(BytesReceived)
        await bob.transport.stop()
        await alice.sink.take(LinkClosed)


async def test_both_sides_learn_the_reason_when_a_link_is_closed(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, theirs = await link_up(alice, bob)
    alice.transport.transmit(ours, b"last words")
    alice.transport.close_link(ours, "duplicate of a newer link \x1b[2J" + "é" * 200)
    assert await bob.sink.take(BytesReceived) == BytesReceived(theirs, b"last words")
    theirs_closed = await bob.sink.take(LinkClosed)
    assert theirs_closed.link == theirs
    assert theirs_closed.detail.startswith("closed by the peer: duplicate of a newer link ␛[2Jé")
    assert (await alice.sink.take(LinkClosed)).link == ours


async def test_listener_end_closes_a_link_too(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, theirs = await link_up(alice, bob)
    bob.transport.close_link(theirs, "blocked")
    assert await alice.sink.take(LinkClosed) == LinkClosed(ours, "closed by the peer: blocked")
    assert await bob.sink.take(LinkClosed) == LinkClosed(theirs, "blocked")


async def test_nothing_happens_when_a_link_that_is_gone_is_used(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, _ = await link_up(alice, bob)
    alice.transport.close_link(ours, "bye")
    await alice.sink.take(LinkClosed)
    uses: list[Callable[[], None]] = [
        lambda: alice.transport.transmit(ours, b"late"),
        lambda: alice.transport.close_link(ours, "late"),
        lambda: alice.transport.authenticated(ours),
        lambda: alice.transport.pause_reading(ours),
        lambda: alice.transport.resume_reading(ours),
    ]
    for use in uses:
        use()
    await bob.sink.take(LinkClosed)
    assert alice.sink.inputs == []
    assert bob.sink.inputs == []


async def test_frame_after_the_wish_to_close_is_not_sent(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, _ = await link_up(alice, bob)
    alice.transport.close_link(ours, "bye")
    alice.transport.transmit(ours, b"too late")
    await bob.sink.take(LinkClosed)
    assert bob.sink.all(BytesReceived) == []


async def test_frame_over_the_limit_ends_the_link_of_its_sender(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, _ = await link_up(alice, bob)
    alice.transport.transmit(ours, bytes(1024 * 1024 + 1))
    assert "more than this protocol allows" in (await alice.sink.take(LinkClosed)).detail


@pytest.mark.parametrize("limits", [Limits(queue_bytes=200_000), Limits(queue_frames=20)], ids=["bytes", "frames"])
async def test_link_ends_when_the_queue_of_a_slow_peer_overflows(make_device: MakeDevice, limits: Limits) -> None:
    alice, bob = make_device(limits), make_device()
    ours, theirs = await link_up(alice, bob)
    bob.transport.pause_reading(theirs)
    for _ in range(2000):
        alice.transport.transmit(ours, bytes(10_000))
        await asyncio.sleep(0)
        if alice.sink.all(LinkClosed):
            break
    assert "queue is full" in (await alice.sink.take(LinkClosed)).detail


async def test_link_ends_by_force_when_the_peer_never_reads_the_goodbye(make_device: MakeDevice) -> None:
    alice, bob = make_device(Limits(close_timeout_s=0.2)), make_device()
    ours, theirs = await link_up(alice, bob)
    bob.transport.pause_reading(theirs)
    alice.transport.close_link(ours, "bye")
    assert await alice.sink.take(LinkClosed, 3.0) == LinkClosed(ours, "bye")


async def test_reading_stops_and_goes_on_when_the_engine_asks(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, theirs = await link_up(alice, bob)
    bob.transport.pause_reading(theirs)
    alice.transport.transmit(ours, b"wait")
    # A second link proves that bob's loop had its turns in the meantime.
    ours_2, theirs_2 = await link_up(alice, bob)
    alice.transport.transmit(ours_2, b"pass")
    assert (await bob.sink.take(BytesReceived)).link == theirs_2
    assert bob.sink.all(BytesReceived) == []
    bob.transport.resume_reading(theirs)
    assert (await bob.sink.take(BytesReceived)).data == b"wait"


async def test_reading_stops_for_a_stranger_when_it_has_said_enough(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device(Limits(frames_unauthenticated=5))
    await bob.transport.start("127.0.0.1", 0)
    alice.dial(bob.address)
    ours, theirs = await alice.sink.take(LinkOpened), await bob.sink.take(LinkOpened)
    frames = [bytes([number]) * 20_000 for number in range(20)]
    for frame in frames:
        alice.transport.transmit(ours.link, frame)
    received = [(await bob.sink.take(BytesReceived)).data for _ in range(4)]
    ours_2, _ = await link_up(alice, bob)
    alice.transport.close_link(ours_2, "the loop had its turns")
    await bob.sink.take(LinkClosed)
    assert len(bob.sink.all(BytesReceived)) < 10
    bob.transport.authenticated(theirs.link)
    received += [(await bob.sink.take(BytesReceived)).data for _ in range(16)]
    assert received == frames


async def test_reading_slows_down_when_a_peer_sends_more_frames_than_allowed(
    make_device: MakeDevice,
) -> None:
    alice, bob = make_device(), make_device(Limits(frames_per_s=100, frames_burst=10))
    ours, _ = await link_up(alice, bob)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    for number in range(60):
        alice.transport.transmit(ours, bytes([number]))
        await asyncio.sleep(0)
    received = [(await bob.sink.take(BytesReceived)).data[0] for _ in range(60)]
    alice.transport.transmit(ours, b"after the debt")
    await bob.sink.take(BytesReceived)
    assert received == list(range(60))
    assert loop.time() - started_s >= 0.4


async def test_stop_says_goodbye_on_every_link_and_leaves_nothing(make_device: MakeDevice) -> None:
    alice, bob, carol = make_device(), make_device(), make_device()
    await link_up(alice, bob)
    await link_up(carol, bob)
    await bob.transport.stop("engine stopped")
    for device in (alice, carol):
        assert (await device.sink.take(LinkClosed)).detail == "closed by the peer: engine stopped"
    assert len(bob.sink.all(LinkClosed)) == 2
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", bob.transport.port or bob.address.port)


async def test_stop_ends_a_dial_that_is_under_way(make_device: MakeDevice) -> None:
    alice = make_device()
    silent = socket.create_server(("127.0.0.1", 0))
    with silent:
        alice.dial(Address(*silent.getsockname()))
        await asyncio.sleep(0)
        await alice.transport.stop()
    assert alice.sink.inputs == []


async def test_dial_after_stop_does_nothing(make_device: MakeDevice) -> None:
    alice = make_device()
    await alice.transport.stop()
    alice.dial(Address("127.0.0.1", 1))
    assert alice.sink.inputs == []


async def test_no_thread_is_needed_when_only_addresses_are_dialled(make_device: MakeDevice) -> None:
    threads = threading.active_count()
    await link_up(make_device(), make_device())
    assert threading.active_count() == threads


async def test_peer_that_dies_is_told_as_a_closed_link(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, theirs = await link_up(alice, bob)
    found = bob.transport._open.get(theirs)
    assert found is not None
    found.abort("killed")
    assert (await alice.sink.take(LinkClosed)).link == ours


def eth0(*addresses: str) -> list[Interface]:
    return [
        Interface("eth0", 2, True, addresses),
        Interface("lo", 1, True, ("127.0.0.1/8", "::1/128")),
    ]


async def test_addresses_are_those_of_the_usable_interfaces_when_all_are_listened_on() -> None:
    seen = eth0("192.0.2.7/24", "2001:db8::7/64", "fe80::7/64")
    transport = Transport(generate(), Sink(), read_interfaces=lambda: seen)
    await transport.start(port=0)
    port = transport.port
    assert transport.addresses() == (Address("192.0.2.7", port), Address("2001:db8::7", port))
    await transport.stop()


async def test_address_is_the_one_asked_for_when_one_is_listened_on(make_device: MakeDevice) -> None:
    bob = make_device()
    await bob.transport.start("127.0.0.1", 0)
    assert bob.transport.addresses() == (Address("127.0.0.1", bob.transport.port),)


async def test_both_families_share_a_port_when_all_are_listened_on(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    await bob.transport.start(port=0)
    for host in ("127.0.0.1", "::1"):
        alice.dial(Address(host, bob.transport.port))
        assert (await alice.sink.take(LinkOpened)).remote.host == host
        assert (await bob.sink.take(LinkOpened)).remote.host == host


async def test_start_names_the_port_when_the_one_asked_for_is_taken(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    await bob.transport.start("127.0.0.1", 0)
    port = bob.transport.port
    with pytest.raises(LinkError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
        await alice.transport.start("127.0.0.1", port)


async def test_start_takes_another_port_when_the_default_is_taken(
    make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = make_device(), make_device()
    await bob.transport.start("127.0.0.1", 0)
    taken = bob.transport.port
    assert taken != DEFAULT_PORT
    monkeypatch.setattr("p2pchat.net.listener.DEFAULT_PORT", taken)
    await alice.transport.start("127.0.0.1")
    assert alice.transport.port not in (0, taken)


@pytest.mark.parametrize("host", ["not an address", "198.51.100.1"])
async def test_start_names_the_host_when_it_is_not_ours(make_device: MakeDevice, host: str) -> None:
    with pytest.raises(LinkError, match="cannot listen on"):
        await make_device().transport.start(host, 0)


async def test_numbers_of_links_are_never_used_again(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    seen: set[LinkId] = set()
    for _ in range(3):
        ours, _ = await link_up(alice, bob)
        assert ours not in seen
        seen.add(ours)
        alice.transport.close_link(ours, "next")
        await alice.sink.take(LinkClosed)
