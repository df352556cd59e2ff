"""The lines of the local API as a client writes and reads them; no I/O.

A line from the engine is an answer (it has the ``id`` of a request, and ``result`` or ``error``) or a notification (it
has a ``method``). An error without an id is about the connection itself: there are too many clients, or a line could
not be read. What does not have the shape that was asked for is an :class:`p2pchat.errors.ApiError` too: then the other
end is no engine of ours. New fields are ignored.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from p2pchat.api.types import ErrorCode, Event, Struct
from p2pchat.errors import ApiError
from p2pchat.model import clean

R = TypeVar("R")

ASK_AGAIN: Final = frozenset({ErrorCode.NOT_KNOWN_STORED, ErrorCode.SHUTTING_DOWN})
"""Answers after which the same question with the same ids is the right next step."""


class ErrorData(msgspec.Struct, frozen=True):
    """``error.data`` of an answer."""

    code: str = ErrorCode.BAD_REQUEST
    candidates: tuple[str, ...] = ()


class ErrorBody(msgspec.Struct, frozen=True):
    """``error`` of an answer."""

    message: str = ""
    data: ErrorData = ErrorData()

    def to_exception(self) -> ApiError:
        """The error that a caller sees; its text is cleaned."""
        return ApiError(self.data.code, clean(self.message, 1000), self.data.candidates)


class Line(msgspec.Struct, frozen=True):
    """One line from the engine: an answer (``id``) or a notification (``method``)."""

    id: int | str | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: ErrorBody | None = None


_line_decoder: Final = msgspec.json.Decoder(Line)


def encode_request(number: int, method: str, params: Struct) -> bytes:
    """Make one request line."""
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return msgspec.json.encode(request) + b"\n"


def decode_line(data: bytes) -> Line:
    """Read one line of the engine.

    Raises:
        ApiError: it is not one; the other end is no engine of ours.
    """
    try:
        return _line_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(ErrorCode.BAD_REQUEST, f"the engine's answer is not understood: {error}") from None


def decode_result(result: msgspec.Raw, kind: type[R]) -> R:
    """Read an answer's result as ``kind``.

    Raises:
        ApiError: it has another shape.
    """
    try:
        return msgspec.json.decode(result, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(ErrorCode.BAD_REQUEST, f"the engine's answer is not understood: {error}") from None


def decode_event(params: msgspec.Raw) -> Event:
    """Read the parameters of an ``event`` notification."""
    return Event.from_flat(decode_result(params, dict[str, Any]))


def no_answer(method: str, timeout_s: float) -> str:
    """What to say about an engine that holds the line and says nothing."""
    return f"the engine did not answer within {timeout_s:g} s ({method})"
