"""A disk that refuses: nothing is promised that is not stored, and everything goes on when it takes writes again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from p2pchat.api.client import draw_message_id
from p2pchat.core.inputs import BytesReceived
from p2pchat.core.node import Node
from p2pchat.core.ops import Op
from p2pchat.engine.storage import Open
from p2pchat.errors import ApiError, EngineUnavailable
from p2pchat.paths import Paths
from p2pchat.store.failures import DatabaseFailure, FailureKind
from p2pchat.store.interface import CommitResult, Store
from p2pchat.store.sqlite import SqliteStore
from tests.engine.conftest import Running, Start, befriend

pytestmark = pytest.mark.usefixtures("never_blocked")


class MoodyStore(SqliteStore):
    """A store whose disk fails when it is told to."""

    failing: FailureKind | None = None
    failed = 0

    def commit(self, ops: Sequence[Op]) -> CommitResult:
        self._refuse()
        return super().commit(ops)

    def probe(self) -> None:
        self._refuse()
        super().probe()

    def close(self) -> None:
        super().close()
        if self.failing is FailureKind.CORRUPT:
            # What a check will find: the first page is gone.
            with self.path.open("r+b") as file:
                file.write(bytes(2048))

    def _refuse(self) -> None:
        if self.failing is not None:
            self.failed += 1
            raise DatabaseFailure(self.failing, "the disk is full: free some space")


class Disk:
    """Hands out the moody store of an engine and remembers it."""

    def __init__(self) -> None:
        self.opened: list[MoodyStore] = []

    @property
    def store(self) -> MoodyStore:
        return self.opened[-1]

    def __call__(self, paths: Paths) -> Open:
        def begin(check: bool) -> Store:
            self.opened.append(MoodyStore(paths.database, check=check))
            return self.opened[-1]

        return begin


async def until(engine: Running, holds: Callable[[str], bool]) -> None:
    """Ask for the status until its ``storage`` is as wanted."""
    async with asyncio.timeout(10):
        while not holds((await engine.client.status()).storage):
            pass


async def ask_once(engine: Running, body: str, message_id: str) -> str:
    """Send without asking again; return the refusal's word, or the state."""
    engine.client._patience_s = 0.0
    try:
        return (await engine.client.send("bob", body, message_id)).state
    except EngineUnavailable:
        return "not_known_stored"
    except ApiError as error:
        return error.code
    finally:
        engine.client._patience_s = 2.0


async def test_full_disk_refuses_new_messages_and_recovers_without_a_loss(start: Start) -> None:
    """Accepted before: delivered. Asked meanwhile: refused or unknown. Asked again after: once, in order."""
    disk = Disk()
    ada, bob = await start("ada", open_store=disk), await start("bob")
    await befriend(ada, bob)
    first, second, third = (draw_message_id() for _ in range(3))
    assert await ask_once(ada, "before", first) == "pending"
    await ada.client.wait(first, "delivered", 20)

    disk.store.failing = FailureKind.FULL
    assert await ask_once(ada, "during", second) == "not_known_stored"
    await until(ada, lambda storage: "disk is full" in storage)
    assert await ask_once(ada, "refused", third) == "storage_failed"
    assert [m.body for m in await ada.client.history("bob")] == ["before"]
    refused = disk.store.failed
    while disk.store.failed < refused + 2:
        await ada.client.status()

    disk.store.failing = None
    await until(ada, lambda storage: storage == "ok")
    assert await ask_once(ada, "during", second) == "pending"
    assert await ask_once(ada, "after", third) == "pending"
    await ada.client.wait(third, "delivered", 20)
    assert [m.body for m in await bob.client.history("ada")] == ["before", "during", "after"]


async def test_receiver_with_a_full_disk_holds_and_gets_everything_once_later(start: Start) -> None:
    """No tick says delivered while the other disk refuses; the mail waits uncharged and arrives later."""
    disk = Disk()
    ada, bob = await start("ada"), await start("bob", open_store=disk)
    await befriend(ada, bob)
    await ada.client.wait((await ada.client.send("bob", "0")).message_id, "delivered", 20)
    disk.store.failing = FailureKind.FULL
    refs = [await ada.client.send("bob", str(n)) for n in range(1, 20)]
    await until(bob, lambda storage: storage != "ok")
    assert (await ada.client.wait(refs[0].message_id, "delivered", 0.3)).state in ("pending", "sent")
    disk.store.failing = None
    assert (await ada.client.wait(refs[-1].message_id, "delivered", 20)).state == "delivered"
    assert [m.body for m in await bob.client.history("ada")] == [str(n) for n in range(20)]
    assert await ada.client.letters() == []


async def test_damaged_database_is_opened_anew_and_kept_aside(start: Start) -> None:
    """A database that turns out damaged is reopened with a check; the status says what became of it."""
    disk = Disk()
    ada, bob = await start("ada", open_store=disk), await start("bob")
    await befriend(ada, bob)
    disk.store.failing = FailureKind.CORRUPT
    await ask_once(ada, "lost", draw_message_id())
    async with asyncio.timeout(10):
        while len(disk.opened) < 2:
            await ada.client.status()
    await until(ada, lambda storage: storage == "ok")
    status = await ada.client.status()
    assert any("could not be read and was kept as" in note for note in status.notes)
    assert any(Path(path).name.startswith("p2pchat.db.unreadable-") for path in ada.paths.data.iterdir())


async def test_fault_of_ours_is_survived_like_a_crash(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the node raises, a new one takes over from what is stored, and the mail still arrives once."""
    ada, bob = await start("ada"), await start("bob")
    await befriend(ada, bob)
    await ada.client.wait((await ada.client.send("bob", "one")).message_id, "delivered", 20)
    handle, faults = Node.handle, [1]

    def moody(self: Node, event: object, now: object) -> object:
        if isinstance(event, BytesReceived) and self is bob.services.runtime.node and faults:
            faults.pop()
            raise RuntimeError("a bug")
        return handle(self, event, now)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(Node, "handle", moody)
    refs = [await ada.client.send("bob", body) for body in ("two", "three")]
    assert (await ada.client.wait(refs[-1].message_id, "delivered", 20)).state == "delivered"
    assert faults == []
    assert [m.body for m in await bob.client.history("ada")] == ["one", "two", "three"]
