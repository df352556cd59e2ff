"""What somebody sees who is alone: what to do next."""

from __future__ import annotations

from p2pchat.tui import texts
from p2pchat.tui.cells import width_of, wrap
from p2pchat.tui.model import Me
from p2pchat.tui.widgets.painted import Piece, Rows

_INK = {"title": "title", "text": "text", "code": "code", "quiet": "quiet", "warn": "warn"}


class Greeting(Rows):
    """Rows in the middle of an otherwise empty conversation."""

    def show(self, me: Me | None, width: int, height: int) -> None:
        """Greet; ``me`` is None while the engine has not answered."""
        inner = max(20, min(94, width - 6))
        lines: list[Piece] = []
        for kind, text in texts.greeting(me):
            indent = "  " if kind == "code" else ""
            lines += [(_INK[kind], indent + line) for line in wrap(text, inner - len(indent))]
        if len(lines) > height - 1:
            lines = [line for line in lines if line[1]]
        block = max((width_of(text) for _, text in lines), default=0)
        left = " " * max(1, (width - block) // 2)
        above = max(0, (height - len(lines)) // 3)
        blank: tuple[list[Piece], list[Piece]] = ([], [])
        self.put(*[blank] * above, *(([("", left), line], []) for line in lines))
