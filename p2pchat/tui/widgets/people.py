"""The peers panel: one row a peer, with what matters about it at the right."""

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

from p2pchat.model import Presence, Trust
from p2pchat.tui import texts
from p2pchat.tui.model import PeerItem
from p2pchat.tui.theme import Marks
from p2pchat.tui.widgets.painted import Painted, Piece

PRESENCE_INK = {Presence.ONLINE: "good", Presence.AWAY: "warn", Presence.OFFLINE: "faint"}


def presence_piece(item: PeerItem, marks: Marks) -> Piece:
    """The mark before a name."""
    if item.trust is Trust.BLOCKED:
        return "bad", marks.blocked
    if item.is_request:
        return "accent bold", marks.request
    return PRESENCE_INK[item.presence], marks.presence[item.presence]


class People(Painted, ScrollView):
    """Draws the peers; the open one is marked, the cursor moves while it has the focus."""

    can_focus = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Conversation above", show=False),
        Binding("down,j", "move(1)", "Conversation below", show=False),
        Binding("home", "move(-100000)", "First conversation", show=False),
        Binding("end", "move(100000)", "Last conversation", show=False),
        Binding("enter,escape,right", "leave", "Write to the selected person", show=False),
    ]

    class Left(Message):
        """The person wants to write."""

    @dataclass
    class Opened(Message):
        """A peer is to be brought to the front."""

        peer: str

    def __init__(self, marks: Marks, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._marks = marks
        self._peers: tuple[PeerItem, ...] = ()
        self._open: str | None = None

    def put(self, peers: Sequence[PeerItem], open_peer: str | None) -> None:
        """List these peers; repaints only if something differs."""
        new = tuple(peers)
        if new == self._peers and open_peer == self._open:
            return
        if len(new) != len(self._peers):
            self.virtual_size = Size(self.scrollable_content_region.width, len(new))
        self._peers, self._open = new, open_peer
        self._show_open()
        self.refresh()

    def _show_open(self) -> None:
        at = self._index()
        height = max(1, self.scrollable_content_region.height)
        y = self.scroll_offset.y
        if at is not None and not y <= at < y + height:
            self.scroll_to(y=at if at < y else at - height + 1, animate=False, force=True)

    def _index(self) -> int | None:
        return next((i for i, item in enumerate(self._peers) if item.device_id == self._open), None)

    def action_move(self, step: int) -> None:
        """Open the conversation above or below."""
        if not self._peers:
            return
        at = self._index()
        to = 0 if at is None else min(max(0, at + step), len(self._peers) - 1)
        self.post_message(self.Opened(self._peers[to].device_id))

    def action_leave(self) -> None:
        self.post_message(self.Left())

    async def on_click(self, event: events.Click) -> None:
        """Open what is clicked."""
        at = event.y + self.scroll_offset.y
        if 0 <= at < len(self._peers):
            self.post_message(self.Opened(self._peers[at].device_id))

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def on_resize(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._peers))
        self._show_open()

    def render_line(self, y: int) -> Strip:
        """Draw the peer that is ``y`` rows below the upper edge."""
        width = self.scrollable_content_region.width
        at = y + self.scroll_offset.y
        if not self._peers and y == 0:
            return self.row([("quiet", f" {texts.NO_PEERS}")], width)
        if not 0 <= at < len(self._peers):
            return Strip.blank(width, self.rich_style)
        item = self._peers[at]
        is_open = item.device_id == self._open
        under = ("cursor" if self.has_focus else "cursor-idle") if is_open else ""
        edge = ("accent", self._marks.cursor) if is_open else ("", " ")
        name_ink = "text bold" if item.unread or is_open else "text" if item.presence is Presence.ONLINE else "quiet"
        if item.trust is Trust.BLOCKED:
            name_ink = "faint struck"
        left: list[Piece] = [edge, presence_piece(item, self._marks), ("", " "), (name_ink, item.name)]
        return self.row(left, width, self._badges(item), under=under)

    def _badges(self, item: PeerItem) -> list[Piece]:
        pieces: list[Piece] = []
        if item.is_request:
            pieces += [("", " "), ("accent", "request")]
        if item.dead_letters:
            pieces += [("", " "), ("bad", f"{self._marks.failed}{_short(item.dead_letters)}")]
        if item.pending:
            pieces += [("", " "), ("warn", f"{self._marks.pending}{_short(item.pending)}")]
        if item.unread:
            pieces += [("", " "), ("badge", f" {_short(item.unread)} ")]
        return [*pieces, ("", " ")]

    @property
    def plain(self) -> str:
        """What is in view, without styles."""
        return "\n".join(self.render_line(y).text.rstrip() for y in range(self.scrollable_content_region.height))


def _short(number: int) -> str:
    return str(number) if number < 1000 else f"{number // 1000}k"
