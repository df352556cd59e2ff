"""Rows made of pieces: a style's name and a text, never markup.

Every row that leaves :meth:`Painted.row` is exactly as wide as asked for, whatever the text is. The style names
are those of :data:`p2pchat.tui.theme.INKS`. They are no component classes: Textual would style two dozen of them for
every widget whenever a class changes, which costs more than all the drawing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from p2pchat.tui.cells import cut, width_of
from p2pchat.tui.theme import INKS

Piece = tuple[str, str]
"""A style's name (or several, separated by spaces; ``@action`` makes it clickable) and a steady text."""

_PLAIN: Final = str.maketrans("·…“”’╰│↑↓←→", '-~""\'`|^v<>')
"""For terminals that have nothing but ASCII, one sign for one: our own typography, and theirs alike."""


class Painted(Widget):
    """A widget that draws rows itself."""

    _inks: dict[str, Style] | None = None

    def notify_style_update(self) -> None:
        """Forget the colours of the old theme."""
        super().notify_style_update()
        self.forget_inks()

    def forget_inks(self) -> None:
        """Mix the styles anew with what is drawn next."""
        self._inks = None

    def ink(self, names: str) -> Style:
        """The style of a piece on this widget's own background."""
        if self._inks is None:
            self._inks = {}
        if names not in self._inks:
            self._inks[names] = self._mix(names)
        return self._inks[names]

    def _mix(self, names: str) -> Style:
        style = self.rich_style
        for name in names.split():
            if name.startswith("@"):
                style += Style.from_meta({"@click": name[1:]})
            else:
                style += INKS[name].style(self.app.theme_variables)
        return style

    def row(
        self, left: Iterable[Piece], width: int, right: Iterable[Piece] = (), *, under: str = "", pad: str = " "
    ) -> Strip:
        """Draw one row: ``left`` is cut where ``right`` begins; ``under`` is a style below all pieces."""
        right = list(right)
        room = max(0, width - sum(width_of(text) for _, text in right))
        segments, used = self._segments(left, room, under)
        if used < room:
            segments.append(Segment(pad * (room - used), self.ink(under)))
        more, _ = self._segments(right, width, under)
        return Strip(segments + more).adjust_cell_length(width, self.ink(under))

    def _segments(self, pieces: Iterable[Piece], room: int, under: str) -> tuple[list[Segment], int]:
        segments: list[Segment] = []
        used = 0
        plain = self.app.has_class("ascii")
        for names, text in pieces:
            if used >= room:
                break
            text = cut(text.translate(_PLAIN) if plain else text, room - used, "~" if plain else "…")
            segments.append(Segment(text, self.ink(f"{names} {under}")))
            used += width_of(text)
        return segments, used


class Rows(Painted):
    """A widget that shows a few rows and repaints only when they differ."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._rows: tuple[tuple[tuple[Piece, ...], tuple[Piece, ...], str], ...] = ()

    def put(
        self, *rows: tuple[Iterable[Piece], Iterable[Piece]] | tuple[Iterable[Piece], Iterable[Piece], str]
    ) -> None:
        """Show these rows: pieces from the left, pieces at the right, and perhaps the style below them."""
        new = tuple((tuple(row[0]), tuple(row[1]), row[2] if len(row) == 3 else "") for row in rows)
        if new == self._rows:
            return
        grown = len(new) != len(self._rows)
        self._rows = new
        self.refresh(layout=grown)

    @property
    def plain(self) -> str:
        """What it says, without styles."""
        return "\n".join("".join(text for _, text in (*left, *right)) for left, right, _ in self._rows)

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return len(self._rows)

    def render_line(self, y: int) -> Strip:
        """Draw row ``y`` of the widget, padding and all within its size."""
        width = self.size.width
        if not 0 <= y < len(self._rows):
            return Strip.blank(width, self.rich_style)
        left, right, under = self._rows[y]
        return self.row(left, width, right, under=under)
