"""The schema of the local API: parameters, results, events and error codes.

Conventions: times are integer milliseconds since the epoch (``_ms``) or null; message ids are 32 hexadecimal digits;
device ids are 52 characters of base32; ``peer`` parameters take whatever a person would type (see
``resolve`` in cli.md's words: full device id, given name, accepted peer's name, id prefix of 4 or more, seen name).
Texts are as they came: a client cleans them before they reach a terminal. Fields may be added; none goes away.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import msgspec

API_VERSION: Final = 1
MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""Longest request or answer line."""


class ErrorCode:
    """Words in ``error.data.code``; the JSON-RPC number is -32000 for all but malformed requests."""

    BAD_REQUEST: ClassVar = "bad_request"
    NO_SUCH_METHOD: ClassVar = "no_such_method"
    NO_SUCH_PEER: ClassVar = "no_such_peer"
    AMBIGUOUS_PEER: ClassVar = "ambiguous_peer"
    NO_SUCH_MESSAGE: ClassVar = "no_such_message"
    NOT_WAITING: ClassVar = "not_waiting"
    ID_IN_USE: ClassVar = "id_in_use"
    QUEUE_FULL: ClassVar = "queue_full"
    LETTERS_FULL: ClassVar = "letters_full"
    STORAGE_FAILED: ClassVar = "storage_failed"
    NOT_KNOWN_STORED: ClassVar = "not_known_stored"
    TOO_LARGE: ClassVar = "too_large"
    BLOCKED: ClassVar = "blocked"
    UNREACHABLE: ClassVar = "unreachable"
    WRONG_KEY: ClassVar = "wrong_key"
    INCOMPATIBLE: ClassVar = "incompatible"
    OWN_DEVICE: ClassVar = "own_device"
    SHUTTING_DOWN: ClassVar = "shutting_down"
    ENGINE_UNAVAILABLE: ClassVar = "engine_unavailable"


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all: immutable, fields by name; unknown fields of a newer side are ignored."""


# --- requests: one struct a method; METHODS below maps the names -------------------------------------------------


class Nothing(Struct, frozen=True, kw_only=True):
    """No parameters."""


class PeerParams(Struct, frozen=True, kw_only=True):
    peer: str


class PeerAddParams(Struct, frozen=True, kw_only=True):
    """``address``: HOST, HOST:PORT, [V6]:PORT or an invite string."""

    address: str


class PeerRenameParams(Struct, frozen=True, kw_only=True):
    """An empty name takes ours back; the peer's own name is shown again."""

    peer: str
    name: str


class SendParams(Struct, frozen=True, kw_only=True):
    """``message_id`` is drawn by the client, so that asking again is safe: the same id returns the same message."""

    peer: str
    body: str
    message_id: str


class WaitParams(Struct, frozen=True, kw_only=True):
    """Answer once the message has reached ``state`` or can no longer (failed, cancelled), or after ``timeout_s``."""

    message_id: str
    state: str
    timeout_s: float


class MessageParams(Struct, frozen=True, kw_only=True):
    message_id: str


class HistoryParams(Struct, frozen=True, kw_only=True):
    """The newest ``limit`` messages, oldest first; strictly before or after a message id if one is given.

    With ``after`` they are the oldest ``limit`` after it.
    """

    peer: str
    limit: int = 50
    before: str | None = None
    after: str | None = None


class ReadParams(Struct, frozen=True, kw_only=True):
    """Mark everything from ``peer`` up to and including ``up_to`` as read; null: everything."""

    peer: str
    up_to: str | None = None


class OutboxParams(Struct, frozen=True, kw_only=True):
    peer: str | None = None


class LettersParams(Struct, frozen=True, kw_only=True):
    """Which dead letters: these ids, or those of a peer, or (both absent) all."""

    message_ids: list[str] | None = None
    peer: str | None = None


class SubscribeParams(Struct, frozen=True, kw_only=True):
    """``since``: replay stored events after this id, then go on live; null: only live ones.

    With ``follow`` false the stream ends after the replay with ``stream:end``.
    """

    since: int | None = None
    follow: bool = True


class LogParams(Struct, frozen=True, kw_only=True):
    """``log``: heartbeat, latency or engine; the last ``lines`` lines."""

    log: str
    lines: int = 200


# --- results -----------------------------------------------------------------------------------------------------


class Done(Struct, frozen=True, kw_only=True):
    ok: bool = True


class Status(Struct, frozen=True, kw_only=True):
    """What the engine is and how it is."""

    device_id: str
    name: str
    version: str
    api_version: int
    pid: int
    host: str
    port: int
    addresses: list[str]
    invite: str
    home: str
    started_at_ms: int
    uptime_s: float
    links: int
    pending: int
    dead_letters: int
    unread: int
    storage: str
    """``ok``, or why the disk refuses writes."""
    discovery: str
    """``on``, ``off``, or why multicast does not work."""
    notes: list[str]
    """Things that a person should know once, such as a quarantined database."""


class Peer(Struct, frozen=True, kw_only=True):
    """One peer, known or merely seen."""

    device_id: str
    name: str
    """What to call it: the name that our user gave, else its own."""
    own_name: str
    alias: str
    presence: str
    trust: str
    addresses: list[str]
    rtt_ms: float | None
    clock_offset_ms: float | None
    pending: int
    dead_letters: int
    unread: int
    last_seen_ms: int | None
    mode: str
    """``realtime``, ``polling`` or, without a link, empty."""
    detail: str
    """Why it cannot be reached or what mail waits for; empty when all is well."""
    last_message_at_ms: int | None
    last_message: str | None


class MessageRef(Struct, frozen=True, kw_only=True):
    message_id: str
    state: str


class StateAt(Struct, frozen=True, kw_only=True):
    state: str
    at_ms: int


class Message(Struct, frozen=True, kw_only=True):
    """One message of the history."""

    message_id: str
    peer: str
    direction: str
    author: str
    author_name: str
    body: str
    state: str
    sent_at_ms: int
    received_at_ms: int | None
    """In: when it was stored here. Out: when the peer acknowledged it."""
    read_at_ms: int | None
    seq: int
    cancelling: bool


class MessageDetail(Message, frozen=True, kw_only=True):
    """One message with everything known about its way."""

    states: list[StateAt]
    attempts: int
    next_attempt_at_ms: int | None
    last_error: str | None
    waiting_for: str | None


class OutboxEntry(Struct, frozen=True, kw_only=True):
    """A message that is not delivered yet, and why."""

    message_id: str
    peer: str
    peer_name: str
    body: str
    state: str
    attempts: int
    next_attempt_at_ms: int | None
    last_error: str | None
    waiting_for: str
    sent_at_ms: int


class Letter(Struct, frozen=True, kw_only=True):
    """A dead letter."""

    message_id: str
    peer: str
    peer_name: str
    reason: str
    peer_has_it: str
    last_error: str
    attempts: int
    moved_at_ms: int
    sent_at_ms: int
    body: str


class ReadMark(Struct, frozen=True, kw_only=True):
    peer: str
    message_ids: list[str]


class Changed(Struct, frozen=True, kw_only=True):
    """The messages that it was done to."""

    message_ids: list[str]


class Percentiles(Struct, frozen=True, kw_only=True):
    p50: float | None
    p95: float | None
    p99: float | None


class Stats(Struct, frozen=True, kw_only=True):
    """Figures of this engine run."""

    uptime_s: float
    flushes: int
    commits: int
    fsyncs: int
    bytes_written: int
    writes_per_s: float
    messages_sent: int
    messages_received: int
    duplicates_dropped: int
    retries: int
    retry_success_rate: float | None
    dlq_size: int
    pending: int
    latency_ms: Percentiles
    """Accepted to delivered, of the last 10,000 messages delivered in this run."""
    rss_bytes: int
    peers: int


class Subscribed(Struct, frozen=True, kw_only=True):
    """``first_id`` and ``last_id``: the stored events that exist; null when there is none."""

    first_id: int | None
    last_id: int | None


class LogLines(Struct, frozen=True, kw_only=True):
    lines: list[dict[str, Any]]


class Event(Struct, frozen=True, kw_only=True):
    """What happened. ``fields`` are the event's own; on the wire they stand beside these three.

    ``event_id`` is null for what is not stored (heartbeats, attempts, presence of strangers).
    """

    event_id: int | None
    at_ms: int
    event: str
    fields: dict[str, Any]

    def flat(self) -> dict[str, Any]:
        """The event as one flat JSON object, the form that is sent and printed."""
        return {"event_id": self.event_id, "at_ms": self.at_ms, "event": self.event, **self.fields}

    @classmethod
    def from_flat(cls, flat: dict[str, Any]) -> Event:
        """Undo :meth:`flat`."""
        rest = {key: value for key, value in flat.items() if key not in ("event_id", "at_ms", "event")}
        return cls(event_id=flat.get("event_id"), at_ms=flat["at_ms"], event=flat["event"], fields=rest)


METHODS: Final[dict[str, tuple[type[Struct], Any]]] = {
    "status": (Nothing, Status),
    "stop": (Nothing, Done),
    "peers.list": (Nothing, list[Peer]),
    "peer.show": (PeerParams, Peer),
    "peer.add": (PeerAddParams, Peer),
    "peer.accept": (PeerParams, Peer),
    "peer.block": (PeerParams, Peer),
    "peer.unblock": (PeerParams, Peer),
    "peer.forget": (PeerParams, Done),
    "peer.rename": (PeerRenameParams, Peer),
    "message.send": (SendParams, MessageRef),
    "message.wait": (WaitParams, MessageRef),
    "message.cancel": (MessageParams, MessageDetail),
    "message.show": (MessageParams, MessageDetail),
    "history": (HistoryParams, list[Message]),
    "read": (ReadParams, ReadMark),
    "outbox": (OutboxParams, list[OutboxEntry]),
    "dlq.list": (LettersParams, list[Letter]),
    "dlq.retry": (LettersParams, Changed),
    "dlq.purge": (LettersParams, Changed),
    "stats": (Nothing, Stats),
    "logs.tail": (LogParams, LogLines),
    "logs.subscribe": (LogParams, Done),
    "events.subscribe": (SubscribeParams, Subscribed),
}
"""Method name → (parameters, result)."""
