"""What goes on after its answer: events and log lines."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from p2pchat import logs
from p2pchat.api import types as t
from p2pchat.engine import rpc
from p2pchat.engine.hub import stream_event
from p2pchat.engine.services import Call
from p2pchat.errors import ApiError
from p2pchat.logs import Log

MAX_TAIL: Final = 5_000


def event_subscribe(call: Call, params: t.SubscribeParams) -> None:
    """Send stored events after ``since``, then what happens."""
    newest = call.services.hub.last_id

    def begin(known: tuple[int | None, int | None]) -> None:
        first_id, last_id = known
        call.answer(t.Subscribed(first_id=first_id, last_id=last_id))
        cursor = newest if params.since is None else params.since
        if params.since is not None and not _is_stored(params.since, first_id, last_id):
            cursor = 0 if first_id is None else first_id - 1
            detail = "the events after this id are not stored; what is stored follows"
            reset = stream_event("stream:reset", first_id=first_id, last_id=last_id, detail=detail)
            call.connection.send(rpc.encode_notification("event", reset))
        _subscribe(call, cursor, None if params.follow else (last_id or 0))

    call.read(lambda reader: reader.event_range(), begin)


def _is_stored(since: int, first_id: int | None, last_id: int | None) -> bool:
    """Tell whether everything behind ``since`` is there; the event itself need not be."""
    return (first_id or 1) - 1 <= since <= (last_id or 0)


def _subscribe(call: Call, cursor: int, until: int | None) -> None:
    """Subscribe a client; a second subscription takes the place of its first."""
    end = call.connection.on_close.pop("events", None)
    if end is not None:
        end()
    if not call.connection.alive:
        return
    hub = call.services.hub
    subscriber = hub.subscribe(call.connection, cursor, until)
    call.connection.on_close["events"] = lambda: hub.unsubscribe(subscriber)


def _log(name: str) -> Log:
    try:
        return Log(name)
    except ValueError:
        known = ", ".join(Log)
        raise ApiError(t.ErrorCode.BAD_REQUEST, f"no log is called {name!r}: one of {known}") from None


def log_tail(call: Call, params: t.LogParams) -> None:
    """The last lines of a log."""
    log = _log(params.log)
    call.read(lambda _: _tail(call, log, params.lines), lambda lines: call.answer(t.LogLines(lines=_records(lines))))


def log_subscribe(call: Call, params: t.LogParams) -> None:
    """The last lines of a log, then new ones as they are written."""
    log = _log(params.log)
    connection = call.connection
    fresh: list[dict[str, object]] | None = []

    def follow(record: dict[str, object]) -> None:
        if fresh is not None:
            fresh.append(record)
        elif not connection.backed_up:
            connection.notify("log", record)

    def begin(lines: list[str]) -> None:
        nonlocal fresh
        assert fresh is not None
        call.answer(t.Done())
        known = set(lines)
        later = [record for record in fresh if logs.to_json(record) not in known]
        fresh = None
        for record in [*_records(lines), *later]:
            connection.notify("log", record)

    key = f"log-{log.value}"
    end = connection.on_close.pop(key, None)
    if end is not None:
        end()
    connection.on_close[key] = call.services.journal.follow(log, follow)
    call.read(lambda _: _tail(call, log, params.lines), begin)


def _tail(call: Call, log: Log, lines: int) -> list[str]:
    """Read the end of a log; blocks, so in the reader's thread."""
    if lines <= 0:
        return []
    services = call.services
    services.logs.flush()
    return logs.tail(logs.log_path(services.about.paths.logs, log), min(lines, MAX_TAIL))


def _records(lines: list[str]) -> list[dict[str, Any]]:
    return [_record(line) for line in lines]


def _record(line: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        return {"at_ms": 0, "event": "log:unreadable", "line": line}
