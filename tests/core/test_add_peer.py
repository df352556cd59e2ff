"""Addresses that a person named, and other keys than the expected ones."""

from __future__ import annotations

import pytest

from p2pchat.core.effects import PeerDone, Refused
from p2pchat.core.inputs import (
    DialError,
    DialFailed,
    LinkClosed,
    LinkOpened,
    PeerAction,
    PeerWithdrawn,
    Role,
)
from p2pchat.core.ops import RecordAttempt
from p2pchat.model import LinkId, Trust
from tests.core.driver import ALICE, BOB, Device, Far
from tests.core.test_dialling import HERE, NAMED, known

# --- wrong keys and named addresses -----------------------------------------------------------------------------


def test_another_key_at_a_known_address_is_told_and_changes_nothing() -> None:
    device, far = known()
    far.cut()
    device.send(BOB, 2)
    device.advance(2.0)
    device.fail_dial(DialError.WRONG_KEY, "the id is zzz")
    assert device.view(BOB).detail == "another device answers at bob.lan:27270: not the bob you know"
    assert [notice.peer for notice in device.noticed("link:refused")] == [BOB]
    assert device.ops(RecordAttempt) == []
    assert device.view(BOB).addresses == (HERE,)


def test_named_address_is_dialled_and_who_answers_is_accepted() -> None:
    device = Device(ALICE)
    request = device.add(NAMED)
    (dial,) = device.dials
    assert (dial.addresses, dial.expected) == ((NAMED,), None)
    assert device.replies == {}
    Far(device).answers(dial.dial)
    assert device.reply(request) == PeerDone(BOB)
    assert device.store.peers[BOB].trust is Trust.UNVERIFIED
    assert device.store.peers[BOB].addresses == (NAMED,)


def test_named_address_is_accepted_only_after_the_commit() -> None:
    device = Device(ALICE)
    request = device.add(NAMED)
    device.holding_commits = True
    Far(device).answers()
    assert request not in device.replies
    device.commit()
    assert device.reply(request) == PeerDone(BOB)


def test_named_address_of_a_verified_peer_changes_no_trust() -> None:
    device, _ = known()
    device.manage(BOB, PeerAction.VERIFY)
    device.add(NAMED)
    Far(device).answers()
    assert device.reply() == PeerDone(BOB)
    assert device.store.peers[BOB].trust is Trust.VERIFIED


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (DialError.NO_ANSWER, "unreachable", "nobody answers at 10.0.0.9:27270"),
        (DialError.UNREACHABLE, "unreachable", "no route to 10.0.0.9:27270"),
        (DialError.REFUSED, "unreachable", "10.0.0.9:27270 refuses connections"),
        (DialError.TLS, "unreachable", "no secure connection to 10.0.0.9:27270: why"),
        (DialError.HANDSHAKE, "unreachable", "10.0.0.9:27270 answers, but not as p2pchat: why"),
        (DialError.WRONG_KEY, "wrong_key", "STOP: another device answers at 10.0.0.9:27270"),
    ],
)
def test_named_address_that_fails_is_refused_with_its_reason(error: DialError, code: str, words: str) -> None:
    device = Device(ALICE)
    device.add(NAMED, BOB)
    assert device.dials[-1].expected == BOB
    device.feed(DialFailed(device.dials[-1].dial, error, None, "why"))
    refused = device.reply()
    assert isinstance(refused, Refused)
    assert refused.code == code
    assert words in refused.text
    assert device.store.peers == {}


def test_named_address_whose_handshake_fails_is_refused() -> None:
    device = Device(ALICE)
    device.add(NAMED)
    device.feed(LinkOpened(LinkId(1), Role.DIALLER, NAMED, device.dials[-1].dial, BOB))
    device.feed(LinkClosed(LinkId(1), ""))
    refused = device.reply()
    assert isinstance(refused, Refused)
    assert refused.code == "unreachable"
    assert "answers, but not as p2pchat" in refused.text


def test_named_address_with_no_common_version_is_incompatible() -> None:
    device = Device(ALICE)
    device.add(NAMED)
    far = Far(device)
    far.versions = (7,)
    far.answers()
    refused = device.reply()
    assert isinstance(refused, Refused)
    assert refused.code == "incompatible"
    assert "update the older side" in refused.text


def test_named_address_that_is_the_device_itself_is_refused() -> None:
    device = Device(ALICE)
    device.add(NAMED, ALICE)
    assert device.dials == []
    refused = device.reply()
    assert isinstance(refused, Refused)
    assert refused.code == "own_device"


def test_failure_of_an_unknown_dial_is_ignored() -> None:
    device = Device(ALICE)
    assert device.feed(DialFailed(99, DialError.REFUSED, HERE)) == []


def test_failed_dial_to_a_peer_that_was_dropped_meanwhile_is_ignored() -> None:
    device = Device(ALICE)
    device.announce(BOB)
    dial = device.dials[-1].dial
    far = Far(device).dials()
    device.feed(PeerWithdrawn(BOB))
    far.cut()
    device.feed(DialFailed(dial, DialError.REFUSED, HERE))
    assert device.node.peer(BOB, device.clock.now()) is None
