"""The Textual application: it owns the screens, the theme and the controller's one worker.

The first picture is painted before the engine is asked anything. Changes that the controller reports are gathered
and drawn once a turn of the event loop; a screen that is not on top is drawn when it is shown again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding, BindingType
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen

from p2pchat.api.types import PeerAddParams, PeerParams, PeerRenameParams
from p2pchat.errors import ApiError
from p2pchat.tui import texts
from p2pchat.tui.cells import line_text, name_text
from p2pchat.tui.controller import Controller, Part
from p2pchat.tui.keys import know_alt_enter
from p2pchat.tui.port import Client, Connect
from p2pchat.tui.screens.main import MainScreen
from p2pchat.tui.theme import DARK, LIGHT, Marks, marks_for
from p2pchat.tui.widgets.composer import Composer
from p2pchat.tui.widgets.conversation import ConversationView
from p2pchat.tui.widgets.painted import Painted
from p2pchat.tui.widgets.people import People

EXIT_NO_ENGINE = 6
ADD_TIMEOUT_S = 90.0


class ChatApp(App[int]):
    """The terminal screen of p2pchat."""

    CSS_PATH = "p2pchat.tcss"
    TITLE = texts.TITLE
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "These keys", show=False, priority=True),
        Binding("f3", "outbox", "Outbox: what waits, and why", show=False, priority=True),
        Binding("f4", "letters", "Dead letters: retry, purge", show=False, priority=True),
        Binding("f5", "logs", "Log: heartbeats, latency, engine", show=False, priority=True),
        Binding("f6", "theme", "Light or dark", show=False, priority=True),
        Binding("f7", "add", "Add somebody by address or invite", show=False, priority=True),
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True),
        Binding("ctrl+c", "hint_quit", "Copy the selection; says how to quit", show=False),
    ]

    def __init__(
        self,
        connect: Connect,
        *,
        zone: tzinfo | None = None,
        marks: Marks | None = None,
        light: bool = False,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        """Make the app; ``zone`` is the local time zone when None, ``marks`` are chosen for the terminal when None."""
        super().__init__()
        know_alt_enter()
        self.zone = zone
        self.marks = marks_for() if marks is None else marks
        self.controller = Controller(connect, self) if now_ms is None else Controller(connect, self, now_ms=now_ms)
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = LIGHT.name if light else DARK.name
        self._parts: set[Part] = set()
        self._main = MainScreen()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own variables, for themes that do not have them."""
        return dict(DARK.variables)

    def get_default_screen(self) -> Screen[Any]:
        """Start with the conversation, not with an empty screen below it."""
        return self._main

    def on_mount(self) -> None:
        self.animation_level = "none"
        if self.marks.ascii:
            self.add_class("ascii")
        self.call_after_refresh(self._talk_to_engine)

    @work(group="engine")
    async def _talk_to_engine(self) -> None:
        await self.controller.run()

    # --- the controller's stage ---------------------------------------------------------------------------------

    def changed(self, part: Part) -> None:
        """Draw this part with the others that change in the same turn."""
        if not self._parts:
            self.call_later(self._draw)
        self._parts.add(part)

    def _draw(self) -> None:
        parts = frozenset(self._parts)
        self._parts.clear()
        for screen in self.screen_stack:
            if not screen.is_mounted:
                continue
            drawn = getattr(screen, "desk_changed", None)
            if drawn is not None and (screen.is_current or screen is self._main):
                drawn(parts)

    def say(self, text: str, *, problem: bool = False) -> None:
        """Show a passing notice; the text is never read as markup."""
        self.notify(text, severity="error" if problem else "information", timeout=6 if problem else 3, markup=False)

    def give_back(self, peer: str, body: str) -> None:
        """Put a refused text back to where it was written."""
        self._main.give_back(peer, body)

    # --- for the screens ----------------------------------------------------------------------------------------

    def when(self, at_ms: int, beside_ms: int) -> str:
        """A time of day, with the day when it is not the day of the other time."""
        if texts.day(at_ms, self.zone) == texts.day(beside_ms, self.zone):
            return texts.clock(at_ms, self.zone)
        return texts.day_and_clock(at_ms, self.zone).strip()

    def copy(self, text: str) -> None:
        """Put a text on the clipboard of the terminal."""
        self.copy_to_clipboard(text)
        self.say(texts.copied(text))

    def show_details(self, message_id: str) -> None:
        """Open the card of a message."""
        from p2pchat.tui.screens.details import DetailsScreen

        self.push_screen(DetailsScreen(message_id))

    @work(group="letters")
    async def do_letters(self, method: str, message_ids: list[str] | None) -> None:
        """Retry or purge dead letters and say how many."""
        try:
            number = await self.controller.letters(method, message_ids)
        except ApiError as error:
            self.say(line_text(str(error)), problem=True)
        else:
            self.say(texts.retried(number) if method == "dlq.retry" else texts.purged(number))

    # --- keys ---------------------------------------------------------------------------------------------------

    def _turn_to(self, make: Callable[[], Screen[Any]], kind: type[Screen[Any]]) -> None:
        """Open a full screen in place of the one that is open; the same key again goes back. Cards stay."""
        if isinstance(self.screen, ModalScreen):
            return
        here = self.screen
        if here is not self._main:
            self.pop_screen()
        if not isinstance(here, kind):
            self.push_screen(make())

    def action_help(self) -> None:
        from p2pchat.tui.screens.help import HelpScreen

        if not isinstance(self.screen, ModalScreen):
            self.push_screen(HelpScreen(help_sections(), self.marks))
        elif isinstance(self.screen, HelpScreen):
            self.pop_screen()

    def action_outbox(self) -> None:
        from p2pchat.tui.screens.outbox import OutboxScreen

        self._turn_to(OutboxScreen, OutboxScreen)

    def action_letters(self) -> None:
        from p2pchat.tui.screens.letters import LettersScreen

        self._turn_to(LettersScreen, LettersScreen)

    def action_logs(self) -> None:
        from p2pchat.tui.screens.logs import LogScreen

        self._turn_to(LogScreen, LogScreen)

    def action_theme(self) -> None:
        self.theme = LIGHT.name if self.theme == DARK.name else DARK.name
        for screen in self.screen_stack:
            for widget in screen.query(Painted):
                widget.forget_inks()
                widget.refresh()

    def action_hint_quit(self) -> None:
        self.say(texts.QUIT_HINT)

    async def action_quit(self) -> None:
        """End; 6 when the engine was never reached, as every command does."""
        self.exit(0 if self.controller.desk.engine.ever_live else EXIT_NO_ENGINE)

    def action_add(self) -> None:
        self._ask(texts.ADD_TITLE, texts.ADD_HINT, "", self._add)

    async def _add(self, address: str) -> None:
        peer = await self.controller.act("peer.add", PeerAddParams(address=address), ADD_TIMEOUT_S)
        self.controller.open(peer.device_id)
        self.say(texts.added(name_text(peer.name) or peer.device_id[:8]))

    def action_rename(self) -> None:
        item = self.controller.desk.peer(self.controller.desk.open_peer)
        if item is not None:
            title = texts.rename_title(item.own_name or item.name)
            self._ask(title, texts.RENAME_HINT, item.alias, lambda name: self._rename(item.device_id, name))

    async def _rename(self, peer: str, name: str) -> None:
        await self.controller.act("peer.rename", PeerRenameParams(peer=peer, name=name))

    def _ask(self, title: str, hint: str, value: str, submit: Callable[[str], Any]) -> None:
        from p2pchat.tui.screens.prompt import PromptScreen

        if not isinstance(self.screen, ModalScreen):
            self.push_screen(PromptScreen(title, hint, value, submit))

    def action_accept(self) -> None:
        item = self.controller.desk.peer(self.controller.desk.open_peer)
        if item is not None and item.is_request:
            self._manage("peer.accept", item.device_id)

    def action_block(self) -> None:
        peer = self.controller.desk.open_peer
        if peer is not None and self.controller.desk.peer(peer) is not None:
            self._manage("peer.unblock" if self.controller.is_blocked(peer) else "peer.block", peer)

    @work(group="peer")
    async def _manage(self, method: str, peer: str) -> None:
        try:
            await self.controller.act(method, PeerParams(peer=peer))
        except ApiError as error:
            self.say(line_text(str(error)), problem=True)

    def watch_app_focus(self, focus: bool) -> None:
        """What is shown in a terminal without focus is not read."""
        if self._main.is_mounted:
            self._main.attend()


def help_sections() -> list[tuple[str, type[DOMNode]]]:
    """Whose keys the help shows, in its order."""
    from p2pchat.tui.screens.confirm import ConfirmScreen
    from p2pchat.tui.screens.details import DetailsScreen
    from p2pchat.tui.screens.help import HelpScreen
    from p2pchat.tui.screens.letters import LettersScreen
    from p2pchat.tui.screens.logs import LogScreen
    from p2pchat.tui.screens.outbox import OutboxScreen
    from p2pchat.tui.screens.prompt import PromptScreen
    from p2pchat.tui.screens.sheet import Sheet
    from p2pchat.tui.widgets.grid import Grid
    from p2pchat.tui.widgets.paper import Paper

    owners: tuple[type[DOMNode], ...] = (
        ChatApp,
        MainScreen,
        Composer,
        ConversationView,
        People,
        DetailsScreen,
        LettersScreen,
        OutboxScreen,
        LogScreen,
        Grid,
        Paper,
        Sheet,
        PromptScreen,
        ConfirmScreen,
        HelpScreen,
    )
    return [(texts.HELP_SECTIONS[owner.__name__], owner) for owner in owners]


def connector(locate: Callable[[], Path]) -> Connect:
    """Make a connection factory of a blocking search for the engine's socket, which may start the engine.

    The connections do not heal themselves: a loss is to be seen on the screen, and the controller connects anew.
    """

    async def connect() -> Client:
        from p2pchat.api.client import Client as ApiClient

        path = await _in_thread(locate)
        return ApiClient(lambda: path, patience_s=0.0)

    return connect


async def _in_thread(search: Callable[[], Path]) -> Path:
    """Run a search in a thread that does not keep the process alive when the person quits meanwhile."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Path] = loop.create_future()

    def settle(path: Path | None, error: BaseException | None) -> None:
        if found.done():
            return
        if path is not None:
            found.set_result(path)
        else:
            found.set_exception(error or RuntimeError("no result"))

    def work_on_it() -> None:
        path: Path | None = None
        failure: BaseException | None = None
        try:
            path = search()
        except Exception as error:
            failure = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, path, failure)

    threading.Thread(target=work_on_it, name="p2pchat-connect", daemon=True).start()
    return await found


def run(locate: Callable[[], Path], *, light: bool = False, marks: Marks | None = None) -> int:
    """Show the screen until the person quits; return the process's exit code.

    Args:
        locate: returns the socket of the engine, starting one if need be (``api.launch.Launcher.locate``); blocks.
        light: begin with the light theme.
        marks: the signs to use; chosen for the terminal when None.
    """
    code = ChatApp(connector(locate), light=light, marks=marks).run()
    return code if isinstance(code, int) else 1
