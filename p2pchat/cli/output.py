"""What commands print: JSON lines for scripts, tables for people.

For people it is a rich table on a terminal, and aligned plain columns elsewhere or with ``NO_COLOR``. Text
from outside is cleaned here, at the last step before it leaves, and never parsed as markup. JSON escapes what
could drive a terminal.
"""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from p2pchat.logs import to_json
from p2pchat.model import clean

if TYPE_CHECKING:
    from p2pchat.api.types import Struct

MAX_CELL_CHARS: Final = 200
MIN_WRAPPED_CELLS: Final = 20
"""A column that may wrap counts as this wide when columns have to go."""


def print_json(value: Struct | dict[str, object]) -> None:
    """Print one object as a line of JSON, at once."""
    import msgspec

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(to_json(msgspec.to_builtins(value)) + "\n")
    sys.stdout.flush()


def say(text: str = "") -> None:
    """Print text for people; line feeds stay, everything else that could drive a terminal is made visible."""
    sys.stdout.write(clean(text, newlines=True) + "\n")


def warn(text: str) -> None:
    """Print one line on stderr."""
    sys.stderr.write(f"p2pchat: {clean(text, 1000)}\n")


def is_fancy() -> bool:
    """Whether stdout is a terminal that wants colour."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def is_asking_possible() -> bool:
    """Whether a person sits at both ends."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def print_table(
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    empty: str,
    wrapped: Sequence[str] = (),
    expendable: Sequence[str] = (),
) -> None:
    """Print a table of texts, or ``empty`` when it has no rows.

    Args:
        wrapped: on a terminal only these columns may take several lines.
        expendable: columns that a narrow terminal does without, the first first.
    """
    cleaned = [[clean(cell, MAX_CELL_CHARS) for cell in row] for row in rows]
    if not cleaned:
        say(empty)
    elif is_fancy():
        _print_rich(titles, cleaned, wrapped, expendable)
    else:
        _print_plain(titles, cleaned)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print name and value, one pair a line."""
    pairs = [(name, clean(value, newlines=True).replace("\n", "\n" + " " * 4)) for name, value in facts]
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        sys.stdout.write(f"{name:<{width}}  {value}\n")


def _print_rich(
    titles: Sequence[str], rows: list[list[str]], wrapped: Sequence[str], expendable: Sequence[str]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, highlight=False, emoji=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    kept = _fitting(titles, rows, wrapped, expendable, console.width)
    for index in kept:
        wraps = titles[index] in wrapped
        table.add_column(Text(titles[index]), no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
    for row in rows:
        table.add_row(*(Text(row[index]) for index in kept))
    console.print(table)


def _fitting(
    titles: Sequence[str],
    rows: list[list[str]],
    wrapped: Sequence[str],
    expendable: Sequence[str],
    width: int,
) -> list[int]:
    """Choose the columns: those that say something, less expendable ones until the rest fits."""
    widths = {
        index: min(MIN_WRAPPED_CELLS, needed) if title in wrapped else needed
        for index, title in enumerate(titles)
        if (needed := max(_cells(row[index]) for row in rows)) and (needed := max(needed, _cells(title)))
    }
    for title in expendable:
        # Two blanks and a rule between two columns, one blank at each end.
        if sum(widths.values()) + 3 * len(widths) <= width:
            break
        widths.pop(titles.index(title), None)
    return list(widths)


def _print_plain(titles: Sequence[str], rows: list[list[str]]) -> None:
    table = [[title.upper() for title in titles], *rows]
    widths = [max(_cells(row[column]) for row in table) for column in range(len(titles))]
    for row in table:
        padded = [cell + " " * (width - _cells(cell)) for cell, width in zip(row, widths, strict=True)]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _cells(text: str) -> int:
    """How many columns a terminal gives to a text, as far as the Unicode tables tell."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def clock(at_ms: int | None) -> str:
    """A time as people read it: the local time, with the date unless it is today; empty for None."""
    if at_ms is None:
        return ""
    try:
        then, now = time.localtime(at_ms / 1000), time.localtime()
    except (OverflowError, ValueError, OSError):
        return str(at_ms)
    same_day = (then.tm_year, then.tm_yday) == (now.tm_year, now.tm_yday)
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M", then)


def number(value: float | None, unit: str = "") -> str:
    """A figure with its unit; empty for None."""
    if value is None:
        return ""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if not float(value).is_integer() else str(int(value))
    return f"{text} {unit}".rstrip()
