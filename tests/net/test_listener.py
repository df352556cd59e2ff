"""What a listener lets in, and what strangers, browsers and attackers get."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from p2pchat.core.inputs import BytesReceived, LinkClosed, LinkOpened
from p2pchat.model import Address
from p2pchat.net.limits import Limits
from p2pchat.net.listener import address_of
from p2pchat.net.tls import client_context
from tests.net.conftest import Device, MakeDevice, link_up
from tests.net.hostile import hang_up, read_to_end, stock_client, tls_client


@pytest.fixture
async def bob(make_device: MakeDevice) -> Device:
    device = make_device(
        Limits(tls_timeout_s=0.3, upgrade_timeout_s=0.3, unauthenticated_age_s=0.6, close_timeout_s=0.3)
    )
    await device.transport.start("127.0.0.1", 0)
    return device


async def test_client_of_tls_1_2_gets_no_connection(bob: Device) -> None:
    old = client_context()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", bob.transport.port, ssl=old)
    assert bob.sink.inputs == []


async def test_client_of_tls_1_3_gets_a_connection(bob: Device) -> None:
    _, writer = await tls_client(bob.address)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    await hang_up(writer)


async def test_stock_websocket_client_gets_a_link_that_nobody_trusts(bob: Device) -> None:
    async with stock_client(bob.address) as client:
        opened = await bob.sink.take(LinkOpened)
        assert client.subprotocol == "p2pchat.v1"
        assert client.protocol.extensions == []
        bob.transport.transmit(opened.link, b"hello")
        assert await client.recv() == b"hello"
    assert (await bob.sink.take(LinkClosed)).link == opened.link


@pytest.mark.parametrize(
    ("path", "subprotocol", "status"),
    [("/", "p2pchat.v1", 404), ("/v1/link/", "p2pchat.v1", 404), ("/v1/link", "chat", 400), ("/v1/link", None, 400)],
)
async def test_other_paths_and_subprotocols_get_an_http_error(
    bob: Device, path: str, subprotocol: str | None, status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await stock_client(bob.address, path, subprotocol)
    assert refused.value.response.status_code == status
    assert bob.sink.inputs == []


async def test_browser_page_gets_an_http_error(bob: Device) -> None:
    client = stock_client(bob.address)
    client.additional_headers = {"Origin": "https://evil.example"}
    with pytest.raises(InvalidStatus) as refused:
        await client
    assert refused.value.response.status_code == 403
    assert bob.sink.inputs == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/link HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/link HTTP/1.0\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/link HTTP/1.1\r\n" + b"a: b\r\n" * 500 + b"\r\n",
        b"\x00\xff\x00\xff\r\n\r\n",
    ],
    ids=["plain get", "post", "http 1.0", "long line", "many headers", "noise"],
)
async def test_request_that_is_no_upgrade_ends_the_connection(bob: Device, request_bytes: bytes) -> None:
    reader, writer = await tls_client(bob.address)
    writer.write(request_bytes)
    answer = await read_to_end(reader)
    assert b" 101 " not in answer
    await hang_up(writer)
    assert bob.sink.inputs == []


async def test_text_message_is_handed_on_to_be_answered_with_an_error(bob: Device) -> None:
    async with stock_client(bob.address) as client:
        opened = await bob.sink.take(LinkOpened)
        await client.send("hello")
        assert await bob.sink.take(BytesReceived) == BytesReceived(opened.link, b"hello")


async def test_fragmented_message_closes_the_link(bob: Device) -> None:
    async with stock_client(bob.address) as client:
        await bob.sink.take(LinkOpened)
        await client.send([b"one", b"two"])
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert "fragmented" in (await bob.sink.take(LinkClosed)).detail
    assert bob.sink.all(BytesReceived) == []


async def test_frames_behind_a_forbidden_one_are_not_delivered(bob: Device) -> None:
    async with stock_client(bob.address) as client:
        await bob.sink.take(LinkOpened)
        frames = [Frame(Opcode.BINARY, b"no", fin=False), Frame(Opcode.BINARY, b"after")]
        client.transport.write(b"".join(frame.serialize(mask=True) for frame in frames))
        with pytest.raises(ConnectionClosed):
            await client.recv()
    await bob.sink.take(LinkClosed)
    assert bob.sink.all(BytesReceived) == []


async def test_message_over_1_mib_closes_the_link(bob: Device) -> None:
    async with stock_client(bob.address) as client:
        await bob.sink.take(LinkOpened)
        await client.send(bytes(1024 * 1024 + 1))
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert "exceeds limit" in (await bob.sink.take(LinkClosed)).detail
    assert bob.sink.all(BytesReceived) == []


async def test_broken_websocket_closes_the_link(bob: Device) -> None:
    async with stock_client(bob.address) as client:
        await bob.sink.take(LinkOpened)
        client.transport.write(b"\xff\xff\xff\xff")
        with pytest.raises(ConnectionClosed):
            await client.recv()
    assert "broke the websocket protocol" in (await bob.sink.take(LinkClosed)).detail


async def test_ping_is_answered(bob: Device) -> None:
    async with stock_client(bob.address) as client:
        async with asyncio.timeout(5):
            await (await client.ping(b"still there?"))


async def test_peer_that_pings_and_never_reads_loses_its_link(make_device: MakeDevice) -> None:
    bob = make_device(Limits(queue_bytes=100_000, frames_per_s=1e9, frames_burst=1e9, frames_unauthenticated=10**9))
    await bob.transport.start("127.0.0.1", 0)
    async with stock_client(bob.address) as client:
        await bob.sink.take(LinkOpened)
        client.transport.pause_reading()
        pings = Frame(Opcode.PING, bytes(125)).serialize(mask=True) * 500
        while not bob.sink.all(LinkClosed):
            client.transport.write(pings)
            await asyncio.sleep(0)
        client.transport.abort()
    assert "queue is full" in (await bob.sink.take(LinkClosed)).detail


async def test_connection_that_says_nothing_ends_by_the_deadline_of_tls(bob: Device) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", bob.transport.port)
    assert await read_to_end(reader) == b""
    await hang_up(writer)


async def test_connection_that_dribbles_its_request_ends_by_the_deadline(bob: Device) -> None:
    reader, writer = await tls_client(bob.address)
    ended = asyncio.create_task(read_to_end(reader))
    while not ended.done():
        writer.write(b"G")
        await asyncio.wait([ended], timeout=0.05)
    assert await ended == b""
    await hang_up(writer)


async def test_link_ends_when_it_is_never_authenticated(bob: Device) -> None:
    async with stock_client(bob.address) as client:
        opened = await bob.sink.take(LinkOpened)
        with pytest.raises(ConnectionClosed):
            await client.recv()
    closed = await bob.sink.take(LinkClosed)
    assert closed == LinkClosed(opened.link, "the peer did not authenticate in time")


async def test_authenticated_link_outlives_the_deadline_of_strangers(bob: Device) -> None:
    async with stock_client(bob.address) as known, stock_client(bob.address) as stranger:
        first, second = await bob.sink.take(LinkOpened), await bob.sink.take(LinkOpened)
        bob.transport.authenticated(first.link)
        assert (await bob.sink.take(LinkClosed)).link == second.link
        with pytest.raises(ConnectionClosed):
            await stranger.recv()
        bob.transport.transmit(first.link, b"still here")
        assert await known.recv() == b"still here"


async def refused(address: Address) -> bool:
    """Whether a new connection is closed at once, before TLS."""
    try:
        _, writer = await tls_client(address)
    except (ssl.SSLError, ConnectionError):
        return True
    await hang_up(writer)
    return False


async def test_fifth_stranger_of_an_address_is_refused_until_one_is_known(make_device: MakeDevice) -> None:
    bob = make_device()
    await bob.transport.start("127.0.0.1", 0)
    links, writers = [], []
    for _ in range(3):
        _, writer = await tls_client(bob.address)
        writers.append(writer)
    async with stock_client(bob.address):
        links.append((await bob.sink.take(LinkOpened)).link)
        assert await refused(bob.address)
        bob.transport.authenticated(links[0])
        assert not await refused(bob.address)
    for writer in writers:
        await hang_up(writer)


async def test_place_of_a_stranger_is_free_again_when_it_leaves(make_device: MakeDevice) -> None:
    bob = make_device(Limits(max_unauthenticated_per_address=1))
    await bob.transport.start("127.0.0.1", 0)
    for _ in range(3):
        async with stock_client(bob.address):
            await bob.sink.take(LinkOpened)
            assert await refused(bob.address)
        await bob.sink.take(LinkClosed)


async def test_strangers_are_refused_when_there_are_32_from_anywhere(make_device: MakeDevice) -> None:
    bob = make_device(Limits(max_unauthenticated=32, max_unauthenticated_per_address=100))
    await bob.transport.start("127.0.0.1", 0)
    writers = [(await tls_client(bob.address))[1] for _ in range(32)]
    assert await refused(bob.address)
    for writer in writers:
        await hang_up(writer)


async def test_links_are_refused_when_there_are_as_many_as_allowed(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device(Limits(max_links=2))
    await link_up(alice, bob)
    await link_up(alice, bob)
    assert await refused(bob.address)


async def test_listener_goes_on_when_descriptors_run_out_for_a_while(
    make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pchat.net.listener._PAUSE_S", 0.01)
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept
    failures = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ECONNABORTED, "aborted")]

    async def accept_or_fail(sock: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise failures.pop()
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", accept_or_fail)
    alice, bob = make_device(), make_device()
    await link_up(alice, bob)
    assert failures == []


@pytest.mark.parametrize(
    ("sockaddr", "address"),
    [
        (("192.0.2.1", 5), Address("192.0.2.1", 5)),
        (("2001:db8::1", 5, 0, 0), Address("2001:db8::1", 5)),
        (("fe80::1", 5, 0, 1), Address("fe80::1%lo", 5)),
        (("fe80::1%lo", 5, 0, 1), Address("fe80::1%lo", 5)),
        (("fe80::1", 5, 0, 9_999_999), Address("fe80::1%9999999", 5)),
    ],
)
def test_address_of_a_peer_has_its_scope(
    sockaddr: tuple[str, int] | tuple[str, int, int, int], address: Address
) -> None:
    assert address_of(sockaddr) == address
