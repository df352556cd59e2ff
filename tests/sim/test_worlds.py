"""Whole worlds: with the core as it is, no promise is broken in any of them; and a world is a function of its seed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from p2pchat.sim.__main__ import main
from p2pchat.sim.profiles import HOT, MILD, PROFILES
from p2pchat.sim.run import Report, run_seed, run_seeds


def _failures(reports: list[Report]) -> str:
    return "\n".join(f"{r.profile} seed {r.seed}: {violation}" for r in reports for violation in r.violations[:3])


def _states(reports: list[Report], *names: str) -> int:
    return sum(report.states.get(name, 0) for report in reports for name in names)


def test_mild_worlds_keep_every_promise_for_minutes() -> None:
    reports = list(run_seeds(range(20), "mild", nodes=3, simulated_s=180.0))
    assert not _failures(reports)
    assert _states(reports, "delivered", "read") > 2000


def test_hot_worlds_keep_every_promise_while_everything_breaks() -> None:
    reports = list(run_seeds(range(40), "hot", nodes=3, simulated_s=90.0))
    assert not _failures(reports)
    assert _states(reports, "delivered", "read") > 4000
    # A world in which nothing went wrong would prove nothing.
    broken = {name for report in reports for name in report.faults}
    assert {"crash", "cut", "partition", "one_way", "disk_full", "sleep", "refuse", "wall_jump"} <= broken
    assert _states(reports, "cancelled") > 100
    assert sum(report.links for report in reports) > 1000


@pytest.mark.parametrize("profile", [name for name in PROFILES if name not in ("mild", "hot")])
def test_other_worlds_keep_every_promise(profile: str) -> None:
    reports = list(run_seeds(range(12), profile, nodes=3, simulated_s=60.0, processes=1))
    assert not _failures(reports)
    assert _states(reports, "delivered", "read") > 300


def test_a_crowd_keeps_every_promise_when_hot() -> None:
    report = run_seed(5, "hot", nodes=6, simulated_s=60.0)
    assert not _failures([report])


def test_a_device_that_is_never_there_costs_no_attempts_however_long_it_is_away() -> None:
    """The judge checks each charge; here a world in which nobody but the ghost is written to."""
    alone = replace(MILD, name="alone", crash_every_s=20.0, drain_s=5.0)
    report = run_seed(3, alone, nodes=2, simulated_s=600.0)
    assert not _failures([report])
    assert report.states.get("pending", 0) > 3


def test_a_world_is_the_same_when_its_seed_is_the_same() -> None:
    one, two = (run_seed(11, "hot", nodes=3, simulated_s=60.0, trace=True) for _ in range(2))
    assert one.trace == two.trace
    assert len(one.trace) > 1000
    other = run_seed(12, "hot", nodes=3, simulated_s=60.0, trace=True)
    assert other.digest != one.digest


def test_a_world_is_the_same_whatever_the_hash_seed() -> None:
    program = (
        "from p2pchat.sim.run import run_seed\n"
        "print(*(run_seed(s, 'hot', nodes=3, simulated_s=30.0, trace=True).digest for s in (21, 22)))"
    )
    digests = {_run(program, hash_seed) for hash_seed in ("0", "1", "4242")}
    assert len(digests) == 1


def _run(program: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=50, check=True
    )
    return done.stdout.strip()


def test_a_trace_shows_frames_and_operations_in_words() -> None:
    trace = "\n".join(run_seed(1, HOT, nodes=2, simulated_s=20.0, trace=True).trace)
    for word in ("< SendText", "> Persist", "InsertOutgoing", "Notify(", "Ack(", "Hello(", "< Committed", "-- "):
        assert word in trace


def test_profiles_have_the_names_that_they_are_found_by() -> None:
    assert all(profile.name == name for name, profile in PROFILES.items())


def test_command_line_reports_and_traces(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "mild", "--seeds", "2", "--nodes", "2", "--seconds", "20", "--processes", "1"]) == 0
    assert "2 worlds, 0 with broken promises" in capsys.readouterr().out
    assert main(["--seed", "1", "--nodes", "2", "--seconds", "5", "--trace"]) == 0
    assert "< SendText" in capsys.readouterr().out
