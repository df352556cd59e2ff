"""Asks for one line; what came of it, or why it did not work, is said in the same card."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from p2pchat.errors import ApiError
from p2pchat.tui import texts
from p2pchat.tui.cells import line_text, wrap
from p2pchat.tui.screens.sheet import HORIZONTAL
from p2pchat.tui.widgets.painted import Piece, Rows


class PromptScreen(ModalScreen[None]):
    """A field, a hint, and the answer of ``submit``, which raises ``ApiError`` for a refusal."""

    HORIZONTAL_BREAKPOINTS = HORIZONTAL
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Close without doing it", show=False)]

    def __init__(self, title: str, hint: str, value: str, submit: Callable[[str], Awaitable[None]]) -> None:
        super().__init__()
        self._title = title
        self._hint = hint
        self._value = value
        self._submit = submit

    def compose(self) -> ComposeResult:
        """A small card with the field."""
        with Vertical(classes="card card-small") as card:
            card.border_title = self._title
            yield Input(value=self._value, id="answer", select_on_focus=True)
            yield Rows(id="prompt-word")

    def on_mount(self) -> None:
        field = self.query_one(Input)
        field.cursor_blink = False
        field.focus()
        self.call_after_refresh(self._say, "quiet", self._hint)

    def _say(self, ink: str, text: str) -> None:
        rows = self.query_one(Rows)
        lines: list[tuple[list[Piece], list[Piece]]] = []
        lines += [([(ink, line)], []) for line in wrap(text, max(20, rows.size.width - 1))[:6]]
        rows.put(*lines, ([], []))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self._say("accent", texts.ADD_BUSY)
        self.run_worker(self._try(event.value.strip()), group="prompt", exclusive=True)

    async def _try(self, value: str) -> None:
        try:
            await self._submit(value)
        except ApiError as error:
            self._say("bad", line_text(str(error), 400))
        else:
            self.dismiss()

    def action_close(self) -> None:
        self.dismiss()
