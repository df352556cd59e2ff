"""The line to one peer: who flies, who waits, who is charged, and when the next try is."""

from __future__ import annotations

import random

from p2pchat.core.effects import MessageState
from p2pchat.core.ops import MarkSent, MarkTransmitted, RecordAttempt
from p2pchat.model import Address, Policy, Reason, State
from p2pchat.wire import Events, Have, HeartbeatAck, Hold, Notify, Pull, decode_event
from tests.core.driver import ALICE, BOB, Device, Far, address_of, mid

QUIET = Policy(retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7)
"""No jitter, no heartbeats and no silence: only the line acts."""


def linked(policy: Policy = QUIET) -> tuple[Device, Far]:
    device = Device(ALICE, policy=policy)
    return device, Far(device).dials()


def fly(device: Device, *numbers: int) -> None:
    for number in numbers:
        device.send(BOB, number, f"text {number}")


def attempts(device: Device) -> list[tuple[int, Reason]]:
    return [(op.attempts, op.reason) for op in device.ops(RecordAttempt)]


def with_mail(device: Device) -> None:
    """A stored peer at a proven address, without a link, with a message for it."""
    device.announce(BOB)
    device.advance(0.1)
    far = Far(device).answers()
    device.send(BOB, 9)
    far.ack(9)
    device.advance(10.0)
    far.cut()
    fly(device, 1, 2)
    while len(device.dials) < 2:
        device.advance(0.5)


# --- transmitting -----------------------------------------------------------------------------------------------


def test_line_transmits_in_the_order_of_the_author_when_linked() -> None:
    device, far = linked()
    fly(device, 3, 1, 2)
    assert far.numbers() == [3, 1, 2]


def test_line_transmits_only_after_the_commit() -> None:
    device, far = linked()
    device.holding_commits = True
    fly(device, 1)
    assert far.numbers() == []
    device.commit()
    assert far.numbers() == [1]


def test_line_marks_as_transmitted_before_the_frame_leaves() -> None:
    """Written ahead, so that a crash can never make a message that left look as if it had not."""
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    fly(device, 1)
    device.holding_commits = True
    far = Far(device).dials()
    assert far.numbers() == []
    assert device.ops(MarkTransmitted)[-1].message_ids == (mid(1),)
    device.commit()
    assert far.numbers() == [1]


def test_line_stores_transmitted_with_the_message_when_it_goes_at_once() -> None:
    device, _ = linked()
    fly(device, 1, 2)
    assert device.ops(MarkTransmitted) == []
    assert device.store.out[mid(1)].record.transmitted


def test_line_sends_many_waiting_messages_in_few_frames() -> None:
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    fly(device, *range(1, 301))
    far = Far(device).dials()
    frames = far.got(Notify)
    assert [len(frame.events) for frame in frames] == [128, 128]
    assert device.frames(Events) == []


def test_line_splits_frames_by_bytes() -> None:
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    for number in range(1, 9):
        device.send(BOB, number, "x" * 60_000)
    far = Far(device).dials()
    sizes = [sum(len(bytes(raw)) for raw in frame.events) for frame in far.got(Notify)]
    assert len(sizes) > 1
    assert max(sizes) < 400_000


def test_window_of_events_holds_the_rest_back_until_something_is_acknowledged() -> None:
    device, far = linked(Policy(window_events=3))
    fly(device, 1, 2, 3, 4, 5)
    assert far.numbers() == [1, 2, 3]
    far.ack(1, 2)
    assert far.numbers() == [4, 5]


def test_window_of_bytes_holds_the_rest_back_but_never_the_head() -> None:
    device, far = linked(Policy(window_bytes=1000))
    device.send(BOB, 1, "x" * 5000)
    device.send(BOB, 2, "y")
    device.send(BOB, 3, "z")
    assert far.numbers() == [1]
    far.ack(1)
    assert far.numbers() == [2, 3]


def test_prev_is_the_last_number_that_was_not_given_up() -> None:
    device, far = linked()
    fly(device, 1, 2, 3)
    assert [(one.seq, one.prev) for one in far.events()] == [(1, 0), (2, 1), (3, 2)]
    far.refuse(2, "too_large")
    far.ack(1)
    far.cut()
    again = Far(device).dials()
    fly(device, 4)
    assert [(one.seq, one.prev) for one in again.events()] == [(3, 1), (4, 3)]


def test_prev_goes_on_from_what_was_delivered_before_a_restart() -> None:
    device, far = linked()
    fly(device, 1, 2)
    far.ack(1, 2)
    device.start()
    again = Far(device).dials()
    fly(device, 3)
    assert [(one.seq, one.prev) for one in again.events()] == [(3, 2)]


def test_prev_claims_nothing_for_a_letter_that_returns_behind_a_higher_number() -> None:
    """Its number is lower than the one before it: a claim about what came before would be wrong."""
    device, far = linked(Policy(retry_jitter=0.0, max_retries=1, heartbeat_interval_s=1e6, dead_after_s=1e7))
    fly(device, 1, 2)
    device.advance(10.1)
    assert device.state(1) is State.FAILED
    far.events()
    far.cut()
    again = Far(device).dials()
    assert [(one.seq, one.prev) for one in again.events()] == [(2, 0), (1, 0)]


# --- acknowledgements and ticks ---------------------------------------------------------------------------------


def test_message_is_delivered_when_acknowledged_and_its_sent_tick_comes_first() -> None:
    device, far = linked()
    fly(device, 1)
    far.ack(1)
    assert device.store.out[mid(1)].ticks == [State.PENDING, State.SENT, State.DELIVERED]
    assert device.waiting() == []
    assert device.ops(MarkSent) == []


def test_sent_tick_is_stored_on_its_own_when_no_acknowledgement_comes_soon() -> None:
    device, far = linked()
    fly(device, 1)
    assert device.state(1) is State.PENDING
    device.advance(0.19)
    assert device.state(1) is State.PENDING
    device.advance(0.02)
    assert device.state(1) is State.SENT
    far.ack(1)
    assert device.store.out[mid(1)].ticks == [State.PENDING, State.SENT, State.DELIVERED]


def test_sent_tick_is_stored_when_the_link_ends() -> None:
    device, far = linked()
    fly(device, 1)
    far.cut()
    assert device.state(1) is State.SENT


def test_sent_tick_is_not_told_of_a_frame_that_never_left() -> None:
    device, far = linked()
    device.holding_commits = True
    fly(device, 1)
    far.cut()
    device.commit()
    device.advance(1.0)
    assert device.state(1) is State.PENDING


def test_frame_that_leaves_on_an_older_link_starts_no_clock() -> None:
    device, old = linked()
    device.holding_commits = True
    fly(device, 1, 2)
    device.commit(1)
    assert old.numbers() == []
    new = Far(device).dials()
    device.commit()
    assert old.numbers() == [1]
    assert new.numbers() == [1, 2]
    device.advance(9.9)
    device.commit()
    assert attempts(device) == []


def test_acknowledgement_of_an_unknown_id_is_ignored() -> None:
    device, far = linked()
    fly(device, 1)
    far.ack(2, 3)
    far.refuse(4, "too_large")
    far.refuse(5, "later")
    assert [view.message_id for view in device.waiting()] == [mid(1)]
    assert far.numbers() == [1]


def test_acknowledgement_that_comes_twice_counts_once() -> None:
    device, far = linked()
    fly(device, 1)
    far.ack(1, 1)
    far.ack(1)
    assert device.store.peers[BOB].acked == 1
    assert device.store.out[mid(1)].ticks == [State.PENDING, State.SENT, State.DELIVERED]


# --- holding ----------------------------------------------------------------------------------------------------


def test_hold_makes_everything_wait_uncharged_until_it_ends() -> None:
    device, far = linked()
    fly(device, 1, 2)
    far.events()
    far.say(Hold("not_accepted"))
    assert device.state(1) is State.SENT
    fly(device, 3)
    device.advance(300.0)
    assert far.numbers() == []
    assert attempts(device) == []
    far.say(Hold("storage_failed"))
    assert far.numbers() == []
    far.say(Hold())
    assert far.numbers() == [1, 2, 3]


def test_hold_is_learnt_and_ended_by_heartbeat_answers_too() -> None:
    """A lost hold, or a lost end of one, heals within a heartbeat."""
    device, far = linked()
    fly(device, 1)
    far.events()
    far.say(HeartbeatAck(9, 0, 0, 0, "not_accepted"))
    device.advance(60.0)
    assert attempts(device) == []
    far.say(HeartbeatAck(9, 0, 0, 0))
    assert far.numbers() == [1]


def test_hold_does_not_outlive_its_link() -> None:
    device, far = linked()
    far.say(Hold("not_accepted"))
    fly(device, 1)
    far.cut()
    assert Far(device).dials().numbers() == [1]


def test_frame_that_is_released_during_a_hold_still_counts_as_sent() -> None:
    device, far = linked()
    device.holding_commits = True
    fly(device, 1)
    device.commit(1)
    far.say(Hold("not_accepted"))
    device.holding_commits = False
    device.commit()
    device.advance(1.0)
    assert far.numbers() == [1]
    assert device.state(1) is State.SENT
    assert attempts(device) == []


# --- polling ----------------------------------------------------------------------------------------------------


def test_line_waits_for_the_poll_when_the_peer_wants_no_notifications() -> None:
    device = Device(ALICE, policy=QUIET)
    far = Far(device)
    far.realtime = False
    far.dials()
    fly(device, 1, 2)
    assert far.peek(Events) == []
    assert far.peek(Notify) == []
    far.say(Pull())
    (frame,) = far.got(Events)
    assert [decode_event(raw).id for raw in frame.events] == [mid(1), mid(2)]
    assert not frame.more
    far.ack(1, 2)
    fly(device, 3)
    assert far.peek(Events) == []


def test_poll_is_answered_in_parts_while_more_waits() -> None:
    device = Device(ALICE, policy=Policy(window_events=2))
    far = Far(device)
    far.realtime = False
    far.dials()
    fly(device, 1, 2, 3)
    far.say(Pull())
    assert [(len(frame.events), frame.more) for frame in far.got(Events)] == [(2, True)]
    far.ack(1, 2)
    assert [(len(frame.events), frame.more) for frame in far.got(Events)] == [(1, False)]


def test_poll_of_an_empty_line_is_answered_with_nothing() -> None:
    device = Device(ALICE, policy=QUIET)
    far = Far(device)
    far.realtime = False
    far.dials()
    far.say(Pull())
    fly(device, 1)
    assert far.peek(Events) == []


# --- restarts ---------------------------------------------------------------------------------------------------


def test_line_goes_on_after_a_restart_with_its_next_try_armed() -> None:
    device, far = linked()
    fly(device, 1, 2)
    device.advance(10.1)
    far.events()
    due_ms = device.store.out[mid(1)].record.next_attempt_at_ms
    assert due_ms is not None
    device.start()
    (first, second) = device.waiting()
    assert (first.attempts, first.next_attempt_at_ms, second.attempts) == (1, due_ms, 0)
    again = Far(device).dials()
    assert again.numbers() == [1]
    again.ack(1)
    assert again.numbers() == [2]


def test_next_try_is_never_further_away_than_the_longest_delay_after_a_restart() -> None:
    """Even if the clock was set back by a year meanwhile."""
    device, _ = linked()
    fly(device, 1)
    device.advance(10.1)
    device.clock.wall_ms -= 365 * 86_400_000
    device.start()
    view = device.waiting()[0]
    assert view.waiting_for.startswith("attempt 2 in 30 s")


def test_message_keeps_its_sent_tick_over_a_restart() -> None:
    device, _ = linked()
    fly(device, 1)
    device.advance(1.0)
    device.start()
    again = Far(device).dials()
    again.ack(1)
    assert device.store.out[mid(1)].ticks == [State.PENDING, State.SENT, State.DELIVERED]


# --- taking back ------------------------------------------------------------------------------------------------


def test_cancel_is_final_when_the_message_was_never_transmitted() -> None:
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    fly(device, 1)
    assert device.cancel(1) == MessageState(mid(1), State.CANCELLED)
    assert device.state(1) is State.CANCELLED
    assert Far(device).dials().numbers() == []


def test_cancel_asks_the_peer_when_the_message_may_have_left() -> None:
    device, far = linked()
    fly(device, 1)
    assert device.cancel(1) == MessageState(mid(1), State.SENT, cancelling=True)
    assert [frame.ids for frame in far.got(Have)] == [(mid(1),)]
    assert device.store.out[mid(1)].record.cancelling


def test_cancel_of_a_head_that_waits_for_its_next_try_lets_the_next_go_at_once() -> None:
    device, far = linked()
    fly(device, 1, 2, 3)
    device.advance(10.1)
    far.events()
    device.cancel(1)
    assert far.numbers() == [2, 3]


def test_retry_timer_of_a_line_that_has_no_link_does_nothing() -> None:
    device, far = linked()
    fly(device, 1)
    far.cut()
    Far(device).dials().cut()
    device.advance(60.0)
    assert [view.attempts for view in device.waiting()] == [1]


def test_random_numbers_only_move_the_times() -> None:
    """The same inputs with another seed end in the same states."""
    ends = set()
    for seed in random.Random(7).sample(range(1000), 5):
        device = Device(ALICE, policy=Policy(), seed=seed)
        Far(device).dials()
        fly(device, 1, 2)
        device.advance(20.0)
        ends.add(tuple(view.attempts for view in device.waiting()))
    assert ends == {(1, 0)}


def test_addresses_of_a_known_peer_come_before_announced_ones() -> None:
    device = Device(ALICE, policy=QUIET)
    with_mail(device)
    device.announce(BOB, Address("new.lan", 1))
    assert device.view(BOB).addresses == (address_of("bob"), Address("new.lan", 1))
