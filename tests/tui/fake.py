"""A scripted engine in memory, for the tests of the screen and for looking at the screen by hand.

It keeps peers, histories and dead letters, answers the methods of the local API and tells events, all in fixed
time: :data:`NOON` is now, and a clock that the test moves. ``python -m tests.tui.fake [busy|empty|long|nasty]`` shows
the real screen on it, with an engine that answers like a person would.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unicodedata import category, combining

import msgspec

from p2pchat.api.types import (
    Changed,
    Done,
    ErrorCode,
    Event,
    HistoryParams,
    Letter,
    LettersParams,
    LogLines,
    LogParams,
    Message,
    MessageDetail,
    MessageParams,
    MessageRef,
    OutboxEntry,
    Peer,
    PeerAddParams,
    PeerParams,
    PeerRenameParams,
    ReadMark,
    ReadParams,
    SendParams,
    StateAt,
    Status,
    Struct,
)
from p2pchat.errors import ApiError, EngineUnavailable
from p2pchat.model import device_id_of

NOON = int(datetime(2026, 11, 23, 12, 0, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000
ME = device_id_of(b"alice")
MIGRATION = """Could you look at the migration, too?

    ALTER TABLE messages ADD COLUMN place INTEGER;

It takes four minutes on the big copy."""
INVITE = "p2pchat:192.168.1.20:27270/" + ME


def device(name: str) -> str:
    """The device id of somebody."""
    return device_id_of(name.encode())


def peer(name: str, /, **changes: Any) -> Peer:
    """A peer that is online and accepted unless told otherwise."""
    fields: dict[str, Any] = {
        "device_id": device(name),
        "name": name,
        "own_name": name,
        "alias": "",
        "presence": "online",
        "trust": "unverified",
        "addresses": ["192.168.1.21:27270"],
        "rtt_ms": 3.2,
        "clock_offset_ms": 4.0,
        "pending": 0,
        "dead_letters": 0,
        "unread": 0,
        "last_seen_ms": NOON,
        "mode": "realtime",
        "detail": "",
        "last_message_at_ms": None,
        "last_message": None,
    }
    return Peer(**{**fields, **changes})


def status(**changes: Any) -> Status:
    """An engine in good order."""
    fields: dict[str, Any] = {
        "device_id": ME,
        "name": "alice",
        "version": "0.1.0",
        "api_version": 1,
        "pid": 4711,
        "host": "192.168.1.20",
        "port": 27270,
        "addresses": ["192.168.1.20:27270", "[fd00::14]:27270"],
        "invite": INVITE,
        "home": "/home/alice/.local/share/p2pchat",
        "started_at_ms": NOON - 3_600_000,
        "uptime_s": 3600.0,
        "links": 2,
        "pending": 0,
        "dead_letters": 0,
        "unread": 0,
        "storage": "ok",
        "discovery": "on",
        "notes": [],
    }
    return Status(**{**fields, **changes})


@dataclass
class FakeEngine:
    """The state of the engine; tests change it and say what happened with :meth:`emit`."""

    status: Status = field(default_factory=status)
    peers: dict[str, Peer] = field(default_factory=dict)
    histories: dict[str, list[Message]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    calls: list[tuple[str, Struct]] = field(default_factory=list)
    refuse: dict[str, ApiError] = field(default_factory=dict)
    down: bool = False
    now: int = NOON
    clients: list[FakeClient] = field(default_factory=list)
    on_send: Callable[[Message], None] | None = None
    numbers: int = 0
    hold: asyncio.Event | None = None

    # --- building -----------------------------------------------------------------------------------------------

    def add(self, *peers: Peer) -> None:
        """Know these peers."""
        for item in peers:
            self.peers[item.device_id] = item
            self.histories.setdefault(item.device_id, [])

    def change(self, name: str, **changes: Any) -> None:
        """Change a peer and tell it."""
        known = self.peers[device(name)]
        self.peers[known.device_id] = msgspec.structs.replace(known, **changes)
        self.emit("peer:changed", peer=known.device_id)

    def write(
        self, name: str, body: str, *, mine: bool = False, state: str = "", at: int | None = None, **more: Any
    ) -> str:
        """Put a message into the history with a peer without telling anybody; return its id."""
        self.numbers += 1
        peer_id, at = device(name), self.now if at is None else at
        message_id = f"{at:012x}{self.numbers:020x}"
        fields: dict[str, Any] = {
            "message_id": message_id,
            "peer": peer_id,
            "direction": "out" if mine else "in",
            "author": ME if mine else peer_id,
            "author_name": self.status.name if mine else self.peers[peer_id].name,
            "body": body,
            "state": state or ("delivered" if mine else "read"),
            "sent_at_ms": at,
            "received_at_ms": at + 40,
            "read_at_ms": None,
            "seq": self.numbers,
            "cancelling": False,
        }
        self.histories[peer_id].append(Message(**{**fields, **more}))
        self._count(peer_id)
        return message_id

    def receive(self, name: str, body: str) -> str:
        """A message comes in now."""
        message_id = self.write(name, body, state="delivered")
        self.emit("message:received", peer=device(name), message_id=message_id)
        return message_id

    def bury(self, name: str, body: str, reason: str, **more: Any) -> str:
        """A dead letter to this peer."""
        message_id = self.write(name, body, mine=True, state="failed", at=more.pop("at", None))
        fields: dict[str, Any] = {
            "message_id": message_id,
            "peer": device(name),
            "peer_name": self.peers[device(name)].name,
            "reason": reason,
            "peer_has_it": "no",
            "last_error": "ECONNREFUSED 192.168.1.23:27270",
            "attempts": 5,
            "moved_at_ms": self.now - 5 * MINUTE,
            "sent_at_ms": self.now - 15 * MINUTE,
            "body": body,
        }
        self.letters.append(Letter(**{**fields, **more}))
        self._count(device(name))
        return message_id

    def move(self, message_id: str, state: str, *, tell: bool = True) -> None:
        """Change a message's state and tell it."""
        for peer_id, history in self.histories.items():
            for index, message in enumerate(history):
                if message.message_id == message_id:
                    history[index] = msgspec.structs.replace(message, state=state)
                    self.waiting.pop(message_id, None)
                    self._count(peer_id)
                    if tell:
                        name = "moved-to-dlq" if state == "failed" else state
                        self.emit(f"message:{name}", peer=peer_id, message_id=message_id)
                    return
        raise KeyError(message_id)

    def _count(self, peer_id: str) -> None:
        history = self.histories[peer_id]
        unread = sum(m.direction == "in" and m.state == "delivered" for m in history[-200:])
        pending = sum(m.direction == "out" and m.state in ("pending", "sent") for m in history[-200:])
        dead = sum(letter.peer == peer_id for letter in self.letters)
        self.peers[peer_id] = msgspec.structs.replace(
            self.peers[peer_id],
            unread=unread,
            pending=pending,
            dead_letters=dead,
            last_message_at_ms=history[-1].sent_at_ms if history else None,
        )
        self.status = msgspec.structs.replace(
            self.status,
            pending=sum(item.pending for item in self.peers.values()),
            dead_letters=len(self.letters),
            unread=sum(item.unread for item in self.peers.values()),
        )

    def emit(self, event: str, **fields: Any) -> None:
        """Tell all who listen."""
        for client in self.clients:
            client.inbox.put_nowait(Event(event_id=None, at_ms=self.now, event=event, fields=fields))

    def log(self, name: str, **fields: Any) -> None:
        """Write a line into a log."""
        record = {"at_ms": self.now, **fields}
        self.logs.setdefault(name, []).append(record)
        for client in self.clients:
            for log, queue in client.followers:
                if log == name:
                    queue.put_nowait(record)

    def stop(self) -> None:
        """Go away; every connection is cut."""
        self.down = True
        for client in list(self.clients):
            client.cut()

    # --- the methods --------------------------------------------------------------------------------------------

    async def connect(self) -> FakeClient:
        """What the screen calls to reach the engine."""
        if self.down:
            raise EngineUnavailable("no engine is running")
        client = FakeClient(self)
        self.clients.append(client)
        return client

    def answer(self, method: str, params: Struct) -> Any:
        """Answer one question."""
        self.calls.append((method, params))
        if method in self.refuse:
            raise self.refuse[method]
        handler = getattr(self, "_on_" + method.replace(".", "_"))
        return handler(params)

    def count_of(self, method: str) -> int:
        """How often a method was called."""
        return sum(called == method for called, _ in self.calls)

    def _on_status(self, params: Struct) -> Status:
        return self.status

    def _on_peers_list(self, params: Struct) -> list[Peer]:
        return list(self.peers.values())

    def _on_history(self, params: HistoryParams) -> list[Message]:
        history = self.histories[params.peer]
        ids = [m.message_id for m in history]
        if params.before is not None:
            end = ids.index(params.before)
            return history[max(0, end - params.limit) : end]
        if params.after is not None:
            start = ids.index(params.after) + 1
            return history[start : start + params.limit]
        return history[-params.limit :]

    def _on_message_send(self, params: SendParams) -> MessageRef:
        history = self.histories[params.peer]
        if not any(m.message_id == params.message_id for m in history):
            self.write_own(params)
        state = next(m.state for m in history if m.message_id == params.message_id)
        return MessageRef(message_id=params.message_id, state=state)

    def write_own(self, params: SendParams) -> None:
        """Store a message that the screen sent."""
        self.numbers += 1
        message = Message(
            message_id=params.message_id,
            peer=params.peer,
            direction="out",
            author=ME,
            author_name=self.status.name,
            body=params.body,
            state="pending",
            sent_at_ms=self.now,
            received_at_ms=None,
            read_at_ms=None,
            seq=self.numbers,
            cancelling=False,
        )
        self.histories[params.peer].append(message)
        self._count(params.peer)
        self.emit("message:queued", peer=params.peer, message_id=params.message_id)
        if self.on_send is not None:
            self.on_send(message)

    def _on_read(self, params: ReadParams) -> ReadMark:
        history, ids = self.histories[params.peer], []
        for index, message in enumerate(history):
            if message.direction == "in" and message.state == "delivered":
                history[index] = msgspec.structs.replace(message, state="read")
                ids.append(message.message_id)
            if message.message_id == params.up_to:
                break
        self._count(params.peer)
        for message_id in ids:
            self.emit("message:read", peer=params.peer, message_id=message_id, direction="in")
        return ReadMark(peer=params.peer, message_ids=ids)

    def _on_outbox(self, params: Struct) -> list[OutboxEntry]:
        return [
            self._outbox_entry(peer_id, message)
            for peer_id, history in self.histories.items()
            for message in history[-100:]
            if message.direction == "out" and message.state in ("pending", "sent")
        ]

    def _outbox_entry(self, peer_id: str, message: Message) -> OutboxEntry:
        reason, _, attempts = self.waiting.get(message.message_id, "").partition("|")
        return OutboxEntry(
            message_id=message.message_id,
            peer=peer_id,
            peer_name=self.peers[peer_id].name,
            body=message.body,
            state=message.state,
            attempts=int(attempts or 0),
            next_attempt_at_ms=self.now + 12_000 if attempts else None,
            last_error="connection refused" if attempts else None,
            waiting_for=reason,
            sent_at_ms=message.sent_at_ms,
        )

    def _on_message_show(self, params: MessageParams) -> MessageDetail:
        for history in self.histories.values():
            for message in history:
                if message.message_id == params.message_id:
                    return self._detail(message)
        raise ApiError(ErrorCode.NO_SUCH_MESSAGE, "There is no such message.")

    def _detail(self, message: Message) -> MessageDetail:
        at, steps = message.sent_at_ms, [("pending", 0), ("sent", 4), ("delivered", 38), ("read", 61_000)]
        if message.direction == "in":
            steps = [("delivered", 0), ("read", 9_000)]
        names = [name for name, _ in steps]
        reached = names.index(message.state) + 1 if message.state in names else 1
        states = [StateAt(state=name, at_ms=at + after) for name, after in steps[:reached]]
        if message.state == "failed":
            states.append(StateAt(state="failed", at_ms=at + 62_000))
        entry = self._outbox_entry(message.peer, message)
        fields = {name: getattr(message, name) for name in message.__struct_fields__}
        return MessageDetail(
            **fields,
            states=states,
            attempts=5 if message.state == "failed" else entry.attempts,
            next_attempt_at_ms=entry.next_attempt_at_ms,
            last_error="connection refused" if message.state == "failed" else entry.last_error,
            waiting_for=entry.waiting_for or None,
        )

    def _on_message_cancel(self, params: MessageParams) -> MessageDetail:
        self.move(params.message_id, "cancelled")
        return self._on_message_show(params)

    def _on_dlq_list(self, params: LettersParams) -> list[Letter]:
        return list(self.letters)

    def _take_letters(self, params: LettersParams) -> list[Letter]:
        taken = [x for x in self.letters if params.message_ids is None or x.message_id in params.message_ids]
        self.letters = [letter for letter in self.letters if letter not in taken]
        for letter in taken:
            self._count(letter.peer)
        return taken

    def _on_dlq_retry(self, params: LettersParams) -> Changed:
        taken = self._take_letters(params)
        for letter in taken:
            self.move(letter.message_id, "pending", tell=False)
            self.emit("message:retried", peer=letter.peer, message_id=letter.message_id)
        return Changed(message_ids=[letter.message_id for letter in taken])

    def _on_dlq_purge(self, params: LettersParams) -> Changed:
        taken = self._take_letters(params)
        for letter in taken:
            self.emit("message:purged", peer=letter.peer, message_id=letter.message_id)
        return Changed(message_ids=[letter.message_id for letter in taken])

    def _set_trust(self, params: PeerParams, trust: str) -> Peer:
        self.peers[params.peer] = msgspec.structs.replace(self.peers[params.peer], trust=trust)
        self.emit("peer:changed", peer=params.peer)
        return self.peers[params.peer]

    def _on_peer_accept(self, params: PeerParams) -> Peer:
        return self._set_trust(params, "unverified")

    def _on_peer_block(self, params: PeerParams) -> Peer:
        return self._set_trust(params, "blocked")

    def _on_peer_unblock(self, params: PeerParams) -> Peer:
        return self._set_trust(params, "unverified")

    def _on_peer_rename(self, params: PeerRenameParams) -> Peer:
        known = self.peers[params.peer]
        changed = msgspec.structs.replace(known, alias=params.name, name=params.name or known.own_name)
        self.peers[params.peer] = changed
        self.emit("peer:changed", peer=params.peer)
        return changed

    def _on_peer_add(self, params: PeerAddParams) -> Peer:
        if not params.address.startswith("192.168."):
            raise ApiError(ErrorCode.UNREACHABLE, f"{params.address}: nobody answered within 5 s")
        self.add(peer("frank"))
        self.emit("peer:changed", peer=device("frank"))
        return self.peers[device("frank")]

    def _on_logs_tail(self, params: LogParams) -> LogLines:
        return LogLines(lines=self.logs.get(params.log, [])[-params.lines :])

    def _on_stop(self, params: Struct) -> Done:
        return Done()


class FakeClient:
    """One connection to a :class:`FakeEngine`; meets ``p2pchat.tui.port.Client``."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self.inbox: asyncio.Queue[Event | None] = asyncio.Queue()
        self.followers: list[tuple[str, asyncio.Queue[dict[str, Any] | None]]] = []

    async def call(self, method: str, params: Struct) -> Any:
        """Answer at once, or when the test lets it."""
        if self._engine.hold is not None:
            await self._engine.hold.wait()
        if self._engine.down or self not in self._engine.clients:
            raise EngineUnavailable("the engine hung up")
        return self._engine.answer(method, params)

    async def subscribe(self) -> AsyncGenerator[Event, None]:
        """Live events from now on."""
        return self._events()

    async def _events(self) -> AsyncGenerator[Event, None]:
        while (event := await self.inbox.get()) is not None:
            yield event
        raise EngineUnavailable("the engine hung up")

    async def logs(self, log: str, lines: int) -> AsyncGenerator[dict[str, Any], None]:
        """The last lines, then new ones."""
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        follower = (log, queue)
        self.followers.append(follower)
        try:
            for record in self._engine.logs.get(log, [])[-lines:] if lines else []:
                yield record
            while (new := await queue.get()) is not None:
                yield new
        finally:
            self.followers.remove(follower)
        raise EngineUnavailable("the engine hung up")

    def cut(self) -> None:
        """Lose the connection."""
        if self in self._engine.clients:
            self._engine.clients.remove(self)
        self.inbox.put_nowait(None)
        for _, queue in self.followers:
            queue.put_nowait(None)

    async def close(self) -> None:
        """Hang up."""
        self.cut()


# --- scenes -----------------------------------------------------------------------------------------------------


def busy_engine() -> FakeEngine:
    """A desk in the middle of a day: every tick, a request, somebody away, dead letters."""
    engine = FakeEngine()
    engine.add(
        peer("bob", rtt_ms=2.8, trust="verified"),
        peer(
            "carol",
            presence="offline",
            rtt_ms=None,
            mode="",
            detail="carol is not answering since 11:31; goes out when she is back",
        ),
        peer("sven", presence="away", rtt_ms=None, mode=""),
        peer("erin", presence="offline", rtt_ms=None, mode=""),
        peer("mallory", trust="request"),
        peer("zoë", trust="blocked", presence="offline", rtt_ms=None),
    )
    yesterday = NOON - 26 * 60 * MINUTE
    engine.write("bob", "Did the new switch arrive?", mine=True, state="read", at=yesterday)
    engine.write("bob", "Yes, it is in the rack. Port 12 is yours.", at=yesterday + 2 * MINUTE)
    start = NOON - 40 * MINUTE
    engine.write("bob", "Morning! The build on the lab machine is green again", at=start)
    engine.write(
        "bob",
        "The fix was one line. I have written down what happened, so that nobody has to find it out a second time.",
        at=start + MINUTE,
    )
    engine.write("bob", "Great, thank you!", mine=True, state="read", at=start + 6 * MINUTE)
    engine.write(
        "bob",
        MIGRATION,
        mine=True,
        state="read",
        at=start + 7 * MINUTE,
    )
    engine.write("bob", "Four minutes is long. I'll try it with an index first.", at=start + 12 * MINUTE)
    engine.write("bob", "No hurry.", mine=True, state="delivered", at=start + 30 * MINUTE)
    engine.write("bob", "Lunch at half past?", mine=True, state="sent", at=start + 38 * MINUTE)
    engine.write("carol", "See you at three?", at=start)
    for text in ("Running late, sorry.", "Start without me."):
        waiting = engine.write("carol", text, mine=True, state="pending", at=start + 20 * MINUTE)
        engine.waiting[waiting] = "carol is not answering since 11:31; goes out when she is back"
    engine.write("sven", "I have put the cables into the blue box.", state="delivered", at=start + 25 * MINUTE)
    engine.write("sven", "Take what you need.", state="delivered", at=start + 26 * MINUTE)
    engine.bury("erin", "The meeting moved to Thursday.", "connection_refused", at=start - 30 * MINUTE)
    engine.bury(
        "erin",
        "Room 4.11 it is.",
        "not_acknowledged",
        peer_has_it="unknown",
        last_error="no acknowledgement within 10 s",
        at=start - 29 * MINUTE,
    )
    engine.bury(
        "bob",
        "first draft of the report",
        "too_large",
        attempts=1,
        last_error="longer than the peer takes",
        at=start + 31 * MINUTE,
    )
    table = engine.write("bob", "I book the table by the window.", mine=True, state="pending", at=start + 39 * MINUTE)
    engine.waiting[table] = "the message before it, which is being tried again"
    engine.write("mallory", "hi, is this the printer group?", state="delivered", at=start + 5 * MINUTE)
    for history in engine.histories.values():
        history.sort(key=lambda message: message.sent_at_ms)
    _busy_logs(engine)
    return engine


def _busy_logs(engine: FakeEngine) -> None:
    bob, carol = device("bob"), device("carol")
    for beat in range(14):
        at = NOON - (14 - beat) * 15_000
        engine.logs.setdefault("heartbeat", []).extend(
            [
                {"at_ms": at, "event": "heartbeat:sent", "peer": bob, "sequence": beat},
                {
                    "at_ms": at + 3,
                    "event": "heartbeat:received",
                    "peer": bob,
                    "sequence": beat,
                    "rtt_ms": 2.4 + beat % 5 * 0.3,
                },
            ]
        )
    engine.logs["heartbeat"].append(
        {"at_ms": NOON - 9_000, "event": "heartbeat:failed", "peer": carol, "detail": "nothing heard for 35 s"}
    )
    engine.logs["latency"] = [
        {
            "at_ms": NOON - 120_000 + n * 9_000,
            "event": "message:delivered",
            "peer": bob,
            "pending_to_sent_ms": 0.6,
            "sent_to_delivered_ms": 1.1 + n % 4,
        }
        for n in range(8)
    ]
    engine.logs["engine"] = [{"at_ms": NOON - 3_600_000, "event": "engine:ready", "port": 27270, "peers": 6}]


def nasty_engine() -> FakeEngine:
    """Names and messages that try to break the screen."""
    from tests.tui.test_cells import NASTY

    engine = FakeEngine()
    # pyte drops what stands behind a mark of combining class 0; such texts are measured elsewhere.
    samples = [text for text in NASTY if not any(category(c) == "Mn" and not combining(c) for c in text)]
    for number, text in enumerate(samples):
        engine.add(peer(f"p{number}", name=text, own_name=text, detail=text, alias=text[:3]))
        engine.bury(f"p{number}", text, "refused", peer_name=text, last_error=text)
        waiting = engine.write("p0", text, mine=bool(number % 2), state="pending" if number % 2 else "read")
        engine.waiting[waiting] = text
        engine.logs.setdefault("heartbeat", []).append({"at_ms": NOON, "event": text, "detail": text, text: text})
    engine.change("p0", last_message_at_ms=NOON + MINUTE)
    engine.write("p0", "the last one", at=NOON + 2 * MINUTE)
    return engine


def long_engine(count: int = 10_000) -> FakeEngine:
    """One conversation of many messages."""
    engine = FakeEngine()
    engine.add(peer("bob"))
    for number in range(count):
        at = NOON - (count - number) * MINUTE
        engine.write("bob", f"message {number}: " + "word " * (number % 40), mine=number % 3 == 0, at=at)
    return engine


def main() -> int:
    """Show the screen on a fake engine that answers."""
    from p2pchat.tui.app import ChatApp

    scene = sys.argv[1] if len(sys.argv) > 1 else "busy"
    engine = {"busy": busy_engine, "empty": FakeEngine, "long": long_engine, "nasty": nasty_engine}[scene]()

    def reply(message: Message) -> None:
        loop = asyncio.get_running_loop()
        for delay, state in ((0.4, "sent"), (1.0, "delivered"), (2.0, "read")):
            loop.call_later(delay, engine.move, message.message_id, state)
        name = engine.peers[message.peer].own_name
        loop.call_later(3.0, engine.receive, name, f"You said: {message.body}")

    engine.on_send = reply
    return ChatApp(engine.connect, zone=UTC, now_ms=lambda: engine.now).run() or 0


if __name__ == "__main__":
    raise SystemExit(main())
