"""Whether the lab can run here, and the fixture that makes one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.lab.host import Host, Settings
from tests.lab.net import Lab, Plug

SWITCH: Final = "P2PCHAT_LAB"
FIGURE: Final = "figure"
TOOLS: Final = {
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "tmux": "tmux",
    "openssl": "openssl",
    "dbus-daemon": "dbus",
    "avahi-daemon": "avahi-daemon",
    "avahi-browse": "avahi-utils",
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the lab with its reason, or, where it is required, let a missing tool be an error."""
    if item.get_closest_marker("lab") is None:
        return
    wanted = os.environ.get(SWITCH, "")
    if not wanted:
        pytest.skip(f"the lab runs only where {SWITCH} is set (root, network namespaces, about 4 minutes on two cores)")
    missing = _missing()
    if missing and wanted == "required":
        pytest.fail(f"the lab is required here, but {missing}", pytrace=False)
    if missing:
        pytest.skip(f"the lab cannot run here: {missing}")


def _missing() -> str:
    if os.geteuid() != 0:
        return "it needs root"
    packages = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    return f"these packages are missing: {', '.join(packages)}" if packages else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the machines said to the report of a test that failed, while they are still there."""
    report = yield
    build = getattr(item, "funcargs", {}).get("build")
    if report.when == "call" and report.failed and isinstance(build, Build):
        report.sections.extend((f"lab: {host.name}", host.report()) for host in build.hosts)
        build.keep(item.name)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured: figures are shown, not only held against limits."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, ())]
    figures = [
        (report.nodeid.rpartition("::")[2], text)
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == FIGURE
    ]
    if figures:
        terminalreporter.section("lab figures")
        for test, text in figures:
            terminalreporter.write_line(f"{test}: {text}")


class Build:
    """Makes the machines of one test, and notes what was measured."""

    def __init__(self, exit_stack: ExitStack, record_property: Callable[[str, object], None]) -> None:
        self._exit = exit_stack
        self._record_property = record_property
        self.hosts: list[Host] = []

    def keep(self, test: str) -> None:
        """Copy the homes to where ``P2PCHAT_LAB_KEEP`` says, for whoever looks into a failure."""
        if folder := os.environ.get("P2PCHAT_LAB_KEEP"):
            for host in self.hosts:
                to = Path(folder) / f"{test}.{os.getpid()}" / host.name
                shutil.copytree(host.home, to, ignore=shutil.ignore_patterns("*.sock"), dirs_exist_ok=True)

    def figure(self, text: str) -> None:
        """Note a measurement for the summary."""
        self._record_property(FIGURE, text)

    def lab(self, *, ipv4: bool = True) -> Lab:
        """Make a network."""
        return self._exit.enter_context(Lab(ipv4=ipv4))

    def host(
        self,
        lab: Lab,
        name: str,
        *,
        settings: Settings | None = None,
        shown: str | None = None,
        plug: Plug | None = None,
    ) -> Host:
        """Make a machine with these settings in its config.toml; its engine is not started."""
        host = Host(lab, name, settings=settings, shown=shown, plug=plug)
        self.hosts.append(host)
        return host

    def linked(self, *names: str, ipv4: bool = True, settings: Settings | None = None) -> list[Host]:
        """Make machines on one network, start them all, and wait until each sees each."""
        lab = self.lab(ipv4=ipv4)
        hosts = [self.host(lab, name, settings=settings) for name in names]
        for host in hosts:
            host.launch()
        for host in hosts:
            host.wait_ready()
        for host in hosts:
            host.wait_linked(*(other for other in hosts if other is not host))
        return hosts


@pytest.fixture
def build(record_property: Callable[[str, object], None]) -> Iterator[Build]:
    """Make labs and hosts; everything is removed afterwards, whatever happens. No engine may report a fault of ours."""
    with ExitStack() as stack:
        made = Build(stack, record_property)
        yield made
        faults = [f"{host.name}: {line}" for host in made.hosts for line in host.faults()]
    assert not faults, "\n".join(faults)
