"""The three logs, live: filter them, pause them.

Lines are gathered and shown at most four times a second, however many arrive; when none arrives, nothing runs.
"""

from __future__ import annotations

from collections import deque
from datetime import tzinfo
from typing import Any, ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.timer import Timer
from textual.widgets import Input

from p2pchat.tui import texts
from p2pchat.tui.cells import line_text
from p2pchat.tui.screens.sheet import Sheet
from p2pchat.tui.widgets.painted import Piece, Rows
from p2pchat.tui.widgets.paper import Line, Paper

LOGS: Final = ("heartbeat", "latency", "engine")
BATCH_S: Final = 0.25
KEPT: Final = 2000

_KEYS = [
    ("1 2 3", "Choose", "screen.next_log"),
    ("/", "Filter", "screen.filter"),
    ("p", "Pause", "screen.pause"),
    ("Esc", "Back", "screen.close"),
]


class LogScreen(Sheet):
    """One log at a time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "log('heartbeat')", "Heartbeats: sent, answered, missed", show=False),
        Binding("2", "log('latency')", "How long each message took", show=False),
        Binding("3", "log('engine')", "Everything else the engine does", show=False),
        Binding("tab", "next_log", "The next log", show=False),
        Binding("slash,f", "filter", "Show only lines that hold a text", show=False),
        Binding("p", "pause", "Stop and go on", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.log_name = LOGS[0]
        self._records: deque[tuple[str, Line]] = deque(maxlen=KEPT)
        self._paused: list[tuple[str, Line]] | None = None
        self._pattern = ""
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        """A box with the tabs, the filter and the lines."""
        with Vertical(classes="sheet-box") as box:
            box.border_title = texts.LOG_TITLE
            yield Rows(id="log-head")
            yield Input(placeholder=texts.LOG_FILTER, id="log-filter", select_on_focus=False)
            yield Paper(follow=True, id="log-lines")
        yield Rows(classes="sheet-keys")

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False
        self.show_keys(_KEYS)
        self.query_one(Paper).focus()
        self.action_log(self.log_name)

    # --- the lines ----------------------------------------------------------------------------------------------

    def action_log(self, name: str) -> None:
        """Follow this log."""
        self.log_name = name
        self._records.clear()
        self._paused = None
        self._draw()
        self.run_worker(self._follow(name), group="log", exclusive=True)

    async def _follow(self, name: str) -> None:
        async for record in self.chat.controller.connection.log(name):
            self.take(record)

    def take(self, record: dict[str, Any]) -> None:
        """Put one line of the log in; it is shown with the next batch."""
        line = _line_of(record, self.chat.zone)
        item = ("".join(text for _, text in line).casefold(), line)
        if self._paused is None:
            self._records.append(item)
        else:
            self._paused.append(item)
            del self._paused[:-KEPT]
        if self._timer is None:
            self._timer = self.set_timer(BATCH_S, self._batch)

    def _batch(self) -> None:
        self._timer = None
        self._draw()

    def _draw(self) -> None:
        shown = [line for key, line in self._records if self._pattern in key]
        paper = self.query_one(Paper)
        if shown:
            paper.put(shown)
        else:
            paper.put([[("quiet", f" {texts.LOG_NO_MATCH if self._records else texts.LOG_EMPTY}")]])
        tabs: list[Piece] = []
        for number, name in enumerate(LOGS, start=1):
            ink = "title" if name == self.log_name else "quiet"
            tabs += [(f"key @screen.log('{name}')", f" {number}"), (f"{ink} @screen.log('{name}')", f" {name} ")]
        right: list[Piece] = []
        if self._pattern:
            right.append(("accent", f"{texts.matching(len(shown), self._pattern)} "))
        if self._paused is not None:
            right.append(("warn bold", f" {texts.paused(len(self._paused))} "))
        self.query_one("#log-head", Rows).put((tabs, right))

    # --- keys ---------------------------------------------------------------------------------------------------

    def action_next_log(self) -> None:
        self.action_log(LOGS[(LOGS.index(self.log_name) + 1) % len(LOGS)])

    def action_pause(self) -> None:
        """Stop the picture; what comes meanwhile is kept and shown afterwards."""
        if self._paused is None:
            self._paused = []
        else:
            self._records.extend(self._paused)
            self._paused = None
        self._draw()

    def action_filter(self) -> None:
        field = self.query_one(Input)
        field.add_class("-shown")
        field.focus()

    def action_close(self) -> None:
        field = self.query_one(Input)
        if field.has_focus or field.value:
            field.value = ""
            field.remove_class("-shown")
            self.query_one(Paper).focus()
        else:
            super().action_close()

    @on(Input.Changed)
    def _pattern_changed(self, event: Input.Changed) -> None:
        self._pattern = event.value.casefold()
        self._draw()

    @on(Input.Submitted)
    def _pattern_done(self) -> None:
        field = self.query_one(Input)
        if not field.value:
            field.remove_class("-shown")
        self.query_one(Paper).focus()


def _line_of(record: dict[str, Any], zone: tzinfo | None) -> Line:
    at_ms = record.get("at_ms")
    event = line_text(str(record.get("event", "")), 60)
    ink = "bad" if any(word in event for word in ("fail", "error", "missed", "lost")) else "accent"
    pieces: list[Piece] = [("faint", f" {texts.clock_exact(at_ms if isinstance(at_ms, int) else None, zone)} ")]
    pieces.append((ink, f"{event:<20} "))
    for key, value in list(record.items())[:20]:
        if key in ("at_ms", "event") or value is None:
            continue
        shown = f"{value:.1f}" if isinstance(value, float) else line_text(str(value), 120)
        if key in ("peer", "message_id", "device_id"):
            shown = shown[:8]
        pieces += [("quiet", f"{line_text(str(key), 30)}="), ("text", f"{shown}  ")]
    return pieces
