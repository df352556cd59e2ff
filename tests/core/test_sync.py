"""What comes in: applied once, acknowledged always, refused, held, missing, asked for, read."""

from __future__ import annotations

import msgspec
import pytest

from p2pchat.core.inputs import PeerAction
from p2pchat.core.ops import ApplyIncoming
from p2pchat.model import FirstContact, MessageId, Policy, Trust
from p2pchat.wire import (
    Ack,
    Events,
    Gone,
    Heartbeat,
    HeartbeatAck,
    Hold,
    Notify,
    Pull,
    encode_event,
)
from tests.core.driver import ALICE, BOB, CAROL, START_MS, Device, Far, address_of, event, mid

QUIET = Policy(retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7)


def linked(policy: Policy = QUIET, *, accepted: bool = True) -> tuple[Device, Far]:
    device = Device(ALICE, policy=policy)
    far = Far(device).dials()
    if accepted:
        device.manage(BOB, PeerAction.ACCEPT)
    return device, far


def acked(far: Far) -> list[MessageId]:
    return [MessageId(message_id) for ack in far.got(Ack) for message_id in ack.ids]


def refused(far: Far) -> list[tuple[bytes, str]]:
    return [(one.id, one.reason) for ack in far.got(Ack) for one in ack.refused]


def notes(device: Device) -> list[tuple[str, str]]:
    return [(note.what, note.detail) for note in device.store.notes]


# --- applying ---------------------------------------------------------------------------------------------------


def test_event_is_applied_and_acknowledged() -> None:
    device, far = linked()
    far.notify(event(1, "hello", seen=mid(77), hlc=5))
    assert acked(far) == [mid(1)]
    (op,) = device.ops(ApplyIncoming)
    assert op == ApplyIncoming(BOB, mid(1), 1, "hello", 5, mid(77), START_MS, START_MS)
    assert device.noticed("sync:notification-received")[0].detail == {"events": 1}


def test_acknowledgement_waits_for_the_commit() -> None:
    device, far = linked()
    device.holding_commits = True
    far.notify(event(1))
    assert acked(far) == []
    device.commit()
    assert acked(far) == [mid(1)]


def test_duplicate_is_acknowledged_again_and_applied_once() -> None:
    device, far = linked()
    far.notify(event(1))
    far.notify(event(1))
    assert acked(far) == [mid(1), mid(1)]
    assert device.store.peers[BOB].applied == 1


def test_acknowledgement_of_a_duplicate_waits_behind_the_first_ones_commit() -> None:
    device, far = linked()
    device.holding_commits = True
    far.notify(event(1))
    far.notify(event(1))
    device.commit(1)
    assert acked(far) == []
    device.commit(1)
    assert acked(far) == [mid(1), mid(1)]


def test_events_of_one_frame_are_acknowledged_together() -> None:
    device, far = linked()
    far.notify(event(1), event(2, prev=1), event(3, prev=2))
    assert [ack.ids for ack in far.got(Ack)] == [(mid(1), mid(2), mid(3))]
    assert device.store.peers[BOB].last_seq == 3


def test_acknowledgement_does_not_go_out_on_a_link_that_ended_meanwhile() -> None:
    device, far = linked()
    device.holding_commits = True
    far.notify(event(1))
    far.cut()
    device.commit()
    assert device.frames(Ack) == []
    device.holding_commits = False
    far.dials()
    far.notify(event(1))
    assert acked(far) == [mid(1)]


def test_clock_follows_the_events_that_come_in() -> None:
    device, far = linked()
    ahead = (START_MS + 60_000) << 16
    far.notify(event(1, hlc=ahead))
    device.send(BOB, 50)
    assert device.store.out[mid(50)].record.hlc == ahead + 1
    assert device.store.out[mid(50)].record.seen == mid(1)


# --- refusing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event(1, kind="file"), "unsupported"),
        (event(1, "x" * 65_537), "too_large"),
        (event(1, "é" * 32_769), "too_large"),
    ],
)
def test_event_that_is_not_ours_to_take_is_refused_alone(bad: object, reason: str) -> None:
    device, far = linked()
    far.notify(bad, event(2, prev=1))  # type: ignore[arg-type]  # an event
    (ack,) = far.got(Ack)
    assert ack.ids == (mid(2),)
    assert [(one.id, one.reason) for one in ack.refused] == [(mid(1), reason)]
    assert list(device.store.applied[BOB]) == [mid(2)]
    assert notes(device) == []
    assert far.device.frames(Pull) == []


def test_text_of_exactly_the_longest_size_is_taken() -> None:
    _, far = linked()
    far.notify(event(1, "x" * 65_536))
    assert acked(far) == [mid(1)]


def test_event_that_cannot_be_read_is_refused_alone_if_its_id_can_be() -> None:
    device, far = linked()
    bad = msgspec.Raw(msgspec.msgpack.encode({"id": mid(1), "seq": -1}))
    nameless = msgspec.Raw(b"\x05")
    far.say(Notify((bad, nameless, encode_event(event(2)))))
    acks = far.got(Ack)
    assert [one for ack in acks for one in ack.ids] == [mid(2)]
    assert [(one.id, one.reason) for ack in acks for one in ack.refused] == [(mid(1), "malformed")]
    assert list(device.store.applied[BOB]) == [mid(2)]


def test_blocked_peer_is_refused_but_what_is_here_already_is_acknowledged() -> None:
    device, far = linked()
    far.notify(event(1))
    far.got(Ack)
    device.manage(BOB, PeerAction.BLOCK)
    far.notify(event(1), event(2, prev=1), event(9, prev=8))
    (ack,) = far.got(Ack)
    assert ack.ids == (mid(1),)
    assert [(one.id, one.reason) for one in ack.refused] == [(mid(2), "blocked"), (mid(9), "blocked")]
    assert far.device.frames(Pull) == []


def test_refusal_is_decided_anew_each_time() -> None:
    device, far = linked()
    device.manage(BOB, PeerAction.BLOCK)
    far.notify(event(1))
    assert refused(far) == [(mid(1), "blocked")]
    device.manage(BOB, PeerAction.UNBLOCK)
    far.dials()
    far.notify(event(1))
    assert acked(far) == [mid(1)]


@pytest.mark.parametrize("skipped", [True, False])
def test_link_on_which_a_message_was_skipped_ends_when_messages_are_taken_again(skipped: bool) -> None:
    """What stood behind the skipped one would overtake it; a new link begins with the oldest."""
    device, far = linked()
    device.manage(BOB, PeerAction.BLOCK)
    if skipped:
        far.notify(event(1))
    device.manage(BOB, PeerAction.UNBLOCK)
    assert [close.link for close in device.closed] == ([far.link] if skipped else [])


def test_link_on_which_a_message_was_skipped_ends_when_its_address_is_named() -> None:
    device, far = linked(Policy(max_stranger_messages=0), accepted=False)
    far.notify(event(1))
    device.add(address_of("bob"))
    newer = Far(device).answers()
    assert far.link in [close.link for close in device.closed]
    newer.notify(event(1))
    assert acked(newer) == [mid(1)]


# --- strangers --------------------------------------------------------------------------------------------------


def test_stranger_becomes_a_request_with_its_first_message() -> None:
    device, far = linked(accepted=False)
    far.notify(event(1))
    assert acked(far) == [mid(1)]
    assert device.store.peers[BOB].trust is Trust.REQUEST
    assert device.store.peers[BOB].name == "bob"


def test_strangers_are_accepted_at_once_when_the_user_wants_that() -> None:
    device, far = linked(Policy(first_contact=FirstContact.ACCEPT), accepted=False)
    far.notify(event(1), event(2, prev=1))
    assert acked(far) == [mid(1), mid(2)]
    assert device.store.peers[BOB].trust is Trust.UNVERIFIED


def test_strangers_are_refused_when_the_user_wants_that() -> None:
    device, far = linked(Policy(first_contact=FirstContact.REFUSE), accepted=False)
    far.notify(event(1))
    assert refused(far) == [(mid(1), "blocked")]
    assert device.store.peers == {}


def test_stranger_over_the_cap_of_messages_is_held_until_accepted() -> None:
    device, far = linked(Policy(max_stranger_messages=2), accepted=False)
    far.notify(event(1), event(2, prev=1), event(3, prev=2), event(4, prev=3))
    assert acked(far) == [mid(1), mid(2)]
    assert far.device.frames(Hold)[-1] == Hold("not_accepted")
    far.notify(event(1))
    assert acked(far) == [mid(1)]
    device.manage(BOB, PeerAction.ACCEPT)
    far.cut()
    far.dials()
    assert far.peek(Hold) == []
    far.notify(event(3, prev=2), event(4, prev=3))
    assert acked(far) == [mid(3), mid(4)]


def test_hold_is_repeated_with_every_frame_that_is_held_and_in_heartbeat_answers() -> None:
    device, far = linked(Policy(max_stranger_messages=1), accepted=False)
    far.notify(event(1), event(2))
    assert far.got(Hold) == [Hold("not_accepted")]
    far.notify(event(2))
    assert far.got(Hold) == [Hold("not_accepted")]
    far.say(Heartbeat(1, 0))
    assert far.got(HeartbeatAck)[0].hold == "not_accepted"
    far.cut()
    far.dials()
    assert far.got(Hold) == [Hold("not_accepted")]
    assert device.store.peers[BOB].applied == 1


def test_stranger_over_the_cap_of_bytes_is_held() -> None:
    _, far = linked(Policy(max_stranger_bytes=100), accepted=False)
    far.notify(event(1, "x" * 60), event(2, "é" * 21, prev=1))
    assert acked(far) == [mid(1)]
    assert far.device.frames(Hold) == [Hold("not_accepted")]


def test_what_stands_behind_a_held_message_is_held_too() -> None:
    """A short one must not overtake a long one."""
    device, far = linked(Policy(max_stranger_bytes=100), accepted=False)
    far.notify(event(1, "x" * 200), event(2, "y", prev=1))
    assert acked(far) == []
    assert device.ops(ApplyIncoming) == []


def test_number_of_strangers_is_capped() -> None:
    device = Device(ALICE, policy=Policy(max_strangers=1))
    bob, carol = Far(device).dials(), Far(device, CAROL).dials()
    bob.notify(event(1))
    carol.notify(event(2))
    assert acked(bob) == [mid(1)]
    assert (acked(carol), carol.device.frames(Hold, carol.link)) == ([], [Hold("not_accepted")])
    bob.notify(event(3, prev=1))
    assert acked(bob) == [mid(3)]


def test_duplicates_of_a_stranger_do_not_use_up_its_cap() -> None:
    device, far = linked(Policy(max_stranger_messages=3), accepted=False)
    for _ in range(10):
        far.notify(event(1, "hello"))
    far.notify(event(2, "hello", prev=1), event(3, "hello", prev=2))
    assert set(acked(far)) == {mid(1), mid(2), mid(3)}
    assert device.store.peers[BOB].stranger_messages == 3


def test_cap_is_remembered_over_a_restart() -> None:
    device, far = linked(Policy(max_stranger_messages=1), accepted=False)
    far.notify(event(1))
    device.start()
    far.dials()
    far.notify(event(2, prev=1))
    assert acked(far) == []
    assert far.device.frames(Hold, far.link) == [Hold("not_accepted")]


# --- holes ------------------------------------------------------------------------------------------------------


def test_hole_is_told_and_asked_for_once_and_its_revealer_is_applied() -> None:
    device, far = linked()
    far.notify(event(1), event(5, prev=4))
    assert far.got(Pull) == [Pull(2, 4)]
    assert notes(device) == [("hole", "messages 2 to 4 are missing; asked for")]
    assert mid(5) in device.store.applied[BOB]
    far.notify(event(6, prev=5), event(7, prev=6))
    assert far.got(Pull) == []


def test_hole_of_one_message_is_told_in_the_singular() -> None:
    device, far = linked()
    far.notify(event(1), event(3, prev=2))
    assert notes(device) == [("hole", "message 2 is missing; asked for")]


def test_numbers_that_were_given_up_are_no_hole() -> None:
    device, far = linked()
    far.notify(event(1), event(5, prev=1))
    assert far.device.frames(Pull) == []
    assert notes(device) == []


def test_answer_to_a_pull_fills_the_hole() -> None:
    device, far = linked()
    far.notify(event(1), event(4, prev=3))
    far.say(Events((encode_event(event(2)), encode_event(event(3)))))
    assert set(device.store.applied[BOB]) == {mid(1), mid(2), mid(3), mid(4)}


def test_pull_goes_on_while_there_is_more() -> None:
    _, far = linked()
    far.notify(event(9, prev=8))
    assert far.got(Pull) == [Pull(1, 8)]
    far.say(Events((encode_event(event(1)), encode_event(event(2)), msgspec.Raw(b"\x05")), more=True))
    assert far.got(Pull) == [Pull(3, 8)]
    far.say(Events((encode_event(event(8)),), more=True))
    assert far.got(Pull) == []
    far.say(Events((encode_event(event(8)),), more=True))
    assert far.got(Pull) == []


def test_pull_ends_when_an_answer_holds_nothing_readable() -> None:
    _, far = linked()
    far.notify(event(9, prev=8))
    far.got(Pull)
    far.say(Events((), more=True))
    assert far.got(Pull) == []


def test_what_is_gone_at_its_author_is_told() -> None:
    device, far = linked()
    far.notify(event(3, prev=2))
    far.say(Gone(1, 2))
    assert notes(device)[-1] == ("gone", "messages 1 to 2 are gone at their author")
    far.say(Gone(1, 2))
    assert len(notes(device)) == 2
