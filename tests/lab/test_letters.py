"""Dead letters by hand: retry, purge and what a block does, from the command line."""

from __future__ import annotations

import pytest

from tests.lab import judge
from tests.lab.conftest import Build
from tests.lab.host import Host
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]


def dead_letter(ada: Host, bob: Host, text: str) -> str:
    """Let a message fail for good while bob's port is closed (ada gives up after one attempt)."""
    message_id = str(ada.send(bob, text).done().row()["message_id"])
    wait_until("it is a dead letter", lambda: message_id in {row["message_id"] for row in ada.letters()}, 40)
    return message_id


def test_letters_are_retried_and_purged_when_asked(build: Build) -> None:
    """`dlq retry` sends again under the same id, `dlq purge` never; both say what they did and refuse nonsense."""
    ada, bob = build.linked("ada", "bob", settings={"max_retries": 1, "auto_retry_on_reconnect": False})
    bob.plug.reject()
    kept, purged, left = (dead_letter(ada, bob, text) for text in ("try me again", "forget me", "leave me"))
    assert [row["message_id"] for row in ada.json("dlq", "show", kept)] == [kept]

    assert ada.json("dlq", "purge", purged, "--yes")[0]["message_ids"] == [purged]
    assert ada.cli("dlq", "retry", purged).code == 1
    assert ada.cli("dlq", "purge").code == 2

    bob.plug.mend()
    ada.wait_linked(bob, timeout_s=70)
    assert {row["message_id"] for row in ada.letters()} == {kept, left}, "nothing returns by itself here"
    assert ada.json("dlq", "retry", kept)[0]["message_ids"] == [kept]
    ada.wait_state(kept, "delivered", 10)
    assert [row["message_id"] for row in bob.history(ada)] == [kept]
    assert ada.state_of(purged) == "failed"
    assert [row["message_id"] for row in ada.letters()] == [left]

    ada.cli("dlq", "retry", "--all").done()
    ada.wait_state(left, "delivered", 10)
    assert [row["message_id"] for row in bob.history(ada)] == [kept, left]
    assert ada.letters() == []
    judge.ticks_monotone(ada.json("events", "--since", "0"))


def test_letter_is_permanent_when_the_peer_blocks(build: Build) -> None:
    """A blocked author's message is a dead letter at once, says so, and goes when it is retried after the unblock."""
    ada, bob = build.linked("ada", "bob")
    bob.cli("peer", "block", ada.device_id).done()
    answer = ada.send(bob, "are you there?", "--wait", "delivered", "--timeout", "20")
    assert answer.code == 4, answer
    message_id = answer.row()["message_id"]
    (row,) = ada.letters()
    assert (row["message_id"], row["reason"], row["peer_has_it"]) == (message_id, "blocked", "no")
    bob.cli("peer", "unblock", ada.device_id).done()
    ada.cli("dlq", "retry", "--peer", bob.device_id).done()
    ada.wait_state(message_id, "delivered", 20)
    assert [row["message_id"] for row in bob.history(ada)] == [message_id]
