"""One link: from an opened connection through the handshake to its end, with its heartbeats.

States: ``HANDSHAKE`` → ``UP`` → ``CLOSING``. A session in ``CLOSING`` has said goodbye; whatever still arrives on it
is ignored, and nothing is sent on it. The heartbeat starts when the link is up; hearing anything counts as life.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from p2pchat.core.context import Context
from p2pchat.core.effects import CloseLink, Notify, Transmit
from p2pchat.core.handshake import Handshake, TheirSide
from p2pchat.core.inputs import LinkOpened, Now
from p2pchat.model import DeviceId, LinkId
from p2pchat.wire import Bye, Error, Heartbeat, HeartbeatAck, encode

SKEW_WORTH_TELLING_MS = 60_000


class Phase(Enum):
    """Where a session is in its life."""

    HANDSHAKE = auto()
    UP = auto()
    CLOSING = auto()


@dataclass(slots=True)
class Session:
    """The record of one link.

    Attributes:
        theirs: who it is, once proven.
        denied: ids that the peer asked about on another link; they are not taken from this one any more.
        overtaken: such an id came in all the same. Late or sent anew, it cannot be told: the link must end.
    """

    context: Context
    opened: LinkOpened
    handshake: Handshake
    phase: Phase = Phase.HANDSHAKE
    theirs: TheirSide | None = None
    denied: set[bytes] = field(default_factory=set)
    overtaken: bool = False
    heard_at_s: float = 0.0
    rtt_ms: float | None = None
    clock_offset_ms: float | None = None
    _sequence: int = 0
    _unanswered: dict[int, float] = field(default_factory=dict)

    @property
    def link(self) -> LinkId:
        """The number of the link."""
        return self.opened.link

    @property
    def peer(self) -> DeviceId:
        """The proven peer; only for a session that is or was up."""
        assert self.theirs is not None
        return self.theirs.device_id

    @property
    def realtime(self) -> bool:
        """Whether events are pushed on this link (both sides want it)."""
        assert self.theirs is not None
        return self.theirs.realtime and self.context.policy.realtime

    def awaits_welcome_of(self, peer: DeviceId) -> bool:
        """Whether we dialled this peer on it and the handshake is not done on our side."""
        return self.phase is Phase.HANDSHAKE and self.opened.listener_id == peer

    def begin(self, now: Now) -> None:
        """Say what our role says first, and give the handshake's first step its deadline."""
        self.heard_at_s = now.mono_s
        self.next_step(now)
        for data in self.handshake.start():
            self.context.ledger.emit(Transmit(self.link, data))

    def next_step(self, now: Now) -> None:
        """The other side has its time for the next step of the handshake."""
        self.context.timers.set(("handshake", self.link), now.mono_s + self.context.policy.handshake_timeout_s)

    def come_up(self, theirs: TheirSide, now: Now) -> None:
        """The handshake is done: start the heartbeat."""
        self.theirs = theirs
        self.phase = Phase.UP
        self.context.timers.cancel(("handshake", self.link))
        self.context.timers.set(("silence", self.link), now.mono_s + self.context.policy.dead_after_s)
        self.beat(now)

    def heard(self, now: Now) -> None:
        """Something arrived on the link."""
        self.heard_at_s = now.mono_s

    def silence_over(self, now: Now) -> bool:
        """The silence timer fired: tell whether the link is dead, else re-arm the timer."""
        dead_at_s = self.heard_at_s + self.context.policy.dead_after_s
        if now.mono_s >= dead_at_s:
            return True
        self.context.timers.set(("silence", self.link), dead_at_s)
        return False

    def suspect(self, within_s: float, now: Now) -> None:
        """The network changed: ask for life at once and believe in silence soon."""
        self.beat(now)
        self.heard_at_s = min(self.heard_at_s, now.mono_s + within_s - self.context.policy.dead_after_s)
        self.context.timers.set(("silence", self.link), self.heard_at_s + self.context.policy.dead_after_s)

    def beat(self, now: Now) -> None:
        """Send a heartbeat and arm the next; report the ones that stayed unanswered for a whole interval."""
        policy = self.context.policy
        for sequence, sent_s in list(self._unanswered.items()):
            if now.mono_s - sent_s >= policy.heartbeat_interval_s / 2:
                del self._unanswered[sequence]
                waited = f"no answer to heartbeat {sequence} for {now.mono_s - sent_s:.0f} s"
                self.notify("heartbeat:failed", now, detail=waited, sequence=sequence)
        self._sequence += 1
        self._unanswered[self._sequence] = now.mono_s
        self.context.ledger.emit(Transmit(self.link, encode(Heartbeat(self._sequence, max(0, now.wall_ms)))))
        self.notify("heartbeat:sent", now, sequence=self._sequence)
        jitter = 1 + self.context.rng.uniform(-policy.heartbeat_jitter, policy.heartbeat_jitter)
        self.context.timers.set(("heartbeat", self.link), now.mono_s + policy.heartbeat_interval_s * jitter)

    def answer(self, beat: Heartbeat, hold: str, now: Now) -> None:
        """Answer the other side's heartbeat, at once."""
        wall = max(0, now.wall_ms)
        ack = HeartbeatAck(n=beat.n, sent_ms=beat.sent_ms, received_ms=wall, replied_ms=wall, hold=hold)
        self.context.ledger.emit(Transmit(self.link, encode(ack)))

    def answered(self, ack: HeartbeatAck, now: Now) -> None:
        """Our heartbeat came back: measure. An answer that nobody waits for is ignored."""
        sent_s = self._unanswered.pop(ack.n, None)
        if sent_s is None:
            return
        known_before = self.clock_offset_ms
        self.rtt_ms = max(0.0, (now.mono_s - sent_s) * 1000 - (ack.replied_ms - ack.received_ms))
        self.clock_offset_ms = ((ack.received_ms - ack.sent_ms) + (ack.replied_ms - now.wall_ms)) / 2
        self.notify(
            "heartbeat:received",
            now,
            rtt_ms=round(self.rtt_ms, 3),
            clock_offset_ms=round(self.clock_offset_ms, 3),
            sequence=ack.n,
        )
        if known_before is None and abs(self.clock_offset_ms) >= SKEW_WORTH_TELLING_MS:
            self.notify("clock:skewed", now, offset_ms=round(self.clock_offset_ms))

    def refuse(self, code: str, detail: str) -> None:
        """Tell the other side what was wrong and close."""
        self.context.ledger.emit(Transmit(self.link, encode(Error(code, detail[:512]))))
        self._close(detail)

    def leave(self, reason: str) -> None:
        """Close with a goodbye that names the reason."""
        self.context.ledger.emit(Transmit(self.link, encode(Bye(reason[:512]))))
        self._close(reason)

    def _close(self, reason: str) -> None:
        self.phase = Phase.CLOSING
        self.disarm()
        self.context.ledger.emit(CloseLink(self.link, reason))

    def disarm(self) -> None:
        """Stop the timers of this link."""
        for kind in ("handshake", "silence", "heartbeat"):
            self.context.timers.cancel((kind, self.link))

    def notify(self, name: str, now: Now, **detail: str | int | float) -> None:
        """Tell the clients something about this link."""
        peer = self.theirs.device_id if self.theirs is not None else None
        self.context.ledger.emit(Notify(name, now.wall_ms, peer, {"link": self.link, **detail}))
