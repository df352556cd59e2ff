"""What the screen needs of a client of the local API, as a protocol; tests put a scripted engine behind it.

Methods and their types are those of :data:`p2pchat.api.types.METHODS`. A client raises
:class:`p2pchat.errors.ApiError` for an engine's refusal and :class:`p2pchat.errors.EngineUnavailable` when the
connection is or goes away; both streams end by that error, too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Protocol

from p2pchat.api.types import Event, Struct


class Client(Protocol):
    """One connection to the engine."""

    async def call(self, method: str, params: Struct) -> Any:
        """Ask the engine; the result has the type that ``METHODS`` names."""
        ...

    async def subscribe(self) -> AsyncGenerator[Event, None]:
        """Subscribe to live events; returns once the engine has agreed, so that nothing after it is missed."""
        ...

    def logs(self, log: str, lines: int) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the last lines of a log and then follow it, until the iterator is closed."""
        ...

    async def close(self) -> None:
        """Give the connection up; harmless when it is gone."""
        ...


Connect = Callable[[], Awaitable[Client]]
"""Finds or starts the engine and connects; raises ``EngineUnavailable``."""
