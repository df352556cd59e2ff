"""A local network on this machine: hosts in network namespaces, plugged into a switch in one of its own.

Theory of operation
===================

A :class:`Lab` owns one namespace with a bridge (the switch) and one namespace per :class:`Plug` (a machine's network),
joined by veth pairs whose far end is called ``eth0``. Nothing touches the machine's own network: everything is made
and removed inside namespaces that carry our prefix. Multicast is the kernel's own; the bridge floods it as a plain
switch does.

Names hold the process id and start time of the run that made them, so that a run that was killed is recognised by
the next one, which ends what is left in those namespaces and removes them. Processes are only ever ended by their
id; those that a run starts through :meth:`Lab.spawn` also die with it, because the kernel is asked to see to that.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

PREFIX: Final = "p2pchat-lab"
SWITCH: Final = "br0"
PORT: Final = 27270
RUN_TIMEOUT_S: Final = 20.0
ROOT: Final = Path(__file__).resolve().parents[2]
_serials = count(1)


class LabError(Exception):
    """A command of the lab itself failed; never the product's fault."""


def run(*argv: str, check: bool = True, timeout_s: float = RUN_TIMEOUT_S) -> str:
    """Run a system command to its end and return what it printed.

    Raises:
        LabError: it failed (with ``check``) or took too long.
    """
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{' '.join(argv)}: {error}") from None
    if check and done.returncode:
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


@dataclass(slots=True)
class Plug:
    """One machine's network: its namespace, its addresses, its cable and its firewall.

    Attributes:
        ipv4: its address on the LAN, empty in an IPv6-only lab.
        ipv6: its unique local address.
        cable: the switch's end of the cable.
    """

    name: str
    namespace: str
    switch: str
    cable: str
    ipv4: str
    ipv6: str

    def inside(self, *argv: str) -> list[str]:
        """Return the command line that runs ``argv`` in this namespace, without a process in between."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *argv]

    def run(self, *argv: str, check: bool = True, timeout_s: float = RUN_TIMEOUT_S) -> str:
        """Run a command in this namespace to its end."""
        return run(*self.inside(*argv), check=check, timeout_s=timeout_s)

    @property
    def address(self) -> str:
        """The address that others dial: IPv4 where there is one."""
        return self.ipv4 or self.ipv6

    @property
    def dialable(self) -> str:
        """HOST:PORT as a person would type it."""
        return f"{self.ipv4}:{PORT}" if self.ipv4 else f"[{self.ipv6}]:{PORT}"

    # --- faults -------------------------------------------------------------------------------------------------

    def pull_cable(self) -> None:
        """Take the cable out of the switch: this host loses its carrier, the others hear nothing of it."""
        run("ip", "-n", self.switch, "link", "set", self.cable, "down")

    def plug_cable(self) -> None:
        """Put the cable back."""
        run("ip", "-n", self.switch, "link", "set", self.cable, "up")

    def interface_down(self) -> None:
        """Switch this host's own interface off; the kernel forgets its addresses' routes."""
        self.run("ip", "link", "set", "eth0", "down")

    def renumber(self, ipv4: str) -> None:
        """Give this host another IPv4 address, and only that."""
        run("ip", "-n", self.namespace, "address", "flush", "dev", "eth0", "scope", "global")
        run("ip", "-n", self.namespace, "address", "add", f"{ipv4}/24", "dev", "eth0")
        self.ipv4 = ipv4

    def reject(self, port: int = PORT) -> None:
        """Refuse TCP to and from a port with a reset, as a firewall does that says no; connections that stand are reset
        on both sides, whoever opened them.
        """
        self._rule("tcp flags & rst == rst accept", "output")
        self._rule(f"tcp dport {port} reject with tcp reset", "input", "output")
        self._rule(f"tcp sport {port} reject with tcp reset", "input", "output")

    def lose(self, percent: int) -> None:
        """Lose this share of what comes in, at random."""
        self._rule(f"numgen random mod 100 < {percent} counter drop", "input")

    def lost(self) -> int:
        """How many packets the firewall's counters dropped."""
        return sum(map(int, re.findall(r"counter packets (\d+)", self.run("nft", "list", "table", "inet", "lab"))))

    def drop_incoming(self) -> None:
        """Hear nothing any more, without a reset; what we say still arrives."""
        self._rule("iifname eth0 drop", "input")

    def blackhole(self) -> None:
        """Neither hear nor say anything, without a reset and with the carrier still there."""
        self._rule("meta oifname eth0 drop", "output")
        self._rule("meta iifname eth0 drop", "input")

    def mend(self) -> None:
        """Take every rule of the firewall back."""
        self.run("nft", "delete", "table", "inet", "lab", check=False)

    def _rule(self, rule: str, *hooks: str) -> None:
        self.run("nft", "add table inet lab")
        for hook in hooks:
            self.run("nft", f"add chain inet lab {hook} {{ type filter hook {hook} priority 0; policy accept; }}")
            self.run("nft", f"add rule inet lab {hook} {rule}")


class Lab:
    """A switch, plugs, and the processes and files of one test. A context manager; leaves nothing behind."""

    def __init__(self, *, ipv4: bool = True) -> None:
        """Prepare; nothing exists before it is entered.

        Args:
            ipv4: whether hosts have IPv4 addresses; all have IPv6 ones, link-local and unique local.
        """
        self._ipv4 = ipv4
        self._base = f"{PREFIX}.{os.getpid()}.{_started(os.getpid())}.{next(_serials)}"
        self._switch = f"{self._base}.switch"
        self._exit = contextlib.ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []
        self.plugs: list[Plug] = []
        self.folder = Path()

    def __enter__(self) -> Self:
        remove_stale()
        try:
            # Not below pytest's folder: a Unix socket's path has 107 bytes at most.
            self.folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="lab-")))
            self._exit.callback(self._end_processes)
            self._make_namespace(self._switch)
            for words in (
                ("add", SWITCH, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"),
                ("set", SWITCH, "up"),
            ):
                run("ip", "-n", self._switch, "link", *words)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def plug(self, name: str) -> Plug:
        """Make a namespace and plug it into the switch."""
        number = len(self.plugs) + 1
        namespace = f"{self._base}.{name}"
        self._make_namespace(namespace)
        plug = Plug(
            name=name,
            namespace=namespace,
            switch=self._switch,
            cable=f"port{number}",
            ipv4=f"10.77.0.{number}" if self._ipv4 else "",
            ipv6=f"fd77::{number:x}",
        )
        # Without duplicate address detection an IPv6 address works at once; there is nobody to collide with.
        plug.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")
        peer = ("peer", "name", "eth0", "netns", namespace)
        run("ip", "-n", self._switch, "link", "add", plug.cable, "type", "veth", *peer)
        run("ip", "-n", self._switch, "link", "set", plug.cable, "master", SWITCH, "up")
        addresses = [f"{plug.ipv6}/64"] + ([f"{plug.ipv4}/24"] if plug.ipv4 else [])
        for address in addresses:
            run("ip", "-n", namespace, "address", "add", address, "dev", "eth0")
        # A host that takes its own address away from a cable without carrier would differ from real ones.
        plug.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/keep_addr_on_down")
        run("ip", "-n", namespace, "link", "set", "eth0", "up", "multicast", "on")
        self.plugs.append(plug)
        return plug

    def spawn(
        self,
        argv: Sequence[str],
        *,
        plug: Plug | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process that ends with this lab at the latest; its pid is that of ``argv`` itself."""
        command = ["setpriv", "--pdeathsig", "KILL", *(plug.inside(*argv) if plug else argv)]
        process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, env=dict(environ or os.environ), cwd=ROOT
        )
        self._processes.append(process)
        return process

    def tmpfs(self, name: str, size_kib: int) -> Path:
        """Mount a small disk of its own and return its folder."""
        folder = self.folder / name
        folder.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={size_kib}k,mode=0700", PREFIX, str(folder))
        self._exit.callback(run, "umount", "--lazy", str(folder), check=False)
        return folder

    def _make_namespace(self, name: str) -> None:
        run("ip", "netns", "add", name)
        self._exit.callback(run, "ip", "netns", "delete", name, check=False)
        run("ip", "-n", name, "link", "set", "lo", "up")

    def _end_processes(self) -> None:
        for process in reversed(self._processes):
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, whatever state it is in, and reap it."""
    if process.poll() is None:
        process.kill()
    process.wait(RUN_TIMEOUT_S)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def remove_stale() -> None:
    """Remove what runs left behind that no longer exist, their processes first."""
    folder = Path("/run/netns")
    for path in folder.glob(f"{PREFIX}.*") if folder.is_dir() else ():
        parts = path.name.split(".")
        if len(parts) < 4 or not parts[1].isdigit() or _started(int(parts[1])) == parts[2]:
            continue
        for pid in run("ip", "netns", "pids", path.name, check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "delete", path.name, check=False)


def _started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
