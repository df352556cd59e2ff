"""What the methods of the local API work with, in one place, and one request under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import msgspec

from p2pchat.api.types import ErrorCode
from p2pchat.core.effects import Refused, Result
from p2pchat.engine import rpc
from p2pchat.engine.connection import Connection
from p2pchat.engine.hub import Hub
from p2pchat.engine.journal import Journal
from p2pchat.engine.resolve import ID_CHARS, resolve
from p2pchat.engine.runtime import Runtime
from p2pchat.engine.stats import Counters
from p2pchat.engine.storage import Storage
from p2pchat.engine.waits import Waits
from p2pchat.errors import ApiError, StoreError
from p2pchat.logs import Logs
from p2pchat.model import Address, DeviceId, MessageId, parse_message_id
from p2pchat.paths import Paths
from p2pchat.store.failures import NoSuchMessage
from p2pchat.store.interface import Reader

T = TypeVar("T")

RESOLVED_FOR_S: Final = 0.25
"""How long a name that was resolved stays resolved: whoever sends a burst is not looked up each time."""


class Transport(Protocol):
    """What the methods need of the network."""

    @property
    def port(self) -> int: ...

    def addresses(self) -> tuple[Address, ...]: ...


@dataclass(frozen=True, slots=True)
class About:
    """Who and where this engine is."""

    device_id: DeviceId
    name: str
    listen_host: str
    started_at_ms: int
    started_mono_s: float
    paths: Paths


@dataclass(slots=True)
class Services:
    """Everything that answers come from.

    Attributes:
        discovery: in words, how discovery is.
        notes: what a person should know once.
        stop: ends the engine, soon.
    """

    about: About
    runtime: Runtime
    storage: Storage
    transport: Transport
    hub: Hub
    waits: Waits
    counters: Counters
    journal: Journal
    logs: Logs
    discovery: Callable[[], str]
    stop: Callable[[], None]
    notes: list[str] = field(default_factory=list)
    _resolved: dict[str, tuple[DeviceId, float]] = field(default_factory=dict)

    def whom(self, text: str) -> DeviceId:
        """Return the peer that a person means.

        Raises:
            ApiError: nobody, or more than one.
        """
        now = self.runtime.now()
        known = self._resolved.get(text)
        if known is not None and now.mono_s < known[1]:
            return known[0]
        if len(text) == ID_CHARS and self.runtime.node.peer(DeviceId(text), now) is not None:
            found = DeviceId(text)
        else:
            found = resolve(text, self.runtime.node.peers(now)).peer
        if len(self._resolved) > 100:
            self._resolved.clear()
        self._resolved[text] = (found, now.mono_s + RESOLVED_FOR_S)
        return found

    def peers_changed(self) -> None:
        """Look everybody up anew."""
        self._resolved.clear()

    def name_of(self, peer: DeviceId) -> str:
        """What to call a peer; the start of its id if it is unknown."""
        try:
            view = self.runtime.node.peer(peer, self.runtime.now())
        except ApiError:
            view = None
        return peer[:8] if view is None else view.name

    def names(self) -> dict[DeviceId, str]:
        """What to call everybody who is known."""
        return {view.peer: view.name for view in self.runtime.node.peers(self.runtime.now())}


class Call:
    """One request under way: exactly one of :meth:`answer` and :meth:`refuse` ends it."""

    __slots__ = ("_done", "_request_id", "connection", "services")

    def __init__(
        self, services: Services, connection: Connection, request_id: int | str | msgspec.UnsetType | None
    ) -> None:
        self.services = services
        self.connection = connection
        self._request_id = request_id
        self._done = False
        connection.begin()

    def answer(self, result: Any) -> None:
        """It was done."""
        self._end(None if self._request_id is msgspec.UNSET else rpc.encode_result(self._request_id, result))

    def refuse(self, error: ApiError) -> None:
        """It was not done."""
        self._end(None if self._request_id is msgspec.UNSET else rpc.encode_error(self._request_id, error))

    def _end(self, line: bytes | None) -> None:
        if not self._done:
            self._done = True
            self.connection.answer(line)

    def read(self, query: Callable[[Reader], T], then: Callable[[T], None]) -> None:
        """Ask the store in its reader's thread and go on with the answer; a failure refuses the request."""
        self.services.storage.read(query, lambda found: self.guard(lambda: then(found)), self._store_failed)

    def guard(self, step: Callable[[], None]) -> None:
        """Run a step of the request; an :class:`ApiError` from it refuses the request."""
        try:
            step()
        except ApiError as error:
            self.refuse(error)

    def _store_failed(self, error: Exception) -> None:
        if isinstance(error, ApiError):
            self.refuse(error)
        elif isinstance(error, NoSuchMessage):
            self.refuse(ApiError(ErrorCode.NO_SUCH_MESSAGE, str(error)))
        elif isinstance(error, StoreError):
            self.refuse(ApiError(ErrorCode.STORAGE_FAILED, str(error)))
        else:
            self.services.journal.note("api:fault", 40, error=repr(error))
            self.refuse(ApiError(ErrorCode.STORAGE_FAILED, f"a fault of this program: {type(error).__name__}"))


def checked(result: Result, kind: type[T]) -> T:
    """Return a command's result, which has this type.

    Raises:
        ApiError: the node refused.
    """
    if isinstance(result, Refused):
        raise ApiError(result.code, result.text)
    assert isinstance(result, kind)
    return result


def message_id_of(text: str) -> MessageId:
    """Read a message id.

    Raises:
        ApiError: it is not one.
    """
    try:
        return parse_message_id(text)
    except ValueError as error:
        raise ApiError(ErrorCode.BAD_REQUEST, str(error)) from None
