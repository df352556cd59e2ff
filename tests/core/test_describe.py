"""In words: how a peer is, and what a message waits for."""

from __future__ import annotations

import pytest

from p2pchat.core.describe import _span
from p2pchat.core.inputs import (
    DialError,
    PeerAction,
)
from p2pchat.model import Policy, Presence
from p2pchat.wire import Bye, Hold
from tests.core.driver import ALICE, BOB, CAROL, Device, Far
from tests.core.test_node import QUIET, Step, beat, cut, dial_fails, linked, mail, seen_then, unacknowledged

# --- in words: peers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "presence", "mode", "detail"),
    [
        ([], Presence.ONLINE, "realtime", ""),
        ([beat(10)], Presence.ONLINE, "realtime", ""),
        ([beat(4 * 3_600_000)], Presence.ONLINE, "realtime", "bob's clock is 4 h ahead"),
        ([beat(-120_000)], Presence.ONLINE, "realtime", "bob's clock is 2 min behind"),
        (
            [lambda device, far: far.say(Hold("not_accepted"))],
            Presence.ONLINE,
            "realtime",
            "bob has not accepted you yet; goes out when you are accepted",
        ),
        (
            [lambda device, far: far.say(Hold("storage_failed"))],
            Presence.ONLINE,
            "realtime",
            "bob cannot store messages now (disk); goes out when that is mended",
        ),
        (
            [lambda device, far: far.say(Hold("later"))],
            Presence.ONLINE,
            "realtime",
            "bob takes no messages now: later",
        ),
        ([cut], Presence.AWAY, "", ""),
        ([cut, dial_fails(DialError.NO_ANSWER)], Presence.AWAY, "", "no answer at bob.lan:27270"),
        ([cut, dial_fails(DialError.UNREACHABLE)], Presence.AWAY, "", "no route at bob.lan:27270"),
        ([cut, dial_fails(DialError.REFUSED)], Presence.AWAY, "", "connection refused at bob.lan:27270"),
        ([cut, dial_fails(DialError.TLS)], Presence.AWAY, "", "no secure connection at bob.lan:27270: why"),
        ([cut, dial_fails(DialError.HANDSHAKE)], Presence.AWAY, "", "handshake failed at bob.lan:27270: why"),
        (
            [lambda device, far: far.say(Bye("offline")), cut],
            Presence.AWAY,
            "",
            "p2pchat was ended on bob's side",
        ),
        ([lambda device, far: device.manage(BOB, PeerAction.BLOCK)], Presence.ONLINE, "realtime", "blocked"),
    ],
)
def test_peer_is_described_in_words(steps: list[Step], presence: Presence, mode: str, detail: str) -> None:
    view = seen_then(*steps).view(BOB)
    assert (view.presence, view.mode, view.detail) == (presence, mode, detail)


def test_peer_without_an_address_is_described_with_what_to_do() -> None:
    device, far = linked()
    device.manage(BOB, PeerAction.ACCEPT)
    far.cut()
    assert "no address known" in device.view(BOB).detail


def test_peer_without_a_name_is_called_by_the_start_of_its_id() -> None:
    device = Device(ALICE)
    far = Far(device)
    far.name = ""
    far.dials()
    assert device.view(BOB).name == BOB[:8]


def test_last_seen_is_when_the_link_ended() -> None:
    device, far = linked()
    device.manage(BOB, PeerAction.ACCEPT)
    device.advance(100.0)
    far.cut()
    ended_ms = device.clock.wall_ms
    device.advance(100.0)
    assert device.view(BOB).last_seen_ms == ended_ms


@pytest.mark.parametrize(
    ("offset_ms", "words"),
    [(60_000, "1 min"), (5_399_000, "90 min"), (5_400_000, "2 h"), (86_400_000, "24 h"), (259_200_000, "3 days")],
)
def test_span_is_said_in_the_unit_that_people_use(offset_ms: int, words: str) -> None:
    assert _span(offset_ms) == words


# --- in words: what a message waits for -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "first", "second"),
    [
        ([mail], "bob's acknowledgement", "bob's acknowledgement"),
        ([unacknowledged], "attempt 2 in 2 s", "the message before it, which is being tried again"),
        (
            [mail, lambda device, far: far.say(Hold("not_accepted"))],
            "bob has not accepted you yet; goes out when you are accepted",
            "bob has not accepted you yet; goes out when you are accepted",
        ),
        ([cut, mail], "a link to bob", "a link to bob"),
        (
            [cut, mail, dial_fails(DialError.NO_ANSWER)],
            "bob is not answering since {since}; goes out when it is back",
            "bob is not answering since {since}; goes out when it is back",
        ),
        (
            [cut, mail, dial_fails(DialError.REFUSED)],
            "attempt 2 in 2 s (connection refused at bob.lan:27270)",
            "bob: connection refused at bob.lan:27270",
        ),
        (
            [lambda device, far: far.say(Bye("offline")), cut, mail],
            "bob is offline (p2pchat was ended there); goes out when it is back",
            "bob is offline (p2pchat was ended there); goes out when it is back",
        ),
        (
            [unacknowledged, cut],
            "attempt 2 in 2 s (no acknowledgement within 10 s on a live link)",
            "a link to bob",
        ),
    ],
)
def test_message_says_what_it_waits_for(steps: list[Step], first: str, second: str) -> None:
    assert [view.waiting_for for view in seen_then(*steps).waiting()] == [first, second]


def test_message_to_a_peer_without_address_waits_for_it_to_be_seen() -> None:
    device, far = linked()
    far.cut()
    far.dials()
    device.send(BOB, 1)
    far.cut()
    assert device.waiting()[0].waiting_for == "bob has not been seen on this network; goes out when it is back"


def test_message_behind_a_full_window_waits_for_its_turn() -> None:
    device, _ = linked(Policy(window_events=1))
    device.send(BOB, 1)
    device.send(BOB, 2)
    assert [view.waiting_for for view in device.waiting()] == ["bob's acknowledgement", "its turn"]


def test_message_to_a_polling_peer_waits_for_its_poll() -> None:
    device = Device(ALICE, policy=QUIET)
    far = Far(device)
    far.realtime = False
    far.dials()
    device.send(BOB, 1)
    assert "next poll" in device.waiting()[0].waiting_for


def test_message_that_is_taken_back_waits_for_the_answer() -> None:
    device, far = linked()
    device.send(BOB, 1)
    device.cancel(1)
    assert device.waiting()[0].waiting_for == "being taken back: asks bob whether it has arrived"
    far.cut()
    assert device.waiting()[0].waiting_for.startswith("being taken back: will ask, when it is back,")


def test_waiting_shows_the_last_error_and_since_when_nobody_answers() -> None:
    device = seen_then(cut, mail, dial_fails(DialError.NO_ANSWER))
    (view, _) = device.waiting()
    assert view.silent_since_ms == device.clock.wall_ms
    assert view.last_error is None
    device = seen_then(mail)
    Far(device)
    device.advance(10.1)
    assert device.waiting()[0].last_error == "no acknowledgement within 10 s on a live link"


def test_waiting_can_be_asked_for_one_peer() -> None:
    device, _ = linked()
    device.announce(CAROL)
    device.send(BOB, 1)
    device.send(CAROL, 2)
    assert [view.peer for view in device.node.waiting(device.clock.now(), CAROL)] == [CAROL]
    assert len(device.waiting()) == 2
