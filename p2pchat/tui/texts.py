"""Every sentence that the screen says, in one place; nothing here decides anything."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

from p2pchat.model import MAX_BODY_BYTES, Presence, Reason, Trust
from p2pchat.tui.model import EngineState, Link, Me, PeerItem, Tick, Waiting

TITLE: Final = "p2pchat"
PEERS_TITLE: Final = "People"
NO_PEERS: Final = "Looking for others…"
HISTORY_START: Final = "This is where it begins."
HISTORY_LOADING: Final = "earlier messages…"
NOTHING_YET: Final = "Nothing written yet. What you write is stored here first and sent when it can be."
COMPOSER_HINT: Final = "Write a message"
COMPOSER_NO_PEER: Final = "Nobody to write to yet"
COMPOSER_BLOCKED: Final = "Blocked; F9 unblocks"
DLQ_TITLE: Final = "Dead letters"
DLQ_EMPTY: Final = "No dead letters. Everything you wrote was delivered or still has a chance."
OUTBOX_TITLE: Final = "Outbox"
OUTBOX_EMPTY: Final = "Nothing waits: everything you wrote has been delivered."
LOG_TITLE: Final = "Log"
LOG_EMPTY: Final = "Nothing logged yet."
LOG_NO_MATCH: Final = "No line holds this text."
LOG_FILTER: Final = "only lines with…"
HELP_TITLE: Final = "Keys"
HELP_FOOT: Final = "Esc closes"
HELP_SIGNS: Final = "What the signs mean"
ASKING: Final = "Asking the engine…"
DETAILS_TITLE: Final = "Message"
ADD_TITLE: Final = "Add somebody"
ADD_HINT: Final = "HOST, HOST:PORT or an invite (p2pchat id shows yours)"
ADD_BUSY: Final = "Asking…"
RENAME_HINT: Final = "Your name for this device; empty takes it back"
PURGE_TITLE: Final = "Remove for good?"
PURGE_YES: Final = "Remove"
KEEP: Final = "Keep"
PASTE_TOO_LONG: Final = "The pasted text is {size}; one message holds {limit}. It was not inserted."
QUIT_HINT: Final = "Ctrl+Q ends p2pchat. What waits is on disk and goes out with the engine."
NO_ANSWER: Final = "it does not answer"
NOT_CONNECTED: Final = "The engine cannot be reached right now; try again when the banner is gone."
SENT_LATER: Final = "The engine did not answer; your message is kept here and handed over when it is back."

TICK_WORDS: Final = {
    Tick.NONE: "",
    Tick.SAVING: "being stored",
    Tick.PENDING: "pending: on your disk",
    Tick.SENT: "sent: on its way",
    Tick.DELIVERED: "delivered: on their disk",
    Tick.READ: "read: was on their screen",
    Tick.FAILED: "failed: a dead letter",
    Tick.CANCELLED: "taken back",
    Tick.CANCELLING: "being taken back",
}

PRESENCE_WORDS: Final = {Presence.ONLINE: "online", Presence.AWAY: "away", Presence.OFFLINE: "offline"}

PRESENCE_LEGEND: Final = {
    Presence.ONLINE: "online: a link stands",
    Presence.AWAY: "away: seen on the network, no link yet",
    Presence.OFFLINE: "offline: what you write waits",
}
REQUEST_LEGEND: Final = "somebody new who wrote to you"

TRUST_WORDS: Final = {
    Trust.SEEN: "seen on the network",
    Trust.REQUEST: "wants to write to you",
    Trust.UNVERIFIED: "",
    Trust.VERIFIED: "verified",
    Trust.BLOCKED: "blocked",
}

REASON_WORDS: Final[dict[str, str]] = {
    Reason.NOT_ACKNOWLEDGED: "never acknowledged",
    Reason.LINK_LOST: "link lost each time",
    Reason.CONNECTION_REFUSED: "connection refused",
    Reason.HANDSHAKE_FAILED: "handshake failed",
    Reason.REFUSED: "refused",
    Reason.BLOCKED: "you are blocked",
    Reason.TOO_LARGE: "too large for them",
    Reason.UNSUPPORTED: "not supported there",
    Reason.MALFORMED: "could not be read there",
    Reason.EXPIRED: "waited too long",
}

HAS_IT_WORDS: Final[dict[str, str]] = {"no": "they do not have it", "unknown": "they may have it"}

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def moment(at_ms: int | None, zone: tzinfo | None) -> datetime | None:
    """Read milliseconds since the epoch in a zone (None: the local one); absurd values are None."""
    if at_ms is None:
        return None
    try:
        return datetime.fromtimestamp(at_ms / 1000, zone)
    except (ValueError, OverflowError, OSError):
        return None


def clock(at_ms: int | None, zone: tzinfo | None) -> str:
    """``10:42``"""
    when = moment(at_ms, zone)
    return "--:--" if when is None else f"{when.hour:02}:{when.minute:02}"


def clock_exact(at_ms: int | None, zone: tzinfo | None) -> str:
    """``10:42:07.125``"""
    when = moment(at_ms, zone)
    if when is None:
        return "--:--:--.---"
    return f"{when.hour:02}:{when.minute:02}:{when.second:02}.{when.microsecond // 1000:03}"


def day(at_ms: int | None, zone: tzinfo | None) -> str:
    """``Monday, 23 November 2026``"""
    when = moment(at_ms, zone)
    if when is None:
        return "some day"
    return f"{_DAYS[when.weekday()]}, {when.day} {_MONTHS[when.month - 1]} {when.year}"


def day_and_clock(at_ms: int | None, zone: tzinfo | None) -> str:
    """``23 Nov 10:42``"""
    when = moment(at_ms, zone)
    if when is None:
        return "--"
    return f"{when.day:>2} {_MONTHS[when.month - 1][:3]} {when.hour:02}:{when.minute:02}"


def duration(seconds: float) -> str:
    """``4 s``, ``3 min``, ``5 h``, ``2 d``"""
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    if seconds < 129600:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 86400)} d"


def span(milliseconds: int) -> str:
    """``+34 ms``, ``+1.2 s``, then as :func:`duration`."""
    if milliseconds < 1000:
        return f"+{milliseconds} ms"
    if milliseconds < 10_000:
        return f"+{milliseconds / 1000:.1f} s"
    return f"+{duration(milliseconds / 1000)}"


def size(count: int) -> str:
    """``12 bytes``, ``64 KiB``, ``3.2 MiB``"""
    if count < 1024:
        return f"{count} bytes"
    if count < 1024 * 1024:
        return f"{count / 1024:.0f} KiB"
    return f"{count / 1024 / 1024:.1f} MiB"


def count_of(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def unread_line(number: int) -> str:
    return count_of(number, "new message", "new messages")


def new_below(number: int) -> str:
    return f"{number} new below" if number else "more below"


def folded(lines: int) -> str:
    return f"{count_of(lines, 'more line', 'more lines')}; m shows all"


def size_left(used: int) -> str:
    if used > MAX_BODY_BYTES:
        return f"{used:,} of {MAX_BODY_BYTES:,} bytes: too long for one message"
    return f"{used:,} of {MAX_BODY_BYTES:,} bytes"


def failed_note(reason: str | None) -> str:
    words = REASON_WORDS.get(reason or "", "")
    return f"not delivered{': ' + words if words else ''} (F4)"


def arrived_note(at: str) -> str:
    return f"arrived {at}"


def waits_note(waiting: Waiting, zone: tzinfo | None) -> str:
    """Say below a message why it waits; a countdown becomes a time of day, which does not grow old."""
    if waiting.next_attempt_at_ms is not None and waiting.reason.startswith("attempt "):
        at = clock_exact(waiting.next_attempt_at_ms, zone)[:8]
        why = f": {waiting.last_error}" if waiting.last_error else ""
        return f"attempt {waiting.attempts + 1} at {at}{why}"
    return waiting.reason if ";" in waiting.reason else f"waits: {waiting.reason or 'its turn'}"


def peer_header(item: PeerItem) -> str:
    """The line beside the name of an open conversation."""
    parts = []
    if item.trust is Trust.BLOCKED:
        parts.append(TRUST_WORDS[Trust.BLOCKED])
    else:
        parts.append(PRESENCE_WORDS[item.presence])
        if item.presence is Presence.ONLINE and item.rtt_ms is not None:
            parts.append(f"{item.rtt_ms} ms")
        if item.mode == "polling":
            parts.append("polling")
        if TRUST_WORDS[item.trust] and not item.is_request:
            parts.append(TRUST_WORDS[item.trust])
    return " · ".join(parts)


def clock_warning(item: PeerItem) -> str:
    """Say that a peer's clock is far off, or nothing."""
    offset = item.clock_offset_ms
    if offset is None or abs(offset) < 60_000 or "clock" in item.detail:
        return ""
    return f"{item.name}'s clock is {duration(abs(offset) / 1000)} {'ahead' if offset > 0 else 'behind'}"


def request_bar(name: str) -> str:
    return f"{name} wants to write to you."


def engine_banner(state: EngineState) -> str:
    match state.link:
        case Link.LIVE:
            return ""
        case Link.CONNECTING:
            return "Connecting to the engine…" if state.ever_live else "Starting the engine…"
        case Link.LOST:
            why = f": {state.detail}" if state.detail else ""
            if not state.ever_live:
                return f"The engine cannot be reached{why}. Trying again."
            return f"The engine is gone; trying again. Nothing that you typed is lost{why}."


def storage_banner(problem: str) -> str:
    return f"Storage: {problem}. New messages are refused until it is better."


def links(number: int) -> str:
    return count_of(number, "link", "links")


def waiting(number: int) -> str:
    return f"{number:,} waiting"


def dead(number: int) -> str:
    return f"{number:,} dead"


def discovery_word(discovery: str) -> str:
    return "discovery off" if discovery == "off" else "discovery fails"


def greeting(me: Me | None) -> list[tuple[str, str]]:
    """The first screen of somebody who is alone: (style, text) rows; styles are title, text, code, quiet."""
    rows = [("title", "Nobody here yet."), ("text", "")]
    rows.append(("text", "Start p2pchat on another machine of this network. It shows up by itself."))
    if me is not None and me.discovery not in ("on", ""):
        why = "is off" if me.discovery == "off" else f"does not work: {me.discovery}"
        rows.append(("warn", f"Discovery {why}. Use an address or an invite:"))
    else:
        rows.append(("text", "If it does not, name this one there, by address or by invite:"))
    rows.append(("text", ""))
    if me is None:
        return [*rows, ("quiet", "Addresses follow as soon as the engine answers."), ("text", "")]
    rows.extend(("code", f"p2pchat peer add {address}") for address in me.addresses[:3])
    if not me.addresses:
        rows.append(("code", f"p2pchat peer add HOST:{me.port}"))
    rows.append(("code", f"p2pchat peer add {me.invite}"))
    rows.append(("text", ""))
    rows.append(("text", "Or press F7 and enter the address of the other machine."))
    rows.append(("quiet", f"Behind a firewall? Let TCP port {me.port} and UDP port 5353 (mDNS) in."))
    rows.append(("quiet", "p2pchat doctor finds out what is in the way. F1 shows the keys."))
    return rows


def send_refused(detail: str) -> str:
    return f"Not stored: {detail} Your text is back in the composer."


def purged(number: int) -> str:
    return f"{count_of(number, 'letter', 'letters')} removed."


def retried(number: int) -> str:
    return f"{count_of(number, 'letter', 'letters')} put back in line."


def purge_question(number: int) -> str:
    what = "this dead letter" if number == 1 else f"all {number:,} dead letters"
    return f"Remove {what}? The text stays in the history, marked as failed; nothing will send it again."


def added(name: str) -> str:
    return f"Found {name}."


def paused(number: int) -> str:
    return f"paused, {number:,} more" if number else "paused"


def countdown(now_ms: int, due_ms: int | None) -> str:
    """Count down to the next attempt."""
    if due_ms is None:
        return ""
    left = (due_ms - now_ms) / 1000
    return "now" if left <= 0 else f"in {duration(left)}"


def no_answer_within(seconds: float) -> str:
    return f"The engine did not answer within {seconds:.0f} s."


def matching(number: int, pattern: str) -> str:
    shown = pattern if len(pattern) <= 20 else pattern[:19] + "…"
    return f"{count_of(number, 'line', 'lines')} with “{shown}”"


def state_words(state: str, *, incoming: bool) -> str:
    """What a state means, by whom it was reached."""
    if incoming:
        return {"delivered": "arrived here", "read": "read by you"}.get(state, state)
    words = {"pending": "stored here", "sent": "handed to the link", "delivered": "on their disk", "read": "read"}
    return words.get(state, {"failed": "became a dead letter", "cancelled": "taken back"}.get(state, state))


def waits_for(reason: str) -> str:
    return f"Waits: {reason}"


def attempts_made(number: int) -> str:
    return f"{count_of(number, 'failed attempt', 'failed attempts')} so far"


def next_attempt(at: str) -> str:
    return f"Next attempt at {at}"


def last_error(text: str) -> str:
    return f"Last error: {text}"


def unread_short(number: int) -> str:
    return f"{number:,} new"


def copied(text: str) -> str:
    return f"Copied {count_of(len(text), 'character', 'characters')}."


def rename_title(name: str) -> str:
    return f"A name for {name}"


HELP_SECTIONS: Final = {
    "ChatApp": "Everywhere",
    "MainScreen": "Conversation and people",
    "Composer": "Writing",
    "ConversationView": "Reading (Tab from the composer)",
    "People": "People (F2)",
    "DetailsScreen": "A message's card",
    "LettersScreen": "Dead letters (F4)",
    "OutboxScreen": "Outbox (F3)",
    "LogScreen": "Log (F5)",
    "Grid": "In tables",
    "Paper": "In long texts",
    "Sheet": "On full screens",
    "PromptScreen": "When asked for something",
    "ConfirmScreen": "When asked yes or no",
    "HelpScreen": "Here",
}
