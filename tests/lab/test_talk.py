"""Machines that are there: they find each other, talk, see what was read, and say goodbye."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.lab import judge
from tests.lab.conftest import Build
from tests.lab.feed import Feeder
from tests.lab.host import Host
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

DISCOVERED_S: Final = 3.0
DELIVERED_S: Final = 1.0
GOODBYE_S: Final = 2.0


def acquainted(one: Host, other: Host) -> None:
    """Let each write to the other, which is how one accepts: nothing is capped afterwards."""
    for author, reader in ((one, other), (other, one)):
        author.send(reader, f"hello from {author.name}", "--wait", "delivered").done()


def exchange(one: Host, other: Host, number: int, timeout_s: float) -> None:
    """Let both write that many messages to each other at the same time, and judge both directions."""
    earlier = [[row["message_id"] for row in one.history(other) if row["direction"] == way] for way in ("out", "in")]
    texts = [f"line {line}" for line in range(number)]
    feeders = [Feeder(one, other, texts, timeout_s=timeout_s), Feeder(other, one, texts, timeout_s=timeout_s)]
    for feeder in feeders:
        feeder.start()
    promises = [feeder.finish() for feeder in feeders]
    for host in (one, other):
        wait_until(f"all of {host.name} is delivered", lambda host=host: not host.outbox(), timeout_s)  # type: ignore[misc]  # bound per turn
    histories = [one.history(other), other.history(one)]
    for (author, reader), promise, before in zip((histories, histories[::-1]), promises, earlier, strict=True):
        assert len(promise.accepted) == number, promise.refused
        judge.conversation([*before, *promise.asked], {*before, *promise.accepted}, author, reader)
    judge.converged(*histories)


def judge_ticks(*hosts: Host) -> None:
    """Judge everything that was ever told about ticks."""
    for host in hosts:
        judge.ticks_monotone(host.json("events", "--since", "0"))


def test_engines_discover_each_other_when_the_second_one_starts(build: Build) -> None:
    """Two engines on two hosts discover each other by multicast within 3 s of the second one's start."""
    lab = build.lab()
    ada, bob = build.host(lab, "ada").start(), build.host(lab, "bob")
    with ada.follow("--since", "0") as seen_by_ada:
        started_ms = time.time() * 1000
        bob.start()
        ready_ms = time.time() * 1000
        with bob.follow("--since", "0") as seen_by_bob:
            for events, other in ((seen_by_ada, bob), (seen_by_bob, ada)):
                event = events.wait("device:status-changed", DISCOVERED_S, peer=other.device_id, presence="online")
                took_s = (event["at_ms"] - started_ms) / 1000
                ready_s = (ready_ms - started_ms) / 1000
                build.figure(f"{other.name} linked {took_s:.2f} s after the second start (ready after {ready_s:.2f} s)")
                assert took_s <= DISCOVERED_S


def test_message_is_delivered_and_read_when_both_are_there(build: Build) -> None:
    """`send --wait delivered` returns 0 within 1 s, its process included; the read mark comes when the other reads."""
    ada, bob = build.linked("ada", "bob")
    answers = [ada.send(bob, f"number {number}", "--wait", "delivered").done() for number in range(5)]
    build.figure("send --wait delivered: " + ", ".join(f"{answer.took_s:.3f} s" for answer in answers))
    assert max(answer.took_s for answer in answers) <= DELIVERED_S
    assert {answer.row()["state"] for answer in answers} == {"delivered"}
    message_id = answers[-1].row()["message_id"]

    # Nothing that merely looks marks as read.
    assert [row["state"] for row in bob.history(ada)] == ["delivered"] * 5
    assert bob.peer(ada)["unread"] == 5
    assert ada.state_of(message_id) == "delivered"

    assert bob.peer(ada)["trust"] == "request"
    bob.cli("peer", "accept", ada.device_id).done()
    assert len(bob.json("read", ada.device_id)[0]["message_ids"]) == 5
    ada.wait_state(message_id, "read", 5)
    assert [row["state"] for row in ada.history(bob)] == ["read"] * 5
    assert bob.peer(ada)["unread"] == 0
    states = ada.json("show", message_id)[0]["states"]
    assert [one["state"] for one in states] == ["pending", "sent", "delivered", "read"]
    assert [one["at_ms"] for one in states] == sorted(one["at_ms"] for one in states)
    judge_ticks(ada, bob)
    judge.ticks_true(ada.history(bob), bob.history(ada))


def test_thousand_messages_each_way_arrive_once_and_in_order(build: Build) -> None:
    """1,000 messages each way, written at the same time, arrive once, in order; then all are read."""
    ada, bob = build.linked("ada", "bob")
    acquainted(ada, bob)
    started_s = time.monotonic()
    exchange(ada, bob, 1000, timeout_s=40)
    build.figure(f"2,000 messages in {time.monotonic() - started_s:.1f} s")
    bob.cli("read", ada.device_id).done()
    wait_until(
        "ada sees all of hers read",
        lambda: {row["state"] for row in ada.history(bob) if row["direction"] == "out"} == {"read"},
        10,
        poll_s=0.5,
    )
    judge.ticks_true(ada.history(bob), bob.history(ada))
    judge_ticks(ada, bob)


def test_goodbye_is_seen_when_an_engine_ends(build: Build) -> None:
    """An engine that ends says so: within 2 s it is offline for the other, and back when it starts again."""
    ada, bob = build.linked("ada", "bob")
    # From the first event on: a follower that has only just been started would miss what happens meanwhile.
    with ada.follow("--since", "0") as events:
        stopping_ms = time.time() * 1000
        bob.stop()
        event = events.wait("device:status-changed", GOODBYE_S + 5, peer=bob.device_id, presence="offline")
        took_s = (event["at_ms"] - stopping_ms) / 1000
        build.figure(f"offline after {took_s:.2f} s")
        assert took_s <= GOODBYE_S
        row = ada.peer(bob)
        assert not row or row["presence"] == "offline"
    bob.start()
    ada.wait_linked(bob)


def test_three_machines_talk_when_they_share_a_network(build: Build) -> None:
    """Three hosts at once: each sees both others, and every pair talks both ways."""
    hosts = build.linked("ada", "bob", "cyd")
    for author in hosts:
        for reader in hosts:
            if author is not reader:
                author.send(reader, f"{author.name} to {reader.name}", "--wait", "delivered").done()
    for host in hosts:
        for other in hosts:
            if host is not other:
                rows = {(row["direction"], row["body"]) for row in host.history(other)}
                assert rows == {("out", f"{host.name} to {other.name}"), ("in", f"{other.name} to {host.name}")}


def test_machines_talk_when_there_is_only_ipv6(build: Build) -> None:
    """On a network without IPv4 two engines discover each other and deliver."""
    ada, bob = build.linked("ada", "bob", ipv4=False)
    exchange(ada, bob, 10, timeout_s=10)
    assert all(":" in address for address in ada.peer(bob)["addresses"])


def test_messages_arrive_once_and_in_order_when_packets_are_lost(build: Build) -> None:
    """With 10 % of all packets lost on both ways, 200 messages each way arrive once, in order."""
    ada, bob = build.linked("ada", "bob")
    acquainted(ada, bob)
    ada.plug.lose(10)
    bob.plug.lose(10)
    exchange(ada, bob, 200, timeout_s=60)
    assert ada.plug.lost() > 0
    assert bob.plug.lost() > 0
    assert not ada.letters()
    assert not bob.letters()
    judge_ticks(ada, bob)
