"""Asks before something that cannot be undone; No is where the cursor is."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from p2pchat.tui import texts
from p2pchat.tui.cells import wrap
from p2pchat.tui.screens.sheet import HORIZONTAL
from p2pchat.tui.widgets.painted import Piece, Rows


class ConfirmScreen(ModalScreen[bool]):
    """A question with the answers yes and no."""

    HORIZONTAL_BREAKPOINTS = HORIZONTAL
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes, do it", show=False),
        Binding("n,escape,enter", "answer(False)", "No, leave it", show=False),
    ]

    def __init__(self, title: str, question: str, yes: str) -> None:
        super().__init__()
        self._title = title
        self._question = question
        self._yes = yes

    def compose(self) -> ComposeResult:
        """A small card."""
        with Vertical(classes="card card-small") as card:
            card.border_title = self._title
            yield Rows(id="question")

    def on_mount(self) -> None:
        self.call_after_refresh(self._fill)

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        rows = self.query_one(Rows)
        lines: list[tuple[list[Piece], list[Piece]]] = [([], [])]
        lines += [([("text", line)], []) for line in wrap(self._question, max(20, rows.size.width - 1))]
        keys: list[Piece] = [("key @screen.answer(True)", "y"), ("bad @screen.answer(True)", f" {self._yes}   ")]
        keys += [("key @screen.answer(False)", "n"), ("text @screen.answer(False)", f" {texts.KEEP}")]
        rows.put(*lines, ([], []), (keys, []), ([], []))

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)
