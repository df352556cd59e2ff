"""Any number of finished rows to scroll through; may follow its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from p2pchat.tui.widgets.painted import Painted, Piece

Line = Sequence[Piece]


class Paper(Painted, ScrollView):
    """Draws rows of pieces; a row that is too long is cut."""

    can_focus = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", "Scroll up", show=False),
        Binding("down,j", "step(1)", "Scroll down", show=False),
        Binding("pageup", "leaf(-1)", "A page up", show=False),
        Binding("pagedown,space", "leaf(1)", "A page down", show=False),
        Binding("home,g", "to_end(False)", "To the top", show=False),
        Binding("end,G", "to_end(True)", "To the end", show=False),
    ]

    def __init__(self, *, follow: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[Line] = []
        self._follow = follow

    @property
    def lines(self) -> list[Line]:
        """All rows."""
        return self._lines

    def put(self, lines: Iterable[Line]) -> None:
        """Show these rows; the view stays where it is, or at the end if it follows and was there."""
        at_end = self.scroll_offset.y >= self.max_scroll_y
        new = list(lines)
        if new == self._lines:
            return
        self._lines = new
        self._measure()
        if self._follow and at_end:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)
        self.refresh()

    def _measure(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._lines))

    def on_resize(self) -> None:
        self._measure()
        if self._follow:
            self.scroll_to(y=self.max_scroll_y, animate=False, force=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines)

    def action_step(self, rows: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + rows, animate=False, force=True)

    def action_leaf(self, pages: int) -> None:
        self.action_step(pages * max(1, self.scrollable_content_region.height - 1))

    def action_to_end(self, end: bool) -> None:
        self.scroll_to(y=self.max_scroll_y if end else 0, animate=False, force=True)

    def render_line(self, y: int) -> Strip:
        """Draw the row that is ``y`` rows below the upper edge."""
        width = self.scrollable_content_region.width
        at = y + self.scroll_offset.y
        if at >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        return self.row(self._lines[at], width)

    @property
    def plain(self) -> str:
        """All rows, without styles."""
        return "\n".join("".join(text for _, text in line).rstrip() for line in self._lines)
