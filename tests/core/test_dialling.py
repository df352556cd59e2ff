"""When to dial whom."""

from __future__ import annotations

from itertools import pairwise

import pytest

from p2pchat.core.effects import Refused
from p2pchat.core.inputs import (
    BytesReceived,
    DialError,
    DialFailed,
    LinkClosed,
    LinkOpened,
    NetworkChanged,
    PeerAction,
    PeerAnnounced,
    PeerWithdrawn,
    Role,
    ShutDown,
)
from p2pchat.core.ops import RecordAttempt, RememberAddress
from p2pchat.core.peers import MAX_SEEN
from p2pchat.model import Address, DeviceId, LinkId, Policy, Presence, Trust
from p2pchat.wire import Bye, Error, encode
from tests.core.driver import ALICE, BOB, CAROL, Device, Far, address_of, event

EXACT = Policy(retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7)
HERE = address_of("bob")
NAMED = Address("10.0.0.9", 27270)


def known(device_id: DeviceId = ALICE, policy: Policy = EXACT) -> tuple[Device, Far]:
    """A device that has stored bob and is linked to him over its own dial."""
    device = Device(device_id, policy=policy)
    device.announce(BOB)
    device.advance(1.1)
    far = Far(device).answers()
    device.send(BOB, 1)
    far.ack(1)
    return device, far


def dial_times(
    device: Device, seconds: float, error: DialError = DialError.NO_ANSWER, *, seen: int | None = None
) -> list[float]:
    """Fail every dial at once; return when each came, from now on (or: from the dial with that number on)."""
    begin_s, times = device.clock.mono_s, []
    seen = len(device.dials) if seen is None else seen
    while device.clock.mono_s < begin_s + seconds:
        device.advance(0.1)
        if len(device.dials) > seen:
            times.append(device.clock.mono_s - begin_s)
            seen = len(device.dials)
            device.fail_dial(error)
    return times


# --- announcements ----------------------------------------------------------------------------------------------


def test_announced_peer_is_dialled_at_its_addresses() -> None:
    device = Device(ALICE)
    device.announce(BOB)
    (dial,) = device.dials
    assert (dial.addresses, dial.expected) == ((HERE,), BOB)


def test_higher_id_waits_a_second_so_that_they_rarely_dial_at_once() -> None:
    device = Device(CAROL)
    device.announce(BOB)
    assert device.dials == []
    device.advance(1.01)
    assert len(device.dials) == 1


def test_announcements_cause_at_most_one_dial_in_five_seconds() -> None:
    device = Device(ALICE)
    for _ in range(100):
        device.announce(BOB)
        if device.dials:
            device.fail_dial(DialError.NO_ANSWER)
        device.advance(0.2)
    assert 4 <= len(device.dials) <= 5


def test_announcements_in_quick_succession_do_not_put_the_dial_off() -> None:
    """The higher id waits a second from the first, not from the last."""
    device = Device(CAROL)
    for _ in range(20):
        device.announce(BOB)
        device.advance(0.2)
    assert len(device.dials) == 1


def test_dial_that_a_hint_caused_is_never_charged() -> None:
    device, far = known()
    far.cut()
    device.send(BOB, 2)
    device.announce(BOB)
    device.advance(6.0)
    device.fail_dial(DialError.REFUSED)
    assert device.ops(RecordAttempt) == []
    device.advance(6.0)
    device.fail_dial(DialError.REFUSED)
    assert len(device.ops(RecordAttempt)) == 1


def test_own_announcement_is_ignored() -> None:
    device = Device(ALICE)
    device.announce(ALICE)
    assert device.dials == []
    assert device.node.peers(device.clock.now()) == []


def test_announcement_makes_a_peer_visible_but_stores_nothing() -> None:
    device = Device(ALICE)
    device.feed(PeerAnnounced(BOB, "\x1b[2Jbob", (HERE,)))
    (view,) = device.node.peers(device.clock.now())
    assert (view.name, view.trust, view.presence) == ("␛[2Jbob", Trust.SEEN, Presence.AWAY)
    assert device.store.peers == {}


def test_announcement_does_not_rename_a_peer_that_is_linked_or_stored() -> None:
    device, _ = known()
    device.feed(PeerAnnounced(BOB, "mallory", (HERE,)))
    assert device.view(BOB).name == "bob"


def test_withdrawn_peer_is_forgotten_when_nothing_else_is_known() -> None:
    device = Device(ALICE)
    device.announce(BOB)
    device.feed(PeerWithdrawn(BOB))
    device.fail_dial(DialError.NO_ANSWER)
    assert device.node.peer(BOB, device.clock.now()) is None
    assert dial_times(device, 100) == []


def test_withdrawal_of_an_unknown_peer_is_ignored() -> None:
    device = Device(ALICE)
    assert device.feed(PeerWithdrawn(BOB)) == []


def test_peer_that_was_withdrawn_before_its_dial_is_dialled_when_announced_again() -> None:
    device = Device(CAROL, policy=EXACT)
    far = Far(device).dials()
    device.send(BOB, 1)
    far.cut()
    device.announce(BOB)
    device.feed(PeerWithdrawn(BOB))
    device.advance(2.0)
    assert device.dials == []
    device.announce(BOB)
    device.advance(2.0)
    assert len(device.dials) == 1


def test_withdrawn_peer_stays_while_it_is_stored() -> None:
    device, far = known()
    far.cut()
    device.feed(PeerWithdrawn(BOB))
    assert device.view(BOB).presence is Presence.OFFLINE
    assert device.view(BOB).addresses == (HERE,)


def test_number_of_peers_that_are_merely_seen_is_bounded() -> None:
    device = Device(ALICE)
    for number in range(MAX_SEEN + 50):
        device.feed(PeerAnnounced(DeviceId(f"device {number}"), "x", (HERE,)))
    assert len(device.node.peers(device.clock.now())) == MAX_SEEN
    device.feed(PeerWithdrawn(DeviceId("device 1")))
    device.fail_dial(DialError.NO_ANSWER)
    assert device.node.peer(DeviceId("device 0"), device.clock.now()) is not None


def test_announcement_of_a_linked_peer_causes_no_dial() -> None:
    device, _ = known()
    before = len(device.dials)
    device.announce(BOB)
    device.advance(20.0)
    assert len(device.dials) == before


# --- redialling -------------------------------------------------------------------------------------------------


def test_redial_doubles_from_one_to_sixty_seconds() -> None:
    device, far = known()
    device.advance(7200.0)
    far.cut()
    device.clock.wall_ms += 2 * 3_600_000
    times = dial_times(device, 300)
    gaps = [round(b - a) for a, b in pairwise(times)]
    assert times[0] <= 1.1
    assert gaps == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_redial_comes_every_twelve_seconds_with_mail_for_a_peer_that_was_linked_lately() -> None:
    device, far = known()
    far.cut()
    device.send(BOB, 2)
    times = dial_times(device, 100)
    gaps = [round(b - a) for a, b in pairwise(times)]
    assert gaps[:7] == [1, 2, 4, 8, 12, 12, 12]


def test_redial_slows_down_when_there_is_no_mail() -> None:
    device, far = known()
    far.cut()
    gaps = [round(b - a) for a, b in zip(*[iter(dial_times(device, 100))] * 2, strict=False)]
    assert max(gaps) > 12


def test_redial_is_jittered_downwards() -> None:
    device, far = known(policy=Policy(heartbeat_interval_s=1e6, dead_after_s=1e7))
    far.cut()
    device.clock.wall_ms += 2 * 3_600_000
    times = dial_times(device, 600)
    gaps = [b - a for a, b in pairwise(times)][6:]
    assert all(53.5 <= gap <= 60.2 for gap in gaps)
    assert len({round(gap, 1) for gap in gaps}) > 2


@pytest.mark.parametrize("evidence", ["announcement", "network", "accept"])
def test_evidence_of_life_starts_the_redial_over(evidence: str) -> None:
    device, far = known()
    far.cut()
    device.clock.wall_ms += 2 * 3_600_000
    dial_times(device, 120)
    seen = len(device.dials)
    if evidence == "announcement":
        device.announce(BOB)
    elif evidence == "network":
        device.feed(NetworkChanged("interface"))
    else:
        device.manage(BOB, PeerAction.VERIFY)
    assert dial_times(device, 3.5, seen=seen)[0] <= 1.1


def test_inbound_link_stops_the_redial_and_its_end_starts_it_over() -> None:
    device, far = known()
    far.cut()
    dial_times(device, 100)
    back = Far(device).dials()
    assert dial_times(device, 100) == []
    back.cut()
    assert dial_times(device, 3)[0] <= 1.1


def test_remembered_addresses_are_dialled_after_a_restart() -> None:
    device, _ = known()
    device.dials.clear()
    device.start()
    (dial,) = device.dials
    assert (dial.addresses, dial.expected) == ((HERE,), BOB)


def test_numbers_of_dials_differ_after_a_restart() -> None:
    """A failure that belongs to a dial of the run before is nobody's."""
    device, _ = known()
    old = device.dials[-1].dial
    device.seed += 1
    device.start()
    device.feed(DialFailed(old, DialError.REFUSED, HERE))
    assert device.view(BOB).detail == ""


def test_learns_the_port_of_a_dialler_and_dials_back() -> None:
    device = Device(ALICE, policy=EXACT)
    device.announce(BOB)
    device.fail_dial(DialError.NO_ANSWER)
    device.send(BOB, 1)
    far = Far(device)
    far.port = 27271
    far.dials()
    assert Address("far.lan", 27271) in device.view(BOB).addresses
    assert device.store.peers[BOB].addresses == (Address("far.lan", 27271),)


def test_keeps_the_latest_eight_proven_addresses() -> None:
    device, far = known()
    for port in range(1, 12):
        far.cut()
        far = Far(device)
        far.port = port
        far.dials()
    assert [address.port for address in device.store.peers[BOB].addresses] == [11, 10, 9, 8, 7, 6, 5, 4]
    assert device.view(BOB).addresses[:8] == device.store.peers[BOB].addresses


def test_address_that_was_proven_before_the_peer_was_stored_is_stored_with_it() -> None:
    device = Device(ALICE, policy=EXACT)
    device.announce(BOB)
    far = Far(device).answers()
    assert device.ops(RememberAddress)[-1].address == HERE
    assert BOB not in device.store.peers
    far.notify(event(1))
    assert device.store.peers[BOB].trust is Trust.REQUEST
    assert device.store.peers[BOB].addresses == (HERE,)


def test_dial_that_was_answered_ends_with_the_link_before_the_handshake() -> None:
    device, far = known()
    far.cut()
    device.send(BOB, 2)
    device.advance(2.0)
    device.feed(LinkOpened(LinkId(50), Role.DIALLER, HERE, device.dials[-1].dial, BOB))
    device.feed(LinkClosed(LinkId(50), ""))
    assert len(device.ops(RecordAttempt)) == 1
    assert "connection ended during the handshake" in device.view(BOB).detail
    assert len(dial_times(device, 5)) >= 1


def test_refused_handshake_of_an_inbound_link_charges_nobody() -> None:
    device, far = known()
    far.cut()
    device.send(BOB, 2)
    device.feed(LinkOpened(LinkId(50), Role.LISTENER, HERE))
    device.feed(LinkClosed(LinkId(50), "reset"))
    assert device.ops(RecordAttempt) == []


# --- goodbye ----------------------------------------------------------------------------------------------------


def test_refused_port_costs_nothing_after_a_goodbye() -> None:
    device, far = known()
    far.say(Bye("offline"))
    far.cut()
    device.send(BOB, 2)
    assert dial_times(device, 60, DialError.REFUSED)
    assert device.ops(RecordAttempt) == []
    assert device.view(BOB).detail == "p2pchat was ended on bob's side"


def test_goodbye_with_another_reason_does_not_mean_that_the_engine_ended() -> None:
    device, far = known()
    far.say(Bye("duplicate link"))
    far.cut()
    device.send(BOB, 2)
    dial_times(device, 3, DialError.REFUSED)
    assert len(device.ops(RecordAttempt)) == 1


def test_goodbye_is_over_when_the_peer_is_back() -> None:
    device, far = known()
    far.say(Bye("offline"))
    Far(device).dials().cut()
    assert "was ended" not in device.view(BOB).detail


# --- the end ----------------------------------------------------------------------------------------------------


def test_nobody_is_dialled_after_the_shutdown() -> None:
    device, far = known()
    far.cut()
    device.feed(ShutDown())
    before = len(device.dials)
    device.announce(BOB)
    device.feed(NetworkChanged("wake"))
    device.advance(100.0)
    assert len(device.dials) == before


def test_named_addresses_are_refused_when_the_engine_ends() -> None:
    device = Device(ALICE)
    first = device.add(NAMED)
    device.feed(ShutDown())
    second = device.add(NAMED)
    for request in (first, second):
        refused = device.reply(request)
        assert isinstance(refused, Refused)
        assert refused.code == "shutting_down"
    assert len(device.dials) == 1


def test_blocked_peer_is_not_dialled() -> None:
    device, far = known()
    device.manage(BOB, PeerAction.BLOCK)
    far.cut()
    assert dial_times(device, 100) == []
    seen = len(device.dials)
    device.manage(BOB, PeerAction.UNBLOCK)
    assert dial_times(device, 3, seen=seen)


def test_link_that_comes_up_during_a_dial_is_kept_and_the_dial_ends_alone() -> None:
    device = Device(ALICE, policy=EXACT)
    device.announce(BOB)
    Far(device).dials()
    device.fail_dial(DialError.NO_ANSWER)
    assert device.view(BOB).presence is Presence.ONLINE
    assert dial_times(device, 100) == []


def test_error_frame_during_the_handshake_fails_the_dial() -> None:
    device, far = known()
    far.cut()
    device.send(BOB, 2)
    device.advance(2.0)
    device.feed(LinkOpened(LinkId(50), Role.DIALLER, HERE, device.dials[-1].dial, BOB))
    device.feed(BytesReceived(LinkId(50), encode(Error("unsupported_version", "update here"))))
    assert device.view(BOB).detail == "handshake failed at bob.lan:27270: the other side refused: update here"
    assert len(device.ops(RecordAttempt)) == 1
