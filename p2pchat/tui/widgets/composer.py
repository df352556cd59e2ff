"""Where messages are written: Enter sends, Alt+Enter, Ctrl+J or Shift+Enter begins a line.

Pasted text is one insertion and never sends anything, whatever line ends it has; control characters are left out
of it. What was written stays with its conversation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea

from p2pchat.model import MAX_BODY_BYTES, is_hostile

NEWLINE_KEYS: Final = frozenset({"alt+enter", "ctrl+j", "shift+enter", "ctrl+enter"})
PASTE_LIMIT_CHARS: Final = 4 * MAX_BODY_BYTES
SHOW_SIZE_FROM_BYTES: Final = MAX_BODY_BYTES * 3 // 4


def without_controls(text: str) -> str:
    """Take the control characters out of pasted text; tabs and line feeds stay."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char for char in text if char in "\n\t" or not is_hostile(char))


class Composer(TextArea):
    """A text area that sends."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Send", show=False),
        Binding("alt+enter,ctrl+j,shift+enter", "newline", "Begin a new line", show=False),
        Binding("pageup", "scroll_talk(-1)", "Scroll the conversation up", show=False),
        Binding("pagedown", "scroll_talk(1)", "Scroll the conversation down", show=False),
        Binding("tab", "reach(1)", "To the conversation", show=False),
        Binding("shift+tab", "reach(-1)", "To the people", show=False),
        Binding("escape", "newest", "To the newest message", show=False),
    ]

    @dataclass
    class Submitted(Message):
        """The person wants this text sent."""

        text: str

    @dataclass
    class Reach(Message):
        """The person wants to scroll (``page``), or to be in the conversation or the people (``to``)."""

        page: int = 0
        to: str = ""

    @dataclass
    class PasteRefused(Message):
        """The pasted text is much longer than a message can be."""

        size_bytes: int

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, soft_wrap=True, show_line_numbers=False, compact=True, highlight_cursor_line=False)
        self.cursor_blink = False
        self._hint = ""

    @property
    def size_bytes(self) -> int:
        """Length of the text in UTF-8."""
        return len(self.text.encode("utf-8", "replace"))

    def hint(self, text: str) -> None:
        """Say in the empty field what it is for; the text is never read as markup."""
        if text != self._hint:
            self._hint = text
            self.placeholder = Content(text)

    def replace_all(self, text: str) -> None:
        """Put another text in, the cursor behind it."""
        if text != self.text:
            self.load_text(text)
            self.move_cursor(self.document.end)

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.action_submit()
        elif event.key in NEWLINE_KEYS:
            event.stop()
            event.prevent_default()
            self.action_newline()
        elif event.key == "up" and self.cursor_location[0] == 0 and not self.text:
            event.stop()
            event.prevent_default()
            self.post_message(self.Reach(to="talk"))
        else:
            await super()._on_key(event)

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        if len(event.text) > PASTE_LIMIT_CHARS:
            self.post_message(self.PasteRefused(len(event.text.encode("utf-8", "replace"))))
            return
        if result := self._replace_via_keyboard(without_controls(event.text), *self.selection):
            self.move_cursor(result.end_location)

    def action_submit(self) -> None:
        self.post_message(self.Submitted(self.text))

    def action_newline(self) -> None:
        if result := self._replace_via_keyboard("\n", *self.selection):
            self.move_cursor(result.end_location)

    def action_scroll_talk(self, direction: int) -> None:
        self.post_message(self.Reach(page=direction))

    def action_reach(self, direction: int) -> None:
        self.post_message(self.Reach(to="talk" if direction > 0 else "people"))

    def action_newest(self) -> None:
        self.post_message(self.Reach(to="newest"))
