"""Two whole engines over loopback: what people do, from the local API to the other side's local API."""

from __future__ import annotations

import asyncio

import pytest

from p2pchat.api import types as t
from p2pchat.api.client import draw_message_id
from p2pchat.errors import ApiError
from tests.engine.conftest import Running, Start, befriend

pytestmark = pytest.mark.usefixtures("never_blocked")


@pytest.fixture
async def pair(start: Start) -> tuple[Running, Running]:
    """Two engines that know and accepted each other."""
    ada, bob = await start("ada"), await start("bob")
    await befriend(ada, bob)
    return ada, bob


async def test_engines_deliver_500_messages_each_way_exactly_once_in_order(pair: tuple[Running, Running]) -> None:
    """Everything accepted on either side is in the other side's history once, in its author's order, and is read."""
    ada, bob = pair

    async def send_all(here: Running, there: str) -> list[str]:
        ids = [draw_message_id() for _ in range(500)]
        sends = (here.client.send(there, f"{here.services.about.name} {n}", ids[n]) for n in range(500))
        assert {ref.state for ref in await asyncio.gather(*sends)} == {"pending"}
        return ids

    by_ada, by_bob = await asyncio.gather(send_all(ada, "bob"), send_all(bob, "ada"))
    for here, there, ids in ((ada, bob, by_ada), (bob, ada, by_bob)):
        ref = await here.client.request("message.wait", t.MessageRef, _until(ids[-1], "delivered"), 30)
        assert ref.state == "delivered"
        came = [m for m in await there.client.history(here.device_id, 2000) if m.direction == "in"]
        assert [m.message_id for m in came] == ids
        assert [m.body for m in came] == [f"{here.services.about.name} {n}" for n in range(500)]
        await there.client.read(here.device_id)
        ref = await here.client.request("message.wait", t.MessageRef, _until(ids[-1], "read"), 30)
        assert ref.state == "read"
        assert {m.state for m in await here.client.history(there.device_id, 2000) if m.direction == "out"} == {"read"}


def _until(message_id: str, state: str) -> t.WaitParams:
    return t.WaitParams(message_id=message_id, state=state, timeout_s=20)


async def test_send_returns_the_same_message_when_asked_again_with_its_id(pair: tuple[Running, Running]) -> None:
    """A client that was cut off asks again with the same id; the message arrives once."""
    ada, bob = pair
    message_id = draw_message_id()
    first = await ada.client.send("bob", "once", message_id)
    again = await ada.client.send("bob", "once", message_id)
    assert first.message_id == again.message_id
    with pytest.raises(ApiError) as refused:
        await ada.client.send("bob", "another", message_id)
    assert refused.value.code == "id_in_use"
    await ada.client.request("message.wait", t.MessageRef, _until(message_id, "delivered"), 30)
    assert [m.body for m in await bob.client.history("ada")] == ["once"]


async def test_peer_shows_link_and_last_message_when_linked(pair: tuple[Running, Running]) -> None:
    """Both sides see each other online, with what was said last."""
    ada, bob = pair
    ref = await ada.client.send("bob", "hello")
    await ada.client.request("message.wait", t.MessageRef, _until(ref.message_id, "delivered"), 30)
    seen = await bob.client.peer("ada")
    assert (seen.presence, seen.trust, seen.unread, seen.last_message) == ("online", "unverified", 1, "hello")
    status = await bob.client.status()
    assert (status.unread, status.links, status.storage, status.discovery) == (1, 1, "ok", "off")
    assert status.addresses == [bob.address]
    assert status.invite == f"p2pchat:{bob.device_id}@{bob.address}"
