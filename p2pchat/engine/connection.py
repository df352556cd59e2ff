"""One client of the local API: lines in, lines out, everything bounded.

Requests are taken in the callback in which they arrive, in order; each may be answered at once or later. A client is
not read while it does not read itself (its answers wait in the socket's buffer), while too many of its requests are
unanswered, or when this turn of the loop has lasted long enough. A client that takes nothing for ``STALL_S``, or
lets more pile up than the limits allow, is cut off: it can connect again and go on behind the last event it has.
"""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from p2pchat.api.types import MAX_LINE_BYTES, ErrorCode
from p2pchat.engine import rpc
from p2pchat.errors import ApiError

_log = logging.getLogger(__name__)

MAX_IN_FLIGHT: Final = 2_000
MAX_QUEUED_LINES: Final = 1_000
MAX_QUEUED_BYTES: Final = 8 * 1024 * 1024
HIGH_WATER_BYTES: Final = 512 * 1024
STALL_S: Final = 30.0
GRACE_S: Final = 2.0
"""How long a client that is cut off, or whose engine ends, may take to read the rest."""
_TURN_S: Final = 0.005


class Server(Protocol):
    """What a connection needs of its server."""

    def opened(self, connection: Connection) -> bool:
        """Learn of a new client; False: there are too many."""

    def closed(self, connection: Connection) -> None:
        """Learn that it is gone."""

    def request(self, connection: Connection, line: bytes) -> None:
        """Carry out one request line."""


class Connection(asyncio.Protocol):
    """One client.

    Attributes:
        trusted: whether it may ask; False until a token was shown, where one is needed.
        on_close: called once each when it is gone.
        on_drained: called when it takes lines again after ``backed_up``.
        backed_up: what was written waits, because the client does not read.
    """

    def __init__(self, server: Server, *, trusted: bool, stall_s: float = STALL_S) -> None:
        self._server = server
        self._stall_s = stall_s
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._searched = 0
        self._in_flight = 0
        self._lines_waiting = 0
        self._waiting_bytes = 0
        self._reading_paused = False
        self._turn: asyncio.Handle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._gathering: asyncio.Handle | None = None
        self._gathered: list[bytes] = []
        self._eof = False
        self.trusted = trusted
        self.backed_up = False
        self.on_close: dict[str, Callable[[], object]] = {}
        self.on_drained: Callable[[], None] | None = None

    @property
    def alive(self) -> bool:
        """Whether lines can still be sent."""
        return self._transport is not None and self._ending is None

    # --- asyncio calls these ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        if not self._server.opened(self):
            error = ApiError(ErrorCode.ENGINE_UNAVAILABLE, "too many clients are connected; close one first")
            self.end(rpc.encode_error(None, error))

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = None
        for timer in (self._stalled, self._ending, self._turn, self._gathering):
            if timer is not None:
                timer.cancel()
        self._gathered.clear()
        self._buffer.clear()
        self._server.closed(self)
        callbacks, self.on_close = self.on_close, {}
        for callback in callbacks.values():
            callback()

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        self._buffer += data
        if self._turn is None:
            self._take_lines()

    def eof_received(self) -> bool:
        """See :class:`asyncio.Protocol`: a client may close its writing side and wait for answers."""
        self._eof = True
        if self._hung_up():
            return False
        self._end_if_done()
        return True

    def _hung_up(self) -> bool:
        """Tell whether the client is gone altogether: nothing else would say so before the next write."""
        if self._transport is None or not hasattr(select, "poll"):
            return True
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), 0)
        return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))

    def pause_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        assert self._transport is not None
        self.backed_up = True
        self._lines_waiting = 0
        self._waiting_bytes = self._transport.get_write_buffer_size()
        self._stalled = asyncio.get_running_loop().call_later(self._stall_s, self._check_stall)
        self._adjust_reading()

    def resume_writing(self) -> None:
        """See :class:`asyncio.Protocol`."""
        self.backed_up = False
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self.on_drained is not None:
            self.on_drained()
        self._take_lines()

    # --- lines in -----------------------------------------------------------------------------------------------

    def _take_lines(self) -> None:
        """Carry out the requests that have arrived, but leave the loop after a moment."""
        self._turn = None
        loop = asyncio.get_running_loop()
        give_way_s = loop.time() + _TURN_S
        while self.alive and not self._held_back():
            end = self._buffer.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(self._buffer)
                break
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            if len(line) > MAX_LINE_BYTES:
                break
            if line.strip():
                self._server.request(self, line)
            if loop.time() >= give_way_s:
                self._turn = loop.call_soon(self._take_lines)
                break
        if self.alive and self._searched > MAX_LINE_BYTES:
            self._refuse_long_line()
        self._adjust_reading()

    def _refuse_long_line(self) -> None:
        text = f"a line may have at most {MAX_LINE_BYTES} bytes"
        self._buffer.clear()
        self.end(rpc.encode_error(None, rpc.Malformed(rpc.INVALID_REQUEST, ErrorCode.TOO_LARGE, text)))

    def _held_back(self) -> bool:
        return self.backed_up or self._in_flight >= MAX_IN_FLIGHT

    def _adjust_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        pause = self._held_back() or self._turn is not None
        if pause and not self._reading_paused:
            self._transport.pause_reading()
        elif not pause and self._reading_paused:
            self._transport.resume_reading()
        self._reading_paused = pause

    # --- lines out ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A request is under way."""
        self._in_flight += 1

    def answer(self, line: bytes | None) -> None:
        """A request is done; None: it wants no answer."""
        was_full = self._in_flight >= MAX_IN_FLIGHT
        self._in_flight -= 1
        if line is not None:
            self.send(line)
        if was_full and self._turn is None and self._transport is not None:
            self._turn = asyncio.get_running_loop().call_soon(self._take_lines)
        self._end_if_done()

    def send(self, data: bytes, lines: int = 1) -> None:
        """Write whole lines; nothing happens when the client is gone.

        The first lines of a loop turn leave at once, the others together at its end: one call of the system for the
        answers to a whole commit.
        """
        if self._transport is None or self._ending is not None:
            return
        if self._gathering is None:
            self._transport.write(data)
            self._gathering = asyncio.get_running_loop().call_soon(self._write_gathered)
        else:
            self._gathered.append(data)
        if self.backed_up:
            self._lines_waiting += lines
            if self._lines_waiting > MAX_QUEUED_LINES or self._transport.get_write_buffer_size() > MAX_QUEUED_BYTES:
                self.cut("it does not read its answers")

    def _write_gathered(self) -> None:
        self._gathering = None
        if self._gathered and self._transport is not None:
            lines, self._gathered = self._gathered, []
            self._transport.write(b"".join(lines))

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Write a notification."""
        self.send(rpc.encode_notification(method, params))

    def _check_stall(self) -> None:
        if self._transport is None:
            return
        size_bytes = self._transport.get_write_buffer_size()
        if size_bytes >= self._waiting_bytes:
            self.cut(f"it has read nothing for {self._stall_s:g} s")
            return
        self._waiting_bytes = size_bytes
        self._stalled = asyncio.get_running_loop().call_later(self._stall_s, self._check_stall)

    def _end_if_done(self) -> None:
        if self._eof and self._in_flight == 0 and self._turn is None and not self.on_close:
            self.end()

    # --- ends ---------------------------------------------------------------------------------------------------

    def cut(self, reason: str) -> None:
        """Give a client up; it finds out why if it ever reads again."""
        if self._transport is not None and self._ending is None:
            _log.warning("client cut off", extra={"reason": reason})
            error = ApiError(ErrorCode.ENGINE_UNAVAILABLE, f"this client was cut off: {reason}")
            self.end(rpc.encode_error(None, error))

    def end(self, last: bytes = b"") -> None:
        """Write a last line, then close; what the client has not taken by then is dropped soon after."""
        if self._transport is None or self._ending is not None:
            return
        self._write_gathered()
        if last:
            self._transport.write(last)
        self._ending = asyncio.get_running_loop().call_later(GRACE_S, self.abort)
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()
