"""Runs a call that may block in a thread of its own.

For the two calls here that no event loop can make: looking up a host name and importing a large module. The
thread is a daemon and nobody joins it, so a resolver that hangs delays neither ``stop`` nor the end of the
process; how many there may be at once is the caller's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(name: str, call: Callable[[], T]) -> T:
    """Await what ``call`` returns or raises. Cancelling abandons the thread, it does not stop it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only if T allows it or there is an error

    def run() -> None:
        result: T | None = None
        error: Exception | None = None
        try:
            result = call()
        except Exception as caught:
            error = caught
        # The loop may be gone by the time a slow resolver answers.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
