"""How the end of a connection is told to a person."""

from __future__ import annotations

import asyncio
import errno

import pytest

from p2pchat.core.inputs import BytesReceived, LinkClosed, LinkOpened
from p2pchat.net.limits import Limits
from p2pchat.net.link import _ended_by
from tests.net.conftest import MakeDevice, link_up
from tests.net.hostile import stock_client


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, "the other side hung up"),
        (ConnectionResetError(), "the connection was reset"),
        (BrokenPipeError(), "the connection was reset"),
        (TimeoutError(), "the connection timed out"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "the connection broke: No route to host"),
        (ValueError("odd \x1b"), "the connection broke: odd ␛"),
    ],
)
def test_end_is_told_in_words(error: Exception | None, text: str) -> None:
    assert _ended_by(error) == text


async def test_link_that_is_cut_is_told_as_reset_or_hung_up(make_device: MakeDevice) -> None:
    bob = make_device()
    await bob.transport.start("127.0.0.1", 0)
    client = await stock_client(bob.address)
    opened = await bob.sink.take(LinkOpened)
    client.transport.abort()
    closed = await bob.sink.take(LinkClosed)
    assert closed.link == opened.link
    assert closed.detail in ("the connection was reset", "the other side hung up")


async def test_small_frames_of_one_turn_are_gathered_into_few_writes(
    make_device: MakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = make_device(), make_device()
    ours, _ = await link_up(alice, bob)
    found = alice.transport._open.get(ours)
    assert found is not None
    assert found._transport is not None
    writes: list[int] = []
    write = found._transport.write

    def note(data: bytes | bytearray | memoryview) -> None:
        writes.append(len(data))
        write(data)

    monkeypatch.setattr(found._transport, "write", note)
    for number in range(200):
        alice.transport.transmit(ours, bytes([number]))
    received = [(await bob.sink.take(BytesReceived)).data[0] for _ in range(200)]
    assert received == list(range(200))
    assert len(writes) == 2


async def test_frames_are_all_delivered_when_a_turn_is_cut_short(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device(Limits(frames_per_s=1e9, frames_burst=1e9))
    ours, _ = await link_up(alice, bob)
    for number in range(3000):
        alice.transport.transmit(ours, number.to_bytes(2, "big"))
    received = [int.from_bytes((await bob.sink.take(BytesReceived)).data, "big") for _ in range(3000)]
    assert received == list(range(3000))


async def test_engine_may_answer_and_close_from_within_its_sink(make_device: MakeDevice) -> None:
    alice, bob = make_device(), make_device()
    ours, theirs = await link_up(alice, bob)
    told = asyncio.Event()
    remember = bob.sink.__call__

    def engine(arrived: object) -> None:
        remember(arrived)  # type: ignore[arg-type]  # inputs only
        if isinstance(arrived, BytesReceived):
            bob.transport.transmit(theirs, b"answer")
            bob.transport.close_link(theirs, "that was all")
            told.set()

    bob.transport._open._sink = engine
    alice.transport.transmit(ours, b"question")
    await told.wait()
    assert (await alice.sink.take(BytesReceived)).data == b"answer"
    assert (await alice.sink.take(LinkClosed)).detail == "closed by the peer: that was all"
