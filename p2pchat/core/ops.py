"""What a node asks the store to do, and what the store answers; ``records.py`` has what is loaded at start.

Operations are data. ``store/`` applies them in the order in which they were persisted, any number in one
transaction; the in-memory twin applies the very same ones. An operation is **durable** (somebody waits for it: it
forces a commit) or **lazy** (it promises nothing: it rides with the next commit, or waits for the flush interval).
``Persist.lazy`` says which; an operation type is not one or the other by nature.

Every operation that changes a message or a peer also appends the *notice* that reports it to the event log, in the
same transaction (``store/notices.py`` has the table of names and fields). An operation whose condition does not
hold changes nothing, appends nothing and is no error.
"""

from __future__ import annotations

from dataclasses import dataclass

from p2pchat.model import Address, DeviceId, MessageId, PeerHasIt, Reason, State, Trust

# --- messages that go out ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InsertOutgoing:
    """Store a new message of ours as pending, unless its id is known. Outcome: ``OutgoingStored``.

    Its place in the conversation is ``max(hlc, highest place in the conversation + 1)``.
    Notice ``message:queued``.

    Attributes:
        seq: its number in our stream to this peer.
        hlc: our hybrid logical clock, ``milliseconds << 16 | counter``.
        seen: of the peer's messages that we had applied, the one with the highest clock, or None. So what an author
            has seen never goes back, not even when an old message arrives late.
        transmitted: it may have left this device the moment that this is committed (written ahead).
    """

    peer: DeviceId
    message_id: MessageId
    seq: int
    body: str
    hlc: int
    seen: MessageId | None
    sent_at_ms: int
    transmitted: bool


@dataclass(frozen=True, slots=True)
class QueryOutgoing:
    """Ask what became of a message of ours. Outcome: ``OutgoingKnown``. Changes nothing."""

    peer: DeviceId
    message_id: MessageId
    body: str


@dataclass(frozen=True, slots=True)
class MarkTransmitted:
    """Write ahead that these messages may have left this device. No notice."""

    message_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class MarkSent:
    """pending → sent (others are left alone). Notice ``message:sent`` for each that moved."""

    message_ids: tuple[MessageId, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class MarkDelivered:
    """pending, sent, failed or being cancelled → delivered; a dead letter of that id is removed.

    Also adds the number that moved to the peer's count of acknowledged events. A message that was still pending
    gets ``sent`` at ``sent_at_ms`` first (notices ``message:sent``, then ``message:delivered``).

    Attributes:
        sent_at_ms: for each id, when it was handed to the link, or None if its sent mark is stored already.
    """

    peer: DeviceId
    message_ids: tuple[MessageId, ...]
    sent_at_ms: tuple[int | None, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class MarkReadByPeer:
    """delivered → read for our messages to this peer; ids that are not ours to this peer are ignored.

    Notice ``message:read`` with the times of the four states.
    """

    peer: DeviceId
    message_ids: tuple[MessageId, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class RecordAttempt:
    """Note a failed attempt of a waiting message. Notice ``retry:scheduled``."""

    message_id: MessageId
    attempts: int
    next_attempt_at_ms: int
    reason: Reason
    detail: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class ResetAttempts:
    """Forget the failed attempts of a waiting message. No notice."""

    message_id: MessageId


@dataclass(frozen=True, slots=True)
class MoveToDeadLetters:
    """pending or sent → failed, with a dead letter. Notice ``message:moved-to-dlq``."""

    peer: DeviceId
    message_id: MessageId
    reason: Reason
    detail: str
    attempts: int
    peer_has_it: PeerHasIt
    at_ms: int


@dataclass(frozen=True, slots=True)
class ReviveLetter:
    """failed → pending under the new number ``seq``; the dead letter goes. Notice ``message:retried``.

    ``sent_at_ms`` and the place of the message stay; its clock of waiting starts at ``at_ms``.

    Attributes:
        seen: what its event says from now on that we had seen; one that goes to the end of the line has seen more
            than when it was written.
    """

    peer: DeviceId
    message_id: MessageId
    seq: int
    auto: bool
    auto_returns: int
    at_ms: int
    seen: MessageId | None


@dataclass(frozen=True, slots=True)
class SettleLetters:
    """The peer does not have these dead letters: ``peer_has_it`` becomes ``no``. Notice ``message:settled``."""

    message_ids: tuple[MessageId, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class RemoveLetters:
    """Purge dead letters: the letters go; the messages stay in the history as failed. Notice ``message:purged``."""

    message_ids: tuple[MessageId, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class BeginCancel:
    """A message that may have left is being taken back: it leaves the line; the peer is asked.

    Notice ``message:cancelling``.
    """

    peer: DeviceId
    message_id: MessageId
    at_ms: int


@dataclass(frozen=True, slots=True)
class FinishCancel:
    """pending or sent → cancelled. Notice ``message:cancelled``."""

    peer: DeviceId
    message_ids: tuple[MessageId, ...]
    at_ms: int


# --- messages that come in --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApplyIncoming:
    """Store an event of a peer unless its (author, id) was ever applied. Outcome: ``IncomingApplied``.

    Adds to the peer's counters (applied events, highest number). Its place in the conversation is
    ``core.clock.place``, between its author's previous and next message by number. Notice ``message:received`` if it
    was new.
    """

    peer: DeviceId
    message_id: MessageId
    seq: int
    body: str
    hlc: int
    seen: MessageId | None
    sent_at_ms: int
    received_at_ms: int


@dataclass(frozen=True, slots=True)
class MarkReadByUs:
    """Our user read everything of ``peer`` up to ``up_to`` (None: all). Outcome: ``ReadByUs``.

    Notice ``message:read`` for each.

    ``tell`` says whether the peer is to be told (then the ids stay in ``Snapshot.untold_reads`` until ``ReadTold``).
    """

    peer: DeviceId
    up_to: MessageId | None
    at_ms: int
    tell: bool


@dataclass(frozen=True, slots=True)
class ReadTold:
    """The peer acknowledged that it knows that we read these. No notice."""

    peer: DeviceId
    message_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class QueryApplied:
    """Ask which of these ids of ``peer`` were ever applied here. Outcome: ``AppliedKnown``. Changes nothing."""

    peer: DeviceId
    message_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class QueryStream:
    """Ask for our events to ``peer`` numbered first..last that were not given up. Outcome: ``StreamFound``.

    Changes nothing. At most 256 rows, in order of their number.
    """

    peer: DeviceId
    first: int
    last: int


# --- peers and the rest -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UpsertPeer:
    """Store or change a peer (never its counters). Notice ``peer:changed``."""

    peer: DeviceId
    name: str
    alias: str
    trust: Trust
    at_ms: int


@dataclass(frozen=True, slots=True)
class RememberAddress:
    """This address led to this peer (proven by its key) at ``at_ms``; the newest 8 are kept.

    Ignored for peers that are not stored. No notice.
    """

    peer: DeviceId
    address: Address
    at_ms: int


@dataclass(frozen=True, slots=True)
class NotePresence:
    """A stored or seen peer's presence changed. Updates last seen (and last linked) of stored peers.

    Notice ``device:status-changed``.
    """

    peer: DeviceId
    name: str
    presence: str
    linked: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class ForgetPeer:
    """Remove a peer, its history, letters and waiting messages. Notice ``peer:forgotten``.

    The ids of its applied events and the counters of its stream stay for ever.
    """

    peer: DeviceId
    at_ms: int


@dataclass(frozen=True, slots=True)
class NoteStream:
    """Something about a stream that people should see: a hole, or a peer restored from a copy.

    Notice ``stream:<what>``.
    """

    peer: DeviceId
    what: str
    detail: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class AdoptIdentity:
    """This store belongs to this device. No notice.

    If it belonged to another (a new identity was made), what peers acknowledged to that one says nothing about this
    one: ``acked`` and ``settled_seq`` of all of them become 0. The shell persists it once, before it loads.
    """

    device: DeviceId


Op = (
    InsertOutgoing
    | QueryOutgoing
    | MarkTransmitted
    | MarkSent
    | MarkDelivered
    | MarkReadByPeer
    | RecordAttempt
    | ResetAttempts
    | MoveToDeadLetters
    | ReviveLetter
    | SettleLetters
    | RemoveLetters
    | BeginCancel
    | FinishCancel
    | ApplyIncoming
    | MarkReadByUs
    | ReadTold
    | QueryApplied
    | QueryStream
    | UpsertPeer
    | RememberAddress
    | NotePresence
    | ForgetPeer
    | NoteStream
    | AdoptIdentity
)


# --- outcomes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutgoingStored:
    """``inserted`` is False when the id was known.

    Then ``state`` and ``same`` (same peer and body) tell about the old one.
    """

    peer: DeviceId
    message_id: MessageId
    inserted: bool
    state: State
    same: bool = True


@dataclass(frozen=True, slots=True)
class OutgoingKnown:
    """The state of a message by its id, None if there is none; ``same``: it has this peer and body."""

    message_id: MessageId
    state: State | None
    same: bool


@dataclass(frozen=True, slots=True)
class IncomingApplied:
    """``applied`` is False for a duplicate."""

    peer: DeviceId
    message_id: MessageId
    applied: bool


@dataclass(frozen=True, slots=True)
class ReadByUs:
    """The ids that became read by this operation, oldest first."""

    peer: DeviceId
    message_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class AppliedKnown:
    """The ids asked for, parted into those that were ever applied here and the others."""

    has: tuple[MessageId, ...]
    lacks: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One of our stored events, as it goes on the wire."""

    message_id: MessageId
    seq: int
    body: str
    hlc: int
    seen: MessageId | None
    sent_at_ms: int


@dataclass(frozen=True, slots=True)
class StreamFound:
    """Our events in the range asked for that were not given up, in order."""

    events: tuple[StoredEvent, ...]


Outcome = OutgoingStored | OutgoingKnown | IncomingApplied | ReadByUs | AppliedKnown | StreamFound
