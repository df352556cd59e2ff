"""The asyncio client, for interfaces that stay.

Theory of operation
===================

A :class:`Client` has one connection for questions; each event or log stream has its own, so that a slow
reader of events delays no answer and needs no queue of ours (the socket is the queue). A cut is healed
inside: a question is asked again with the same parameters for ``patience_s``, a stream goes on behind the
last stored event that it gave. After that :class:`p2pchat.errors.EngineUnavailable` is raised; the client
stays usable, and a later question tries afresh. Asking again is safe because the client draws every message
id.

Finding or starting the engine blocks, so ``locate`` runs in the thread ``p2pchat-locate``.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from p2pchat.api import types as t
from p2pchat.api.blocking import AGAIN_AFTER_S, ANSWER_TIMEOUT_S, PATIENCE_S
from p2pchat.api.lines import ASK_AGAIN, decode_event, decode_result, no_answer
from p2pchat.api.wire import CONNECT_TIMEOUT_S, Wire
from p2pchat.errors import ApiError, EngineUnavailable
from p2pchat.model import new_message_id

R = TypeVar("R")

PEER_ANSWER_TIMEOUT_S: Final = 90.0
"""How long a question may take for which the engine dials another device."""


class Client:
    """A client of the engine. Use it as an async context manager, or call :meth:`close`.

    Args:
        locate: returns the socket of a running engine, starting one if need be (``launch.Launcher.locate``).
        patience_s: how long to ask again after a cut; 0: a cut is raised at once.
    """

    def __init__(self, locate: Callable[[], Path], *, patience_s: float = PATIENCE_S) -> None:
        self._locate = locate
        self._patience_s = patience_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="p2pchat-locate")
        self._connecting = asyncio.Lock()
        self._wire: Wire | None = None
        self._streams: set[Wire] = set()
        self._locating = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up. Questions under way fail."""
        if self._wire is not None:
            await self._wire.close()
            self._wire = None
        for wire in list(self._streams):
            await self._hang_up(wire)
        # An idle thread ends at once; one that is still looking for an engine must not hold the loop.
        self._thread.shutdown(wait=not self._locating, cancel_futures=True)

    @property
    def connected(self) -> bool:
        """Whether the connection for questions stands."""
        return self._wire is not None and self._wire.alive

    async def request(
        self, method: str, kind: type[R], params: t.Struct | None = None, timeout_s: float = ANSWER_TIMEOUT_S
    ) -> R:
        """Ask until there is an answer; any number of questions may be under way.

        Args:
            kind: what the result is (see ``api.types.METHODS``).
            timeout_s: how long one answer may take.

        Raises:
            ApiError: the engine answered with an error.
            EngineUnavailable: no answer came within the patience of a cut.
        """
        give_up_s: float | None = None
        while True:
            try:
                wire = await self._connected()
                return decode_result((await wire.ask(method, params or t.Nothing(), timeout_s)).result, kind)
            except EngineUnavailable:
                raise
            except TimeoutError:
                raise EngineUnavailable(no_answer(method, timeout_s)) from None
            except (OSError, ApiError) as error:
                if isinstance(error, ApiError) and error.code not in ASK_AGAIN:
                    raise
                give_up_s = await self._pause(give_up_s, error)

    async def call(self, method: str, params: t.Struct) -> Any:
        """As :meth:`request`, the result's type being the one that ``api.types.METHODS`` names."""
        patient = method == "peer.add"
        timeout_s = PEER_ANSWER_TIMEOUT_S if patient else ANSWER_TIMEOUT_S
        if isinstance(params, t.WaitParams):
            timeout_s += params.timeout_s
        return await self.request(method, t.METHODS[method][1], params, timeout_s)

    async def subscribe(self, since: int | None = None, *, follow: bool = True) -> AsyncGenerator[t.Event, None]:
        """Subscribe to events; returns once the engine has agreed, so that nothing after it is missed.

        Args:
            since: replay stored events after this id first; None: live ones only.
            follow: go on for ever; else end after the replay.
        """
        wire, since = await self._subscribed(since, follow)
        return self._events(wire, since, follow)

    async def events(self, since: int | None = None, *, follow: bool = True) -> AsyncGenerator[t.Event, None]:
        """Yield events: :meth:`subscribe` in one step. ``aclosing`` hangs up at once."""
        async with aclosing(await self.subscribe(since, follow=follow)) as stream:
            async for event in stream:
                yield event

    async def _subscribed(self, since: int | None, follow: bool) -> tuple[Wire, int]:
        give_up_s: float | None = None
        while True:
            try:
                params = t.SubscribeParams(since=since, follow=follow)
                wire, first = await self._stream("events.subscribe", params, t.Subscribed)
                return wire, (first.last_id or 0) if since is None else since
            except OSError as error:
                give_up_s = await self._pause(give_up_s, error)

    async def _events(self, wire: Wire, since: int, follow: bool) -> AsyncGenerator[t.Event, None]:
        while True:
            try:
                while True:
                    line = await wire.read()
                    if line.method != "event":
                        continue
                    event = decode_event(line.params)
                    if event.event == "stream:end":
                        return
                    since = since if event.event_id is None else event.event_id
                    yield event
            except OSError as error:
                await self._pause(None, error)
            finally:
                await self._hang_up(wire)
            wire, since = await self._subscribed(since, follow)

    async def logs(self, log: str, lines: int = 200) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the last lines of a log, then new ones. After a cut it goes on with what is new then."""
        give_up_s: float | None = None
        while True:
            wire: Wire | None = None
            try:
                wire, _ = await self._stream("logs.subscribe", t.LogParams(log=log, lines=lines), t.Done)
                lines, give_up_s = 0, None
                while True:
                    line = await wire.read()
                    if line.method == "log":
                        yield decode_result(line.params, dict[str, Any])
            except OSError as error:
                give_up_s = await self._pause(give_up_s, error)
            finally:
                if wire is not None:
                    await self._hang_up(wire)

    # --- the methods by name --------------------------------------------------------------------------------

    async def status(self) -> t.Status:
        """What the engine is and how it is."""
        return await self.request("status", t.Status)

    async def stop(self) -> None:
        """End the engine. Not asked again: a cut is what follows."""
        await (await self._connected()).ask("stop", t.Nothing(), ANSWER_TIMEOUT_S)

    async def peers(self) -> list[t.Peer]:
        """Everyone known or seen."""
        return await self.request("peers.list", list[t.Peer])

    async def peer(self, peer: str) -> t.Peer:
        """One peer."""
        return await self.request("peer.show", t.Peer, t.PeerParams(peer=peer))

    async def peer_add(self, address: str) -> t.Peer:
        """Dial an address or invite that a person gave."""
        params = t.PeerAddParams(address=address)
        return await self.request("peer.add", t.Peer, params, PEER_ANSWER_TIMEOUT_S)

    async def peer_accept(self, peer: str) -> t.Peer:
        """Accept a stranger."""
        return await self.request("peer.accept", t.Peer, t.PeerParams(peer=peer))

    async def peer_block(self, peer: str) -> t.Peer:
        """Block a peer."""
        return await self.request("peer.block", t.Peer, t.PeerParams(peer=peer))

    async def peer_unblock(self, peer: str) -> t.Peer:
        """Take a block back."""
        return await self.request("peer.unblock", t.Peer, t.PeerParams(peer=peer))

    async def peer_forget(self, peer: str) -> None:
        """Remove a peer and its history."""
        await self.request("peer.forget", t.Done, t.PeerParams(peer=peer))

    async def peer_rename(self, peer: str, name: str) -> t.Peer:
        """Give a peer a name of ours; empty: its own again."""
        return await self.request("peer.rename", t.Peer, t.PeerRenameParams(peer=peer, name=name))

    async def send(self, peer: str, body: str, message_id: str | None = None) -> t.MessageRef:
        """Send; returns once the message is on disk. The id is drawn here when None."""
        message_id = draw_message_id() if message_id is None else message_id
        params = t.SendParams(peer=peer, body=body, message_id=message_id)
        return await self.request("message.send", t.MessageRef, params)

    async def wait(self, message_id: str, state: str, timeout_s: float) -> t.MessageRef:
        """Wait until a message has reached a state, or cannot any more, or the time is up."""
        params = t.WaitParams(message_id=message_id, state=state, timeout_s=timeout_s)
        return await self.request("message.wait", t.MessageRef, params, timeout_s + ANSWER_TIMEOUT_S)

    async def cancel(self, message_id: str) -> t.MessageDetail:
        """Take back what is not delivered."""
        return await self.request("message.cancel", t.MessageDetail, t.MessageParams(message_id=message_id))

    async def message(self, message_id: str) -> t.MessageDetail:
        """One message and its way."""
        return await self.request("message.show", t.MessageDetail, t.MessageParams(message_id=message_id))

    async def history(
        self, peer: str, limit: int = 50, before: str | None = None, after: str | None = None
    ) -> list[t.Message]:
        """A page of history, oldest first."""
        params = t.HistoryParams(peer=peer, limit=limit, before=before, after=after)
        return await self.request("history", list[t.Message], params)

    async def read(self, peer: str, up_to: str | None = None) -> t.ReadMark:
        """Mark as read."""
        return await self.request("read", t.ReadMark, t.ReadParams(peer=peer, up_to=up_to))

    async def outbox(self, peer: str | None = None) -> list[t.OutboxEntry]:
        """What is not delivered, and why."""
        return await self.request("outbox", list[t.OutboxEntry], t.OutboxParams(peer=peer))

    async def letters(self, message_ids: list[str] | None = None, peer: str | None = None) -> list[t.Letter]:
        """Dead letters."""
        params = t.LettersParams(message_ids=message_ids, peer=peer)
        return await self.request("dlq.list", list[t.Letter], params)

    async def retry_letters(self, message_ids: list[str] | None = None, peer: str | None = None) -> t.Changed:
        """Put dead letters back in their lines."""
        params = t.LettersParams(message_ids=message_ids, peer=peer)
        return await self.request("dlq.retry", t.Changed, params)

    async def purge_letters(self, message_ids: list[str] | None = None, peer: str | None = None) -> t.Changed:
        """Remove dead letters for good."""
        params = t.LettersParams(message_ids=message_ids, peer=peer)
        return await self.request("dlq.purge", t.Changed, params)

    async def stats(self) -> t.Stats:
        """Figures of this engine run."""
        return await self.request("stats", t.Stats)

    async def log_tail(self, log: str, lines: int = 200) -> list[dict[str, Any]]:
        """The last lines of a log."""
        return (await self.request("logs.tail", t.LogLines, t.LogParams(log=log, lines=lines))).lines

    # --- connections ----------------------------------------------------------------------------------------

    async def _connected(self) -> Wire:
        async with self._connecting:
            if self._wire is None or not self._wire.alive:
                if self._wire is not None:
                    await self._wire.close()
                    self._wire = None
                self._wire = await self._open()
                self._wire.start()
            return self._wire

    async def _stream(self, method: str, params: t.Struct, kind: type[R]) -> tuple[Wire, R]:
        wire = await self._open()
        self._streams.add(wire)
        try:
            return wire, await wire.tell(method, params, kind, ANSWER_TIMEOUT_S)
        except TimeoutError:
            await self._hang_up(wire)
            raise EngineUnavailable(no_answer(method, ANSWER_TIMEOUT_S)) from None
        except BaseException:
            await self._hang_up(wire)
            raise

    async def _hang_up(self, wire: Wire) -> None:
        self._streams.discard(wire)
        await wire.close()

    async def _open(self) -> Wire:
        self._locating += 1
        try:
            path = await asyncio.get_running_loop().run_in_executor(self._thread, self._locate)
        finally:
            self._locating -= 1
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=t.MAX_LINE_BYTES)
        return Wire(reader, writer)

    async def _pause(self, give_up_s: float | None, error: Exception) -> float:
        now_s = asyncio.get_running_loop().time()
        if give_up_s is None:
            give_up_s = now_s + self._patience_s
        if now_s >= give_up_s:
            text = f"the engine was cut off and not back within {self._patience_s:g} s: {error}"
            raise EngineUnavailable(text) from None
        await asyncio.sleep(AGAIN_AFTER_S)
        return give_up_s


def draw_message_id() -> str:
    """A new message id from the clock and the system's randomness, as 32 hexadecimal digits."""
    return new_message_id(time.time_ns() // 1_000_000, secrets.token_bytes(10)).hex()
