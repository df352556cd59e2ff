"""A run as compact lines: when, which device, what came in (``<``), what it wanted (``>``), with frames decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from p2pchat.core.effects import CloseLink, Dial, Effect, Notify, Persist, Reply, Transmit
from p2pchat.core.inputs import BytesReceived, Committed, Input
from p2pchat.errors import WireError
from p2pchat.wire import Events, Frame, decode, decode_event
from p2pchat.wire import Notify as NotifyFrame


def digest(lines: Iterable[str]) -> str:
    """Return a short fingerprint of a trace."""
    summary = hashlib.sha256()
    for line in lines:
        summary.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return summary.hexdigest()[:32]


def input_line(event: Input) -> str:
    """Describe an input."""
    match event:
        case BytesReceived(link, data):
            return f"< link {link} {frame_line(data)}"
        case Committed(upto, outcomes):
            return f"< Committed {upto} {' '.join(map(_short, outcomes))}"
        case _:
            return f"< {_short(event)}"


def effect_line(effect: Effect) -> str:
    """Describe an effect."""
    match effect:
        case Transmit(link, data):
            return f"> link {link} {frame_line(data)}"
        case Persist(number, operations, lazy):
            return f"> Persist {number}{' lazy' if lazy else ''} {' '.join(map(_short, operations))}"
        case Notify(name, _, peer, detail, message_id):
            who = (peer or "-")[:6]
            return f"> Notify {name} {who} {message_id.hex()[-6:] if message_id else ''} {detail}"
        case Reply(request, result):
            return f"> Reply {request} {_short(result)}"
        case CloseLink(link, reason):
            return f"> CloseLink {link} {reason}"
        case Dial():
            return f"> {_short(effect)}"


def frame_line(data: bytes) -> str:
    """Describe one frame of the wire."""
    try:
        frame: Frame = decode(data)
    except WireError as error:
        return f"[{error}]"
    if not isinstance(frame, NotifyFrame | Events):
        return _short(frame)
    events = " ".join(_event_line(bytes(raw)) for raw in frame.events)
    return f"{type(frame).__name__}({events}{' more' if isinstance(frame, Events) and frame.more else ''})"


def _event_line(raw: bytes) -> str:
    try:
        event = decode_event(msgspec.Raw(raw))
    except WireError as error:
        return f"[{error}]"
    return f"{event.id.hex()[-6:]}#{event.seq}<{event.prev}"


def _short(thing: object) -> str:
    """Like ``repr``, without names of fields, with ids cut to what tells them apart."""
    fields: tuple[str, ...] = getattr(thing, "__struct_fields__", ()) or getattr(thing, "__slots__", ())
    parts = [_value(getattr(thing, name)) for name in fields if name != "body"]
    return f"{type(thing).__name__}({', '.join(parts)})"


def _value(value: object) -> str:
    match value:
        case bytes():
            return value.hex()[-6:]
        case tuple():
            return "(" + " ".join(map(_value, value)) + ")"
        case str() if len(value) == 52:
            return value[:6]
        case str():
            return value[:60]
        case _ if hasattr(value, "__slots__") and not isinstance(value, int | float | type(None)):
            return _short(value)
        case _:
            return str(value)
