"""Machines that are not there: messages wait visibly, fail visibly, and arrive by themselves afterwards."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Final

import pytest

from tests.lab import judge
from tests.lab.conftest import Build
from tests.lab.host import Host, Row
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(150)]

RETURN_S: Final = 15.0
NOTICED_S: Final = 60.0
"""A silent link is dead after 35 s; then a dial has to go unanswered."""


def waits_for_an_answer(host: Host, message_id: str) -> Row:
    """Wait until the outbox says since when the peer has not been answering."""

    def look() -> Row:
        row = host.waiting(message_id)
        return row if "not answering since" in row.get("waiting_for", "") else {}

    return wait_until("the outbox says 'not answering since'", look, NOTICED_S, poll_s=0.5)


def by_id(hosts: list[Host]) -> list[Host]:
    """Sort by device id. Of two that find each other the lower id dials, and much depends on who did."""
    return sorted(hosts, key=lambda host: host.device_id)


def waiting_message(author: Host, reader: Host) -> str:
    """Send to somebody who cannot be reached: it is accepted, and not delivered in time."""
    answer = author.send(reader, "meanwhile", "--wait", "delivered", "--timeout", "1")
    assert answer.code == 3, answer
    return str(answer.row()["message_id"])


def judge_return(build: Build, author: Host, reader: Host, ids: list[str]) -> None:
    """The peer is back this moment: everything is there within 15 s, once, in order."""
    returned_s = time.monotonic()
    author.wait_state(ids[-1], "delivered", RETURN_S)
    build.figure(f"to {reader.name}: delivered {time.monotonic() - returned_s:.1f} s after the return")
    assert [row["message_id"] for row in reader.history(author)] == ids
    assert not author.letters()
    judge.converged(author.history(reader), reader.history(author))
    judge.ticks_monotone(author.json("events", "--since", "0"))


def test_messages_wait_and_arrive_when_readers_were_unreachable(build: Build) -> None:
    """Cable pulled at the reader, or nothing passes without a reset: two or three attempts, then "not answering since",
    no dead letter; delivered within 15 s of the return.
    """
    # One of the readers dialled the author, the other was dialled by it.
    pulled, author, silent = by_id(build.linked("ada", "bob", "cyd"))
    readers = (pulled, silent)
    ids = {one.name: [author.send(one, "before", "--wait", "delivered").done().row()["message_id"]] for one in readers}
    pulled.plug.pull_cable()
    silent.plug.blackhole()
    for reader in readers:
        ids[reader.name].append(waiting_message(author, reader))
    for reader in readers:
        row = waits_for_an_answer(author, ids[reader.name][1])
        build.figure(f"{row['attempts']} attempts, {row['waiting_for']!r}, last error {row['last_error']!r}")
        assert row["attempts"] in (2, 3)
        assert author.presence_of(reader) != "online"
    assert not author.letters()

    silent.plug.mend()
    judge_return(build, author, silent, ids[silent.name])
    pulled.plug.plug_cable()
    judge_return(build, author, pulled, ids[pulled.name])


def test_message_waits_and_arrives_when_the_authors_cable_was_pulled(build: Build) -> None:
    """An author without a carrier charges little; its message waits, visibly, and is delivered within 15 s of its own
    return.
    """
    reader, author = by_id(build.linked("ada", "bob"))
    before = author.send(reader, "before", "--wait", "delivered").done().row()["message_id"]
    author.plug.pull_cable()
    message_id = waiting_message(author, reader)
    row = waits_for_an_answer(author, message_id)
    build.figure(f"{row['attempts']} attempts, {row['waiting_for']!r}, last error {row['last_error']!r}")
    assert row["attempts"] <= 3
    assert not author.letters()
    author.plug.plug_cable()
    judge_return(build, author, reader, [before, message_id])


@pytest.mark.parametrize("whose", ["author", "reader"])
def test_message_arrives_when_an_address_changed(build: Build, whose: str) -> None:
    """A machine that gets another address, as from another router, is found and written to again."""
    author, reader = by_id(build.linked("ada", "bob"))
    moved = author if whose == "author" else reader
    moved.plug.renumber("10.77.0.77")
    began_s = time.monotonic()
    author.send(reader, "there you are", "--wait", "delivered", "--timeout", "40").done()
    build.figure(f"delivered {time.monotonic() - began_s:.1f} s after the {whose} got another address")
    reader.send(author, "and back", "--wait", "delivered", "--timeout", "20").done()
    judge.converged(author.history(reader), reader.history(author))


def delays_between_attempts(host: Host, message_id: str) -> list[int]:
    """The delays that were announced after each failed attempt, in milliseconds."""
    rows = host.json("events", "--since", "0")
    scheduled = [row for row in rows if row["event"] == "retry:scheduled" and row.get("message_id") == message_id]
    assert [row["attempts"] for row in scheduled] == list(range(1, len(scheduled) + 1))
    return [row["next_attempt_at_ms"] - row["at_ms"] for row in scheduled]


def letter(host: Host, message_id: str) -> Row:
    """One dead letter; empty if there is none."""
    return next((row for row in host.letters() if row["message_id"] == message_id), {})


@pytest.mark.timeout(240)
def test_messages_fail_visibly_and_return_when_peers_refuse_or_hang(build: Build) -> None:
    """Port rejected or process stopped: attempts at growing intervals, the dead letters with a reason; mended,
    delivered by itself under the same id.
    """
    # One of them dialled the author, the other was dialled by it.
    bob, ada, cyd = by_id(build.linked("ada", "bob", "cyd"))
    bob.plug.reject()
    cyd.freeze()
    sent_s = time.monotonic()
    to_bob = ada.send(bob, "to a closed port").done().row()["message_id"]
    to_cyd = ada.send(cyd, "to a process that hangs").done().row()["message_id"]

    reasons = {to_bob: {"connection_refused", "link_lost", "handshake_failed"}, to_cyd: {"not_acknowledged"}}
    reasons[to_cyd] |= {"handshake_failed", "link_lost"}
    for message_id in (to_bob, to_cyd):
        dead = wait_until("it is a dead letter", lambda one=message_id: letter(ada, one), 150, poll_s=1.0)  # type: ignore[misc]  # bound per turn
        build.figure(f"dead letter after {time.monotonic() - sent_s:.0f} s: {dead['reason']}, {dead['last_error']!r}")
        assert dead["reason"] in reasons[message_id]
        assert dead["last_error"]
        assert dead["attempts"] == 5
        assert ada.state_of(message_id) == "failed"
        delays_ms = delays_between_attempts(ada, message_id)
        build.figure(f"announced delays: {delays_ms} ms")
        assert len(delays_ms) == 4
        assert all(later > 1.5 * earlier for earlier, later in pairwise(delays_ms))
    assert letter(ada, to_bob)["peer_has_it"] in ("no", "unknown")

    bob.plug.mend()
    cyd.thaw()
    for other, message_id in ((bob, to_bob), (cyd, to_cyd)):
        ada.wait_state(message_id, "delivered", 70)
        assert [row["message_id"] for row in other.history(ada)] == [message_id]
        judge.converged(ada.history(other), other.history(ada))
    build.figure(f"all delivered {time.monotonic() - sent_s:.0f} s after the start")
    assert not ada.letters()
    judge.ticks_monotone(ada.json("events", "--since", "0"))


def test_send_tells_the_dead_letter_when_it_waits_for_delivery(build: Build) -> None:
    """`send --wait delivered` returns 4 and the reason when the message became a dead letter meanwhile."""
    ada, bob = build.linked("ada", "bob", settings={"max_retries": 1})
    bob.plug.reject()
    answer = ada.send(bob, "to a closed port", "--wait", "delivered", "--timeout", "30")
    assert answer.code == 4, answer
    assert "dead letter" in answer.err
    judge.harmless(answer.err)
