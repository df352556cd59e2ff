"""What a dial that fails is called, and which address speaks for it."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from websockets.utils import accept_key

from p2pchat.core.inputs import DialError, DialFailed, LinkOpened
from p2pchat.model import Address, DeviceId
from p2pchat.net import dialler
from p2pchat.net.identity import generate
from p2pchat.net.limits import Limits
from p2pchat.net.tls import server_context
from tests.net.conftest import MakeDevice
from tests.net.hostile import listener, read_to_end, refusing_port
from tests.net.test_tls import foreign_context

QUICK = Limits(tcp_timeout_s=0.3, tls_timeout_s=0.3, upgrade_timeout_s=0.3, stagger_s=0.05)


@pytest.fixture
def silent_host() -> Iterator[Address]:
    """An address whose TCP packets nobody answers: a full backlog drops them."""
    with socket.socket() as sock, socket.socket() as first, socket.socket() as second:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        yield Address(*sock.getsockname())


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_to_end(reader)


async def test_dial_is_refused_when_nothing_listens(make_device: MakeDevice) -> None:
    alice = make_device(QUICK)
    with refusing_port() as address:
        number = alice.dial(address)
        failed = await alice.sink.take(DialFailed)
    assert failed == DialFailed(number, DialError.REFUSED, address, f"nothing listens on {address}")


async def test_dial_has_no_answer_when_the_host_is_silent(make_device: MakeDevice, silent_host: Address) -> None:
    alice = make_device(QUICK)
    alice.dial(silent_host)
    failed = await alice.sink.take(DialFailed)
    assert (failed.error, failed.address) == (DialError.NO_ANSWER, silent_host)


async def test_dial_is_unreachable_when_no_address_is_known(make_device: MakeDevice) -> None:
    alice = make_device(QUICK)
    number = alice.dial()
    failed = await alice.sink.take(DialFailed)
    assert failed == DialFailed(number, DialError.UNREACHABLE, None, "no address is known")


async def test_dial_is_unreachable_when_the_name_is_unknown(
    make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = make_device(QUICK)
    address = Address("nobody.invalid", 1)
    threads: list[str] = []
    lookup = dialler._lookup

    def look_up(address: Address, *, numeric: bool) -> list[dialler.SockAddr]:
        if numeric:
            return lookup(address, numeric=True)
        threads.append(threading.current_thread().name)
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(dialler, "_lookup", look_up)
    alice.dial(address)
    failed = await alice.sink.take(DialFailed)
    assert (failed.error, failed.detail) == (DialError.UNREACHABLE, "no host is named nobody.invalid")
    assert threads == ["p2pchat-lookup"]


async def test_dial_gives_up_a_lookup_when_the_resolver_hangs(
    make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = make_device(QUICK)
    release = threading.Event()
    hanging: list[threading.Thread] = []
    lookup = dialler._lookup

    def look_up(address: Address, *, numeric: bool) -> list[dialler.SockAddr]:
        if numeric:
            return lookup(address, numeric=True)
        hanging.append(threading.current_thread())
        release.wait(10)
        return []

    monkeypatch.setattr(dialler, "_lookup", look_up)
    alice.dial(Address("slow.example", 1))
    failed = await alice.sink.take(DialFailed)
    release.set()
    hanging[0].join(10)
    assert (failed.error, failed.detail) == (
        DialError.UNREACHABLE,
        "the name slow.example takes too long to look up",
    )


async def test_dial_reaches_a_host_by_its_name(make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = make_device(QUICK), make_device()
    await bob.transport.start("127.0.0.1", 0)
    lookup = dialler._lookup

    def look_up(address: Address, *, numeric: bool) -> list[dialler.SockAddr]:
        return lookup(address if numeric else Address("127.0.0.1", address.port), numeric=True)

    monkeypatch.setattr(dialler, "_lookup", look_up)
    named = Address("bob.example", bob.transport.port)
    alice.dial(named)
    assert (await alice.sink.take(LinkOpened)).remote == named
    for thread in threading.enumerate():
        if thread.name == "p2pchat-lookup":
            thread.join(10)


async def test_dial_fails_in_tls_when_the_host_takes_the_connection_and_says_nothing(
    make_device: MakeDevice,
) -> None:
    alice = make_device(QUICK)
    async with listener(say_nothing) as address:
        alice.dial(address)
        failed = await alice.sink.take(DialFailed)
    assert (failed.error, failed.address) == (DialError.TLS, address)
    assert failed.detail == "the TLS handshake took too long"


async def test_dial_fails_in_tls_when_the_host_speaks_something_else(make_device: MakeDevice) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await read_to_end(reader)

    alice = make_device(QUICK)
    async with listener(greet) as address:
        alice.dial(address)
        failed = await alice.sink.take(DialFailed)
    assert failed.error is DialError.TLS
    assert failed.detail.startswith("the TLS handshake failed")


async def test_dial_fails_in_tls_when_the_host_hangs_up_during_it(make_device: MakeDevice) -> None:
    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.transport.abort()

    alice = make_device(QUICK)
    async with listener(drop) as address:
        alice.dial(address)
        assert (await alice.sink.take(DialFailed)).error is DialError.TLS


async def test_dial_fails_in_tls_when_the_certificate_is_not_of_a_device(
    make_device: MakeDevice, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alice = make_device(QUICK)
    context = foreign_context(tmp_path_factory.mktemp("printer"))
    async with listener(say_nothing, context) as address:
        alice.dial(address)
        failed = await alice.sink.take(DialFailed)
    assert failed.error is DialError.TLS
    assert "not a p2pchat device" in failed.detail


async def test_dial_fails_by_the_key_when_somebody_else_answers(make_device: MakeDevice) -> None:
    alice, mallory = make_device(QUICK), make_device()
    await mallory.transport.start("127.0.0.1", 0)
    alice.dial(mallory.address, expected=generate().device_id)
    failed = await alice.sink.take(DialFailed)
    assert (failed.error, failed.address) == (DialError.WRONG_KEY, mallory.address)
    assert mallory.identity.device_id in failed.detail
    # Mallory's side never came as far as a link.
    await mallory.transport.stop()
    assert mallory.sink.inputs == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: wss://127.0.0.1:1/v1/link\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBvbmU=\r\n\r\n",
        b"what is this\r\n\r\n",
        b"x" * 20_000,
        b"",
    ],
    ids=["not found", "redirect", "wrong accept", "no http", "endless line", "silence"],
)
async def test_dial_fails_in_the_upgrade_when_the_answer_is_not_101(make_device: MakeDevice, answer: bytes) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await read_to_end(reader)

    alice = make_device(QUICK)
    async with listener(reply, server_context(generate())) as address:
        alice.dial(address)
        failed = await alice.sink.take(DialFailed)
    assert (failed.error, failed.address) == (DialError.HANDSHAKE, address)
    assert failed.detail


async def test_dial_fails_in_the_upgrade_when_the_subprotocol_is_not_ours(make_device: MakeDevice) -> None:
    async def accept_anything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key).encode() + b"\r\n\r\n"
        )
        await read_to_end(reader)

    alice = make_device(QUICK)
    async with listener(accept_anything, server_context(generate())) as address:
        alice.dial(address)
        failed = await alice.sink.take(DialFailed)
    assert (failed.error, failed.detail) == (
        DialError.HANDSHAKE,
        "the other side does not speak p2pchat.v1",
    )


async def test_dial_tries_the_next_address_at_once_when_one_is_refused(make_device: MakeDevice) -> None:
    alice, bob = make_device(Limits(stagger_s=60.0)), make_device()
    await bob.transport.start("127.0.0.1", 0)
    with refusing_port() as nobody:
        alice.dial(nobody, bob.address, expected=bob.identity.device_id)
        assert (await alice.sink.take(LinkOpened)).remote == bob.address


async def test_dial_tries_the_next_address_beside_when_one_is_silent(
    make_device: MakeDevice, silent_host: Address
) -> None:
    alice, bob = make_device(Limits(stagger_s=0.1)), make_device()
    await bob.transport.start("127.0.0.1", 0)
    started_s = time.monotonic()
    alice.dial(silent_host, bob.address, expected=bob.identity.device_id)
    assert (await alice.sink.take(LinkOpened)).remote == bob.address
    assert 0.1 <= time.monotonic() - started_s < 2.0


async def test_dial_finds_the_right_device_when_an_old_address_is_now_another_s(
    make_device: MakeDevice,
) -> None:
    alice, bob, mallory = make_device(), make_device(), make_device()
    await bob.transport.start("127.0.0.1", 0)
    await mallory.transport.start("127.0.0.1", 0)
    alice.dial(mallory.address, bob.address, expected=bob.identity.device_id)
    opened = await alice.sink.take(LinkOpened)
    assert (opened.remote, opened.listener_id) == (bob.address, bob.identity.device_id)
    assert alice.sink.all(DialFailed) == []


async def test_dial_reports_the_host_that_got_furthest_when_all_fail(
    make_device: MakeDevice, silent_host: Address
) -> None:
    alice = make_device(QUICK)
    async with listener(say_nothing) as mute:
        with refusing_port() as nobody:
            alice.dial(silent_host, nobody, mute)
            failed = await alice.sink.take(DialFailed)
    assert (failed.error, failed.address) == (DialError.TLS, mute)


async def test_dial_opens_one_link_when_two_addresses_lead_to_one_device(make_device: MakeDevice) -> None:
    alice, bob = make_device(Limits(stagger_s=0.0)), make_device()
    await bob.transport.start(port=0)
    port = bob.transport.port
    number = alice.dial(Address("127.0.0.1", port), Address("::1", port), expected=bob.identity.device_id)
    assert (await alice.sink.take(LinkOpened)).dial == number
    # A second dial proves that the first has settled: a loser would have told by now.
    second = alice.dial(Address("127.0.0.1", port), expected=bob.identity.device_id)
    assert (await alice.sink.take(LinkOpened)).dial == second
    assert alice.sink.inputs == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ECONNREFUSED, DialError.REFUSED),
        (errno.ECONNRESET, DialError.REFUSED),
        (errno.ETIMEDOUT, DialError.NO_ANSWER),
        (errno.EHOSTUNREACH, DialError.UNREACHABLE),
        (errno.ENETUNREACH, DialError.UNREACHABLE),
        (errno.EACCES, DialError.UNREACHABLE),
        (errno.EMFILE, DialError.UNREACHABLE),
    ],
)
def test_errors_of_tcp_are_mapped(code: int, error: DialError) -> None:
    address = Address("192.0.2.1", 27270)
    failure = dialler._of_connect(OSError(code, "text"), address)
    assert (failure.error, failure.address) == (error, address)
    assert str(address) in failure.detail


def test_first_address_speaks_when_none_answered() -> None:
    first = dialler.Failure(DialError.NO_ANSWER, Address("192.0.2.1", 1), "")
    second = dialler.Failure(DialError.UNREACHABLE, Address("192.0.2.2", 1), "")
    assert dialler._most_telling([first, second]) is first
    assert dialler._most_telling([second, first]) is second


async def test_dials_beyond_the_limit_wait_for_their_turn(make_device: MakeDevice) -> None:
    limits = Limits(max_dials=1, tls_timeout_s=0.1)
    alice = make_device(limits)
    async with listener(say_nothing) as address:
        numbers = [alice.dial(address, expected=DeviceId("x")) for _ in range(3)]
        failed = [(await alice.sink.take(DialFailed)).dial for _ in range(3)]
    assert failed == numbers
