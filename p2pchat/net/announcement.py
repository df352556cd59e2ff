"""What we say about ourselves in mDNS, and how the same from others is judged. Pure.

One service instance per device: ``<name> <first 8 of id>._p2pchat._tcp.local.``, so that ten machines with
one name stand side by side; its host is named by the device id. The TXT record holds ``v`` (protocol
version), ``id`` and ``name``. Whatever comes in is an unauthenticated packet: the id must be well formed, the
name is cleaned, addresses that lead nowhere or to ourselves are dropped, and the rest is a hint on where to
dial, never more.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from p2pchat.model import Address, DeviceId, clean_name
from p2pchat.net.text import cut_bytes

SERVICE_TYPE = "_p2pchat._tcp.local."
TXT_VERSION = "1"
MAX_ADDRESSES = 8
"""How many addresses of one announcement are kept; a hostile one may hold hundreds."""

_MAX_LABEL_BYTES = 63
_MAX_TXT_VALUE_BYTES = 240
# 256 bits in base32: the last of the 52 characters carries one bit only.
_DEVICE_ID = re.compile(r"[a-z2-7]{51}[aq]")

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Service:
    """Our own announcement.

    Attributes:
        instance: the full instance name, type included.
        server: the host name that the addresses belong to.
        txt: the TXT record.
    """

    instance: str
    server: str
    port: int
    txt: dict[str, str]


@dataclass(frozen=True, slots=True)
class Announcement:
    """Somebody's announcement, as far as it is usable."""

    peer: DeviceId
    name: str
    addresses: tuple[Address, ...]


def service(device_id: DeviceId, name: str, port: int) -> Service:
    """Describe ourselves; the name may be anything."""
    shown = clean_name(name)
    suffix = f" {device_id[:8]}"
    # A dot would end the label; there is no escape for it in the library.
    label = cut_bytes(shown.replace(".", " ").strip(), _MAX_LABEL_BYTES - len(suffix))
    return Service(
        instance=f"{(label + suffix).strip()}.{SERVICE_TYPE}",
        server=f"{device_id}.local.",
        port=port,
        txt={"v": TXT_VERSION, "id": device_id, "name": cut_bytes(shown, _MAX_TXT_VALUE_BYTES)},
    )


def judge(
    txt: Mapping[bytes, bytes | None],
    hosts: Iterable[str],
    port: int | None,
    *,
    own_id: DeviceId,
    allow_loopback: bool = False,
    local: Iterable[IPNetwork] = (),
) -> Announcement | None:
    """Read an announcement; None if it is ours or worthless.

    Args:
        hosts: IP addresses, link-local IPv6 ones with ``%scope``.
        allow_loopback: for a device that announces on loopback itself.
        local: the networks that we are attached to; addresses in them come first.
    """
    peer = device_id_in(txt.get(b"id"))
    if peer is None or peer == own_id or not port or not 0 < port < 65536:
        return None
    networks = tuple(local)
    kept = {host: rank for host in hosts if (rank := _rank(host, networks, allow_loopback)) is not None}
    if not kept:
        return None
    best = sorted(kept, key=lambda host: (kept[host], host))[:MAX_ADDRESSES]
    name = clean_name((txt.get(b"name") or b"").decode("utf-8", "replace")) or peer[:8]
    return Announcement(peer, name, tuple(Address(host, port) for host in best))


def device_id_in(value: bytes | None) -> DeviceId | None:
    """Return the device id in a TXT value, None if it is not one."""
    text = (value or b"").decode("ascii", "replace")
    return DeviceId(text) if _DEVICE_ID.fullmatch(text) else None


def _rank(host: str, local: tuple[IPNetwork, ...], allow_loopback: bool) -> int | None:
    """Order addresses by how likely they work; None for one that cannot."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    if ip.is_unspecified or ip.is_multicast or (ip.is_loopback and not allow_loopback):
        return None
    if ip.version == 6 and ip.is_link_local:
        # Without a scope there is no telling on which cable it is.
        return 3 if "%" in host else None
    is_near = any(ip in network for network in local if network.version == ip.version)
    return (0 if ip.version == 4 else 1) if is_near else 2
