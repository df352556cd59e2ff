"""An engine that was started for a command ends when nobody needs it, and not before."""

from __future__ import annotations

import asyncio

from tests.engine.conftest import Start, befriend


async def test_auto_engine_ends_after_its_last_client_has_left(start: Start) -> None:
    ada = await start("ada", auto=True)
    await ada.client.status()
    await asyncio.sleep(0.5)  # longer than it lingers: a client is there
    assert not ada.task.done()
    await ada.client.close()
    await asyncio.wait_for(ada.task, 5)
    assert not ada.paths.find_socket().exists()


async def test_auto_engine_ends_although_it_has_a_link(start: Start) -> None:
    ada, bob = await start("ada", auto=True), await start("bob")
    await befriend(ada, bob)
    await ada.client.close()
    await asyncio.wait_for(ada.task, 5)
    seen = await bob.client.peer("ada")
    while seen.presence == "online":
        seen = await bob.client.peer("ada")
    assert "ended" in seen.detail
