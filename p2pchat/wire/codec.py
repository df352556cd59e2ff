"""Encode and decode frames. Whatever the bytes, decoding returns a frame or raises ``WireError``."""

from __future__ import annotations

from typing import Final

import msgspec

from p2pchat.errors import WireError
from p2pchat.model import MessageId
from p2pchat.wire.frames import Event, Frame, Id, Known, Unknown

MAX_FRAME_BYTES: Final = 1024 * 1024


class _Tagged(msgspec.Struct, frozen=True):
    t: str


class _Identified(msgspec.Struct, frozen=True):
    id: Id


_encoder = msgspec.msgpack.Encoder()
_frames = msgspec.msgpack.Decoder(Known)
_tags = msgspec.msgpack.Decoder(_Tagged)
_events = msgspec.msgpack.Decoder(Event)
_ids = msgspec.msgpack.Decoder(_Identified)
_known_tags = frozenset(str(kind.__struct_config__.tag) for kind in Known.__args__)

_FAULTS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, OverflowError, ValueError)


def encode(frame: Known) -> bytes:
    """Return the bytes of a frame."""
    return _encoder.encode(frame)


def decode(data: bytes) -> Frame:
    """Read one frame.

    Raises:
        WireError: the bytes are not a frame: too long, not MessagePack, fields missing or out of bounds.
    """
    if len(data) > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {len(data)} bytes; at most {MAX_FRAME_BYTES} are allowed")
    try:
        frame: Known = _frames.decode(data)
        return frame
    except _FAULTS as error:
        kind = _unknown_kind(data)
        if kind is not None:
            return Unknown(kind)
        raise WireError(f"not a frame: {_line(error)}") from None


def _unknown_kind(data: bytes) -> str | None:
    """The tag of a well-formed map whose kind is not ours, else None."""
    try:
        kind = _tags.decode(data).t
    except _FAULTS:
        return None
    return None if kind in _known_tags else kind


def encode_event(event: Event) -> msgspec.Raw:
    """Return an event as it stands inside ``notify`` and ``events``."""
    return msgspec.Raw(_encoder.encode(event))


def decode_event(raw: msgspec.Raw) -> Event:
    """Read one event of a ``notify`` or ``events`` frame.

    Raises:
        WireError: it is not an event; :func:`event_id_of` may still know whose refusal to send.
    """
    try:
        return _events.decode(raw)
    except _FAULTS as error:
        raise WireError(f"not an event: {_line(error)}") from None


def event_id_of(raw: msgspec.Raw) -> MessageId | None:
    """Return the id of an event that may be bad otherwise, or None."""
    try:
        return MessageId(_ids.decode(raw).id)
    except _FAULTS:
        return None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
