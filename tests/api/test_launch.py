"""Finding and starting the engine: a child of its own session, left-over sockets, races, and why it failed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from p2pchat.api import types as t
from p2pchat.api.launch import Launcher, engine_command
from p2pchat.errors import EngineUnavailable
from p2pchat.paths import LockInfo, Paths
from tests.api.scripted import ScriptedEngine

ENGINE = """
import os, signal, socket, sys
path = sys.argv[1]
if os.path.exists(path): os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("listening", os.getpid(), os.getsid(0), os.isatty(0), flush=True)
signal.alarm(20)
while True:
    link, _ = listener.accept()
"""


def command(path: Path) -> tuple[str, ...]:
    return (sys.executable, "-c", ENGINE, str(path))


def said(paths: Paths) -> list[list[str]]:
    return [line.split() for line in (paths.logs / "engine.out").read_text().splitlines()]


def test_connect_starts_a_detached_engine_when_none_runs(paths: Paths) -> None:
    launcher = Launcher(paths, command=command(paths.socket))
    launcher.connect().close()
    (word, pid, session, is_tty) = said(paths)[0]
    try:
        assert word == "listening"
        assert session == pid
        assert is_tty == "False"
        assert (paths.logs / "engine.out").stat().st_mode & 0o777 == 0o600
        assert launcher.locate() == paths.socket
        assert len(said(paths)) == 1
    finally:
        os.kill(int(pid), signal.SIGKILL)
        os.waitpid(int(pid), 0)


def test_connect_starts_an_engine_when_the_socket_is_a_left_over(paths: Paths) -> None:
    paths.create()
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(paths.socket))
    assert paths.socket.exists()
    assert Launcher(paths, start=False).reach() is None
    Launcher(paths, command=command(paths.socket)).connect().close()
    pid = int(said(paths)[0][1])
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_connect_uses_the_running_engine_and_starts_nothing(paths: Paths, engine: ScriptedEngine) -> None:
    link = Launcher(paths, command=("/does/not/exist",)).connect()
    assert link.call("status", t.Status).name == "ann"
    link.close()
    assert not paths.logs.exists()


def test_connect_finds_the_short_path_in_the_lock(tmp_path: Path) -> None:
    paths = Paths.for_home(tmp_path / ("x" * 100))
    paths.create()
    engine = ScriptedEngine(tmp_path / "s" / "engine.sock")
    try:
        paths.lock.write_text(LockInfo("here", os.getpid(), engine.path).to_json())
        link = Launcher(paths, start=False).connect()
        assert link.call("status", t.Status).name == "ann"
        link.close()
    finally:
        engine.close()


def test_connect_says_what_the_engine_said_when_it_fails_at_once(paths: Paths) -> None:
    paths.create()
    (paths.logs / "engine.out").write_text("an old story\n")
    bad = (sys.executable, "-c", "import sys; print('warming up'); sys.exit('p2pchat: no \x1b[1mdisk')")
    begin_s = time.monotonic()
    with pytest.raises(EngineUnavailable) as caught:
        Launcher(paths, command=bad).connect()
    assert time.monotonic() - begin_s < 8
    assert "the engine ended at its start: no ␛[1mdisk" in str(caught.value)
    assert str(paths.logs / "engine.out") in str(caught.value)
    assert "old story" not in str(caught.value)


def test_connect_tries_again_when_its_engine_lost_the_race(paths: Paths) -> None:
    paths.create()
    count = paths.run / "count"
    loser = "import sys; open(sys.argv[1], 'a').write('x')"
    with pytest.raises(EngineUnavailable) as caught:
        Launcher(paths, command=(sys.executable, "-c", loser, str(count)), patience_s=1.0).connect()
    assert "within 1 s" in str(caught.value)
    assert len(count.read_text()) >= 2


def test_connect_names_the_holder_when_nobody_answers(paths: Paths) -> None:
    paths.create()
    paths.lock.write_text(LockInfo("elsewhere", 77, paths.socket).to_json())
    with pytest.raises(EngineUnavailable, match="process 77 on elsewhere"):
        Launcher(paths, command=(sys.executable, "-c", ""), patience_s=0.2).connect()


def test_connect_starts_nothing_when_told(paths: Paths) -> None:
    with pytest.raises(EngineUnavailable, match="no engine is running"):
        Launcher(paths, start=False).connect()


def test_connect_says_so_when_the_folders_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineUnavailable, match="cannot be started"):
        Launcher(Paths.for_home(tmp_path / "file" / "h")).connect()


def test_engine_is_started_with_the_home_and_not_from_the_working_folder(tmp_path: Path) -> None:
    assert engine_command(Paths.for_home(tmp_path))[1:] == (
        "-P",
        "-m",
        "p2pchat",
        "--home",
        str(tmp_path),
        "daemon",
        "--auto",
    )
    assert "--home" not in engine_command(Paths.for_home(None))
