"""Find the engine of a home, or start it.

Theory of operation
===================

Whoever comes first starts the engine as a child in its own session, with its output in ``logs/engine.out``.
Two that come first at once both start one; the engine that does not get the lock ends quietly, and both
clients end up at the other one. A client tries for :data:`PATIENCE_S` and then raises
:class:`p2pchat.errors.EngineUnavailable` with the last line that the engine said.

A socket file that nobody listens at is a left-over of an engine that was killed. It is not touched here: only
the holder of the lock may remove it, else a client could take away the socket of an engine that starts that
moment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from enum import Enum, auto
from pathlib import Path
from typing import Final

from p2pchat.api.blocking import PATIENCE_S, Connection
from p2pchat.errors import EngineUnavailable
from p2pchat.model import clean
from p2pchat.paths import Paths

_POLL_S: Final = 0.02
_SPAWN_AGAIN_S: Final = 0.3
_MAX_OUTPUT_BYTES: Final = 256 * 1024


class _Child(Enum):
    """What became of the engine that we started; one that lost the race ends well: ``NONE`` again."""

    NONE = auto()
    RUNNING = auto()
    FAILED = auto()


class Launcher:
    """Makes connections to the engine of one home.

    Args:
        start: start an engine when none runs.
        command: what starts one; the hidden form of ``p2pchat daemon`` when None.
    """

    def __init__(
        self,
        paths: Paths,
        *,
        start: bool = True,
        patience_s: float = PATIENCE_S,
        command: tuple[str, ...] | None = None,
    ) -> None:
        self._paths = paths
        self._start = start
        self._patience_s = patience_s
        self._command = engine_command(paths) if command is None else command
        self._child: int | None = None

    def connect(self) -> Connection:
        """Return a connection to the running engine, or to one started for it. Blocks up to the patience.

        Raises:
            EngineUnavailable: with a line that says why.
        """
        if (link := self.reach()) is not None:
            return link
        if not self._start:
            raise EngineUnavailable("no engine is running")
        offset: int | None = None
        give_up_s = time.monotonic() + self._patience_s
        again_s = 0.0
        while True:
            child = self._look_at_child()
            if (link := self.reach()) is not None:
                return link
            if child is _Child.FAILED:
                raise EngineUnavailable("the engine ended at its start" + self._last_words(offset or 0))
            now_s = time.monotonic()
            if now_s >= give_up_s:
                waited = f"no engine answered within {self._patience_s:g} s"
                raise EngineUnavailable(waited + self._holder() + self._last_words(offset or 0))
            if child is _Child.NONE and now_s >= again_s:
                # Again after one that lost the lock: its holder may be an engine that is just ending.
                begin, again_s = self._spawn(), now_s + _SPAWN_AGAIN_S
                offset = begin if offset is None else offset
            time.sleep(_POLL_S)

    def locate(self) -> Path:
        """Return the socket of a running engine, started if need be. Blocks up to the patience.

        Raises:
            EngineUnavailable: with a line that says why.
        """
        self.connect().close()
        return self._paths.find_socket()

    def reach(self) -> Connection | None:
        """Return a connection if an engine listens now, else None. Starts nothing.

        Raises:
            EngineUnavailable: the socket is there, but not for us.
        """
        path = self._paths.find_socket()
        try:
            return Connection.open(path)
        except PermissionError:
            raise EngineUnavailable(f"{path}: permission denied (whose home is this?)") from None
        except OSError:
            return None

    def _spawn(self) -> int:
        """Start an engine; return where its output begins in the output file."""
        try:
            self._paths.create()
            output = self._output()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            if output.exists() and output.stat().st_size > _MAX_OUTPUT_BYTES:
                flags |= os.O_TRUNC
            sink = os.open(output, flags, 0o600)
        except OSError as error:
            raise EngineUnavailable(f"the engine cannot be started: {error}") from None
        try:
            offset = os.fstat(sink).st_size
            self._child = _spawn_detached(self._command, sink)
        except OSError as error:
            raise EngineUnavailable(f"the engine cannot be started: {error}") from None
        finally:
            os.close(sink)
        return offset

    def _look_at_child(self) -> _Child:
        if self._child is None:
            return _Child.NONE
        try:
            pid, status = os.waitpid(self._child, os.WNOHANG)
        except ChildProcessError:
            pid, status = self._child, 0
        if pid == 0:
            return _Child.RUNNING
        self._child = None
        return _Child.NONE if os.waitstatus_to_exitcode(status) == 0 else _Child.FAILED

    def _output(self) -> Path:
        return self._paths.logs / "engine.out"

    def _last_words(self, offset: int) -> str:
        try:
            with self._output().open("rb") as file:
                file.seek(offset)
                said = file.read(_MAX_OUTPUT_BYTES).decode("utf-8", "replace")
        except OSError:
            said = ""
        lines = [line for line in said.splitlines() if line.strip()]
        said = f": {clean(lines[-1].removeprefix('p2pchat: '), 400)}" if lines else ""
        return f"{said} (see {self._output()})"

    def _holder(self) -> str:
        held = self._paths.read_lock()
        if held is None:
            return ""
        return f"; the home was last held by process {held.pid} on {clean(held.host, 60)}"


def engine_command(paths: Paths) -> tuple[str, ...]:
    """What starts an engine that ends by itself when nobody needs it.

    ``-P`` keeps the working directory off the import path: it may be anybody's.
    """
    home = () if paths.home is None else ("--home", str(paths.home))
    return (sys.executable, "-P", "-m", "p2pchat", *home, "daemon", "--auto")


def child_environment() -> dict[str, str]:
    """The environment for a child that runs this very package, installed or not."""
    environment = dict(os.environ)
    root = Path(__file__).resolve().parents[2]
    if root.name not in ("site-packages", "dist-packages"):
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = str(root) if not known else f"{root}{os.pathsep}{known}"
    return environment


def _spawn_detached(command: tuple[str, ...], sink: int) -> int:
    """Start a child in its own session that shares nothing with our terminal. Return its process id."""
    return os.posix_spawn(
        command[0],
        command,
        child_environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, sink, 1),
            (os.POSIX_SPAWN_DUP2, sink, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
    )
