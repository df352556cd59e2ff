"""No command: the chat screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from p2pchat.cli.outcome import CommandFailed, ExitCode

if TYPE_CHECKING:
    from p2pchat.paths import Paths


def open_screen(paths: Paths) -> int:
    """Run the chat screen on the engine of this home, started if need be. Return the exit code."""
    require_terminal()
    from p2pchat.api.launch import Launcher
    from p2pchat.tui.app import run

    return run(Launcher(paths).locate)


def require_terminal() -> None:
    """Refuse where nobody could see or answer a screen."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        text = "the chat screen needs a terminal; see p2pchat --help for commands"
        raise CommandFailed(text, ExitCode.USAGE)
