"""Links for the engine: listen, dial, transmit, close; what happens comes back as the core's inputs.

The sink is called on the event loop, in order, directly from the callback in which something happened:
``LinkOpened`` first, then ``BytesReceived`` in the order of arrival, ``LinkClosed`` last and exactly once per
opened link. Every ``Dial`` is answered by one ``LinkOpened`` or one ``DialFailed``, unless the transport
stops.

Memory per peer is bounded by the limits on both ways: a slow peer overflows its queue and loses the link, a
quick one is not read while the engine holds (:meth:`Transport.pause_reading`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from p2pchat.core.effects import Dial
from p2pchat.core.inputs import BytesReceived, Input, LinkClosed, LinkOpened, Role
from p2pchat.model import Address, DeviceId, LinkId
from p2pchat.net import websocket as rules
from p2pchat.net.dialler import Dialler
from p2pchat.net.identity import Identity
from p2pchat.net.interfaces import Interface, dialable_hosts, is_wildcard, read_interfaces
from p2pchat.net.limits import Limits
from p2pchat.net.link import Hold, Link, LinkOwner
from p2pchat.net.listener import Listener
from p2pchat.net.tls import TlsStream, client_context, server_context

_log = logging.getLogger(__name__)

_BUFFER_BYTES = 64 * 1024
_STOP_GRACE_S = 0.5


class Transport:
    """All links of this device. One event loop, not thread-safe."""

    def __init__(
        self,
        identity: Identity,
        sink: Callable[[Input], None],
        limits: Limits | None = None,
        *,
        include_virtual: bool = False,
        read_interfaces: Callable[[], list[Interface]] = read_interfaces,
    ) -> None:
        """Prepare; reads and writes a small file for TLS, so make it before the loop is busy.

        Args:
            sink: takes each input at once, without blocking and without raising.
            include_virtual: offer addresses of loopback, docker and the like too.
        """
        self._sink = sink
        self._limits = limits or Limits()
        self._include_virtual = include_virtual
        self._read_interfaces = read_interfaces
        self._server_context = server_context(identity)
        self._client_context = client_context()
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._open = _OpenLinks(sink)
        self._alive: dict[Link, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener = Listener(self._accepted, self._limits)
        self._dialler = Dialler(self._dialled, self._open.adopt, self._limits)
        self._host: str | None = None
        self._stopping = False

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before :meth:`start`."""
        return self._listener.port

    async def start(self, host: str | None = None, port: int | None = None) -> None:
        """Listen.

        Args:
            host: one IP address; None for all of IPv4 and IPv6.
            port: None for 27270 or the next free one; 0 for any; else exactly this one.

        Raises:
            LinkError: it is not possible; the text says what is in the way.
        """
        self._host = host
        self._listener.start(host, port)

    def addresses(self) -> tuple[Address, ...]:
        """Return where others may reach us, the likeliest first; empty when there is no network.

        An address that was asked for is given as it is, loopback included. Link-local IPv6 addresses are left
        out: their scope means something on this machine only.
        """
        if self._host is not None and not is_wildcard(self._host):
            return (Address(self._host, self.port),)
        hosts = dialable_hosts(self._read_interfaces(), include_virtual=self._include_virtual)
        family = {"0.0.0.0": 4, "::": 6}.get(self._host or "")  # noqa: S104 - compared, not bound
        return tuple(Address(host, self.port) for host in hosts if family is None or (family == 6) == (":" in host))

    def dial(self, effect: Dial) -> None:
        """Begin to dial; the sink hears the outcome."""
        if self._stopping:
            return
        task = asyncio.get_running_loop().create_task(self._dial(effect), name=f"p2pchat-dial-{effect.dial}")
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def transmit(self, link: LinkId, data: bytes) -> None:
        """Send one frame, at once if nothing waits. Nothing happens when the link is gone."""
        if (found := self._open.get(link)) is not None:
            found.transmit(data)

    def close_link(self, link: LinkId, reason: str) -> None:
        """Close a link after what is queued on it; ``LinkClosed`` follows within ``close_timeout_s``."""
        if (found := self._open.get(link)) is not None:
            found.close(reason)

    def authenticated(self, link: LinkId) -> None:
        """Note that the core let this link up: limits and deadlines for strangers end."""
        if (found := self._open.get(link)) is not None:
            found.authenticated()
            self._listener.authenticated(found)

    def pause_reading(self, link: LinkId) -> None:
        """Read no more from a peer until :meth:`resume_reading`; a few frames may still come."""
        if (found := self._open.get(link)) is not None:
            found.hold(Hold.ENGINE)

    def resume_reading(self, link: LinkId) -> None:
        """Take back :meth:`pause_reading`."""
        if (found := self._open.get(link)) is not None:
            found.release(Hold.ENGINE)

    async def stop(self, reason: str = "going offline") -> None:
        """Accept and dial no more, close every link with a goodbye, wait until all is over."""
        self._stopping = True
        await self._listener.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in list(self._alive):
            link.close(reason)
        await self._all_gone(self._limits.close_timeout_s + _STOP_GRACE_S)
        for link in list(self._alive):
            link.abort(reason)
        await self._all_gone(_STOP_GRACE_S)

    async def _all_gone(self, timeout_s: float) -> None:
        if self._alive:
            await asyncio.wait([link.closed for link in self._alive], timeout=timeout_s)

    async def _dial(self, effect: Dial) -> None:
        failed = await self._dialler.dial(effect)
        if failed is not None:
            self._sink(failed)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a dial failed by a fault of ours", exc_info=error)

    # --- making links ---------------------------------------------------------------------------------------

    def _accepted(self, remote: Address) -> Link:
        tls = TlsStream(self._server_context, server_side=True)
        websocket = rules.server_side(self._limits.max_frame_bytes)
        return self._track(Link(self._open, tls, websocket, remote, self._limits, self._buffer))

    def _dialled(self, owner: LinkOwner, address: Address, expected: DeviceId | None) -> Link:
        tls = TlsStream(self._client_context, server_side=False)
        websocket = rules.client_side(address, self._limits.max_frame_bytes)
        return self._track(Link(owner, tls, websocket, address, self._limits, self._buffer, expected))

    def _track(self, link: Link) -> Link:
        self._alive[link] = None
        link.closed.add_done_callback(lambda _: self._alive.pop(link))
        return link


class _OpenLinks:
    """Owns the links that are open: numbers them and turns what they tell into inputs."""

    def __init__(self, sink: Callable[[Input], None]) -> None:
        self._sink = sink
        self._numbers = itertools.count(1)
        self._links: dict[LinkId, Link] = {}

    def get(self, number: LinkId) -> Link | None:
        """Return the link with this number, if it is still there."""
        return self._links.get(number)

    def adopt(self, link: Link, dial: int) -> None:
        """Take over a link that we dialled."""
        link.owner = self
        self._enter(link, Role.DIALLER, dial)

    def link_open(self, link: Link) -> None:
        """Take a link that somebody dialled to us."""
        self._enter(link, Role.LISTENER, None)

    def link_data(self, link: Link, data: bytes) -> None:
        """Hand on a frame."""
        assert link.number is not None
        self._sink(BytesReceived(link.number, data))

    def link_gone(self, link: Link) -> None:
        """Tell the end of a link, if it ever was one."""
        if link.number is not None:
            del self._links[link.number]
            self._sink(LinkClosed(link.number, link.detail))

    def _enter(self, link: Link, role: Role, dial: int | None) -> None:
        link.number = LinkId(next(self._numbers))
        self._links[link.number] = link
        self._sink(LinkOpened(link.number, role, link.remote, dial, link.listener_id))
