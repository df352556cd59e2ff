"""From rows, views and notices to what the local API shows. Everything here is pure but for :func:`wall_ms`.

Message ids become 32 hexadecimal digits, enums their words. Texts stay as they came: clients clean them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from p2pchat.api import types as t
from p2pchat.core.effects import Notify
from p2pchat.core.records import LetterRecord
from p2pchat.core.views import PeerView, WaitingView
from p2pchat.model import DeviceId, Direction, MessageId, clean
from p2pchat.store.notices import Recorded
from p2pchat.store.rows import MessageDetailRow, MessageRow

PREVIEW_CHARS: Final = 200


def wall_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def peer(view: PeerView, unread: int, last: MessageRow | None) -> t.Peer:
    """One peer; ``last`` is the last message of its conversation."""
    return t.Peer(
        device_id=view.peer,
        name=view.name,
        own_name=view.own_name,
        alias=view.alias,
        presence=view.presence.value,
        trust=view.trust.value,
        addresses=[str(address) for address in view.addresses],
        rtt_ms=view.rtt_ms,
        clock_offset_ms=view.clock_offset_ms,
        pending=view.pending,
        dead_letters=view.dead_letters,
        unread=unread,
        last_seen_ms=view.last_seen_ms,
        mode=view.mode,
        detail=view.detail,
        last_message_at_ms=None if last is None else _happened_ms(last),
        last_message=None if last is None else clean(last.body[: PREVIEW_CHARS + 1], PREVIEW_CHARS, newlines=True),
    )


def _happened_ms(row: MessageRow) -> int:
    return row.received_at_ms if row.direction is Direction.IN and row.received_at_ms else row.sent_at_ms


def message(row: MessageRow, own_id: DeviceId, own_name: str, peer_name: str) -> t.Message:
    """One message of the history."""
    return t.Message(**_message_fields(row, own_id, own_name, peer_name))


def _message_fields(row: MessageRow, own_id: DeviceId, own_name: str, peer_name: str) -> dict[str, Any]:
    ours = row.direction is Direction.OUT
    return {
        "message_id": row.message_id.hex(),
        "peer": row.peer,
        "direction": row.direction.value,
        "author": own_id if ours else row.peer,
        "author_name": own_name if ours else peer_name,
        "body": row.body,
        "state": row.state.value,
        "sent_at_ms": row.sent_at_ms,
        "received_at_ms": row.received_at_ms,
        "read_at_ms": row.read_at_ms,
        "seq": row.seq,
        "cancelling": row.cancelling,
    }


def detail(
    row: MessageDetailRow, waiting: WaitingView | None, own_id: DeviceId, own_name: str, peer_name: str
) -> t.MessageDetail:
    """One message and its way; ``waiting`` is the node's picture of it while it waits."""
    attempts, next_ms, error = 0, None, None
    if row.letter is not None:
        attempts, error = row.letter.attempts, row.letter.detail or row.letter.reason.value
    elif waiting is not None:
        attempts, next_ms, error = waiting.attempts, waiting.next_attempt_at_ms, waiting.last_error
    elif row.waiting is not None:
        attempts, next_ms, error = row.waiting.attempts, row.waiting.next_attempt_at_ms, row.waiting.last_detail or None
    return t.MessageDetail(
        **_message_fields(row.message, own_id, own_name, peer_name),
        states=[t.StateAt(state=state.value, at_ms=at_ms) for state, at_ms in row.states],
        attempts=attempts,
        next_attempt_at_ms=next_ms,
        last_error=error,
        waiting_for=None if waiting is None else waiting_for(waiting),
    )


def outbox_entry(view: WaitingView, peer_name: str) -> t.OutboxEntry:
    """A message that is not delivered yet, and why."""
    return t.OutboxEntry(
        message_id=view.message_id.hex(),
        peer=view.peer,
        peer_name=peer_name,
        body=view.body,
        state=view.state.value,
        attempts=view.attempts,
        next_attempt_at_ms=view.next_attempt_at_ms,
        last_error=view.last_error,
        waiting_for=waiting_for(view),
        sent_at_ms=view.sent_at_ms,
    )


def waiting_for(view: WaitingView) -> str:
    """What a message waits for, with the time that the core leaves to us: it knows no time zones."""
    if view.silent_since_ms is None:
        return view.waiting_for
    since = time.localtime(view.silent_since_ms / 1000)
    today = time.localtime()
    form = "%H:%M" if since[:3] == today[:3] else "%Y-%m-%d %H:%M"
    return view.waiting_for.replace("{since}", time.strftime(form, since))


def letter(record: LetterRecord, peer_name: str) -> t.Letter:
    """A dead letter."""
    return t.Letter(
        message_id=record.message_id.hex(),
        peer=record.peer,
        peer_name=peer_name,
        reason=record.reason.value,
        peer_has_it=record.peer_has_it.value,
        last_error=record.detail or record.reason.value,
        attempts=record.attempts,
        moved_at_ms=record.moved_at_ms,
        sent_at_ms=record.sent_at_ms,
        body=record.body,
    )


def hexes(message_ids: tuple[MessageId, ...]) -> list[str]:
    """Message ids as the API shows them."""
    return [message_id.hex() for message_id in message_ids]


# --- events -----------------------------------------------------------------------------------------------------


def recorded(event: Recorded, peer_name: str) -> dict[str, Any]:
    """A stored event as one flat object."""
    flat: dict[str, Any] = {"event_id": event.event_id, "at_ms": event.at_ms, "event": event.name}
    if event.peer is not None:
        flat["peer"] = event.peer
        flat["peer_name"] = peer_name
    if event.message_id is not None:
        flat["message_id"] = event.message_id.hex()
        flat["direction"] = Direction.IN.value if event.name == "message:received" else Direction.OUT.value
    flat.update(event.detail)
    if event.body is not None:
        flat["body"] = event.body
    return flat


def notice(event: Notify, name_of: Callable[[DeviceId], str]) -> dict[str, Any]:
    """Something that is not stored as one flat object."""
    flat: dict[str, Any] = {"event_id": None, "at_ms": event.at_ms, "event": event.name}
    if event.peer is not None:
        flat["peer"] = event.peer
        flat["peer_name"] = name_of(event.peer)
    if event.message_id is not None:
        flat["message_id"] = event.message_id.hex()
    flat.update(event.detail)
    return flat
