"""The asyncio client: concurrent questions, cuts, streams, and nothing left behind."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import aclosing
from typing import Any

import pytest

from p2pchat.api import types as t
from p2pchat.api.client import Client, draw_message_id
from p2pchat.errors import ApiError, EngineUnavailable
from p2pchat.paths import Paths
from tests.api.scripted import BOB, HANG_UP, ID, SILENCE, ScriptedEngine, detail, entry, letter, message, peer, stats


def client_of(paths: Paths, patience_s: float = 0.3) -> Client:
    return Client(lambda: paths.socket, patience_s=patience_s)


async def test_every_method_asks_and_returns_its_type(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers |= {
        "peers.list": [peer()],
        "peer.show": peer(),
        "peer.add": peer(),
        "peer.accept": peer(),
        "peer.block": peer(),
        "peer.unblock": peer(),
        "peer.forget": {"ok": True},
        "peer.rename": peer(name="x"),
        "message.send": {"message_id": ID, "state": "pending"},
        "message.wait": {"message_id": ID, "state": "read"},
        "message.cancel": detail(),
        "message.show": detail(),
        "history": [message()],
        "read": {"peer": BOB, "message_ids": []},
        "outbox": [entry()],
        "dlq.list": [letter()],
        "dlq.retry": {"message_ids": [ID]},
        "dlq.purge": {"message_ids": [ID]},
        "stats": stats(),
        "logs.tail": {"lines": [{"event": "x"}]},
        "stop": {"ok": True},
    }
    async with client_of(paths) as client:
        assert (await client.status()).name == "ann"
        assert (await client.peers())[0].name == "bob"
        for ask in (client.peer, client.peer_add, client.peer_accept, client.peer_block, client.peer_unblock):
            assert (await ask("bob")).device_id == BOB
        await client.peer_forget("bob")
        assert (await client.peer_rename("bob", "x")).name == "x"
        assert (await client.send("bob", "hi")).state == "pending"
        assert (await client.wait(ID, "read", 1.0)).state == "read"
        assert (await client.cancel(ID)).message_id == (await client.message(ID)).message_id == ID
        assert (await client.history("bob"))[0].body == "hello"
        assert (await client.read("bob")).message_ids == []
        assert (await client.outbox())[0].state == "pending"
        assert (await client.letters())[0].reason == "blocked"
        assert (await client.retry_letters([ID])) == (await client.purge_letters(peer="bob"))
        assert (await client.stats()).peers == 3
        assert await client.log_tail("engine") == [{"event": "x"}]
        assert isinstance(await client.call("peers.list", t.Nothing()), list)
        await client.stop()
    assert {method for method, _ in engine.asked} == set(engine.answers)
    assert engine.connections == 1


async def test_answers_find_their_questions_when_many_are_under_way(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["peer.show"] = lambda params: peer(name=params["peer"])
    async with client_of(paths) as client:
        found = await asyncio.gather(*(client.peer(str(number)) for number in range(50)))
    assert [one.name for one in found] == [str(number) for number in range(50)]
    assert engine.connections == 1


async def test_request_is_asked_again_with_the_same_id_when_cut(paths: Paths, engine: ScriptedEngine) -> None:
    answers: list[Any] = [HANG_UP, ApiError("not_known_stored", "?"), {"message_id": ID, "state": "pending"}]
    engine.answers["message.send"] = lambda _: answers.pop(0)
    async with client_of(paths, 5.0) as client:
        await client.send("bob", "hi")
        assert client.connected
    asked = engine.params("message.send")
    assert len(asked) == 3
    assert len({one["message_id"] for one in asked}) == 1


async def test_request_gives_up_and_the_client_stays_usable(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["stats"] = HANG_UP
    async with client_of(paths, 0.2) as client:
        with pytest.raises(EngineUnavailable, match="cut off"):
            await client.stats()
        assert (await client.status()).name == "ann"


async def test_request_gives_up_when_the_engine_holds_the_line(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["stats"] = SILENCE
    async with client_of(paths) as client:
        with pytest.raises(EngineUnavailable, match="did not answer"):
            await client.request("stats", t.Stats, timeout_s=0.1)


async def test_request_raises_the_engines_error(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["peer.show"] = ApiError("no_such_peer", "who?")
    async with client_of(paths) as client:
        with pytest.raises(ApiError, match="who") as caught:
            await client.peer("x")
    assert caught.value.code == "no_such_peer"


async def test_locate_failing_is_what_the_caller_sees(paths: Paths) -> None:
    def locate() -> Any:
        raise EngineUnavailable("no engine today")

    async with Client(locate) as client:
        with pytest.raises(EngineUnavailable, match="today"):
            await client.status()


async def test_events_go_on_behind_the_last_one_after_a_cut(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["events.subscribe"] = {"first_id": 1, "last_id": 1}
    engine.events = [{"event_id": 1, "at_ms": 1, "event": "a"}]
    async with client_of(paths, 5.0) as client, aclosing(client.events(0)) as stream:
        assert (await anext(stream)).event == "a"
        engine.events.append({"event_id": 2, "at_ms": 1, "event": "b", "peer": "p"})
        for one in engine._links:
            one.shutdown(socket.SHUT_RDWR)
        event = await anext(stream)
    assert (event.event, event.fields) == ("b", {"peer": "p"})
    assert [one["since"] for one in engine.params("events.subscribe")] == [0, 1]


async def test_events_end_after_the_replay_when_not_followed(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["events.subscribe"] = {"first_id": 1, "last_id": 1}
    engine.events = [{"event_id": 1, "at_ms": 1, "event": "a"}]
    async with client_of(paths) as client:
        assert [event.event async for event in client.events(0, follow=False)] == ["a"]


async def test_subscribe_has_agreed_when_it_returns_and_close_hangs_up(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["events.subscribe"] = {"first_id": None, "last_id": None}
    client = client_of(paths)
    stream = await client.subscribe()
    assert engine.params("events.subscribe") == [{"since": None, "follow": True}]
    await client.close()
    await stream.aclose()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("p2pchat-locate")]


async def test_logs_are_followed(paths: Paths, engine: ScriptedEngine) -> None:
    def subscribe(_: dict[str, Any]) -> object:
        line = b'{"jsonrpc":"2.0","method":"log","params":{"event":"x"}}\n'
        engine._links[-1].sendall(line)
        return {"ok": True}

    engine.answers["logs.subscribe"] = subscribe
    async with client_of(paths) as client, aclosing(client.logs("engine", 5)) as lines:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(lines)
    assert engine.params("logs.subscribe") == [{"log": "engine", "lines": 5}]


def test_message_ids_are_new_each_time() -> None:
    assert len({draw_message_id() for _ in range(100)}) == 100
