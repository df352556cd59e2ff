"""What the full screens share: a box, a keys line, and Escape back to the conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from p2pchat.tui.controller import Part
from p2pchat.tui.widgets.painted import Piece, Rows

if TYPE_CHECKING:
    from p2pchat.tui.app import ChatApp

HORIZONTAL = [(0, "-narrow"), (72, "-normal"), (110, "-wide")]


def keys_row(bindings: list[tuple[str, str, str]]) -> tuple[list[Piece], list[Piece]]:
    """A row of clickable keys: (key, word, action)."""
    pieces: list[Piece] = []
    for key, word, action in bindings:
        pieces += [(f"key @{action}", f" {key}"), (f"quiet @{action}", f" {word} ")]
    return pieces, []


class Sheet(Screen[None]):
    """A full screen over the conversation."""

    HORIZONTAL_BREAKPOINTS = HORIZONTAL
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "close", "Back to the conversation", show=False)]

    @property
    def chat(self) -> ChatApp:
        """The app, by its own type."""
        from p2pchat.tui.app import ChatApp

        assert isinstance(self.app, ChatApp)
        return self.app

    def desk_changed(self, parts: frozenset[Part]) -> None:
        """Something on the desk is different."""

    def action_close(self) -> None:
        self.dismiss()

    def show_keys(self, bindings: list[tuple[str, str, str]]) -> None:
        """Fill the keys line."""
        self.query_one(".sheet-keys", Rows).put(keys_row(bindings))
