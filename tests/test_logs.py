"""Rotating JSON-lines logs: escaping, rotation, files, followers, bounded queue."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pchat import logs as logs_module
from p2pchat.logs import Log, Logs, follow, log_path, render, tail, to_json


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    logs = Logs(tmp_path, flush_interval_s=0.0)
    yield logs
    logs.close()


def test_line_is_written_with_time_event_and_fields(tmp_path: Path, logs: Logs) -> None:
    record = logs.write(Log.HEARTBEAT, "heartbeat:sent", 5, peer="p", rtt_ms=1.5)
    assert logs.flush()
    assert tail(tmp_path / "heartbeat.log", 9) == ['{"at_ms":5,"event":"heartbeat:sent","peer":"p","rtt_ms":1.5}']
    assert record == {"at_ms": 5, "event": "heartbeat:sent", "peer": "p", "rtt_ms": 1.5}
    assert not (tmp_path / "engine.log").exists()


def test_time_is_now_when_none_is_given(tmp_path: Path, logs: Logs) -> None:
    assert isinstance(logs.write(Log.ENGINE, "x")["at_ms"], int)


def test_files_are_private(tmp_path: Path, logs: Logs) -> None:
    logs.write(Log.ENGINE, "x")
    logs.flush()
    assert log_path(tmp_path, Log.ENGINE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("code", [0x00, 0x1B, 0x7F, 0x9B, 0x61C, 0x200E, 0x202E, 0x2028, 0x2066, 0xD83D])
def test_json_escapes_what_could_drive_a_terminal_and_keeps_the_value(code: int) -> None:
    text = to_json({"k": f"é{chr(code)}志"})
    assert chr(code) not in text
    assert f"\\u{code:04x}" in text
    assert "é" in text
    assert json.loads(text) == {"k": f"é{chr(code)}志"}


def test_hostile_text_reaches_the_file_escaped(tmp_path: Path, logs: Logs) -> None:
    logs.write(Log.ENGINE, "x", 1, name="\x1b[2J\u202e\n\ud83d")
    logs.flush()
    raw = (tmp_path / "engine.log").read_bytes()
    assert b"\x1b" not in raw
    assert raw.count(b"\n") == 1


def test_rotation_keeps_the_size_and_the_number_of_files(tmp_path: Path) -> None:
    logs = Logs(tmp_path, max_bytes=1000, backups=2, flush_interval_s=0.0)
    for number in range(200):
        logs.write(Log.ENGINE, "x", number)
    logs.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["engine.log", "engine.log.1", "engine.log.2"]
    assert all(file.stat().st_size <= 1000 for file in files)
    found = [json.loads(line)["at_ms"] for line in tail(tmp_path / "engine.log", 10_000)]
    assert found == list(range(200))[-len(found) :]
    assert len(found) > 50


def test_rotation_without_backups_starts_anew(tmp_path: Path) -> None:
    logs = Logs(tmp_path, max_bytes=100, backups=0, flush_interval_s=0.0)
    for number in range(20):
        logs.write(Log.ENGINE, "x", number)
    logs.close()
    assert [file.name for file in tmp_path.iterdir()] == ["engine.log"]
    assert json.loads(tail(tmp_path / "engine.log", 1)[0])["at_ms"] == 19


def test_close_writes_what_is_queued_and_later_lines_are_ignored(tmp_path: Path) -> None:
    logs = Logs(tmp_path, flush_interval_s=60.0)
    logs.write(Log.LATENCY, "x", 1)
    logs.close()
    logs.close()
    logs.write(Log.LATENCY, "late", 2)
    assert len(tail(tmp_path / "latency.log", 9)) == 1
    assert "p2pchat-logs" not in {thread.name for thread in threading.enumerate()}


def test_lines_are_dropped_and_counted_when_the_queue_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs_module, "MAX_QUEUED_LINES", 3)
    logs = Logs(tmp_path, flush_interval_s=60.0)
    for number in range(10):
        logs.write(Log.HEARTBEAT, "x", number)
    assert len(logs._queue) == 3
    with logs._wake:
        logs._queue.clear()
    logs.write(Log.HEARTBEAT, "again", 11)
    logs.close()
    assert json.loads(tail(tmp_path / "engine.log", 1)[0]) == {
        "at_ms": 11,
        "event": "log:dropped",
        "level": "warning",
        "lines": 7,
    }


def test_disk_that_refuses_never_fails_the_caller(tmp_path: Path) -> None:
    logs = Logs(tmp_path / "missing", flush_interval_s=0.0)
    logs.write(Log.ENGINE, "x", 1)
    assert logs.flush()
    (tmp_path / "missing").mkdir()
    logs.write(Log.ENGINE, "y", 2)
    logs.close()
    assert [json.loads(line)["event"] for line in tail(tmp_path / "missing" / "engine.log", 9)] == ["y"]


def test_tail_reads_long_files_and_missing_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    assert tail(path, 5) == []
    path.write_text("".join(f"{number:0100d}\n" for number in range(5000)))
    assert tail(path, 0) == []
    assert [int(line) for line in tail(path, 1500)] == list(range(3500, 5000))
    assert len(tail(path, 99_999)) == 5000


def test_follow_goes_on_over_rotation_without_loss(tmp_path: Path) -> None:
    logs = Logs(tmp_path, max_bytes=300, backups=3, flush_interval_s=0.0)
    todo = iter(range(2, 40))

    def idle() -> None:
        number = next(todo, None)
        if number is None:
            raise EOFError
        logs.write(Log.ENGINE, "x", number)
        logs.flush()

    logs.write(Log.ENGINE, "x", 0)
    logs.write(Log.ENGINE, "x", 1)
    logs.flush()
    found: list[int] = []
    with pytest.raises(EOFError):
        found.extend(json.loads(line)["at_ms"] for line in follow(tmp_path / "engine.log", 1, idle=idle))
    logs.close()
    assert found == list(range(1, 40))
    assert (tmp_path / "engine.log.3").exists()


def test_follow_waits_for_a_file_and_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    steps = iter(['{"a"', ":1}\n", '{"b":2}\n'])

    def idle() -> None:
        step = next(steps, None)
        if step is None:
            raise EOFError
        with path.open("a") as file:
            file.write(step)

    found: list[str] = []
    with pytest.raises(EOFError):
        found.extend(follow(path, 5, idle=idle))
    assert found == ['{"a":1}', '{"b":2}']


def test_follow_starts_over_when_the_file_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "engine.log"
    path.write_text("a\nb\nc\n")
    steps = iter(["d\n"])

    def idle() -> None:
        path.write_text(next(steps))

    found: list[str] = []
    with pytest.raises(RuntimeError):
        found.extend(follow(path, 1, idle=idle))
    assert found == ["c", "d"]


def test_render_is_one_harmless_line_whatever_the_input() -> None:
    line = to_json({"at_ms": 0, "event": "link:refused", "level": "warning", "detail": "\x1b[2J a\u202e", "none": None})
    shown = render(Log.ENGINE, line)
    assert "link:refused" in shown
    assert '"␛[2J a\ufffd"' in shown
    assert "none" not in shown
    for odd in ("", "{", "[1]", "\x1b[2J", '{"at_ms":"x","event":5}', '{"at_ms":1e99}', '{"at_ms":-1,"event":null}'):
        assert "\x1b" not in render(Log.LATENCY, odd)
