"""Keeps the connection to the engine: connect, subscribe, pass events on; when it is lost, say so and try again.

It never gives up: the engine may be replaced under a screen that stays. While there is no connection a question
is refused at once, and who wants to ask again waits for :attr:`Connection.live`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from p2pchat.api.types import Event, Struct
from p2pchat.errors import ApiError, EngineUnavailable
from p2pchat.tui import texts
from p2pchat.tui.cells import line_text
from p2pchat.tui.model import EngineState, Link
from p2pchat.tui.port import Client, Connect

CALL_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 20.0
FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 5.0
LOG_LINES: Final = 200


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told: of the connection's state, of having become live (before any event), of each event."""

    state: Callable[[EngineState], None]
    live: Callable[[], None]
    event: Callable[[Event], None]


class Connection:
    """One connection at a time, for as long as :meth:`run` runs."""

    def __init__(self, connect: Connect, listener: Listener) -> None:
        self._connect = connect
        self._listener = listener
        self._client: Client | None = None
        self._ever_live = False
        self.live = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        delay_s = FIRST_RETRY_S
        while True:
            detail, connected = "", False
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    client = await self._connect()
                try:
                    async with asyncio.timeout(CALL_TIMEOUT_S):
                        events = await client.subscribe()
                    delay_s, connected = FIRST_RETRY_S, True
                    self._went_live(client)
                    async with aclosing(events):
                        async for event in events:
                            self._listener.event(event)
                finally:
                    self._client = None
                    self.live.clear()
                    await client.close()
            except TimeoutError:
                detail = texts.NO_ANSWER
            except (ApiError, OSError) as error:
                # How a cut looks from here helps nobody; why there is no new connection does.
                detail = "" if connected else line_text(str(error), 200)
            self._tell(Link.LOST, detail, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(LAST_RETRY_S, delay_s * 2)

    def _went_live(self, client: Client) -> None:
        self._client = client
        self._ever_live = True
        self.live.set()
        self._tell(Link.LIVE)
        self._listener.live()

    def _tell(self, link: Link, detail: str = "", retry_s: float = 0.0) -> None:
        self._listener.state(EngineState(link, detail, retry_s, self._ever_live))

    async def call(self, method: str, params: Struct, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Ask the engine.

        Raises:
            ApiError: it refused, or cannot be reached; the text is for the person.
        """
        client = self._client
        if client is None:
            raise EngineUnavailable(texts.NOT_CONNECTED)
        try:
            async with asyncio.timeout(timeout_s):
                return await client.call(method, params)
        except TimeoutError:
            raise EngineUnavailable(texts.no_answer_within(timeout_s)) from None
        except OSError as error:
            raise EngineUnavailable(str(error)) from error

    async def log(self, name: str) -> AsyncGenerator[dict[str, Any], None]:
        """Follow a log for ever, through losses of the engine."""
        lines = LOG_LINES
        while True:
            await self.live.wait()
            client = self._client
            if client is not None:
                try:
                    async with aclosing(client.logs(name, lines)) as stream:
                        async for record in stream:
                            yield record
                except (ApiError, OSError):
                    pass  # run() says so on the screen
                lines = 0  # what was shown is shown; only what is new is wanted
            await asyncio.sleep(FIRST_RETRY_S)
