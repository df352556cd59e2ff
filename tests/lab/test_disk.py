"""Disks that fail: a full one holds messages back and loses nothing, an unreadable database is put aside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.lab import judge
from tests.lab.conftest import Build
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

DISK_KIB: Final = 12 * 1024


def fill(disk: Path) -> Path:
    """Take every byte of a disk that is left."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return ballast


def test_messages_are_held_and_arrive_when_the_readers_disk_was_full(build: Build) -> None:
    """A reader whose disk is full acknowledges nothing: the message waits at its author, uncharged, and arrives once
    when there is room; a send on the full side is refused in words.
    """
    lab = build.lab()
    ada, bob = build.host(lab, "ada"), build.host(lab, "bob")
    bob.home.symlink_to(disk := lab.tmpfs("small", DISK_KIB))
    for host in (ada, bob):
        host.start()
    ada.wait_linked(bob)
    before = ada.send(bob, "before", "--wait", "delivered").done().row()["message_id"]
    bob.send(ada, "hello", "--wait", "delivered").done()
    ballast = fill(disk)
    message_id = ada.send(bob, "x" * 60_000).done().row()["message_id"]
    row = wait_until(
        "the author is told about the disk",
        lambda: next((row for row in ada.outbox() if "disk" in row["waiting_for"]), {}),
        30,
        poll_s=0.3,
    )
    build.figure(f"held: {row['waiting_for']!r}")
    refused = bob.send(ada, "y" * 60_000)
    assert refused.code in (1, 6), refused
    assert len(refused.err.splitlines()) == 1, refused
    assert ada.waiting(message_id)["attempts"] == 0
    assert not ada.letters()
    ballast.unlink()
    ada.wait_state(message_id, "delivered", 60)
    assert [row["message_id"] for row in bob.history(ada) if row["direction"] == "in"] == [before, message_id]
    bob.send(ada, "and back", "--wait", "delivered").done()
    judge.converged(ada.history(bob), bob.history(ada))


def test_database_is_put_aside_and_said_when_it_is_unreadable(build: Build) -> None:
    """An unreadable database is kept under a new name, never overwritten, and the user hears of it; the device keeps
    its key and talks on.
    """
    ada, bob = build.linked("ada", "bob")
    ada.send(bob, "before", "--wait", "delivered").done()
    device_id = ada.device_id
    ada.stop()
    noise = b"this is no database" * 1000
    ada.paths.database.write_bytes(noise)
    ada.start()
    assert ada.device_id == device_id
    kept = [path for path in ada.paths.data.iterdir() if path.is_file() and path.read_bytes() == noise]
    assert len(kept) == 1
    said = ada.cli("id", "--no-qr").done()
    assert kept[0].name in said.out + said.err + ada.errors.read_text("utf-8")
    ada.wait_linked(bob, timeout_s=20)
    ada.send(bob, "after", "--wait", "delivered").done()
    assert [row["body"] for row in bob.history(ada)] == ["before", "after"]
