"""One undelivered message of ours, and its form on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from p2pchat.core.ops import StoredEvent
from p2pchat.model import DeviceId, MessageId, PeerHasIt, Reason, State
from p2pchat.wire import Event

_EVENT_OVERHEAD_BYTES: Final = 160


@dataclass(slots=True)
class Item:
    """One undelivered message of ours.

    Attributes:
        waiting_since_ms: start of its retention clock.
        retry_at_s: not before this moment (``mono_s``), while it has failed attempts.
        handed_at_ms: when it was handed to a link, while its sent mark is not stored.
        lost_links: links in a row that ended with it in flight at the head.
        copies: how many may have left: a refusal answers one of them, and another may be taken all the same.
        flown_at_s: when its frame left, while it is in flight; None: it waits for its commit.
    """

    peer: DeviceId
    message_id: MessageId
    seq: int
    body: str
    hlc: int
    seen: MessageId | None
    sent_at_ms: int
    waiting_since_ms: int
    state: State = State.PENDING
    transmitted: bool = False
    attempts: int = 0
    retry_at_s: float = 0.0
    next_attempt_at_ms: int | None = None
    reason: Reason | None = None
    detail: str = ""
    auto_returns: int = 0
    handed_at_ms: int | None = None
    lost_links: int = 0
    copies: int = 0
    flown_at_s: float | None = None

    @property
    def size_bytes(self) -> int:
        """About what it takes on the wire."""
        return len(self.body.encode("utf-8", "surrogatepass")) + _EVENT_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """A message left the line for good; the node makes a letter of it."""

    item: Item
    reason: Reason
    detail: str
    peer_has_it: PeerHasIt


def event_of(item: Item | StoredEvent, prev: int) -> Event:
    """Return a message as it goes on the wire; ``prev`` is the last number before it that was not given up."""
    return Event(
        id=item.message_id,
        seq=item.seq,
        prev=prev,
        hlc=item.hlc,
        sent_at_ms=max(0, item.sent_at_ms),
        kind="text",
        text=item.body,
        seen=item.seen,
    )


def stored_event(event: StoredEvent) -> Event:
    """Return an event of the history for the wire; it makes no claim about what came before it."""
    return event_of(event, 0)
