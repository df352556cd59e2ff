"""Drives nodes by hand: a clock, keys, a store that commits when told to, a scripted peer, and two nodes in a row.

A :class:`Device` carries out the effects of one real node. A :class:`Far` is the other end of a link whose every
frame the test writes itself. A :class:`Pair` wires two devices together, one frame at a time.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from p2pchat.core.effects import CloseLink, Dial, Effect, Notify, Persist, Reply, Result, Transmit
from p2pchat.core.handshake import proof_text
from p2pchat.core.inputs import (
    AddPeer,
    BytesReceived,
    CancelMessage,
    Committed,
    DialError,
    DialFailed,
    Input,
    LinkClosed,
    LinkOpened,
    ManagePeer,
    MarkRead,
    Now,
    PeerAction,
    PeerAnnounced,
    PurgeLetters,
    RetryLetters,
    Role,
    SendText,
    TimerFired,
)
from p2pchat.core.node import Node
from p2pchat.core.ops import Op
from p2pchat.core.views import PeerView, WaitingView
from p2pchat.model import Address, DeviceId, LinkId, MessageId, Policy, State, device_id_of
from p2pchat.wire import (
    Ack,
    Event,
    Frame,
    Hello,
    Proof,
    Refusal,
    Unknown,
    Welcome,
    decode,
    decode_event,
    encode,
    encode_event,
)
from p2pchat.wire import Notify as NotifyFrame
from tests.core.fakestore import FakeStore

START_MS = 1_700_000_000_000
F = TypeVar("F", bound=Frame)
O = TypeVar("O", bound=Op)  # noqa: E741  # an operation


class FakeKeys:
    """Keys whose signature is a hash: enough to tell who signed what."""

    def __init__(self, name: str) -> None:
        self.spki = b"key of " + name.encode()

    def sign(self, data: bytes) -> bytes:
        return hashlib.sha256(self.spki + data).digest()

    def verify(self, spki: bytes, signature: bytes, data: bytes) -> bool:
        return signature == hashlib.sha256(spki + data).digest()


_KEYS = {device_id_of(keys.spki): keys for keys in map(FakeKeys, ("one", "two", "three"))}
ALICE, BOB, CAROL = sorted(_KEYS)
"""ALICE is the lowest id, CAROL the highest."""

NAMES = {ALICE: "alice", BOB: "bob", CAROL: "carol"}


def keys_of(device_id: DeviceId) -> FakeKeys:
    return _KEYS[device_id]


def mid(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def address_of(name: str) -> Address:
    return Address(f"{name}.lan", 27270)


def event(number: int, text: str = "hi", *, seq: int | None = None, prev: int = 0, **fields: object) -> Event:
    plain = {
        "id": mid(number),
        "seq": number if seq is None else seq,
        "prev": prev,
        "hlc": 1,
        "sent_at_ms": START_MS,
        "kind": "text",
    }
    return Event(**{**plain, "text": text, **fields})  # type: ignore[arg-type]  # the tests name the fields


@dataclass
class Clock:
    mono_s: float = 1000.0
    wall_ms: int = START_MS

    def now(self) -> Now:
        return Now(self.mono_s, self.wall_ms)

    def advance(self, seconds: float) -> None:
        self.mono_s += seconds
        self.wall_ms += round(seconds * 1000)


@dataclass
class Device:
    """One node with its store; effects land in the lists, commits happen at once unless ``holding_commits``."""

    device_id: DeviceId
    clock: Clock = field(default_factory=Clock)
    policy: Policy = field(default_factory=Policy)
    store: FakeStore = field(default_factory=FakeStore)
    seed: int = 1
    holding_commits: bool = False

    def __post_init__(self) -> None:
        self.sent: list[tuple[LinkId, Frame]] = []
        self.wire: deque[tuple[LinkId, bytes]] = deque()
        self.dials: list[Dial] = []
        self.closed: list[CloseLink] = []
        self.notices: list[Notify] = []
        self.replies: dict[int, Result] = {}
        self.persists: deque[Persist] = deque()
        self.log: list[Effect] = []
        self.requests = 0
        self.links = 0
        self.runs = 0
        self.start()

    @property
    def keys(self) -> FakeKeys:
        return keys_of(self.device_id)

    def start(self) -> None:
        """Build the node from the store: a new engine run, or the one after a crash."""
        self.runs += 1
        self.persists.clear()
        self.wire.clear()
        self.closed.clear()
        self.node = Node(
            device_id=self.device_id,
            keys=self.keys,
            policy=self.policy,
            snapshot=self.store.snapshot(),
            rng=random.Random(self.seed),
            now=self.clock.now(),
            instance=hashlib.sha256(f"{self.device_id}{self.runs}".encode()).digest()[:16],
        )
        self._perform(self.node.start(self.clock.now()))

    # --- inputs -----------------------------------------------------------------------------------------------

    def feed(self, event: Input) -> list[Effect]:
        """Give one input; return the effects of that step and of the commits that followed it."""
        first = len(self.log)
        self._perform(self.node.handle(event, self.clock.now()))
        return self.log[first:]

    def commit(self, count: int | None = None) -> None:
        """Commit what is waiting (the first ``count``), one by one."""
        for _ in range(len(self.persists) if count is None else count):
            if not self.persists:
                break
            one = self.persists.popleft()
            outcomes = self.store.commit(one.ops)
            self._perform(self.node.handle(Committed(one.number, outcomes), self.clock.now()))

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline."""
        self.advance_to(self.clock.mono_s + seconds)

    def advance_to(self, end_s: float) -> None:
        while True:
            at_s = self.node.next_deadline()
            if at_s is None or at_s > end_s:
                break
            self.clock.advance(max(0.0, at_s - self.clock.mono_s) + 1e-6)
            self.feed(TimerFired())
        self.clock.advance(max(0.0, end_s - self.clock.mono_s))

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.log.append(effect)
            match effect:
                case Persist():
                    self.persists.append(effect)
                case Transmit(link, data):
                    self.sent.append((link, decode(data)))
                    self.wire.append((link, data))
                case CloseLink():
                    self.closed.append(effect)
                case Dial():
                    self.dials.append(effect)
                case Notify():
                    self.notices.append(effect)
                case Reply(request, result):
                    assert request not in self.replies
                    self.replies[request] = result
        if not self.holding_commits and self.persists:
            self.commit(1)

    # --- commands ---------------------------------------------------------------------------------------------

    def _ask(self, command: type, *args: object) -> int:
        self.requests += 1
        self.feed(command(self.requests, *args))
        return self.requests

    def send(self, peer: DeviceId, number: int, text: str = "hi") -> int:
        return self._ask(SendText, peer, mid(number), text)

    def cancel(self, number: int) -> Result | None:
        return self.replies.get(self._ask(CancelMessage, mid(number)))

    def read(self, peer: DeviceId, up_to: int | None = None) -> Result | None:
        return self.replies.get(self._ask(MarkRead, peer, None if up_to is None else mid(up_to)))

    def retry(self, *numbers: int) -> Result | None:
        return self.replies.get(self._ask(RetryLetters, tuple(map(mid, numbers))))

    def purge(self, *numbers: int) -> Result | None:
        return self.replies.get(self._ask(PurgeLetters, tuple(map(mid, numbers))))

    def add(self, address: Address, expected: DeviceId | None = None) -> int:
        return self._ask(AddPeer, (address,), expected)

    def manage(self, peer: DeviceId, action: PeerAction, name: str = "") -> Result | None:
        return self.replies.get(self._ask(ManagePeer, peer, action, name))

    def reply(self, request: int | None = None) -> Result:
        return self.replies[self.requests if request is None else request]

    # --- what was seen ----------------------------------------------------------------------------------------

    def frames(self, kind: type[F], link: LinkId | None = None) -> list[F]:
        return [frame for at, frame in self.sent if isinstance(frame, kind) and link in (None, at)]

    def ops(self, kind: type[O]) -> list[O]:
        return [op for one in self.log if isinstance(one, Persist) for op in one.ops if isinstance(op, kind)]

    def noticed(self, name: str) -> list[Notify]:
        return [notice for notice in self.notices if notice.name == name]

    def state(self, number: int) -> State:
        return self.store.state(mid(number))

    def view(self, peer: DeviceId) -> PeerView:
        view = self.node.peer(peer, self.clock.now())
        assert view is not None
        return view

    def waiting(self) -> list[WaitingView]:
        return self.node.waiting(self.clock.now())

    # --- links ------------------------------------------------------------------------------------------------

    def new_link(self) -> LinkId:
        self.links += 1
        return LinkId(self.links)

    def announce(self, peer: DeviceId, *addresses: Address) -> None:
        name = NAMES[peer]
        self.feed(PeerAnnounced(peer, name, addresses or (address_of(name),)))

    def fail_dial(self, error: DialError, detail: str = "", address: Address | None = None) -> None:
        dial = self.dials[-1]
        self.feed(DialFailed(dial.dial, error, address or dial.addresses[0], detail))


class Far:
    """The other end of a link to a device, played by the test."""

    def __init__(self, device: Device, device_id: DeviceId = BOB, *, instance: bytes = b"i" * 16) -> None:
        self.device = device
        self.device_id = device_id
        self.name = NAMES[device_id]
        self.keys = keys_of(device_id)
        self.instance = instance
        self.realtime = True
        self.applied = 0
        self.versions: tuple[int, ...] = (1,)
        self.port = 0
        self.link = LinkId(0)
        self._read = 0

    def dials(self) -> Far:
        """Connect to the device and prove ourselves."""
        self.link = self.device.new_link()
        self._read = len(self.device.sent)
        self.device.feed(LinkOpened(self.link, Role.LISTENER, Address("far.lan", 50000)))
        theirs = self.device.sent[-1][1]
        assert isinstance(theirs, Hello)
        ours = encode(self.hello(dialler=True))
        self.give(ours)
        text = proof_text(encode(theirs), ours, self.device.device_id, self.device_id)
        self.say(Proof(self.keys.sign(text)))
        return self

    def answers(self, dial: int | None = None, remote: Address | None = None) -> Far:
        """Be what a dial of the device reached."""
        self.link = self.device.new_link()
        self._read = len(self.device.sent)
        one = self.device.dials[-1]
        number = one.dial if dial is None else dial
        where = one.addresses[0] if remote is None else remote
        self.device.feed(LinkOpened(self.link, Role.DIALLER, where, number, self.device_id))
        self.say(self.hello(dialler=False))
        self.say(Welcome(self.applied))
        return self

    def hello(self, *, dialler: bool) -> Hello:
        return Hello(
            versions=self.versions,
            name=self.name,
            instance=self.instance,
            nonce=b"n" * 32,
            realtime=self.realtime,
            key=self.keys.spki if dialler else None,
            applied=self.applied if dialler else None,
            port=self.port,
        )

    def say(self, frame: Frame) -> list[Effect]:
        assert not isinstance(frame, Unknown)
        return self.give(encode(frame))

    def give(self, data: bytes) -> list[Effect]:
        return self.device.feed(BytesReceived(self.link, data))

    def notify(self, *events: Event) -> list[Effect]:
        return self.say(NotifyFrame(tuple(map(encode_event, events))))

    def ack(self, *numbers: int) -> None:
        self.say(Ack(tuple(map(mid, numbers))))

    def refuse(self, number: int, reason: str, detail: str = "") -> None:
        self.say(Ack((), (Refusal(mid(number), reason, detail),)))

    def cut(self, detail: str = "reset") -> None:
        self.device.feed(LinkClosed(self.link, detail))

    def got(self, kind: type[F]) -> list[F]:
        """Frames of that kind on our link since the last call or the link's start; the others are skipped."""
        new, self._read = self.device.sent[self._read :], len(self.device.sent)
        return [frame for link, frame in new if link == self.link and isinstance(frame, kind)]

    def peek(self, kind: type[F]) -> list[F]:
        """As ``got``, without taking them."""
        return [
            frame for link, frame in self.device.sent[self._read :] if link == self.link and isinstance(frame, kind)
        ]

    def events(self) -> list[Event]:
        """The events pushed to us since the last look."""
        return [decode_event(raw) for frame in self.got(NotifyFrame) for raw in frame.events]

    def numbers(self) -> list[int]:
        """The same, by the number in their ids."""
        return [int.from_bytes(one.id, "big") for one in self.events()]


class Pair:
    """Two devices and the links between them. Nothing moves but by ``step``, ``settle`` and the methods here."""

    def __init__(self, low: Device, high: Device) -> None:
        self.devices = (low, high)
        self.ends: dict[tuple[int, LinkId], LinkId] = {}

    def __getitem__(self, side: int) -> Device:
        return self.devices[side]

    def connect(self, dialler: int) -> None:
        """Open a link; the handshake's frames wait on the wire."""
        here, there = self.devices[dialler], self.devices[1 - dialler]
        a, b = here.new_link(), there.new_link()
        self.ends[dialler, a], self.ends[1 - dialler, b] = b, a
        dials = [one for one in here.dials if one.expected == there.device_id]
        number = dials[-1].dial if dials else None
        there.feed(LinkOpened(b, Role.LISTENER, Address(f"{NAMES[here.device_id]}.lan", 50000)))
        here.feed(LinkOpened(a, Role.DIALLER, address_of(NAMES[there.device_id]), number, there.device_id))

    def cut(self, side: int, link: LinkId) -> None:
        """End a link hard: what is on its way is lost."""
        other = self.ends.pop((side, link), None)
        if other is not None:
            del self.ends[1 - side, other]
            self.devices[side].feed(LinkClosed(link, "cut"))
            self.devices[1 - side].feed(LinkClosed(other, "cut"))

    def cut_all(self) -> None:
        for side, link in [key for key in self.ends if key[0] == 0]:
            self.cut(side, link)

    def crash(self, side: int) -> None:
        """End an engine without a word, losing what is not committed, and start it again."""
        device = self.devices[side]
        for key in [key for key in self.ends if key[0] == side]:
            other = self.ends.pop(key)
            del self.ends[1 - side, other]
            self.devices[1 - side].feed(LinkClosed(other, "reset"))
        device.start()

    def step(self, side: int, pick: int = 0) -> bool:
        """Carry one frame from this side, of the link that is picked; False: there was none.

        The frames of one link arrive in order; links overtake each other.
        """
        device = self.devices[side]
        links = list(dict.fromkeys(link for link, _ in device.wire))
        if not links:
            return self._close(side)
        wanted = links[pick % len(links)]
        at = next(at for at, (link, _) in enumerate(device.wire) if link == wanted)
        _, data = device.wire[at]
        del device.wire[at]
        other = self.ends.get((side, wanted))
        if other is not None:
            self.devices[1 - side].feed(BytesReceived(other, data))
        return True

    def inject(self, side: int, frame: Frame) -> None:
        """Let this side say something of its own on its newest link."""
        assert not isinstance(frame, Unknown)
        link = max((link for at, link in self.ends if at == side), default=None)
        if link is not None and self.devices[side].node.authenticated(link):
            self.devices[side].wire.append((link, encode(frame)))

    def _close(self, side: int) -> bool:
        device = self.devices[side]
        if not device.closed:
            return False
        self.cut(side, device.closed.pop(0).link)
        return True

    def settle(self) -> None:
        """Commit and carry until nothing moves."""
        moving = True
        while moving:
            moving = False
            for side, device in enumerate(self.devices):
                if device.persists:
                    device.commit()
                    moving = True
                while self.step(side):
                    moving = True

    def advance(self, seconds: float) -> None:
        """Let time pass on both sides, deadline by deadline."""
        end_s = self.devices[0].clock.mono_s + seconds
        while True:
            self.settle()
            times = [at for at in (device.node.next_deadline() for device in self.devices) if at is not None]
            at_s = min(times, default=end_s)
            if at_s >= end_s:
                break
            for device in self.devices:
                device.clock.advance(max(0.0, at_s - device.clock.mono_s) + 1e-6)
            for device in self.devices:
                device.feed(TimerFired())
        for device in self.devices:
            device.clock.advance(max(0.0, end_s - device.clock.mono_s))
