"""Counterparts that are not p2pchat: a raw TLS client, a stock websocket client, listeners that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from p2pchat.model import Address
from p2pchat.net.tls import client_context

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def stock_client(address: Address, path: str = "/v1/link", subprotocol: str | None = "p2pchat.v1") -> connect:
    """Connect the websockets library's own client."""
    return connect(
        f"wss://{address}{path}",
        ssl=client_context(),
        subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
        compression=None,
        proxy=None,
        ping_interval=None,
        max_size=None,
        open_timeout=5,
        close_timeout=5,
    )


async def tls_client(address: Address) -> Streams:
    """Connect with TLS and say nothing more."""
    return await asyncio.open_connection(address.host, address.port, ssl=client_context())


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side ends the connection, in whatever way."""
    data = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(10):
            while chunk := await reader.read(65536):
                data += chunk
    return data


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a stream and wait until its transport is gone."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def listener(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
    """Listen on loopback with a handler of one's own; ends every connection at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(OSError):
            await handler(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in writers:
            await hang_up(writer)
        await server.wait_closed()


@contextlib.contextmanager
def refusing_port() -> Iterator[Address]:
    """A port on which nobody listens, kept from others."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield Address("127.0.0.1", sock.getsockname()[1])
