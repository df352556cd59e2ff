"""The local API at its socket: good, bad, hostile and stuck clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from p2pchat.api.client import draw_message_id
from p2pchat.api.types import MAX_LINE_BYTES, METHODS
from p2pchat.engine import connection as limits
from p2pchat.engine import endpoint, methods
from p2pchat.engine.server import ApiServer
from tests.engine.conftest import Running, Start, befriend

pytestmark = pytest.mark.usefixtures("never_blocked")


class Raw:
    """A client that writes whatever it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.number = 0

    async def line(self) -> dict[str, Any]:
        data = await asyncio.wait_for(self.reader.readline(), 10)
        assert data, "the engine hung up"
        found: dict[str, Any] = json.loads(data)
        return found

    async def ask(self, method: str, **params: object) -> dict[str, Any]:
        self.number += 1
        self.say(method, self.number, **params)
        while (answer := await self.line()).get("id") != self.number:
            pass
        return answer

    def say(self, method: str, number: int, **params: object) -> None:
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        self.writer.write(json.dumps(request).encode() + b"\n")

    async def is_cut(self) -> None:
        """Wait until the engine has hung up."""
        with contextlib.suppress(ConnectionError):
            while await asyncio.wait_for(self.reader.read(1 << 20), 10):
                pass


Connect = Callable[[Running], Awaitable[Raw]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    opened: list[Raw] = []

    async def begin(engine: Running) -> Raw:
        path = str(engine.paths.find_socket())
        opened.append(Raw(*await asyncio.open_unix_connection(path, limit=MAX_LINE_BYTES)))
        return opened[-1]

    yield begin
    for raw in opened:
        raw.writer.close()
        with contextlib.suppress(ConnectionError):
            await raw.writer.wait_closed()


def test_table_has_every_method_of_the_schema() -> None:
    assert set(methods.TABLE) == set(METHODS)


NOBODY = "c" * 52
SOME_ID = "0" * 32


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("nothing", {}, "no_such_method"),
        ("peer.show", {}, "bad_request"),
        ("peer.show", {"peer": 5}, "bad_request"),
        ("peer.show", {"peer": "x"}, "no_such_peer"),
        ("peer.show", {"peer": NOBODY}, "no_such_peer"),
        ("peer.forget", {"peer": ""}, "no_such_peer"),
        ("peer.rename", {"peer": "x", "name": "y"}, "no_such_peer"),
        ("peer.add", {"address": ""}, "bad_request"),
        ("peer.add", {"address": "host:99999"}, "bad_request"),
        ("peer.add", {"address": "127.0.0.1:0"}, "bad_request"),
        ("peer.add", {"address": "p2pchat:abc@h:1"}, "bad_request"),
        ("peer.add", {"address": "127.0.0.1:1"}, "unreachable"),
        ("message.send", {"peer": "x", "body": "b", "message_id": "zz"}, "bad_request"),
        ("message.send", {"peer": "x", "body": "", "message_id": SOME_ID}, "bad_request"),
        ("message.send", {"peer": "x", "body": "b", "message_id": SOME_ID}, "no_such_peer"),
        ("message.show", {"message_id": "1"}, "bad_request"),
        ("message.show", {"message_id": SOME_ID}, "no_such_message"),
        ("message.cancel", {"message_id": SOME_ID}, "no_such_message"),
        ("message.wait", {"message_id": SOME_ID, "state": "read", "timeout_s": 1}, "no_such_message"),
        ("message.wait", {"message_id": SOME_ID, "state": "eaten", "timeout_s": 1}, "bad_request"),
        ("message.wait", {"message_id": SOME_ID, "state": "failed", "timeout_s": 1}, "bad_request"),
        ("message.wait", {"message_id": SOME_ID, "state": "read", "timeout_s": -1}, "bad_request"),
        ("history", {"peer": "x"}, "no_such_peer"),
        ("history", {"peer": "x", "limit": 0}, "bad_request"),
        ("history", {"peer": "x", "limit": "all"}, "bad_request"),
        ("read", {"peer": "x"}, "no_such_peer"),
        ("outbox", {"peer": "x"}, "no_such_peer"),
        ("dlq.list", {"peer": "x"}, "no_such_peer"),
        ("dlq.retry", {"message_ids": [SOME_ID]}, "no_such_message"),
        ("dlq.purge", {"message_ids": ["?"]}, "bad_request"),
        ("dlq.purge", {"message_ids": [], "peer": "x"}, "bad_request"),
        ("logs.tail", {"log": "cabin"}, "bad_request"),
        ("logs.subscribe", {"log": "cabin"}, "bad_request"),
        ("events.subscribe", {"since": "yesterday"}, "bad_request"),
    ],
)
async def test_request_is_refused_with_its_word_when_it_makes_no_sense(
    start: Start, connect: Connect, method: str, params: dict[str, object], code: str
) -> None:
    raw = await connect(await start("ada"))
    error = (await raw.ask(method, **params))["error"]
    assert error["data"]["code"] == code
    assert error["message"]
    assert "\n" not in error["message"]
    assert (await raw.ask("status"))["result"]["name"] == "ada"


async def test_engine_answers_on_when_lines_are_nonsense(start: Start, connect: Connect) -> None:
    """Whatever a line holds, the next good one is answered."""
    raw = await connect(await start("ada"))
    raw.writer.write(b"{\n\n   \n[]\n\xff\xfe\n" + b'{"jsonrpc":"2.0","method":"status"}\n')
    codes = [(await raw.line())["error"]["code"] for _ in range(3)]
    assert codes == [-32700, -32600, -32700]
    assert "result" in await raw.ask("status")


async def test_socket_is_private_and_gone_when_the_engine_ends(start: Start) -> None:
    ada = await start("ada")
    path = ada.paths.find_socket()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    await ada.stop()
    assert not path.exists()


async def test_client_must_show_the_token_where_there_are_no_unix_sockets(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody of this machine can connect to a port; only who can read the token file may ask."""
    monkeypatch.setattr(endpoint, "bind", lambda path: None)
    ada = await start("ada")
    host, port, token = ada.paths.socket.read_text().split()
    for shown in ("{}", '{"jsonrpc":"2.0","id":1,"method":"status"}', _auth("wrong")):
        stranger = Raw(*await asyncio.open_connection(host, int(port)))
        stranger.writer.write(shown.encode() + b"\n")
        assert "error" in await stranger.line()
        await stranger.is_cut()
        stranger.writer.close()
    ours = Raw(*await asyncio.open_connection(host, int(port)))
    ours.writer.write(_auth(token).encode() + b"\n")
    assert (await ours.line())["result"] == {"ok": True}
    assert (await ours.ask("status"))["result"]["name"] == "ada"
    ours.writer.close()


def _auth(token: str) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "auth", "params": {"token": token}})


async def test_client_is_cut_when_a_line_never_ends(start: Start, connect: Connect) -> None:
    raw = await connect(await start("ada"))
    raw.writer.write(b"x" * (MAX_LINE_BYTES + 100_000))
    assert (await raw.line())["error"]["data"]["code"] == "too_large"
    await raw.is_cut()


async def test_client_is_turned_away_when_there_are_too_many(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ApiServer.__init__, "__kwdefaults__", {"token": None, "max_clients": 2, "stall_s": 30.0})
    ada = await start("ada")
    one, _ = await connect(ada), await connect(ada)
    assert "result" in await one.ask("status")
    third = await connect(ada)
    assert (await third.line())["error"]["data"]["code"] == "engine_unavailable"
    await third.is_cut()
    assert "result" in await one.ask("status")


async def test_client_gets_its_answers_when_it_closes_its_writing_side(start: Start, connect: Connect) -> None:
    """`printf … | socat - UNIX:…` works."""
    raw = await connect(await start("ada"))
    raw.say("status", 1)
    raw.say("peers.list", 2)
    raw.writer.write_eof()
    assert {(await raw.line())["id"], (await raw.line())["id"]} == {1, 2}
    await raw.is_cut()


async def test_requests_are_answered_when_they_come_in_pieces_or_all_at_once(start: Start, connect: Connect) -> None:
    raw = await connect(await start("ada"))
    one = b'{"jsonrpc":"2.0","id":"a","method":"peers.list"}\n'
    for byte in one:
        raw.writer.write(bytes([byte]))
        await raw.writer.drain()
    assert await raw.line() == {"jsonrpc": "2.0", "id": "a", "result": []}
    raw.writer.write(one * 5_000)
    for _ in range(5_000):
        assert (await raw.line())["result"] == []


async def test_stuck_client_is_cut_and_others_go_on(
    start: Start, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A subscriber that reads nothing costs bounded memory, is cut off, and nobody else notices."""
    monkeypatch.setattr(ApiServer.__init__, "__kwdefaults__", {"token": None, "max_clients": 9, "stall_s": 0.3})
    monkeypatch.setattr(limits, "GRACE_S", 0.1)
    ada, bob = await start("ada"), await start("bob")
    await befriend(ada, bob)
    stuck, good = await connect(ada), await connect(ada)
    for raw in (stuck, good):
        await raw.ask("events.subscribe", since=0)
    stuck.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport has it
    body = "x" * 60_000
    for _ in range(100):
        await ada.client.send("bob", body)
    queued = 0
    while queued < 100:
        queued += (await good.line()).get("params", {}).get("event") == "message:queued"
    while len(ada.server) > 2:  # the good one and the engine's own client
        assert "result" in await good.ask("status")
    stuck.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
    await stuck.is_cut()
    assert "result" in await good.ask("status")


async def test_flood_of_unread_answers_is_not_read_on(start: Start, connect: Connect) -> None:
    """A client that asks without reading is not read either; once it reads, it has every answer."""
    ada = await start("ada")
    raw = await connect(ada)
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport has it
    count = 20_000
    raw.writer.write(b'{"jsonrpc":"2.0","id":1,"method":"nothing"}\n' * count)
    other = await connect(ada)
    for _ in range(20):
        assert "result" in await other.ask("status")
    raw.writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above
    for _ in range(count):
        assert (await raw.line())["error"]["data"]["code"] == "no_such_method"


async def test_wait_is_forgotten_when_its_client_leaves(start: Start, connect: Connect) -> None:
    ada, bob = await start("ada"), await start("bob")
    await befriend(ada, bob)
    message_id = draw_message_id()
    await ada.client.send("bob", "hi", message_id)
    raw = await connect(ada)
    raw.say("message.wait", 1, message_id=message_id, state="read", timeout_s=60)
    await raw.ask("status")
    assert len(ada.services.waits) == 1
    raw.writer.close()
    await raw.writer.wait_closed()
    while len(ada.services.waits):
        await ada.client.status()


async def test_log_stream_has_every_line_once_when_lines_come_meanwhile(start: Start, connect: Connect) -> None:
    ada = await start("ada")
    raw = await connect(ada)
    journal = ada.services.journal
    for n in range(50):
        journal.note("test:line", n=n)
    raw.say("logs.subscribe", 1, log="engine", lines=1000)
    await asyncio.sleep(0)
    for n in range(50, 100):
        journal.note("test:line", n=n)
    seen: list[int] = []
    while len(seen) < 100:
        line = await raw.line()
        if line.get("method") == "log" and line["params"]["event"] == "test:line":
            seen.append(line["params"]["n"])
    assert seen == list(range(100))
    journal.note("test:line", n=100)
    assert (await raw.line())["params"]["n"] == 100
    tail = (await raw.ask("logs.tail", log="engine", lines=3))["result"]["lines"]
    assert [line["n"] for line in tail] == [98, 99, 100]


@pytest.mark.parametrize("log", ["heartbeat", "latency"])
async def test_logs_have_heartbeats_and_times_but_no_texts(start: Start, log: str) -> None:
    ada, bob = await start("ada"), await start("bob", log_level="debug")
    await befriend(ada, bob)
    ref = await ada.client.send("bob", "a secret text")
    await ada.client.wait(ref.message_id, "delivered", 20)
    await asyncio.sleep(0)
    lines: list[dict[str, Any]] = []
    while not lines:
        lines = await ada.client.log_tail(log)
    event = {"heartbeat": "heartbeat:", "latency": "message:delivered"}[log]
    assert all(line["event"].startswith(event) for line in lines)
    assert all(line["peer"] == bob.device_id for line in lines)
    for one in (ada, bob):
        await one.stop()
        assert not any("secret" in path.read_text() for path in one.paths.logs.iterdir())
