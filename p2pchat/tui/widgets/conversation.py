"""The open conversation: any number of rows, of which those in view are drawn.

The view sticks to the newest message while it is in view; otherwise it holds what is on the screen in place,
whatever comes in above or below. Nearing either end of what is loaded asks for more. A message can be selected
with the arrow keys while the conversation has the focus.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from p2pchat.tui import texts
from p2pchat.tui.cells import fit, width_of
from p2pchat.tui.conversation import Conversation
from p2pchat.tui.layout import GUTTER, META, Kind, Layout, NotesOf, Row
from p2pchat.tui.model import WAITING, Entry, Tick
from p2pchat.tui.theme import Marks
from p2pchat.tui.widgets.painted import Painted, Piece

_TICK_INK = {
    Tick.NONE: "quiet",
    Tick.SAVING: "faint",
    Tick.PENDING: "warn",
    Tick.SENT: "quiet",
    Tick.DELIVERED: "quiet",
    Tick.READ: "tick-read",
    Tick.FAILED: "bad",
    Tick.CANCELLED: "faint",
    Tick.CANCELLING: "warn",
}


class ConversationView(Painted, ScrollView):
    """Draws a :class:`Conversation`."""

    can_focus = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "select(-1)", "Select the message above", show=False),
        Binding("down,j", "select(1)", "Select the message below", show=False),
        Binding("pageup", "page(-1)", "Scroll up", show=False),
        Binding("pagedown", "page(1)", "Scroll down", show=False),
        Binding("home", "top", "To the oldest message loaded", show=False),
        Binding("end", "newest", "To the newest message", show=False),
        Binding("m,enter", "details", "Everything about the selected message", show=False),
        Binding("r", "retry", "Try a failed message again", show=False),
        Binding("x", "cancel", "Take back a message that is not delivered", show=False),
        Binding("y", "copy", "Copy the message's text", show=False),
        Binding("escape,i", "leave", "Back to writing", show=False),
    ]

    class Scrolled(Message):
        """The view moved, by whatever cause."""

        def __init__(self, at_bottom: bool) -> None:
            super().__init__()
            self.at_bottom = at_bottom

    class NearEnd(Message):
        """The top (or the bottom) of what is loaded is close."""

        def __init__(self, older: bool) -> None:
            super().__init__()
            self.older = older

    class NewestWanted(Message):
        """The person wants to be at the newest message."""

    class Left(Message):
        """The person is done here and wants to write."""

    @dataclass
    class Chosen(Message):
        """Something is to be done with a message: ``details``, ``retry``, ``cancel`` or ``copy``."""

        what: str
        entry: Entry

    def __init__(self, marks: Marks, zone: tzinfo | None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marks = marks
        self._zone = zone
        self._layout_rows = Layout(zone)
        self._conversation: Conversation | None = None
        self._notes: NotesOf = lambda entry: None
        self._strips: dict[tuple[int, bool], Strip] = {}
        self._selected: str | None = None
        self._moving = False
        self._held: dict[str, tuple[str, int]] = {}

    # --- showing ------------------------------------------------------------------------------------------------

    def show(self, conversation: Conversation, notes: NotesOf) -> None:
        """Show a conversation as it is now; repaints what differs from what is on the screen."""
        if conversation is not self._conversation:
            self._remember()
            self._conversation = conversation
            self._layout_rows = Layout(self._zone)
            self._selected = None
        self._notes = notes
        self._sync()

    def _remember(self) -> None:
        old = self._conversation
        if old is not None and not old.at_bottom:
            self._held[old.peer] = self._layout_rows.anchor(self.scroll_offset.y)

    def _sync(self) -> None:
        conversation = self._conversation
        width = self.scrollable_content_region.width
        if conversation is None or width < 8:
            return
        rows = self._layout_rows
        fresh = not rows.blocks
        anchor = self._held.pop(conversation.peer, None) if fresh else rows.anchor(self.scroll_offset.y)
        changed = rows.sync(conversation, width, self._notes)
        if not changed:
            return
        self._strips.clear()
        if not changed.moved:
            self.refresh_lines(changed.first + self._pad, changed.count)
            return
        self._moving = True
        try:
            self.virtual_size = Size(width, rows.height)
            if conversation.at_bottom:
                self._go(self.max_scroll_y)
            elif anchor is not None and (y := rows.find(anchor)) is not None:
                self._go(y)
        finally:
            self._moving = False
        self.refresh()
        self._look_around()

    def _go(self, y: float) -> None:
        self.scroll_to(y=min(max(0, y), self.max_scroll_y), animate=False, force=True, immediate=True)

    @property
    def _pad(self) -> int:
        """Blank rows above a short conversation, so that it stands on the composer."""
        return max(0, self.scrollable_content_region.height - self._layout_rows.height)

    def on_resize(self, event: events.Resize) -> None:
        """Break the rows anew for the new width; the newest message, or the top row, stays."""
        self._strips.clear()
        conversation = self._conversation
        bottom = conversation is not None and conversation.at_bottom
        self._sync()
        if bottom:
            self._moving = True
            self._go(self.max_scroll_y)
            self._moving = False
            self.refresh()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Notice where the person is."""
        super().watch_scroll_y(old_value, new_value)
        if not self._moving:
            self._look_around()

    def _look_around(self) -> None:
        if self._conversation is None:
            return
        page = max(1, self.scrollable_content_region.height)
        y, end = self.scroll_offset.y, self.max_scroll_y
        if not self._moving:
            self.post_message(self.Scrolled(y >= end))
        if y < page * 2 and self._conversation.has_older:
            self.post_message(self.NearEnd(older=True))
        if self._conversation.has_newer and end - y < page * 2:
            self.post_message(self.NearEnd(older=False))

    # --- drawing ------------------------------------------------------------------------------------------------

    def forget_inks(self) -> None:
        """Draw anew in the new theme."""
        super().forget_inks()
        self._strips.clear()

    def render_line(self, y: int) -> Strip:
        """Draw the row that is ``y`` rows below the upper edge."""
        width = self.scrollable_content_region.width
        at = y + self.scroll_offset.y - self._pad
        row = self._layout_rows.row(at)
        if row is None:
            return Strip.blank(width, self.rich_style)
        lit = self.has_focus and row.entry is not None and row.entry.message_id == self._selected
        strip = self._strips.get((at, lit))
        if strip is None:
            strip = self._strips[at, lit] = self._draw(row, width, lit)
        return strip

    def _draw(self, row: Row, width: int, lit: bool) -> Strip:
        rule = self._marks.rule
        match row.kind:
            case Kind.DAY:
                return self.row(_centred(row.text, width, rule, "line", "quiet"), width)
            case Kind.UNREAD:
                return self.row(_centred(row.text, width, rule, "accent", "accent bold"), width)
            case Kind.TOP:
                return self.row([("faint", " " * max(0, (width - width_of(row.text)) // 2) + row.text)], width)
            case Kind.GAP:
                return Strip.blank(width, self.rich_style)
            case Kind.HEAD:
                ink = "mine bold" if row.entry is not None and row.entry.mine else "theirs bold"
                return self.row([("", " " * GUTTER), (ink, row.text)], width)
            case Kind.NOTE:
                hook = self._marks.note if row.tick else " "
                return self.row([*self._gutter(row, lit), ("faint", f"{hook} "), (row.tone, row.text)], width)
            case Kind.FOLD:
                left = [*self._gutter(row, lit), ("accent", f"{self._marks.ellipsis} {row.text}")]
                return self.row(left, width, under="lit" if lit else "")
            case _:
                return self._draw_body(row, width, lit)

    def _gutter(self, row: Row, lit: bool) -> list[Piece]:
        ink = "mine" if row.entry is not None and row.entry.mine else "theirs"
        if row.kind is Kind.NOTE:
            return [("accent", self._marks.cursor) if lit else ("", " "), ("", " ")]
        return [("accent", self._marks.cursor) if lit else (ink, self._marks.bar), ("", " ")]

    def _draw_body(self, row: Row, width: int, lit: bool) -> Strip:
        entry = row.entry
        assert entry is not None
        tick = entry.tick
        ink = "text"
        if tick in (Tick.CANCELLED, Tick.CANCELLING):
            ink = "faint struck"
        elif tick in WAITING and tick is not Tick.SENT:
            ink = "quiet"
        left = [*self._gutter(row, lit), (ink, fit(row.text, max(2, width - GUTTER - META)))]
        right: list[Piece] = [("", " "), ("faint", fit(row.time, 5)), ("", " ")]
        sign = self._marks.ticks[tick] if row.tick else "  "
        right += [(_TICK_INK[tick], sign), ("", " ")]
        return self.row(left, width, right, under="lit" if lit else "")

    # --- selecting ----------------------------------------------------------------------------------------------

    @property
    def selected(self) -> Entry | None:
        """The selected message."""
        if self._conversation is None or self._selected is None:
            return None
        return self._conversation.entry(self._selected)

    def on_focus(self) -> None:
        """Select the newest message in view."""
        rows = self._layout_rows
        if self.selected is None and len(rows.blocks) > 1:
            last = self.scroll_offset.y + self.scrollable_content_region.height - 1 - self._pad
            self._select(max(1, rows.block_at(min(last, rows.height - 1))))
        self.refresh()

    def on_blur(self) -> None:
        """Show no selection."""
        self.refresh()

    def action_select(self, step: int) -> None:
        """Move the selection; below the newest message is the composer."""
        rows = self._layout_rows
        if self.selected is None:
            self.on_focus()  # the key may come before the news that we have the focus
        index = None if self._selected is None else rows.index_of(self._selected)
        if index is None:
            return
        if index + step >= len(rows.blocks):
            self.action_leave()
        elif index + step >= 1:
            self._select(index + step)

    def _select(self, index: int) -> None:
        rows = self._layout_rows
        self._selected = rows.blocks[index].message_id
        first, end = rows.span(index)
        height = self.scrollable_content_region.height
        y = self.scroll_offset.y
        if first < y or end - first > height:
            self._go(first - (2 if first > 2 else first))
        elif end > y + height:
            self._go(end - height)
        self.refresh()

    async def on_click(self, event: events.Click) -> None:
        """Select what is clicked; a second click shows its details."""
        row = self._layout_rows.row(event.y + self.scroll_offset.y - self._pad)
        if row is None or row.entry is None:
            return
        self._selected = row.entry.message_id
        self.refresh()
        if event.chain == 2:
            self.action_choose("details")

    # --- keys ---------------------------------------------------------------------------------------------------

    def action_page(self, direction: int) -> None:
        """Scroll by a screenful."""
        step = max(1, self.scrollable_content_region.height - 2) * direction
        self._go(self.scroll_offset.y + step)

    def action_top(self) -> None:
        self._go(0)

    def action_newest(self) -> None:
        self.post_message(self.NewestWanted())

    def go_to_newest(self) -> None:
        """Show the end."""
        self._go(self.max_scroll_y)

    def action_leave(self) -> None:
        self.post_message(self.Left())

    def action_details(self) -> None:
        self.action_choose("details")

    def action_retry(self) -> None:
        self.action_choose("retry")

    def action_cancel(self) -> None:
        self.action_choose("cancel")

    def action_copy(self) -> None:
        self.action_choose("copy")

    def action_choose(self, what: str) -> None:
        """Have something done with the selected message."""
        if (entry := self.selected) is not None:
            self.post_message(self.Chosen(what, entry))

    @property
    def plain(self) -> str:
        """What is in view, without styles."""
        return "\n".join(self.render_line(y).text.rstrip() for y in range(self.scrollable_content_region.height))

    @property
    def hint(self) -> str:
        """What stands below the view when it is not at the end."""
        found = self._conversation
        return "" if found is None or found.at_bottom else texts.new_below(found.new_below)


def _centred(text: str, width: int, rule: str, rule_ink: str, ink: str) -> list[Piece]:
    room = max(0, width - width_of(text) - 4)
    before = room // 2
    return [("", " "), (rule_ink, rule * before), (ink, f" {text} "), (rule_ink, rule * (room - before))]
