"""Takes requests of all clients and hands them to their methods."""

from __future__ import annotations

import asyncio
import hmac
import logging
from typing import Final

import msgspec

from p2pchat.api.types import ErrorCode
from p2pchat.engine import methods, rpc
from p2pchat.engine.connection import STALL_S, Connection
from p2pchat.engine.services import Call, Services
from p2pchat.errors import ApiError

_log = logging.getLogger(__name__)

MAX_CLIENTS: Final = 200


class ApiServer:
    """All clients of one engine.

    Args:
        token: what a client must show first; None where the socket's folder keeps others out.
    """

    def __init__(
        self,
        services: Services,
        *,
        token: str | None = None,
        max_clients: int = MAX_CLIENTS,
        stall_s: float = STALL_S,
    ) -> None:
        self._services = services
        self._someone_left = asyncio.Event()
        self._max_clients = max_clients
        self._stall_s = stall_s
        self._connections: set[Connection] = set()
        self._token = token

    def __len__(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def make_connection(self) -> Connection:
        """Make the protocol of a new client."""
        return Connection(self, trusted=self._token is None, stall_s=self._stall_s)

    def end_all(self) -> None:
        """Hang up on everybody once what was written is sent."""
        for connection in list(self._connections):
            connection.end()

    async def all_gone(self) -> None:
        """Wait until everybody has hung up."""
        while self._connections:
            await self._someone_left.wait()
            self._someone_left.clear()

    def abort_all(self) -> None:
        """Hang up on everybody at once."""
        for connection in list(self._connections):
            connection.abort()

    # --- connections call these ---------------------------------------------------------------------------------

    def opened(self, connection: Connection) -> bool:
        """See :class:`p2pchat.engine.connection.Server`."""
        if len(self._connections) >= self._max_clients:
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        """See :class:`p2pchat.engine.connection.Server`."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._someone_left.set()

    def request(self, connection: Connection, line: bytes) -> None:
        """See :class:`p2pchat.engine.connection.Server`."""
        if not connection.trusted:
            self._check_token(connection, line)
            return
        try:
            request, params = rpc.decode(line)
        except rpc.Malformed as error:
            connection.send(rpc.encode_error(error.id, error))
            return
        call = Call(self._services, connection, request.id)
        try:
            methods.TABLE[request.method](call, params)
        except ApiError as error:
            call.refuse(error)
        except Exception as error:
            _log.exception("a request failed", extra={"method": request.method})
            text = f"a fault of this program: {type(error).__name__}"
            call.refuse(ApiError(ErrorCode.BAD_REQUEST, text))

    def _check_token(self, connection: Connection, line: bytes) -> None:
        try:
            shown = msgspec.json.decode(line, type=_Auth)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            shown = None
        if shown is None or not hmac.compare_digest(shown.params.token.encode(), (self._token or "").encode()):
            error = ApiError(ErrorCode.BAD_REQUEST, "the first request must be auth with the token of the token file")
            connection.end(rpc.encode_error(None if shown is None else shown.id, error))
            return
        connection.trusted = True
        connection.send(rpc.encode_result(shown.id, {"ok": True}))


class _Token(msgspec.Struct, frozen=True):
    token: str


class _Auth(msgspec.Struct, frozen=True, tag_field="method", tag="auth"):
    params: _Token
    id: int | str | None = None
