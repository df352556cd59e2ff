"""The simulated network: paths between devices, dials, and links like TCP connections.

A *path* is one direction between two devices; it can be blackholed. A *link* is two pipes, one per direction, each
first in, first out. Inside a link nothing is lost, doubled or reordered, but a link may end at any instant with
frames under way, one side may not be told, and what went into a blackhole is delivered late, when the hole ends (as
TCP sends again), or never. Whole deliveries repeat because links are cut behind a frame and the author sends again.

Everything comes to a device as an event of the world, never from inside a call of that device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from p2pchat.core.effects import Dial
from p2pchat.core.inputs import BytesReceived, DialError, DialFailed, LinkClosed, LinkOpened, Role
from p2pchat.model import Address, LinkId

if TYPE_CHECKING:
    from p2pchat.sim.clockwork import Clockwork
    from p2pchat.sim.device import Device
    from p2pchat.sim.profiles import Profile

CONNECT_TIMEOUT_S: Final = 3.0
CLOSING_S: Final = 0.5
"""Longest time between our close and the shell's word that the link is gone."""

MAX_QUEUED: Final = 4096
"""Frames under way in one direction; a link that overflows ends."""

_HOT_TAGS: Final = (b"\xa6notify", b"\xa3ack", b"\xa6events", b"\xa3had")
"""How frames begin behind which a link is cut, after the map's header and the key ``t``."""

PORT: Final = 27270


@dataclass(slots=True)
class Path:
    """One direction between two devices. ``blocks`` counts the outages that block it."""

    source: Device
    target: Device
    blocks: int = 0
    pipes: list[End] = field(default_factory=list)


class End:
    """One end of a link, as its device has it, with the frames that come in on it.

    Attributes:
        can_send: the device has not closed it.
        told: the device still gets what happens here.
        severed: the link was cut in the middle; what still moves on it is lost.
        stalled: frames that wait for the end of a blackhole (None: the other side closed).
    """

    __slots__ = (
        "can_send",
        "device",
        "last_s",
        "latency_s",
        "number",
        "other",
        "path",
        "queued",
        "severed",
        "stalled",
        "told",
    )

    other: End

    def __init__(self, device: Device, path: Path, latency_s: tuple[float, float]) -> None:
        self.device = device
        self.path = path
        self.latency_s = latency_s
        self.number = LinkId(0)
        self.can_send = True
        self.told = True
        self.severed = False
        self.last_s = 0.0
        self.queued = 0
        self.stalled: deque[bytes | None] = deque()


class Network:
    """All paths and links of a world."""

    def __init__(self, clock: Clockwork, profile: Profile, contact: Callable[[Device, Device], None]) -> None:
        """Args: ``contact`` hears that a dial of the first device was answered by the machine of the second."""
        self.calm = False
        self.links_opened = 0
        self._clock = clock
        self._profile = profile
        self._contact = contact
        self._devices: dict[Address, Device] = {}
        self._paths: dict[tuple[int, int], Path] = {}

    def attach(self, device: Device) -> None:
        """Plug a device in."""
        for other in self._devices.values():
            for one, two in ((device, other), (other, device)):
                self._paths[one.index, two.index] = Path(one, two)
        self._devices[device.address] = device

    # --- outages ------------------------------------------------------------------------------------------------

    def reaches(self, source: Device, target: Device) -> bool:
        """Tell whether packets get from one device to another now."""
        return not self._paths[source.index, target.index].blocks

    def block(self, source: Device, target: Device) -> None:
        """Begin to swallow what goes from one device to another."""
        self._paths[source.index, target.index].blocks += 1

    def unblock(self, source: Device, target: Device) -> None:
        """End one such outage; what was sent meanwhile arrives now, or its link is lost."""
        path = self._paths[source.index, target.index]
        path.blocks -= 1
        if path.blocks:
            return
        path.pipes = [end for end in path.pipes if end.told and not end.severed]
        for end in path.pipes:
            if not end.stalled:
                continue
            if not self.calm and self._clock.chance(self._profile.lost_in_outage_p):
                self.cut(end)
                continue
            self._clock.after(self._clock.draw(end.latency_s), self._catch_up, end)

    def _catch_up(self, end: End) -> None:
        """The other side's machine sends again what fell into a hole; what came behind it waited for that."""
        while end.stalled and not end.path.blocks:
            self._hand_over(end, end.stalled.popleft())

    # --- dialling -----------------------------------------------------------------------------------------------

    def dial(self, device: Device, effect: Dial) -> None:
        """Begin a dial of a device; the answer comes later."""
        address = effect.addresses[0]
        there = self._reachable(device, address) is not None
        delay_s = 3 * self._clock.draw(self._profile.latency_s) if there else CONNECT_TIMEOUT_S
        self._clock.after(delay_s, self._dialled, device, device.run, effect, address)

    def _reachable(self, device: Device, address: Address) -> Device | None:
        target = self._devices.get(address)
        if target is None or target is device or not target.powered:
            return None
        return target if self.reaches(device, target) and self.reaches(target, device) else None

    def _dialled(self, device: Device, run: int, effect: Dial, address: Address) -> None:
        if device.run != run:
            return
        target = self._reachable(device, address)
        if target is None:
            device.feed(DialFailed(effect.dial, DialError.NO_ANSWER, address, "timed out"))
            return
        self._contact(device, target)
        if target.node is None or target.refusing:
            device.feed(DialFailed(effect.dial, DialError.REFUSED, address, "refused"))
        elif effect.expected is not None and effect.expected != target.id:
            device.feed(DialFailed(effect.dial, DialError.WRONG_KEY, address, target.id))
        else:
            self._connect(device, target, effect, address)

    def _connect(self, device: Device, target: Device, effect: Dial, address: Address) -> None:
        slow = self._clock.chance(self._profile.slow_link_p) and not self.calm
        latency_s = self._profile.slow_latency_s if slow else self._profile.latency_s
        here = End(device, self._paths[target.index, device.index], latency_s)
        there = End(target, self._paths[device.index, target.index], latency_s)
        here.other, there.other = there, here
        for end in (here, there):
            end.path.pipes.append(end)
            end.number = end.device.adopt(end)
        self.links_opened += 1
        self._contact(target, device)
        seen_from = Address(device.address.host, 40000 + here.number % 20000)
        device.feed(LinkOpened(here.number, Role.DIALLER, address, effect.dial, target.id))
        target.feed(LinkOpened(there.number, Role.LISTENER, seen_from))

    # --- links --------------------------------------------------------------------------------------------------

    def send(self, end: End, data: bytes) -> None:
        """Put a frame on a link."""
        if not end.can_send:
            return
        other = end.other
        if other.queued + len(other.stalled) >= MAX_QUEUED:
            self.cut(end)
            return
        self._send_on(other, data)
        cut_p = self._profile.cut_after_send_p
        if cut_p and not self.calm and data[3:10].startswith(_HOT_TAGS) and self._clock.chance(cut_p):
            self._clock.after(2.5 * self._clock.draw(end.latency_s), self.cut, end)

    def _send_on(self, end: End, data: bytes | None) -> None:
        low, high = end.latency_s
        clock = self._clock
        at_s = clock.now_s + low + (high - low) * clock.rng.random()
        end.last_s = max(at_s, end.last_s)
        end.queued += 1
        clock.at(end.last_s, self._arrive, end, data)

    def _arrive(self, end: End, data: bytes | None) -> None:
        end.queued -= 1
        if end.severed:
            return
        if end.path.blocks or end.stalled:
            end.stalled.append(data)
        else:
            self._hand_over(end, data)

    def _hand_over(self, end: End, data: bytes | None) -> None:
        if not end.told:
            self._reset(end.other)
        elif data is None:
            self.forget(end, "closed by the other side")
        else:
            end.device.feed(BytesReceived(end.number, data))

    def _reset(self, end: End) -> None:
        """A frame came to an end that is no more: its machine says so, if there is one."""
        if end.told and end.other.device.powered and not end.path.blocks:
            self._clock.after(self._clock.draw(end.latency_s), self.forget, end, "connection reset")

    def close(self, end: End) -> None:
        """Our side closes after what is queued."""
        if end.can_send:
            end.can_send = False
            self._send_on(end.other, None)
            self._clock.after(self._clock.draw((0.0, CLOSING_S)), self.forget, end, "closed here")

    def forget(self, end: End, detail: str) -> None:
        """The device is told that a link is gone."""
        if end.told:
            self.abandon(end)
            end.device.feed(LinkClosed(end.number, detail))

    def abandon(self, end: End, *, tell_other: bool = False) -> None:
        """A device's side of a link ends without a word to that device."""
        if end.can_send and tell_other:
            self._send_on(end.other, None)
        end.can_send = end.told = False
        end.stalled.clear()
        end.device.links.pop(end.number, None)

    def cut(self, end: End) -> None:
        """End a link somewhere between its ends, now. What is under way is lost."""
        ends = [one for one in (end, end.other) if one.told and not one.severed]
        if not ends:
            return
        clock, profile = self._clock, self._profile
        heard = ends
        if clock.chance(profile.silent_cut_p):
            heard = []
        elif clock.chance(profile.half_open_p):
            heard = [ends[clock.rng.randrange(len(ends))]]
        for one in ends:
            one.severed = True
            one.stalled.clear()
            if one in heard:
                clock.after(clock.draw((0.0, 0.05)), self.forget, one, "connection reset")
            elif clock.chance(0.5):
                clock.after(clock.draw((1.0, 60.0)), self.forget, one, "connection timed out")

    def cut_all(self) -> None:
        """End all links in good order for both sides to see."""
        for device in self._devices.values():
            for end in list(device.links.values()):
                self._clock.after(self._clock.draw((0.0, 0.05)), self.forget, end, "connection reset")
