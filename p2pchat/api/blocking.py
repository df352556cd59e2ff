"""The plain client: one socket, one question at a time, no event loop.

Theory of operation
===================

Commands that must start fast import this and nothing heavier. A :class:`Connection` is one attempt: any cut
is a :class:`ConnectionError`. An :class:`Engine` is what commands use: it asks again, with the very same
parameters, for :data:`PATIENCE_S` after a cut, and then raises :class:`p2pchat.errors.EngineUnavailable`.
Asking again is safe because the client draws every message id, and the same id is the same message.

"Not known to be stored" and "shutting down" are answers that mean the same as a cut: ask again.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn, Self, TypeVar

from p2pchat.api.lines import ASK_AGAIN, Line, decode_event, decode_line, decode_result, encode_request, no_answer
from p2pchat.api.types import MAX_LINE_BYTES, Event, Nothing, Struct, Subscribed, SubscribeParams
from p2pchat.errors import ApiError, EngineUnavailable

R = TypeVar("R")

PATIENCE_S: Final = 10.0
"""How long a client that was cut off asks again."""
ANSWER_TIMEOUT_S: Final = 20.0
"""How long an engine may take to answer a question that needs no other device."""
AGAIN_AFTER_S: Final = 0.1


class Connection:
    """One connection to an engine. Not thread-safe."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self._number = 0

    @classmethod
    def open(cls, path: Path, timeout_s: float = 2.0) -> Self:
        """Connect to the socket at ``path``.

        Raises:
            OSError: nobody listens there.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.connect(str(path))
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    def close(self) -> None:
        """Hang up; idempotent."""
        self._sock.close()

    def call(self, method: str, kind: type[R], params: Struct | None = None, timeout_s: float = ANSWER_TIMEOUT_S) -> R:
        """Ask, and wait for the answer; notifications that come first are dropped.

        Raises:
            ApiError: the engine answered with an error.
            OSError: the connection was cut, or the answer took longer than ``timeout_s``.
        """
        self._number += 1
        deadline_s = time.monotonic() + timeout_s
        self._sock.settimeout(timeout_s)
        self._sock.sendall(encode_request(self._number, method, params if params is not None else Nothing()))
        while True:
            line = self.read(deadline_s)
            # An error without an id is about the connection: too many clients, or a line that was not read.
            if line.error is not None and line.id in (None, self._number):
                raise line.error.to_exception()
            if line.id != self._number or line.method is not None:
                continue
            return decode_result(line.result, kind)

    def read(self, deadline_s: float | None = None) -> Line:
        """Wait for the next line, until ``deadline_s`` on the monotonic clock (None: for ever).

        Raises:
            OSError: the connection was cut, or the deadline passed (``TimeoutError``).
        """
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_LINE_BYTES:
                raise ConnectionError("a line of the engine is longer than the protocol allows")
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                raise TimeoutError("the engine does not answer")
            self._sock.settimeout(left_s)
            data = self._sock.recv(1 << 18)
            if not data:
                raise ConnectionResetError("the engine hung up")
            self._buffer += data
        data = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return decode_line(data)


class Engine:
    """An engine as a command sees it: connected when first asked, and again after a cut.

    Args:
        connect: makes a connection, starting an engine if need be (``launch.Launcher.connect``).
        patience_s: how long to ask again after a cut.
    """

    def __init__(self, connect: Callable[[], Connection], patience_s: float = PATIENCE_S) -> None:
        self._connect = connect
        self._patience_s = patience_s
        self._link: Connection | None = None
        self.was_reached = False
        """Whether any question can have arrived at an engine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; idempotent. The next call connects again."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def call(self, method: str, kind: type[R], params: Struct | None = None, timeout_s: float = ANSWER_TIMEOUT_S) -> R:
        """Ask until there is an answer.

        Args:
            kind: what the result is (see ``api.types.METHODS``).
            timeout_s: how long one answer may take.

        Raises:
            ApiError: the engine answered with an error.
            EngineUnavailable: no answer came within the patience of a cut.
        """
        give_up_s: float | None = None
        while True:
            try:
                return self._linked().call(method, kind, params, timeout_s)
            except EngineUnavailable:
                raise
            except TimeoutError:
                self.close()
                raise EngineUnavailable(no_answer(method, timeout_s)) from None
            except (OSError, ApiError) as error:
                if isinstance(error, ApiError) and error.code not in ASK_AGAIN:
                    raise
                self.close()
                give_up_s = self._wait_to_ask_again(give_up_s, error)

    def events(self, since: int | None, *, follow: bool) -> Iterator[Event]:
        """Yield events; after a cut go on behind the last stored one that was seen.

        Args:
            since: replay stored events after this id first; None: live ones only.
            follow: go on for ever; else end after the replay.

        Raises:
            ApiError, EngineUnavailable: as :meth:`call`.
        """
        give_up_s: float | None = None
        while True:
            try:
                params = SubscribeParams(since=since, follow=follow)
                first = self._linked().call("events.subscribe", Subscribed, params)
                since = (first.last_id or 0) if since is None else since
                give_up_s = None
                while True:
                    line = self._linked().read()
                    if line.method != "event":
                        continue
                    event = decode_event(line.params)
                    if event.event == "stream:end":
                        return
                    since = since if event.event_id is None else event.event_id
                    yield event
            except OSError as error:
                self.close()
                give_up_s = self._wait_to_ask_again(give_up_s, error)

    def _linked(self) -> Connection:
        if self._link is None:
            self._link = self._connect()
            self.was_reached = True
        return self._link

    def _wait_to_ask_again(self, give_up_s: float | None, error: Exception) -> float:
        now_s = time.monotonic()
        if give_up_s is None:
            give_up_s = now_s + self._patience_s
        if now_s >= give_up_s:
            _unavailable(error, self._patience_s)
        time.sleep(AGAIN_AFTER_S)
        return give_up_s


def _unavailable(error: Exception, patience_s: float) -> NoReturn:
    raise EngineUnavailable(f"the engine was cut off and not back within {patience_s:g} s: {error}") from None
