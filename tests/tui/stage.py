"""The screen on a fake engine, for tests: start it, wait for what is to be seen, read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any

from textual import events
from textual.pilot import Pilot

from p2pchat.tui.app import ChatApp
from p2pchat.tui.screens.main import MainScreen
from p2pchat.tui.theme import UNICODE, Marks
from p2pchat.tui.widgets.composer import Composer
from p2pchat.tui.widgets.conversation import ConversationView
from p2pchat.tui.widgets.people import People
from tests.tui.fake import FakeEngine

DEADLINE_S = 10.0


class Stage:
    """One running screen."""

    def __init__(self, app: ChatApp, pilot: Pilot[int], engine: FakeEngine) -> None:
        self.app = app
        self.pilot = pilot
        self.engine = engine

    @property
    def main(self) -> MainScreen:
        """The main screen, on top or not."""
        return next(screen for screen in self.app.screen_stack if isinstance(screen, MainScreen))

    @property
    def talk(self) -> ConversationView:
        return self.main.query_one(ConversationView)

    @property
    def people(self) -> People:
        return self.main.query_one(People)

    @property
    def composer(self) -> Composer:
        return self.main.query_one(Composer)

    @property
    def text(self) -> str:
        """The whole screen as text."""
        return "\n".join(self.rows)

    @property
    def rows(self) -> list[str]:
        """The rows of the screen, each as wide as it."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips()
        return [strip.text for strip in strips[:height] if width]

    async def until(self, check: Callable[[], Any], what: str = "") -> None:
        """Wait until something is so; fail with the screen when it does not become so."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + DEADLINE_S
        while not check():
            if loop.time() > end_s:
                raise AssertionError(f"never: {what or 'what was waited for'}\n{self.text}")
            await asyncio.sleep(0.005)

    async def sees(self, *texts: str) -> None:
        """Wait until all these texts are on the screen."""
        await self.until(lambda: all(text in self.text for text in texts), f"{texts!r} on the screen")

    def tick_of(self, body: str) -> str:
        """The sign at the end of a message's row."""
        row = next((line for line in self.talk.plain.splitlines() if body in line), "? ?")
        return row.split()[-1]

    async def ticks(self, body: str, sign: str) -> None:
        """Wait until a message has this sign."""
        await self.until(lambda: self.tick_of(body) == sign, f"{body!r} with {sign}")

    async def press(self, *keys: str) -> None:
        """Press keys."""
        await self.pilot.press(*keys)

    async def write(self, text: str) -> None:
        """Enter a text where the focus is, as one insertion: many keys take many turns."""
        focused = self.app.screen.focused
        assert focused is not None
        focused.post_message(events.Paste(text))
        await self.pilot.pause()


@asynccontextmanager
async def showing(
    engine: FakeEngine,
    *,
    size: tuple[int, int] = (80, 24),
    marks: Marks = UNICODE,
    light: bool = False,
    wait: bool = True,
) -> AsyncGenerator[Stage, None]:
    """Run the screen without a terminal."""
    app = ChatApp(engine.connect, zone=UTC, marks=marks, light=light, now_ms=lambda: engine.now)
    async with app.run_test(size=size, notifications=True) as pilot:
        stage = Stage(app, pilot, engine)
        if wait:
            await stage.until(lambda: app.controller.desk.peers_known, "the engine answered")
            if engine.peers:
                desk = app.controller.desk
                await stage.until(lambda: desk.current is not None and desk.current.loaded, "a conversation is loaded")
            await stage.until(lambda: app.controller.settled, "nothing under way")
            await pilot.pause()
        yield stage
