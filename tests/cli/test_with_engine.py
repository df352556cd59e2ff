"""The command line against real engines on loopback: what a script sees, end to end."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from p2pchat.api.launch import child_environment
from p2pchat.cli.daemon import DEMO_PREFIX
from p2pchat.paths import Paths
from tests.cli.conftest import Ran

PATIENCE_S = 20.0


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in child_environment().items() if not name.startswith("P2PCHAT_")}
    return clean | {"P2PCHAT_INCLUDE_VIRTUAL_INTERFACES": "1", "P2PCHAT_DISCOVERY": "0"} | more


@dataclass(slots=True)
class Device:
    """One home and its engine."""

    home: Path
    process: subprocess.Popen[str] | None = None
    ready: dict[str, Any] | None = None

    def run(self, *argv: str, stdin: str = "") -> Ran:
        """Run one command in this home."""
        done = subprocess.run(
            [sys.executable, "-m", "p2pchat", "--home", str(self.home), *argv],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment(P2PCHAT_LISTEN="127.0.0.1:0"),
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def ask(self, *argv: str) -> list[dict[str, Any]]:
        """Run one command that must succeed; return what it printed."""
        ran = self.run("--json", *argv)
        assert ran.code == 0, ran.err
        return ran.objects

    def start(self, name: str, port: int = 0) -> None:
        """Run the engine in the foreground until it is ready."""
        options = ("--listen", f"127.0.0.1:{port}", "--name", name, "--no-discovery")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "p2pchat", "--home", str(self.home), "daemon", "--json", *options],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(P2PCHAT_FIRST_CONTACT="accept"),
        )
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert readable
        self.ready = json.loads(self.process.stdout.readline())

    @property
    def address(self) -> str:
        """Where the engine listens."""
        assert self.ready is not None
        return f"{self.ready['host']}:{self.ready['port']}"

    @property
    def device_id(self) -> str:
        """Who it is."""
        assert self.ready is not None
        return str(self.ready["device_id"])

    def end(self) -> None:
        """End the engine, whoever started it."""
        held = Paths.for_home(self.home).read_lock() if Paths.for_home(self.home).is_held() else None
        if self.process is not None:
            self.process.kill()
            with self.process:
                self.process.wait(10)
        elif held is not None:
            os.kill(held.pid, signal.SIGKILL)


Make = Callable[[str], Device]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes devices in short folders, and ends them."""
    devices: list[Device] = []
    with tempfile.TemporaryDirectory(prefix="p2t-", ignore_cleanup_errors=True) as base:

        def make(name: str) -> Device:
            devices.append(Device(Path(base) / name))
            return devices[-1]

        yield make
        for device in devices:
            device.end()


@pytest.fixture
def pair(make: Make) -> tuple[Device, Device]:
    """Ann and Bob, running; Ann knows Bob."""
    ann, bob = make("ann"), make("bob")
    ann.start("ann")
    bob.start("bob")
    added = ann.ask("peer", "add", bob.address)[0]
    assert added["device_id"] == bob.device_id
    return ann, bob


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "it never came true"


def test_first_command_starts_an_engine_and_stop_ends_it(make: Make) -> None:
    home = make("solo")
    me = home.ask("id")[0]
    paths = Paths.for_home(home.home)
    held = paths.read_lock()
    assert held is not None
    assert paths.is_held()
    assert home.ask("id")[0]["device_id"] == me["device_id"]
    assert me["invite"].startswith(f"p2pchat:{me['device_id']}@")
    assert paths.read_lock() == held
    assert home.run("stop").code == 0
    assert not paths.is_held()
    assert not paths.socket.exists()
    for folder in (home.home, paths.data, paths.config, paths.logs, paths.run):
        assert folder.stat().st_mode & 0o777 == 0o700
    for file in (file for file in home.home.rglob("*") if file.is_file()):
        assert file.stat().st_mode & 0o077 == 0, file


def test_daemon_says_when_it_is_ready_and_ends_with_0_when_told(make: Make) -> None:
    device = make("d")
    device.start("dora")
    assert device.ready is not None
    assert device.ready["event"] == "ready"
    assert {"device_id", "name", "host", "port"} <= set(device.ready)
    assert device.ready["name"] == "dora"
    assert device.ready["port"] > 0
    assert device.process is not None
    device.process.terminate()
    assert device.process.wait(PATIENCE_S) == 0
    assert not Paths.for_home(device.home).is_held()


def test_second_daemon_says_who_holds_the_home(make: Make) -> None:
    device = make("d")
    device.start("dora")
    ran = device.run("daemon")
    assert ran.code == 6
    assert device.process is not None
    assert str(device.process.pid) in ran.err
    assert ran.err.count("\n") == 1


def test_message_goes_all_the_way_and_every_command_sees_it(pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    sent = ann.ask("send", "bob", "hello\nworld ✓", "--wait", "delivered")[0]
    assert sent["state"] in ("delivered", "read")
    message_id = sent["message_id"]
    got = bob.ask("history", ann.device_id)[0]
    assert (got["message_id"], got["body"], got["direction"]) == (message_id, "hello\nworld ✓", "in")
    assert got["author"] == ann.device_id
    assert got["state"] == "delivered"
    assert ann.ask("history", "bob")[0]["state"] == "delivered"
    assert ann.run("send", "bob", "x", "--id", message_id).code == 1
    again = ann.ask("send", "bob", "hello\nworld ✓", "--id", message_id)[0]
    assert again["message_id"] == message_id
    assert bob.ask("read", ann.device_id)[0]["message_ids"] == [message_id]
    assert ann.ask("send", "bob", "hello\nworld ✓", "--id", message_id, "--wait", "read")[0]["state"] == "read"
    states = ann.ask("show", message_id)[0]["states"]
    assert [one["state"] for one in states] == ["pending", "sent", "delivered", "read"]
    events = [one["event"] for one in ann.ask("events") if one.get("message_id") == message_id]
    assert events == ["message:queued", "message:sent", "message:delivered", "message:read"]
    assert ann.ask("stats")[0]["messages_sent"] == 1
    assert ann.ask("outbox") == []
    assert len(bob.ask("history", "ann")) == 1


def test_message_waits_with_3_when_the_peer_is_away_and_can_be_cancelled(pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    assert bob.run("stop").code == 0
    ran = ann.run("send", "bob", "later", "--wait", "delivered", "--timeout", "0.5", "--json")
    assert ran.code == 3
    message_id = ran.objects[0]["message_id"]
    assert ran.objects[0]["state"] == "pending"
    waiting = ann.ask("outbox", "bob")
    assert [one["message_id"] for one in waiting] == [message_id]
    assert waiting[0]["waiting_for"]
    assert ann.ask("cancel", message_id)[0]["state"] == "cancelled"
    assert ann.ask("outbox") == []


def test_message_is_on_disk_when_the_engine_is_killed_right_after_it_was_accepted(pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    assert bob.run("stop").code == 0
    message_id = ann.ask("send", "bob", "survivor")[0]["message_id"]
    assert ann.process is not None
    ann.process.kill()
    with ann.process:
        ann.process.wait(10)
    ann.process = None
    assert [one["message_id"] for one in ann.ask("outbox")] == [message_id]


def test_send_goes_on_waiting_with_the_same_message_when_its_engine_is_killed(pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    assert bob.run("stop").code == 0
    assert bob.process is not None
    with bob.process:
        bob.process.wait(PATIENCE_S)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "p2pchat", "--home", str(ann.home), "send", "bob", "x", "--wait", "delivered", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(P2PCHAT_LISTEN="127.0.0.1:0"),
    )
    with waiting:
        wait_until(lambda: len(ann.ask("outbox")) == 1)
        assert ann.process is not None
        ann.process.kill()
        with ann.process:
            ann.process.wait(10)
        ann.process = None
        bob.start("bob", bob.ready["port"] if bob.ready else 0)
        assert waiting.stdout is not None
        said = json.loads(waiting.stdout.read())
        assert waiting.wait(PATIENCE_S) == 0
    assert said["state"] == "delivered"
    assert [one["message_id"] for one in bob.ask("history", ann.device_id)] == [said["message_id"]]


def test_blocked_message_is_a_dead_letter_with_4(pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    assert bob.ask("peer", "block", ann.device_id)[0]["trust"] == "blocked"
    ran = ann.run("send", "bob", "hello?", "--wait", "delivered", "--timeout", "20", "--json")
    assert ran.code == 4, ran
    message_id = ran.objects[0]["message_id"]
    letter = ann.ask("dlq", "list")[0]
    assert (letter["message_id"], letter["reason"], letter["body"]) == (message_id, "blocked", "hello?")
    assert bob.ask("peer", "unblock", ann.device_id)
    assert ann.ask("dlq", "retry", message_id)[0]["message_ids"] == [message_id]
    assert ann.run("send", "bob", "hello?", "--id", message_id, "--wait", "delivered").code == 0
    assert ann.ask("dlq") == []


def test_peer_that_is_unknown_or_ambiguous_ends_with_5(pair: tuple[Device, Device]) -> None:
    ann, bob = pair
    assert ann.run("send", "nobody-here", "hi").code == 5
    assert ann.run("history", "nobody-here").code == 5
    assert ann.ask("peer", "rename", "bob", "robert")[0]["name"] == "robert"
    assert ann.ask("send", "robert", "hi")
    assert ann.ask("send", bob.device_id[:8], "hi")


def test_identity_is_new_after_a_reset_and_the_old_key_is_kept(make: Make) -> None:
    home = make("solo")
    before = home.ask("id")[0]["device_id"]
    assert home.run("id", "reset", stdin="y\ny\n").code == 1
    assert home.run("stop").code == 0
    ran = home.run("id", "reset", "--json", stdin="y\ny\n")
    assert ran.code == 0, ran.err
    assert ran.objects[0]["device_id"] != before
    assert len(list((home.home / "data").glob("identity.pem.*.old"))) == 1


def test_wrong_port_is_one_line_with_1(make: Make) -> None:
    home = make("solo")
    ran = home.run("peer", "add", "127.0.0.1:1")
    assert ran.code == 1
    assert ran.err.count("\n") == 1


def demo_folders() -> set[str]:
    return {entry for entry in os.listdir(tempfile.gettempdir()) if entry.startswith(DEMO_PREFIX)}


def engines_of(folders: set[str]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            if any(folder in line for folder in folders):
                found.append(int(entry.name))
    return found


@pytest.mark.timeout(90)
def test_demo_shows_everything_and_leaves_nothing_behind() -> None:
    before = demo_folders()
    done = subprocess.run(
        [sys.executable, "-m", "p2pchat", "demo", "--no-tui"],
        capture_output=True,
        text=True,
        env=environment(P2PCHAT_NAME="not this"),
        timeout=80,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for sign in (
        "◷ on disk",
        "✓ sent",
        "✓✓ delivered",
        "✔✔ read by robin",
        "robin → you",
        "dead letter (blocked)",
        "♥",
    ):
        assert sign in done.stdout
    assert demo_folders() <= before


def test_demo_ends_its_engines_when_it_is_killed() -> None:
    before = demo_folders()
    process = subprocess.Popen(
        [sys.executable, "-m", "p2pchat", "demo", "--no-tui"], stdout=subprocess.PIPE, text=True, env=environment()
    )
    with process:
        assert process.stdout is not None
        assert "three devices" in process.stdout.readline()
        ours = demo_folders() - before
        assert len(engines_of(ours)) == 3
        process.kill()
        process.wait(10)
    wait_until(lambda: engines_of(ours) == [])
    wait_until(lambda: demo_folders() & ours == set())
