"""All links of a node: who is on them, which of two survives, and what a broken one does."""

from __future__ import annotations

import pytest

from p2pchat.core.inputs import BytesReceived, LinkClosed, LinkOpened, Role, ShutDown
from p2pchat.core.links import MAX_DENIED, MAX_LINKS
from p2pchat.core.ops import RecordAttempt, UpsertPeer
from p2pchat.model import Address, LinkId, Policy, Presence, State
from p2pchat.wire import Ack, Bye, Error, Have, Hello, Notify, Proof, Read, ReadAck, Welcome, encode, encode_event
from tests.core.driver import ALICE, BOB, CAROL, Device, Far, Pair, event, mid

QUIET = Policy(retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7)


# --- coming up --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialler", [0, 1])
def test_two_nodes_link_up_whoever_dials(dialler: int) -> None:
    pair = Pair(Device(ALICE), Device(BOB))
    pair.connect(dialler)
    pair.settle()
    assert pair[0].view(BOB).presence is Presence.ONLINE
    assert pair[1].view(ALICE).presence is Presence.ONLINE
    assert [pair[0].node.authenticated(LinkId(1)), pair[1].node.authenticated(LinkId(1))] == [BOB, ALICE]


def test_nobody_is_authenticated_before_the_proof() -> None:
    device = Device(ALICE)
    device.feed(LinkOpened(LinkId(1), Role.LISTENER, Address("x", 1)))
    assert device.node.authenticated(LinkId(1)) is None
    assert device.node.authenticated(LinkId(2)) is None
    far = Far(device)
    far.link = LinkId(1)
    far.say(far.hello(dialler=True))
    assert device.node.authenticated(LinkId(1)) is None
    assert device.node.peers(device.clock.now()) == []
    far.say(Proof(b"forged"))
    assert device.node.authenticated(LinkId(1)) is None
    assert far.device.node.peers(device.clock.now()) == []
    assert device.frames(Error)[-1].code == "bad_proof"
    assert device.noticed("link:refused")[0].peer is None


def test_authenticated_ends_with_the_link() -> None:
    device = Device(ALICE)
    far = Far(device).dials()
    assert device.node.authenticated(far.link) == BOB
    far.cut()
    assert device.node.authenticated(far.link) is None


def test_stranger_that_is_linked_is_seen_and_not_stored() -> None:
    device = Device(ALICE)
    far = Far(device).dials()
    assert device.view(BOB).name == "bob"
    far.cut()
    assert device.node.peer(BOB, device.clock.now()) is None
    assert device.store.peers == {}


def test_new_name_of_a_stored_peer_is_stored() -> None:
    device = Device(ALICE)
    far = Far(device).dials()
    device.send(BOB, 1)
    far.cut()
    far.name = "robert"
    far.dials()
    assert device.store.peers[BOB].name == "robert"
    assert len(device.ops(UpsertPeer)) == 2
    far.dials()
    far.name = ""
    far.dials()
    assert len(device.ops(UpsertPeer)) == 2


def test_peer_restored_from_a_copy_is_told() -> None:
    device = Device(ALICE)
    far = Far(device).dials()
    device.send(BOB, 1)
    device.send(BOB, 2)
    far.ack(1, 2)
    far.cut()
    far.applied = 2
    far.dials().cut()
    assert device.store.notes == []
    far.applied = 1
    far.dials()
    (note,) = device.store.notes
    assert note.what == "restored"
    assert "acknowledged 2 messages and knows of 1" in note.detail


def test_welcome_and_hello_carry_how_many_events_were_applied() -> None:
    pair = Pair(Device(ALICE), Device(BOB))
    pair.connect(0)
    pair.settle()
    pair[0].send(BOB, 1)
    pair.settle()
    pair.cut_all()
    for dialler in (0, 1):
        pair.connect(dialler)
        pair.settle()
    notes = [note for device in pair.devices for note in device.store.notes]
    assert notes == []
    assert pair[1].frames(Hello)[-1].applied == 1


# --- ourselves --------------------------------------------------------------------------------------------------


def test_link_to_ourselves_is_refused_on_both_ends() -> None:
    device = Device(ALICE)
    a, b = LinkId(1), LinkId(2)
    device.feed(LinkOpened(a, Role.LISTENER, Address("me", 1)))
    device.feed(LinkOpened(b, Role.DIALLER, Address("me", 1), None, ALICE))
    device.feed(BytesReceived(b, device.wire.popleft()[1]))
    for link, data in list(device.wire):
        if link == b:
            device.feed(BytesReceived(a, data))
    assert {close.link for close in device.closed} == {a, b}
    assert {frame.code for frame in device.frames(Error)} == {"own_device"}
    assert device.noticed("identity:duplicate") == []
    assert device.node.peers(device.clock.now()) == []


def test_clone_of_this_device_is_told_on_both_sides() -> None:
    original, clone = Device(ALICE), Device(ALICE)
    clone.start()
    pair = Pair(original, clone)
    pair.connect(0)
    pair.settle()
    for device in pair.devices:
        (notice,) = device.noticed("identity:duplicate")
        assert "copied disk" in str(notice.detail["detail"])
        assert device.node.peers(device.clock.now()) == []


def test_claim_of_our_key_without_proof_is_no_clone() -> None:
    """Our public key is no secret: naming it must not make us tell the user to reset the identity."""
    device = Device(ALICE)
    far = Far(device, ALICE)
    far.keys = type(far.keys)("mallory")
    far.link = device.new_link()
    device.feed(LinkOpened(far.link, Role.LISTENER, Address("x", 1)))
    hello = encode(Far(device, ALICE).hello(dialler=True))
    far.give(hello)
    far.say(Proof(far.keys.sign(b"")))
    assert device.noticed("identity:duplicate") == []
    assert device.frames(Error)[-1].code == "bad_proof"


def test_dialled_clone_is_refused_to_who_named_its_address() -> None:
    device = Device(ALICE)
    device.add(Address("clone", 1))
    far = Far(device, ALICE)
    far.answers()
    assert device.reply().code == "own_device"  # type: ignore[union-attr]  # a refusal has a code


# --- two links --------------------------------------------------------------------------------------------------


def test_lower_id_closes_the_older_link_and_keeps_the_one_that_finished_last() -> None:
    device = Device(ALICE, policy=QUIET)
    old, new = Far(device).dials(), Far(device).dials()
    assert old.got(Bye) == [Bye("duplicate link")]
    assert [close.link for close in device.closed] == [old.link]
    device.send(BOB, 1)
    assert (old.numbers(), new.numbers()) == ([], [1])


def test_higher_id_closes_nothing_and_sends_on_the_newest() -> None:
    device = Device(CAROL, policy=QUIET)
    old, new = Far(device).dials(), Far(device).dials()
    assert device.closed == []
    device.send(BOB, 1)
    assert (old.numbers(), new.numbers()) == ([], [1])


def test_higher_id_falls_back_to_the_older_link_uncharged_when_the_newest_ends() -> None:
    device = Device(CAROL, policy=QUIET)
    old, new = Far(device).dials(), Far(device).dials()
    device.send(BOB, 1)
    device.send(BOB, 2)
    for _ in range(3):
        new.cut()
        assert old.numbers() == [1, 2]
        new = Far(device).dials()
    assert device.ops(RecordAttempt) == []
    assert device.view(BOB).presence is Presence.ONLINE


def test_end_of_an_older_link_changes_nothing() -> None:
    device = Device(CAROL, policy=QUIET)
    old, new = Far(device).dials(), Far(device).dials()
    device.send(BOB, 1)
    old.cut()
    assert new.numbers() == [1]
    device.send(BOB, 2)
    assert new.numbers() == [2]


def test_what_is_in_flight_goes_again_on_a_newer_link() -> None:
    device = Device(CAROL, policy=QUIET)
    old = Far(device).dials()
    device.send(BOB, 1)
    new = Far(device).dials()
    assert (old.numbers(), new.numbers()) == ([1], [1])
    old.ack(1)
    assert device.state(1) is State.DELIVERED


def test_new_engine_run_of_the_peer_replaces_its_older_links_on_either_side() -> None:
    for ours in (ALICE, CAROL):
        device = Device(ours)
        old = Far(device).dials()
        Far(device, instance=b"2" * 16).dials()
        assert old.got(Bye) == [Bye("replaced: the other side started anew")]
        assert [close.link for close in device.closed] == [old.link]


def test_events_are_taken_from_an_older_link_too() -> None:
    device = Device(CAROL)
    old, new = Far(device).dials(), Far(device).dials()
    old.notify(event(1))
    new.notify(event(1), event(2))
    assert [ack.ids for ack in old.got(Ack)] == [(mid(1),)]
    assert [ack.ids for ack in new.got(Ack)] == [(mid(1), mid(2))]
    assert list(device.store.applied[BOB]) == [mid(1), mid(2)]


def test_id_that_was_asked_about_is_not_taken_from_another_link_any_more() -> None:
    """The answer was about what may still come in: bob may settle the message on it."""
    device = Device(CAROL)
    old, new = Far(device).dials(), Far(device).dials()
    new.say(Have((mid(1),), 1))
    old.notify(event(1), event(2, prev=0))
    assert list(device.store.applied[BOB]) == [mid(2)]
    new.notify(event(1))
    assert mid(1) in device.store.applied[BOB]


def test_link_that_brings_an_id_that_was_asked_about_on_another_ends() -> None:
    """If the other link is gone and bob sends it anew on this one, it would else be passed over for ever."""
    device = Device(CAROL)
    old, new = Far(device).dials(), Far(device).dials()
    new.say(Have((mid(1),), 1))
    new.cut()
    old.notify(event(1))
    assert old.got(Bye) == [Bye("overtaken by a newer link")]
    old.cut()
    again = Far(device).dials()
    again.notify(event(1))
    assert mid(1) in device.store.applied[BOB]


def test_id_that_was_asked_about_is_not_taken_from_a_link_that_is_about_to_come_up() -> None:
    """For the side that accepted it the link is up already, and may have carried the message."""
    device = Device(CAROL)
    device.announce(BOB)
    device.advance(1.1)
    far = Far(device).dials()
    opening = Far(device)
    opening.link = device.new_link()
    device.feed(LinkOpened(opening.link, Role.DIALLER, Address("bob.lan", 1), device.dials[-1].dial, BOB))
    opening.say(opening.hello(dialler=False))
    far.say(Have((mid(1),), 1))
    opening.say(Welcome(0))
    opening.notify(event(1))
    assert BOB not in device.store.applied
    assert opening.got(Bye) == [Bye("overtaken by a newer link")]
    far.notify(event(2))
    assert list(device.store.applied[BOB]) == [mid(2)]


def test_number_of_links_of_one_peer_is_bounded() -> None:
    device = Device(CAROL)
    fars = [Far(device).dials() for _ in range(MAX_LINKS + 3)]
    assert [close.link for close in device.closed] == [far.link for far in fars[:3]]
    assert fars[0].got(Bye) == [Bye("too many links")]


def test_number_of_denied_ids_is_bounded() -> None:
    device = Device(CAROL)
    old, new = Far(device).dials(), Far(device).dials()
    for start in range(0, MAX_DENIED, 4096):
        new.say(Have(tuple(mid(start + number) for number in range(4096))))
    assert device.closed == []
    new.say(Have((mid(10**9),)))
    assert [close.link for close in device.closed] == [old.link]
    assert device.view(BOB).presence is Presence.ONLINE


def test_both_sides_dialling_at_once_end_with_one_link_and_lose_nothing() -> None:
    pair = Pair(Device(ALICE), Device(BOB))
    pair.connect(0)
    pair.connect(1)
    pair.settle()
    assert len(pair.ends) == 2
    pair[0].send(BOB, 1)
    pair[1].send(ALICE, 2)
    pair.settle()
    assert (pair[0].state(1), pair[1].state(2)) == (State.DELIVERED, State.DELIVERED)
    assert pair[0].ops(RecordAttempt) == pair[1].ops(RecordAttempt) == []


# --- broken frames ----------------------------------------------------------------------------------------------


def test_malformed_bytes_end_the_link() -> None:
    device = Device(ALICE)
    far = Far(device).dials()
    far.give(b"\xc1 rubbish")
    assert far.got(Error)[0].code == "malformed"
    assert [close.link for close in device.closed] == [far.link]
    assert device.node.authenticated(far.link) is None
    assert device.noticed("link:refused")[0].peer == BOB
    far.cut()
    assert device.node.peer(BOB, device.clock.now()) is None


def test_malformed_bytes_end_the_handshake() -> None:
    device = Device(ALICE)
    device.feed(LinkOpened(LinkId(1), Role.LISTENER, Address("x", 1)))
    device.feed(BytesReceived(LinkId(1), b""))
    assert device.frames(Error)[-1].code == "malformed"
    assert [close.link for close in device.closed] == [1]


def test_unknown_frame_is_answered_with_an_error_and_the_link_lives_on() -> None:
    device = Device(ALICE)
    far = Far(device).dials()
    far.give(b"\x81\xa1t\xa5later")
    assert far.got(Error) == [Error("unknown_frame", "this version knows no frame 'later'")]
    assert device.closed == []


def test_unknown_frame_with_a_long_name_gets_a_short_answer() -> None:
    device = Device(ALICE)
    far = Far(device).dials()
    far.give(b"\x81\xa1t\xda\x03\xe8" + b"x" * 1000)
    assert len(far.got(Error)[0].detail) < 100


@pytest.mark.parametrize(("frame", "told"), [(Error("protocol", "why"), "why"), (Error("protocol"), "protocol")])
def test_error_of_the_peer_is_told_and_the_link_lives_on(frame: Error, told: str) -> None:
    device = Device(ALICE)
    far = Far(device).dials()
    far.say(frame)
    assert device.noticed("link:refused")[0].detail["detail"] == told
    assert device.closed == []


def test_stream_frame_before_the_handshake_is_refused() -> None:
    device = Device(ALICE)
    device.feed(LinkOpened(LinkId(1), Role.LISTENER, Address("x", 1)))
    device.feed(BytesReceived(LinkId(1), encode(Notify((encode_event(event(1)),)))))
    assert device.frames(Error)[-1].code == "not_authenticated"
    assert device.store.applied == {}


# --- the wrong peer ---------------------------------------------------------------------------------------------


def test_only_the_addressee_can_acknowledge_or_mark_read() -> None:
    device = Device(ALICE, policy=QUIET)
    bob, carol = Far(device).dials(), Far(device, CAROL).dials()
    device.send(BOB, 1)
    carol.ack(1)
    carol.say(Read((mid(1),), 5))
    carol.refuse(1, "too_large")
    assert device.state(1) is State.PENDING
    assert carol.got(ReadAck) == [ReadAck((mid(1),))]
    bob.ack(1)
    carol.say(Read((mid(1),), 5))
    assert device.state(1) is State.DELIVERED
    bob.say(Read((mid(1),), 5))
    assert device.state(1) is State.READ


# --- the end ----------------------------------------------------------------------------------------------------


def test_shutdown_says_goodbye_on_every_link_and_stores_the_sent_ticks() -> None:
    device = Device(ALICE, policy=QUIET)
    bob, carol = Far(device).dials(), Far(device, CAROL).dials()
    device.send(BOB, 1)
    device.feed(LinkOpened(LinkId(60), Role.LISTENER, Address("x", 1)))
    device.feed(ShutDown())
    assert (bob.got(Bye), carol.got(Bye)) == ([Bye("offline")], [Bye("offline")])
    assert {close.link for close in device.closed} == {bob.link, carol.link, 60}
    assert device.state(1) is State.SENT
    assert device.view(BOB).presence is Presence.OFFLINE
    bob.cut()
    device.feed(ShutDown())
    assert len(device.closed) == 3


def test_link_that_opens_after_the_shutdown_is_closed() -> None:
    device = Device(ALICE)
    device.feed(ShutDown())
    device.feed(LinkOpened(LinkId(1), Role.LISTENER, Address("x", 1)))
    assert [close.link for close in device.closed] == [1]
    assert device.sent == []
    device.feed(LinkClosed(LinkId(1)))


def test_peer_that_went_offline_finds_its_mail_when_it_is_back() -> None:
    pair = Pair(Device(ALICE, policy=QUIET), Device(BOB, policy=QUIET))
    pair.connect(0)
    pair.settle()
    pair[0].send(BOB, 1)
    pair.settle()
    pair[1].feed(ShutDown())
    pair.settle()
    pair[0].send(BOB, 2)
    pair[1].start()
    pair.connect(1)
    pair.settle()
    assert pair[0].state(2) is State.DELIVERED
    assert pair[0].ops(RecordAttempt) == []
