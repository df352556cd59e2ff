"""The only module that touches zeroconf; its import takes long, so :mod:`p2pchat.net.discovery` does it late.

An :class:`Mdns` announces one service and browses its type on a given set of interfaces. It goes without
probing for the uniqueness of the instance name (our name holds our id), so the first announcement leaves at
once. A browser tells about names; what stands behind a name is read from the cache, or asked for if it is not
all there yet.

Two things that a browser alone does not tell: a device that announces exactly what it announced before (it
was killed and came back) is alive, so a repeated SRV record counts as seen; and an address that was replaced
stays in the cache for another second (RFC 6762, section 10.2), so a changed instance is read again after
that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from zeroconf import (
    Error,
    IPVersion,
    RecordUpdate,
    RecordUpdateListener,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from p2pchat.errors import DiscoveryError
from p2pchat.model import clean
from p2pchat.net.announcement import SERVICE_TYPE, Service

# The shortest that other implementations take for a PTR record; a crashed device is forgotten after it.
_TTL_S = 1125
_HOST_TTL_S = 120
_TYPE_SRV = 33
_ASK_TIMEOUT_MS = 3000
_REREAD_S = 1.5
_UPDATE_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 2.0
_MAX_QUESTIONS = 64
"""Names that are asked about at the same time; a flood of names is not answered with one of questions."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where to speak and what to say of where we are.

    Attributes:
        interfaces: an address of each interface, per family, to send from.
        hosts: the addresses that are announced.
    """

    interfaces: tuple[str, ...]
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instance:
    """A service instance as it is on the air, unjudged."""

    name: str
    txt: dict[bytes, bytes | None]
    hosts: tuple[str, ...]
    port: int | None


class Mdns(RecordUpdateListener):
    """One announcement and one browser. Made by :func:`open_mdns`; ended by :meth:`close`."""

    def __init__(
        self,
        service: Service,
        place: Place,
        on_seen: Callable[[Instance], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """Open the sockets; raises whatever zeroconf and the system raise."""
        super().__init__()
        self._service = service
        self._place = place
        self._on_seen = on_seen
        self._on_lost = on_lost
        self._zeroconf = AsyncZeroconf(interfaces=list(place.interfaces), ip_version=_version(place))
        self._browser: AsyncServiceBrowser | None = None
        self._questions: dict[str, asyncio.Task[None]] = {}
        self._rereads: dict[str, asyncio.TimerHandle] = {}
        self._broadcast: Awaitable[object] | None = None

    async def begin(self) -> None:
        """Announce and browse."""
        self._broadcast = await self._zeroconf.async_register_service(self._info(), cooperating_responders=True)
        self._zeroconf.zeroconf.async_add_listener(self, None)
        self._browse()

    async def move(self, place: Place) -> None:
        """Announce other addresses, on other interfaces, and ask again who is there.

        Raises:
            DiscoveryError: it failed; the sockets may be in any state.
        """
        self._place = place
        with _mapped():
            async with asyncio.timeout(_UPDATE_TIMEOUT_S):
                await self._broadcast_done()
                self._broadcast = await self._zeroconf.async_update_service(self._info())
                await self._zeroconf.async_update_interfaces(list(place.interfaces), _version(place))
            if self._browser is not None:
                await self._browser.async_cancel()
            self._browse()

    async def close(self) -> None:
        """Say goodbye and close the sockets."""
        for reread in self._rereads.values():
            reread.cancel()
        questions = list(self._questions.values())
        for question in questions:
            question.cancel()
        await asyncio.gather(*questions, return_exceptions=True)
        await self._broadcast_done()
        with contextlib.suppress(OSError, Error, TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                if self._browser is not None:
                    await self._browser.async_cancel()
                await self._zeroconf.async_close()

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """Take note of announcements that say nothing new: called by zeroconf for every record."""
        for record in records:
            repeated = record.old is not None and record.new.type == _TYPE_SRV
            if repeated and record.new.name.endswith(SERVICE_TYPE) and not record.new.is_expired(now):
                self._read(record.new.name)

    def async_update_records_complete(self) -> None:
        """Have nothing to do at the end of a packet."""

    def _browse(self) -> None:
        self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._state_changed])

    def _state_changed(
        self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if name == self._service.instance:
            return
        if state_change is ServiceStateChange.Removed:
            self._cancel_reread(name)
            self._on_lost(name)
            return
        self._read(name)
        if state_change is ServiceStateChange.Updated:
            self._cancel_reread(name)
            self._rereads[name] = asyncio.get_running_loop().call_later(_REREAD_S, self._reread, name)

    def _reread(self, name: str) -> None:
        self._rereads.pop(name, None)
        self._read(name)

    def _cancel_reread(self, name: str) -> None:
        if (timer := self._rereads.pop(name, None)) is not None:
            timer.cancel()

    def _read(self, name: str) -> None:
        """Report an instance from the cache, or ask for what is missing."""
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, name)
        except Error:
            # A name that zeroconf itself refuses (control characters) cannot be one of ours.
            return
        if info.load_from_cache(self._zeroconf.zeroconf):
            self._report(info)
        elif name not in self._questions and len(self._questions) < _MAX_QUESTIONS:
            task = asyncio.get_running_loop().create_task(self._ask(name), name="p2pchat-mdns-question")
            self._questions[name] = task
            task.add_done_callback(lambda _: self._questions.pop(name, None))

    async def _ask(self, name: str) -> None:
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        with contextlib.suppress(OSError, Error):
            if await info.async_request(self._zeroconf.zeroconf, _ASK_TIMEOUT_MS):
                self._report(info)

    def _report(self, info: AsyncServiceInfo) -> None:
        hosts = tuple(_name_scope(host) for host in info.parsed_scoped_addresses(IPVersion.All))
        self._on_seen(Instance(info.name, dict(info.properties), hosts, info.port))

    def _info(self) -> AsyncServiceInfo:
        service = self._service
        return AsyncServiceInfo(
            SERVICE_TYPE,
            service.instance,
            port=service.port,
            properties=service.txt,
            server=service.server,
            parsed_addresses=list(self._place.hosts),
            host_ttl=_HOST_TTL_S,
            other_ttl=_TTL_S,
        )

    async def _broadcast_done(self) -> None:
        """Wait for the second and third copy of our last announcement, half a second at most."""
        if self._broadcast is not None:
            with contextlib.suppress(OSError, Error):
                await self._broadcast
            self._broadcast = None


async def open_mdns(
    service: Service, place: Place, on_seen: Callable[[Instance], None], on_lost: Callable[[str], None]
) -> Mdns:
    """Announce a service and browse for its kind.

    Args:
        on_seen: called for each instance that is announced, again when it changes or is announced again.
        on_lost: called with the name of an instance that was taken back or has expired.

    Raises:
        DiscoveryError: multicast cannot be used here and now.
    """
    with _mapped():
        mdns = Mdns(service, place, on_seen, on_lost)
        try:
            async with asyncio.timeout(_UPDATE_TIMEOUT_S):
                await mdns.begin()
        except BaseException:
            await mdns.close()
            raise
    return mdns


@contextlib.contextmanager
def _mapped() -> Iterator[None]:
    """Translate what zeroconf and the system raise."""
    try:
        yield
    except TimeoutError as error:
        raise DiscoveryError("mDNS took too long to start") from error
    except OSError as error:
        raise DiscoveryError(f"mDNS is not possible: {(error.strerror or str(error)).lower()}") from error
    except (Error, RuntimeError) as error:
        raise DiscoveryError(f"mDNS is not possible: {clean(str(error) or type(error).__name__, 200)}") from error


def _version(place: Place) -> IPVersion:
    has_ipv6 = any(":" in interface for interface in place.interfaces)
    return IPVersion.All if has_ipv6 else IPVersion.V4Only


def _name_scope(host: str) -> str:
    """Write the scope of a link-local address by the interface's name: numbers change with the next boot."""
    ip, percent, scope = host.partition("%")
    if not percent or not scope.isdecimal():
        return host
    try:
        return f"{ip}%{socket.if_indextoname(int(scope))}"
    except OSError:
        return host
