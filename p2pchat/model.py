"""The nouns that every layer shares: ids, states, reasons and the policy numbers.

Nothing here performs I/O or knows the time. An id is drawn from the outside (:func:`new_message_id` takes the
clock and the randomness as arguments), a state never moves by itself.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

DeviceId = NewType("DeviceId", str)
"""52 characters of base32 (lower case, no padding): SHA-256 over a device key's DER SubjectPublicKeyInfo."""

MessageId = NewType("MessageId", bytes)
"""16 bytes: 48 bits of wall-clock milliseconds, then 80 random bits; shown as 32 hexadecimal digits."""

LinkId = NewType("LinkId", int)
"""Numbers a link within one engine run; never reused, never on the wire."""

MAX_BODY_BYTES: Final = 64 * 1024
"""Longest text of one message, in bytes of UTF-8."""

MAX_NAME_CHARS: Final = 64
"""Longest device or peer name that is kept, in characters."""


class State(StrEnum):
    """Where a message is. Moves to the right only: pending < sent < delivered < read.

    ``failed`` (a dead letter) and ``cancelled`` come from pending or sent; a retry takes ``failed`` back to
    ``pending``, and ``failed`` becomes ``delivered`` when the peer says that it has the message. An incoming
    message is ``delivered`` (on our disk) or ``read``.
    """

    PENDING = "pending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"
    CANCELLED = "cancelled"


RANK: Final = {State.PENDING: 0, State.SENT: 1, State.DELIVERED: 2, State.READ: 3}
"""Order of the four ticks; the two other states have no rank."""


class Direction(StrEnum):
    """Whether a message came in or goes out, seen from this device."""

    IN = "in"
    OUT = "out"


class Trust(StrEnum):
    """What this device thinks of a peer. ``seen`` is never stored."""

    SEEN = "seen"
    REQUEST = "request"
    UNVERIFIED = "unverified"
    VERIFIED = "verified"
    BLOCKED = "blocked"


ACCEPTED: Final = frozenset({Trust.UNVERIFIED, Trust.VERIFIED})


class Presence(StrEnum):
    """``online``: a live link; ``away``: announced but not linked; ``offline``: neither."""

    ONLINE = "online"
    AWAY = "away"
    OFFLINE = "offline"


class Reason(StrEnum):
    """Why an attempt failed or a message became a dead letter."""

    NOT_ACKNOWLEDGED = "not_acknowledged"
    LINK_LOST = "link_lost"
    CONNECTION_REFUSED = "connection_refused"
    HANDSHAKE_FAILED = "handshake_failed"
    REFUSED = "refused"
    BLOCKED = "blocked"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    MALFORMED = "malformed"
    EXPIRED = "expired"


PERMANENT: Final = frozenset({Reason.BLOCKED, Reason.TOO_LARGE, Reason.UNSUPPORTED, Reason.MALFORMED, Reason.EXPIRED})
"""Reasons that do not pass by waiting: such a letter never returns by itself."""


class PeerHasIt(StrEnum):
    """Whether the addressee of a dead letter has it all the same; ``unknown`` is asked at the next link."""

    NO = "no"
    UNKNOWN = "unknown"


class FirstContact(StrEnum):
    """What happens when a stranger writes."""

    REQUEST = "request"
    ACCEPT = "accept"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device listens: an IP address or host name (IPv6 link-local with ``%scope``) and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers that the core decides by; the configuration fills them in.

    Seconds are ``_s``, bytes ``_bytes``. ``redial_max_with_mail_s`` and a dial's own 3 s make the 15 s in which mail
    goes out to a peer that is back. ``listen_port`` is the port that the shell really got.
    """

    name: str = "p2pchat"
    listen_port: int = 0
    realtime: bool = True
    read_receipts: bool = True
    auto_retry_on_reconnect: bool = True
    first_contact: FirstContact = FirstContact.REQUEST
    max_retries: int = 5
    base_retry_delay_s: float = 2.0
    max_retry_delay_s: float = 30.0
    retry_jitter: float = 0.1
    max_auto_returns: int = 3
    ack_timeout_s: float = 10.0
    max_queue: int = 1000
    max_letters: int = 10_000
    retention_s: float = 7 * 86400.0
    min_uptime_for_expiry_s: float = 600.0
    window_events: int = 256
    window_bytes: int = 1024 * 1024
    heartbeat_interval_s: float = 15.0
    heartbeat_jitter: float = 0.1
    dead_after_s: float = 35.0
    poll_interval_s: float = 30.0
    handshake_timeout_s: float = 5.0
    redial_min_s: float = 1.0
    redial_max_s: float = 60.0
    redial_max_with_mail_s: float = 12.0
    recently_linked_s: float = 3600.0
    hint_dial_interval_s: float = 5.0
    max_strangers: int = 100
    max_stranger_messages: int = 20
    max_stranger_bytes: int = 64 * 1024


def device_id_of(spki_der: bytes) -> DeviceId:
    """Return the device id of a public key given as DER SubjectPublicKeyInfo."""
    digest = hashlib.sha256(spki_der).digest()
    return DeviceId(base64.b32encode(digest).decode("ascii").lower().rstrip("="))


def new_message_id(wall_ms: int, randomness: bytes) -> MessageId:
    """Make a message id from milliseconds since the epoch and 10 random bytes."""
    if len(randomness) != 10:
        raise ValueError("a message id takes exactly 10 random bytes")
    return MessageId((wall_ms & (2**48 - 1)).to_bytes(6, "big") + randomness)


def parse_message_id(text: str) -> MessageId:
    """Read a message id from 32 hexadecimal digits (dashes as in a UUID are allowed).

    Raises:
        ValueError: it is not one; the text says what would be.
    """
    digits = text.strip().replace("-", "")
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != 16 or len(digits) != 32:
        raise ValueError(f"not a message id: {clean(text, 80)!r} (32 hexadecimal digits are expected)")
    return MessageId(raw)


_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_hostile(char: str) -> bool:
    """Tell whether a character could drive a terminal or reorder text.

    These are C0, DEL, C1, bidi controls, line separators and lone surrogates.
    """
    code = ord(char)
    return code < 0x20 or 0x7F <= code < 0xA0 or char in _BIDI or code in (0x2028, 0x2029) or 0xD800 <= code < 0xE000


def clean(text: str, limit: int | None = None, *, newlines: bool = False) -> str:
    """Make text from outside harmless for a terminal, visibly.

    Control characters become their symbol (``␛``), bidi controls and the like become ``�``; a tab becomes
    spaces. Nothing is interpreted, so markup brackets stay what they are: escape those where markup is parsed.

    Args:
        limit: cut to this many characters, the last being ``…``.
        newlines: keep line feeds (for bodies); otherwise they become ``␊``.
    """
    text = text.replace("\r\n", "\n") if newlines else text
    if any(map(is_hostile, text)):
        text = "".join(_shown(char, newlines) if is_hostile(char) else char for char in text)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def _shown(char: str, newlines: bool) -> str:
    if char == "\n" and newlines:
        return char
    if char == "\t":
        return "    "
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "\ufffd"


def clean_name(text: str) -> str:
    """Normalise a name from outside: NFC, harmless, one line, at most :data:`MAX_NAME_CHARS`; may be empty."""
    name = unicodedata.normalize("NFC", " ".join(clean(text[: MAX_NAME_CHARS * 4]).split()))
    return clean(name, MAX_NAME_CHARS)
