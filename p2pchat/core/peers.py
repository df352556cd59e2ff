"""Who is there: the peers that are stored, announced or linked, and what is known of each.

A peer is its key. Everything else (name, addresses, presence) is what was said or seen. A peer of trust ``seen`` is
kept in memory only, as long as it is announced, linked or being dialled; the counters of a forgotten peer stay,
because its stream goes on if it comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from p2pchat.core.context import Context
from p2pchat.core.inputs import Now
from p2pchat.core.item import DeadLettered
from p2pchat.core.ops import NotePresence, RememberAddress, UpsertPeer
from p2pchat.core.outbox import Line
from p2pchat.core.records import PeerRecord
from p2pchat.core.session import Session
from p2pchat.model import ACCEPTED, Address, DeviceId, MessageId, Presence, Trust

MAX_SEEN = 1000
"""How many peers that are merely seen are kept in memory."""


@dataclass(slots=True)
class Peer:
    """One peer with its line of messages, its links and its addresses.

    Attributes:
        proven: addresses that led to its key, or that it named over a proven link, the latest first.
        announced: what mDNS says; a hint.
        sessions: its live links, the newest handshake last.
        heard_seq: the highest number in its stream that was taken in, committed or not.
        asked_upto: holes up to this number were asked for.
        hole: the range that is being pulled, if any.
        holding: why we take no events of it now (empty: we do).
        skipped: an event of it was passed over that will be taken once we hold or block no more.
        untold_reads: messages of it that our user read and that it has not acknowledged to know.
        silent_since_ms: since when dials are not answered.
        dial_error: what the last failed dial said.
        said_goodbye: its engine ended in good order; until it is back, a refused port is no failure.
    """

    id: DeviceId
    line: Line
    name: str = ""
    alias: str = ""
    trust: Trust = Trust.SEEN
    proven: tuple[Address, ...] = ()
    announced: tuple[Address, ...] = ()
    sessions: list[Session] = field(default_factory=list)
    applied: int = 0
    last_seq: int = 0
    heard_seq: int = 0
    asked_upto: int = 0
    hole: tuple[int, int] | None = None
    answering_pull: bool = False
    acked: int = 0
    last_incoming: MessageId | None = None
    last_incoming_hlc: int = 0
    last_seen_ms: int | None = None
    last_linked_ms: int | None = None
    stranger_messages: int = 0
    stranger_bytes: int = 0
    holding: str = ""
    skipped: bool = False
    untold_reads: dict[MessageId, None] = field(default_factory=dict)
    presence: Presence = Presence.OFFLINE
    dial: int | None = None
    dial_failures: int = 0
    dial_by_hint: bool = False
    last_hint_dial_s: float | None = None
    silent_since_ms: int | None = None
    dial_error: str = ""
    said_goodbye: bool = False

    @property
    def stored(self) -> bool:
        """Whether the store knows it as more than a counter."""
        return self.trust is not Trust.SEEN

    @property
    def accepted(self) -> bool:
        """Whether our user wants to hear from it."""
        return self.trust in ACCEPTED

    @property
    def session(self) -> Session | None:
        """The link that we send on: the newest."""
        return self.sessions[-1] if self.sessions else None

    @property
    def label(self) -> str:
        """What to call it."""
        return self.alias or self.name or self.id[:8]

    def addresses(self) -> tuple[Address, ...]:
        """Where to try, best first, each once."""
        return tuple(dict.fromkeys((*self.proven, *self.announced)))


class Directory:
    """All peers of the node."""

    def __init__(self, context: Context, buried: Callable[[DeadLettered, Now], None]) -> None:
        self._context = context
        self._buried = buried
        self._peers: dict[DeviceId, Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def get(self, peer: DeviceId) -> Peer | None:
        """Return a peer that is known or seen."""
        return self._peers.get(peer)

    def find_or_add(self, peer: DeviceId) -> Peer:
        """Return the peer, making a merely seen one if it is new."""
        known = self._peers.get(peer)
        if known is None:
            known = Peer(peer, Line(self._context, peer, 1, 0, self._buried))
            self._peers[peer] = known
        return known

    def restore(self, record: PeerRecord) -> Peer:
        """Take over a peer from the store."""
        line = Line(self._context, record.peer, record.next_seq, record.settled_seq, self._buried)
        peer = Peer(
            id=record.peer,
            line=line,
            name=record.name,
            alias=record.alias,
            trust=record.trust,
            proven=record.addresses,
            applied=record.applied,
            last_seq=record.last_seq,
            heard_seq=record.last_seq,
            acked=record.acked,
            last_incoming=record.last_incoming,
            last_incoming_hlc=record.last_incoming_hlc,
            last_seen_ms=record.last_seen_ms,
            last_linked_ms=record.last_linked_ms,
            stranger_messages=record.stranger_messages,
            stranger_bytes=record.stranger_bytes,
        )
        self._peers[record.peer] = peer
        return peer

    def seen_full(self) -> bool:
        """Tell whether no further stranger may be remembered as seen."""
        return sum(not peer.stored for peer in self._peers.values()) >= MAX_SEEN

    def strangers(self) -> int:
        """How many peers wrote without being accepted."""
        return sum(peer.trust is Trust.REQUEST for peer in self._peers.values())

    def store(self, peer: Peer, trust: Trust, now: Now) -> None:
        """Store the peer as it is, with this trust; what was learnt before it was stored comes along."""
        fresh = not peer.stored
        peer.trust = trust
        self._context.ledger.persist(UpsertPeer(peer.id, peer.name, peer.alias, trust, now.wall_ms))
        if fresh:
            for address in reversed(peer.proven):
                self._context.ledger.persist(RememberAddress(peer.id, address, now.wall_ms))

    def update_presence(self, peer: Peer, now: Now) -> None:
        """Work out the presence and report it when it changed."""
        linked = bool(peer.sessions)
        away = Presence.AWAY if peer.announced else Presence.OFFLINE
        presence = Presence.ONLINE if linked else away
        if linked or presence is not Presence.OFFLINE or peer.presence is not Presence.OFFLINE:
            peer.last_seen_ms = now.wall_ms
        if linked or peer.presence is Presence.ONLINE:
            peer.last_linked_ms = now.wall_ms
        if presence is peer.presence:
            return
        peer.presence = presence
        self._context.ledger.note(NotePresence(peer.id, peer.label, presence.value, linked, now.wall_ms))

    def drop_if_unknown(self, peer: Peer) -> None:
        """Forget a peer that is neither stored nor there, unless its stream has begun."""
        idle = not (peer.announced or peer.sessions or peer.dial is not None or peer.stored)
        if idle and not (peer.applied or peer.acked or peer.line.next_seq > 1):
            self._context.timers.cancel(("dial", peer.id))
            del self._peers[peer.id]
