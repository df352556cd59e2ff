"""What a node asks its shell to do. Names are imperatives; notices that clients see are past tense."""

from __future__ import annotations

from dataclasses import dataclass

from p2pchat.core.ops import Op
from p2pchat.model import Address, DeviceId, LinkId, MessageId, State

JSONValue = str | int | float | bool | None | list["JSONValue"] | dict[str, "JSONValue"]


@dataclass(frozen=True, slots=True)
class Persist:
    """Give these operations to the store, after all earlier ones. ``Committed(upto=number)`` answers.

    Attributes:
        number: counts up by one with every Persist of this node.
        lazy: nobody waits: commit with the next durable Persist, or by the flush rule.
    """

    number: int
    ops: tuple[Op, ...]
    lazy: bool = False


@dataclass(frozen=True, slots=True)
class Transmit:
    """Put one frame on a link's queue. Never awaited; a queue that overflows closes the link."""

    link: LinkId
    data: bytes


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close a link after what is queued on it; ``LinkClosed`` follows in any case."""

    link: LinkId
    reason: str


@dataclass(frozen=True, slots=True)
class Dial:
    """Try these addresses, best first; ``LinkOpened`` or ``DialFailed`` with this number answers.

    ``expected`` is the id that the certificate must have; the shell reports WRONG_KEY when it differs.
    None accepts any key (an address that a person named without an id).
    """

    dial: int
    addresses: tuple[Address, ...]
    expected: DeviceId | None


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the clients something that is not stored (heartbeats, attempts, polls). Gets a null event id.

    ``name`` is the event's name, ``detail`` its own fields.
    """

    name: str
    at_ms: int
    peer: DeviceId | None
    detail: dict[str, JSONValue]
    message_id: MessageId | None = None


# --- replies to commands ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MessageState:
    """The message is stored; this is its state now."""

    message_id: MessageId
    state: State
    cancelling: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """It was done to these messages (retry, purge, read)."""

    message_ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True)
class PeerDone:
    """It was done to, or found, this peer."""

    peer: DeviceId


@dataclass(frozen=True, slots=True)
class Refused:
    """It was not done, and nothing was changed.

    ``code`` is one of: ``queue_full, letters_full, storage_failed, blocked, too_large, id_in_use, no_such_message,
    not_waiting, no_such_peer, unreachable, wrong_key, incompatible, own_device, shutting_down``.
    """

    code: str
    text: str


Result = MessageState | Changed | PeerDone | Refused


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer the command that carried this ticket; exactly one per command."""

    request: int
    result: Result


Effect = Persist | Transmit | CloseLink | Dial | Notify | Reply
