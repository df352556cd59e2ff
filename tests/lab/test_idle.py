"""What an engine costs that has nothing to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import pytest

from tests.lab.conftest import Build
from tests.lab.host import Host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

SETTLED_S: Final = 3.0
WATCHED_S: Final = 20.0
MAX_CPU_PERCENT: Final = 1.0
MAX_RSS_MB: Final = 80.0


def cpu_s(host: Host) -> float:
    """The CPU time of the engine so far."""
    stat = Path(f"/proc/{host.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(host: Host) -> float:
    """The resident memory of the engine."""
    lines = Path(f"/proc/{host.pid}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def test_engine_costs_little_when_two_peers_are_linked_and_idle(build: Build) -> None:
    """An idle engine with two connected peers stays below 1 % CPU and 80 MB."""
    hosts = build.linked("ada", "bob", "cyd")
    hosts[0].send(hosts[1], "hello", "--wait", "delivered").done()
    time.sleep(SETTLED_S)
    before, began_s = [cpu_s(host) for host in hosts], time.monotonic()
    time.sleep(WATCHED_S)
    took_s = time.monotonic() - began_s
    for host, used_s in zip(hosts, before, strict=True):
        percent = 100 * (cpu_s(host) - used_s) / took_s
        build.figure(f"{host.name}: {percent:.2f} % CPU, {rss_mb(host):.0f} MB")
        assert percent < MAX_CPU_PERCENT
        assert rss_mb(host) < MAX_RSS_MB
    hosts[0].wait_linked(*hosts[1:], timeout_s=1)
