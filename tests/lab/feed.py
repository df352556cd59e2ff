"""A client of the engine's local socket that sends many messages and remembers what it was promised.

It speaks the documented JSON lines with nothing of ours in between, keeps a window of questions in flight, and does
what a careful client does after a cut: it asks again with the same ids until it has an answer.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.lab.host import Host
from tests.lab.waiting import TooLate

WINDOW: Final = 64
RECONNECT_S: Final = 0.05
SOCKET_TIMEOUT_S: Final = 5.0
ASK_AGAIN: Final = ("not_known_stored", "shutting_down", "queue_full")


@dataclass(slots=True)
class Promised:
    """What the engine was asked and what it promised.

    Attributes:
        asked: ids in the order in which they were first asked for.
        accepted: id → the time of the answer, in seconds of the monotonic clock.
        refused: id → the error.
    """

    asked: list[str] = field(default_factory=list)
    bodies: dict[str, str] = field(default_factory=dict)
    accepted: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Feeder(threading.Thread):
    """Sends texts to one peer, from a thread of its own."""

    def __init__(
        self, host: Host, to: Host, texts: Sequence[str], *, timeout_s: float, per_second: float = float("inf")
    ) -> None:
        """Prepare; draws the ids.

        Args:
            timeout_s: from now until everything has an answer.
            per_second: how quickly to ask at most, so that a stream lasts long enough to be hit by a fault.
        """
        super().__init__(name=f"feed-{host.name}-{to.name}", daemon=True)
        self.promised = Promised()
        self._host = host
        self._to = to.device_id
        self._per_second = per_second
        self._deadline_s = time.monotonic() + timeout_s
        self._failure: BaseException | None = None
        for text in texts:
            # Drawn here, so that asking again is the same message; as the CLI does it.
            message_id = (time.time_ns() // 1_000_000).to_bytes(6, "big").hex() + secrets.token_hex(10)
            self.promised.asked.append(message_id)
            self.promised.bodies[message_id] = text

    def run(self) -> None:
        """Send until every message has an answer, through as many connections as it takes."""
        try:
            while self._open_questions():
                if time.monotonic() > self._deadline_s:
                    raise TooLate(f"{len(self._open_questions())} messages were never answered")
                with contextlib.suppress(OSError, EOFError):
                    self._converse()
                time.sleep(RECONNECT_S)
        except BaseException as failure:
            self._failure = failure

    def finish(self) -> Promised:
        """Wait for the end and return what was promised."""
        self.join(max(0.0, self._deadline_s - time.monotonic()) + 2 * SOCKET_TIMEOUT_S)
        assert not self.is_alive(), "the feeder hangs"
        if self._failure is not None:
            raise self._failure
        return self.promised

    def _open_questions(self) -> list[str]:
        done = self.promised
        return [one for one in done.asked if one not in done.accepted and one not in done.refused]

    def _converse(self) -> None:
        """Ask in order, at most a window ahead of the answers; ends with the connection."""
        todo = self._open_questions()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(SOCKET_TIMEOUT_S)
            sock.connect(str(self._host.paths.find_socket()))
            answers = sock.makefile("rb")
            asked, began_s = 0, time.monotonic()
            for answered in range(len(todo)):
                while asked < len(todo) and asked < answered + WINDOW:
                    time.sleep(max(0.0, began_s + asked / self._per_second - time.monotonic()))
                    sock.sendall(self._question(asked, todo[asked]))
                    asked += 1
                if not self._take(answers.readline(), todo):
                    return

    def _question(self, number: int, message_id: str) -> bytes:
        params = {"peer": self._to, "body": self.promised.bodies[message_id], "message_id": message_id}
        question = {"jsonrpc": "2.0", "id": number, "method": "message.send", "params": params}
        return json.dumps(question).encode() + b"\n"

    def _take(self, line: bytes, todo: list[str]) -> bool:
        """Note one answer; False if it means to ask again on a new connection."""
        if not line:
            raise EOFError
        answer: dict[str, Any] = json.loads(line)
        message_id = todo[answer["id"]]
        if "error" not in answer:
            assert answer["result"]["message_id"] == message_id, answer
            self.promised.accepted[message_id] = time.monotonic()
            return True
        code = answer["error"].get("data", {}).get("code", "")
        if code in ASK_AGAIN:
            return False
        self.promised.refused[message_id] = f"{code}: {answer['error'].get('message')}"
        return True
