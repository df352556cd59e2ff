"""What every store does with every operation. Each test runs against the database and against its twin in memory."""

from __future__ import annotations

import pytest

from p2pchat.core import ops, records
from p2pchat.model import Address, DeviceId, Direction, MessageId, PeerHasIt, Reason, State, Trust
from p2pchat.store.failures import NoSuchMessage
from p2pchat.store.interface import CommitResult, Store
from tests.contract.conftest import Reopen
from tests.contract.samples import BOB, EVE, at, clock, dead, delivered, incoming, mid, out, peer, revive

NOBODY = DeviceId("nobody".ljust(52, "n"))


def names(result: CommitResult) -> list[str]:
    return [event.name for event in result.recorded]


def state_of(store: Store, n: int) -> State:
    detail = store.message(mid(n))
    assert detail is not None
    return detail.message.state


def bodies(store: Store) -> list[str]:
    return [row.body for row in store.history(BOB, 1000)]


# --- ours -------------------------------------------------------------------------------------------------------


def test_insert_stores_a_pending_message_and_says_so(store: Store) -> None:
    result = store.commit([peer(), out(1, transmitted=True, seen=mid(9))])
    assert result.outcomes == (ops.OutgoingStored(BOB, mid(1), True, State.PENDING),)
    queued = result.recorded[-1]
    assert (queued.name, queued.at_ms, queued.peer) == ("message:queued", at(1), BOB)
    assert (queued.message_id, queued.body) == (mid(1), "out 1")
    (waiting,) = store.load().waiting
    assert waiting == records.WaitingRecord(
        BOB, mid(1), 1, "out 1", clock(1), mid(9), at(1), at(1), State.PENDING, transmitted=True
    )


def test_insert_tells_of_the_old_message_when_the_id_is_known(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1), delivered(1)])
    again = store.commit([out(1), out(1, body="other"), out(1, to=EVE)])
    assert [outcome for outcome in again.outcomes if isinstance(outcome, ops.OutgoingStored)] == [
        ops.OutgoingStored(BOB, mid(1), False, State.DELIVERED, same=True),
        ops.OutgoingStored(BOB, mid(1), False, State.DELIVERED, same=False),
        ops.OutgoingStored(EVE, mid(1), False, State.DELIVERED, same=False),
    ]
    assert again.recorded == ()
    assert len(store.history(BOB, 10)) == 1


def test_insert_refuses_the_id_of_an_incoming_message(store: Store) -> None:
    store.commit([peer(), incoming(1)])
    result = store.commit([out(1)])
    assert result.outcomes == (ops.OutgoingStored(BOB, mid(1), False, State.DELIVERED, same=False),)


def test_insert_places_a_message_after_the_highest(store: Store) -> None:
    store.commit([peer(), incoming(50), out(1), out(2)])
    assert bodies(store) == ["in 50", "out 1", "out 2"]
    places = [row.place for row in store.history(BOB, 10)]
    assert places == [clock(50), clock(50) + 1, clock(50) + 2]
    assert store.load().hlc == clock(50) + 2


def test_insert_counts_the_stream(store: Store) -> None:
    store.commit([peer(), out(7)])
    assert store.load().peers[0].next_seq == 8


def test_a_message_to_or_from_nobody_makes_a_stranger(store: Store) -> None:
    store.commit([out(1), incoming(2, EVE)])
    assert [(p.peer, p.trust) for p in store.load().peers] == [(BOB, Trust.REQUEST), (EVE, Trust.REQUEST)]


def test_transmitted_is_remembered_and_told_to_nobody(store: Store) -> None:
    store.commit([peer(), out(1), out(2)])
    result = store.commit([ops.MarkTransmitted((mid(1), mid(77)))])
    assert result == CommitResult()
    assert [waiting.transmitted for waiting in store.load().waiting] == [True, False]


def test_sent_moves_only_pending_messages(store: Store) -> None:
    store.commit([peer(), out(1), out(2), delivered(2)])
    result = store.commit([ops.MarkSent((mid(1), mid(2), mid(77)), at(5)), ops.MarkSent((mid(1),), at(6))])
    (sent,) = result.recorded
    assert (sent.name, sent.message_id, sent.at_ms) == ("message:sent", mid(1), at(5))
    assert sent.detail == {"pending_at_ms": at(1), "sent_at_ms": at(5)}
    assert (state_of(store, 1), state_of(store, 2)) == (State.SENT, State.DELIVERED)


def test_delivered_tells_the_times_of_its_way(store: Store) -> None:
    store.commit([peer(), out(1), ops.MarkSent((mid(1),), at(5))])
    (event,) = store.commit([delivered(1, second=7)]).recorded
    assert event.name == "message:delivered"
    assert event.detail == {
        "pending_at_ms": at(1),
        "sent_at_ms": at(5),
        "delivered_at_ms": at(7),
        "latency_ms": 6000,
    }
    assert store.load().waiting == ()


def test_delivered_marks_a_pending_message_as_sent_first(store: Store) -> None:
    store.commit([peer(), out(1), out(2)])
    result = store.commit([delivered(1, second=7, sent=3), delivered(2, second=8)])
    assert names(result) == ["message:sent", "message:delivered"] * 2
    assert [event.at_ms for event in result.recorded] == [at(3), at(7), at(8), at(8)]
    detail = store.message(mid(1))
    assert detail is not None
    assert detail.states == ((State.PENDING, at(1)), (State.SENT, at(3)), (State.DELIVERED, at(7)))


def test_delivered_counts_what_moved_and_its_highest_number(store: Store) -> None:
    store.commit([peer(), out(1), out(2), out(3)])
    store.commit([delivered(3, 1, 1, 77), delivered(1)])
    (record,) = store.load().peers
    assert (record.acked, record.settled_seq) == (2, 3)


def test_delivered_ends_a_dead_letter(store: Store) -> None:
    store.commit([peer(), out(1), dead(1)])
    assert names(store.commit([delivered(1)])) == ["message:delivered"]
    assert (state_of(store, 1), store.letters()) == (State.DELIVERED, [])


def test_delivered_ends_a_purged_dead_letter(store: Store) -> None:
    store.commit([peer(), out(1), dead(1), ops.RemoveLetters((mid(1),), at(91))])
    store.commit([delivered(1)])
    assert state_of(store, 1) is State.DELIVERED


def test_delivered_wins_over_a_cancel_that_began(store: Store) -> None:
    store.commit([peer(), out(1, transmitted=True), ops.BeginCancel(BOB, mid(1), at(5)), delivered(1)])
    detail = store.message(mid(1))
    assert detail is not None
    assert (detail.message.state, detail.message.cancelling) == (State.DELIVERED, False)


def test_delivered_by_somebody_else_changes_nothing(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1)])
    assert store.commit([delivered(1, by=EVE)]) == CommitResult()
    assert state_of(store, 1) is State.PENDING
    assert [p.acked for p in store.load().peers] == [0, 0]


def test_read_by_peer_moves_only_what_is_delivered_to_it(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1), out(2), delivered(1, second=7, sent=3), incoming(9)])
    assert store.commit([ops.MarkReadByPeer(EVE, (mid(1),), at(8))]).recorded == ()
    ids = (mid(1), mid(2), mid(9), mid(77))
    (event,) = store.commit([ops.MarkReadByPeer(BOB, ids, at(8)), ops.MarkReadByPeer(BOB, ids, at(9))]).recorded
    assert (event.name, event.message_id) == ("message:read", mid(1))
    assert event.detail == {
        "pending_at_ms": at(1),
        "sent_at_ms": at(3),
        "delivered_at_ms": at(7),
        "latency_ms": 6000,
        "read_at_ms": at(8),
        "direction": "out",
    }
    assert [state_of(store, n) for n in (1, 2, 9)] == [State.READ, State.PENDING, State.DELIVERED]


def test_a_read_message_never_goes_back(store: Store) -> None:
    store.commit([peer(), out(1), delivered(1), ops.MarkReadByPeer(BOB, (mid(1),), at(101))])
    backwards: list[ops.Op] = [
        ops.MarkSent((mid(1),), at(110)),
        delivered(1, second=111),
        dead(1, second=112),
        revive(1, 9),
        ops.BeginCancel(BOB, mid(1), at(113)),
        ops.FinishCancel(BOB, (mid(1),), at(114)),
        ops.RecordAttempt(mid(1), 1, at(120), Reason.REFUSED, "", at(115)),
        ops.SettleLetters((mid(1),), at(116)),
        ops.RemoveLetters((mid(1),), at(117)),
    ]
    for op in backwards:
        assert store.commit([op]) == CommitResult(), op
    row = store.history(BOB, 1)[0]
    assert (row.state, row.received_at_ms, row.read_at_ms) == (State.READ, at(100), at(101))


def test_an_attempt_is_recorded_and_reset(store: Store) -> None:
    store.commit([peer(), out(1), dead(1), out(2)])
    attempt = ops.RecordAttempt(mid(2), 3, at(30), Reason.REFUSED, "later", at(20))
    (event,) = store.commit([attempt, ops.RecordAttempt(mid(1), 3, at(30), Reason.REFUSED, "", at(20))]).recorded
    assert (event.name, event.peer, event.message_id) == ("retry:scheduled", BOB, mid(2))
    assert event.detail == {
        "attempts": 3,
        "next_attempt_at_ms": at(30),
        "reason": "refused",
        "detail": "later",
    }
    (waiting,) = store.load().waiting
    assert (waiting.attempts, waiting.next_attempt_at_ms) == (3, at(30))
    assert (waiting.last_reason, waiting.last_detail) == (Reason.REFUSED, "later")
    assert store.commit([ops.ResetAttempts(mid(2))]) == CommitResult()
    (waiting,) = store.outbox()
    assert (waiting.attempts, waiting.next_attempt_at_ms) == (0, None)
    assert (waiting.last_reason, waiting.last_detail) == (None, "")


def test_cancel_begins_once_and_ends(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1), out(2)])
    begun = store.commit([ops.BeginCancel(who, mid(1), at(5)) for who in (EVE, BOB, BOB)])
    assert names(begun) == ["message:cancelling"]
    assert [waiting.cancelling for waiting in store.load().waiting] == [True, False]
    ended = store.commit([ops.FinishCancel(BOB, (mid(1), mid(2), mid(1)), at(6))])
    assert names(ended) == ["message:cancelled"] * 2
    assert store.load().waiting == ()
    assert state_of(store, 1) is State.CANCELLED
    assert store.commit([delivered(1), dead(1)]) == CommitResult()
    detail = store.message(mid(1))
    assert detail is not None
    assert detail.states == ((State.PENDING, at(1)), (State.CANCELLED, at(6)))


def test_outgoing_query_tells_what_became_of_an_id(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1), delivered(1), incoming(2)])
    result = store.commit(
        [
            ops.QueryOutgoing(BOB, mid(1), "out 1"),
            ops.QueryOutgoing(EVE, mid(1), "out 1"),
            ops.QueryOutgoing(BOB, mid(2), "in 2"),
            ops.QueryOutgoing(BOB, mid(3), "out 3"),
        ]
    )
    assert result.outcomes == (
        ops.OutgoingKnown(mid(1), State.DELIVERED, True),
        ops.OutgoingKnown(mid(1), State.DELIVERED, False),
        ops.OutgoingKnown(mid(2), State.DELIVERED, False),
        ops.OutgoingKnown(mid(3), None, False),
    )
    assert result.recorded == ()


def test_stream_query_finds_what_was_not_given_up(store: Store) -> None:
    store.commit([peer(), *(out(n) for n in range(1, 8)), incoming(3)])
    gone: list[ops.Op] = [dead(2), ops.FinishCancel(BOB, (mid(3),), at(90)), ops.BeginCancel(BOB, mid(4), at(90))]
    store.commit([*gone, delivered(5), dead(6), revive(6, 8)])
    result = store.commit([ops.QueryStream(BOB, 2, 8), ops.QueryStream(EVE, 1, 9)])
    found, nothing = result.outcomes
    assert isinstance(found, ops.StreamFound)
    assert [event.message_id for event in found.events] == [mid(5), mid(7), mid(6)]
    assert found.events[-1] == ops.StoredEvent(mid(6), 8, "out 6", clock(6), None, at(6))
    assert nothing == ops.StreamFound(())
    assert result.recorded == ()


@pytest.mark.parametrize(("first", "last"), [(1, 2**62), (0, 63), (64, 64), (63, 65), (130, 130), (120, 400)])
def test_stream_query_finds_any_range_of_a_long_stream(store: Store, first: int, last: int) -> None:
    store.commit([peer(), *(op for n in range(1, 301) for op in (out(n), incoming(n + 1000)))])
    (found,) = store.commit([ops.QueryStream(BOB, first, last)]).outcomes
    assert isinstance(found, ops.StreamFound)
    expected = [n for n in range(1, 301) if first <= n <= last][:256]
    assert [event.seq for event in found.events] == expected


# --- dead letters -----------------------------------------------------------------------------------------------


def test_a_dead_letter_keeps_what_is_known_of_it(store: Store) -> None:
    store.commit([peer(), out(1, transmitted=True, seen=mid(5))])
    (event,) = store.commit([dead(1), dead(1)]).recorded
    assert event.name == "message:moved-to-dlq"
    assert event.detail == {
        "reason": "not_acknowledged",
        "last_error": "no ack",
        "attempts": 5,
        "peer_has_it": "unknown",
    }
    letter = records.LetterRecord(
        BOB, mid(1), 1, "out 1", clock(1), mid(5), at(1), Reason.NOT_ACKNOWLEDGED, "no ack", 5, PeerHasIt.UNKNOWN,
        transmitted=True, auto_returns=0, moved_at_ms=at(90),
    )  # fmt: skip
    assert store.load().letters == (letter,)
    assert store.letters(BOB) == [letter]
    assert store.letters(EVE) == []
    assert store.letter(mid(1)) == letter
    assert store.letter(mid(2)) is None
    assert state_of(store, 1) is State.FAILED


def test_only_the_addressee_s_letter_is_moved(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1)])
    assert store.commit([dead(1, to=EVE)]) == CommitResult()


def test_revived_letter_waits_under_a_new_number_with_a_fresh_clock(store: Store) -> None:
    failed = ops.RecordAttempt(mid(1), 4, at(30), Reason.REFUSED, "later", at(20))
    store.commit([peer(), out(1, transmitted=True), ops.MarkSent((mid(1),), at(2)), failed, dead(1)])
    (event,) = store.commit([revive(1, 5, auto=True, auto_returns=2), revive(1, 6)]).recorded
    assert (event.name, event.detail) == ("message:retried", {"auto": True, "auto_returns": 2})
    snapshot = store.load()
    assert snapshot.letters == ()
    assert snapshot.waiting == (
        records.WaitingRecord(
            BOB, mid(1), 5, "out 1", clock(1), None, at(1), at(95), State.PENDING, transmitted=True, auto_returns=2
        ),
    )
    assert snapshot.peers[0].next_seq == 6
    store.commit([delivered(1, second=97, sent=96)])
    detail = store.message(mid(1))
    assert detail is not None
    assert detail.states == (
        (State.PENDING, at(1)),
        (State.FAILED, at(90)),
        (State.PENDING, at(95)),
        (State.SENT, at(96)),
        (State.DELIVERED, at(97)),
    )


def test_settled_letter_is_not_there(store: Store) -> None:
    store.commit([peer(), out(1), out(2), dead(1), dead(2, peer_has_it=PeerHasIt.NO)])
    (event,) = store.commit([ops.SettleLetters((mid(1), mid(2), mid(77)), at(92))]).recorded
    assert (event.name, event.message_id, event.at_ms) == ("message:settled", mid(1), at(92))
    assert [letter.peer_has_it for letter in store.letters()] == [PeerHasIt.NO, PeerHasIt.NO]


def test_purged_letter_leaves_its_message_as_failed(store: Store) -> None:
    store.commit([peer(), out(1), dead(1), out(2)])
    assert names(store.commit([ops.RemoveLetters((mid(1), mid(2), mid(1)), at(92))])) == ["message:purged"]
    assert (store.letters(), state_of(store, 1)) == ([], State.FAILED)
    assert store.commit([revive(1, 9)]) == CommitResult()


# --- theirs -----------------------------------------------------------------------------------------------------


def test_incoming_is_applied_once(store: Store) -> None:
    store.commit([peer()])
    result = store.commit([incoming(1), incoming(1)])
    assert result.outcomes == (ops.IncomingApplied(BOB, mid(1), True), ops.IncomingApplied(BOB, mid(1), False))
    (event,) = result.recorded
    assert (event.name, event.at_ms, event.body) == ("message:received", at(2), "in 1")
    assert event.detail == {"sent_at_ms": at(1), "received_at_ms": at(2)}
    (row,) = store.history(BOB, 10)
    assert (row.direction, row.state, row.received_at_ms) == (Direction.IN, State.DELIVERED, at(2))


def test_incoming_that_fills_a_hole_stands_before_what_revealed_it(store: Store) -> None:
    """The author's order survives a restored copy: what was missing is not put behind what came first."""
    store.commit([peer(), incoming(1), incoming(4), incoming(2), incoming(3), incoming(5)])

    assert [row.seq for row in store.history(BOB, 10)] == [1, 2, 3, 4, 5]


def test_incoming_counts_the_stream(store: Store) -> None:
    store.commit([peer(), incoming(5), incoming(3), incoming(3)])
    (record,) = store.load().peers
    assert (record.applied, record.last_seq, record.last_incoming) == (2, 5, mid(5))


def test_incoming_counts_a_stranger_s_messages_until_accepted(store: Store) -> None:
    store.commit([peer(trust=Trust.REQUEST), incoming(1, body="äöü"), incoming(2, body="x"), incoming(2)])
    store.commit([peer(trust=Trust.UNVERIFIED), incoming(3)])
    (record,) = store.load().peers
    assert (record.stranger_messages, record.stranger_bytes) == (2, 7)


def test_one_id_of_two_authors_is_two_messages(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1)])
    result = store.commit([incoming(1), incoming(1, EVE), delivered(1)])
    assert [o.applied for o in result.outcomes if isinstance(o, ops.IncomingApplied)] == [True, True]
    assert sorted(bodies(store)) == ["in 1", "out 1"]
    detail = store.message(mid(1))
    assert detail is not None
    assert detail.message.direction is Direction.OUT


def test_an_answer_stands_after_its_question_however_slow_the_clock(store: Store) -> None:
    store.commit([peer(), out(100)])
    store.commit([incoming(1, hlc=clock(-9999), seen=mid(100)), incoming(2, hlc=clock(-9999))])
    assert bodies(store) == ["out 100", "in 1", "in 2"]


def test_a_fast_clock_is_believed_for_five_minutes(store: Store) -> None:
    store.commit([peer(), incoming(1, hlc=2**63 - 1, received=10)])
    assert store.history(BOB, 1)[0].place == clock(310)
    assert store.load().hlc == clock(310)


def test_what_was_seen_counts_only_within_the_conversation(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(100, to=EVE), incoming(1, seen=mid(100)), incoming(2, seen=mid(77))])
    assert [row.place for row in store.history(BOB, 5)] == [clock(1), clock(2)]


def test_reading_marks_up_to_a_message_and_tells_each(store: Store) -> None:
    store.commit([peer(), incoming(1), incoming(2), out(3), incoming(4)])
    assert store.unread_counts() == {BOB: 3}
    result = store.commit([ops.MarkReadByUs(BOB, mid(3), at(9), tell=True)])
    assert result.outcomes == (ops.ReadByUs(BOB, (mid(1), mid(2))),)
    assert names(result) == ["message:read"] * 2
    assert result.recorded[0].detail == {
        "sent_at_ms": at(1),
        "received_at_ms": at(2),
        "read_at_ms": at(9),
        "direction": "in",
    }
    assert store.unread_count(BOB) == 1
    assert store.load().untold_reads == {BOB: (mid(1), mid(2))}


def test_reading_everything_again_reads_nothing(store: Store) -> None:
    store.commit([peer(), incoming(1)])
    everything = ops.MarkReadByUs(BOB, None, at(9), tell=False)
    first, second = store.commit([everything, everything]).outcomes
    assert (first, second) == (ops.ReadByUs(BOB, (mid(1),)), ops.ReadByUs(BOB, ()))
    assert store.load().untold_reads == {}
    assert store.unread_counts() == {}


@pytest.mark.parametrize("up_to", [mid(77), mid(2)])
def test_reading_up_to_a_message_that_is_not_there_reads_nothing(store: Store, up_to: MessageId) -> None:
    store.commit([peer(), incoming(1), incoming(2, EVE)])
    result = store.commit([ops.MarkReadByUs(BOB, up_to, at(9), tell=True)])
    assert result == CommitResult((ops.ReadByUs(BOB, ()),))


def test_told_reads_are_told_no_more(store: Store) -> None:
    store.commit([peer(), incoming(1), incoming(2), ops.MarkReadByUs(BOB, None, at(9), tell=True)])
    store.commit([ops.ReadTold(EVE, (mid(1),)), ops.ReadTold(BOB, (mid(2), mid(77)))])
    assert store.load().untold_reads == {BOB: (mid(1),)}


def test_applied_is_known_by_author(store: Store) -> None:
    store.commit([peer(), incoming(1), incoming(2, EVE), out(3)])
    result = store.commit([ops.QueryApplied(BOB, (mid(1), mid(2), mid(3)))])
    assert result == CommitResult((ops.AppliedKnown((mid(1),), (mid(2), mid(3))),))


# --- peers ------------------------------------------------------------------------------------------------------


def test_a_peer_is_stored_and_changed(store: Store) -> None:
    (event,) = store.commit([peer()]).recorded
    assert (event.name, event.peer) == ("peer:changed", BOB)
    assert event.detail == {"name": "bob", "alias": "", "trust": "unverified"}
    store.commit([out(1), delivered(1), incoming(2)])
    assert names(store.commit([peer(alias="Bobby", trust=Trust.VERIFIED)])) == ["peer:changed"]
    (record,) = store.load().peers
    assert (record.alias, record.trust, record.next_seq, record.acked) == ("Bobby", Trust.VERIFIED, 2, 1)


def test_a_peer_that_stays_as_it_is_records_nothing(store: Store) -> None:
    store.commit([peer()])
    assert store.commit([peer()]) == CommitResult()


def test_addresses_are_kept_newest_first_eight_at_most(store: Store) -> None:
    store.commit([peer(), peer(EVE)])
    for n in range(10):
        store.commit([ops.RememberAddress(BOB, Address("10.0.0.1", n), at(n))])
    store.commit(
        [ops.RememberAddress(BOB, Address("10.0.0.1", 5), at(1)), ops.RememberAddress(EVE, Address("x", 1), 0)]
    )
    addresses = store.load().peers[0].addresses
    assert [address.port for address in addresses] == [5, 9, 8, 7, 6, 4, 3, 2]


def test_address_of_somebody_unknown_is_not_kept(store: Store) -> None:
    assert store.commit([ops.RememberAddress(EVE, Address("10.0.0.1", 1), at(1))]) == CommitResult()
    assert store.load() == records.Snapshot()


def test_presence_is_recorded_and_kept_for_peers(store: Store) -> None:
    store.commit([peer()])
    result = store.commit(
        [
            ops.NotePresence(BOB, "bob", "online", True, at(5)),
            ops.NotePresence(BOB, "bob", "offline", False, at(8)),
            ops.NotePresence(EVE, "eve", "away", False, at(9)),
        ]
    )
    assert names(result) == ["device:status-changed"] * 3
    assert result.recorded[2].peer == EVE
    assert result.recorded[0].detail == {"presence": "online", "name": "bob"}
    (record,) = store.load().peers
    assert (record.last_seen_ms, record.last_linked_ms) == (at(8), at(5))


def test_last_seen_never_goes_back_when_the_clock_does(store: Store) -> None:
    store.commit([peer(), *(ops.NotePresence(BOB, "bob", "online", True, at(t)) for t in (9, 4))])
    (record,) = store.load().peers
    assert (record.last_seen_ms, record.last_linked_ms) == (at(9), at(9))


def test_forgetting_removes_everything_but_the_ids_and_counters(store: Store) -> None:
    store.commit([peer(), peer(EVE), incoming(1), incoming(2), out(3), out(4), dead(4), out(5), delivered(5)])
    store.commit([ops.MarkReadByUs(BOB, mid(1), at(9), tell=True), incoming(6, EVE)])
    assert names(store.commit([ops.ForgetPeer(BOB, at(50)), ops.ForgetPeer(BOB, at(51))])) == ["peer:forgotten"]
    snapshot = store.load()
    assert [(record.peer, record.trust) for record in snapshot.peers] == [(BOB, Trust.SEEN), (EVE, Trust.UNVERIFIED)]
    assert (snapshot.peers[0].next_seq, snapshot.peers[0].applied, snapshot.peers[0].name) == (6, 2, "")
    assert (snapshot.waiting, snapshot.letters, snapshot.untold_reads) == ((), (), {})
    assert (store.history(BOB, 10), store.unread_counts(), store.message(mid(1))) == ([], {EVE: 1}, None)
    result = store.commit([ops.QueryApplied(BOB, (mid(1), mid(7))), incoming(1), ops.QueryStream(BOB, 0, 99)])
    assert result.outcomes == (
        ops.AppliedKnown((mid(1),), (mid(7),)),
        ops.IncomingApplied(BOB, mid(1), False),
        ops.StreamFound(()),
    )
    store.commit([peer()])
    record = store.load().peers[0]
    assert record.peer == BOB
    assert (record.next_seq, record.acked, record.settled_seq) == (6, 1, 5)
    assert (record.applied, record.last_seq, record.last_incoming) == (2, 2, None)


def test_adopting_another_identity_forgets_what_was_acknowledged_to_the_old_one(store: Store) -> None:
    """Peers know the new device by nothing: not by what they acknowledged to the old one."""
    old, new = DeviceId("old".ljust(52, "o")), DeviceId("new".ljust(52, "n"))
    store.commit([ops.AdoptIdentity(old), peer(), out(1), delivered(1), incoming(2)])

    store.commit([ops.AdoptIdentity(old)])
    (kept,) = store.load().peers
    store.commit([ops.AdoptIdentity(new)])
    (fresh,) = store.load().peers

    assert (kept.acked, kept.settled_seq, kept.applied) == (1, 1, 1)
    assert (fresh.acked, fresh.settled_seq, fresh.applied, fresh.next_seq) == (0, 0, 1, kept.next_seq)


def test_forgetting_takes_the_events_about_the_messages_along(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1), incoming(2, EVE)])
    store.commit([incoming(3), ops.ForgetPeer(BOB, at(50)), out(1), out(9, to=EVE)])
    assert [(event.name, event.message_id) for event in store.events_since(0, 99)] == [
        ("peer:changed", None),
        ("peer:changed", None),
        ("message:received", mid(2)),
        ("peer:forgotten", None),
        ("message:queued", mid(1)),
        ("message:queued", mid(9)),
    ]


def test_a_forgotten_peer_can_write_again(store: Store) -> None:
    store.commit([peer(), incoming(1), ops.ForgetPeer(BOB, at(50)), incoming(2), out(1)])
    assert bodies(store) == ["in 2", "out 1"]
    assert store.load().peers[0].trust is Trust.REQUEST
    assert store.load().peers[0].stranger_messages == 1


def test_stream_notice_is_named_after_what_happened(store: Store) -> None:
    (event,) = store.commit([ops.NoteStream(BOB, "hole", "3 are missing", at(4))]).recorded
    assert (event.name, event.peer, event.detail) == ("stream:hole", BOB, {"detail": "3 are missing"})
    assert store.events_since(0, 9) == [event]


# --- reading ----------------------------------------------------------------------------------------------------


def test_history_pages_by_message(store: Store) -> None:
    store.commit([peer(), peer(EVE), *(out(n) for n in range(1, 21)), out(50, to=EVE)])

    def page(limit: int, **edges: MessageId) -> list[int]:
        return [row.seq for row in store.history(BOB, limit, **edges)]

    assert page(3) == [18, 19, 20]
    assert page(3, before=mid(18)) == [15, 16, 17]
    assert page(3, after=mid(5)) == [6, 7, 8]
    assert page(3, after=mid(19)) == [20]
    assert page(3, before=mid(1)) == []
    assert page(9, after=mid(5), before=mid(9)) == [6, 7, 8]
    assert page(2, after=mid(5), before=mid(9)) == [7, 8]
    assert store.history(NOBODY, 5) == []
    for edge in (mid(50), mid(77)):
        with pytest.raises(NoSuchMessage):
            store.history(BOB, 3, before=edge)
        with pytest.raises(NoSuchMessage):
            store.history(BOB, 3, after=edge)


def test_history_keeps_messages_of_one_place_apart(store: Store) -> None:
    store.commit([peer(), *(incoming(n, hlc=clock(5)) for n in (1, 2)), out(3, hlc=0)])
    store.commit([incoming(4, EVE, hlc=7), incoming(5, EVE, hlc=7)])
    pages = [store.history(BOB, 1, after=mid(n)) for n in (1, 2, 3)]
    assert [[row.message_id for row in page] for page in pages] == [[mid(2)], [mid(3)], []]


def test_last_message_of_each_conversation_is_found(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(1), incoming(2, EVE), incoming(3)])
    assert {who: row.message_id for who, row in store.last_messages().items()} == {BOB: mid(3), EVE: mid(2)}


def test_outbox_is_by_peer_and_number(store: Store) -> None:
    store.commit([peer(), peer(EVE), out(2, to=EVE), out(3), out(4), dead(3), revive(3, 5), out(1, to=EVE)])
    assert [(w.peer, w.seq) for w in store.outbox()] == [(BOB, 4), (BOB, 5), (EVE, 1), (EVE, 2)]
    assert [w.seq for w in store.outbox(EVE)] == [1, 2]


def test_message_detail_has_what_it_waits_for(store: Store) -> None:
    store.commit([peer(), out(1), out(2), dead(2), incoming(3)])
    waiting, failed, arrived = (store.message(mid(n)) for n in (1, 2, 3))
    assert waiting is not None
    assert failed is not None
    assert arrived is not None
    assert (waiting.waiting, waiting.letter) == (store.outbox()[0], None)
    assert (failed.waiting, failed.letter) == (None, store.letter(mid(2)))
    assert failed.states == ((State.PENDING, at(2)), (State.FAILED, at(90)))
    assert arrived.states == ((State.DELIVERED, at(4)),)
    assert store.message(mid(77)) is None


def test_counts_add_up(store: Store) -> None:
    store.commit([peer(), out(1), out(2), dead(2), incoming(3)])
    counts = store.counts()
    assert (counts.peers, counts.messages, counts.waiting, counts.letters, counts.unread, counts.events) == (
        1, 3, 1, 1, 1, 5,
    )  # fmt: skip


# --- events and restarts ----------------------------------------------------------------------------------------


def everything(store: Store) -> CommitResult:
    """Make at least one event of each kind."""
    return store.commit(
        [
            peer(),
            *(out(n) for n in range(1, 8)),
            ops.MarkSent((mid(1),), at(9)),
            delivered(1, 2, second=10),
            ops.MarkReadByPeer(BOB, (mid(1),), at(11)),
            incoming(20),
            ops.MarkReadByUs(BOB, None, at(23), tell=True),
            ops.RecordAttempt(mid(3), 1, at(30), Reason.REFUSED, "späte", at(24)),
            dead(3),
            dead(4),
            dead(5),
            revive(3, 8),
            ops.SettleLetters((mid(4),), at(92)),
            ops.RemoveLetters((mid(5),), at(93)),
            delivered(4),
            ops.BeginCancel(BOB, mid(6), at(94)),
            ops.FinishCancel(BOB, (mid(6),), at(95)),
            ops.NotePresence(EVE, "eve", "away", False, at(96)),
            peer(EVE),
            ops.ForgetPeer(EVE, at(97)),
            ops.NoteStream(BOB, "restored", "from a copy", at(98)),
        ]
    )


def test_events_are_replayed_as_they_were_recorded(store: Store, reopen: Reopen) -> None:
    recorded = list(everything(store).recorded)
    assert len({event.name for event in recorded}) == 16
    assert store.events_since(0, 1000) == recorded
    again = reopen()
    assert again.events_since(0, 1000) == recorded
    assert again.events_since(recorded[4].event_id, 3) == recorded[5:8]
    assert again.event_range() == (recorded[0].event_id, recorded[-1].event_id)


def test_event_ids_go_on_after_a_restart(store: Store, reopen: Reopen) -> None:
    last = store.commit([peer(), out(1)]).recorded[-1].event_id
    assert [event.event_id for event in reopen().commit([out(2), out(3)]).recorded] == [last + 1, last + 2]


def test_no_events_have_no_range(store: Store) -> None:
    assert store.event_range() == (None, None)
    assert store.events_since(0, 10) == []


def test_everything_is_there_after_a_restart(store: Store, reopen: Reopen) -> None:
    everything(store)
    store.commit([ops.RememberAddress(BOB, Address("fe80::1%eth0", 27270), at(1))])
    before, history = store.load(), store.history(BOB, 100)
    again = reopen()
    assert again.load() == before
    assert again.history(BOB, 100) == history
    assert again.commit([incoming(20), out(1)]).outcomes == (
        ops.IncomingApplied(BOB, mid(20), False),
        ops.OutgoingStored(BOB, mid(1), False, State.READ),
    )


def test_an_empty_commit_is_nothing(store: Store) -> None:
    assert store.commit([]) == CommitResult()
    assert store.load() == records.Snapshot()
