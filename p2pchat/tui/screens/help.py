"""All keys, read from the bindings themselves, and what the signs mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.keys import format_key
from textual.screen import ModalScreen

from p2pchat.tui import texts
from p2pchat.tui.cells import width_of, wrap
from p2pchat.tui.model import Tick
from p2pchat.tui.screens.sheet import HORIZONTAL
from p2pchat.tui.theme import Marks
from p2pchat.tui.widgets.painted import Piece
from p2pchat.tui.widgets.paper import Line, Paper

if TYPE_CHECKING:
    from textual.dom import DOMNode

_NAMES = {
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "escape": "Esc",
    "enter": "Enter",
    "home": "Home",
    "end": "End",
    "tab": "Tab",
    "slash": "/",
    "plus": "+",
    "space": "Space",
    "delete": "Del",
    "question_mark": "?",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
}


def key_name(key: str, *, ascii_only: bool = False) -> str:
    """What is printed on the keyboard."""
    *held, last = key.split("+") if key != "+" else ["+"]
    names = {"ctrl": "Ctrl", "alt": "Alt", "shift": "Shift"}
    arrows = ascii_only and last in ("up", "down", "left", "right")
    name = last.capitalize() if arrows else _NAMES.get(last, last if len(last) == 1 else format_key(last).upper())
    if held and len(name) == 1:
        name = name.upper()
    return "+".join([*(names.get(part, part) for part in held), name])


def bindings_of(owner: type[DOMNode]) -> list[tuple[list[str], str]]:
    """The keys and descriptions that a class itself adds."""
    found: list[tuple[list[str], str]] = []
    for item in owner.__dict__.get("BINDINGS", ()):
        assert isinstance(item, Binding)
        found.append((item.key.split(","), item.description))
    return found


class HelpScreen(ModalScreen[None]):
    """A card with everything that can be pressed."""

    HORIZONTAL_BREAKPOINTS = HORIZONTAL
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1", "close", "Close", show=False)]

    def __init__(self, sections: list[tuple[str, type[DOMNode]]], marks: Marks) -> None:
        super().__init__()
        self._sections = sections
        self._marks = marks

    def compose(self) -> ComposeResult:
        """A card with a sheet of paper."""
        with Vertical(classes="card") as card:
            card.border_title = texts.HELP_TITLE
            card.border_subtitle = texts.HELP_FOOT
            yield Paper(id="keys")

    def on_mount(self) -> None:
        self.query_one(Paper).focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        width = max(30, self.query_one(Paper).scrollable_content_region.width)
        lines: list[Line] = []
        for title, owner in self._sections:
            rows = bindings_of(owner)
            if rows:
                lines += [[], [("title", title)]]
            for keys, words in rows:
                shown = "  ".join(dict.fromkeys(key_name(key, ascii_only=self._marks.ascii) for key in keys))
                lines += _two_columns(("key", shown), words, width)
        lines += [[], [("title", texts.HELP_SIGNS)]]
        for tick, words in texts.TICK_WORDS.items():
            if words:
                ink = {Tick.READ: "tick-read", Tick.FAILED: "bad", Tick.PENDING: "warn"}.get(tick, "quiet")
                lines += _two_columns((ink, self._marks.ticks[tick]), words, width)
        for presence, words in texts.PRESENCE_LEGEND.items():
            lines += _two_columns(("good", self._marks.presence[presence]), words, width)
        lines += _two_columns(("accent", self._marks.request), texts.REQUEST_LEGEND, width)
        self.query_one(Paper).put(lines[1:])

    def action_close(self) -> None:
        self.dismiss()


def _two_columns(left: Piece, words: str, width: int) -> list[Line]:
    column = min(24, max(18, width // 3))
    used = width_of(left[1]) + 2
    first, *rest = wrap(words, width - column - 2)
    if used >= column:
        return [[("", "  "), left], *([("", " " * column), ("text", line)] for line in (first, *rest))]
    lines: list[Line] = [[("", "  "), left, ("", " " * (column - used)), ("text", first)]]
    lines += [[("", " " * column), ("text", line)] for line in rest]
    return lines
