"""The dead letters: to whom, why, and what can be done."""

from __future__ import annotations

from datetime import tzinfo
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from p2pchat.api.types import Letter
from p2pchat.tui import texts
from p2pchat.tui.cells import body_text, line_text, name_text, wrap
from p2pchat.tui.controller import Part
from p2pchat.tui.screens.confirm import ConfirmScreen
from p2pchat.tui.screens.sheet import Sheet
from p2pchat.tui.widgets.grid import Column, Grid, GridRow
from p2pchat.tui.widgets.painted import Piece, Rows

_COLUMNS = (
    Column("To", 14),
    Column("Why", 22),
    Column("Tries", 5, right=True, from_width=56),
    Column("Moved here", 13, from_width=72, right=True),
    Column("They have it", 12, from_width=100),
    Column("Text", 0),
)

_KEYS = [
    ("r", "Retry", "screen.retry"),
    ("R", "all", "screen.retry_all"),
    ("p", "Purge", "screen.purge"),
    ("P", "all", "screen.purge_all"),
    ("y", "Copy", "screen.copy"),
    ("Esc", "Back", "screen.close"),
]


class LettersScreen(Sheet):
    """A table of dead letters and, below, all about the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "retry", "Send this letter again", show=False),
        Binding("R,shift+r", "retry_all", "Send all letters again", show=False),
        Binding("p,delete", "purge", "Remove this letter for good (asks first)", show=False),
        Binding("P,shift+p", "purge_all", "Remove all letters for good (asks first)", show=False),
        Binding("y", "copy", "Copy the text", show=False),
    ]

    def compose(self) -> ComposeResult:
        """A box with the table and the letter."""
        with Vertical(classes="sheet-box") as box:
            box.border_title = texts.DLQ_TITLE
            yield Grid(_COLUMNS, empty=texts.DLQ_EMPTY, id="letters")
            yield Rows(id="letter", classes="sheet-detail")
        yield Rows(classes="sheet-keys")

    def on_mount(self) -> None:
        self.show_keys(_KEYS)
        self._fill()

    def on_screen_resume(self) -> None:
        self.query_one(Grid).focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill_detail)

    def desk_changed(self, parts: frozenset[Part]) -> None:
        if Part.LETTERS in parts:
            self._fill()

    @property
    def _letters(self) -> tuple[Letter, ...]:
        return self.chat.controller.desk.letters

    def _fill(self) -> None:
        zone = self.chat.zone
        self.query_one(Grid).put([GridRow(letter.message_id, _cells(letter, zone)) for letter in self._letters])
        box = self.query_one(".sheet-box")
        box.border_subtitle = texts.count_of(len(self._letters), "letter", "letters")
        self._fill_detail()

    def on_grid_moved(self) -> None:
        self._fill_detail()

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        self.chat.show_details(event.key)

    def _current(self) -> Letter | None:
        key = self.query_one(Grid).key
        return next((letter for letter in self._letters if letter.message_id == key), None)

    def _fill_detail(self) -> None:
        letter, below = self._current(), self.query_one("#letter", Rows)
        below.display = letter is not None
        if letter is None:
            return
        width = max(20, self.size.width - 4)
        has_it = texts.HAS_IT_WORDS.get(letter.peer_has_it, "")
        written = texts.day_and_clock(letter.sent_at_ms, self.chat.zone)
        facts = " · ".join(part for part in (f"written {written}", has_it, line_text(letter.last_error)) if part)
        lines: list[Piece] = [("quiet", line) for line in wrap(facts, width)[:2]]
        lines += [("text", line) for line in wrap(body_text(letter.body), width)[:5]]
        below.put(*(([("", " "), line], []) for line in lines))

    def action_retry(self) -> None:
        if (letter := self._current()) is not None:
            self.chat.do_letters("dlq.retry", [letter.message_id])

    def action_retry_all(self) -> None:
        if self._letters:
            self.chat.do_letters("dlq.retry", None)

    def action_purge(self) -> None:
        if (letter := self._current()) is not None:
            self._ask_purge([letter.message_id], 1)

    def action_purge_all(self) -> None:
        if self._letters:
            # The ids that were counted: a letter that comes in while the question stands is not meant.
            self._ask_purge([letter.message_id for letter in self._letters], len(self._letters))

    def _ask_purge(self, message_ids: list[str], number: int) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.chat.do_letters("dlq.purge", message_ids)

        self.app.push_screen(ConfirmScreen(texts.PURGE_TITLE, texts.purge_question(number), texts.PURGE_YES), answered)

    def action_copy(self) -> None:
        if (letter := self._current()) is not None:
            self.chat.copy(letter.body)


def _cells(letter: Letter, zone: tzinfo | None) -> tuple[Piece, ...]:
    at = texts.day_and_clock(letter.moved_at_ms, zone)
    return (
        ("text bold", name_text(letter.peer_name) or line_text(letter.peer[:8])),
        ("bad", texts.REASON_WORDS.get(letter.reason) or line_text(letter.reason, 40)),
        ("quiet", str(letter.attempts)),
        ("quiet", at),
        ("quiet", {"no": "no", "unknown": "perhaps"}.get(letter.peer_has_it, "")),
        ("text", line_text(letter.body, 300)),
    )
