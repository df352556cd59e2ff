"""One asyncio connection to the engine: either many questions at once, or one stream.

:meth:`Wire.start` begins to sort answers to their questions; then any number of :meth:`Wire.ask` may be under way.
Without it, one :meth:`Wire.tell` opens a stream and :meth:`Wire.read` takes its lines; what is not read waits in the
socket. A cut is an ``OSError`` for whoever waits. Nothing is healed here: see :mod:`p2pchat.api.client`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, TypeVar

from p2pchat.api.lines import Line, decode_line, decode_result, encode_request
from p2pchat.api.types import Struct
from p2pchat.errors import ApiError

R = TypeVar("R")

CONNECT_TIMEOUT_S: Final = 2.0
"""How long a connection to this machine's own socket may take to be made or closed."""


class Wire:
    """One connection: :meth:`start`, then many :meth:`ask`; or one :meth:`tell`, then :meth:`read`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._answers: dict[int | str | None, asyncio.Future[Line]] = {}
        self._task: asyncio.Task[None] | None = None
        self.alive = True

    def start(self) -> None:
        """Begin to sort answers to their questions."""
        self._task = asyncio.create_task(self._receive(), name="p2pchat-api-answers")

    async def close(self) -> None:
        """Hang up; questions under way fail with an ``OSError``."""
        self.alive = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError):  # gone is what was wanted
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._writer.wait_closed()

    async def ask(self, method: str, params: Struct, timeout_s: float) -> Line:
        """Ask one question and wait for its answer.

        Raises:
            ApiError: the engine answered with an error.
            OSError: the connection was cut; ``TimeoutError``: no answer came in time.
        """
        self._number += 1
        number = self._number
        answer: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                self._writer.write(encode_request(number, method, params))
                await self._writer.drain()
                line = await answer
        finally:
            self._answers.pop(number, None)
        if line.error is not None:
            raise line.error.to_exception()
        return line

    async def tell(self, method: str, params: Struct, kind: type[R], timeout_s: float) -> R:
        """Ask the one question that opens a stream; lines that come before its answer are dropped."""
        self._writer.write(encode_request(1, method, params))
        async with asyncio.timeout(timeout_s):
            await self._writer.drain()
            while (line := await self.read()).id != 1 and line.error is None:
                pass
        if line.error is not None:
            raise line.error.to_exception()
        return decode_result(line.result, kind)

    async def read(self) -> Line:
        """Wait for the next line, for ever.

        Raises:
            OSError: the connection was cut.
        """
        try:
            data = await self._reader.readline()
        except ValueError:
            raise ConnectionError("a line of the engine is longer than the protocol allows") from None
        if not data.endswith(b"\n"):
            raise ConnectionResetError("the engine hung up")
        return decode_line(data)

    async def _receive(self) -> None:
        cut: Exception = ConnectionResetError("the engine hung up")
        try:
            while True:
                line = await self.read()
                if line.error is not None and line.id is None:
                    raise line.error.to_exception()  # about the connection: too many clients, say
                answer = self._answers.get(line.id)
                if answer is not None and not answer.done():
                    answer.set_result(line)
        except (OSError, ApiError) as error:
            cut = error
        finally:
            self.alive = False
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(cut)
