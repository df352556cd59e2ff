"""What a node is made from: the records that the store loads at start. History is not among them."""

from __future__ import annotations

from dataclasses import dataclass, field

from p2pchat.model import Address, DeviceId, MessageId, PeerHasIt, Reason, State, Trust


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """A stored peer with its counters; of a forgotten one (trust ``seen``) only the counters.

    Attributes:
        name: what the peer calls itself; ``alias`` what our user calls it (empty: nothing).
        addresses: proven ones, the latest first.
        next_seq: the number that our next event to it gets (1 at first).
        applied: how many of its events were ever applied here; ``last_seq`` the highest number among them.
        acked: how many of our events it ever acknowledged; ``settled_seq`` the highest number among them.
        last_incoming: its message with the highest clock, which is ``last_incoming_hlc``.
        stranger_messages, stranger_bytes: what it sent in while its trust was ``request``.
    """

    peer: DeviceId
    name: str
    alias: str
    trust: Trust
    addresses: tuple[Address, ...] = ()
    next_seq: int = 1
    applied: int = 0
    last_seq: int = 0
    acked: int = 0
    settled_seq: int = 0
    last_incoming: MessageId | None = None
    last_incoming_hlc: int = 0
    last_seen_ms: int | None = None
    last_linked_ms: int | None = None
    stranger_messages: int = 0
    stranger_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WaitingRecord:
    """A message of ours that is pending or sent (with ``cancelling``: being taken back)."""

    peer: DeviceId
    message_id: MessageId
    seq: int
    body: str
    hlc: int
    seen: MessageId | None
    sent_at_ms: int
    waiting_since_ms: int
    state: State
    transmitted: bool
    cancelling: bool = False
    attempts: int = 0
    next_attempt_at_ms: int | None = None
    last_reason: Reason | None = None
    last_detail: str = ""
    auto_returns: int = 0


@dataclass(frozen=True, slots=True)
class LetterRecord:
    """A dead letter; ``seq`` is the number that its message had."""

    peer: DeviceId
    message_id: MessageId
    seq: int
    body: str
    hlc: int
    seen: MessageId | None
    sent_at_ms: int
    reason: Reason
    detail: str
    attempts: int
    peer_has_it: PeerHasIt
    transmitted: bool
    auto_returns: int
    moved_at_ms: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that a node needs of the store; history is not in it.

    Attributes:
        waiting: in order of ``seq`` within each peer.
        untold_reads: per peer, ids that we read and that the peer has not acknowledged to know.
        hlc: the highest clock or place stored.
    """

    peers: tuple[PeerRecord, ...] = ()
    waiting: tuple[WaitingRecord, ...] = ()
    letters: tuple[LetterRecord, ...] = ()
    untold_reads: dict[DeviceId, tuple[MessageId, ...]] = field(default_factory=dict)
    hlc: int = 0
