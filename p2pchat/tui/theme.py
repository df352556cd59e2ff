"""Colours and marks.

Two themes of our own; every state has a mark of its own as well, so nothing is told by colour alone. ``ASCII``
marks are for terminals and fonts that have nothing else.
"""

from __future__ import annotations

import locale
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.style import Style
from textual.color import Color
from textual.theme import Theme

from p2pchat.model import Presence
from p2pchat.tui.model import Tick

DARK: Final = Theme(
    name="p2pchat-dark",
    dark=True,
    primary="#5fb3b3",
    secondary="#c594c5",
    accent="#7cc7ff",
    foreground="#d8dee9",
    background="#10141b",
    surface="#151a23",
    panel="#1e2530",
    success="#8fcf8f",
    warning="#f0c674",
    error="#f27983",
    variables={
        "quiet": "#8590a3",
        "faint": "#566173",
        "line": "#2c3646",
        "lit": "#1b2430",
        "pick": "#21384d",
        "mine": "#7fd1c0",
        "footer-key-foreground": "#7cc7ff",
        "block-cursor-text-style": "none",
        "input-selection-background": "#7cc7ff 30%",
        "scrollbar": "#2c3646",
        "scrollbar-hover": "#45536a",
        "scrollbar-active": "#5fb3b3",
        "scrollbar-background": "#10141b",
        "scrollbar-background-hover": "#10141b",
        "scrollbar-background-active": "#10141b",
        "scrollbar-corner-color": "#10141b",
    },
)

LIGHT: Final = Theme(
    name="p2pchat-light",
    dark=False,
    primary="#0f766e",
    secondary="#8b3fa0",
    accent="#0b62b8",
    foreground="#1f2733",
    background="#fbfaf7",
    surface="#f4f2ec",
    panel="#e9e6dd",
    success="#2c7a3f",
    warning="#946200",
    error="#b3263a",
    variables={
        "quiet": "#5d6675",
        "faint": "#8b93a1",
        "line": "#d3cfc3",
        "lit": "#efece3",
        "pick": "#d6e6f5",
        "mine": "#0f766e",
        "footer-key-foreground": "#0b62b8",
        "block-cursor-text-style": "none",
        "input-selection-background": "#0b62b8 25%",
        "scrollbar": "#d3cfc3",
        "scrollbar-hover": "#b4afa1",
        "scrollbar-active": "#0f766e",
        "scrollbar-background": "#fbfaf7",
        "scrollbar-background-hover": "#fbfaf7",
        "scrollbar-background-active": "#fbfaf7",
        "scrollbar-corner-color": "#fbfaf7",
    },
)


@dataclass(frozen=True, slots=True)
class Ink:
    """A way to write: colours by the names of theme variables, and attributes."""

    color: str = ""
    background: str = ""
    bold: bool | None = None
    strike: bool | None = None

    def style(self, variables: Mapping[str, str]) -> Style:
        """Mix it in the colours of a theme; what is not named stays what it is."""
        color, background = (
            Color.parse(variables[name]).rich_color if name else None for name in (self.color, self.background)
        )
        return Style(color=color, bgcolor=background, bold=self.bold, strike=self.strike)


INKS: Final[Mapping[str, Ink]] = {
    "title": Ink("accent", bold=True),
    "text": Ink("foreground"),
    "quiet": Ink("quiet"),
    "faint": Ink("faint"),
    "accent": Ink("accent"),
    "mine": Ink("mine"),
    "theirs": Ink("secondary"),
    "good": Ink("success"),
    "warn": Ink("warning"),
    "bad": Ink("error"),
    "code": Ink("mine"),
    "key": Ink("accent", bold=True),
    "line": Ink("line"),
    "bold": Ink(bold=True),
    "struck": Ink(strike=True),
    "badge": Ink("background", "accent", bold=True),
    "lit": Ink(background="lit"),
    "cursor": Ink(background="pick"),
    "cursor-idle": Ink(background="lit"),
    "banner": Ink("background", "warning", bold=True),
    "banner-bad": Ink("background", "error", bold=True),
    "tick-read": Ink("accent", bold=True),
}
"""The styles of rows, by name."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The signs of one character set; ticks are two cells, all others one."""

    ticks: Mapping[Tick, str]
    presence: Mapping[Presence, str]
    request: str
    blocked: str
    pending: str
    failed: str
    note: str
    bar: str
    cursor: str
    rule: str
    down: str
    dot: str
    ellipsis: str
    ascii: bool = False


UNICODE: Final = Marks(
    ticks={
        Tick.NONE: "  ",
        Tick.SAVING: "… ",
        Tick.PENDING: "◷ ",
        Tick.SENT: "✓ ",
        Tick.DELIVERED: "✓✓",
        Tick.READ: "✔✔",
        Tick.FAILED: "✗ ",
        Tick.CANCELLED: "⊘ ",
        Tick.CANCELLING: "⊘…",
    },
    presence={Presence.ONLINE: "●", Presence.AWAY: "◐", Presence.OFFLINE: "○"},
    request="◆",
    blocked="⊘",
    pending="◷",
    failed="✗",
    note="╰",
    bar="▎",
    cursor="▌",
    rule="─",
    down="↓",
    dot="·",
    ellipsis="…",
)

ASCII: Final = Marks(
    ticks={
        Tick.NONE: "  ",
        Tick.SAVING: ". ",
        Tick.PENDING: "o ",
        Tick.SENT: "v ",
        Tick.DELIVERED: "vv",
        Tick.READ: "VV",
        Tick.FAILED: "x ",
        Tick.CANCELLED: "- ",
        Tick.CANCELLING: "-.",
    },
    presence={Presence.ONLINE: "*", Presence.AWAY: "+", Presence.OFFLINE: "-"},
    request="?",
    blocked="!",
    pending="o",
    failed="x",
    note="`",
    bar="|",
    cursor=">",
    rule="-",
    down="v",
    dot="-",
    ellipsis="~",
    ascii=True,
)


def marks_for(environment: Mapping[str, str] | None = None) -> Marks:
    """Choose the marks for this terminal: ``P2PCHAT_ASCII``, the Linux console, or a locale that is not UTF-8."""
    environment = os.environ if environment is None else environment
    wish = environment.get("P2PCHAT_ASCII", "")
    if wish:
        return UNICODE if wish in ("0", "no", "off") else ASCII
    if environment.get("TERM") in ("linux", "vt100", "vt220", "dumb"):
        return ASCII
    named = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG") or ""
    encoding = named.partition(".")[2] or locale.getpreferredencoding(False)
    return UNICODE if encoding.lower().replace("-", "").startswith("utf8") else ASCII
