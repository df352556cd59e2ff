"""Figures on this machine: what the product does, and beside it what the machine can do.

Each benchmark measures the product and its bare limit in the same run, alternating, because machines are noisy:
believe the ratios. Latencies are in milliseconds, p50 and p99 of the single messages, and the median over the
runs of each. Everything happens on loopback and in temporary folders.
"""

from __future__ import annotations

import platform
import sqlite3
import ssl
import statistics
from dataclasses import dataclass, field
from importlib.metadata import version

from p2pchat import __version__


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: the median of ``runs`` runs, with the smallest and the largest."""

    name: str
    value: float
    unit: str
    runs: int
    low: float
    high: float
    versions: dict[str, str] = field(default_factory=dict)


def figure(name: str, samples: list[float], unit: str) -> Figure:
    """Make a figure of one value per run."""
    return Figure(name, statistics.median(samples), unit, len(samples), min(samples), max(samples), versions_here())


def percentile(samples: list[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of the samples lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def versions_here() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "p2pchat": __version__,
        "python": platform.python_version(),
        "websockets": version("websockets"),
        "sqlite": sqlite3.sqlite_version,
        "openssl": ssl.OPENSSL_VERSION.split()[1],
        "machine": platform.machine(),
    }
