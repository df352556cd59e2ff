"""A home with a scripted engine in it, and a way to run the command line against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from p2pchat.api.launch import child_environment
from p2pchat.cli import main
from p2pchat.logs import to_json
from tests.api.scripted import ScriptedEngine


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """stdout as JSON lines."""
        import json

        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, named by P2PCHAT_HOME; no other variable of ours is set."""
    for name in list(os.environ):
        if name.startswith("P2PCHAT_"):
            monkeypatch.delenv(name)
    home = tmp_path / "h"
    monkeypatch.setenv("P2PCHAT_HOME", str(home))
    return home


@pytest.fixture
def engine(home: Path) -> Iterator[ScriptedEngine]:
    """A scripted engine that answers for this home."""
    engine = ScriptedEngine(home / "run" / "engine.sock")
    yield engine
    engine.close()


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process."""

    def run(*argv: str) -> Ran:
        capsys.readouterr()
        code = main(list(argv))
        said = capsys.readouterr()
        return Ran(code, said.out, said.err)

    return run


@pytest.fixture
def spawn(home: Path) -> Run:
    """Run a command line in a process of its own; stdin is bytes."""

    def spawn(*argv: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "p2pchat", *argv],
            input=stdin,
            capture_output=True,
            env=child_environment() | {"P2PCHAT_HOME": str(home)} | dict(env or {}),
            timeout=30,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode())

    return spawn


def is_harmless(text: str) -> bool:
    """No character in it drives a terminal or reorders text."""
    return to_json(text.replace("\n", "")).replace('\\"', "").replace("\\\\", "").find("\\u") < 0
