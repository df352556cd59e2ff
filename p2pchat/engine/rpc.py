"""JSON-RPC 2.0 on lines: bytes to requests and answers to bytes, without I/O.

A line is one JSON object. A request has ``jsonrpc`` "2.0", a ``method``, an ``id`` (integer or text; without one it
is carried out and not answered) and ``params`` (an object, or absent). Batches are refused: a client that has much
to ask writes many lines. Every error carries ``data.code``, a stable word of :class:`p2pchat.api.types.ErrorCode`;
the number is -32000 but for requests that are malformed, which keep the numbers of the JSON-RPC specification.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from p2pchat.api.types import METHODS, ErrorCode, Struct
from p2pchat.errors import ApiError
from p2pchat.model import clean

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
NO_SUCH_METHOD: Final = -32601
INVALID_PARAMS: Final = -32602
APPLICATION_ERROR: Final = -32000

RequestId = int | str | None

_encoder: Final = msgspec.json.Encoder()
_params_decoders: Final = {name: msgspec.json.Decoder(params) for name, (params, _) in METHODS.items()}


class Request(msgspec.Struct, frozen=True):
    """One request. ``id`` is unset for a notification, which gets no answer."""

    jsonrpc: str
    method: str
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Malformed(Exception):
    """A line that is no valid request; ``number`` is the JSON-RPC code, ``id`` what could be told of its id."""

    def __init__(self, number: int, code: str, message: str, request_id: RequestId = None) -> None:
        super().__init__(message)
        self.number = number
        self.code = code
        self.id = request_id


class _OnlyId(msgspec.Struct, frozen=True):
    id: int | str | None = None


_request_decoder: Final = msgspec.json.Decoder(Request)
_id_decoder: Final = msgspec.json.Decoder(_OnlyId)


def decode(line: bytes) -> tuple[Request, Struct]:
    """Read one line into a request and the parameters of its method.

    Raises:
        Malformed: it is not JSON, not a request, of no known method, or its parameters are wrong.
    """
    request = _decode_request(line)
    decoder = _params_decoders.get(request.method)
    request_id = None if request.id is msgspec.UNSET else request.id
    if decoder is None:
        name = clean(request.method, 60)
        raise Malformed(NO_SUCH_METHOD, ErrorCode.NO_SUCH_METHOD, f"no method is called {name!r}", request_id)
    try:
        return request, decoder.decode(b"{}" if bytes(request.params) == b"null" else request.params)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        text = f"{request.method}: {clean(str(error), 200)}"
        raise Malformed(INVALID_PARAMS, ErrorCode.BAD_REQUEST, text, request_id) from None


def _decode_request(line: bytes) -> Request:
    try:
        request = _request_decoder.decode(line)
    except msgspec.ValidationError as error:
        raise Malformed(INVALID_REQUEST, ErrorCode.BAD_REQUEST, _why_invalid(line, error), _id_of(line)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        text = f"not JSON: {clean(str(error), 200)}"
        raise Malformed(PARSE_ERROR, ErrorCode.BAD_REQUEST, text) from None
    if request.jsonrpc != "2.0":
        text = 'not a JSON-RPC 2.0 request: "jsonrpc" must be "2.0"'
        request_id = None if request.id is msgspec.UNSET else request.id
        raise Malformed(INVALID_REQUEST, ErrorCode.BAD_REQUEST, text, request_id)
    return request


def _why_invalid(line: bytes, error: msgspec.ValidationError) -> str:
    if line.lstrip()[:1] == b"[":
        return "batches are not supported: write one request a line"
    return f"not a JSON-RPC 2.0 request: {clean(str(error), 200)}"


def _id_of(line: bytes) -> RequestId:
    try:
        return _id_decoder.decode(line).id
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def encode_result(request_id: RequestId, result: Any) -> bytes:
    """Make the answer line of a request that succeeded."""
    return _encoder.encode({"jsonrpc": "2.0", "id": request_id, "result": result}) + b"\n"


def encode_error(request_id: RequestId, error: ApiError | Malformed) -> bytes:
    """Make the answer line of a request that failed."""
    data: dict[str, Any] = {"code": error.code}
    if isinstance(error, ApiError):
        number = APPLICATION_ERROR
        if error.candidates:
            data["candidates"] = list(error.candidates)
    else:
        number = error.number
    body = {"code": number, "message": clean(str(error), 1000), "data": data}
    return _encoder.encode({"jsonrpc": "2.0", "id": request_id, "error": body}) + b"\n"


def encode_notification(method: str, params: dict[str, Any]) -> bytes:
    """Make the line of a notification: ``event`` with a flat event, or ``log`` with a log line."""
    return _encoder.encode({"jsonrpc": "2.0", "method": method, "params": params}) + b"\n"
