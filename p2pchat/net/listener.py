"""Accepts connections, within limits that hold before a byte of TLS is answered.

One task per listening socket takes connections and gives each a :class:`~p2pchat.net.link.Link`. A connection
counts as *unauthenticated* from the moment it is accepted until the engine says ``authenticated``; while
there are too many of those, in all or from one address, new ones are closed at once: without a reset storm,
without TLS, without memory. Authenticated links are bounded too, because descriptors are.

Without a port given, the default one is taken, else one of the next, else any: the port is announced, so it
may move. A port that somebody asked for is taken or refused, never replaced.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable

from p2pchat.errors import LinkError
from p2pchat.model import Address
from p2pchat.net.limits import DEFAULT_PORT, Limits
from p2pchat.net.link import Link

_log = logging.getLogger(__name__)

_PORTS_TRIED = 20
_ANY_PORT_TRIES = 10
_BACKLOG = 64
_PAUSE_S = 0.5
"""How long to wait when accepting fails for a reason of ours: out of descriptors or memory."""

_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class Listener:
    """The accepting half of a transport."""

    def __init__(self, make_link: Callable[[Address], Link], limits: Limits) -> None:
        """Prepare; ``make_link`` makes the link for a connection from this address and keeps track of it."""
        self._make_link = make_link
        self._limits = limits
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._strangers: dict[Link, str] = {}
        self._per_host: Counter[str] = Counter()
        self._links = 0

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before :meth:`start`."""
        return int(self._sockets[0].getsockname()[1]) if self._sockets else 0

    def start(self, host: str | None, port: int | None) -> None:
        """Listen.

        Args:
            host: one IP address, or None for all of IPv4 and IPv6.
            port: None for the default or the next free one; 0 for any; else exactly this one.

        Raises:
            LinkError: it is not possible; the text says what is in the way.
        """
        self._sockets = _listen(host, port)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._accept_all(sock), name=f"p2pchat-accept-{sock.getsockname()[0]}")
            for sock in self._sockets
        ]

    async def stop(self) -> None:
        """Accept no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def authenticated(self, link: Link) -> None:
        """Count this link as a known peer's."""
        host = self._strangers.pop(link, None)
        if host is not None:
            self._forget_host(host)

    def _gone(self, link: Link) -> None:
        self._links -= 1
        self.authenticated(link)

    def _forget_host(self, host: str) -> None:
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]

    def _refusal(self, host: str) -> str:
        if self._links >= self._limits.max_links:
            return "too many links"
        if len(self._strangers) >= self._limits.max_unauthenticated:
            return "too many unauthenticated connections"
        if self._per_host[host] >= self._limits.max_unauthenticated_per_address:
            return "too many unauthenticated connections from this address"
        return ""

    async def _accept_all(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, sockaddr = await loop.sock_accept(sock)
            except OSError as error:
                # A connection that died between the knock and the accept is its own affair.
                if error.errno not in (errno.ECONNABORTED, errno.EPROTO):
                    _log.warning("cannot accept connections", extra={"error": error.strerror})
                    await asyncio.sleep(_PAUSE_S)
                continue
            await self._admit(connection, address_of(sockaddr))

    async def _admit(self, connection: socket.socket, remote: Address) -> None:
        refusal = self._refusal(remote.host)
        if refusal:
            _log.debug("connection refused", extra={"remote": str(remote), "reason": refusal})
            connection.close()
            return
        link = self._make_link(remote)
        self._links += 1
        self._strangers[link] = remote.host
        self._per_host[remote.host] += 1
        link.closed.add_done_callback(lambda _: self._gone(link))
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: link, connection)
        except OSError as error:
            # The socket broke before the link had it, so nobody else will report its end.
            _log.debug("connection lost at once", extra={"remote": str(remote), "error": str(error)})
            connection.close()
            link.connection_lost(error)


def address_of(sockaddr: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Turn what the socket module says into an address; a link-local one gets its ``%scope``."""
    host, port = sockaddr[:2]
    if len(sockaddr) == 4 and sockaddr[3] and "%" not in host:
        try:
            host = f"{host}%{socket.if_indextoname(sockaddr[3])}"
        except OSError:
            host = f"{host}%{sockaddr[3]}"
    return Address(host, port)


def _listen(host: str | None, port: int | None) -> list[socket.socket]:
    ports = [port] if port is not None else [*range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED), 0]
    refusal: OSError | None = None
    for candidate in ports:
        # With port 0 the second family may find the number of the first one taken: then try another.
        for _ in range(_ANY_PORT_TRIES if candidate == 0 else 1):
            try:
                return _bind_all(host, candidate)
            except OSError as error:
                refusal = error
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    break
    assert refusal is not None
    where = Address(host or "*", port if port is not None else DEFAULT_PORT)
    raise LinkError(f"cannot listen on {where}: {refusal.strerror or refusal}") from refusal


def _bind_all(host: str | None, port: int) -> list[socket.socket]:
    if host is not None:
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror as error:
            raise LinkError(f"cannot listen on {host!r}: not an IP address of this machine") from error
        family, _, _, _, sockaddr = infos[0]
        return [_bind(family, sockaddr)]
    first = _bind(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 - a chat is there to be reached
    try:
        return [first, _bind(socket.AF_INET6, ("::", first.getsockname()[1]))]
    except OSError as error:
        if error.errno in _NO_SUCH_FAMILY:
            return [first]
        first.close()
        raise


def _bind(family: socket.AddressFamily, sockaddr: tuple[str | int | bytes, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
