"""The engine as a process: lock, logs, signals, exit code.

:func:`run` is what ``p2pchat daemon`` calls. It takes the home's lock first and releases it last, so that no second
engine ever opens the same database. SIGTERM, SIGINT and SIGHUP ask for the end once; asking again changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from p2pchat.config import Config, LogLevel
from p2pchat.engine import endpoint
from p2pchat.engine.engine import Engine
from p2pchat.engine.journal import LogHandler
from p2pchat.engine.lock import EngineLock, Held
from p2pchat.engine.services import Services
from p2pchat.errors import EngineUnavailable, P2PChatError
from p2pchat.logs import Logs
from p2pchat.paths import Paths

_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK")


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to run.

    Attributes:
        auto: started for a command: say nothing, end when nobody needs it.
        json: the first line on stdout is the ``ready`` object; otherwise only where stdout is no terminal.
    """

    paths: Paths
    config: Config
    auto: bool = False
    json: bool = False


def run(options: EngineOptions) -> int:
    """Run an engine until it is asked to end; return the exit code.

    An automatic engine that finds another one there returns 0 at once: whoever started it will find that one.

    Raises:
        EngineUnavailable: another engine holds this home (not when ``auto``).
        P2PChatError: it cannot start; the text says why.
    """
    try:
        options.paths.create()
        lock = EngineLock.acquire(options.paths)
    except Held as held:
        if options.auto:
            return 0
        raise EngineUnavailable(str(held)) from None
    except OSError as error:
        raise P2PChatError(f"this home cannot be used: {error}") from None
    try:
        path = endpoint.choose_path(options.paths)
        lock.write(path)
        logs = Logs(options.paths.logs)
        with _logging_to(logs, options.config.log_level):
            engine = Engine(options.paths, options.config, logs, auto=options.auto)
            engine.prepare(path)
            asyncio.run(_serve(engine, options))
    except OSError as error:
        raise P2PChatError(f"the engine cannot run: {error}") from None
    except ExceptionGroup as group:
        raise P2PChatError(f"the engine ended by a fault of this program: {group.exceptions[0]!r}") from group
    finally:
        lock.release()
    return 0


@contextlib.contextmanager
def _logging_to(logs: Logs, level: LogLevel) -> Iterator[None]:
    logger = logging.getLogger("p2pchat")
    handler = LogHandler(logs, level)
    logger.addHandler(handler)
    logger.setLevel(handler.level)
    try:
        yield
    except Exception:
        logger.exception("the engine ended by an error")
        raise
    finally:
        logger.removeHandler(handler)
        logs.close()


async def _serve(engine: Engine, options: EngineOptions) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)
    with _stopping_by_signal(loop, engine.stop):
        await engine.run(lambda services: _say_ready(services, options))


def _report(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    exc_info = error if isinstance(error, BaseException) else None
    logging.getLogger(__name__).error("a fault of ours: %s", context.get("message"), exc_info=exc_info)


@contextlib.contextmanager
def _stopping_by_signal(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Iterator[None]:
    added = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    for number in added:
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        # Not the default again: a signal between here and the release of the lock has nothing left to end.
        for number in added:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def _say_ready(services: Services, options: EngineOptions) -> None:
    if options.auto:
        return
    about, port = services.about, services.transport.port
    if options.json or not sys.stdout.isatty():
        line = json.dumps(
            {
                "event": "ready",
                "device_id": about.device_id,
                "name": about.name,
                "host": about.listen_host,
                "port": port,
            }
        )
    else:
        line = f"{about.name} is ready on port {port} ({about.device_id}); Ctrl-C ends it"
    with contextlib.suppress(OSError):  # whoever started us may not listen
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
