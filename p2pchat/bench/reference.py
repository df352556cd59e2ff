"""The limit: one message over a TLS 1.3 websocket, stored with ``synchronous=FULL`` by a writer thread on both sides.

No product is around it: no identity check, no ticks, no history. The receiving half runs as a process of its own
(``python -m p2pchat.bench.reference FOLDER``) and prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import secrets
import sqlite3
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from p2pchat.net import identity, tls


class Message(msgspec.Struct):
    """What goes over the wire; ``store`` False asks for a bare echo."""

    id: bytes
    body: str
    store: bool = True


class GroupCommit:
    """A writer thread that commits everything queued in one transaction."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: queue.SimpleQueue[tuple[bytes, str, asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._path = path
        self._thread = threading.Thread(target=self._run, name="bench-writer")
        self._thread.start()

    def store(self, message: Message) -> asyncio.Future[None]:
        """Queue one row; the future is done when it is committed."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((message.id, message.body, done))
        return done

    def close(self) -> None:
        """Commit the rest and end."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        database = open_database(self._path)
        while True:
            batch = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._queue.get_nowait())
            rows = [row for row in batch if row is not None]
            database.execute("BEGIN")
            database.executemany("INSERT INTO message VALUES (?, ?)", [row[:2] for row in rows])
            database.execute("COMMIT")
            self._loop.call_soon_threadsafe(_finish, [row[2] for row in rows])
            if len(rows) < len(batch):
                database.close()
                return


def open_database(path: Path) -> sqlite3.Connection:
    """Open a database as the product does: WAL, ``synchronous=FULL``."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE message (id BLOB PRIMARY KEY, body TEXT) WITHOUT ROWID")
    return database


def _finish(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


class Link:
    """The sending half: each message is stored here, sent, stored there, acknowledged."""

    def __init__(self, connection: ClientConnection, writer: GroupCommit) -> None:
        self._connection = connection
        self._writer = writer
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        self._encoder = msgspec.msgpack.Encoder()

    async def read(self) -> None:
        """Take acknowledgements until cancelled."""
        async for data in self._connection:
            assert isinstance(data, bytes)
            self._waiting.pop(data).set_result(None)

    async def send(self, body: str, *, store: bool = True) -> None:
        """Return once the message is on both disks (or, without ``store``, echoed)."""
        message = Message(secrets.token_bytes(16), body, store)
        if store:
            await self._writer.store(message)
        done = self._waiting[message.id] = asyncio.get_running_loop().create_future()
        await self._connection.send(self._encoder.encode(message))
        await done


@contextlib.asynccontextmanager
async def reference_link(folder: Path) -> AsyncIterator[Link]:
    """Start the receiving process and connect to it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "p2pchat.bench.reference", str(folder), stdout=PIPE, stdin=PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), 10))
        writer = GroupCommit(folder / "sender.db", asyncio.get_running_loop())
        url = f"wss://127.0.0.1:{port}/"
        async with connect(
            url, ssl=tls.client_context(), compression=None, ping_interval=None, proxy=None
        ) as connection:
            link = Link(connection, writer)
            reader = asyncio.create_task(link.read())
            try:
                yield link
            finally:
                reader.cancel()
                writer.close()
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), 5)
    except TimeoutError:
        process.kill()
        await process.wait()


def commit_ms(folder: Path, body: str, count: int) -> list[float]:
    """Time single commits on this thread, in milliseconds."""
    database = open_database(folder / "commit.db")
    samples = []
    for _ in range(count):
        start = time.perf_counter()
        database.execute("INSERT INTO message VALUES (?, ?)", (secrets.token_bytes(16), body))
        samples.append((time.perf_counter() - start) * 1000)
    database.close()
    return samples


async def _serve(folder: Path) -> None:
    loop = asyncio.get_running_loop()
    writer = GroupCommit(folder / "receiver.db", loop)
    decoder = msgspec.msgpack.Decoder(Message)

    async def handle(connection: ServerConnection) -> None:
        acks: asyncio.Queue[tuple[bytes, asyncio.Future[None] | None]] = asyncio.Queue()

        async def acknowledge() -> None:
            while True:
                message_id, stored = await acks.get()
                if stored is not None:
                    await stored
                await connection.send(message_id)

        sender = asyncio.create_task(acknowledge())
        async for data in connection:
            assert isinstance(data, bytes)
            message = decoder.decode(data)
            acks.put_nowait((message.id, writer.store(message) if message.store else None))
        sender.cancel()

    context = tls.server_context(identity.generate())
    async with serve(handle, "127.0.0.1", 0, ssl=context, compression=None, ping_interval=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)  # noqa: T201 - the parent reads it
        await loop.run_in_executor(None, sys.stdin.read)
    writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
