"""The nouns of the view model, and how they are read from the API.

Values are frozen and replaced whole, so "has it changed" is a comparison and nothing is repainted for nothing. All
text is made harmless here, once, before anything else sees it. What a newer engine says in words that are not known
here is read as the most careful of the known ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from p2pchat.api.types import Message, Peer, Status
from p2pchat.model import RANK, Direction, Presence, State, Trust
from p2pchat.tui.cells import body_text, line_text, name_text


class Tick(StrEnum):
    """What is drawn beside a message of ours; ``saving``: the engine has not said that it is stored."""

    NONE = "none"
    SAVING = "saving"
    PENDING = "pending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CANCELLING = "cancelling"


WAITING: Final = frozenset({Tick.SAVING, Tick.PENDING, Tick.SENT, Tick.CANCELLING})


@dataclass(frozen=True, slots=True)
class Entry:
    """One message as it is shown. ``state`` is None while only the screen knows it; ``raw`` is for copying."""

    message_id: str
    direction: Direction
    author: str
    body: str
    raw: str
    state: State | None
    sent_at_ms: int
    received_at_ms: int | None
    cancelling: bool = False

    @property
    def mine(self) -> bool:
        return self.direction is Direction.OUT

    @property
    def tick(self) -> Tick:
        if not self.mine:
            return Tick.NONE
        if self.state is None:
            return Tick.SAVING
        if self.cancelling and self.state in (State.PENDING, State.SENT):
            return Tick.CANCELLING
        return Tick(self.state.value)


@dataclass(frozen=True, slots=True)
class PeerItem:
    """One row of the peers panel; every text is clean."""

    device_id: str
    name: str
    own_name: str
    alias: str
    presence: Presence
    trust: Trust
    pending: int
    dead_letters: int
    unread: int
    detail: str
    mode: str
    rtt_ms: int | None
    clock_offset_ms: int | None
    last_message_at_ms: int | None
    addresses: tuple[str, ...]
    last_seen_ms: int | None

    @property
    def is_request(self) -> bool:
        return self.trust is Trust.REQUEST


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        return State.PENDING


def entry_of(message: Message) -> Entry:
    """Read one message of the API."""
    mine = message.direction == Direction.OUT
    return Entry(
        message_id=message.message_id,
        direction=Direction.OUT if mine else Direction.IN,
        author=name_text(message.author_name) or message.author[:8],
        body=body_text(message.body).rstrip() or " ",
        raw=message.body,
        state=_state(message.state),
        sent_at_ms=message.sent_at_ms,
        received_at_ms=message.received_at_ms,
        cancelling=message.cancelling,
    )


def peer_item(peer: Peer) -> PeerItem:
    """Read one peer of the API."""
    presences = {item.value: item for item in Presence}
    trusts = {item.value: item for item in Trust}
    return PeerItem(
        device_id=peer.device_id,
        name=name_text(peer.name) or line_text(peer.device_id[:8]),
        own_name=name_text(peer.own_name),
        alias=name_text(peer.alias),
        presence=presences.get(peer.presence, Presence.OFFLINE),
        trust=trusts.get(peer.trust, Trust.SEEN),
        pending=max(0, peer.pending),
        dead_letters=max(0, peer.dead_letters),
        unread=max(0, peer.unread),
        detail=line_text(peer.detail),
        mode=line_text(peer.mode, 20),
        rtt_ms=None if peer.rtt_ms is None else round(peer.rtt_ms),
        clock_offset_ms=None if peer.clock_offset_ms is None else round(peer.clock_offset_ms),
        last_message_at_ms=peer.last_message_at_ms,
        addresses=tuple(line_text(address, 80) for address in peer.addresses[:8]),
        last_seen_ms=peer.last_seen_ms,
    )


def later(old: State | None, new: State) -> State:
    """The state that stands when two accounts of one message meet in any order: ticks never go back.

    ``failed`` and ``cancelled`` take over from pending and sent; delivered and read take over from all.
    """
    if old is None or old is new:
        return new
    old_rank, new_rank = RANK.get(old), RANK.get(new)
    if old_rank is not None and new_rank is not None:
        return new if new_rank > old_rank else old
    if old_rank is None:
        return new if new_rank is None or new_rank >= RANK[State.DELIVERED] else old
    return old if old_rank >= RANK[State.DELIVERED] else new


class Link(StrEnum):
    """How the screen stands with the engine."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class EngineState:
    """``detail`` says why it is lost and ``retry_s`` when the next try is."""

    link: Link = Link.CONNECTING
    detail: str = ""
    retry_s: float = 0.0
    ever_live: bool = False


@dataclass(frozen=True, slots=True)
class Me:
    """What the engine said about itself; the part of ``Status`` that the screen shows."""

    name: str
    device_id: str
    host: str
    port: int
    addresses: tuple[str, ...]
    invite: str
    links: int
    pending: int
    dead_letters: int
    unread: int
    storage: str
    discovery: str
    notes: tuple[str, ...]
    version: str


def me_of(status: Status) -> Me:
    """Read the engine's status."""
    return Me(
        name=name_text(status.name),
        device_id=line_text(status.device_id, 64),
        host=line_text(status.host, 80),
        port=status.port,
        addresses=tuple(line_text(address, 80) for address in status.addresses[:16]),
        invite=line_text(status.invite, 400),
        links=status.links,
        pending=status.pending,
        dead_letters=status.dead_letters,
        unread=status.unread,
        storage=line_text(status.storage),
        discovery=line_text(status.discovery),
        notes=tuple(line_text(note) for note in status.notes[:20]),
        version=line_text(status.version, 20),
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a message of ours is not delivered yet."""

    message_id: str
    reason: str
    attempts: int
    next_attempt_at_ms: int | None
    last_error: str
