"""The judge: what is true is learnt from commits and replies, and held against every promise at its instant.

Each message has a :class:`Fate`, keyed by its id: where it stands on its author's disk, whether it is on its
addressee's, and what people were told. Once one of the two goes on from an older copy of its disk, or forgets the
other, the message is *doubtful*: nothing is promised of it, but all that comes later must be as ever. The numbers in
brackets are those of the invariants in the architecture.

- a reply that says *pending* comes after the commit that stored it [1];
- *delivered* is recorded only while the message is on the addressee's disk, *read* only after the addressee read it;
  no tick goes back [2];
- nothing is applied twice, a retry keeps the id [4];
- a message whose cancel is final, or whose letter says that the peer does not have it, is not on the peer's disk and
  never comes there later, unless it is sent again [1];
- an attempt is charged only when something was there to answer it [6];
- what a node holds in memory is bounded, and everything that waits says what for [1, 8].

What only the end can tell (lost, stuck, order) is in ``verdict.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Final

from p2pchat.core.effects import Changed, MessageState, Notify, Refused, Result
from p2pchat.core.inputs import CancelMessage, Command, MarkRead, PurgeLetters, RetryLetters, SendText
from p2pchat.core.ops import InsertOutgoing, Op
from p2pchat.model import ACCEPTED, MessageId, Reason, State, Trust
from p2pchat.sim import verdict
from p2pchat.store.interface import CommitResult
from p2pchat.store.notices import Recorded

if TYPE_CHECKING:
    from p2pchat.sim.device import Device
    from p2pchat.sim.world import World

MAX_VIOLATIONS: Final = 20
_FOUNDED_FOR_S: Final = {
    Reason.LINK_LOST.value: inf,
    Reason.NOT_ACKNOWLEDGED.value: inf,
    Reason.REFUSED.value: inf,
    Reason.HANDSHAKE_FAILED.value: 12.0,
}
"""How long ago the peer's machine may have answered a dial for a charge with this reason (others: this instant)."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept: which one, when, and what was seen."""

    kind: str
    at_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.at_s:.3f} s: {self.kind}: {self.text}"


@dataclass(slots=True)
class Fate:
    """What became of one message.

    Attributes:
        number: its place among its author's messages to this peer.
        state: on its author's disk; None: not there.
        arrived: on its addressee's disk.
        read_told: read there by somebody who wants the author to know.
        seen: the last message of the peer that its author had seen.
        given_up: it was a dead letter or taken back at some time, so its order is not promised.
        denied: the author's user was told that the peer does not have it (and it was not sent again since).
    """

    message_id: MessageId
    author: Device
    peer: Device
    number: int
    told: bool = False
    state: State | None = None
    arrived: bool = False
    read_told: bool = False
    seen: MessageId | None = None
    given_up: bool = False
    denied: bool = False
    purged: bool = False
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.author.name}>{self.peer.name} {self.message_id.hex()[-6:]} ({self.state})"


@dataclass(slots=True)
class Pair:
    """What happened from one device to another.

    Attributes:
        queued: how many messages were stored for it.
        arrivals: those that arrived, in order of arrival.
        contact_s: when a dial was answered by the other's machine, either way, the last time.
        trust: what the second one's disk says of the first.
    """

    queued: int = 0
    arrivals: list[Fate] = field(default_factory=list)
    contact_s: float | None = None
    trust: Trust = Trust.SEEN


class Judge:
    """Hears everything, believes disks and replies, and collects violations."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[Violation] = []
        self.fates: dict[MessageId, Fate] = {}
        self.doubtful: dict[MessageId, Fate] = {}
        self.pairs: dict[tuple[int, int], Pair] = {}
        self._seen: dict[MessageId, MessageId | None] = {}
        self.notified_counts: dict[str, int] = {}
        self._hearers = {
            "message:queued": self._queued,
            "message:sent": self._sent,
            "message:delivered": self._delivered,
            "message:read": self._read,
            "message:received": self._received,
            "message:moved-to-dlq": self._given_up,
            "message:retried": self._retried,
            "message:settled": self._settled,
            "message:purged": self._purged,
            "message:cancelling": self._cancelling,
            "message:cancelled": self._cancelled,
        }

    def violation(self, kind: str, text: str) -> None:
        """Note a promise that was not kept."""
        if len(self.violations) < MAX_VIOLATIONS:
            found = Violation(kind, self.world.clock.now_s, text)
            self.violations.append(found)
            self.world.trace(None, f"!! {found}")

    def pair(self, source: Device, target: Device) -> Pair:
        """What happened from one device to another."""
        return self.pairs.setdefault((source.index, target.index), Pair())

    def drained(self) -> bool:
        """Tell whether nothing is left to wait for."""
        return verdict.drained(self)

    def settle(self) -> None:
        """Judge what is left at the end, if all went well so far."""
        if not self.violations:
            verdict.settle(self)

    # --- what becomes true --------------------------------------------------------------------------------------

    def committed(self, device: Device, operations: list[Op], result: CommitResult) -> None:
        """A commit became true on the disk of a device."""
        self._seen = {
            op.message_id: op.seen
            for op in operations
            if isinstance(op, InsertOutgoing) and op.message_id not in self.fates
        }
        for recorded in result.recorded:
            hearer = self._hearers.get(recorded.name)
            if hearer is not None:
                if recorded.message_id not in self.doubtful:
                    hearer(device, recorded)
            elif recorded.peer in self.world.by_id:
                assert recorded.peer is not None
                self._peer_changed(device, self.world.by_id[recorded.peer], recorded)

    def restored(self, device: Device) -> None:
        """A device goes on from an older copy of its disk: nothing is promised of what it wrote or got before."""
        for other in self.world.by_id.values():
            self._doubt(device, other)
        for record in device.disk.store.load().peers:
            self.pair(self.world.by_id[record.peer], device).trust = record.trust

    def _doubt(self, one: Device, two: Device) -> None:
        for fate in list(self.fates.values()):
            if (fate.author, fate.peer) in ((one, two), (two, one)):
                del self.fates[fate.message_id]
                self.doubtful[fate.message_id] = fate
        self.pair(one, two).arrivals.clear()
        self.pair(two, one).arrivals.clear()

    def _peer_changed(self, device: Device, peer: Device, recorded: Recorded) -> None:
        if recorded.name == "peer:changed":
            self.pair(peer, device).trust = Trust(str(recorded.detail["trust"]))
        elif recorded.name == "peer:forgotten":
            self.pair(peer, device).trust = Trust.SEEN
            self._doubt(device, peer)

    def _fate(self, recorded: Recorded) -> Fate:
        assert recorded.message_id is not None
        return self.fates[recorded.message_id]

    def _queued(self, device: Device, recorded: Recorded) -> None:
        assert recorded.message_id is not None
        assert recorded.peer is not None
        if recorded.message_id in self.fates:
            self.violation("stored twice", str(self.fates[recorded.message_id]))
            return
        peer = self.world.by_id[recorded.peer]
        pair = self.pair(device, peer)
        pair.queued += 1
        seen = self._seen[recorded.message_id]
        fate = Fate(recorded.message_id, device, peer, pair.queued, state=State.PENDING, seen=seen)
        self.fates[recorded.message_id] = fate

    def _move(self, recorded: Recorded, state: State, *allowed: State) -> Fate:
        fate = self._fate(recorded)
        if fate.state not in allowed:
            self.violation("tick went back", f"{fate} became {state}")
        fate.state = state
        return fate

    def _sent(self, _: Device, recorded: Recorded) -> None:
        self._move(recorded, State.SENT, State.PENDING)

    def _delivered(self, _: Device, recorded: Recorded) -> None:
        fate = self._move(recorded, State.DELIVERED, State.SENT, State.PENDING, State.FAILED)
        if not fate.arrived:
            self.violation("false tick", f"{fate} is delivered and not on the peer's disk")

    def _read(self, device: Device, recorded: Recorded) -> None:
        fate = self._fate(recorded)
        if recorded.detail["direction"] == "in":
            if not fate.arrived:
                self.violation("read before it arrived", str(fate))
            fate.read_told = fate.read_told or self.pair(fate.author, device).trust in ACCEPTED
            return
        self._move(recorded, State.READ, State.DELIVERED)
        if not fate.read_told:
            self.violation("false tick", f"{fate} is read and nobody read it")

    def _received(self, device: Device, recorded: Recorded) -> None:
        assert recorded.message_id is not None
        fate = self.fates.get(recorded.message_id)
        if fate is None:
            self.violation("not on its author's disk", f"{recorded.message_id.hex()} arrived at {device.name}")
            return
        if fate.arrived:
            self.violation("applied twice", str(fate))
        if fate.peer is not device:
            self.violation("arrived at a stranger", f"{fate} at {device.name}")
        if fate.state is State.CANCELLED:
            self.violation("cancelled, then arrived", str(fate))
        if fate.denied:
            self.violation("letter said no, then it arrived", str(fate))
        fate.arrived = True
        self.pair(fate.author, device).arrivals.append(fate)

    def _given_up(self, _: Device, recorded: Recorded) -> None:
        fate = self._move(recorded, State.FAILED, State.PENDING, State.SENT)
        fate.given_up, fate.reason = True, str(recorded.detail["reason"])
        self._deny(fate, recorded)

    def _settled(self, _: Device, recorded: Recorded) -> None:
        self._deny(self._fate(recorded), recorded)

    def _deny(self, fate: Fate, recorded: Recorded) -> None:
        fate.denied = recorded.detail["peer_has_it"] == "no"
        if fate.denied and fate.arrived:
            self.violation("letter says no", f"{fate} ({fate.reason}) is on the peer's disk")

    def _retried(self, _: Device, recorded: Recorded) -> None:
        self._move(recorded, State.PENDING, State.FAILED).denied = False

    def _purged(self, _: Device, recorded: Recorded) -> None:
        self._fate(recorded).purged = True

    def _cancelling(self, _: Device, recorded: Recorded) -> None:
        self._fate(recorded).given_up = True

    def _cancelled(self, _: Device, recorded: Recorded) -> None:
        fate = self._move(recorded, State.CANCELLED, State.PENDING, State.SENT)
        fate.given_up = True
        if fate.arrived:
            self.violation("cancelled and there", f"{fate} is on the peer's disk")

    # --- what people are told -----------------------------------------------------------------------------------

    def replied(self, device: Device, command: Command, result: Result) -> None:
        """A client was answered."""
        match command, result:
            case ((SendText() | CancelMessage()), MessageState(message_id)) if message_id in self.doubtful:
                pass
            case SendText(), MessageState(message_id, state):
                self._told(device, message_id, state)
            case CancelMessage(), MessageState(message_id, state):
                fate = self.fates.get(message_id)
                if fate is None or (state is State.CANCELLED and fate.state is not State.CANCELLED):
                    self.violation("told before it was true", f"{device.name}: cancel of {fate}: {state}")
            case ((RetryLetters() | PurgeLetters() | MarkRead()), Changed(message_ids)):
                self._told_changed(device, command, message_ids)
            case _, Refused(code) if code in ("id_in_use", "own_device", "incompatible", "wrong_key"):
                self.violation("wrong refusal", f"{device.name}: {type(command).__name__}: {result}")
            case _:
                pass

    def _told(self, device: Device, message_id: MessageId, state: State) -> None:
        fate = self.fates.get(message_id)
        if fate is None or fate.state is None:
            self.violation("told before it was true", f"{device.name}: {message_id.hex()} is {state}, and not on disk")
            return
        ended = state in (State.DELIVERED, State.READ, State.CANCELLED, State.FAILED)
        if ended and fate.state is State.PENDING and not fate.given_up:
            self.violation("told before it was true", f"{fate} is {state}")
        fate.told = True

    def _told_changed(self, device: Device, command: Command, message_ids: tuple[MessageId, ...]) -> None:
        for message_id in message_ids:
            if message_id in self.doubtful:
                continue
            fate = self.fates[message_id]
            done = {
                RetryLetters: fate.state is not State.FAILED or fate.given_up,
                PurgeLetters: fate.purged,
                MarkRead: fate.arrived,
            }[type(command)]
            if not done:
                self.violation("told before it was true", f"{device.name}: {type(command).__name__}: {fate}")

    # --- what is charged ----------------------------------------------------------------------------------------

    def contact(self, dialler: Device, target: Device) -> None:
        """A dial was answered by the machine that it meant."""
        now_s = self.world.clock.now_s
        self.pair(dialler, target).contact_s = self.pair(target, dialler).contact_s = now_s

    def notified(self, device: Device, notice: Notify) -> None:
        """Clients were told something that is not stored."""
        counts = self.notified_counts
        counts[notice.name] = counts.get(notice.name, 0) + 1
        if notice.name == "message:send-failed" and notice.message_id is not None:
            self._charged(device, notice, notice.message_id)

    def _charged(self, device: Device, notice: Notify, message_id: MessageId) -> None:
        fate = self.fates.get(message_id) or self.doubtful[message_id]
        pair = self.pair(device, fate.peer)
        patience_s = _FOUNDED_FOR_S.get(str(notice.detail["reason"]), 0.0)
        # Whoever slept through the answer cannot know that the peer was there.
        slept = self.world.clock.now_s - device.woke_s <= patience_s < inf
        if pair.contact_s is None or (self.world.clock.now_s - pair.contact_s > patience_s and not slept):
            self.violation("absent was charged", f"{fate}: {notice.detail}, and {fate.peer.name} did not answer")

    # --- what is held -------------------------------------------------------------------------------------------

    def sample(self, device: Device) -> None:
        """Look at the memory and the views of a node."""
        if device.node is not None and not device.asleep:
            verdict.look_at(self, device, device.node)
