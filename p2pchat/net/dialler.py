"""Tries the addresses of a ``Dial`` and names what went wrong.

The addresses are tried in order, the next one beside the others as soon as one fails or after 250 ms (RFC
8305, section 5). An attempt is the whole way, TCP, TLS, the check of the key and the websocket: an old
address may by now be somebody else's, and the right device behind another address must win over a quick wrong
one. The first complete link wins, the rest is dropped.

If none wins, one failure speaks for all: that of the host that got furthest, because a host that answered
tells more than silence; between silent ones, the first. The mapping is :func:`_of_connect` for TCP and the
link's own ``error`` from there on.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from p2pchat.core.effects import Dial
from p2pchat.core.inputs import DialError, DialFailed
from p2pchat.model import Address, DeviceId
from p2pchat.net.limits import Limits
from p2pchat.net.link import Link, LinkOwner
from p2pchat.net.threads import in_thread

_ANSWERED = (DialError.REFUSED, DialError.TLS, DialError.HANDSHAKE, DialError.WRONG_KEY)
"""Failures that only a host which is there can cause, by how far the dial got."""

_LOOKUPS_AT_ONCE = 4
_ADDRESSES_PER_NAME = 4

SockAddr = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]

MakeLink = Callable[[LinkOwner, Address, DeviceId | None], Link]
Adopt = Callable[[Link, int], None]


class Failure(Exception):
    """One address did not give a link."""

    def __init__(self, error: DialError, address: Address, detail: str) -> None:
        super().__init__(detail)
        self.error = error
        self.address = address
        self.detail = detail


class Dialler:
    """The dialling half of a transport."""

    def __init__(self, make_link: MakeLink, adopt: Adopt, limits: Limits) -> None:
        """Prepare.

        Args:
            make_link: makes a link for an attempt and keeps track of it.
            adopt: takes the link that won over, within its ``link_open``.
        """
        self._make_link = make_link
        self._adopt = adopt
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.max_dials)
        self._lookups = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def dial(self, dial: Dial) -> DialFailed | None:
        """Work on a dial; None when a link was adopted. Bounded in time by the limits."""
        if not dial.addresses:
            return DialFailed(dial.dial, DialError.UNREACHABLE, None, "no address is known")
        async with self._slots:
            failures = await self._race(dial)
        if failures is None:
            return None
        worst = _most_telling(failures)
        return DialFailed(dial.dial, worst.error, worst.address, worst.detail)

    async def _race(self, dial: Dial) -> list[Failure] | None:
        todo = list(dict.fromkeys(dial.addresses))[: self._limits.max_dial_addresses]
        race = _Race(dial.dial, self._adopt)
        running: set[asyncio.Task[Failure | None]] = set()
        failures: list[Failure] = []
        try:
            while todo or running:
                if todo:
                    attempt = self._attempt(race, todo.pop(0), dial.expected)
                    running.add(asyncio.create_task(attempt, name=f"p2pchat-dial-{dial.dial}"))
                timeout_s = self._limits.stagger_s if todo else None
                done, running = await asyncio.wait(running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                failures += [failure for task in done if (failure := task.result()) is not None]
                if race.won:
                    return None
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
        return failures

    async def _attempt(self, race: _Race, address: Address, expected: DeviceId | None) -> Failure | None:
        """Try one address; None when its link won, or came second."""
        failures: list[Failure] = []
        try:
            targets = await self._resolve(address)
        except Failure as failure:
            return failure
        for target in targets:
            try:
                sock = await self._connect(target, address)
                await self._complete(race, sock, address, expected)
            except Failure as failure:
                failures.append(failure)
            else:
                return None
        return _most_telling(failures)

    async def _resolve(self, address: Address) -> list[SockAddr]:
        """Return where an address is; only a host name costs a thread and time."""
        try:
            return _lookup(address, numeric=True)
        except (OSError, ValueError):
            pass
        try:
            async with self._lookups, asyncio.timeout(self._limits.tcp_timeout_s):
                return await in_thread("p2pchat-lookup", lambda: _lookup(address, numeric=False))
        except TimeoutError:
            raise Failure(
                DialError.UNREACHABLE, address, f"the name {address.host} takes too long to look up"
            ) from None
        except (OSError, ValueError):
            raise Failure(DialError.UNREACHABLE, address, f"no host is named {address.host}") from None

    async def _connect(self, target: SockAddr, address: Address) -> socket.socket:
        family, sockaddr = target
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise _of_connect(error, address) from error
        try:
            sock.setblocking(False)
            async with asyncio.timeout(self._limits.tcp_timeout_s):
                await asyncio.get_running_loop().sock_connect(sock, sockaddr)
        except OSError as error:
            sock.close()
            raise _of_connect(error, address) from error
        except BaseException:
            sock.close()
            raise
        return sock

    async def _complete(self, race: _Race, sock: socket.socket, address: Address, expected: DeviceId | None) -> None:
        """Bring a connected socket through TLS and the upgrade; the link's own deadlines bound it."""
        attempt = _Attempt(race)
        link = self._make_link(attempt, address, expected)
        try:
            await asyncio.get_running_loop().create_connection(lambda: link, sock=sock)
            await attempt.settled
        except OSError as error:
            sock.close()
            link.connection_lost(error)
            raise Failure(DialError.TLS, address, f"the connection broke: {error.strerror}") from error
        finally:
            if not attempt.settled.done() or attempt.settled.cancelled():
                link.abort("another attempt was quicker")
        if link.error is not None:
            raise Failure(link.error, address, link.detail)


class _Race:
    """Several attempts of which one may win."""

    __slots__ = ("_adopt", "_dial", "won")

    def __init__(self, dial: int, adopt: Adopt) -> None:
        self._dial = dial
        self._adopt = adopt
        self.won = False

    def finish(self, link: Link) -> None:
        """Take the first link, drop a later one."""
        if self.won:
            link.abort("another attempt was quicker")
        else:
            self.won = True
            self._adopt(link, self._dial)


class _Attempt:
    """Owns a link until it is open."""

    __slots__ = ("_race", "settled")

    def __init__(self, race: _Race) -> None:
        self._race = race
        self.settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def link_open(self, link: Link) -> None:
        """Finish the race, before the first frame is delivered."""
        if self.settled.done():
            link.abort("the dial was given up")
            return
        self.settled.set_result(None)
        self._race.finish(link)

    def link_data(self, link: Link, data: bytes) -> None:
        """Drop frames of a link that came second."""

    def link_gone(self, link: Link) -> None:
        """Learn that there will be no link."""
        if not self.settled.done():
            self.settled.set_result(None)


def _lookup(address: Address, *, numeric: bool) -> list[SockAddr]:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV if numeric else socket.AI_ADDRCONFIG
    infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)
    return [(family, sockaddr) for family, _, _, _, sockaddr in infos[:_ADDRESSES_PER_NAME]]


def _most_telling(failures: list[Failure]) -> Failure:
    def reach(failure: Failure) -> int:
        return _ANSWERED.index(failure.error) if failure.error in _ANSWERED else -1

    # max() keeps the first of equals: between silent addresses the one that was best by the caller's order.
    return max(failures, key=reach)


def _of_connect(error: OSError, address: Address) -> Failure:
    """Map what TCP says to the core's terms; the only place that does."""
    if isinstance(error, TimeoutError):
        return Failure(DialError.NO_ANSWER, address, f"{address} does not answer")
    if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
        return Failure(DialError.REFUSED, address, f"nothing listens on {address}")
    text = error.strerror or str(error)
    return Failure(DialError.UNREACHABLE, address, f"{address} cannot be reached: {text.lower()}")
