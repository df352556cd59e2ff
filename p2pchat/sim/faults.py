"""What breaks, when, and its end. Every fault that lasts has an undo; ``stop`` undoes all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from p2pchat.core.inputs import NetworkChanged

if TYPE_CHECKING:
    from p2pchat.sim.device import Device
    from p2pchat.sim.world import World

Undo = Callable[[], None]


class Faults:
    """The faults of a world, as its profile wants them."""

    def __init__(self, world: World) -> None:
        self.counts: dict[str, int] = {}
        self._world = world
        self._undo: dict[int, Undo] = {}
        self._last = 0
        self._stopped = False

    def start(self) -> None:
        """Begin to break things."""
        profile = self._world.profile
        kinds: tuple[tuple[float, Callable[[], None]], ...] = (
            (profile.crash_every_s, self._crash),
            (profile.commit_fail_every_s, self._disk_full),
            (profile.restore_every_s, self._restore),
            (profile.sleep_every_s, self._sleep),
            (profile.cut_every_s, self._cut),
            (profile.partition_every_s, self._partition),
            (profile.one_way_every_s, self._one_way),
            (profile.refuse_every_s, self._refuse),
            (profile.wall_jump_every_s, self._wall_jump),
            (profile.network_change_every_s, self._network_change),
        )
        for every_s, act in kinds:
            if every_s:
                self._again(every_s, act)

    def stop(self) -> None:
        """Break nothing more, and mend what is broken."""
        self._stopped = True
        undos, self._undo = list(self._undo.values()), {}
        for undo in undos:
            undo()

    def _again(self, every_s: float, act: Callable[[], None]) -> None:
        clock = self._world.clock

        def occasion() -> None:
            if not self._stopped:
                name = act.__name__.strip("_")
                self.counts[name] = self.counts.get(name, 0) + 1
                act()
                clock.after(clock.gap(every_s), occasion)

        clock.after(clock.gap(every_s), occasion)

    def _lasting(self, bounds_s: tuple[float, float], undo: Undo) -> None:
        self._last += 1
        number = self._last
        self._undo[number] = undo
        self._world.clock.after(self._world.clock.draw(bounds_s), self._end, number)

    def _end(self, number: int) -> None:
        undo = self._undo.pop(number, None)
        if undo is not None:
            undo()

    def _any(self) -> Device:
        devices = self._world.devices
        return devices[self._world.clock.rng.randrange(len(devices))]

    def _pair(self) -> tuple[Device, Device]:
        one, two = self._world.clock.rng.sample(self._world.devices, 2)
        return one, two

    # --- devices ------------------------------------------------------------------------------------------------

    def _crash(self) -> None:
        device = self._any()
        clock, profile = self._world.clock, self._world.profile
        if device.node is None:
            return
        if clock.chance(profile.quit_p):
            device.quit()
        else:
            device.crash(power_loss=clock.chance(profile.power_loss_p))
        self._lasting(profile.down_s, device.come_back)

    def _restore(self) -> None:
        """Take a copy of a disk; after a while the device crashes and goes on from that copy."""
        device = self._any()
        copy = device.disk.store.copy()

        def restore() -> None:
            if device.node is not None:
                device.crash(power_loss=False)
            device.disk.store = copy
            self._world.judge.restored(device)
            device.boot()

        self._lasting(self._world.profile.outage_s, restore)

    def _disk_full(self) -> None:
        device = self._any()
        device.disk.failing = True

        def mend() -> None:
            device.disk.failing = False

        self._lasting(self._world.profile.commit_fail_s, mend)

    def _sleep(self) -> None:
        device = self._any()
        if device.node is None or device.asleep:
            return
        self._isolate(device, self._world.network.block)
        device.sleep()

        def wake() -> None:
            self._isolate(device, self._world.network.unblock)
            device.wake()

        self._lasting(self._world.profile.sleep_s, wake)

    def _isolate(self, device: Device, act: Callable[[Device, Device], None]) -> None:
        for other in self._world.devices:
            if other is not device:
                act(device, other)
                act(other, device)

    def _wall_jump(self) -> None:
        device = self._any()
        offset_s = self._world.profile.wall_offset_s
        device.wall_offset_ms = round(self._world.clock.draw((-offset_s, offset_s)) * 1000)
        self._world.trace(device, f"-- clock is {device.wall_offset_ms} ms off")

    # --- the network --------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        device = self._any()
        links = list(device.links.values())
        if links:
            self._world.network.cut(links[self._world.clock.rng.randrange(len(links))])

    def _partition(self) -> None:
        """Part the devices into two groups."""
        world = self._world
        group = [device for device in world.devices if world.clock.rng.random() < 0.5]
        rest = [device for device in world.devices if device not in group]
        pairs = [(one, two) for one in group for two in rest]
        self._outage(pairs + [(two, one) for one, two in pairs])

    def _one_way(self) -> None:
        self._outage([self._pair()])

    def _outage(self, pairs: list[tuple[Device, Device]]) -> None:
        network = self._world.network
        for one, two in pairs:
            network.block(one, two)

        def mend() -> None:
            for one, two in pairs:
                network.unblock(one, two)

        self._lasting(self._world.profile.outage_s, mend)

    def _refuse(self) -> None:
        device = self._any()
        device.refusing = True

        def mend() -> None:
            device.refusing = False

        self._lasting(self._world.profile.refuse_s, mend)

    def _network_change(self) -> None:
        self._any().feed(NetworkChanged("another interface"))
