"""What has not been delivered yet, why, and when it is tried next."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from p2pchat.api.types import OutboxEntry
from p2pchat.errors import ApiError
from p2pchat.model import State
from p2pchat.tui import texts
from p2pchat.tui.cells import body_text, line_text, name_text, wrap
from p2pchat.tui.controller import Part
from p2pchat.tui.model import Tick
from p2pchat.tui.screens.sheet import Sheet
from p2pchat.tui.theme import Marks
from p2pchat.tui.widgets.grid import Column, Grid, GridRow
from p2pchat.tui.widgets.painted import Piece, Rows

_COLUMNS = (
    Column("", 2),
    Column("To", 14),
    Column("Since", 12, from_width=72),
    Column("Tries", 5, right=True, from_width=84),
    Column("Next", 8, from_width=60, right=True),
    Column("Waits for", 0),
    Column("Text", 0, from_width=84),
)

_KEYS = [
    ("Enter", "Details", "screen.details"),
    ("x", "Take back", "screen.cancel"),
    ("Esc", "Back", "screen.close"),
]


class OutboxScreen(Sheet):
    """A table of waiting messages that counts down while it is shown."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "details", "Everything about this message", show=False),
        Binding("x,delete", "cancel", "Take this message back", show=False),
    ]

    def compose(self) -> ComposeResult:
        """A box with the table."""
        with Vertical(classes="sheet-box") as box:
            box.border_title = texts.OUTBOX_TITLE
            yield Grid(_COLUMNS, empty=texts.OUTBOX_EMPTY, id="outbox")
            yield Rows(id="waiting", classes="sheet-detail")
        yield Rows(classes="sheet-keys")

    def on_mount(self) -> None:
        self.show_keys(_KEYS)
        self._fill()
        self.set_interval(1.0, self._fill)

    def on_screen_resume(self) -> None:
        self.query_one(Grid).focus()

    def desk_changed(self, parts: frozenset[Part]) -> None:
        if Part.OUTBOX in parts:
            self._fill()

    def _fill(self) -> None:
        entries = self.chat.controller.desk.outbox
        now_ms = self.chat.controller.now_ms()
        self.query_one(Grid).put([GridRow(e.message_id, self._cells(e, now_ms)) for e in entries])
        self.query_one(".sheet-box").border_subtitle = texts.count_of(len(entries), "message", "messages")
        self._fill_detail()

    def on_grid_moved(self) -> None:
        self._fill_detail()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill_detail)

    def _fill_detail(self) -> None:
        """Say in full, below, what the cut cells of the row under the cursor say."""
        key, below = self.query_one(Grid).key, self.query_one("#waiting", Rows)
        entry = next((e for e in self.chat.controller.desk.outbox if e.message_id == key), None)
        below.display = entry is not None
        if entry is None:
            return
        width = max(20, self.size.width - 4)
        facts = [text for text in (line_text(entry.waiting_for, 300), line_text(entry.last_error or "", 300)) if text]
        lines: list[Piece] = [("warn", line) for fact in facts for line in wrap(fact, width)[:2]]
        lines += [("text", line) for line in wrap(body_text(entry.body), width)[:4]]
        below.put(*(([("", " "), line], []) for line in lines))

    def _cells(self, entry: OutboxEntry, now_ms: int) -> tuple[Piece, ...]:
        marks: Marks = self.chat.marks
        tick = Tick.SENT if entry.state == State.SENT else Tick.PENDING
        return (
            ("warn", marks.ticks[tick]),
            ("text bold", name_text(entry.peer_name) or line_text(entry.peer[:8])),
            ("quiet", texts.day_and_clock(entry.sent_at_ms, self.chat.zone)),
            ("quiet", str(entry.attempts)),
            ("accent", texts.countdown(now_ms, entry.next_attempt_at_ms)),
            ("warn", line_text(entry.waiting_for, 200)),
            ("text", line_text(entry.body, 300)),
        )

    def on_grid_chosen(self, event: Grid.Chosen) -> None:
        self.chat.show_details(event.key)

    def action_details(self) -> None:
        if (key := self.query_one(Grid).key) is not None:
            self.chat.show_details(key)

    def action_cancel(self) -> None:
        if (key := self.query_one(Grid).key) is not None:
            self.run_worker(self._cancel(key), group="cancel")

    async def _cancel(self, message_id: str) -> None:
        try:
            await self.chat.controller.cancel(message_id)
        except ApiError as error:
            self.chat.say(line_text(str(error)), problem=True)
