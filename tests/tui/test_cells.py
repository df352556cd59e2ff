"""Text in cells: harmless, steady, and as wide as it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from wcwidth import wcwidth

from p2pchat.model import is_hostile
from p2pchat.tui.cells import MAX_MARKS, body_text, cut, fit, line_text, name_text, steady, width_of, wrap

NASTY = [
    "plain",
    "日本語のテキスト",
    "👨‍👩‍👧‍👦 family, 👍🏽 thumb, ❤️ heart, 🇩🇪🇫🇷 flags",
    "e\u0301 combining, z\u0330\u0331\u0332\u0333\u0334\u0335\u0336\u0337algo",
    "שלום עולם مرحبا بالعالم",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    "\u202eevil\u202c \u2066x\u2069 \u200fy",
    "[bold]not markup[/bold] [/] [@click=app.quit]x[/]",
    "tab\tand\rreturn\x00null\x7f",
    "नमस्ते ทำไม ภาษาไทย",
    "한글 \u1112\u1161\u11ab",
    "soft\u00adhyphen zero\u200bwidth bom\ufeff",
    "￥ﾊﾝｶｸ①②③…—“”",
    "\u0301\u0302 starts with marks",
    "a" * 500,
    "字" * 300,
    "\ud800 lone surrogate",
]


def terminal_width(text: str) -> int:
    """What a terminal that looks at one character at a time makes of it."""
    return sum(max(0, wcwidth(char)) for char in text)


@pytest.mark.parametrize("text", NASTY)
def test_body_text_measures_the_same_by_grapheme_and_by_character(text: str) -> None:
    for line in body_text(text).split("\n"):
        assert cell_len(line) == terminal_width(line) == width_of(line)


@pytest.mark.parametrize("text", NASTY)
def test_outside_text_loses_everything_that_drives_a_terminal(text: str) -> None:
    for made in (body_text(text).replace("\n", ""), line_text(text), name_text(text)):
        assert not any(map(is_hostile, made))


@given(st.text(max_size=200), st.integers(2, 60))
def test_wrap_makes_rows_that_fit_and_loses_nothing_but_spaces(text: str, width: int) -> None:
    text = body_text(text)
    rows = wrap(text, width)
    assert rows
    assert all(width_of(row) <= width for row in rows)
    assert "".join("".join(rows).split()) == "".join(text.split())


@given(st.text(max_size=80), st.integers(0, 40), st.booleans())
def test_fit_is_exactly_as_wide_as_asked(text: str, width: int, right: bool) -> None:
    assert width_of(fit(line_text(text), width, right=right)) == width


def test_wrap_breaks_at_spaces_and_keeps_indentation() -> None:
    assert wrap("one two three", 8) == ["one two", "three"]
    assert wrap("    code stays", 20) == ["    code stays"]
    assert wrap("a\n\nb", 20) == ["a", "", "b"]
    assert wrap("", 20) == [""]


def test_wrap_breaks_inside_a_word_that_is_too_long() -> None:
    assert wrap("abcdefgh", 3) == ["abc", "def", "gh"]
    assert wrap("字字字", 4) == ["字字", "字"]


def test_cut_marks_what_is_missing_and_never_halves_a_wide_character() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("字字字", 4) == "字…"
    assert cut("abc", 3) == "abc"
    assert cut("abc", 0) == ""


def test_steady_keeps_a_few_marks_on_one_character_when_many_are_stacked() -> None:
    assert steady("x" + "\u0316" * 50) == "x" + "\u0316" * MAX_MARKS


def test_steady_shows_flags_as_their_letters() -> None:
    assert steady("\U0001f1e9\U0001f1ea") == "DE"


def test_line_text_is_one_line_when_the_text_has_many() -> None:
    assert line_text("a\nb\r\nc\t d") == "a b c d"
