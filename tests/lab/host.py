"""One machine of the lab: a home, its engine as a real process, and the command line run beside it.

Everything goes through the command line contract. Streams of sends, for which a process per message is too slow, go
through the documented socket (see ``feed.py``).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from p2pchat.paths import Paths
from tests.lab.net import ROOT, Lab, Plug, end
from tests.lab.waiting import wait_until

READY_TIMEOUT_S: Final = 20.0
CLI_TIMEOUT_S: Final = 45.0
STOP_TIMEOUT_S: Final = 20.0

Row = dict[str, Any]
Settings = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command did."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    took_s: float

    def rows(self) -> list[Row]:
        """Its output as JSON, one object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def row(self) -> Row:
        """Its output as one JSON object."""
        (one,) = self.rows()
        return one

    def done(self) -> Self:
        """Fail unless it ended with exit code 0."""
        assert self.code == 0, f"{self}"
        return self

    def __str__(self) -> str:
        return f"p2pchat {' '.join(self.argv)}: exit {self.code} after {self.took_s:.2f} s\n{self.out}{self.err}"


class Host:
    """A machine with p2pchat on it."""

    def __init__(
        self,
        lab: Lab,
        name: str,
        *,
        settings: Settings | None = None,
        shown: str | None = None,
        plug: Plug | None = None,
    ) -> None:
        """Make the machine; its engine is started by :meth:`start`.

        Args:
            settings: keys of ``config.toml``.
            shown: the name that others see; ``name`` unless given.
            plug: another machine's network, to be a second device there; its own unless given.
        """
        self.lab = lab
        self.name = name
        self.plug = plug if plug is not None else lab.plug(name)
        self.home = lab.folder / name
        self.paths = Paths.for_home(self.home)
        self._shown = shown if shown is not None else name
        self._settings = dict(settings or {})
        self._runs = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: Row = {}
        self.device_id = ""

    # --- the engine ---------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the engine and wait for its ready line."""
        self.launch()
        return self.wait_ready()

    def launch(self) -> None:
        """Start the engine without waiting for it."""
        self.paths.config.mkdir(parents=True, exist_ok=True, mode=0o700)
        lines = [f"{key} = {json.dumps(value)}" for key, value in self._settings.items()]
        self.paths.config_file.write_text("\n".join(lines) + "\n", "utf-8")
        self._runs += 1
        with self.output.open("wb") as out, self.errors.open("wb") as err:
            self._process = self.lab.spawn(
                self._argv("daemon", "--json", "--name", self._shown),
                plug=self.plug,
                stdout=out,
                stderr=err,
                environ=environ(),
            )

    def wait_ready(self) -> Self:
        """Wait for the ready line of an engine that was launched."""
        line = wait_until(f"{self.name}'s engine is ready", self._ready_line, READY_TIMEOUT_S)
        self.ready = json.loads(line)
        assert self.ready["event"] == "ready", line
        self.device_id = self.ready["device_id"]
        return self

    @property
    def output(self) -> Path:
        """What the engine of the latest run printed."""
        return self.lab.folder / f"{self.name}.{self._runs}.out"

    @property
    def errors(self) -> Path:
        """What it said on stderr."""
        return self.lab.folder / f"{self.name}.{self._runs}.err"

    def _ready_line(self) -> str:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"{self.name}'s engine ended with {code}: {self.errors.read_text('utf-8', 'replace')}"
        line, newline, _ = self.output.read_text("utf-8").partition("\n")
        return line if newline else ""

    @property
    def pid(self) -> int:
        """The engine's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the engine process is there."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> float:
        """End the engine as a user would; return how long it took, in seconds."""
        assert self._process is not None
        started_s = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(STOP_TIMEOUT_S)
        assert code == 0, f"{self.name}'s engine ended with {code}: {self.errors.read_text('utf-8', 'replace')}"
        return time.monotonic() - started_s

    def kill(self) -> None:
        """End the engine with SIGKILL."""
        assert self._process is not None
        end(self._process)

    def freeze(self) -> None:
        """Stop the engine's process (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    # --- the command line ---------------------------------------------------------------------------------------

    def _argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "p2pchat", "--home", str(self.home), *words]

    def cli(self, *words: str, stdin: str | None = None, timeout_s: float = CLI_TIMEOUT_S) -> Answer:
        """Run a command on this machine to its end, whatever its exit code."""
        started_s = time.monotonic()
        done = subprocess.run(
            self.plug.inside(*self._argv(*words)),
            input=None if stdin is None else stdin.encode(),
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            timeout=timeout_s,
            env=environ(),
            cwd=ROOT,
            check=False,
        )
        took_s = time.monotonic() - started_s
        # Nothing is replaced: output that is not UTF-8 is a failure of its own.
        return Answer(words, done.returncode, done.stdout.decode(), done.stderr.decode(), took_s)

    def json(self, *words: str) -> list[Row]:
        """Run a command with ``--json``; it must succeed."""
        return self.cli(*words, "--json").done().rows()

    def send(self, to: Host, text: str, *words: str) -> Answer:
        """Send a text, with ``--json``."""
        return self.cli("send", to.device_id, text, *words, "--json")

    def peer(self, other: Host) -> Row:
        """What this machine knows about another; empty if nothing."""
        return next((row for row in self.json("peers") if row["device_id"] == other.device_id), {})

    def presence_of(self, other: Host) -> str:
        """``online``, ``away``, ``offline``, or empty if the other was never seen."""
        return str(self.peer(other).get("presence", ""))

    def history(self, other: Host, *words: str) -> list[Row]:
        """The whole conversation, oldest first."""
        return self.json("history", other.device_id, "--limit", "100000", *words)

    def outbox(self) -> list[Row]:
        """What waits."""
        return self.json("outbox")

    def letters(self) -> list[Row]:
        """The dead letters."""
        return self.json("dlq", "list")

    def waiting(self, message_id: str) -> Row:
        """One message of the outbox; empty when it is not there."""
        return next((row for row in self.outbox() if row["message_id"] == message_id), {})

    def state_of(self, message_id: str) -> str:
        """The state of one message."""
        return str(self.json("show", message_id)[0]["state"])

    def wait_linked(self, *others: Host, timeout_s: float = 10.0) -> Self:
        """Wait until these are online."""
        for other in others:
            wait_until(
                f"{other.name} is online for {self.name}",
                lambda one=other: self.presence_of(one) == "online",  # type: ignore[misc]  # bound per turn
                timeout_s,
            )
        return self

    def wait_state(self, message_id: str, state: str, timeout_s: float) -> None:
        """Wait until a message has reached a state."""
        wait_until(
            f"{message_id} is {state} on {self.name}", lambda: self.state_of(message_id) == state, timeout_s, poll_s=0.1
        )

    def follow(self, *words: str) -> Events:
        """Follow ``p2pchat events``."""
        return Events(self, *words)

    # --- evidence -----------------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """The lines in which its engine reported a fault of its own."""
        found = [path.read_text("utf-8", "replace") for path in sorted(self.paths.logs.glob("engine.log*"))]
        lines = [line for text in found for line in text.splitlines()]
        signs = ("a fault of ours", '"traceback"', "could not be applied")
        return [line for line in lines if any(sign in line for sign in signs)]

    def report(self) -> str:
        """What a person needs who looks into a failure: how it ran and what it says now."""
        parts = [f"--- {self.name} {self.device_id[:8]} ({'running' if self.running else 'not running'})"]
        for path in (self.errors, self.paths.logs / "engine.log"):
            with contextlib.suppress(OSError):
                parts.append(f"{path.name}:\n{path.read_text('utf-8', 'replace')[-6000:]}")
        if self.running:
            for words in (("peers",), ("outbox",), ("dlq", "list")):
                with contextlib.suppress(subprocess.SubprocessError, OSError, ValueError):
                    parts.append(str(self.cli(*words, "--json", timeout_s=5)))
        return "\n".join(parts)


class Events:
    """The events of a host, from a process that follows them. A context manager."""

    def __init__(self, host: Host, *words: str) -> None:
        self._path = host.lab.folder / f"{host.name}.{time.monotonic_ns()}.events"
        with self._path.open("wb") as out:
            self._process = host.lab.spawn(
                host._argv("events", "--follow", *words, "--json"), plug=host.plug, stdout=out, environ=environ()
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process)

    def seen(self, *names: str) -> list[Row]:
        """Return what came so far; only events of these names, if any are given."""
        text = self._path.read_text("utf-8")
        whole = text[: text.rfind("\n") + 1]
        rows = [json.loads(line) for line in whole.splitlines()]
        return [row for row in rows if not names or row["event"] in names]

    def wait(self, name: str, timeout_s: float, **fields: object) -> Row:
        """Wait for an event with these fields."""

        def look() -> Row:
            rows = self.seen(name)
            return next((row for row in rows if all(row.get(key) == value for key, value in fields.items())), {})

        return wait_until(f"event {name} {fields}", look, timeout_s)


def environ() -> dict[str, str]:
    """The environment of a machine: ours without anything that would configure p2pchat."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("P2PCHAT_", "COV_", "COVERAGE"))}
    return {**kept, "LANG": "C.UTF-8", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
