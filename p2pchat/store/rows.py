"""What reading returns: immutable rows, ids in their raw form.

Waiting messages and dead letters are read in the form in which the core loads them
(:class:`~p2pchat.core.records.WaitingRecord`, :class:`~p2pchat.core.records.LetterRecord`).
"""

from __future__ import annotations

import msgspec

from p2pchat.core.records import LetterRecord, WaitingRecord
from p2pchat.model import DeviceId, Direction, MessageId, State


class MessageRow(msgspec.Struct, frozen=True):
    """One message of the history.

    Attributes:
        peer: whose conversation it is in; it is also the author of an incoming message.
        sent_at_ms: by the author's clock; for ours the time at which it became pending.
        handed_at_ms: ours: when it became sent.
        received_at_ms: incoming: when it was stored here; ours: when the peer acknowledged it.
        place: where it stands in the conversation (see :mod:`p2pchat.core.clock`).
    """

    message_id: MessageId
    peer: DeviceId
    direction: Direction
    body: str
    state: State
    sent_at_ms: int
    handed_at_ms: int | None
    received_at_ms: int | None
    read_at_ms: int | None
    seq: int
    cancelling: bool
    place: int


class MessageDetailRow(msgspec.Struct, frozen=True):
    """One message and its way.

    Attributes:
        states: the states that it went through and when, in their order. ``pending`` appears again after a retry;
            of several failures the last one is kept.
        waiting: for a message of ours that is pending or sent.
        letter: for a dead letter.
    """

    message: MessageRow
    states: tuple[tuple[State, int], ...]
    waiting: WaitingRecord | None
    letter: LetterRecord | None


class Counts(msgspec.Struct, frozen=True):
    """How much there is, in all."""

    peers: int
    messages: int
    waiting: int
    letters: int
    unread: int
    events: int


class Written(msgspec.Struct, frozen=True):
    """What a store has written since it was opened.

    Attributes:
        commits: transactions that changed something.
        fsyncs: how often the disk was made to write.
        bytes_written: what was handed to the file system.
    """

    commits: int = 0
    fsyncs: int = 0
    bytes_written: int = 0


def timeline(
    message: MessageRow, *, ended_at_ms: int | None, retried_at_ms: int | None
) -> tuple[tuple[State, int], ...]:
    """Put the times of a message in order; see :class:`MessageDetailRow`.

    Args:
        ended_at_ms: when it became failed or cancelled, the last time.
        retried_at_ms: when it went back from failed to pending, the last time.
    """
    revived = retried_at_ms is not None and ended_at_ms is not None and ended_at_ms <= retried_at_ms
    ended = State.CANCELLED if message.state is State.CANCELLED else State.FAILED
    steps: list[tuple[State, int | None]] = [
        (State.PENDING, message.sent_at_ms if message.direction is Direction.OUT else None),
        (State.FAILED, ended_at_ms if revived else None),
        (State.PENDING, retried_at_ms),
        (State.SENT, message.handed_at_ms),
        (ended, None if revived else ended_at_ms),
        (State.DELIVERED, message.received_at_ms),
        (State.READ, message.read_at_ms),
    ]
    return tuple((name, at_ms) for name, at_ms in steps if at_ms is not None)
