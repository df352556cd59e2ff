"""What people and scripts ask for: one reply each, and a refusal changes nothing."""

from __future__ import annotations

import pytest

from p2pchat.core.effects import Changed, MessageState, PeerDone, Refused, Result
from p2pchat.core.inputs import PeerAction, SendText, StorageFailed
from p2pchat.core.ops import ApplyIncoming, InsertOutgoing, MarkReadByUs, RememberAddress
from p2pchat.model import Policy, Presence, State, Trust
from p2pchat.wire import Bye, Have, Hold, Notify
from tests.core.driver import ALICE, BOB, CAROL, START_MS, Device, Far, event, mid

QUIET = Policy(retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7)


def code(result: Result | None) -> str:
    assert isinstance(result, Refused)
    assert result.text
    return result.code


def linked(policy: Policy = QUIET) -> tuple[Device, Far]:
    device = Device(ALICE, policy=policy)
    return device, Far(device).dials()


def absent(policy: Policy = QUIET) -> Device:
    """Bob is announced, and not linked."""
    device = Device(ALICE, policy=policy)
    device.announce(BOB)
    return device


# --- send -------------------------------------------------------------------------------------------------------


def test_send_is_answered_after_the_commit() -> None:
    device = absent()
    device.holding_commits = True
    request = device.send(BOB, 1)
    assert request not in device.replies
    device.commit()
    assert device.reply(request) == MessageState(mid(1), State.PENDING)


def test_send_accepts_the_addressee() -> None:
    device = absent()
    device.send(BOB, 1)
    assert device.store.peers[BOB].trust is Trust.UNVERIFIED
    device.manage(BOB, PeerAction.VERIFY)
    device.send(BOB, 2)
    assert device.store.peers[BOB].trust is Trust.VERIFIED


def test_send_stores_what_the_event_will_say() -> None:
    device, far = linked()
    far.notify(event(90))
    device.send(BOB, 1, "hello")
    (op,) = device.ops(InsertOutgoing)
    assert (op.seq, op.body, op.seen, op.sent_at_ms) == (1, "hello", mid(90), START_MS)
    assert op.hlc >= START_MS << 16


@pytest.mark.parametrize("committed", [False, True])
def test_send_with_the_same_id_again_returns_the_same_message(committed: bool) -> None:
    device = absent()
    device.holding_commits = not committed
    first = device.send(BOB, 1, "hello")
    again = device.send(BOB, 1, "hello")
    device.commit()
    assert device.reply(first) == device.reply(again) == MessageState(mid(1), State.PENDING)
    assert len(device.ops(InsertOutgoing)) == 1


@pytest.mark.parametrize("committed", [False, True])
def test_send_with_a_used_id_and_another_text_is_refused(committed: bool) -> None:
    device = absent()
    device.holding_commits = not committed
    device.send(BOB, 1, "hello")
    device.send(BOB, 1, "goodbye")
    device.commit()
    assert code(device.reply()) == "id_in_use"
    assert [view.body for view in device.waiting()] == ["hello"]


def test_send_with_an_id_that_another_peers_message_has_is_refused() -> None:
    device = absent()
    device.announce(CAROL)
    device.send(BOB, 1)
    device.send(CAROL, 1)
    assert code(device.reply()) == "id_in_use"
    assert len(device.waiting()) == 1


def test_send_with_the_id_of_a_delivered_message_tells_its_state() -> None:
    device, far = linked()
    device.send(BOB, 1)
    far.ack(1)
    device.send(BOB, 1)
    assert device.reply() == MessageState(mid(1), State.DELIVERED)
    device.send(BOB, 1, "other")
    assert code(device.reply()) == "id_in_use"
    assert device.waiting() == []
    device.send(BOB, 2)
    assert far.numbers() == [1, 2]


@pytest.mark.parametrize(("body", "found"), [("hi", State.FAILED), ("other", None)])
def test_send_with_the_id_of_a_dead_letter_tells_so(body: str, found: State | None) -> None:
    device, far = linked()
    device.send(BOB, 1, "hi")
    far.refuse(1, "too_large")
    device.send(BOB, 1, body)
    if found is None:
        assert code(device.reply()) == "id_in_use"
    else:
        assert device.reply() == MessageState(mid(1), found)


def test_send_with_the_id_of_a_message_that_is_taken_back_tells_its_state() -> None:
    device, _ = linked()
    device.send(BOB, 1)
    device.cancel(1)
    device.send(BOB, 1)
    assert device.reply() == MessageState(mid(1), State.SENT)
    assert len(device.waiting()) == 1


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("unknown", "no_such_peer"),
        ("too long", "too_large"),
        ("blocked", "blocked"),
        ("queue", "queue_full"),
        ("letters", "letters_full"),
        ("disk", "storage_failed"),
    ],
)
def test_send_is_refused_and_nothing_is_stored(what: str, expected: str) -> None:
    device, far = linked(Policy(max_queue=2, max_letters=1))
    device.manage(BOB, PeerAction.ACCEPT)
    peer, body = BOB, "hi"
    match what:
        case "unknown":
            peer = CAROL
        case "too long":
            body = "é" * 32_769
        case "blocked":
            device.manage(BOB, PeerAction.BLOCK)
        case "queue":
            device.send(BOB, 1)
            device.send(BOB, 2)
        case "letters":
            device.send(BOB, 1)
            far.refuse(1, "too_large")
        case _:
            device.feed(StorageFailed("full"))
    before = set(device.store.out)
    device.send(peer, 50, body)
    assert code(device.reply()) == expected
    assert set(device.store.out) == before


def test_send_counts_what_is_not_committed_yet() -> None:
    device = absent(Policy(max_queue=2))
    device.holding_commits = True
    for number in (1, 2, 3):
        device.send(BOB, number)
    device.commit()
    assert code(device.reply()) == "queue_full"
    assert len(device.waiting()) == 2


def test_send_of_a_known_id_finds_its_message_when_the_queue_is_full() -> None:
    """Who asks again hears of the message that it is, not that there is no room for a new one."""
    device, far = linked()
    device.send(BOB, 1, "one")
    far.ack(1)
    full = Device(ALICE, policy=Policy(max_queue=0), store=device.store)
    device = full
    device.send(BOB, 1, "one")
    assert device.reply() == MessageState(mid(1), State.DELIVERED)
    device.send(BOB, 1, "another text")
    assert code(device.reply()) == "id_in_use"
    device.send(BOB, 2, "two")
    assert code(device.reply()) == "queue_full"


def test_send_of_exactly_the_longest_text_is_taken() -> None:
    device = absent()
    device.send(BOB, 1, "x" * 65_536)
    assert device.reply() == MessageState(mid(1), State.PENDING)


# --- cancel -----------------------------------------------------------------------------------------------------


def test_cancel_is_answered_after_the_commit() -> None:
    device = absent()
    device.send(BOB, 1)
    device.holding_commits = True
    assert device.cancel(1) is None
    device.commit()
    assert device.reply() == MessageState(mid(1), State.CANCELLED)


@pytest.mark.parametrize("what", ["unknown", "delivered", "letter", "cancelled", "uncommitted"])
def test_cancel_is_refused_for_what_is_not_waiting(what: str) -> None:
    device, far = linked()
    if what == "uncommitted":
        device.holding_commits = True
    if what != "unknown":
        device.send(BOB, 1)
    if what == "delivered":
        far.ack(1)
    elif what == "letter":
        far.refuse(1, "too_large")
    elif what == "cancelled":
        far.cut()
        device.send(BOB, 2)
        device.cancel(2)
        far.dials()
    number = 2 if what == "cancelled" else 1
    result = device.cancel(number)
    assert code(result) == "not_waiting"
    assert isinstance(result, Refused)
    assert ("purge it" in result.text) == (what == "letter")


def test_cancel_finds_the_message_whoever_it_is_for() -> None:
    device = absent()
    device.announce(CAROL)
    device.send(CAROL, 1)
    assert device.cancel(1) == MessageState(mid(1), State.CANCELLED)


# --- read -------------------------------------------------------------------------------------------------------


def test_read_marks_up_to_the_message_named() -> None:
    device, far = linked()
    device.manage(BOB, PeerAction.ACCEPT)
    far.notify(event(1), event(2, prev=1), event(3, prev=2))
    device.clock.advance(60.0)
    assert device.read(BOB, 2) == Changed((mid(1), mid(2)))
    assert device.ops(MarkReadByUs)[-1].at_ms == START_MS + 60_000
    assert device.read(BOB) == Changed((mid(3),))
    assert device.read(BOB) == Changed(())


def test_read_of_an_unknown_peer_is_refused() -> None:
    assert code(Device(ALICE).read(BOB)) == "no_such_peer"


# --- managing peers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", PeerAction)
def test_unknown_peer_cannot_be_managed(action: PeerAction) -> None:
    assert code(Device(ALICE).manage(BOB, action)) == "no_such_peer"


@pytest.mark.parametrize(
    ("actions", "trust"),
    [
        ([PeerAction.ACCEPT], Trust.UNVERIFIED),
        ([PeerAction.ACCEPT, PeerAction.ACCEPT], Trust.UNVERIFIED),
        ([PeerAction.VERIFY], Trust.VERIFIED),
        ([PeerAction.VERIFY, PeerAction.ACCEPT], Trust.VERIFIED),
        ([PeerAction.BLOCK], Trust.BLOCKED),
        ([PeerAction.BLOCK, PeerAction.UNBLOCK], Trust.UNVERIFIED),
        ([PeerAction.VERIFY, PeerAction.UNBLOCK], Trust.VERIFIED),
        ([PeerAction.RENAME], Trust.UNVERIFIED),
        ([PeerAction.BLOCK, PeerAction.RENAME], Trust.BLOCKED),
    ],
)
def test_trust_follows_what_a_person_does(actions: list[PeerAction], trust: Trust) -> None:
    device, _ = linked()
    for action in actions:
        assert device.manage(BOB, action, "robert") == PeerDone(BOB)
    assert device.store.peers[BOB].trust is trust


def test_managing_is_answered_after_the_commit() -> None:
    device, _ = linked()
    device.holding_commits = True
    assert device.manage(BOB, PeerAction.ACCEPT) is None
    device.commit()
    assert device.reply() == PeerDone(BOB)


def test_rename_gives_a_clean_name_and_an_empty_one_takes_it_back() -> None:
    device, _ = linked()
    device.manage(BOB, PeerAction.RENAME, " the\x1b boss ")
    assert (device.view(BOB).name, device.view(BOB).own_name) == ("the␛ boss", "bob")
    assert device.store.peers[BOB].alias == "the␛ boss"
    device.manage(BOB, PeerAction.RENAME, "")
    assert device.view(BOB).name == "bob"


def test_accept_ends_the_hold_of_a_stranger() -> None:
    device, far = linked(Policy(max_stranger_messages=0))
    far.notify(event(1))
    assert far.got(Hold) == [Hold("not_accepted")]
    device.manage(BOB, PeerAction.ACCEPT)
    assert far.got(Bye) == [Bye("events are taken again")]
    far.dials()
    assert far.peek(Hold) == []
    far.notify(event(1))
    assert mid(1) in device.store.applied[BOB]


def test_answering_a_stranger_ends_its_hold_too() -> None:
    device, far = linked(Policy(max_stranger_messages=0))
    far.notify(event(1))
    far.got(Hold)
    device.send(BOB, 2)
    far.dials()
    far.notify(event(1))
    assert mid(1) in device.store.applied[BOB]


def test_addresses_of_a_seen_peer_are_stored_when_it_is_accepted() -> None:
    device = absent()
    device.advance(0.1)
    Far(device).answers()
    device.manage(BOB, PeerAction.ACCEPT)
    assert device.ops(RememberAddress)[-1].address == device.dials[0].addresses[0]
    assert device.store.peers[BOB].addresses == device.dials[0].addresses


def test_block_lets_nothing_in_and_unblock_starts_anew() -> None:
    device, far = linked(Policy(max_stranger_messages=0))
    far.notify(event(1))
    device.manage(BOB, PeerAction.BLOCK)
    assert device.view(BOB).detail == "blocked"
    device.manage(BOB, PeerAction.UNBLOCK)
    far.dials()
    far.notify(event(1))
    assert mid(1) in device.store.applied[BOB]


# --- forget -----------------------------------------------------------------------------------------------------


def test_forget_removes_the_peer_with_everything_and_ends_its_links() -> None:
    device, far = linked()
    device.manage(BOB, PeerAction.RENAME, "robert")
    for number in (1, 2, 3):
        device.send(BOB, number)
    far.refuse(1, "too_large")
    device.cancel(2)
    assert device.manage(BOB, PeerAction.FORGET) == PeerDone(BOB)
    assert far.got(Bye) == [Bye("forgotten")]
    assert device.waiting() == []
    assert device.store.out == {}
    assert device.node.peers(device.clock.now()) == []
    view = device.view(BOB)
    assert (view.trust, view.name, view.dead_letters, view.pending) == (Trust.SEEN, "bob", 0, 0)
    assert view.presence is Presence.OFFLINE
    far.cut()
    device.advance(100.0)


def test_forgotten_peer_that_comes_back_is_a_stranger_whose_stream_goes_on() -> None:
    device, far = linked()
    device.manage(BOB, PeerAction.ACCEPT)
    device.send(BOB, 1)
    far.ack(1)
    far.notify(event(50), event(51, prev=50))
    device.manage(BOB, PeerAction.FORGET)
    far.cut()
    far.applied = 1
    far.dials()
    far.notify(event(51), event(52, prev=51))
    assert device.store.peers[BOB].trust is Trust.REQUEST
    assert [message_id for _, message_id in device.store.incoming] == [mid(52)]
    device.send(BOB, 2)
    assert [(one.id, one.seq, one.prev) for one in far.events()] == [(mid(2), 2, 1)]
    assert "restored" not in [note.what for note in device.store.notes]


def test_forget_before_a_commit_takes_the_message_along() -> None:
    """Else it would stand in the line, and be sent, without being on the disk."""
    device, far = linked()
    device.holding_commits = True
    request = device.send(BOB, 1)
    device.manage(BOB, PeerAction.FORGET)
    device.commit()
    assert code(device.reply(request)) == "no_such_peer"
    assert device.waiting() == []
    device.holding_commits = False
    far.dials()
    assert far.numbers() == []
    device.send(BOB, 2)
    assert far.numbers() == [2]


def test_forget_of_one_peer_leaves_the_messages_to_others_alone() -> None:
    device, _ = linked()
    device.announce(CAROL)
    device.holding_commits = True
    device.send(CAROL, 1)
    device.manage(BOB, PeerAction.FORGET)
    device.commit()
    assert [view.message_id for view in device.waiting()] == [mid(1)]


def test_event_that_was_applied_while_its_author_was_forgotten_is_acknowledged_nowhere() -> None:
    device, far = linked()
    device.holding_commits = True
    far.notify(event(1))
    device.manage(BOB, PeerAction.FORGET)
    device.commit()
    assert len(device.ops(ApplyIncoming)) == 1
    assert device.store.incoming == {}
    device.holding_commits = False
    far.dials()
    far.notify(event(1))
    assert device.store.incoming == {}


# --- order ------------------------------------------------------------------------------------------------------


def test_replies_come_in_the_order_of_the_commands() -> None:
    device = absent()
    device.holding_commits = True
    requests = [device.send(BOB, number) for number in (1, 2, 3)]
    device.commit()
    assert list(device.replies) == requests


def test_frame_of_a_message_does_not_wait_for_later_ones() -> None:
    device, far = linked()
    device.send(BOB, 1)
    device.holding_commits = True
    device.send(BOB, 2)
    assert far.numbers() == [1]


def test_message_taken_back_in_flight_is_asked_about_behind_its_frame() -> None:
    """Else the answer would be about a message that is still on its way."""
    device, far = linked()
    device.holding_commits = True
    device.send(BOB, 1)
    device.send(BOB, 2)
    device.commit(1)
    device.cancel(1)
    device.commit()
    frames = [frame for link, frame in device.sent if link == far.link and isinstance(frame, Notify | Have)]
    assert [type(frame) for frame in frames][:2] == [Notify, Have]


def test_every_command_is_refused_while_the_disk_refuses_writes() -> None:
    device, _ = linked()
    device.feed(StorageFailed("full"))
    device.feed(SendText(900, BOB, mid(1), "hi"))
    results = [
        device.replies[900],
        device.cancel(1),
        device.read(BOB),
        device.retry(1),
        device.purge(1),
        device.manage(BOB, PeerAction.ACCEPT),
    ]
    assert {code(result) for result in results} == {"storage_failed"}


def test_send_of_a_waiting_id_finds_its_message_while_the_disk_refuses_writes() -> None:
    """Who asks again must not be told that nothing was stored: they would write it once more."""
    device = absent()
    device.send(BOB, 1, "one")
    device.feed(StorageFailed("full"))
    device.send(BOB, 1, "one")
    assert device.reply() == MessageState(mid(1), State.PENDING)
    device.send(BOB, 2, "two")
    assert code(device.reply()) == "storage_failed"
