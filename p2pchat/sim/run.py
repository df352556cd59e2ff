"""Run worlds by their seeds and report."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from p2pchat.model import State
from p2pchat.sim.invariants import Violation
from p2pchat.sim.profiles import PROFILES, Profile
from p2pchat.sim.trace import digest
from p2pchat.sim.world import World


@dataclass(frozen=True, slots=True)
class Report:
    """What one seed gave.

    Attributes:
        states: how many messages ended in which state.
        events: things that happened in the world; ``simulated_s`` includes healing and draining.
        trace: compact lines, if they were asked for; ``digest`` is their fingerprint.
    """

    seed: int
    profile: str
    violations: tuple[Violation, ...]
    messages: int
    states: dict[str, int]
    events: int
    links: int
    commits: int
    faults: dict[str, int]
    simulated_s: float
    cpu_s: float
    trace: tuple[str, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations

    @property
    def digest(self) -> str:
        """The fingerprint of the trace."""
        return digest(self.trace)


def run_seed(
    seed: int, profile: Profile | str = "hot", nodes: int = 3, simulated_s: float = 120.0, *, trace: bool = False
) -> Report:
    """Run one world from its start through faults to its end."""
    chosen = PROFILES[profile] if isinstance(profile, str) else profile
    began_s = time.process_time()
    world = World(seed, chosen, nodes, traced=trace)
    world.live(simulated_s)
    states: dict[str, int] = {}
    for fate in world.judge.fates.values():
        name = (fate.state or State.PENDING).value
        states[name] = states.get(name, 0) + 1
    return Report(
        seed=seed,
        profile=chosen.name,
        violations=tuple(world.judge.violations),
        messages=len(world.judge.fates),
        states=states,
        events=world.clock.handled,
        links=world.network.links_opened,
        commits=sum(device.disk.commits for device in world.devices),
        faults=dict(world.faults.counts),
        simulated_s=world.clock.now_s,
        cpu_s=time.process_time() - began_s,
        trace=tuple(world.lines),
    )


def run_seeds(
    seeds: Iterable[int],
    profile: Profile | str = "hot",
    nodes: int = 3,
    simulated_s: float = 120.0,
    *,
    processes: int = 2,
) -> Iterator[Report]:
    """Run many worlds, in the order of their seeds, on so many processes (1: in this one)."""
    one = partial(run_seed, profile=profile, nodes=nodes, simulated_s=simulated_s)
    if processes <= 1:
        yield from map(one, seeds)
        return
    # Not forked: a fork of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        yield from pool.map(one, seeds, chunksize=2)
