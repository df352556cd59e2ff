"""One connection, from the connected socket to its last byte.

Theory of operation
===================

A :class:`Link` is an ``asyncio.BufferedProtocol`` over plain TCP that drives two machines without I/O, TLS
(:class:`p2pchat.net.tls.TlsStream`) and the websocket (``websockets``'
``ServerProtocol``/``ClientProtocol``)::

    TLS ──handshake──► UPGRADE ──101──► OPEN ──close frame, either way──► CLOSING ──► CLOSED
     └───────────────────┴──── failure, deadline, end of stream ───────────────────────┘

Everything happens in the callback in which the bytes arrived: no task, no stream, no queue stands between the
socket and the engine. Measured beside ``websockets.asyncio`` over asyncio's TLS, both ends in one loop: 0.053
against 0.067 ms for an echo, 25 against 288 KiB of memory per idle end (asyncio keeps a 256 KiB buffer for
each TLS connection). That, and knowing exactly which step failed, is why it is built on the sans-I/O layer.

**Sending.** When nothing waits, a frame goes to the socket within the call. Frames that follow in the same
turn of the loop are gathered and leave as one TLS record and one system call at its end. When the socket is
full they wait in a queue bounded in frames and bytes; a peer that lets it overflow loses its link.

**Receiving.** Reading stops while there is a *hold* on it: the engine is behind (``engine``), the peer sends
more frames than it may (``rate``), it is not authenticated and has said enough for that (``stranger``), or
this turn of the loop has lasted long enough (``turn``). Then the kernel's buffers fill and the peer has to
wait; what had arrived is kept, encrypted, and bounded by one receive buffer.

**Ends.** Each phase has a deadline; so has the time without authentication. ``link_gone`` is called exactly
once, as the last thing, whoever ended the link; ``detail`` says why, fit for a person.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from enum import StrEnum
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from p2pchat.core.inputs import DialError
from p2pchat.errors import LinkError
from p2pchat.model import Address, DeviceId, LinkId, clean
from p2pchat.net import websocket as rules
from p2pchat.net.limits import Limits, TokenBucket
from p2pchat.net.tls import TlsStream

_BATCH_BYTES = 64 * 1024
"""How much of the queue becomes one write; more would only copy more at once."""

_TURN_FRAMES = 256
"""After this many frames the loop gets a chance to do something else."""


class Phase(StrEnum):
    """How far a link is."""

    TLS = "tls"
    UPGRADE = "upgrade"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Hold(StrEnum):
    """Why a link is not read at the moment."""

    ENGINE = "engine"
    RATE = "rate"
    STRANGER = "stranger"
    TURN = "turn"


class LinkOwner(Protocol):
    """Who is told about a link."""

    def link_open(self, link: Link) -> None:
        """Learn that the websocket stands. Comes once, before any data; may change ``link.owner``."""

    def link_data(self, link: Link, data: bytes) -> None:
        """Take one message."""

    def link_gone(self, link: Link) -> None:
        """Learn that the connection is over, open or not. Comes once, last."""


class Link(asyncio.BufferedProtocol):
    """A connection to a peer. Methods do nothing once it is over.

    Attributes:
        owner: whom to tell.
        number: the engine's name for it, once it is open.
        remote: the other end; for a dialled link the address as it was dialled.
        listener_id: for a dialled link, from the TLS handshake on: whose certificate it is.
        error: how a link that never opened failed.
        detail: why it ended; empty before that.
        closed: resolves after ``link_gone``.
    """

    def __init__(
        self,
        owner: LinkOwner,
        tls: TlsStream,
        websocket: ServerProtocol | ClientProtocol,
        remote: Address,
        limits: Limits,
        buffer: memoryview,
        expected: DeviceId | None = None,
    ) -> None:
        """Prepare a link for ``loop.create_connection`` or ``connect_accepted_socket``.

        Args:
            buffer: where the socket is read to; shared by all links, never used across two callbacks.
            expected: for a dialled link, the only device id that is acceptable.
        """
        self._loop = asyncio.get_running_loop()
        self.owner = owner
        self.number: LinkId | None = None
        self.remote = remote
        self.listener_id: DeviceId | None = None
        self.error: DialError | None = None
        self.detail = ""
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._tls = tls
        self._websocket = websocket
        self._limits = limits
        self._buffer = buffer
        self._expected = expected
        self._phase = Phase.TLS
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._age: asyncio.TimerHandle | None = None
        self._thaw: asyncio.TimerHandle | None = None
        self._holds: set[Hold] = set()
        self._bucket = TokenBucket(limits.frames_per_s, limits.frames_burst, self._loop.time())
        self._authenticated = False
        self._frames_in = 0
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._gathering = False
        self._socket_full = False
        self._goodbye: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames can be sent."""
        return self._phase is Phase.OPEN and self._goodbye is None

    # --- what the engine asks for ---------------------------------------------------------------------------

    def transmit(self, data: bytes) -> None:
        """Send one message, or queue it; a queue that overflows ends the link."""
        if not self.is_open:
            return
        if len(data) > self._limits.max_frame_bytes:
            self.abort(f"a frame of {len(data)} bytes is more than this protocol allows")
        elif self._gathering or self._socket_full or self._queue:
            self._enqueue(data)
        else:
            self._websocket.send_binary(data)
            self._flush()
            self._gather()

    def close(self, reason: str) -> None:
        """Send what is queued, say goodbye, end; by force after ``close_timeout_s``."""
        if self._phase in (Phase.CLOSING, Phase.CLOSED) or self._goodbye is not None:
            return
        if self._phase is not Phase.OPEN:
            self.abort(reason)
            return
        self._goodbye = reason
        self.detail = reason
        self._set_deadline(self._limits.close_timeout_s, reason)
        self._drain()
        # What arrives from here on is dropped, so nobody is kept from reading up to the peer's goodbye.
        self.release(Hold.ENGINE)
        self.release(Hold.STRANGER)

    def abort(self, detail: str) -> None:
        """End the connection at once; what is queued is lost."""
        if self._phase is Phase.CLOSED:
            return
        self.detail = self.detail or detail
        if self.error is None and self._phase in (Phase.TLS, Phase.UPGRADE):
            self.error = self._phase_error()
        self._phase = Phase.CLOSING
        self._queue.clear()
        if self._transport is not None:
            self._transport.abort()

    def authenticated(self) -> None:
        """Note that the engine knows who this is: the limits for strangers end."""
        self._authenticated = True
        if self._age is not None:
            self._age.cancel()
            self._age = None
        self.release(Hold.STRANGER)

    def hold(self, why: Hold) -> None:
        """Stop reading until every hold is released."""
        if not self._holds and self._transport is not None:
            self._transport.pause_reading()
        self._holds.add(why)

    def release(self, why: Hold) -> None:
        """Take back a hold; reading goes on when it was the last."""
        if why not in self._holds:
            return
        self._holds.remove(why)
        if not self._holds:
            self._loop.call_soon(self._thawed)

    # --- asyncio's side -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the TLS handshake on a connected socket."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._phase is not Phase.TLS:
            transport.abort()
            return
        self._set_deadline(self._limits.tls_timeout_s, "the TLS handshake took too long")
        age_s = self._limits.unauthenticated_age_s
        self._age = self._loop.call_later(age_s, self.abort, "the peer did not authenticate in time")
        self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Lend asyncio the shared receive buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the socket had."""
        self._tls.feed(self._buffer[:nbytes])
        self._advance()

    def eof_received(self) -> None:
        """End the link: after the end of TCP no TLS can be answered."""
        self._ended()

    def pause_writing(self) -> None:
        """Queue from now on: the socket takes no more."""
        self._socket_full = True

    def resume_writing(self) -> None:
        """Empty the queue."""
        self._socket_full = False
        self._drain()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, once."""
        if self._phase in (Phase.TLS, Phase.UPGRADE) and self.error is None:
            self.error = self._phase_error()
        self._phase = Phase.CLOSED
        for timer in (self._deadline, self._age, self._thaw):
            if timer is not None:
                timer.cancel()
        self._queue.clear()
        self._transport = None
        said = rules.farewell(self._websocket)
        self.detail = self.detail or said or _ended_by(exc)
        self.owner.link_gone(self)
        if not self.closed.done():
            self.closed.set_result(None)

    # --- receiving ------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Go as far as the bytes that have arrived allow."""
        try:
            if self._phase is Phase.TLS and not self._handshake():
                return
            self._read()
        except LinkError as error:
            self._fail(self._phase_error(), str(error))

    def _handshake(self) -> bool:
        try:
            complete = self._tls.handshake()
        finally:
            self._write(self._tls.outgoing())
        if not complete:
            return False
        if isinstance(self._websocket, ClientProtocol):
            self.listener_id = self._tls.peer_device_id()
            if self._expected is not None and self.listener_id != self._expected:
                self._fail(DialError.WRONG_KEY, f"{self.remote} answered with the key of {self.listener_id}")
                return False
            rules.ask(self._websocket)
        self._phase = Phase.UPGRADE
        self._set_deadline(self._limits.upgrade_timeout_s, "the websocket upgrade took too long")
        self._flush()
        return True

    def _read(self) -> None:
        started_at = self._frames_in
        while not self._holds and self._transport is not None and not self._transport.is_closing():
            data = self._tls.read()
            if data is None:
                break
            if not data:
                self._ended()
                break
            self._take(data)
            if self._frames_in - started_at >= _TURN_FRAMES and not self._holds:
                self.hold(Hold.TURN)
                self._loop.call_soon(self.release, Hold.TURN)
        self._write(self._tls.outgoing())

    def _take(self, data: bytes) -> None:
        if self._phase is Phase.CLOSING and self._websocket.eof_sent:
            return
        self._websocket.receive_data(data)
        events = self._websocket.events_received()
        for event in events:
            if isinstance(event, Frame):
                self._frame(event)
            elif isinstance(event, Request):
                self._requested(event)
            elif self._websocket.state is State.OPEN:
                self._opened()
        if self._phase is Phase.UPGRADE and self._websocket.handshake_exc is not None:
            self._fail(DialError.HANDSHAKE, rules.upgrade_failure(self._websocket))
            return
        self._account(len(events))
        self._flush()
        if self._phase is Phase.OPEN and self._websocket.close_expected():
            self._phase = Phase.CLOSING
            self._set_deadline(self._limits.close_timeout_s, rules.farewell(self._websocket))

    def _requested(self, request: Request) -> None:
        assert isinstance(self._websocket, ServerProtocol)
        refusal = rules.answer(self._websocket, request)
        if refusal:
            self._flush()
            self._fail(DialError.HANDSHAKE, refusal)
        else:
            self._opened()

    def _opened(self) -> None:
        if self._websocket.subprotocol != rules.SUBPROTOCOL:
            self._fail(DialError.HANDSHAKE, f"the other side does not speak {rules.SUBPROTOCOL}")
            return
        self._phase = Phase.OPEN
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._flush()
        self.owner.link_open(self)

    def _frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE) or self._phase is Phase.CLOSED:
            return
        wrong = rules.objection(frame)
        if not wrong:
            if self.is_open:
                self.owner.link_data(self, bytes(frame.data))
        elif self._phase is Phase.OPEN:
            self.detail = wrong
            self._phase = Phase.CLOSING
            self._set_deadline(self._limits.close_timeout_s, wrong)
            self._websocket.fail(CloseCode.UNSUPPORTED_DATA, wrong)

    def _account(self, frames: int) -> None:
        self._frames_in += frames
        if self.is_open and not self._authenticated and self._frames_in >= self._limits.frames_unauthenticated:
            self.hold(Hold.STRANGER)
        wait_s = self._bucket.take(frames, self._loop.time())
        if wait_s and Hold.RATE not in self._holds:
            self.hold(Hold.RATE)
            self._thaw = self._loop.call_later(wait_s, self.release, Hold.RATE)

    def _thawed(self) -> None:
        if self._holds or self._transport is None:
            return
        self._transport.resume_reading()
        self._advance()

    # --- sending --------------------------------------------------------------------------------------------

    def _enqueue(self, data: bytes) -> None:
        self._queue.append(data)
        self._queued_bytes += len(data)
        if len(self._queue) > self._limits.queue_frames or self._queued_bytes > self._limits.queue_bytes:
            self.abort("the peer takes data too slowly: its queue is full")

    def _gather(self) -> None:
        self._gathering = True
        self._loop.call_soon(self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        if self._queue:
            self._drain()
            self._gather()

    def _drain(self) -> None:
        while self._queue and not self._socket_full and self._phase is Phase.OPEN:
            batch_bytes = 0
            while self._queue and batch_bytes < _BATCH_BYTES:
                data = self._queue.popleft()
                batch_bytes += len(data)
                self._websocket.send_binary(data)
            self._queued_bytes -= batch_bytes
            self._flush()
        if self._goodbye is not None and not self._queue and self._phase is Phase.OPEN:
            rules.say_goodbye(self._websocket, self._goodbye)
            self._phase = Phase.CLOSING
            self._flush()

    def _flush(self) -> None:
        """Encrypt and write what the websocket has to say."""
        chunks = self._websocket.data_to_send()
        if not chunks:
            return
        is_end = not chunks[-1]
        plain = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            if plain:
                self._write(self._tls.encrypt(plain))
            if is_end:
                self._hang_up()
        except LinkError as error:
            self.abort(str(error))

    def _write(self, data: bytes) -> None:
        if not data or self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        # Answers to pings go past the queue: a peer that asks and never reads must not fill our memory.
        if self._transport.get_write_buffer_size() > self._limits.queue_bytes:
            self.abort("the peer takes data too slowly: its queue is full")

    # --- ending ---------------------------------------------------------------------------------------------

    def _fail(self, error: DialError, detail: str) -> None:
        """End a link for a fault, after what we said last."""
        if self._phase in (Phase.TLS, Phase.UPGRADE):
            self.error = self.error or error
        self.detail = self.detail or detail
        self._phase = Phase.CLOSING
        self._set_deadline(self._limits.close_timeout_s, detail)
        self._hang_up()

    def _ended(self) -> None:
        """The other side sends no more."""
        if self._phase is Phase.OPEN or self._phase is Phase.CLOSING:
            self._websocket.receive_eof()
            self._websocket.data_to_send()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._tls.finish()
        self._write(self._tls.outgoing())
        if self._phase is Phase.OPEN:
            self._phase = Phase.CLOSING
        self._set_deadline(self._limits.close_timeout_s, self.detail)
        self._transport.close()

    def _phase_error(self) -> DialError:
        return DialError.TLS if self._phase is Phase.TLS else DialError.HANDSHAKE

    def _set_deadline(self, after_s: float, detail: str) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(after_s, self.abort, detail)


def _ended_by(exc: Exception | None) -> str:
    match exc:
        case None:
            return "the other side hung up"
        case ConnectionResetError() | BrokenPipeError():
            return "the connection was reset"
        case TimeoutError():
            return "the connection timed out"
        case OSError():
            return f"the connection broke: {exc.strerror or exc}"
        case _:
            return f"the connection broke: {clean(str(exc), 200)}"
