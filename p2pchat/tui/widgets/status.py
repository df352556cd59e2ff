"""The one-line bar below everything, and the banner above it when something is wrong."""

from __future__ import annotations

from p2pchat.tui import texts
from p2pchat.tui.cells import width_of, wrap
from p2pchat.tui.desk import Desk
from p2pchat.tui.model import Link
from p2pchat.tui.theme import Marks
from p2pchat.tui.widgets.painted import Piece, Rows

HINTS = (
    ("F1", "Keys", "app.help"),
    ("F4", "Dead letters", "app.letters"),
    ("F3", "Outbox", "app.outbox"),
    ("F5", "Log", "app.logs"),
    ("F7", "Add", "app.add"),
    ("F6", "Light/dark", "app.theme"),
    ("^Q", "Quit", "app.quit"),
)


class StatusLine(Rows):
    """Who we are and what is under way; keys at the right, as many as there is room for."""

    def show(self, desk: Desk, marks: Marks, width: int) -> None:
        """Say how things are now."""
        left = _facts(desk, marks, short=width < 72)
        room = width - sum(width_of(text) for _, text in left) - 2
        right: list[Piece] = []
        for key, word, action in HINTS:
            piece = f" {key} {word} "
            if room < len(piece) + 1:
                break
            room -= len(piece)
            right += [(f"key @{action}", f" {key}"), (f"quiet @{action}", f" {word} ")]
        self.put((left, right))


def _facts(desk: Desk, marks: Marks, *, short: bool) -> list[Piece]:
    dot: Piece = ("faint", f" {marks.dot} ")
    online = marks.presence
    mark = next(iter(online.values()))
    me = desk.me
    if me is None:
        return [("", " "), ("faint", mark), ("quiet", f" {texts.TITLE}")]
    live = desk.engine.link is Link.LIVE
    pieces: list[Piece] = [("", " "), ("good" if live else "bad", mark), ("text bold", f" {me.name}")]
    pieces += [("quiet", f" :{me.port}"), dot, ("quiet", texts.links(me.links))]
    if me.pending:
        pieces += [dot, ("warn", f"{marks.pending} {me.pending if short else texts.waiting(me.pending)}")]
    if me.dead_letters:
        pieces += [
            dot,
            ("bad @app.letters", f"{marks.failed} {me.dead_letters if short else texts.dead(me.dead_letters)}"),
        ]
    if me.discovery not in ("on", ""):
        pieces += [dot, ("warn", texts.discovery_word(me.discovery))]
    return pieces


class Banner(Rows):
    """What is wrong with the engine, its disk, or what it wants to be known; nothing when all is well."""

    def show(self, desk: Desk, width: int) -> None:
        """Say it, in at most two rows each, or disappear."""
        said: list[tuple[str, str]] = []
        if text := texts.engine_banner(desk.engine):
            under = "banner-bad" if desk.engine.link is Link.LOST else "banner"
            said.append((text, under))
        elif desk.me is not None:
            if desk.me.storage not in ("ok", ""):
                said.append((texts.storage_banner(desk.me.storage), "banner-bad"))
            said.extend((note, "banner") for note in desk.me.notes[:3])
        lines = [(line, under) for text, under in said for line in wrap(text, max(20, width - 2))[:2]]
        self.put(*(([("", f" {line}")], [], under) for line, under in lines))
        self.display = bool(lines)
