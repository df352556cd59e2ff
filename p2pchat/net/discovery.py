"""Finds the other devices of the network by mDNS, and lets them find us.

Runs beside everything else and is never needed: whatever fails here becomes a line of
:attr:`Discovery.status`, is tried again when the interfaces change and every 30 s, and never reaches the
engine as an exception. It starts after the listener is up, because zeroconf takes long to import; that
happens in a thread.

Announcements are kept per service instance and told per device: a device that renamed itself is two instances
for a moment, and is withdrawn only with the last of them. ``PeerAnnounced`` is emitted when a device appears,
when its name or addresses change, and, at most every 5 s, when it announces the same again: it is alive.

The watch on the interfaces lives here too, because discovery must follow it; it emits ``NetworkChanged``.
Without discovery (``--no-discovery``) use :class:`p2pchat.net.interfaces.InterfaceWatch` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import ipaddress
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from p2pchat.core.inputs import Input, NetworkChanged, PeerAnnounced, PeerWithdrawn
from p2pchat.errors import DiscoveryError
from p2pchat.model import DeviceId
from p2pchat.net.announcement import Announcement, IPNetwork, judge, service
from p2pchat.net.interfaces import POLL_S, Interface, InterfaceWatch, read_interfaces
from p2pchat.net.threads import in_thread

if TYPE_CHECKING:
    from p2pchat.net.mdns import Instance, Mdns, Place

_log = logging.getLogger(__name__)

_RETRY_S = 30.0
_SAME_AGAIN_S = 5.0
_MAX_INSTANCES = 1024
"""More devices than any LAN has; a flood of made-up ones ends here."""


class Discovery:
    """Announces this device and tells about others. One event loop, not thread-safe.

    Attributes:
        status: one line for people: ``on``, or why it is not.
    """

    def __init__(
        self,
        device_id: DeviceId,
        name: str,
        port: int,
        sink: Callable[[Input], None],
        *,
        interfaces: Sequence[str] | None = None,
        include_virtual: bool = False,
        poll_s: float = POLL_S,
        read: Callable[[], list[Interface]] = read_interfaces,
    ) -> None:
        """Prepare.

        Args:
            name: what others see; cleaned here.
            interfaces: IP addresses of ours: speak there only, and announce these only (a listener on one
                address; ``127.0.0.1`` for a demo). None for every interface that leads somewhere.
            include_virtual: with loopback, docker and the like.
        """
        self.status = "starting"
        self._own_id = device_id
        self._service = service(device_id, name, port)
        self._sink = sink
        self._fixed = tuple(interfaces) if interfaces is not None else None
        self._allow_loopback = include_virtual or any(
            ipaddress.ip_address(host).is_loopback for host in interfaces or ()
        )
        self._watch = InterfaceWatch(self._network_changed, include_virtual=include_virtual, poll_s=poll_s, read=read)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._mdns: Mdns | None = None
        self._place: Place | None = None
        self._instances: dict[str, Announcement] = {}
        self._told: dict[DeviceId, tuple[PeerAnnounced, float]] = {}

    async def start(self) -> None:
        """Begin; returns at once, before anything is known about success."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="p2pchat-discovery")

    async def stop(self) -> None:
        """Take the announcement back and end; takes half a second."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self._shut()
        self.status = "off"

    # --- announcing and browsing ----------------------------------------------------------------------------

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.run(), name="p2pchat-interface-watch")
            try:
                await in_thread("p2pchat-import", lambda: importlib.import_module("p2pchat.net.mdns"))
            except ImportError as error:
                self._set_status(f"off: {error}")
                return
            while True:
                self._changed.clear()
                await self._follow()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_S if self._mdns is None else None):
                        await self._changed.wait()

    async def _follow(self) -> None:
        """Bring mDNS to where the interfaces are now."""
        from p2pchat.net.mdns import open_mdns

        place = self._where()
        try:
            if not place.interfaces:
                await self._shut()
                self._forget_all()
                self._set_status("waiting: no network")
            elif self._mdns is None:
                self._mdns = await open_mdns(self._service, place, self._seen, self._lost)
                self._set_status("on")
            elif place != self._place:
                await self._mdns.move(place)
            self._place = place
        except DiscoveryError as error:
            await self._shut()
            self._forget_all()
            self._set_status(f"off: {error}")

    async def _shut(self) -> None:
        if self._mdns is not None:
            mdns, self._mdns = self._mdns, None
            await mdns.close()

    def _where(self) -> Place:
        from p2pchat.net.mdns import Place

        if self._fixed is not None:
            return Place(self._fixed, self._fixed)
        voices: list[str] = []
        hosts: list[str] = []
        for interface in self._watch.current:
            hosts += map(str, interface.ips)
            voices += [str(ip) for ip in interface.ips if ip.version == 4]
            # Sent from a link-local address, a packet tells its receiver the scope of those inside it.
            by_scope = sorted((ip for ip in interface.ips if ip.version == 6), key=lambda ip: not ip.is_link_local)
            voices += [str(ip) for ip in by_scope[:1]]
        return Place(tuple(voices), tuple(hosts))

    def _network_changed(self, _: list[Interface], cause: str) -> None:
        self._changed.set()
        self._sink(NetworkChanged(cause))

    def _set_status(self, status: str) -> None:
        if status != self.status:
            self.status = status
            _log.info("discovery", extra={"status": status})

    # --- what others announce -------------------------------------------------------------------------------

    def _seen(self, instance: Instance) -> None:
        heard = judge(
            instance.txt,
            instance.hosts,
            instance.port,
            own_id=self._own_id,
            allow_loopback=self._allow_loopback,
            local=self._local_networks(),
        )
        before = self._instances.get(instance.name)
        if before is not None and (heard is None or heard.peer != before.peer):
            self._lost(instance.name)
        if heard is None or (before is None and len(self._instances) >= _MAX_INSTANCES):
            return
        self._instances[instance.name] = heard
        self._tell(PeerAnnounced(heard.peer, heard.name, heard.addresses))

    def _tell(self, announced: PeerAnnounced) -> None:
        now_s = time.monotonic()
        before, told_at_s = self._told.get(announced.peer, (None, 0.0))
        if announced == before and now_s - told_at_s < _SAME_AGAIN_S:
            return
        self._told[announced.peer] = (announced, now_s)
        self._sink(announced)

    def _lost(self, name: str) -> None:
        gone = self._instances.pop(name, None)
        if gone is None:
            return
        rest = [other for other in self._instances.values() if other.peer == gone.peer]
        if rest:
            self._tell(PeerAnnounced(rest[-1].peer, rest[-1].name, rest[-1].addresses))
        else:
            del self._told[gone.peer]
            self._sink(PeerWithdrawn(gone.peer))

    def _forget_all(self) -> None:
        """Withdraw everybody: whoever is still there will be heard anew, nobody would tell of the others."""
        for name in list(self._instances):
            self._lost(name)

    def _local_networks(self) -> list[IPNetwork]:
        return [
            ipaddress.ip_interface(address).network
            for interface in self._watch.current
            for address in interface.addresses
        ]
