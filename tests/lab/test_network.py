"""The lab's own network does what its tests rely on: hosts reach each other, every fault is one, nothing stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.lab.conftest import Build
from tests.lab.net import PREFIX, Lab, Plug, remove_stale, run
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]

_LISTEN: Final = """
import socket
sock = socket.create_server(("0.0.0.0", 27270))
print("up", flush=True)
while True:
    sock.accept()[0].close()
"""
_CONNECT: Final = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 27270), timeout=0.5).close()
    print("open")
except OSError as error:
    print(type(error).__name__)
"""


def connect(from_: Plug, to: Plug) -> str:
    """Connect to the other's port and return ``open`` or the error's type."""
    return from_.run(sys.executable, "-c", _CONNECT, to.ipv4).strip()


def listening(lab: Lab, plug: Plug) -> None:
    """Let something accept connections on that host."""
    output = lab.folder / f"{plug.name}.listening"
    with output.open("wb") as out:
        lab.spawn([sys.executable, "-c", _LISTEN], plug=plug, stdout=out)
    wait_until("something listens", lambda: "up" in output.read_text("utf-8"), 5)


def test_faults_are_what_they_say_when_a_host_connects(build: Build) -> None:
    """A reset is refused at once, a blackhole and a pulled cable are silence, and mending mends."""
    lab = build.lab()
    ada, bob = lab.plug("ada"), lab.plug("bob")
    listening(lab, bob)
    assert connect(ada, bob) == "open"
    bob.reject()
    assert connect(ada, bob) == "ConnectionRefusedError"
    bob.mend()
    assert connect(ada, bob) == "open"
    for fault in (bob.blackhole, bob.drop_incoming):
        fault()
        assert connect(ada, bob) == "TimeoutError"
        bob.mend()
    bob.lose(99)
    connect(ada, bob)
    assert bob.lost() > 0
    bob.mend()
    bob.pull_cable()
    wait_until("bob has no carrier", lambda: "NO-CARRIER" in bob.run("ip", "link", "show", "eth0"), 5)
    assert connect(ada, bob) != "open"
    bob.plug_cable()
    wait_until("bob is back", lambda: connect(ada, bob) == "open", 5)


def test_lab_leaves_nothing_when_it_is_over() -> None:
    """Its namespaces, its processes, its files and its small disks are gone."""
    with Lab() as lab:
        plug = lab.plug("ada")
        folder, disk = lab.folder, lab.tmpfs("disk", 64)
        process = lab.spawn(["sleep", "1000"], plug=plug)
        process.send_signal(19)
        with pytest.raises(OSError, match="No space"):
            (disk / "file").write_bytes(bytes(1 << 20))
        namespace = plug.namespace
        assert namespace in run("ip", "netns", "list")
    assert process.returncode is not None
    assert namespace not in run("ip", "netns", "list")
    assert not folder.exists()
    assert str(disk) not in Path("/proc/mounts").read_text("utf-8")


def test_lab_removes_what_is_left_when_its_run_is_dead() -> None:
    """A namespace of a run that no longer exists is removed with its processes; one of a living run stays."""
    with Lab() as lab:
        ours = lab.plug("ada").namespace
        dead = f"{PREFIX}.{_dead_pid()}.1.1.ada"
        run("ip", "netns", "add", dead)
        orphan = subprocess.Popen(["nsenter", f"--net=/run/netns/{dead}", "--", "sleep", "1000"])
        wait_until("it runs there", lambda: str(orphan.pid) in run("ip", "netns", "pids", dead).split(), 5)
        remove_stale()
        assert orphan.wait(5) != 0
        left = run("ip", "netns", "list")
        assert dead not in left
        assert ours in left


def _dead_pid() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid
