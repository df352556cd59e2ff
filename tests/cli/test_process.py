"""What only a real process shows: pipes, stdin, signals, what is imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2pchat.api.launch import child_environment
from p2pchat.logs import Log, Logs
from tests.api.scripted import ID, ScriptedEngine, message, peer
from tests.cli.conftest import Run

HEAVY = ("asyncio", "textual", "rich", "zeroconf", "cryptography", "websockets", "segno", "sqlite3", "ssl")


@pytest.mark.parametrize(
    ("line", "also"),
    [
        ("--version", ("msgspec", "socket")),
        ("--help", ("msgspec", "socket")),
        ("peers --json", ()),
        ("send bob hi", ()),
        ("history bob --limit 1", ()),
        ("logs -n 1", ("msgspec",)),
    ],
)
def test_light_command_imports_nothing_heavy(
    home: Path, engine: ScriptedEngine, line: str, also: tuple[str, ...]
) -> None:
    engine.answers |= {
        "peers.list": [peer()],
        "message.send": {"message_id": ID, "state": "pending"},
        "history": [message()],
    }
    code = (
        "import json, sys; from p2pchat.cli import main; code = main(sys.argv[1:]);"
        "print(json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line.split()],
        capture_output=True,
        env=child_environment() | {"P2PCHAT_HOME": str(home)},
        timeout=30,
        check=True,
    )
    code_and_modules = json.loads(done.stdout.splitlines()[-1])
    assert code_and_modules[0] == 0
    assert set(code_and_modules[1]) & {*HEAVY, *also} == set()
    assert "p2pchat.cli" in code_and_modules[1]


@pytest.mark.parametrize(
    ("stdin", "body"),
    [
        (b"one\ntwo\n", "one\ntwo"),
        (b"no end", "no end"),
        (b"dos\r\n", "dos"),
        ("grüße\n\n".encode(), "grüße\n"),
        (b"x" * 65536 + b"\n", "x" * 65536),
    ],
    ids=["lines", "no end", "dos", "two ends", "largest"],
)
def test_send_reads_stdin_when_told(spawn: Run, engine: ScriptedEngine, stdin: bytes, body: str) -> None:
    engine.answers["message.send"] = {"message_id": ID, "state": "pending"}
    ran = spawn("send", "bob", "-", "--json", stdin=stdin)
    assert (ran.code, ran.err) == (0, "")
    assert engine.params("message.send")[0]["body"] == body


@pytest.mark.parametrize("stdin", [b"", b"\n", b"\xff\xfe", b"x" * 65537, b"x" * 1_000_000], ids=range(5))
def test_send_refuses_stdin_that_cannot_be_a_body(spawn: Run, engine: ScriptedEngine, stdin: bytes) -> None:
    ran = spawn("send", "bob", "-", stdin=stdin)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert engine.asked == []


def test_output_ends_quietly_when_nobody_reads_on(home: Path, engine: ScriptedEngine) -> None:
    engine.answers["peers.list"] = [peer() for _ in range(5000)]
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pchat", "peers", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment() | {"P2PCHAT_HOME": str(home)},
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 141


def test_full_disk_is_one_line_when_it_is_stdout(home: Path, engine: ScriptedEngine) -> None:
    engine.answers["peers.list"] = [peer()]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "p2pchat", "peers", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=child_environment() | {"P2PCHAT_HOME": str(home)},
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


def test_interrupt_ends_a_follow_with_130_and_no_traceback(home: Path) -> None:
    logs = Logs(_made(home / "logs"))
    logs.write(Log.ENGINE, "started")
    logs.close()
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pchat", "logs", "-f", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment() | {"P2PCHAT_HOME": str(home)},
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["event"] == "started"
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == b""


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_name_of_any_script_is_printed_when_the_terminal_has_an_old_encoding(
    spawn: Run, engine: ScriptedEngine, locale: dict[str, str]
) -> None:
    engine.answers["peers.list"] = [peer(name="Zoë 志")]
    assert spawn("peers", env=locale).code == 0
    assert spawn("peers", "--json", env=locale).objects[0]["name"] == "Zoë 志"


def test_logs_prints_lines_escaped_when_somebody_wrote_into_the_file(spawn: Run, home: Path) -> None:
    (_made(home / "logs") / "engine.log").write_bytes(b'{"event":"\xc2\x9b31m"}\n\x1b[2J not json\n\xff\n')
    ran = spawn("logs", "--json")
    assert (ran.code, len(ran.objects)) == (0, 3)
    assert "\x9b" not in ran.out
    assert "\x1b" not in spawn("logs").out


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
