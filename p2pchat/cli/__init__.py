"""The command line: one module per command group, each loaded when it is named.

Theory of operation
===================

``main`` is the only place where an error becomes an exit code (:mod:`p2pchat.cli.outcome` has the table) and
one line on stderr. No error shows a traceback unless ``P2PCHAT_DEBUG=1`` asks for it. A closed stdout ends
the program quietly.

``app`` knows the names and one-line helps of all commands without loading any. A command imports what it
needs inside its own module: a light one (``peers``, ``send``) touches neither asyncio nor any network or
screen library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from p2pchat.cli.outcome import ExitCode


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Args:
        argv: the arguments without the program's name; the process's own when None.
    """
    try:
        from p2pchat.cli.app import run

        code = run(sys.argv[1:] if argv is None else list(argv))
        sys.stdout.flush()
    except KeyboardInterrupt:
        _drop_output()
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return ExitCode.PIPE_CLOSED
    except OSError as error:
        _drop_output()
        sys.stderr.write(f"p2pchat: cannot write the output: {error}\n")
        return ExitCode.FAILED
    return code


def _drop_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
