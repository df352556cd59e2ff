"""The event stream: no gap, no repetition, whatever a client does."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable

import pytest

from p2pchat.core.effects import Notify
from p2pchat.engine import hub as module
from p2pchat.engine.hub import Hub
from p2pchat.model import DeviceId, MessageId
from p2pchat.store.notices import Recorded

PEER = DeviceId("a" * 52)


def event(event_id: int, body: str = "x") -> Recorded:
    return Recorded(event_id, 7, "message:received", PEER, MessageId(event_id.to_bytes(16, "big")), {}, body)


class FakeClient:
    """Keeps what it was sent; can be told not to read."""

    def __init__(self) -> None:
        self.on_drained: Callable[[], None] | None = None
        self.alive = True
        self.backed_up = False
        self.lines: list[dict[str, object]] = []
        self.cuts: list[str] = []
        self.reads_bytes: int | None = None

    def send(self, data: bytes, lines: int = 1) -> None:
        got = [json.loads(line)["params"] for line in data.splitlines()]
        assert len(got) == lines
        self.lines += got
        if self.reads_bytes is not None:
            self.reads_bytes -= len(data)
            self.backed_up = self.reads_bytes <= 0

    def drain(self, size_bytes: int | None = None) -> None:
        self.reads_bytes = size_bytes
        self.backed_up = False
        if self.on_drained is not None:
            self.on_drained()

    def cut(self, reason: str) -> None:
        self.alive = False
        self.cuts.append(reason)

    @property
    def ids(self) -> list[object]:
        return [line["event_id"] for line in self.lines if line["event_id"] is not None]


class FakeStore:
    """Answers pages some turns later; knows an event before the hub hears of it."""

    def __init__(self, count: int) -> None:
        self.events = [event(n) for n in range(1, count + 1)]
        self.reads = 0
        self.broken = False

    def pages(self, cursor: int, limit: int, then: Callable[[list[Recorded] | None], None]) -> None:
        self.reads += 1
        page = None if self.broken else [one for one in self.events if one.event_id > cursor][:limit]
        asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(lambda: then(page)))


def name_of(peer: DeviceId) -> str:
    return "bob"


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_subscriber_gets_everything_once_when_events_come_during_the_replay() -> None:
    """1,000 stored events, more with every turn of the loop: what comes out is 1, 2, 3 … without a gap."""
    store = FakeStore(1000)
    hub = Hub(1000, name_of, store.pages)
    client = FakeClient()
    hub.subscribe(client, 0, None)
    newest = 1000
    for _ in range(200):
        fresh = [event(newest + 1), event(newest + 2), event(newest + 3)]
        newest += 3
        store.events += fresh
        await asyncio.sleep(0)
        hub.publish(fresh)
    await turns()
    assert client.ids == list(range(1, newest + 1))
    assert client.lines[0]["peer_name"] == "bob"
    assert client.lines[0]["direction"] == "in"


@pytest.mark.parametrize("seed", range(20))
async def test_subscriber_gets_everything_once_when_it_reads_now_and_then(seed: int) -> None:
    """A client that stops reading at random places is caught up, from memory or from the store."""
    rng = random.Random(seed)
    store = FakeStore(50)
    hub = Hub(50, name_of, store.pages)
    client = FakeClient()
    client.reads_bytes = 10_000
    hub.subscribe(client, 10, None)
    newest = 50
    for _ in range(150):
        fresh = [event(newest + n + 1, "y" * rng.choice((1, 2_000))) for n in range(rng.randint(1, 40))]
        newest += len(fresh)
        store.events += fresh
        hub.publish(fresh)
        if client.backed_up and rng.random() < 0.3:
            client.drain(rng.randint(1, 300_000))
        await turns(rng.randint(0, 3))
    client.drain()
    await turns(500)
    assert client.ids == list(range(11, newest + 1))


async def test_hub_forgets_recent_events_when_they_are_too_many_or_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT_BYTES", 10_000)
    hub = Hub(0, name_of, FakeStore(0).pages)
    hub.publish([event(n, "z" * 1_000) for n in range(1, 101)])
    assert hub.recent(0, 10) is None
    kept = hub.recent(98, 10)
    assert kept is not None
    assert [one.event_id for one in kept] == [99, 100]
    assert hub.recent(100, 10) == []


async def test_replay_ends_with_stream_end_when_it_is_not_to_follow() -> None:
    store = FakeStore(600)
    hub = Hub(600, name_of, store.pages)
    client = FakeClient()
    hub.subscribe(client, 0, 600)
    await turns()
    hub.publish([event(601)])
    await turns()
    assert client.ids == list(range(1, 601))
    assert client.lines[-1]["event"] == "stream:end"


async def test_replay_goes_on_when_what_it_wants_was_pruned() -> None:
    store = FakeStore(0)
    hub = Hub(40, name_of, store.pages)
    client = FakeClient()
    hub.subscribe(client, 0, None)
    await turns()
    hub.publish([event(41)])
    assert client.ids == [41]


async def test_replay_cuts_the_client_when_the_store_fails() -> None:
    store = FakeStore(10)
    store.broken = True
    hub = Hub(10, name_of, store.pages)
    client = FakeClient()
    hub.subscribe(client, 0, None)
    await turns()
    assert client.cuts == ["stored events cannot be read"]


async def test_notice_goes_to_live_subscribers_only() -> None:
    store = FakeStore(10)
    hub = Hub(10, name_of, store.pages)
    live, late = FakeClient(), FakeClient()
    ended = hub.subscribe(FakeClient(), 10, None)
    hub.unsubscribe(ended)
    hub.subscribe(live, 10, None)
    hub.subscribe(late, 0, None)
    hub.notify(Notify("heartbeat:received", 5, PEER, {"rtt_ms": 0.5}))
    assert live.lines == [
        {"event_id": None, "at_ms": 5, "event": "heartbeat:received", "peer": PEER, "peer_name": "bob", "rtt_ms": 0.5}
    ]
    assert late.lines == []
