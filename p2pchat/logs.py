"""Rotating JSON-lines logs: one event a line, for people who will be woken up.

Theory of operation
===================

``heartbeat.log`` has every heartbeat sent, answered and missed; ``latency.log`` the times of each message's
ticks; ``engine.log`` everything else. A line is a JSON object that opens with ``at_ms`` and ``event``;
control, C1 and bidi characters stand as ``\\uXXXX``, so that no line can drive the terminal that shows it.

**Writing never touches the disk on the caller's thread.** :meth:`Logs.write` formats one line and puts it on
a bounded queue (microseconds); the thread ``p2pchat-logs`` writes what has gathered, at most 0.25 s later, in
one go per file. When the queue is full, lines are dropped and the next line that is written says how many. So
is a disk that refuses: logging never fails its caller. A line is not fsynced; :meth:`Logs.close` writes all
that is queued.

**Rotation**: when a file would pass ``max_bytes``, ``x.log`` becomes ``x.log.1``, and so on up to
``backups``. Files are 0600. A reader that follows (:func:`follow`) notices the new file by its inode and
reads the old one to its end.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from p2pchat.model import clean

_ESCAPED: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

MAX_QUEUED_LINES: Final = 20_000
FLUSH_INTERVAL_S: Final = 0.25
POLL_S: Final = 0.2
"""How often a follower looks for new lines."""


class Log(StrEnum):
    """Which log."""

    HEARTBEAT = "heartbeat"
    LATENCY = "latency"
    ENGINE = "engine"


def to_json(value: object) -> str:
    """Write a value as one line of JSON in which no character can drive a terminal or reorder text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def log_path(folder: Path, log: Log) -> Path:
    """Where a log's newest file is."""
    return folder / f"{log.value}.log"


class Logs:
    """The writing end of the three logs; one per engine. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 5_000_000,
        backups: int = 3,
        flush_interval_s: float = FLUSH_INTERVAL_S,
    ) -> None:
        """Open nothing yet; files are made with their first line.

        Args:
            folder: where the logs are; it exists.
            max_bytes: a file is rotated before it grows past this.
            backups: how many rotated files of each log are kept; 0: none.
        """
        self._files = {log: _File(log_path(folder, log), max_bytes, backups) for log in Log}
        self._queue: deque[tuple[Log, str]] = deque()
        self._dropped = 0
        self._flush_interval_s = flush_interval_s
        self._wake = threading.Condition()
        self._ending = False
        self._flushed = 0
        self._queued = 0
        self._thread = threading.Thread(target=self._run, name="p2pchat-logs", daemon=True)
        self._thread.start()

    def write(self, log: Log, event: str, at_ms: int | None = None, **fields: object) -> dict[str, object]:
        """Queue one line and return it as the object that will be written.

        Args:
            at_ms: when it happened, in milliseconds since the epoch; now when None.
            fields: what JSON can say; anything else is written as its ``str()``.
        """
        at_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
        record: dict[str, object] = {"at_ms": at_ms, "event": event, **fields}
        line = to_json(record) + "\n"
        with self._wake:
            if self._ending:
                return record
            if len(self._queue) >= MAX_QUEUED_LINES:
                self._dropped += 1
                return record
            if self._dropped:
                self._queue.append((Log.ENGINE, _dropped_line(at_ms, self._dropped)))
                self._queued += 1
                self._dropped = 0
            self._queue.append((log, line))
            self._queued += 1
            if len(self._queue) == 1:
                self._wake.notify_all()
        return record

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything queued so far was handed to the system. Blocks: not for an event loop."""
        with self._wake:
            target = self._queued
            return self._wake.wait_for(lambda: self._flushed >= target, timeout_s)

    def close(self) -> None:
        """Write what is queued, end the thread, close the files. Blocks; idempotent."""
        with self._wake:
            self._ending = True
            self._wake.notify_all()
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            with self._wake:
                self._wake.wait_for(lambda: bool(self._queue) or self._ending)
                # Gather: one write per file and interval, however many lines a burst has.
                self._wake.wait_for(lambda: self._ending, self._flush_interval_s)
                batch, self._queue = self._queue, deque()
                ending = self._ending
            for log in Log:
                lines = [line for kind, line in batch if kind is log]
                if lines:
                    self._files[log].append(lines)
            with self._wake:
                self._flushed += len(batch)
                self._wake.notify_all()
        for file in self._files.values():
            file.close()


def _dropped_line(at_ms: int, count: int) -> str:
    return to_json({"at_ms": at_ms, "event": "log:dropped", "level": "warning", "lines": count}) + "\n"


class _File:
    """One log with its rotated files; used by the writing thread only."""

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._fd: int | None = None
        self._size = 0

    def append(self, lines: list[str]) -> None:
        """Write lines, rotating between them; a disk that refuses loses them quietly."""
        try:
            chunk: list[bytes] = []
            chunk_bytes = 0
            for line in lines:
                data = line.encode("utf-8", "replace")
                self._open()
                if self._size + chunk_bytes + len(data) > self._max_bytes and self._size + chunk_bytes:
                    self._put(b"".join(chunk))
                    chunk, chunk_bytes = [], 0
                    self._rotate()
                chunk.append(data)
                chunk_bytes += len(data)
            self._put(b"".join(chunk))
        except OSError:
            self.close()

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> None:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.fchmod(self._fd, 0o600)
            self._size = os.fstat(self._fd).st_size

    def _put(self, data: bytes) -> None:
        if self._fd is None or not data:
            return
        self._size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def _rotate(self) -> None:
        self.close()
        for number in range(self._backups, 0, -1):
            older = self._path if number == 1 else _rotated(self._path, number - 1)
            if older.exists():
                older.replace(_rotated(self._path, number))
        if self._backups == 0:
            self._path.unlink(missing_ok=True)
        self._open()


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


# --- reading ------------------------------------------------------------------------------------------------


def tail(path: Path, count: int) -> list[str]:
    """Return the last ``count`` lines without their ends, oldest first, looking into rotated files as needed.

    A file that is not there is empty.
    """
    found: list[str] = []
    number = 0
    while len(found) < count:
        part = path if number == 0 else _rotated(path, number)
        if number and not part.exists():
            break
        found = _last_lines(part, count - len(found)) + found
        number += 1
    return found


def _last_lines(path: Path, count: int) -> list[str]:
    block = 64 * 1024
    try:
        with path.open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            data = b""
            while position and data.count(b"\n") <= count:
                step = min(block, position)
                position = file.seek(position - step)
                data = file.read(step) + data
    except OSError:
        return []
    return [line.decode("utf-8", "replace") for line in data.split(b"\n") if line][-count:]


def follow(path: Path, count: int = 0, *, idle: Callable[[], None] | None = None) -> Iterator[str]:
    """Yield the last ``count`` lines, then new ones for ever; survives rotation and a missing file.

    Args:
        idle: called when there is nothing new, may raise to end the iteration; sleeps when None.
    """
    wait = idle if idle is not None else lambda: time.sleep(POLL_S)
    reader = _Reader(path)
    reader.skip_to_end()
    yield from tail(path, count) if count > 0 else []
    while True:
        lines = reader.lines()
        yield from lines
        if not lines:
            wait()


class _Reader:
    """Reads whole lines of a file that grows and is renamed away now and then."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._rest = b""

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def skip_to_end(self) -> None:
        self._reopen()
        if self._fd is not None:
            os.lseek(self._fd, 0, os.SEEK_END)

    def lines(self) -> list[str]:
        """What is new; of a file that was rotated away first the rest, then the new file."""
        if self._fd is None:
            self._reopen()
        moved = self._moved()
        found = self._read()
        if moved and not found:
            self._reopen()
            found = self._read()
        return found

    def _read(self) -> list[str]:
        if self._fd is None:
            return []
        if os.lseek(self._fd, 0, os.SEEK_CUR) > os.fstat(self._fd).st_size:
            os.lseek(self._fd, 0, os.SEEK_SET)  # somebody truncated it
        data = self._rest + os.read(self._fd, 1 << 20)
        *whole, self._rest = data.split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole if line]

    def _moved(self) -> bool:
        if self._fd is None:
            return False
        try:
            return self._path.stat().st_ino != os.fstat(self._fd).st_ino
        except OSError:
            return False  # between two renames: the old file is still the newest

    def _reopen(self) -> None:
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        if self._fd is not None:
            os.close(self._fd)
        self._fd, self._rest = fd, b""


# --- for people ---------------------------------------------------------------------------------------------


def render(log: Log, line: str) -> str:
    """Return one log line as people read it: local time, event, fields; anything else cleaned."""
    try:
        record = json.loads(line)
    except ValueError:
        return clean(line)
    if not isinstance(record, dict):
        return clean(line)
    at_ms, event = record.pop("at_ms", None), record.pop("event", "")
    parts = [_clock(at_ms)]
    if log is Log.ENGINE and (level := record.pop("level", None)) is not None:
        parts.append(f"{clean(str(level)):<7}")
    parts.append(clean(str(event)))
    parts += [f"{clean(str(name))}={_value(value)}" for name, value in record.items() if value is not None]
    return " ".join(parts)


def _clock(at_ms: Any) -> str:
    if not isinstance(at_ms, int | float) or isinstance(at_ms, bool) or not 0 <= at_ms < 1e14:
        return "--:--:--.---"
    return time.strftime("%H:%M:%S", time.localtime(at_ms / 1000)) + f".{int(at_ms) % 1000:03d}"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    text = clean(value) if isinstance(value, str) else clean(to_json(value))
    return f'"{text}"' if isinstance(value, str) and (" " in text or not text) else text
