"""Text measured in terminal cells.

Outside text is first made harmless (:func:`p2pchat.model.clean`) and then *steady*: joiners, variation selectors
and skin tones are what terminals disagree about, so they are left out, and flags become their two letters. A row
that is measured here is then as wide in every terminal, and the copy of a message keeps what its author wrote.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from rich.cells import cell_len

from p2pchat.model import clean, clean_name

MAX_MARKS: Final = 4
"""Combining marks kept on one character: more only climb over the neighbouring rows."""

_REGIONAL_A: Final = 0x1F1E6
_REGIONAL_Z: Final = 0x1F1FF
_HANGUL_JAMO: Final = range(0x1160, 0x1200)


def steady(text: str) -> str:
    """Leave out what terminals measure differently; cleaned text in, text of a certain width out."""
    if text.isascii():
        return text
    out: list[str] = []
    marks = 0
    for char in unicodedata.normalize("NFC", text):
        code = ord(char)
        if code < 0x300:
            if code != 0xAD:
                out.append(char)
            marks = 0
            continue
        category = unicodedata.category(char)
        if category == "Cf" or 0x1F3FB <= code <= 0x1F3FF or 0xFE00 <= code <= 0xFE0F or code >= 0xE0000:
            continue
        if category[0] == "M" or code in _HANGUL_JAMO:
            marks += 1
            if marks <= MAX_MARKS:
                out.append(char)
            continue
        marks = 0
        out.append(chr(code - _REGIONAL_A + 65) if _REGIONAL_A <= code <= _REGIONAL_Z else char)
    return "".join(out)


def body_text(text: str) -> str:
    """Make the text of a message fit for the screen; line feeds stay."""
    return steady(clean(text, newlines=True))


def line_text(text: str, limit: int = 500) -> str:
    """Make any outside text fit for one row of the screen."""
    return steady(clean(" ".join(text[: limit * 4].split()), limit))


def name_text(text: str) -> str:
    """Make a name fit for one row of the screen."""
    return steady(clean_name(text))


def width_of(text: str) -> int:
    """Cells that a steady text takes."""
    return len(text) if text.isascii() else cell_len(text)


def cut(text: str, width: int, ellipsis: str = "…") -> str:
    """Shorten a text to at most ``width`` cells, with an ellipsis where something is missing."""
    if width <= 0:
        return ""
    if width_of(text) <= width:
        return text
    room = width - 1
    if text.isascii():
        return text[:room] + ellipsis
    head, _ = _split_at(text, room)
    return head + ellipsis


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Cut or pad a text to exactly ``width`` cells."""
    text = cut(text, width)
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def _split_at(text: str, width: int) -> tuple[str, str]:
    """Split before the first character that would not fit any more; marks stay with their character."""
    used = 0
    for index, char in enumerate(text):
        size = 1 if char < "\u0300" else cell_len(char)
        if used + size > width:
            return text[:index], text[index:]
        used += size
    return text, ""


def wrap(text: str, width: int) -> list[str]:
    """Break a text into rows of at most ``width`` cells: at spaces where it can, else inside the word.

    Leading spaces of a line are kept, those at a break are not. There is always at least one row.
    """
    width = max(2, width)
    rows: list[str] = []
    for line in text.split("\n"):
        line = line.rstrip()
        if len(line) <= width and (line.isascii() or cell_len(line) <= width):
            rows.append(line)
        else:
            _wrap_line(line, width, rows)
    return rows


def _wrap_line(line: str, width: int, rows: list[str]) -> None:
    while line:
        if line.isascii():
            head, tail = line[:width], line[width:]
        else:
            head, tail = _split_at(line, width)
        if not head:  # one character wider than the row: never loop
            head, tail = line[:1], line[1:]
        if tail and not tail.startswith(" "):
            space = head.rfind(" ")
            if space > 0 and head[:space].strip():
                head, tail = head[:space], head[space + 1 :] + tail
        rows.append(head.rstrip())
        line = tail.lstrip(" ")
