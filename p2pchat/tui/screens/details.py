"""Everything about one message: the way it went, why it waits, its whole text."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from p2pchat.api.types import MessageDetail, MessageParams
from p2pchat.errors import ApiError
from p2pchat.model import Direction, State
from p2pchat.tui import texts
from p2pchat.tui.cells import body_text, line_text, name_text, wrap
from p2pchat.tui.controller import Part
from p2pchat.tui.model import Tick
from p2pchat.tui.screens.sheet import HORIZONTAL, keys_row
from p2pchat.tui.theme import Marks
from p2pchat.tui.widgets.painted import Piece, Rows
from p2pchat.tui.widgets.paper import Line, Paper

if TYPE_CHECKING:
    from p2pchat.tui.app import ChatApp

_STATE_INK = {State.READ: "tick-read", State.FAILED: "bad", State.PENDING: "warn", State.DELIVERED: "good"}


class DetailsScreen(ModalScreen[None]):
    """A card over what was there; it follows the message while it is open."""

    HORIZONTAL_BREAKPOINTS = HORIZONTAL
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,m,q", "close", "Close", show=False),
        Binding("r", "retry", "Try a failed message again", show=False),
        Binding("x", "cancel", "Take back a message that is not delivered", show=False),
        Binding("y", "copy", "Copy the text", show=False),
    ]

    def __init__(self, message_id: str) -> None:
        super().__init__()
        self._message_id = message_id
        self._detail: MessageDetail | None = None
        self._problem = ""

    @property
    def chat(self) -> ChatApp:
        """The app, by its own type."""
        from p2pchat.tui.app import ChatApp

        assert isinstance(self.app, ChatApp)
        return self.app

    def compose(self) -> ComposeResult:
        """A card with a sheet of paper."""
        with Vertical(classes="card") as card:
            card.border_title = texts.DETAILS_TITLE
            yield Paper(id="detail")
            yield Rows(id="detail-keys")

    def on_mount(self) -> None:
        self.query_one(Paper).focus()
        self._load()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill)

    def desk_changed(self, parts: frozenset[Part]) -> None:
        """Ask again: the message may have moved on."""
        if parts & {Part.CONVERSATION, Part.LETTERS, Part.OUTBOX}:
            self._load()

    def _load(self) -> None:
        self.run_worker(self._fetch(), group="detail", exclusive=True)

    async def _fetch(self) -> None:
        try:
            params = MessageParams(message_id=self._message_id)
            self._detail = await self.chat.controller.call("message.show", params)
            self._problem = ""
        except ApiError as error:
            self._problem = line_text(str(error), 300)
        self._fill()

    def _fill(self) -> None:
        paper, detail = self.query_one(Paper), self._detail
        width = max(20, self.query_one(".card").content_size.width - 2)
        if detail is None:
            paper.put([[("bad" if self._problem else "quiet", self._problem or texts.ASKING)]])
            return
        card = self.query_one(".card")
        card.border_subtitle = detail.message_id[:32] if width > 40 else ""
        lines: list[Line] = [[], [_who(detail), ("quiet", f"  {texts.day(detail.sent_at_ms, self.chat.zone)}")], []]
        lines += [[("text", line)] for line in wrap(body_text(detail.body), width)]
        lines += [[], *self._timeline(detail), *self._waits(detail, width)]
        if self._problem:
            lines += [[], [("bad", self._problem)]]
        paper.put(lines)
        keys = [("Esc", "Close", "screen.close"), ("y", "Copy", "screen.copy")]
        if detail.state == State.FAILED:
            keys.insert(0, ("r", "Try again", "screen.retry"))
        elif detail.direction == Direction.OUT and detail.state in (State.PENDING, State.SENT):
            keys.insert(0, ("x", "Take back", "screen.cancel"))
        self.query_one("#detail-keys", Rows).put(([], []), keys_row(keys))

    def _timeline(self, detail: MessageDetail) -> list[Line]:
        marks: Marks = self.chat.marks
        zone = self.chat.zone
        lines: list[Line] = []
        before: int | None = None
        states = [(step.state, step.at_ms) for step in detail.states[:40]]
        for index, (state, at_ms) in enumerate(states):
            known = state in {item.value for item in State}
            tick = Tick(state) if known else Tick.NONE
            words = texts.state_words(line_text(state, 20), incoming=detail.direction == Direction.IN)
            ink = _STATE_INK.get(State(state), "quiet") if known else "quiet"
            line: list[Piece] = [(ink, f" {marks.ticks[tick]} "), ("text", f"{words:<26} ")]
            line.append(("quiet", texts.clock_exact(at_ms, zone)))
            if before is not None:
                line.append(("faint", f"  {texts.span(at_ms - before)}" if at_ms >= before else ""))
            lines.append(line)
            if index < len(states) - 1:
                lines.append([("line", " │" if not marks.ascii else " |")])
            before = at_ms
        return lines

    def _waits(self, detail: MessageDetail, width: int) -> list[Line]:
        facts = []
        if detail.waiting_for:
            facts.append(("warn", texts.waits_for(line_text(detail.waiting_for, 300))))
        if detail.attempts:
            facts.append(("quiet", texts.attempts_made(detail.attempts)))
        if detail.next_attempt_at_ms is not None:
            at = texts.clock_exact(detail.next_attempt_at_ms, self.chat.zone)[:8]
            facts.append(("quiet", texts.next_attempt(at)))
        if detail.last_error:
            facts.append(("bad", texts.last_error(line_text(detail.last_error, 300))))
        lines: list[Line] = [[]] if facts else []
        for ink, text in facts:
            lines += [[(ink, line)] for line in wrap(text, width)]
        return lines

    # --- keys ---------------------------------------------------------------------------------------------------

    def action_close(self) -> None:
        self.dismiss()

    def action_copy(self) -> None:
        if self._detail is not None:
            self.chat.copy(self._detail.body)

    def action_retry(self) -> None:
        if self._detail is not None and self._detail.state == State.FAILED:
            self.chat.do_letters("dlq.retry", [self._message_id])

    def action_cancel(self) -> None:
        if self._detail is not None and self._detail.direction == Direction.OUT:
            self.run_worker(self._cancel(), group="cancel")

    async def _cancel(self) -> None:
        try:
            await self.chat.controller.cancel(self._message_id)
        except ApiError as error:
            self._problem = line_text(str(error), 300)
            self._fill()
        else:
            self._load()


def _who(detail: MessageDetail) -> Piece:
    if detail.direction == Direction.OUT:
        return "mine bold", "you"
    return "theirs bold", name_text(detail.author_name) or line_text(detail.author[:8])
