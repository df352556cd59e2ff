"""Invites: everything that it takes to reach a device, on one line that can be read out, mailed or scanned.

``p2pchat:DEVICE_ID@HOST:PORT,HOST:PORT,[V6]:PORT``. The id makes it more than an address: whoever answers with another
key is not the one who was meant. An address alone is accepted at the same place, and then any key is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from p2pchat.config import DEFAULT_PORT, parse_address
from p2pchat.model import Address, DeviceId, clean

SCHEME: Final = "p2pchat:"
MAX_ADDRESSES: Final = 8
_ID_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz234567")


def write(device_id: DeviceId, addresses: Sequence[Address]) -> str:
    """Make the invite of a device that listens at these addresses, the best first."""
    return f"{SCHEME}{device_id}@{','.join(str(address) for address in addresses[:MAX_ADDRESSES])}"


def read(text: str) -> tuple[tuple[Address, ...], DeviceId | None]:
    """Read an invite, or an address without an id.

    Raises:
        ValueError: it is neither; the text says what would be.
    """
    said = "".join(text.split())
    if not said.lower().startswith(SCHEME):
        return (_address(text),), None
    device_id, at, places = said[len(SCHEME) :].partition("@")
    device_id = device_id.lower()
    if len(device_id) != 52 or not set(device_id) <= _ID_CHARS:
        raise ValueError(f"not an invite: {clean(text, 80)!r} (its device id is damaged; copy the whole line)")
    if not at or not places:
        raise ValueError("this invite names no address: its device had no network when it was made")
    return tuple(_address(place) for place in places.split(",")[:MAX_ADDRESSES]), DeviceId(device_id)


def _address(text: str) -> Address:
    address = parse_address(text, DEFAULT_PORT)
    if not address.host or not address.port:
        raise ValueError(f"{clean(text, 80)!r} cannot be dialled: a host and a port other than 0 are needed")
    return address
