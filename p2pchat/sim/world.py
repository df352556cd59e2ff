"""A world: devices, a network, people and faults, under one clock, judged as it goes.

The life of a world: everything starts, ``run`` lets people and faults work for a while, ``heal`` ends all faults,
brings every device back and lets people accept each other, then the world drains and ``verdict`` judges what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from p2pchat.core.effects import Effect
from p2pchat.core.inputs import Input, PeerAnnounced
from p2pchat.model import DeviceId
from p2pchat.sim import trace
from p2pchat.sim.clockwork import Clockwork
from p2pchat.sim.device import Device
from p2pchat.sim.disk import DiskStore
from p2pchat.sim.faults import Faults
from p2pchat.sim.invariants import Judge
from p2pchat.sim.network import Network
from p2pchat.sim.people import People
from p2pchat.sim.profiles import Profile
from p2pchat.store.memory import MemoryStore

SAMPLE_S: Final = 10.0
STEP_S: Final = 5.0
ANNOUNCE_S: Final = 60.0
RELINK_S: Final = 150.0


class World:
    """Everything of one seed.

    Attributes:
        devices: those that take part; ``ghost`` is one that is never there, if the profile has one.
    """

    def __init__(
        self,
        seed: int,
        profile: Profile,
        nodes: int,
        *,
        traced: bool = False,
        store: Callable[[], DiskStore] = MemoryStore,
    ) -> None:
        self.seed = seed
        self.profile = profile
        self.traced = traced
        self.lines: list[str] = []
        self.clock = Clockwork(seed)
        self.judge = Judge(self)
        self.network = Network(self.clock, profile, self.judge.contact)
        self.people = People(self)
        self.faults = Faults(self)
        self.devices = [self._device(index, store) for index in range(nodes)]
        self.ghost = self._device(nodes, store) if profile.ghost else None
        self.by_id: dict[DeviceId, Device] = {device.id: device for device in self.devices}
        if self.ghost is not None:
            self.by_id[self.ghost.id] = self.ghost
            self.ghost.powered = False

    def _device(self, index: int, store: Callable[[], DiskStore]) -> Device:
        policy = replace(self.profile.policy, name=chr(ord("a") + index), listen_port=27270)
        device = Device(self, index, policy, store())
        offset_s = self.profile.wall_offset_s
        device.wall_offset_ms = round(self.clock.draw((-offset_s, offset_s)) * 1000)
        self.network.attach(device)
        return device

    # --- a life -------------------------------------------------------------------------------------------------

    def live(self, simulated_s: float) -> None:
        """Start, run, heal, drain, judge."""
        for device in self.devices:
            device.boot()
        self.people.start()
        self.faults.start()
        self.clock.after(SAMPLE_S, self._sample)
        if self.profile.mdns:
            self.clock.after(ANNOUNCE_S, self._announce_again)
        self._go(simulated_s)
        self.heal()
        end_s = self.clock.now_s + self.profile.drain_s
        while self.clock.now_s < end_s and not self.judge.violations and not self.judge.drained():
            self.clock.run_until(self.clock.now_s + STEP_S)
        self.judge.settle()

    def _go(self, simulated_s: float) -> None:
        """Run until the time is over or something is wrong: what follows a first violation proves nothing."""
        end_s = self.clock.now_s + simulated_s
        while self.clock.now_s < end_s and not self.judge.violations:
            self.clock.run_until(min(end_s, self.clock.now_s + STEP_S))

    def heal(self) -> None:
        """End all faults; bring everybody back; let everybody accept everybody."""
        self.people.stop()
        self.faults.stop()
        self.network.calm = True
        self.network.cut_all()
        for device in self.devices:
            device.disk.commit_s = (0.001, 0.01)
            device.come_back()
        self.people.make_peace()
        # Letters are asked about, and return, at the next link: there must be one, but not at once.
        self.clock.after(RELINK_S, self.network.cut_all)

    def _sample(self) -> None:
        for device in self.devices:
            self.judge.sample(device)
        self.clock.after(SAMPLE_S, self._sample)

    # --- discovery ----------------------------------------------------------------------------------------------

    def _announce_again(self) -> None:
        """Repeat all announcements: one that fell into an outage is not lost for ever."""
        for device in self.devices:
            if device.node is not None:
                self.announce(device)
        self.clock.after(ANNOUNCE_S, self._announce_again)

    def announce(self, device: Device) -> None:
        """Let a device and those that it reaches hear each other's announcements."""
        for other in self.devices:
            if other is not device:
                self._hears(other, device)
                self._hears(device, other)
        if self.ghost is not None:
            device.feed(PeerAnnounced(self.ghost.id, "ghost", (self.ghost.address,)))

    def _hears(self, listener: Device, speaker: Device) -> None:
        if speaker.node is not None and self.network.reaches(speaker, listener):
            listener.feed(PeerAnnounced(speaker.id, speaker.policy.name, (speaker.address,)))

    # --- the trace ----------------------------------------------------------------------------------------------

    def trace(self, device: Device | None, line: str) -> None:
        """Write one line, if this run is traced."""
        if self.traced:
            self.lines.append(f"{self.clock.now_s:11.4f} {device.name if device else '*'} {line}")

    def trace_input(self, device: Device, event: Input) -> None:
        """Write what a device is told."""
        self.trace(device, trace.input_line(event))

    def trace_effect(self, device: Device, effect: Effect) -> None:
        """Write what a device wants."""
        self.trace(device, trace.effect_line(effect))
