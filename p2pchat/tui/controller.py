"""Decides what to ask the engine for, and puts the answers on the desk.

When the connection has become live, what is shown is loaded. A few :class:`Pulse` tasks fetch what events made
stale. One task hands messages over, in the order in which they were written: a message stays on the screen as
*saving* until the engine says that it is stored, and is asked about again, with the same id, after every loss. Only
a refusal takes it off again, and its text goes back to where it was written.

Marking as read needs attention: the terminal focused, the conversation on top, its newest message in view.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

from p2pchat.api.types import (
    ErrorCode,
    Event,
    HistoryParams,
    LettersParams,
    MessageParams,
    Nothing,
    OutboxParams,
    ReadParams,
    SendParams,
    Struct,
)
from p2pchat.errors import ApiError, EngineUnavailable
from p2pchat.model import Direction, State, Trust, new_message_id
from p2pchat.tui import texts
from p2pchat.tui.cells import body_text, line_text
from p2pchat.tui.connection import CALL_TIMEOUT_S, FIRST_RETRY_S, Connection, Listener
from p2pchat.tui.conversation import PAGE, Conversation
from p2pchat.tui.desk import Desk
from p2pchat.tui.model import EngineState, Entry, me_of
from p2pchat.tui.port import Connect
from p2pchat.tui.pulse import Pulse

MAX_UNSTORED: Final = 500
"""Messages that wait for the engine itself; more are refused."""


class Part(StrEnum):
    """What has changed on the desk."""

    ENGINE = "engine"
    STATUS = "status"
    PEERS = "peers"
    CONVERSATION = "conversation"
    OUTBOX = "outbox"
    LETTERS = "letters"


class Stage(Protocol):
    """The screen, as the controller sees it. All are called on the event loop and must not wait."""

    def changed(self, part: Part) -> None:
        """Something on the desk is different."""
        ...

    def say(self, text: str, *, problem: bool = False) -> None:
        """Tell the person something in passing."""
        ...

    def give_back(self, peer: str, body: str) -> None:
        """Put a refused text back to where it was written."""
        ...


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


_STATE_EVENTS: Final = {
    "message:sent": State.SENT,
    "message:delivered": State.DELIVERED,
    "message:read": State.READ,
    "message:moved-to-dlq": State.FAILED,
    "message:cancelled": State.CANCELLED,
}
_LETTER_EVENTS: Final = frozenset({"moved-to-dlq", "retried", "purged", "settled"})
_OUTBOX_EVENTS: Final = frozenset({"queued", "sent", "delivered", "moved-to-dlq", "retried", "cancelled", "cancelling"})


class Controller:
    """The link between the desk and the engine; Textual-free, run by :meth:`run`."""

    def __init__(
        self,
        connect: Connect,
        stage: Stage,
        *,
        now_ms: Callable[[], int] = _wall_ms,
        randomness: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.desk = Desk()
        self.now_ms = now_ms
        self.connection = Connection(connect, Listener(self._engine_is, self._went_live, self.apply))
        self._stage = stage
        self._randomness = randomness
        self._attention = False
        self._unstored: dict[str, tuple[str, str]] = {}
        self._to_store = asyncio.Event()
        self._stale: set[str] = set()
        self._read_up_to: dict[str, str] = {}
        self._paging: set[bool] = set()
        self._overview = Pulse(0.2, self._fetch_overview)
        self._links = Pulse(5.0, self._fetch_overview)
        self._outbox = Pulse(0.4, self._fetch_outbox)
        self._letters = Pulse(0.4, self._fetch_letters)
        self._tail = Pulse(0.06, self._fetch_tails)
        self._pages = Pulse(0.0, self._fetch_page)
        self._read = Pulse(0.1, self._mark_read)
        self._pulses = (
            self._overview,
            self._links,
            self._outbox,
            self._letters,
            self._tail,
            self._pages,
            self._read,
        )

    # --- the connection -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for pulse in self._pulses:
                tasks.create_task(pulse.run())
            tasks.create_task(self._hand_over())
            tasks.create_task(self.connection.run())

    def _engine_is(self, state: EngineState) -> None:
        if self.desk.set_engine(state):
            self._stage.changed(Part.ENGINE)

    def _went_live(self) -> None:
        self.desk.forget_events()
        self._read_up_to.clear()
        self._overview.kick()
        self._outbox.kick()
        self._letters.kick()
        self._stale.update(peer for peer, found in self.desk.conversations.items() if found.loaded)
        if self.desk.open_peer is not None:
            self._stale.add(self.desk.open_peer)
        self._tail.kick()

    async def call(self, method: str, params: Struct, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Ask the engine; raises ``ApiError`` with a text for the person."""
        return await self.connection.call(method, params, timeout_s)

    # --- events -------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Put one event on the desk and have fetched again what it made stale."""
        family, _, what = event.event.partition(":")
        match family:
            case "message":
                self._apply_message(event, what)
            case "retry" | "sync":
                self._outbox.kick()
            case "heartbeat":
                self._links.kick()
            case "device" | "peer" | "stream" | "storage" | "link":
                self._apply_peer(event)
            case _:
                self._overview.kick()

    def _apply_message(self, event: Event, what: str) -> None:
        fields = event.fields
        peer = fields.get("peer")
        peer = peer if isinstance(peer, str) else None
        ids = [fields["message_id"]] if "message_id" in fields else fields.get("message_ids") or []
        ids = [message_id for message_id in ids if isinstance(message_id, str)]
        changed = False
        state = _STATE_EVENTS.get(event.event)
        for message_id in ids:
            if state is not None:
                changed |= self.desk.note_state(peer, message_id, state, event.at_ms)
            elif what == "retried":
                changed |= self.desk.note_state(peer, message_id, State.PENDING, event.at_ms, back=True)
            elif what == "cancelling":
                changed |= any(c.set_cancelling(message_id) for c in self.desk.conversations.values())
        if changed:
            self._stage.changed(Part.CONVERSATION)
        if what in ("queued", "received"):
            self._note_new(peer)
        if what in _LETTER_EVENTS or any(message_id in self.desk.letter_reasons for message_id in ids):
            self._letters.kick()
        if what in _OUTBOX_EVENTS:
            self._outbox.kick()
        self._overview.kick()

    def _note_new(self, peer: str | None) -> None:
        known = self.desk.conversations if peer is None else {peer} & self.desk.conversations.keys()
        self._stale.update(known)
        self._tail.kick()

    def _apply_peer(self, event: Event) -> None:
        if event.event in ("peer:forgotten", "stream:reset"):
            peer = event.fields.get("peer")
            for device_id, conversation in self.desk.conversations.items():
                if peer in (None, device_id):
                    conversation.forget_window()
                    self._stale.add(device_id)
            self._tail.kick()
        self._overview.kick()
        self._outbox.kick()

    # --- fetching -----------------------------------------------------------------------------------------------

    async def _ask(self, method: str, params: Struct) -> Any:
        """Ask in the background: None when it fails; a loss is shown by the connection's own task."""
        try:
            return await self.call(method, params)
        except EngineUnavailable:
            return None
        except ApiError as error:
            if error.code != ErrorCode.NO_SUCH_PEER:
                self._stage.say(line_text(str(error)), problem=True)
            return None

    async def _fetch_overview(self) -> None:
        status = await self._ask("status", Nothing())
        if status is not None and self.desk.set_me(me_of(status)):
            self._stage.changed(Part.STATUS)
        peers = await self._ask("peers.list", Nothing())
        if peers is None or not self.desk.set_peers(peers):
            return
        open_peer = self.desk.open_peer
        if self.desk.peers and self.desk.peer(open_peer) is None:
            # A stranger's words are opened by our person, not by the order of a list.
            known = [item for item in self.desk.peers if not item.is_request]
            self.open((known or self.desk.peers)[0].device_id)
        elif open_peer is not None and not self.desk.peers:
            self.desk.open_peer = None
            self._stage.changed(Part.CONVERSATION)
        self._stage.changed(Part.PEERS)
        self._read.kick()

    async def _fetch_outbox(self) -> None:
        entries = await self._ask("outbox", OutboxParams())
        if entries is not None and self.desk.set_outbox(entries):
            self._stage.changed(Part.OUTBOX)
            self._stage.changed(Part.CONVERSATION)

    async def _fetch_letters(self) -> None:
        letters = await self._ask("dlq.list", LettersParams())
        if letters is not None and self.desk.set_letters(letters):
            self._stage.changed(Part.LETTERS)
            self._stage.changed(Part.CONVERSATION)

    async def _fetch_tails(self) -> None:
        while self._stale:
            peer = self._stale.pop()
            conversation = self.desk.conversations.get(peer)
            if conversation is None:
                continue
            if conversation.has_newer:
                conversation.new_below += 1
                self._stage.changed(Part.CONVERSATION)
                continue
            page = await self._ask("history", HistoryParams(peer=peer, limit=PAGE))
            if page is None:
                continue
            first = not conversation.loaded
            arrived = conversation.merge_newest(self.desk.overlay(page), PAGE)
            if (first or arrived) and conversation.unread_from is None and (first or not self._sees(conversation)):
                conversation.unread_from = conversation.first_unread
                conversation.revision += 1
            if peer == self.desk.open_peer:
                self._stage.changed(Part.CONVERSATION)
                self._read.kick()

    def _sees(self, conversation: Conversation) -> bool:
        return self._attention and conversation.at_bottom and conversation.peer == self.desk.open_peer

    def want_older(self) -> None:
        """The person is near the top of what is loaded."""
        self._want_page(older=True)

    def want_newer(self) -> None:
        """The person is near the bottom of a window whose end had been dropped."""
        self._want_page(older=False)

    def _want_page(self, *, older: bool) -> None:
        current = self.desk.current
        if current is None or not current.loaded or not current.entries:
            return
        if current.has_older if older else current.has_newer:
            self._paging.add(older)
            self._pages.kick()

    async def _fetch_page(self) -> None:
        while self._paging:
            older = self._paging.pop()
            current = self.desk.current
            stored = [] if current is None else [e for e in current.entries if e.state is not None]
            if current is None or not stored:
                continue
            before, after = (stored[0].message_id, None) if older else (None, stored[-1].message_id)
            page = await self._ask("history", HistoryParams(peer=current.peer, limit=PAGE, before=before, after=after))
            if page is None:
                continue
            merge = current.merge_older if older else current.merge_newer
            merge(self.desk.overlay(page), PAGE)
            self._stage.changed(Part.CONVERSATION)

    # --- what the person does -----------------------------------------------------------------------------------

    def open(self, peer: str) -> None:
        """Bring a conversation to the front."""
        old = self.desk.current
        if old is not None and old.peer != peer:
            old.unread_from = None
            old.revision += 1
        self.desk.open_peer = peer
        current = self.desk.conversation(peer)
        current.unread_from = current.unread_from or current.first_unread
        if not current.loaded:
            self._stale.add(peer)
            self._tail.kick()
        self._read.kick()
        self._stage.changed(Part.CONVERSATION)

    def jump_to_newest(self) -> None:
        """Go to the end, even when the window no longer reaches it."""
        current = self.desk.current
        if current is None:
            return
        current.at_bottom, current.new_below = True, 0
        if current.has_newer:
            current.forget_window()
            self._stale.add(current.peer)
            self._tail.kick()
        self._read.kick()
        self._stage.changed(Part.CONVERSATION)

    def scrolled(self, *, at_bottom: bool) -> None:
        """Remember whether the newest message is in view."""
        current = self.desk.current
        if current is None or current.at_bottom == (at_bottom and not current.has_newer):
            return
        current.at_bottom = at_bottom and not current.has_newer
        if current.at_bottom:
            current.new_below = 0
            self._read.kick()
        self._stage.changed(Part.CONVERSATION)

    def pay_attention(self, attention: bool) -> None:
        """Say whether the person can see the open conversation right now."""
        if attention != self._attention:
            self._attention = attention
            if attention:
                self._read.kick()

    async def _mark_read(self) -> None:
        current = self.desk.current
        if current is None or not current.loaded or not self._sees(current):
            return
        item = self.desk.peer(current.peer)
        newest = current.newest_incoming
        if newest is None or not (current.has_unread or (item is not None and item.unread)):
            return
        if self._read_up_to.get(current.peer) == newest:
            return
        mark = await self._ask("read", ReadParams(peer=current.peer, up_to=newest))
        if mark is None:
            return
        self._read_up_to[current.peer] = newest
        for message_id in mark.message_ids:
            self.desk.note_state(current.peer, message_id, State.READ, self.now_ms())
        self._overview.kick()

    def send(self, body: str) -> bool:
        """Show a message at once and hand it to the engine; False when too many wait for the engine itself."""
        current = self.desk.current
        if current is None or len(self._unstored) >= MAX_UNSTORED:
            return False
        now_ms = self.now_ms()
        message_id = new_message_id(now_ms, self._randomness(10)).hex()
        me = self.desk.me
        entry = Entry(
            message_id, Direction.OUT, me.name if me else "", body_text(body).rstrip(), body, None, now_ms, None
        )
        if current.has_newer:
            self.jump_to_newest()
        current.add_local(entry)
        self._unstored[message_id] = (current.peer, body)
        self._to_store.set()
        self._stage.changed(Part.CONVERSATION)
        return True

    @property
    def settled(self) -> bool:
        """Everything that was asked for has been answered."""
        return all(pulse.idle for pulse in self._pulses) and not self._unstored

    @property
    def unstored(self) -> int:
        """Messages that the engine has not yet said to be stored."""
        return len(self._unstored)

    async def _hand_over(self) -> None:
        while True:
            await self._to_store.wait()
            await self.connection.live.wait()
            if not self._unstored:
                self._to_store.clear()
                continue
            message_id, (peer, body) = next(iter(self._unstored.items()))
            try:
                params = SendParams(peer=peer, body=body, message_id=message_id)
                answer = await self.call("message.send", params)
            except EngineUnavailable:
                await asyncio.sleep(FIRST_RETRY_S)
            except ApiError as error:
                if error.code in (ErrorCode.NOT_KNOWN_STORED, ErrorCode.SHUTTING_DOWN):
                    await asyncio.sleep(FIRST_RETRY_S)
                    continue
                del self._unstored[message_id]
                self.desk.conversation(peer).drop(message_id)
                self._stage.changed(Part.CONVERSATION)
                self._stage.give_back(peer, body)
                self._stage.say(texts.send_refused(line_text(str(error))), problem=True)
            else:
                del self._unstored[message_id]
                self.desk.note_state(peer, message_id, State(answer.state), self.now_ms())
                self._stage.changed(Part.CONVERSATION)

    async def act(self, method: str, params: Struct, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Do something that the person asked for and refresh the overview.

        Raises:
            ApiError: it was refused; the text is for the person.
        """
        result = await self.call(method, params, timeout_s)
        self._overview.kick()
        self._outbox.kick()
        return result

    async def letters(self, method: str, message_ids: Sequence[str] | None) -> int:
        """Retry or purge dead letters (None: all); return how many."""
        ids = None if message_ids is None else list(message_ids)
        changed = await self.act(method, LettersParams(message_ids=ids))
        self._letters.kick()
        return len(changed.message_ids)

    async def cancel(self, message_id: str) -> None:
        """Take a message back that is not delivered."""
        detail = await self.act("message.cancel", MessageParams(message_id=message_id))
        for conversation in self.desk.conversations.values():
            if detail.cancelling:
                conversation.set_cancelling(message_id)
            else:
                self.desk.note_state(conversation.peer, message_id, State(detail.state), self.now_ms())
        self._stage.changed(Part.CONVERSATION)

    def is_blocked(self, peer: str) -> bool:
        item = self.desk.peer(peer)
        return item is not None and item.trust is Trust.BLOCKED
