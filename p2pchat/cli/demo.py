"""``demo``: three real devices on loopback, alone on one machine.

You, robin (who answers, see :mod:`p2pchat.cli.robin`) and a grump who has blocked you: so the ticks, a dead letter
and the logs are all there to be seen. Each is a real engine with a home of its own in one temporary folder.

**Nothing stays behind.** Every engine holds the reading end of a pipe whose only writing end is ours: when we end,
killed or not, the pipe closes, the engine ends and removes its home (``daemon --throw-away``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from p2pchat.api import types as t
from p2pchat.api.blocking import Engine
from p2pchat.api.launch import Launcher, child_environment
from p2pchat.cli.daemon import DEMO_PREFIX, remove_throw_away
from p2pchat.cli.demolines import Story
from p2pchat.cli.outcome import CommandFailed, ExitCode
from p2pchat.cli.output import say
from p2pchat.cli.robin import Robin, send
from p2pchat.cli.screen import require_terminal
from p2pchat.cli.session import command
from p2pchat.errors import P2PChatError
from p2pchat.model import clean
from p2pchat.paths import Paths

SHOW_S: Final = 10.0
"""How long ``--no-tui`` shows the conversation."""
PATIENCE_S: Final = 30.0
"""How long it goes on at most when a slow machine has not shown everything by then."""
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0

SETTINGS: Final = {
    "P2PCHAT_INCLUDE_VIRTUAL_INTERFACES": "true",
    "P2PCHAT_HEARTBEAT_INTERVAL": "2000",
    "P2PCHAT_FIRST_CONTACT": "accept",
}
"""What makes loopback a network and the logs lively."""

LINES: Final = (
    "Hello robin, can you hear me?",
    "This device, your device, and nothing in between.",
    "Watch the ticks: ◷ on my disk, ✓ on the wire, ✓✓ on yours, and then you read it.",
)
TO_THE_GRUMP: Final = "Hello? Is anybody there?"


@dataclass(frozen=True, slots=True)
class Device:
    """One engine of the demo."""

    paths: Paths
    process: subprocess.Popen[bytes]
    device_id: str
    port: int

    def launcher(self) -> Launcher:
        """Finds this engine; never starts one."""
        return Launcher(self.paths, start=False)

    def engine(self) -> Engine:
        """A client of this engine."""
        return Engine(self.launcher().connect, patience_s=0.0)


@command("demo")
@click.option("--no-tui", is_flag=True, help=f"Print what happens for {SHOW_S:g} s instead of opening the screen.")
def demo(no_tui: bool) -> int:
    """See it all work, alone on one machine: a second device that answers, ticks, a dead letter, moving logs.

    It runs in throw-away homes and touches neither your messages nor your network.
    """
    if not no_tui:
        require_terminal()
    with _devices() as (you, robin, grump):
        _introduce(you, robin, grump)
        bot = Robin(robin.launcher().connect)
        bot.start()
        talk = threading.Thread(target=_talk, args=(you, robin, grump), name="p2pchat-demo-you", daemon=True)
        talk.start()
        try:
            if no_tui:
                return _print_lines(you, robin, grump)
            from p2pchat.tui.app import run

            return run(you.launcher().locate)
        finally:
            bot.stop()


@contextmanager
def _devices() -> Iterator[tuple[Device, Device, Device]]:
    """Three engines that run, and afterwards none."""
    base = Path(tempfile.mkdtemp(prefix=DEMO_PREFIX))
    names = ("you", "robin", "grump")
    with ExitStack() as stack:
        stack.callback(_remove, base, names)
        started = [stack.enter_context(_start(base / name, name)) for name in names]
        you, robin, grump = (_ready(paths, process) for paths, process in started)
        yield you, robin, grump


@contextmanager
def _start(home: Path, name: str) -> Iterator[tuple[Paths, subprocess.Popen[bytes]]]:
    paths = Paths.for_home(home)
    paths.create()
    options = ("--listen", "127.0.0.1:0", "--name", name, "--no-discovery", "--throw-away")
    environment = {key: value for key, value in child_environment().items() if not key.startswith("P2PCHAT_")}
    with (paths.logs / "engine.out").open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and module
            [sys.executable, "-P", "-m", "p2pchat", "--home", str(home), "--json", "daemon", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment | SETTINGS,
            start_new_session=True,
        )
    with process:
        try:
            yield paths, process
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let go of the leash; an engine that does not end then is killed."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _remove(base: Path, names: tuple[str, ...]) -> None:
    for name in names:
        remove_throw_away(Paths.for_home(base / name))


def _ready(paths: Paths, process: subprocess.Popen[bytes]) -> Device:
    """Read the line that says that the engine is there."""
    assert process.stdout is not None
    watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
    finally:
        watchdog.cancel()
    try:
        said = json.loads(line)
        return Device(paths, process, str(said["device_id"]), int(said["port"]))
    except (ValueError, KeyError, TypeError):
        words = clean((paths.logs / "engine.out").read_text("utf-8", "replace").strip()[-400:])
        raise CommandFailed(f"an engine of the demo did not start: {words}", ExitCode.NO_ENGINE) from None


def _introduce(you: Device, robin: Device, grump: Device) -> None:
    """Make you know both, and the grump block you."""
    with you.engine() as yours, grump.engine() as theirs:
        for device in (robin, grump):
            added = t.PeerAddParams(address=f"127.0.0.1:{device.port}")
            yours.call("peer.add", t.Peer, added, START_TIMEOUT_S)
        theirs.call("peer.block", t.Peer, t.PeerParams(peer=you.device_id))


def _talk(you: Device, robin: Device, grump: Device) -> None:
    """Say what a first user would say, unhurried; later words are up to the person at the screen."""
    with suppress(P2PChatError), you.engine() as engine:
        send(engine, grump.device_id, TO_THE_GRUMP)
        send(engine, robin.device_id, LINES[0])
        for line in LINES[1:]:
            time.sleep(2.5)
            send(engine, robin.device_id, line)


def _print_lines(you: Device, robin: Device, grump: Device) -> int:
    """Print what happens until the time is up and everything was seen."""
    story = Story({robin.device_id: "robin", grump.device_id: "grump"})
    say("three devices on this machine: you, robin (who answers) and a grump (who has blocked you)")
    started_s = time.monotonic()
    lock = threading.Lock()
    over = threading.Event()

    def listen() -> None:
        with suppress(P2PChatError), you.engine() as engine:
            for event in engine.events(0, follow=True):
                line = story.tell(event)
                with lock:
                    if line is not None and not over.is_set():
                        say(line)
                        sys.stdout.flush()

    threading.Thread(target=listen, name="p2pchat-demo-listener", daemon=True).start()
    while (passed_s := time.monotonic() - started_s) < PATIENCE_S:
        if passed_s >= SHOW_S and not story.missing():
            break
        time.sleep(0.1)
        if you.process.poll() is not None:
            raise CommandFailed("the engine of the demo ended too early", ExitCode.NO_ENGINE)
    with lock:
        over.set()
        if missing := story.missing():
            raise CommandFailed("not seen in time: " + ", ".join(missing))
        say("that was it; `p2pchat demo` opens the screen on it, `p2pchat` begins in earnest")
    return ExitCode.DONE
