"""An engine made of a script: real socket, real lines, answers from a table.

``ScriptedEngine`` runs in a thread. ``answers`` maps a method to a result, to an :class:`ApiError`, or to a function
of the parameters that returns one of those. ``HANG_UP`` as an answer cuts the connection; ``SILENCE`` says nothing.
``asked`` is everything that was asked, in order.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from p2pchat.errors import ApiError

HANG_UP: Final = object()
SILENCE: Final = object()

Answer = object | Callable[[dict[str, Any]], object]


class ScriptedEngine:
    """Listens on ``path`` until closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {"status": status()}
        self.events: list[dict[str, Any]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.connections = 0
        self._links: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener.bind(str(path))
        self._listener.listen(16)
        self._accepting = threading.Thread(target=self._accept, name="scripted-engine")
        self._accepting.start()

    def close(self) -> None:
        """Stop listening, cut everybody off, remove the socket."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self.path.unlink(missing_ok=True)

    def params(self, method: str) -> list[dict[str, Any]]:
        """The parameters of every request of this method."""
        return [params for asked, params in self.asked if asked == method]

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._links.append(link)
            thread = threading.Thread(target=self._serve, args=(link,), name="scripted-link")
            self._threads.append(thread)
            thread.start()

    def _serve(self, link: socket.socket) -> None:
        with link, contextlib.suppress(OSError), link.makefile("rb") as lines:
            for line in lines:
                if not self._answer(link, json.loads(line)):
                    return

    def _answer(self, link: socket.socket, request: dict[str, Any]) -> bool:
        method, params = request["method"], request["params"]
        self.asked.append((method, params))
        answer = self.answers.get(method, ApiError("no_such_method", f"not scripted: {method}"))
        if callable(answer):
            answer = answer(params)
        if answer is HANG_UP:
            return False
        if answer is SILENCE:
            return True
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
        if isinstance(answer, ApiError):
            data: dict[str, Any] = {"code": answer.code}
            if answer.candidates:
                data["candidates"] = list(answer.candidates)
            reply["error"] = {"code": -32000, "message": str(answer), "data": data}
        else:
            reply["result"] = answer
        link.sendall(msgspec.json.encode(reply) + b"\n")
        if method == "events.subscribe":
            for event in self._replay(params):
                line = {"jsonrpc": "2.0", "method": "event", "params": event}
                link.sendall(msgspec.json.encode(line) + b"\n")
        return bool(method != "stop")

    def _replay(self, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        since = params["since"]
        for event in self.events:
            if since is None or event["event_id"] is None or event["event_id"] > since:
                yield event
        if not params["follow"]:
            yield {"event_id": None, "at_ms": 1, "event": "stream:end"}


BOB: Final = "b" * 52
ANN: Final = "a" * 52
ID: Final = "0199" + "0" * 26 + "07"


def status(**changes: object) -> dict[str, object]:
    """What ``status`` answers."""
    return {
        "device_id": ANN,
        "name": "ann",
        "version": "0.1.0",
        "api_version": 1,
        "pid": 4711,
        "host": "0.0.0.0",
        "port": 27270,
        "addresses": ["192.0.2.7:27270"],
        "invite": f"p2pchat:{ANN}@192.0.2.7:27270",
        "home": "/somewhere",
        "started_at_ms": 1,
        "uptime_s": 5.0,
        "links": 0,
        "pending": 0,
        "dead_letters": 0,
        "unread": 0,
        "storage": "ok",
        "discovery": "on",
        "notes": [],
    } | changes


def peer(**changes: object) -> dict[str, object]:
    """One peer."""
    return {
        "device_id": BOB,
        "name": "bob",
        "own_name": "bob",
        "alias": "",
        "presence": "online",
        "trust": "unverified",
        "addresses": ["192.0.2.8:27270"],
        "rtt_ms": 1.25,
        "clock_offset_ms": -3.0,
        "pending": 2,
        "dead_letters": 1,
        "unread": 0,
        "last_seen_ms": 1_767_000_000_000,
        "mode": "realtime",
        "detail": "",
        "last_message_at_ms": None,
        "last_message": None,
    } | changes


def message(**changes: object) -> dict[str, object]:
    """One message of the history."""
    return {
        "message_id": ID,
        "peer": BOB,
        "direction": "in",
        "author": BOB,
        "author_name": "bob",
        "body": "hello",
        "state": "delivered",
        "sent_at_ms": 1_767_000_000_000,
        "received_at_ms": 1_767_000_000_001,
        "read_at_ms": None,
        "seq": 1,
        "cancelling": False,
    } | changes


def detail(**changes: object) -> dict[str, object]:
    """One message with its way."""
    return (
        message(direction="out", author=ANN, author_name="ann", state="pending")
        | {
            "states": [{"state": "pending", "at_ms": 1_767_000_000_000}],
            "attempts": 2,
            "next_attempt_at_ms": 1_767_000_004_000,
            "last_error": "connection refused",
            "waiting_for": "bob is not answering",
        }
        | changes
    )


def entry(**changes: object) -> dict[str, object]:
    """One message of the outbox."""
    return {
        "message_id": ID,
        "peer": BOB,
        "peer_name": "bob",
        "body": "hello",
        "state": "pending",
        "attempts": 2,
        "next_attempt_at_ms": None,
        "last_error": None,
        "waiting_for": "bob is not answering",
        "sent_at_ms": 1,
    } | changes


def letter(**changes: object) -> dict[str, object]:
    """One dead letter."""
    return {
        "message_id": ID,
        "peer": BOB,
        "peer_name": "bob",
        "reason": "blocked",
        "peer_has_it": "no",
        "last_error": "bob has blocked this device",
        "attempts": 1,
        "moved_at_ms": 1_767_000_000_000,
        "sent_at_ms": 1_767_000_000_000,
        "body": "hello",
    } | changes


def stats() -> dict[str, object]:
    """The figures."""
    counts = ("flushes", "commits", "fsyncs", "bytes_written", "messages_sent", "messages_received")
    more = ("duplicates_dropped", "retries", "dlq_size", "pending", "rss_bytes", "peers")
    return dict.fromkeys(counts + more, 3) | {
        "uptime_s": 1.5,
        "writes_per_s": 0.5,
        "retry_success_rate": None,
        "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": None},
    }
