"""Events that are stored: one table of their names and fields, for every store.

An operation that changed something drafts a :class:`Notice`; the store numbers it and hands a :class:`Recorded` to
whoever listens. Replay makes the same :class:`Recorded` again. What the message itself says is not kept a second time:
its id, its text and, for ticks (:data:`TICKS`), the times, which :func:`tick_values` puts together both times.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

from p2pchat.core.ops import (
    ApplyIncoming,
    InsertOutgoing,
    MoveToDeadLetters,
    NotePresence,
    NoteStream,
    RecordAttempt,
    ReviveLetter,
    UpsertPeer,
)
from p2pchat.model import DeviceId, MessageId

Value = str | int | bool | None
"""One field of an event."""


class Kind(IntEnum):
    """What happened. The numbers are on disk: never reuse or renumber one."""

    QUEUED = 1
    SENT = 2
    DELIVERED = 3
    READ_BY_PEER = 4
    RECEIVED = 5
    READ_BY_US = 6
    RETRY_SCHEDULED = 7
    MOVED_TO_DLQ = 8
    RETRIED = 9
    SETTLED = 10
    PURGED = 11
    CANCELLING = 12
    CANCELLED = 13
    PRESENCE = 14
    PEER_CHANGED = 15
    PEER_FORGOTTEN = 16
    STREAM = 17


_TIMES: Final = ("pending_at_ms", "sent_at_ms", "delivered_at_ms", "latency_ms")

LAYOUTS: Final[dict[Kind, tuple[str, tuple[str, ...]]]] = {
    Kind.QUEUED: ("message:queued", ()),
    Kind.SENT: ("message:sent", ("pending_at_ms", "sent_at_ms")),
    Kind.DELIVERED: ("message:delivered", _TIMES),
    Kind.READ_BY_PEER: ("message:read", (*_TIMES, "read_at_ms", "direction")),
    Kind.RECEIVED: ("message:received", ("sent_at_ms", "received_at_ms")),
    Kind.READ_BY_US: ("message:read", ("sent_at_ms", "received_at_ms", "read_at_ms", "direction")),
    Kind.RETRY_SCHEDULED: ("retry:scheduled", ("attempts", "next_attempt_at_ms", "reason", "detail")),
    Kind.MOVED_TO_DLQ: ("message:moved-to-dlq", ("reason", "last_error", "attempts", "peer_has_it")),
    Kind.RETRIED: ("message:retried", ("auto", "auto_returns")),
    Kind.SETTLED: ("message:settled", ("peer_has_it",)),
    Kind.PURGED: ("message:purged", ()),
    Kind.CANCELLING: ("message:cancelling", ()),
    Kind.CANCELLED: ("message:cancelled", ()),
    Kind.PRESENCE: ("device:status-changed", ("presence", "name")),
    Kind.PEER_CHANGED: ("peer:changed", ("name", "alias", "trust")),
    Kind.PEER_FORGOTTEN: ("peer:forgotten", ()),
    Kind.STREAM: ("stream:", ("what", "detail")),
}
"""Kind → (name, fields in the order of ``Notice.values``). The name of a ``STREAM`` goes on with its ``what``."""

TICKS: Final = frozenset({Kind.SENT, Kind.DELIVERED, Kind.READ_BY_PEER, Kind.RECEIVED, Kind.READ_BY_US})
"""Events whose values are times of their message."""

WITH_BODY: Final = frozenset({Kind.QUEUED, Kind.RECEIVED})
"""Events that carry the text of their message."""


class Notice(msgspec.Struct, frozen=True, gc=False):
    """An event that has no number yet."""

    kind: Kind
    at_ms: int
    peer: DeviceId | None
    message_id: MessageId | None = None
    values: tuple[Value, ...] = ()
    body: str | None = None


class Recorded(msgspec.Struct, frozen=True):
    """A stored event. ``detail`` has the fields of its name; ``body`` is there for queued and received messages."""

    event_id: int
    at_ms: int
    name: str
    peer: DeviceId | None
    message_id: MessageId | None
    detail: dict[str, Value]
    body: str | None


def recorded(event_id: int, notice: Notice) -> Recorded:
    """Give a notice its number and its public form."""
    name, fields = LAYOUTS[notice.kind]
    detail = dict(zip(fields, notice.values, strict=True))
    if notice.kind is Kind.STREAM:
        name = f"{name}{detail.pop('what')}"
    return Recorded(event_id, notice.at_ms, name, notice.peer, notice.message_id, detail, notice.body)


_encode = msgspec.json.Encoder().encode
_decoder: Final = msgspec.json.Decoder(tuple[Value, ...])


def pack(notice: Notice) -> str | None:
    """Return the text to keep of a notice's values; None if its message has them, or if there are none."""
    return None if notice.kind in TICKS or not notice.values else _encode(notice.values).decode()


def unpack(text: str | None) -> tuple[Value, ...]:
    """Undo :func:`pack`, but for ticks.

    Raises:
        ValueError: the text is none of ours.
    """
    return () if text is None else _decoder.decode(text)


def tick_values(
    kind: Kind, at_ms: int, sent_at_ms: int, handed_at_ms: int | None, delivered_at_ms: int | None
) -> tuple[Value, ...]:
    """Return the values of a tick out of its own time and those of its message.

    Args:
        kind: one of :data:`TICKS`.
        at_ms: when the message reached the state that is told.
        sent_at_ms: the author's time; for ours that of pending.
        handed_at_ms: ours: when it became sent, if it ever did.
        delivered_at_ms: when it was stored at its addressee.
    """
    match kind:
        case Kind.SENT:
            return (sent_at_ms, at_ms)
        case Kind.RECEIVED:
            return (sent_at_ms, at_ms)
        case Kind.READ_BY_US:
            return (sent_at_ms, delivered_at_ms, at_ms, "in")
        case Kind.DELIVERED:
            return (sent_at_ms, handed_at_ms, at_ms, at_ms - sent_at_ms)
    assert kind is Kind.READ_BY_PEER
    latency_ms = None if delivered_at_ms is None else delivered_at_ms - sent_at_ms
    return (sent_at_ms, handed_at_ms, delivered_at_ms, latency_ms, at_ms, "out")


def tick(
    kind: Kind,
    at_ms: int,
    peer: DeviceId,
    message_id: MessageId,
    *,
    sent_at_ms: int,
    handed_at_ms: int | None = None,
    delivered_at_ms: int | None = None,
) -> Notice:
    """A message of ours or of ``peer`` reached a state."""
    values = tick_values(kind, at_ms, sent_at_ms, handed_at_ms, delivered_at_ms)
    return Notice(kind, at_ms, peer, message_id, values)


# --- one builder per event that takes more than a line ------------------------------------------------------------


def queued(op: InsertOutgoing) -> Notice:
    """A message of ours is on disk."""
    return Notice(Kind.QUEUED, op.sent_at_ms, op.peer, op.message_id, (), op.body)


def received(op: ApplyIncoming) -> Notice:
    """A message of a peer is on our disk."""
    at_ms = op.received_at_ms
    values = tick_values(Kind.RECEIVED, at_ms, op.sent_at_ms, None, at_ms)
    return Notice(Kind.RECEIVED, at_ms, op.peer, op.message_id, values, op.body)


def retry_scheduled(peer: DeviceId, op: RecordAttempt) -> Notice:
    """An attempt failed; the next one has its time."""
    values = (op.attempts, op.next_attempt_at_ms, op.reason.value, op.detail)
    return Notice(Kind.RETRY_SCHEDULED, op.at_ms, peer, op.message_id, values)


def moved_to_dlq(op: MoveToDeadLetters) -> Notice:
    """A message was given up."""
    values = (op.reason.value, op.detail, op.attempts, op.peer_has_it.value)
    return Notice(Kind.MOVED_TO_DLQ, op.at_ms, op.peer, op.message_id, values)


def retried(op: ReviveLetter) -> Notice:
    """A dead letter goes out again."""
    return Notice(Kind.RETRIED, op.at_ms, op.peer, op.message_id, (op.auto, op.auto_returns))


def presence(op: NotePresence) -> Notice:
    """A device came or went."""
    return Notice(Kind.PRESENCE, op.at_ms, op.peer, None, (str(op.presence), op.name))


def peer_changed(op: UpsertPeer) -> Notice:
    """A peer's names or trust are new."""
    return Notice(Kind.PEER_CHANGED, op.at_ms, op.peer, None, (op.name, op.alias, op.trust.value))


def stream(op: NoteStream) -> Notice:
    """Something about a stream that people should see."""
    return Notice(Kind.STREAM, op.at_ms, op.peer, None, (op.what, op.detail))
