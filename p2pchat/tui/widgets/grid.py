"""A list with columns and a cursor; only the rows in view are drawn.

The cursor stays with its row's key while rows come and go. The first line is the heading, when there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from p2pchat.tui.cells import fit
from p2pchat.tui.widgets.painted import Painted, Piece


@dataclass(frozen=True, slots=True)
class Column:
    """``width`` cells, or (0) what is left over; hidden when the list is narrower than ``from_width``."""

    title: str
    width: int
    from_width: int = 0
    right: bool = False


@dataclass(frozen=True, slots=True)
class GridRow:
    """One row: a key and, for each column, a style's name and a steady text."""

    key: str
    cells: tuple[Piece, ...]


class Grid(Painted, ScrollView):
    """Draws rows under a heading."""

    can_focus = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "move(-10)", "Ten up", show=False),
        Binding("pagedown", "move(10)", "Ten down", show=False),
        Binding("home", "move(-1000000)", "First", show=False),
        Binding("end", "move(1000000)", "Last", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]

    @dataclass
    class Moved(Message):
        """The cursor is at another row."""

        grid: Grid
        key: str | None

        @property
        def control(self) -> Grid:
            return self.grid

    @dataclass
    class Chosen(Message):
        """A row was chosen with Enter or the mouse."""

        grid: Grid
        key: str

        @property
        def control(self) -> Grid:
            return self.grid

    def __init__(
        self, columns: Sequence[Column], *, heading: bool = True, empty: str = "", id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._heading = heading
        self._empty = empty
        self._rows: tuple[GridRow, ...] = ()
        self._cursor = 0

    @property
    def rows(self) -> tuple[GridRow, ...]:
        """What is listed."""
        return self._rows

    @property
    def key(self) -> str | None:
        """The key of the row under the cursor."""
        return self._rows[self._cursor].key if self._rows else None

    def put(self, rows: Sequence[GridRow]) -> None:
        """List these rows; repaints only if they differ."""
        new = tuple(rows)
        if new == self._rows:
            return
        key, count = self.key, len(self._rows)
        self._rows = new
        self._cursor = next((i for i, row in enumerate(new) if row.key == key), min(self._cursor, max(0, len(new) - 1)))
        if len(new) != count:
            self.virtual_size = Size(self.scrollable_content_region.width, len(new) + self._heading)
        self.refresh()
        if self.key != key:
            self.post_message(self.Moved(self, self.key))

    def point_at(self, key: str | None) -> None:
        """Put the cursor on a row."""
        for index, row in enumerate(self._rows):
            if row.key == key and index != self._cursor:
                self._set_cursor(index, tell=False)

    def _set_cursor(self, index: int, *, tell: bool = True) -> None:
        index = min(max(0, index), len(self._rows) - 1)
        if not self._rows or index == self._cursor:
            return
        self._cursor = index
        height = max(1, self.scrollable_content_region.height - self._heading)
        y = self.scroll_offset.y
        if index < y:
            self.scroll_to(y=index, animate=False, force=True)
        elif index >= y + height:
            self.scroll_to(y=index - height + 1, animate=False, force=True)
        self.refresh()
        if tell:
            self.post_message(self.Moved(self, self.key))

    def action_move(self, step: int) -> None:
        self._set_cursor(self._cursor + step)

    def action_choose(self) -> None:
        if self.key is not None:
            self.post_message(self.Chosen(self, self.key))

    async def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse is and choose."""
        at = event.y - self._heading + self.scroll_offset.y
        if (event.y or not self._heading) and 0 <= at < len(self._rows):
            self._set_cursor(at)
            self.action_choose()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_resize(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows) + self._heading)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw one line: the heading, a row, or nothing."""
        width = self.scrollable_content_region.width
        if self._heading and y == 0:
            return self._line(tuple(("quiet bold", column.title) for column in self._columns), width, "")
        at = y - self._heading + self.scroll_offset.y
        if not self._rows and at == 1 and self._empty:
            return self.row([("quiet", f" {self._empty}")], width)
        if not 0 <= at < len(self._rows):
            return Strip.blank(width, self.rich_style)
        under = ""
        if at == self._cursor:
            under = "cursor" if self.has_focus else "cursor-idle"
        return self._line(self._rows[at].cells, width, under)

    def _line(self, cells: tuple[Piece, ...], width: int, under: str) -> Strip:
        shown = [(c, p) for c, p in zip(self._columns, cells, strict=False) if width >= c.from_width]
        fixed = sum(column.width + 1 for column, _ in shown if column.width)
        elastic = max(1, sum(not column.width for column, _ in shown))
        rest = max(4, (width - fixed - 1) // elastic - 1)
        pieces: list[Piece] = [("", " ")]
        for column, (ink, text) in shown:
            pieces += [(ink, fit(text, column.width or rest, right=column.right)), ("", " ")]
        return self.row(pieces, width, under=under)

    @property
    def plain(self) -> str:
        """What is in view, without styles."""
        return "\n".join(self.render_line(y).text.rstrip() for y in range(self.scrollable_content_region.height))
