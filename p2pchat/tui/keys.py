"""Alt+Enter in terminals that speak no extended keyboard protocol.

They send ESC CR, which Textual reads as a plain Enter: the key that is to begin a line would send the message. Its
table of sequences has no public door, so the one entry is added here; where the table is gone, Ctrl+J still works.
"""

from __future__ import annotations

from enum import Enum


class ExtraKey(Enum):
    """Keys that Textual knows by name, but not by their old sequence."""

    ALT_ENTER = "alt+enter"


def know_alt_enter() -> None:
    """Teach the parser that ESC CR is Alt+Enter; harmless to repeat."""
    try:
        from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
    except ImportError:
        return
    table: dict[str, object] = ANSI_SEQUENCES_KEYS  # type: ignore[assignment]  # its values are Textual's own enum
    table.setdefault("\x1b\r", (ExtraKey.ALT_ENTER,))
