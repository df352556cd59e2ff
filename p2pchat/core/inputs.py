"""What a node can be told. Names are commands (``SendText``) or past participles (``BytesReceived``)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from p2pchat.core.ops import Outcome
from p2pchat.model import Address, DeviceId, LinkId, MessageId


@dataclass(frozen=True, slots=True)
class Now:
    """The time of an input.

    Attributes:
        mono_s: seconds on a clock that never jumps back and counts sleep where the system offers one.
        wall_ms: milliseconds since the epoch by the device's clock; may jump.
    """

    mono_s: float
    wall_ms: int


class Role(StrEnum):
    """Which end of a connection we are."""

    LISTENER = "listener"
    DIALLER = "dialler"


class DialError(StrEnum):
    """How a dial failed. ``REFUSED``, ``TLS`` and ``HANDSHAKE`` mean that the host answered."""

    NO_ANSWER = "no_answer"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    TLS = "tls"
    HANDSHAKE = "handshake"
    WRONG_KEY = "wrong_key"


# --- from the network -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """A TLS websocket stands; nobody is authenticated yet.

    Attributes:
        dial: the number of our ``Dial`` effect, or None when the other side dialled.
        remote: the address of the other end (for a dialled link: the one that worked).
        listener_id: for a dialled link, the device id computed from this TLS connection's certificate.
    """

    link: LinkId
    role: Role
    remote: Address
    dial: int | None = None
    listener_id: DeviceId | None = None


@dataclass(frozen=True, slots=True)
class BytesReceived:
    """One binary websocket message arrived on a link."""

    link: LinkId
    data: bytes


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """A link is gone, whoever ended it. Nothing more will arrive on it."""

    link: LinkId
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DialFailed:
    """No TLS websocket came out of a ``Dial``.

    Attributes:
        address: the address that says most about the failure (one that answered, else the first tried).
    """

    dial: int
    error: DialError
    address: Address | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PeerAnnounced:
    """mDNS announced a device. A hint from an unauthenticated packet, never more."""

    peer: DeviceId
    name: str
    addresses: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class PeerWithdrawn:
    """The announcement of a device expired or was taken back (goodbye)."""

    peer: DeviceId


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """An interface or address of ours changed, or the machine woke up: what we knew about reachability is stale."""

    cause: str


# --- from the store ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Committed:
    """Every operation up to commit number ``upto`` (inclusive) is on disk.

    Attributes:
        outcomes: what the conditional operations found, in the order in which they were persisted.
    """

    upto: int
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The time given by ``next_deadline`` has come (or any other moment: firing early does no harm)."""


# --- commands of clients ----------------------------------------------------------------------------------------
# ``request`` is the shell's ticket: exactly one Reply effect with it follows, at once or later.


@dataclass(frozen=True, slots=True)
class SendText:
    """Send ``body`` to ``peer`` under the id that the client drew. The same id again returns the same message."""

    request: int
    peer: DeviceId
    message_id: MessageId
    body: str


@dataclass(frozen=True, slots=True)
class CancelMessage:
    """Take a message back that is not delivered."""

    request: int
    message_id: MessageId


@dataclass(frozen=True, slots=True)
class MarkRead:
    """Mark everything from ``peer`` up to and including ``up_to`` (None: everything) as read by our user."""

    request: int
    peer: DeviceId
    up_to: MessageId | None


@dataclass(frozen=True, slots=True)
class RetryLetters:
    """Put dead letters back at the end of their lines, with a fresh round of attempts."""

    request: int
    message_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class PurgeLetters:
    """Remove dead letters for good."""

    request: int
    message_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class AddPeer:
    """Dial an address that a person named; ``expected`` is the id from an invite, if there was one.

    Another key than the expected one is a hard stop.
    """

    request: int
    addresses: tuple[Address, ...]
    expected: DeviceId | None = None


class PeerAction(StrEnum):
    """What a person can do with a peer."""

    ACCEPT = "accept"
    BLOCK = "block"
    UNBLOCK = "unblock"
    VERIFY = "verify"
    FORGET = "forget"
    RENAME = "rename"


@dataclass(frozen=True, slots=True)
class ManagePeer:
    """Change what we think of a peer. ``name`` belongs to ``RENAME``; empty takes our name for it back."""

    request: int
    peer: DeviceId
    action: PeerAction
    name: str = ""


@dataclass(frozen=True, slots=True)
class StorageFailed:
    """The disk refuses writes. New sends are refused and peers are told to hold, until ``StorageRecovered``."""

    detail: str


@dataclass(frozen=True, slots=True)
class StorageRecovered:
    """The disk takes writes again."""


@dataclass(frozen=True, slots=True)
class ShutDown:
    """The engine ends: say goodbye on every link."""


Command = SendText | CancelMessage | MarkRead | RetryLetters | PurgeLetters | AddPeer | ManagePeer
Input = (
    LinkOpened
    | BytesReceived
    | LinkClosed
    | DialFailed
    | PeerAnnounced
    | PeerWithdrawn
    | NetworkChanged
    | Committed
    | TimerFired
    | StorageFailed
    | StorageRecovered
    | ShutDown
    | Command
)
