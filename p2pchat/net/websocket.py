"""Our rules for the websocket inside TLS, without I/O.

Path ``/v1/link``, subprotocol ``p2pchat.v1``, no extensions (so no compression), whole binary messages only:
one message is one frame of the protocol. Another path or subprotocol gets an HTTP error; a redirect is a
failed upgrade like any other answer but 101. No ``Origin`` is accepted: browsers send one, our devices do
not, and no web page shall talk to a device of its visitor's network.
"""

from __future__ import annotations

import http
import logging

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from p2pchat.model import Address, clean
from p2pchat.net.text import cut_bytes

PATH = "/v1/link"
SUBPROTOCOL = Subprotocol("p2pchat.v1")
MAX_REASON_BYTES = 120
"""A close frame holds 125 bytes with its code (RFC 6455, section 5.5); some room is left."""

# The library would write a line per connection; links are logged by those who know whose they are.
_quiet = logging.getLogger(__name__)
_quiet.setLevel(logging.ERROR)


def server_side(max_frame_bytes: int) -> ServerProtocol:
    """Make the listener's end of a websocket."""
    return ServerProtocol(
        origins=[None], extensions=None, subprotocols=[SUBPROTOCOL], max_size=max_frame_bytes, logger=_quiet
    )


def client_side(address: Address, max_frame_bytes: int) -> ClientProtocol:
    """Make the dialler's end of a websocket; send its request with :func:`ask`."""
    # A scope id means something on our machine only, and '%' is not allowed in a Host header.
    host = address.host.split("%")[0]
    uri = WebSocketURI(secure=True, host=host, port=address.port, path=PATH, query="")
    return ClientProtocol(uri, extensions=None, subprotocols=[SUBPROTOCOL], max_size=max_frame_bytes, logger=_quiet)


def ask(websocket: ClientProtocol) -> None:
    """Queue the upgrade request."""
    websocket.send_request(websocket.connect())


def answer(websocket: ServerProtocol, request: Request) -> str:
    """Queue the answer to an upgrade request; return why it was refused, or "" when it was accepted."""
    if request.path != PATH:
        response = websocket.reject(http.HTTPStatus.NOT_FOUND, "There is nothing here.\n")
    else:
        response = websocket.accept(request)
    websocket.send_response(response)
    if websocket.state is State.OPEN:
        return ""
    return f"refused an upgrade request with HTTP status {response.status_code}"


def upgrade_failure(websocket: Protocol) -> str:
    """Say in one line why the upgrade of a dialled websocket failed."""
    cause = websocket.handshake_exc
    if isinstance(cause, InvalidStatus):
        return f"the websocket was refused with HTTP status {cause.response.status_code}"
    return f"the websocket was not opened: {clean(str(cause), 200)}" if cause else "the websocket was not opened"


def objection(frame: Frame) -> str:
    """Say why a data frame cannot be taken, "" if it can.

    A text message can: it is no frame of the protocol either way, and its sender gets an error that says so.
    """
    if not frame.fin or frame.opcode is Opcode.CONT:
        return "fragmented messages are not part of the protocol"
    return ""


def say_goodbye(websocket: Protocol, reason: str) -> None:
    """Queue a close frame for a normal end, if one may still be sent."""
    if websocket.state is State.OPEN:
        websocket.send_close(CloseCode.NORMAL_CLOSURE, cut_bytes(reason, MAX_REASON_BYTES))


def farewell(websocket: Protocol) -> str:
    """Return why the websocket ended, if it knows: the peer's reason (cleaned) or the fault that we found."""
    if websocket.parser_exc is not None and not isinstance(websocket.parser_exc, EOFError):
        return clean(f"the peer broke the websocket protocol: {websocket.parser_exc}", 200)
    if websocket.close_rcvd is not None:
        reason = websocket.close_rcvd.reason or f"code {websocket.close_rcvd.code}"
        return f"closed by the peer: {clean(reason, 200)}"
    return ""
