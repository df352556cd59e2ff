"""The frames as types. What each one means stands in the package's docstring; here stand fields and bounds."""

from __future__ import annotations

from typing import Annotated

import msgspec

Id = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Ids = Annotated[tuple[Id, ...], msgspec.Meta(max_length=4096)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Millis = Annotated[int, msgspec.Meta(ge=0, le=2**47)]
Clock = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Word = Annotated[str, msgspec.Meta(max_length=64)]
Line = Annotated[str, msgspec.Meta(max_length=512)]
RawEvents = Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(max_length=1024)]


class _Frame(msgspec.Struct, frozen=True, tag_field="t", omit_defaults=True):
    pass


class Hello(_Frame, frozen=True, tag="hello"):
    versions: Annotated[tuple[int, ...], msgspec.Meta(max_length=16)]
    name: Annotated[str, msgspec.Meta(max_length=256)]
    instance: Id
    nonce: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    realtime: bool = True
    features: Annotated[tuple[Word, ...], msgspec.Meta(max_length=64)] = ()
    key: Annotated[bytes, msgspec.Meta(max_length=256)] | None = None
    applied: Count | None = None
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 0


class Proof(_Frame, frozen=True, tag="proof"):
    signature: Annotated[bytes, msgspec.Meta(max_length=128)]


class Welcome(_Frame, frozen=True, tag="welcome"):
    applied: Count


class Heartbeat(_Frame, frozen=True, tag="heartbeat"):
    n: Count
    sent_ms: Millis


class HeartbeatAck(_Frame, frozen=True, tag="heartbeat_ack"):
    n: Count
    sent_ms: Millis
    received_ms: Millis
    replied_ms: Millis
    hold: Word = ""


class Notify(_Frame, frozen=True, tag="notify"):
    events: RawEvents


class Events(_Frame, frozen=True, tag="events"):
    events: RawEvents
    more: bool = False


class Pull(_Frame, frozen=True, tag="pull"):
    first: Count = 0
    last: Count = 0


class Gone(_Frame, frozen=True, tag="gone"):
    first: Count
    last: Count


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    id: Id
    reason: Word
    detail: Line = ""


class Ack(_Frame, frozen=True, tag="ack"):
    ids: Ids = ()
    refused: Annotated[tuple[Refusal, ...], msgspec.Meta(max_length=1024)] = ()


class Have(_Frame, frozen=True, tag="have"):
    ids: Ids
    n: Count = 0


class Had(_Frame, frozen=True, tag="had"):
    has: Ids = ()
    lacks: Ids = ()
    n: Count = 0


class Hold(_Frame, frozen=True, tag="hold"):
    reason: Word = ""


class Read(_Frame, frozen=True, tag="read"):
    ids: Ids
    at_ms: Millis


class ReadAck(_Frame, frozen=True, tag="read_ack"):
    ids: Ids


class Bye(_Frame, frozen=True, tag="bye"):
    reason: Line = ""


class Error(_Frame, frozen=True, tag="error"):
    code: Word
    detail: Line = ""


class Unknown(msgspec.Struct, frozen=True):
    """A well-formed frame of a kind that this version does not know. Never sent."""

    kind: str


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event of a stream, itself MessagePack inside ``notify`` and ``events``."""

    id: Id
    seq: Count
    prev: Count
    hlc: Clock
    sent_at_ms: Millis
    kind: Word
    text: str = ""
    seen: Id | None = None


Known = (
    Hello
    | Proof
    | Welcome
    | Heartbeat
    | HeartbeatAck
    | Notify
    | Events
    | Pull
    | Gone
    | Ack
    | Have
    | Had
    | Hold
    | Read
    | ReadAck
    | Bye
    | Error
)
Frame = Known | Unknown
