"""Engines that die or are restarted: what was acknowledged arrives exactly once, and everything is as it was."""

from __future__ import annotations

import random
import time
from typing import Any, Final

import pytest

from tests.lab import judge
from tests.lab.conftest import Build
from tests.lab.feed import Feeder
from tests.lab.host import Host
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(150)]

MESSAGES: Final = 1500
PER_SECOND: Final = 500


def crash(host: Host, feeder: Feeder, after: int) -> int:
    """Kill the engine once that many messages are accepted, start it again; return how many were accepted by then."""
    wait_until(f"{after} are accepted", lambda: len(feeder.promised.accepted) >= after, 40, poll_s=0.001)
    host.kill()
    accepted = len(feeder.promised.accepted)
    host.start()
    return accepted


@pytest.mark.parametrize("victims", ["author", "reader", "both"])
def test_everything_acknowledged_arrives_once_when_engines_are_killed(build: Build, victims: str) -> None:
    """kill -9 in the middle of a stream of sends, on either side, restarted: all that was acknowledged to the client is
    delivered exactly once, in order.
    """
    ada, bob = build.linked("ada", "bob")
    bob.send(ada, "hello", "--wait", "delivered").done()
    hello = ada.send(bob, "hello", "--wait", "delivered").done().row()["message_id"]
    feeder = Feeder(ada, bob, [f"line {line}" for line in range(MESSAGES)], timeout_s=90, per_second=PER_SECOND)
    feeder.start()
    dice = random.Random(victims)
    order = {"author": [ada] * 3, "reader": [bob] * 3, "both": [ada, bob, ada, bob]}[victims]
    marks = [
        crash(victim, feeder, round(MESSAGES * (turn + dice.random()) / (len(order) + 1)))
        for turn, victim in enumerate(order)
    ]
    promised = feeder.finish()
    assert len(promised.accepted) == MESSAGES, promised.refused
    healed_s = time.monotonic()
    wait_until("the outbox is empty", lambda: not ada.outbox(), 60, poll_s=0.2)
    build.figure(f"{victims} killed at {marks}; drained {time.monotonic() - healed_s:.1f} s after the last answer")
    assert not ada.letters()
    author, reader = ada.history(bob), bob.history(ada)
    judge.conversation([hello, *promised.asked], {hello, *promised.accepted}, author, reader)
    judge.converged(author, reader)
    judge.ticks_monotone(ada.json("events", "--since", "0"))


def kept(host: Host, *others: Host) -> dict[str, Any]:
    """Everything that must outlive a restart, as the command line shows it."""
    waiting = ("message_id", "peer", "state", "attempts", "next_attempt_at_ms", "last_error", "body", "sent_at_ms")
    peers = ("device_id", "name", "trust", "pending", "dead_letters", "unread")
    return {
        "histories": [host.history(other) for other in others],
        "outbox": [{key: row[key] for key in waiting} for row in host.outbox()],
        "letters": host.letters(),
        "peers": sorted([row[key] for key in peers] for row in host.json("peers")),
    }


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_everything_is_as_it_was_when_the_engine_is_restarted(build: Build, how: str) -> None:
    """A restart shows history, outbox with attempts and next try, dead letters and unread counts as they were."""
    # The next try is far enough away that the restart does not run into it.
    slow = {"base_retry_delay": 15_000}
    ada, bob, cyd = build.linked("ada", "bob", "cyd", settings=slow)
    cyd.cli("peer", "block", ada.device_id).done()
    ada.send(bob, "read by bob", "--wait", "delivered").done()
    bob.cli("peer", "accept", ada.device_id).done()
    bob.cli("read", ada.device_id).done()
    bob.send(ada, "unread by ada, with ␛ and 🎉", "--wait", "delivered").done()
    assert ada.send(cyd, "blocked", "--wait", "delivered", "--timeout", "20").code == 4
    bob.plug.reject()
    waiting = [ada.send(bob, text).done().row()["message_id"] for text in ("waits first", "waits second")]
    wait_until(
        "an attempt failed, and its next try has its time",
        lambda: ada.waiting(waiting[0]).get("next_attempt_at_ms"),
        30,
    )
    time.sleep(1.5)  # what promises nothing may take a second to the disk
    before = kept(ada, bob, cyd)
    assert [row["message_id"] for row in before["outbox"]] == waiting
    assert before["outbox"][0]["attempts"] >= 1
    assert len(before["letters"]) == 1
    assert next(row for row in before["peers"] if row[0] == bob.device_id)[5] == 1

    if how == "stopped":
        build.figure(f"stopped in {ada.stop():.2f} s")
    else:
        ada.kill()
    ada.start()
    assert kept(ada, bob, cyd) == before

    bob.plug.mend()
    for message_id in waiting:
        ada.wait_state(message_id, "delivered", 70)
    judge.converged(ada.history(bob), bob.history(ada))
    judge.author_order(waiting, bob.history(ada))
