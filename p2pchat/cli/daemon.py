"""``daemon`` and ``stop``: the engine's life from outside.

Two hidden options serve children that other parts of the program start: ``--auto`` (ends when nobody needs
it) and ``--throw-away`` (ends when stdin is closed, so when whoever started it is gone, however that happened,
and removes its home, which has to lie in a folder that the demo made).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

import click

from p2pchat.cli.outcome import CommandFailed, ExitCode
from p2pchat.cli.output import say
from p2pchat.cli.session import Session, command, pass_session
from p2pchat.paths import Paths

if TYPE_CHECKING:
    from p2pchat.api.blocking import Connection

STOP_TIMEOUT_S: Final = 60.0
"""How long an engine may drain and flush before `stop` says that it hangs."""
_POLL_S: Final = 0.02
DEMO_PREFIX: Final = "p2pchat-demo-"
"""How the temporary folders are called that may be removed."""


@command("daemon")
@click.option("--listen", metavar="HOST:PORT", help="Where to listen; port 0: any free one.")
@click.option("--name", metavar="N", help="What others see.")
@click.option("--no-discovery", is_flag=True, help="Neither announce nor look for others by mDNS.")
@click.option("--auto", is_flag=True, hidden=True)
@click.option("--throw-away", is_flag=True, hidden=True)
@pass_session
def daemon(
    session: Session, listen: str | None, name: str | None, no_discovery: bool, auto: bool, throw_away: bool
) -> int:
    """Run the engine in the foreground until it is stopped; --json: the first line says it is ready."""
    from p2pchat.config import load

    flags: dict[str, str] = {}
    if listen is not None:
        flags["listen"] = listen
    if name is not None:
        flags["name"] = name
    if no_discovery:
        flags["discovery"] = "false"
    paths = session.paths
    config = load(paths, flags=flags)
    if auto:
        os.chdir("/")  # a child that stays must not hold a mounted folder
    if throw_away:
        require_throw_away(paths)
        # Until the engine listens to signals: unwind, so that the home goes whenever the leash is cut.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.FAILED))
        threading.Thread(target=_hold_leash, name="p2pchat-leash", daemon=True).start()
    from p2pchat.engine.process import EngineOptions, run

    try:
        return run(EngineOptions(paths=paths, config=config, auto=auto, json=session.json))
    finally:
        if throw_away:
            remove_throw_away(paths)


def require_throw_away(paths: Paths) -> None:
    """Refuse a home that is not inside a folder which the demo made.

    Raises:
        CommandFailed: removing it would remove somebody's messages.
    """
    if paths.home is None or not paths.home.parent.name.startswith(DEMO_PREFIX):
        raise CommandFailed(f"--throw-away needs a home inside a folder {DEMO_PREFIX}…", ExitCode.USAGE)


def remove_throw_away(paths: Paths) -> None:
    """Remove the home; the last one removes the folder of all."""
    import shutil

    require_throw_away(paths)
    assert paths.home is not None
    shutil.rmtree(paths.home, ignore_errors=True)
    with contextlib.suppress(OSError):
        paths.home.parent.rmdir()


def _hold_leash() -> None:
    """End this process when stdin ends."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


@command("stop")
@pass_session
def stop(session: Session) -> None:
    """End the engine; returns when everything is flushed and the lock is free."""
    give_up_s = time.monotonic() + STOP_TIMEOUT_S
    link = _reach(session, give_up_s)
    if link is not None:
        _ask_to_stop(link, give_up_s)
        _await_lock(session.paths, give_up_s)
    if not session.json:
        say("no engine is running" if link is None else "stopped")


def _reach(session: Session, give_up_s: float) -> Connection | None:
    """Connect to the engine; to one that starts or ends at this moment when it is ready, None when it is gone."""
    while (link := session.launcher(start=False).reach()) is None and session.paths.is_held():
        if time.monotonic() >= give_up_s:
            raise CommandFailed(f"the engine does not answer{_holder(session.paths)}")
        time.sleep(_POLL_S)
    return link


def _ask_to_stop(link: Connection, give_up_s: float) -> None:
    from p2pchat.api.types import Done

    try:
        link.call("stop", Done)
        while True:
            link.read(give_up_s)
    except TimeoutError:
        raise CommandFailed(f"the engine has not ended within {STOP_TIMEOUT_S:g} s") from None
    except OSError:
        pass  # it hung up, as it should
    finally:
        link.close()


def _await_lock(paths: Paths, give_up_s: float) -> None:
    while paths.is_held():
        if time.monotonic() >= give_up_s:
            raise CommandFailed(f"the engine still holds its lock after {STOP_TIMEOUT_S:g} s{_holder(paths)}")
        time.sleep(_POLL_S)


def _holder(paths: Paths) -> str:
    held = paths.read_lock()
    return "" if held is None else f" (process {held.pid} on {held.host})"
