"""One simulated device: the shell of a node.

It feeds the node and carries out its effects in order. Its wall clock is wrong by ``wall_offset_ms``; its monotonic
clock is the world's. A process ends by a crash (``run`` counts processes; the store stays, the queue of the disk is
forgotten). A failed commit ends only the node: it is rebuilt from the store in the same process, with all links closed,
and told that the disk fails.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final, assert_never

from p2pchat.core.effects import CloseLink, Dial, Effect, Notify, Persist, Reply, Transmit
from p2pchat.core.inputs import Input, NetworkChanged, Now, ShutDown, StorageFailed, StorageRecovered, TimerFired
from p2pchat.core.node import Node
from p2pchat.model import Address, LinkId, Policy, device_id_of
from p2pchat.sim.disk import Disk, DiskStore
from p2pchat.sim.keys import FakeKeys
from p2pchat.sim.network import PORT, End

if TYPE_CHECKING:
    from p2pchat.sim.world import World

EPOCH_MS: Final = 1_700_000_000_000
TIMER_LATE_S: Final = 0.001
QUIT_S: Final = 1.5
PROBE_S: Final = 0.5
"""How often a shell tries whether a disk that failed takes writes again."""


class Device:
    """A machine with its process (``node`` is None: it is not running).

    Attributes:
        powered: the machine is on; without it nothing answers.
        refusing: its port refuses connections although it runs.
        asleep: suspended: nothing happens on it, the clocks go on; ``woke_s`` is when that ended the last time.
        run: counts processes.
    """

    def __init__(self, world: World, index: int, policy: Policy, store: DiskStore) -> None:
        self.world = world
        self.index = index
        self.name = chr(ord("a") + index)
        self.keys = FakeKeys(f"{world.seed}/{self.name}")
        self.id = device_id_of(self.keys.spki)
        self.address = Address(f"10.0.0.{index + 1}", PORT)
        self.policy = policy
        self.wall_offset_ms = 0
        self.disk = Disk(world.clock, self, store, world.profile.commit_s, world.judge.committed)
        self.node: Node | None = None
        self.links: dict[LinkId, End] = {}
        self.powered = True
        self.refusing = False
        self.asleep = False
        self.woke_s = -inf
        self.quitting = False
        self.run = 0
        self.rebuilds = 0
        self._instance = b""
        self._last_link = 0
        self._wake_at_s: float | None = None
        self._backlog: list[Callable[[], None]] = []

    @property
    def now(self) -> Now:
        """The time by this device's clocks."""
        mono_s = self.world.clock.now_s
        return Now(mono_s, EPOCH_MS + self.wall_offset_ms + int(mono_s * 1000))

    # --- the process --------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Start the process."""
        assert self.node is None
        self.powered = True
        self.run += 1
        self._instance = self.world.clock.rng.randbytes(16)
        self._build()
        self.world.people.started(self)

    def _build(self) -> None:
        rng = random.Random(self.world.clock.rng.getrandbits(64))  # noqa: S311  # must be repeatable
        now = self.now
        self._wake_at_s = None
        try:
            self.node = Node(
                device_id=self.id,
                keys=self.keys,
                policy=self.policy,
                snapshot=self.disk.store.load(),
                rng=rng,
                now=now,
                instance=self._instance,
            )
            effects = self.node.start(now)
        except Exception:  # a node that raises is what we look for
            self._raised("start")
            return
        self._carry_out(effects)
        self._arm()

    def crash(self, *, power_loss: bool) -> None:
        """End the process at once; what is not committed is forgotten."""
        self.world.trace(self, "-- power loss" if power_loss else "-- crash")
        self.node = None
        self.run += 1
        self._wake_at_s = None
        self._backlog.clear()
        self.asleep = self.quitting = False
        self.disk.forget()
        self.powered = not power_loss
        for end in list(self.links.values()):
            self.world.network.abandon(end, tell_other=not power_loss)
        self.world.people.engine_lost(self, restarted=False)

    def quit(self) -> None:
        """End the process in good order: say goodbye, and give the disk and the links a moment."""
        self.feed(ShutDown())
        self.quitting = True
        self.world.clock.after(QUIT_S, self._quit, self.run)

    def _quit(self, run: int) -> None:
        if self.run == run:
            self.crash(power_loss=False)

    def come_back(self) -> None:
        """Start the process, if it is not running; one that is about to end starts anew."""
        if self.quitting:
            self.crash(power_loss=False)
        if self.node is None:
            self.boot()

    def commit_failed(self) -> None:
        """A commit failed: the node is dropped with its promises and rebuilt from the store."""
        self.world.trace(self, "-- commit failed")
        self.rebuilds += 1
        self._backlog.clear()
        self.disk.forget()
        for end in list(self.links.values()):
            self.world.network.abandon(end, tell_other=True)
        self.world.people.engine_lost(self, restarted=True)
        self._build()
        self.feed(StorageFailed("no space left on device"))
        self.world.clock.after(PROBE_S, self._probe, self.run, self.rebuilds)

    def _probe(self, run: int, rebuilds: int) -> None:
        if (run, rebuilds) != (self.run, self.rebuilds) or self.node is None:
            return
        if self.disk.failing:
            self.world.clock.after(PROBE_S, self._probe, run, rebuilds)
            return
        self.feed(StorageRecovered())
        self.world.people.disk_back(self)

    def sleep(self) -> None:
        """Suspend the machine."""
        self.asleep = True
        self.world.trace(self, "-- sleeps")

    def wake(self) -> None:
        """Wake the machine; what came in meanwhile is handled behind the news."""
        if not self.asleep:
            return
        self.asleep = False
        self.woke_s = self.world.clock.now_s
        backlog, self._backlog = self._backlog, []
        self.feed(NetworkChanged("wake"))
        for act in backlog:
            act()

    # --- in and out ---------------------------------------------------------------------------------------------

    def feed(self, event: Input) -> None:
        """Give the node an input and carry out what it wants."""
        if self.asleep:
            run = self.run
            self._backlog.append(lambda: self.feed(event) if run == self.run else None)
            return
        node = self.node
        if node is None:
            return
        world = self.world
        if world.traced:
            world.trace_input(self, event)
        try:
            effects = node.handle(event, self.now)
        except Exception:  # a node that raises is what we look for
            self._raised(type(event).__name__)
            return
        self._carry_out(effects)
        self._arm()

    def _raised(self, where: str) -> None:
        lines = traceback.format_exc().strip().splitlines()
        self.world.judge.violation("exception", f"{self.name} in {where}: {lines[-1]} | {' '.join(lines[-5:-1])}")
        self.crash(power_loss=False)
        self.world.clock.after(1.0, self._reboot, self.run)

    def _reboot(self, run: int) -> None:
        if self.run == run and self.node is None:
            self.boot()

    def _carry_out(self, effects: list[Effect]) -> None:
        world = self.world
        for effect in effects:
            if world.traced:
                world.trace_effect(self, effect)
            match effect:
                case Transmit(link, data):
                    end = self.links.get(link)
                    if end is not None:
                        world.network.send(end, data)
                case Persist():
                    self.disk.write(effect)
                case Notify():
                    world.judge.notified(self, effect)
                case Reply(request, result):
                    world.people.replied(self, request, result)
                case Dial():
                    world.network.dial(self, effect)
                case CloseLink(link):
                    end = self.links.get(link)
                    if end is not None:
                        world.network.close(end)
                case _:
                    assert_never(effect)

    def _arm(self) -> None:
        if self.node is None:
            return
        at_s = self.node.next_deadline()
        if at_s is not None and (self._wake_at_s is None or at_s < self._wake_at_s):
            self._wake_at_s = at_s
            self.world.clock.at(at_s + TIMER_LATE_S, self._timer, at_s, self.run)

    def _timer(self, at_s: float, run: int) -> None:
        if at_s == self._wake_at_s and run == self.run:
            self._wake_at_s = None
            self.feed(TimerFired())

    def adopt(self, end: End) -> LinkId:
        """Give a new link its number."""
        self._last_link += 1
        number = LinkId(self._last_link)
        self.links[number] = end
        return number
