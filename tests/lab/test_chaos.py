"""Everything at once: both sides write while cables, packets, processes and firewalls fail at random; then it heals."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.lab import judge
from tests.lab.conftest import Build
from tests.lab.feed import Feeder
from tests.lab.host import Host
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

SEEDS: Final = os.environ.get("P2PCHAT_LAB_SEEDS", "1").split()
CHAOS_S: Final = 25.0
MESSAGES: Final = 2000
PER_SECOND: Final = 100
DRAINED_S: Final = 60.0
MAX_RSS_MB: Final = 90
MAX_DESCRIPTORS: Final = 60


class Chaos:
    """Breaks one thing after the other and mends it, drawn from a seed."""

    def __init__(self, seed: str, hosts: list[Host]) -> None:
        self._dice = random.Random(seed)
        self._hosts = hosts
        self.done: list[str] = []

    def run(self, for_s: float) -> None:
        """Break things for that long; everything is mended at the end."""
        ends_s = time.monotonic() + for_s
        faults: list[Callable[[Host], None]] = [
            self.crash, self.crash, self.freeze, self.pull, self.lose, self.reject, self.silence, self.restart
        ]  # fmt: skip
        while time.monotonic() < ends_s:
            host, fault = self._dice.choice(self._hosts), self._dice.choice(faults)
            self.done.append(f"{fault.__name__} {host.name}")
            fault(host)
            self._pause(0.2, 1.0)

    def _pause(self, least_s: float, most_s: float) -> None:
        time.sleep(self._dice.uniform(least_s, most_s))

    def crash(self, host: Host) -> None:
        """Kill the engine, start it again after a while."""
        host.kill()
        self._pause(0.0, 1.5)
        host.start()

    def restart(self, host: Host) -> None:
        """End the engine properly and start it again."""
        host.stop()
        host.start()

    def freeze(self, host: Host) -> None:
        """Stop the process for a while."""
        host.freeze()
        self._pause(0.2, 3.0)
        host.thaw()

    def pull(self, host: Host) -> None:
        """Take the cable out for a while."""
        host.plug.pull_cable()
        self._pause(0.2, 3.0)
        host.plug.plug_cable()

    def lose(self, host: Host) -> None:
        """Lose a third of the packets for a while."""
        host.plug.lose(30)
        self._pause(0.5, 3.0)
        host.plug.mend()

    def reject(self, host: Host) -> None:
        """Reset every connection for a while."""
        host.plug.reject()
        self._pause(0.2, 2.0)
        host.plug.mend()

    def silence(self, host: Host) -> None:
        """Hear nothing for a while."""
        host.plug.drop_incoming()
        self._pause(0.2, 3.0)
        host.plug.mend()


def rss_mb(host: Host) -> float:
    """The resident memory of the engine."""
    lines = Path(f"/proc/{host.pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def is_drained(host: Host) -> bool:
    """Nothing waits and nothing failed."""
    return not host.outbox() and not host.letters()


@pytest.mark.parametrize("seed", SEEDS)
def test_promises_hold_when_everything_fails_at_random(build: Build, seed: str) -> None:
    """Both write all the time while crashes, restarts, stops, pulled cables, losses, resets and silence hit both;
    healed and drained, everything promised arrived once and in order, no tick was false or went back, both sides hold
    the same, and memory and descriptors stayed bounded.
    """
    hosts = build.linked("ada", "bob")
    ada, bob = hosts
    ids = [
        author.send(reader, "hello", "--wait", "delivered").done().row()["message_id"]
        for author, reader in ((ada, bob), (bob, ada))
    ]
    texts = [f"line {line}" for line in range(MESSAGES)]
    feeders = [
        Feeder(one, other, texts, timeout_s=CHAOS_S + 60, per_second=PER_SECOND)
        for one, other in ((ada, bob), (bob, ada))
    ]
    for feeder in feeders:
        feeder.start()
    chaos = Chaos(seed, hosts)
    try:
        chaos.run(CHAOS_S)
    finally:
        build.figure(f"seed {seed}: {', '.join(chaos.done)}")
    promises = [feeder.finish() for feeder in feeders]
    healed_s = time.monotonic()
    for host in hosts:
        wait_until(f"{host.name} is drained", partial(is_drained, host), DRAINED_S, poll_s=0.3)
    build.figure(f"drained {time.monotonic() - healed_s:.1f} s after the last answer")
    histories = [ada.history(bob), bob.history(ada)]
    for (author, reader), promise, hello in zip((histories, histories[::-1]), promises, ids, strict=True):
        assert len(promise.accepted) == MESSAGES, promise.refused
        judge.conversation([hello, *promise.asked], {hello, *promise.accepted}, author, reader)
    judge.converged(*histories)
    for host in hosts:
        judge.ticks_monotone(host.json("events", "--since", "0"))
        descriptors = len(list(Path(f"/proc/{host.pid}/fd").iterdir()))
        build.figure(f"{host.name}: {rss_mb(host):.0f} MB, {descriptors} descriptors")
        assert rss_mb(host) < MAX_RSS_MB
        assert descriptors < MAX_DESCRIPTORS
