"""The event stream of a whole engine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from p2pchat.api.types import Event
from tests.engine.conftest import Running, Start, befriend

pytestmark = pytest.mark.usefixtures("never_blocked")


async def collect(engine: Running, since: int | None, until: int, **options: Any) -> list[Event]:
    """Take stored events up to the id ``until``."""
    found: list[Event] = []
    stream = await engine.client.subscribe(since, **options)
    try:
        async for event in stream:
            if event.event_id is not None:
                found.append(event)
                if event.event_id >= until:
                    break
    finally:
        await stream.aclose()
    return found


async def last_id(engine: Running) -> int:
    _, newest = await asyncio.get_running_loop().run_in_executor(None, engine.services.storage.store.event_range)
    return newest or 0


async def test_subscribers_miss_nothing_when_they_come_under_load(start: Start) -> None:
    """Ten subscribers join at different ids while 600 messages pass; each has every event after its id, once."""
    ada, bob = await start("ada"), await start("bob")
    await befriend(ada, bob)
    first = await ada.client.send("bob", "first")
    await ada.client.wait(first.message_id, "delivered", 20)

    async def load() -> str:
        refs = [await asyncio.gather(*(ada.client.send("bob", f"{n}") for n in range(60))) for _ in range(10)]
        return refs[-1][-1].message_id

    async def join(after: int) -> list[Event]:
        while ada.services.hub.last_id < after * 100:
            await ada.client.status()
        return await collect(ada, after * 10, 1800)

    joined, last = await asyncio.gather(asyncio.gather(*(join(n) for n in range(10))), load())
    await ada.client.wait(last, "delivered", 20)
    for n, events in enumerate(joined):
        ids = [event.event_id or 0 for event in events]
        assert ids[0] == n * 10 + 1
        assert ids == list(range(ids[0], ids[-1] + 1))


async def test_replay_equals_what_was_told_live(start: Start) -> None:
    """What is read again later has the same ids, names and fields as what was told when it happened."""
    ada, bob = await start("ada"), await start("bob")
    stream = await ada.client.subscribe(None)
    await befriend(ada, bob)
    ref = await ada.client.send("bob", "hello")
    await ada.client.wait(ref.message_id, "delivered", 20)
    await bob.client.read("ada")
    await ada.client.wait(ref.message_id, "read", 20)
    until = await last_id(ada)
    live = []
    async for event in stream:
        if event.event_id is not None:
            live.append(event)
            if event.event_id >= until:
                break
    await stream.aclose()
    replayed = [event async for event in ada.client.events(0, follow=False)]
    assert replayed == live
    queued = next(event for event in live if event.event == "message:queued")
    assert queued.fields["body"] == "hello"
    assert queued.fields["peer"] == bob.device_id
    assert queued.fields["peer_name"] == "bob"
    assert queued.fields["direction"] == "out"
    assert queued.fields["message_id"] == ref.message_id
    mine = [event.event for event in live if event.fields.get("message_id") == ref.message_id]
    assert mine == ["message:queued", "message:sent", "message:delivered", "message:read"]


@pytest.mark.parametrize("since", [-1, 10_000])
async def test_stream_says_reset_when_since_is_not_stored(start: Start, since: int) -> None:
    """Too old or too new: first ``stream:reset`` with what there is, then everything that there is."""
    ada, bob = await start("ada"), await start("bob")
    await befriend(ada, bob)
    newest = await last_id(ada)
    assert newest > 0
    events = [event async for event in ada.client.events(since, follow=False)]
    assert events[0].event == "stream:reset"
    assert (events[0].fields["first_id"], events[0].fields["last_id"]) == (1, newest)
    assert [event.event_id for event in events[1:]] == list(range(1, newest + 1))


async def test_replay_of_an_empty_store_ends_at_once(start: Start) -> None:
    ada = await start("ada")
    assert [event async for event in ada.client.events(0, follow=False)] == []
    assert [event async for event in ada.client.events(None, follow=False)] == []


async def test_heartbeats_come_with_a_null_id(start: Start) -> None:
    ada, bob = await start("ada", heartbeat_interval="50"), await start("bob")
    stream = await ada.client.subscribe(None)
    await befriend(ada, bob)
    async for event in stream:
        if event.event == "heartbeat:received":
            assert event.event_id is None
            assert event.fields["peer"] == bob.device_id
            break
    await stream.aclose()
