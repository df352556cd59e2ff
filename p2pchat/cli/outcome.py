"""Exit codes, and which error becomes which.

========  =============================================================================
0         done (with ``--wait``: that state was reached)
1         failed; the reason is on stderr
2         usage: an unknown option, a bad value, a bad setting
3         accepted and on disk, but the state was not reached in time
4         dead-lettered
5         no such peer, or more than one; the candidates are on stderr
6         the engine could not be started or reached
130       interrupted
141       nobody reads our output any more (128 + SIGPIPE, as the shell reports it)
========  =============================================================================
"""

from __future__ import annotations

from enum import IntEnum

from p2pchat.errors import ApiError, ConfigError, EngineUnavailable, P2PChatError


class ExitCode(IntEnum):
    """What the program returns."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_IN_TIME = 3
    DEAD_LETTERED = 4
    NO_SUCH_PEER = 5
    NO_ENGINE = 6
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class CommandFailed(P2PChatError):
    """A command ends here, with this exit code and one line on stderr."""

    def __init__(self, text: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.code = code


# Words of p2pchat.api.types.ErrorCode; not imported from there, because that loads msgspec.
_BY_WORD = {
    "no_such_peer": ExitCode.NO_SUCH_PEER,
    "ambiguous_peer": ExitCode.NO_SUCH_PEER,
    "engine_unavailable": ExitCode.NO_ENGINE,
    "bad_request": ExitCode.USAGE,
    "too_large": ExitCode.USAGE,
}


def exit_code_of(error: P2PChatError) -> ExitCode:
    """Return the exit code that an error stands for."""
    match error:
        case CommandFailed():
            return error.code
        case EngineUnavailable():
            return ExitCode.NO_ENGINE
        case ApiError():
            return _BY_WORD.get(error.code, ExitCode.FAILED)
        case ConfigError():
            return ExitCode.USAGE
        case _:
            return ExitCode.FAILED
