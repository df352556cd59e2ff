"""The line of messages to one peer: what is in flight, what waits, who is charged, when the next try is.

A line is two queues: ``flying`` (handed to the live link, unacknowledged) and, behind it, ``waiting``. Their order is
the author's order. Links dial, messages never do; a message only learns that a link is there.

=========================== ==========================================================================
what happened               what it costs
=========================== ==========================================================================
acknowledged                the message is delivered; nobody's count survives
no ack for 10 s             the head is charged one attempt
link ended with it in flight the head is charged from the second such link in a row
refused for now             the head is charged; one behind it is sent again when its turn comes
dial answered, then failed  the head is charged, unless its next try is not due yet
dial not answered           nothing: absent is not failed
refused for good            dead letter at once
hold                        nothing: what was in flight waits again
=========================== ==========================================================================

After a charge everything in flight waits again and the head goes alone until something is acknowledged, so that a
poison message hurts nobody else. Dead-lettering is stored before anything behind it is transmitted, because the
frames behind it are promises (see ledger.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import takewhile
from typing import Final

import msgspec

from p2pchat.core.context import Context
from p2pchat.core.effects import JSONValue, Notify, Transmit
from p2pchat.core.inputs import Now
from p2pchat.core.item import DeadLettered, Item, event_of
from p2pchat.core.ops import MarkSent, MarkTransmitted, MoveToDeadLetters, RecordAttempt, ResetAttempts
from p2pchat.core.records import WaitingRecord
from p2pchat.model import PERMANENT, DeviceId, LinkId, MessageId, PeerHasIt, Reason, State
from p2pchat.wire import Events, encode, encode_event
from p2pchat.wire import Notify as NotifyFrame

SENT_MARK_DELAY_S: Final = 0.2
"""How long an acknowledgement may take before the sent tick is stored on its own."""

FRAME_EVENTS: Final = 128
FRAME_BYTES: Final = 256 * 1024


class Line:
    """The undelivered messages to one peer."""

    def __init__(
        self,
        context: Context,
        peer: DeviceId,
        next_seq: int,
        settled_seq: int,
        buried: Callable[[DeadLettered, Now], None],
    ) -> None:
        """Make an empty line.

        Args:
            next_seq: the number of the next new message.
            settled_seq: the highest number that was ever delivered.
            buried: called for each message that is given up, in the same step.
        """
        self.peer = peer
        self.next_seq = next_seq
        self.link: LinkId | None = None
        self.realtime = True
        self.hold = ""
        self.alone = False
        self.flying: OrderedDict[MessageId, Item] = OrderedDict()
        self.waiting: OrderedDict[MessageId, Item] = OrderedDict()
        self.staged = 0
        self.given_up = 0
        self._flying_bytes = 0
        self._answered_at_s = float("-inf")
        self._settled_seq = settled_seq
        self._poll_open = False
        self._context = context
        self._buried = buried

    def __len__(self) -> int:
        return len(self.flying) + len(self.waiting) + self.staged

    @property
    def head(self) -> Item | None:
        """The message whose turn it is."""
        queue = self.flying or self.waiting
        return next(iter(queue.values())) if queue else None

    def items(self) -> Iterable[Item]:
        """All stored messages of the line, in order."""
        yield from self.flying.values()
        yield from self.waiting.values()

    def get(self, message_id: MessageId) -> Item | None:
        """Return one of the line's messages."""
        return self.flying.get(message_id) or self.waiting.get(message_id)

    def touch(self) -> None:
        """Something changed: the line is pumped at the end of this step."""
        self._context.touched[self.peer] = self

    # --- filling ------------------------------------------------------------------------------------------------

    def restore(self, record: WaitingRecord, now: Now) -> None:
        """Take over a message from the store."""
        item = Item(
            peer=record.peer,
            message_id=record.message_id,
            seq=record.seq,
            body=record.body,
            hlc=record.hlc,
            seen=record.seen,
            sent_at_ms=record.sent_at_ms,
            waiting_since_ms=record.waiting_since_ms,
            state=record.state,
            transmitted=record.transmitted,
            copies=int(record.transmitted),
            attempts=record.attempts,
            next_attempt_at_ms=record.next_attempt_at_ms,
            reason=record.last_reason,
            detail=record.last_detail,
            auto_returns=record.auto_returns,
        )
        if record.next_attempt_at_ms is not None:
            wait_s = (record.next_attempt_at_ms - now.wall_ms) / 1000
            item.retry_at_s = now.mono_s + min(max(0.0, wait_s), self._context.policy.max_retry_delay_s)
        self.waiting[item.message_id] = item
        self.alone = self.alone or item.attempts > 0
        self._watch_expiry(item, now)

    def draw_seq(self) -> int:
        """Return the number of the next new message."""
        self.next_seq += 1
        return self.next_seq - 1

    def goes_at_once(self) -> bool:
        """Tell whether a message that is stored now would be transmitted right after its commit."""
        return (
            self.link is not None
            and self.realtime
            and not self.hold
            and not self.alone
            and not self.waiting
            and len(self.flying) + self.staged < self._context.policy.window_events
            and self._flying_bytes < self._context.policy.window_bytes // 2
        )

    def append(self, item: Item, now: Now) -> None:
        """Put a stored message at the end of the line."""
        self.touch()
        self.waiting[item.message_id] = item
        self._watch_expiry(item, now)

    def insert_returned(self, items: list[Item], now: Now) -> None:
        """Put returning letters before everything that was never transmitted, in their original order."""
        rest = list(self.waiting.values())
        self.waiting.clear()
        # Not every transmitted one: the mark is written ahead, so it may stand behind one that never left.
        before = list(takewhile(lambda item: item.transmitted, rest))
        for item in before + sorted(items, key=lambda item: item.seq) + rest[len(before) :]:
            self.waiting[item.message_id] = item
        for item in items:
            self._watch_expiry(item, now)

    def remove(self, message_id: MessageId) -> Item | None:
        """Take a message out of the line, wherever it is."""
        item = self.flying.pop(message_id, None)
        if item is None:
            return self.waiting.pop(message_id, None)
        self._flying_bytes -= item.size_bytes
        self._watch_ack()
        return item

    def give_up(self, item: Item, now: Now) -> None:
        """Take a message out for good; what stands behind it may go at once."""
        self.touch()
        self.mark_sent(now)
        self.remove(item.message_id)
        self.given_up += 1
        if item.attempts:
            self.alone = False

    def clear(self, now: Now) -> None:
        """Drop everything: the peer was forgotten."""
        self.link_down(now, charge=False)
        self.waiting.clear()
        self.given_up += 1
        self.alone = False
        for kind in ("retry", "expiry", "sent"):
            self._context.timers.cancel((kind, self.peer))

    # --- the link -----------------------------------------------------------------------------------------------

    def link_up(self, link: LinkId, realtime: bool, now: Now) -> None:
        """A link is there, or a better one: everything unacknowledged goes on it, oldest first."""
        self.requeue()
        self.link, self.realtime, self.hold, self._poll_open = link, realtime, "", False
        self.evidence(now)

    def link_down(self, now: Now, *, charge: bool) -> None:
        """The link is gone. ``charge`` is False when it ended in good order."""
        self.mark_sent(now)
        self.link = None
        head = next(iter(self.flying.values()), None)
        self.requeue()
        if head is not None and charge:
            head.lost_links += 1
            if head.lost_links >= 2:
                self.charge(head, Reason.LINK_LOST, "the link ended before the acknowledgement", now)

    def evidence(self, now: Now) -> None:
        """The peer is alive: the head need not wait for its next try."""
        self.touch()
        head = self.head
        if head is not None:
            head.retry_at_s = min(head.retry_at_s, now.mono_s)

    def set_hold(self, reason: str, now: Now) -> None:
        """The peer takes no events now (or, with an empty reason, takes them again)."""
        if reason and not self.hold:
            self.mark_sent(now)
            self.requeue()
        self.hold = reason
        self.touch()

    def polled(self) -> None:
        """The peer asks for what waits."""
        self._poll_open = True
        self.touch()

    def requeue(self) -> None:
        """What is in flight waits again, in order."""
        self.touch()
        for item in reversed(self.flying.values()):
            self.waiting[item.message_id] = item
            self.waiting.move_to_end(item.message_id, last=False)
        self.flying.clear()
        self._flying_bytes = 0
        self._context.timers.cancel(("ack", self.peer))

    # --- sending ------------------------------------------------------------------------------------------------

    def pump(self, now: Now) -> None:
        """Transmit what may be transmitted."""
        open_ = self.realtime or self._poll_open
        if self.link is None or self.hold or not open_ or self._context.ledger.frozen:
            return
        batch: list[Item] = []
        while self.waiting and self._may_fly(next(iter(self.waiting.values())), now):
            _, item = self.waiting.popitem(last=False)
            self.flying[item.message_id] = item
            self._flying_bytes += item.size_bytes
            item.flown_at_s = None
            batch.append(item)
        if batch:
            self._transmit(batch, now)
        elif not self.flying and not self.waiting:
            self._poll_open = False

    def _may_fly(self, item: Item, now: Now) -> bool:
        if not self.flying:
            if item.attempts and now.mono_s < item.retry_at_s:
                self._context.timers.set(("retry", self.peer), item.retry_at_s)
                return False
            return True
        policy = self._context.policy
        fits = self._flying_bytes + item.size_bytes <= policy.window_bytes
        return not self.alone and fits and len(self.flying) < policy.window_events

    def _transmit(self, batch: list[Item], now: Now) -> None:
        unmarked = tuple(item.message_id for item in batch if not item.transmitted)
        if unmarked:
            self._context.ledger.persist(MarkTransmitted(unmarked))
        first = batch[0]
        if first.attempts:
            self._notify("retry:attempt", now, first.message_id, {"attempt": first.attempts + 1})
        before = self._before(first)
        chunk: list[Item] = []
        events: list[msgspec.Raw] = []
        size = 0
        for item in batch:
            item.transmitted = True
            item.copies += 1
            events.append(encode_event(event_of(item, before if before < item.seq else 0)))
            before = max(before, item.seq)
            chunk.append(item)
            size += item.size_bytes
            if len(chunk) >= FRAME_EVENTS or size >= FRAME_BYTES or item is batch[-1]:
                self._hand_over(chunk, tuple(events), now)
                chunk, events, size = [], [], 0

    def _hand_over(self, chunk: list[Item], events: tuple[msgspec.Raw, ...], now: Now) -> None:
        assert self.link is not None
        link = self.link
        frame = NotifyFrame(events) if self.realtime else Events(events, more=bool(self.waiting))
        self._context.ledger.promise(Transmit(link, encode(frame)), now, lambda then: self._handed(link, chunk, then))

    def _handed(self, link: LinkId, chunk: list[Item], now: Now) -> None:
        """The frame left: start the clocks of its messages, unless the link changed meanwhile."""
        if link != self.link:
            return
        for item in chunk:
            item.flown_at_s = now.mono_s
            if item.state is State.PENDING and item.handed_at_ms is None:
                item.handed_at_ms = now.wall_ms
        self._watch_ack()
        self._context.timers.hasten(("sent", self.peer), now.mono_s + SENT_MARK_DELAY_S)
        self._notify("sync:notification-sent", now, None, {"events": len(chunk)})

    def mark_sent(self, now: Now) -> None:
        """Store the sent ticks of what was handed over and is not acknowledged yet."""
        self._context.timers.cancel(("sent", self.peer))
        items = [item for item in self.items() if item.handed_at_ms is not None]
        if items and not self._context.ledger.frozen:
            for item in items:
                item.state, item.handed_at_ms = State.SENT, None
            self._context.ledger.persist(MarkSent(tuple(item.message_id for item in items), now.wall_ms))

    def _watch_ack(self) -> None:
        """The head has the ack timeout, counted from when its frame left or from the last answer."""
        key = ("ack", self.peer)
        head = next(iter(self.flying.values()), None)
        if head is None or head.flown_at_s is None:
            self._context.timers.cancel(key)
        else:
            since_s = max(head.flown_at_s, self._answered_at_s)
            self._context.timers.set(key, since_s + self._context.policy.ack_timeout_s)

    def _before(self, item: Item) -> int:
        """The highest number before the item that was not given up, as far as we know without asking the store."""
        others = takewhile(lambda other: other is not item, self.items())
        return max([self._settled_seq, *(other.seq for other in others)])

    # --- answers ------------------------------------------------------------------------------------------------

    def acked(self, message_ids: Iterable[MessageId], now: Now) -> tuple[list[MessageId], list[int | None]]:
        """Take out what the peer has; return the ids that were in the line, and when each was handed over
        (None: its sent tick is stored).
        """
        ids: list[MessageId] = []
        handed: list[int | None] = []
        for message_id in message_ids:
            item = self.remove(message_id)
            if item is None:
                continue
            self._settled_seq = max(self._settled_seq, item.seq)
            ids.append(message_id)
            handed.append(
                item.handed_at_ms if item.handed_at_ms is not None or item.state is State.SENT else now.wall_ms
            )
        if ids:
            self._progress(now)
        return ids, handed

    def _progress(self, now: Now) -> None:
        self.touch()
        self.alone = False
        head = self.head
        if head is not None:
            head.lost_links = 0
            if head.attempts:
                head.attempts, head.retry_at_s, head.next_attempt_at_ms = 0, 0.0, None
                self._context.ledger.note(ResetAttempts(head.message_id))
        self._answered_at_s = now.mono_s
        self._watch_ack()

    def refused(self, message_id: MessageId, reason: Reason, detail: str, now: Now) -> None:
        """The peer does not take this message, for good or for now."""
        item = self.get(message_id)
        if item is None:
            return
        if reason in PERMANENT:
            self._answered_at_s = now.mono_s
            self.bury(item, reason, detail, PeerHasIt.NO if item.copies <= 1 else PeerHasIt.UNKNOWN, now)
        elif item is next(iter(self.flying.values()), None):
            self.charge(item, Reason.REFUSED, detail, now)
        elif message_id in self.flying:
            self.requeue()
            self.alone = True

    def ack_overdue(self, now: Now) -> None:
        """The head was in flight for the whole ack timeout."""
        head = next(iter(self.flying.values()), None)
        if head is not None:
            wait_s = self._context.policy.ack_timeout_s
            detail = f"no acknowledgement within {wait_s:g} s on a live link"
            self._notify("sync:notification-failed", now, head.message_id, {"detail": detail})
            self.charge(head, Reason.NOT_ACKNOWLEDGED, detail, now)

    def dial_failed(self, reason: Reason, detail: str, now: Now) -> None:
        """The peer's host answered a dial, which failed all the same."""
        head = self.head
        if head is not None and now.mono_s >= head.retry_at_s:
            self.charge(head, reason, detail, now)

    def charge(self, item: Item, reason: Reason, detail: str, now: Now) -> None:
        """Charge the head one attempt: another try later, or the dead letters."""
        if self._context.ledger.frozen:
            return
        policy = self._context.policy
        self.mark_sent(now)
        self.requeue()
        item.attempts += 1
        item.reason, item.detail = reason, detail
        self._notify(
            "message:send-failed",
            now,
            item.message_id,
            {"attempts": item.attempts, "error": detail, "reason": reason.value},
        )
        if item.attempts >= max(1, policy.max_retries):
            unknown = PeerHasIt.UNKNOWN if item.transmitted else PeerHasIt.NO
            self.bury(item, reason, detail, unknown, now)
            return
        delay_s = min(policy.max_retry_delay_s, policy.base_retry_delay_s * 2.0 ** min(item.attempts - 1, 16))
        delay_s *= 1 + self._context.rng.uniform(-policy.retry_jitter, policy.retry_jitter)
        item.retry_at_s = now.mono_s + delay_s
        item.next_attempt_at_ms = now.wall_ms + round(delay_s * 1000)
        self.alone = True
        self._context.timers.set(("retry", self.peer), item.retry_at_s)
        self._context.ledger.note(
            RecordAttempt(item.message_id, item.attempts, item.next_attempt_at_ms, reason, detail, now.wall_ms)
        )

    def bury(self, item: Item, reason: Reason, detail: str, peer_has_it: PeerHasIt, now: Now) -> None:
        """Give a message up. What stands behind it may go at once."""
        self.give_up(item, now)
        self._context.ledger.persist(
            MoveToDeadLetters(self.peer, item.message_id, reason, detail, item.attempts, peer_has_it, now.wall_ms)
        )
        self._buried(DeadLettered(item, reason, detail, peer_has_it), now)

    def expire(self, now: Now) -> None:
        """Give up what waited longer than the retention; arm the timer for the next."""
        retention_ms = self._context.policy.retention_s * 1000
        for item in list(self.items()):
            if now.wall_ms - item.waiting_since_ms >= retention_ms:
                days = self._context.policy.retention_s / 86400
                unknown = PeerHasIt.UNKNOWN if item.transmitted else PeerHasIt.NO
                self.bury(item, Reason.EXPIRED, f"waited longer than {days:g} days", unknown, now)
        for item in self.items():
            self._watch_expiry(item, now)

    def _watch_expiry(self, item: Item, now: Now) -> None:
        policy = self._context.policy
        left_s = policy.retention_s - (now.wall_ms - item.waiting_since_ms) / 1000
        at_s = max(now.mono_s + left_s, self._context.started.mono_s + policy.min_uptime_for_expiry_s)
        self._context.timers.hasten(("expiry", self.peer), max(at_s, now.mono_s + 1.0))

    def _notify(self, name: str, now: Now, message_id: MessageId | None, detail: dict[str, JSONValue]) -> None:
        self._context.ledger.emit(Notify(name, now.wall_ms, self.peer, detail, message_id))
