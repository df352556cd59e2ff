"""The three logs of an engine, written from its events, and those who follow one.

Every heartbeat sent, answered or missed goes to the heartbeat log; each message's times, when it is delivered and when
it is read, to the latency log; what a person might look for later to the engine log. The everyday steps of messages
are there at ``debug`` only. A message's text is never written.

Lines of the latency log are formatted after the tick that they report, when the loop has a moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from p2pchat.config import LogLevel
from p2pchat.core.effects import Notify
from p2pchat.logs import Log, Logs
from p2pchat.store.notices import Recorded

Follower = Callable[[dict[str, object]], None]

_TIMED: Final = frozenset({"message:delivered", "message:read"})
_EVERYDAY: Final = frozenset(
    {
        "message:queued",
        "message:sent",
        "message:delivered",
        "message:received",
        "message:read",
        "sync:notification-sent",
        "sync:notification-received",
    }
)
_WORRYING: Final = frozenset(
    {
        "message:moved-to-dlq",
        "link:refused",
        "identity:duplicate",
        "clock:skewed",
        "sync:notification-failed",
        "sync:fallback-triggered",
        "engine:crashed",
    }
)
_LEVELS: Final = {LogLevel.DEBUG: 10, LogLevel.INFO: 20, LogLevel.WARNING: 30, LogLevel.ERROR: 40}
_LINES_A_TURN: Final = 100
_MAX_WAITING: Final = 20_000
_PAUSE_S: Final = 0.02


class Journal:
    """Writes the logs. Call it on the loop."""

    def __init__(self, logs: Logs, level: LogLevel = LogLevel.INFO) -> None:
        self._logs = logs
        self._level = _LEVELS[level]
        self._followers: dict[Log, list[Follower]] = {log: [] for log in Log}
        self._waiting: deque[Recorded] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def recorded(self, events: Collection[Recorded]) -> None:
        """Take the events of a commit."""
        for event in events:
            if event.name in _TIMED and len(self._waiting) < _MAX_WAITING:
                self._waiting.append(event)
            level = self._level_of(event.name)
            if level >= self._level:
                self._write(Log.ENGINE, event.name, event.at_ms, {"level": _word(level), **_fields(event)})
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE_S, self._write_times)

    def noticed(self, notice: Notify) -> None:
        """Take something that is not stored."""
        message_id = None if notice.message_id is None else notice.message_id.hex()
        fields = {"peer": notice.peer, **({} if message_id is None else {"message_id": message_id}), **notice.detail}
        if notice.name.startswith("heartbeat:"):
            self._write(Log.HEARTBEAT, notice.name, notice.at_ms, fields)
            return
        level = self._level_of(notice.name)
        if level >= self._level:
            self._write(Log.ENGINE, notice.name, notice.at_ms, {"level": _word(level), **fields})

    def note(self, event: str, level: int = logging.INFO, **fields: object) -> None:
        """Write a line of the engine itself."""
        if level >= self._level:
            self._write(Log.ENGINE, event, None, {"level": _word(level), **fields})

    def follow(self, log: Log, follower: Follower) -> Callable[[], None]:
        """Call ``follower`` with each line from now on; the function returned ends that."""
        followers = self._followers[log]
        followers.append(follower)
        return lambda: followers.remove(follower) if follower in followers else None

    def finish(self) -> None:
        """Write what still waits for a moment."""
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            self._write_time(self._waiting.popleft())

    def _write_times(self) -> None:
        self._timer = None
        for _ in range(min(_LINES_A_TURN, len(self._waiting))):
            self._write_time(self._waiting.popleft())
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE_S / 4, self._write_times)

    def _write_time(self, event: Recorded) -> None:
        self._write(Log.LATENCY, event.name, event.at_ms, _fields(event))

    def _write(self, log: Log, event: str, at_ms: int | None, fields: Mapping[str, object]) -> None:
        record = self._logs.write(log, event, at_ms, **fields)
        for follower in list(self._followers[log]):
            follower(record)

    def _level_of(self, name: str) -> int:
        if name in _EVERYDAY:
            return logging.DEBUG
        return logging.WARNING if name in _WORRYING or name.startswith("stream:") else logging.INFO


def _fields(event: Recorded) -> dict[str, object]:
    ids: dict[str, object] = {}
    if event.peer is not None:
        ids["peer"] = event.peer
    if event.message_id is not None:
        ids["message_id"] = event.message_id.hex()
    return {**ids, **event.detail}


def _word(level: int) -> str:
    return logging.getLevelName(level).lower()


_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class LogHandler(logging.Handler):
    """Brings what modules say through :mod:`logging` into the engine log. Thread-safe."""

    def __init__(self, logs: Logs, level: LogLevel) -> None:
        super().__init__(_LEVELS[level])
        self._logs = logs

    def emit(self, record: logging.LogRecord) -> None:
        """See :class:`logging.Handler`."""
        fields: dict[str, Any] = {
            name: value for name, value in vars(record).items() if name not in _STANDARD and not name.startswith("_")
        }
        if record.exc_info is not None:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        fields = {name: value for name, value in fields.items() if name not in ("event", "at_ms", "log", "level")}
        event = f"{record.name.removeprefix('p2pchat.')}: {record.getMessage()}"
        self._logs.write(Log.ENGINE, event, level=_word(record.levelno), **fields)
