"""Where a message is and why, in words: the views that clients show. Everything here only reads."""

from __future__ import annotations

from typing import Final

from p2pchat.core.context import Context
from p2pchat.core.inputs import Now
from p2pchat.core.item import Item
from p2pchat.core.letters import Letters
from p2pchat.core.peers import Peer
from p2pchat.core.session import SKEW_WORTH_TELLING_MS
from p2pchat.core.views import PeerView, WaitingView
from p2pchat.model import Trust

HOLDS: Final = {
    "not_accepted": "has not accepted you yet; goes out when you are accepted",
    "storage_failed": "cannot store messages now (disk); goes out when that is mended",
}


def peer(one: Peer, letters: Letters, context: Context, now: Now) -> PeerView:
    """Describe one peer."""
    session = one.session
    mode = "" if session is None else ("realtime" if session.realtime else "polling")
    return PeerView(
        peer=one.id,
        name=one.label,
        own_name=one.name,
        alias=one.alias,
        trust=one.trust,
        presence=one.presence,
        addresses=one.addresses(),
        rtt_ms=None if session is None else session.rtt_ms,
        clock_offset_ms=None if session is None else session.clock_offset_ms,
        pending=len(one.line) + len(letters.cancels(one.id)),
        dead_letters=letters.count(one.id),
        last_seen_ms=one.last_seen_ms,
        mode=mode,
        detail=_peer_detail(one),
    )


def _peer_detail(one: Peer) -> str:
    if one.trust is Trust.BLOCKED:
        return "blocked"
    session = one.session
    if session is not None:
        if one.line.hold:
            return _hold(one)
        offset_ms = session.clock_offset_ms
        if offset_ms is not None and abs(offset_ms) >= SKEW_WORTH_TELLING_MS:
            return f"{one.label}'s clock is {_span(abs(offset_ms))} {'ahead' if offset_ms > 0 else 'behind'}"
        return ""
    if one.said_goodbye:
        return f"p2pchat was ended on {one.label}'s side"
    if one.dial_error:
        return one.dial_error
    return "" if one.addresses() else "no address known; start p2pchat there, or 'p2pchat peer add' its address"


def _hold(one: Peer) -> str:
    return f"{one.label} {HOLDS.get(one.line.hold, 'takes no messages now: ' + one.line.hold)}"


def waiting(one: Peer, letters: Letters, storage_error: str, now: Now) -> list[WaitingView]:
    """Describe what waits for one peer, in order."""
    views = [
        _view(item, _waiting_for(one, item, first, storage_error, now), one.silent_since_ms, cancelling=False)
        for first, item in zip([True] + [False] * len(one.line), one.line.items(), strict=False)
    ]
    for cancel in letters.cancels(one.id):
        asks = "asks" if one.session is not None else "will ask, when it is back,"
        text = f"being taken back: {asks} {one.label} whether it has arrived"
        views.append(_view(cancel.item, text, one.silent_since_ms, cancelling=True))
    return views


def _view(item: Item, waiting_for: str, silent_since_ms: int | None, *, cancelling: bool) -> WaitingView:
    error = None
    if item.reason is not None:
        error = item.detail or item.reason.value
    return WaitingView(
        message_id=item.message_id,
        peer=item.peer,
        body=item.body,
        state=item.state,
        attempts=item.attempts,
        next_attempt_at_ms=item.next_attempt_at_ms,
        last_error=error,
        waiting_for=waiting_for,
        cancelling=cancelling,
        sent_at_ms=item.sent_at_ms,
        silent_since_ms=silent_since_ms,
    )


def _waiting_for(one: Peer, item: Item, first: bool, storage_error: str, now: Now) -> str:
    line = one.line
    if storage_error:
        return f"the disk here refuses writes: {storage_error}"
    if line.link is None:
        return _absent(one, item, first, now)
    if line.hold:
        return _hold(one)
    if item.message_id in line.flying:
        return f"{one.label}'s acknowledgement"
    if first and item.attempts and now.mono_s < item.retry_at_s:
        return f"attempt {item.attempts + 1} in {item.retry_at_s - now.mono_s:.0f} s"
    if line.alone and not first:
        return "the message before it, which is being tried again"
    if not line.realtime:
        return f"{one.label}'s next poll (notifications are off)"
    return "its turn"


def _absent(one: Peer, item: Item, first: bool, now: Now) -> str:
    back = "goes out when it is back"
    if one.said_goodbye:
        return f"{one.label} is offline (p2pchat was ended there); {back}"
    if one.silent_since_ms is not None:
        return f"{one.label} is not answering since {{since}}; {back}"
    if first and item.attempts and now.mono_s < item.retry_at_s:
        return f"attempt {item.attempts + 1} in {item.retry_at_s - now.mono_s:.0f} s ({one.dial_error or item.detail})"
    if one.dial_error:
        return f"{one.label}: {one.dial_error}"
    if not one.addresses():
        return f"{one.label} has not been seen on this network; {back}"
    return f"a link to {one.label}"


def _span(offset_ms: float) -> str:
    seconds = offset_ms / 1000
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86400:.0f} days"
