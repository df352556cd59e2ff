"""This machine's network interfaces: which of them count, and a watch on them.

*Usable* is an interface that is up, has a carrier, and leads to other machines. Loopback and the virtual ones
that container and virtual machine software makes (docker0, br-…, virbr…) lead to this machine only; to announce
their addresses would send peers to a wrong or dead end. A port of a bridge (the host's end of a container's veth
pair) has no addresses of its own that count; the container's end is that machine's way out, whatever its name. VPN
interfaces (tun, wg, tailscale) do lead somewhere and count. ``include_virtual`` takes everything that is up.

The watch polls, because no portable notification exists: one ``getifaddrs`` and an ioctl per interface, about
0.2 ms a second. A change counts when two polls in a row agree on it: an address that is being configured, or
a cable that bounces, is reported once and when it is over.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import ifaddr

_VIRTUAL = re.compile(r"docker|br-[0-9a-f]{6,}|virbr|vmnet|vboxnet|lxcbr|lxdbr|cni|podman|flannel|cali|ifb|dummy")

_SIOCGIFFLAGS = 0x8913
_IFF_UP = 0x1
_IFF_RUNNING = 0x40

POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Interface:
    """One interface with what identifies it for us.

    Attributes:
        index: the kernel's number, 0 if unknown; what an IPv6 scope refers to.
        is_up: administratively up and with a carrier.
        addresses: IP addresses with prefix length (``192.0.2.7/24``), without scope.
        is_port: it is a port of a bridge or bond.
    """

    name: str
    index: int
    is_up: bool
    addresses: tuple[str, ...]
    is_port: bool = False

    @property
    def ips(self) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
        """The addresses alone."""
        return tuple(ipaddress.ip_interface(address).ip for address in self.addresses)


def read_interfaces() -> list[Interface]:
    """Read the interfaces that have an address, by name."""
    adapters = [adapter for adapter in ifaddr.get_adapters() if adapter.ips]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        found = [
            Interface(
                name=str(adapter.name),
                index=adapter.index or 0,
                is_up=_is_up(probe, str(adapter.name)),
                addresses=tuple(sorted(_with_prefix(ip) for ip in adapter.ips)),
                is_port=_is_port(str(adapter.name)),
            )
            for adapter in adapters
        ]
    return sorted(found, key=lambda interface: interface.name)


def usable(interfaces: Iterable[Interface], *, include_virtual: bool = False) -> list[Interface]:
    """Return the interfaces that lead to other machines; with ``include_virtual`` all that are up."""
    return [
        interface for interface in interfaces if interface.is_up and (include_virtual or not _leads_nowhere(interface))
    ]


def dialable_hosts(interfaces: Iterable[Interface], *, include_virtual: bool = False) -> tuple[str, ...]:
    """Return our addresses that mean something to others: IPv4 first, no link-local IPv6."""
    ips = [ip for interface in usable(interfaces, include_virtual=include_virtual) for ip in interface.ips]
    kept = [ip for ip in ips if ip.version == 4 or not ip.is_link_local]
    return tuple(dict.fromkeys(str(ip) for ip in sorted(kept, key=lambda ip: (ip.is_loopback, ip.version))))


def is_wildcard(host: str) -> bool:
    """Tell whether listening on this host means all addresses of its family."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def describe_change(before: Iterable[Interface], after: Iterable[Interface]) -> str:
    """Say in a few words what changed between two readings."""
    old = {interface.name: interface for interface in before}
    new = {interface.name: interface for interface in after}
    for name, interface in new.items():
        was = old.get(name)
        if interface.is_up and (was is None or not was.is_up):
            return f"{name} came up"
    for name, was in old.items():
        if was.is_up and (name not in new or not new[name].is_up):
            return f"{name} went down"
    changed = [name for name in new if name in old and new[name] != old[name]]
    return f"the addresses of {changed[0]} changed" if changed else "the network changed"


class InterfaceWatch:
    """Calls back when the usable interfaces have changed and settled."""

    def __init__(
        self,
        on_change: Callable[[list[Interface], str], None],
        *,
        include_virtual: bool = False,
        poll_s: float = POLL_S,
        read: Callable[[], list[Interface]] = read_interfaces,
    ) -> None:
        """Prepare; ``on_change`` gets the usable interfaces and the cause in words."""
        self._on_change = on_change
        self._include_virtual = include_virtual
        self._poll_s = poll_s
        self._read = read
        self._candidate: list[Interface] | None = None
        self.current = usable(read(), include_virtual=include_virtual)

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            self.poll()

    def poll(self) -> None:
        """Look once."""
        try:
            seen = usable(self._read(), include_virtual=self._include_virtual)
        except OSError:
            # Out of descriptors or memory: the next poll will tell.
            return
        if seen == self.current:
            self._candidate = None
        elif seen != self._candidate:
            self._candidate = seen
        else:
            cause = describe_change(self.current, seen)
            self.current, self._candidate = seen, None
            self._on_change(seen, cause)


def _leads_nowhere(interface: Interface) -> bool:
    named_so = _VIRTUAL.match(interface.name) is not None
    return named_so or interface.is_port or all(ip.is_loopback for ip in interface.ips)


def _is_port(name: str) -> bool:
    """Tell whether the kernel says that another interface is the master of this one (False where it does not say)."""
    return Path("/sys/class/net", name, "master").is_symlink()


def _with_prefix(ip: ifaddr.IP) -> str:
    host = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
    return f"{host.split('%')[0]}/{ip.network_prefix}"


def _is_up(probe: socket.socket, name: str) -> bool:
    """Ask the kernel for the flags; where we do not know how, an interface with an address counts as up."""
    if not sys.platform.startswith("linux"):
        return True
    import fcntl

    request = struct.pack("16sH14x", name.encode()[:15], 0)
    try:
        reply = fcntl.ioctl(probe, _SIOCGIFFLAGS, request)
    except OSError:
        return False
    flags = int(struct.unpack_from("16xH", reply)[0])
    return bool(flags & _IFF_UP and flags & _IFF_RUNNING)
