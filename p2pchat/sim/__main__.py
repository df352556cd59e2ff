"""``python -m p2pchat.sim``: run worlds from the command line, or print the trace of one."""

from __future__ import annotations

import argparse
import sys

from p2pchat.sim.profiles import PROFILES
from p2pchat.sim.run import Report, run_seed, run_seeds


def main(arguments: list[str] | None = None) -> int:
    """Run the worlds that the arguments name; return 1 if a promise was broken in any."""
    parser = argparse.ArgumentParser(prog="python -m p2pchat.sim", description="Run simulated worlds and judge them.")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="hot")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120.0, help="simulated, before everything is mended")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--trace", action="store_true", help="run one seed and print all that happened")
    chosen = parser.parse_args(arguments)
    if chosen.trace:
        report = run_seed(chosen.seed, chosen.profile, chosen.nodes, chosen.seconds, trace=True)
        sys.stdout.writelines(line + "\n" for line in report.trace)
        return 0 if report.ok else 1
    seeds = range(chosen.seed, chosen.seed + chosen.seeds)
    reports = run_seeds(seeds, chosen.profile, chosen.nodes, chosen.seconds, processes=chosen.processes)
    return _print(list(reports))


def _print(reports: list[Report]) -> int:
    broken = [report for report in reports if not report.ok]
    for report in broken:
        for violation in report.violations[:5]:
            sys.stdout.write(f"{report.profile} seed {report.seed}: {violation}\n")
    simulated_s = sum(report.simulated_s for report in reports)
    cpu_s = sum(report.cpu_s for report in reports)
    messages = sum(report.messages for report in reports)
    sys.stdout.write(
        f"{len(reports)} worlds, {len(broken)} with broken promises; {messages} messages, "
        f"{simulated_s / 3600:.1f} simulated hours in {cpu_s:.1f} s of CPU\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
