"""The tables of the store in memory: dictionaries of immutable rows.

Rows are replaced, never changed, so a copy of the tables shares all rows and costs a few shallow copies.
"""

from __future__ import annotations

from bisect import insort

import msgspec

from p2pchat.core.records import LetterRecord, PeerRecord, WaitingRecord
from p2pchat.model import Address, DeviceId, Direction, MessageId, PeerHasIt, Reason, State, Trust
from p2pchat.store.notices import Notice
from p2pchat.store.rows import MessageRow


class Device(msgspec.Struct, frozen=True):
    """The counters of both streams with a device; they outlive its forgetting."""

    key: int
    next_seq: int = 1
    acked: int = 0
    settled_seq: int = 0
    applied: int = 0
    last_seq: int = 0
    clock: int = 0
    last_incoming: MessageId | None = None
    incoming_hlc: int = 0
    incoming_place: int | None = None


class Peer(msgspec.Struct, frozen=True):
    """A stored peer and its conversation."""

    conversation: int
    name: str
    alias: str
    trust: Trust
    addresses: tuple[Address, ...] = ()
    last_seen_ms: int | None = None
    last_linked_ms: int | None = None
    stranger_messages: int = 0
    stranger_bytes: int = 0


FORGOTTEN = Peer(0, "", "", Trust.SEEN)
"""What is known of a device whose peer row is gone."""


class Message(msgspec.Struct, frozen=True):
    """A message with its text; the names are those of the columns on disk."""

    key: int
    id: MessageId
    peer: DeviceId
    out: bool
    place: int
    seq: int
    state: State
    body: str
    hlc: int
    seen: MessageId | None
    sent_at_ms: int
    transmitted: bool = False
    cancelling: bool = False
    untold: bool = False
    attempts: int = 0
    auto_returns: int = 0
    handed_at_ms: int | None = None
    delivered_at_ms: int | None = None
    read_at_ms: int | None = None
    ended_at_ms: int | None = None
    retried_at_ms: int | None = None
    next_attempt_at_ms: int | None = None
    last_reason: Reason | None = None
    last_detail: str = ""

    def as_row(self) -> MessageRow:
        """Return it as reading shows it."""
        return MessageRow(
            message_id=self.id,
            peer=self.peer,
            direction=Direction.OUT if self.out else Direction.IN,
            body=self.body,
            state=self.state,
            sent_at_ms=self.sent_at_ms,
            handed_at_ms=self.handed_at_ms,
            received_at_ms=self.delivered_at_ms,
            read_at_ms=self.read_at_ms,
            seq=self.seq,
            cancelling=self.cancelling,
            place=self.place,
        )

    def as_waiting(self) -> WaitingRecord:
        """Return it as the core loads it while it waits."""
        return WaitingRecord(
            peer=self.peer,
            message_id=self.id,
            seq=self.seq,
            body=self.body,
            hlc=self.hlc,
            seen=self.seen,
            sent_at_ms=self.sent_at_ms,
            waiting_since_ms=self.sent_at_ms if self.retried_at_ms is None else self.retried_at_ms,
            state=self.state,
            transmitted=self.transmitted,
            cancelling=self.cancelling,
            attempts=self.attempts,
            next_attempt_at_ms=self.next_attempt_at_ms,
            last_reason=self.last_reason,
            last_detail=self.last_detail,
            auto_returns=self.auto_returns,
        )

    def as_letter(self, letter: Letter) -> LetterRecord:
        """Return it as the core loads it while it is a dead letter."""
        return LetterRecord(
            peer=self.peer,
            message_id=self.id,
            seq=self.seq,
            body=self.body,
            hlc=self.hlc,
            seen=self.seen,
            sent_at_ms=self.sent_at_ms,
            reason=letter.reason,
            detail=letter.detail,
            attempts=letter.attempts,
            peer_has_it=letter.peer_has_it,
            transmitted=self.transmitted,
            auto_returns=self.auto_returns,
            moved_at_ms=letter.moved_at_ms,
        )


class Letter(msgspec.Struct, frozen=True):
    """What is known of a dead letter beside its message."""

    reason: Reason
    detail: str
    attempts: int
    peer_has_it: PeerHasIt
    moved_at_ms: int


class StoredNotice(msgspec.Struct, frozen=True):
    """A stored event; ``message`` is the key of the message that it is about."""

    event_id: int
    notice: Notice
    message: int | None


class Tables:
    """Everything that a store in memory keeps.

    ``ids`` maps (id, author) to a message's key, or to None when its history was forgotten; the author of ours is None.
    ``order`` has the sorted (place, key) of each conversation. ``waiting``, ``unread`` and ``untold`` are sets of keys,
    as dictionaries because those have an order of their own.
    """

    def __init__(self) -> None:
        self.devices: dict[DeviceId, Device] = {}
        self.peers: dict[DeviceId, Peer] = {}
        self.messages: dict[int, Message] = {}
        self.ids: dict[tuple[MessageId, DeviceId | None], int | None] = {}
        self.order: dict[DeviceId, list[tuple[int, int]]] = {}
        self.waiting: dict[int, None] = {}
        self.unread: dict[DeviceId, dict[int, None]] = {}
        self.untold: dict[int, None] = {}
        self.letters: dict[int, Letter] = {}
        self.events: list[StoredNotice] = []
        self.last_event = 0
        self.owner: DeviceId | None = None
        self.last_message = 0

    def copy(self) -> Tables:
        """Return tables that change on their own from here on."""
        other = Tables()
        other.devices = self.devices.copy()
        other.peers = self.peers.copy()
        other.messages = self.messages.copy()
        other.ids = self.ids.copy()
        other.order = {peer: places.copy() for peer, places in self.order.items()}
        other.waiting = self.waiting.copy()
        other.unread = {peer: keys.copy() for peer, keys in self.unread.items()}
        other.untold = self.untold.copy()
        other.letters = self.letters.copy()
        other.events = self.events.copy()
        other.last_event = self.last_event
        other.owner = self.owner
        other.last_message = self.last_message
        return other

    def add(self, message: Message) -> None:
        """Insert a new message everywhere it belongs."""
        key, peer = message.key, message.peer
        self.messages[key] = message
        self.ids[message.id, None if message.out else peer] = key
        insort(self.order[peer], (message.place, key))
        if message.out:
            self.waiting[key] = None
        else:
            self.unread[peer][key] = None
        self.last_message = key

    def change(self, message: Message, **fields: object) -> Message:
        """Replace a message by one with other fields, and return that."""
        new = msgspec.structs.replace(message, **fields)
        self.messages[new.key] = new
        return new

    def place_of(self, peer: DeviceId, message_id: MessageId) -> tuple[int, int] | None:
        """Return where a message stands in a conversation; ours, if the peer used the same id."""
        for author in (None, peer):
            key = self.ids.get((message_id, author))
            if key is not None and self.messages[key].peer == peer:
                return self.messages[key].place, key
        return None

    def peer_record(self, peer: DeviceId) -> PeerRecord:
        """Return a peer as the core loads it."""
        device, row = self.devices[peer], self.peers.get(peer, FORGOTTEN)
        return PeerRecord(
            peer=peer,
            name=row.name,
            alias=row.alias,
            trust=row.trust,
            addresses=row.addresses,
            next_seq=device.next_seq,
            applied=device.applied,
            last_seq=device.last_seq,
            acked=device.acked,
            settled_seq=device.settled_seq,
            last_incoming=device.last_incoming,
            last_incoming_hlc=device.incoming_hlc,
            last_seen_ms=row.last_seen_ms,
            last_linked_ms=row.last_linked_ms,
            stranger_messages=row.stranger_messages,
            stranger_bytes=row.stranger_bytes,
        )
