"""Above the conversation: who it is, whether it can be reached, and what a stranger wants."""

from __future__ import annotations

from p2pchat.model import Trust
from p2pchat.tui import texts
from p2pchat.tui.cells import cut
from p2pchat.tui.model import PeerItem
from p2pchat.tui.theme import Marks
from p2pchat.tui.widgets.painted import Piece, Rows
from p2pchat.tui.widgets.people import presence_piece


class PeerHeader(Rows):
    """One to four rows about the peer of the open conversation."""

    def show(self, item: PeerItem, marks: Marks) -> None:
        """Say how it is now."""
        title: list[Piece] = [("", " "), presence_piece(item, marks), ("title", f" {item.name}")]
        if item.alias and item.own_name and item.own_name != item.alias:
            title.append(("faint", f" ({item.own_name})"))
        title.append(("quiet", f"  {texts.peer_header(item)}"))
        rows: list[tuple[list[Piece], list[Piece]]] = [(title, [("", " "), ("faint", f"{item.device_id[:8]} ")])]
        if item.trust is Trust.REQUEST:
            asks: list[Piece] = [("", " "), ("accent", texts.request_bar(cut(item.name, 24)))]
            keys: list[Piece] = [
                ("key @app.accept", " F8"),
                ("text @app.accept", " Accept "),
                ("key @app.block", " F9"),
                ("text @app.block", " Block "),
            ]
            rows.append((asks, keys))
        if item.detail and item.trust is not Trust.BLOCKED:
            sign = marks.pending if item.pending else marks.dot
            rows.append(([("warn", f" {sign} {item.detail}")], []))
        if warning := texts.clock_warning(item):
            rows.append(([("warn", f" {marks.dot} {warning}")], []))
        self.put(*rows)
