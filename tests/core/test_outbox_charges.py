"""Who is charged for what, when the next try is, and what is given up."""

from __future__ import annotations

from itertools import pairwise

import pytest

from p2pchat.core.inputs import DialError
from p2pchat.core.ops import MoveToDeadLetters, RecordAttempt, ResetAttempts
from p2pchat.model import Address, PeerHasIt, Policy, Reason, State
from p2pchat.wire import Notify
from tests.core.driver import ALICE, BOB, Device, Far, mid
from tests.core.test_outbox import QUIET, attempts, fly, linked, with_mail

# --- the table of charges ---------------------------------------------------------------------------------------


def test_head_is_charged_when_no_acknowledgement_comes_in_ten_seconds() -> None:
    device, far = linked()
    fly(device, 1, 2)
    device.advance(9.9)
    assert attempts(device) == []
    device.advance(0.2)
    assert attempts(device) == [(1, Reason.NOT_ACKNOWLEDGED)]
    assert device.ops(RecordAttempt)[0].message_id == mid(1)
    assert [view.attempts for view in device.waiting()] == [1, 0]
    assert far.numbers() == [1, 2]
    assert device.noticed("sync:notification-failed")[0].message_id == mid(1)
    assert device.noticed("message:send-failed")[0].detail["attempts"] == 1


def test_acknowledgement_gives_the_next_one_ten_seconds_of_its_own() -> None:
    device, far = linked()
    fly(device, 1, 2)
    device.advance(9.0)
    far.ack(1)
    device.advance(9.9)
    assert attempts(device) == []
    device.advance(0.2)
    assert attempts(device) == [(1, Reason.NOT_ACKNOWLEDGED)]


def test_refusal_for_good_gives_the_next_one_ten_seconds_of_its_own() -> None:
    device, far = linked()
    fly(device, 1, 2)
    device.advance(9.0)
    far.refuse(1, "too_large")
    device.advance(9.9)
    assert attempts(device) == []


def test_cancel_of_the_head_gives_the_next_one_the_time_since_its_own_frame() -> None:
    device, _ = linked()
    fly(device, 1)
    device.advance(9.0)
    fly(device, 2)
    device.cancel(1)
    device.advance(9.9)
    assert attempts(device) == []
    device.advance(0.2)
    assert attempts(device) == [(1, Reason.NOT_ACKNOWLEDGED)]


def test_nobody_is_charged_for_a_frame_that_waits_for_its_commit() -> None:
    device, far = linked()
    fly(device, 1)
    device.holding_commits = True
    fly(device, 2)
    far.ack(1)
    device.advance(11.0)
    device.commit()
    assert attempts(device) == []
    device.advance(9.9)
    device.commit()
    assert attempts(device) == []


def test_head_goes_alone_after_a_charge_until_something_is_acknowledged() -> None:
    device, far = linked()
    fly(device, 1, 2, 3)
    device.advance(10.1)
    far.events()
    device.advance(2.1)
    assert far.numbers() == [1]
    assert device.noticed("retry:attempt")[0].detail["attempt"] == 2
    far.ack(1)
    assert far.numbers() == [2, 3]


def test_any_acknowledgement_forgets_the_failed_attempts_of_the_head() -> None:
    device, far = linked()
    fly(device, 1, 2)
    device.advance(10.1)
    assert [view.attempts for view in device.waiting()] == [1, 0]
    far.ack(2)
    assert [view.attempts for view in device.waiting()] == [0]
    assert device.ops(ResetAttempts)[-1].message_id == mid(1)
    assert device.store.out[mid(1)].record.attempts == 0
    assert far.numbers() == [1, 2, 1]


def test_tries_come_after_two_four_eight_and_sixteen_seconds_then_the_dead_letter() -> None:
    device, far = linked()
    fly(device, 1)
    tries = [device.clock.mono_s]
    for _ in range(4):
        far.events()
        while not far.peek(Notify):
            device.advance(0.5)
        tries.append(device.clock.mono_s)
    gaps = [round(b - a) for a, b in pairwise(tries)]
    assert gaps == [12, 14, 18, 26]
    assert device.state(1) is State.SENT
    device.advance(10.5)
    assert device.state(1) is State.FAILED
    (moved,) = device.ops(MoveToDeadLetters)
    assert (moved.reason, moved.attempts, moved.peer_has_it) == (Reason.NOT_ACKNOWLEDGED, 5, PeerHasIt.UNKNOWN)


@pytest.mark.parametrize("seed", range(20))
def test_jitter_keeps_every_delay_within_ten_per_cent_and_thirty_seconds(seed: int) -> None:
    device = Device(ALICE, policy=Policy(max_retries=8, heartbeat_interval_s=1e6, dead_after_s=1e7), seed=seed)
    Far(device).dials()
    fly(device, 1)
    device.advance(400.0)
    delays = [(op.next_attempt_at_ms - op.at_ms) / 1000 for op in device.ops(RecordAttempt)]
    assert len(delays) == 7
    for delay, plain in zip(delays, [2, 4, 8, 16, 30, 30, 30], strict=True):
        assert plain * 0.9 <= delay <= plain * 1.1


def test_delay_stays_finite_when_there_are_very_many_attempts() -> None:
    policy = Policy(max_retries=5000, ack_timeout_s=0.01, max_retry_delay_s=0.01, retry_jitter=0.0,
                    heartbeat_interval_s=1e6, dead_after_s=1e7)  # fmt: skip
    device, _ = linked(policy)
    fly(device, 1)
    device.advance(30.0)
    assert device.waiting()[0].attempts > 1100


@pytest.mark.parametrize("max_retries", [0, 1])
def test_first_failure_is_the_last_when_there_are_no_retries(max_retries: int) -> None:
    device, _ = linked(Policy(max_retries=max_retries))
    fly(device, 1)
    device.advance(10.1)
    assert device.state(1) is State.FAILED
    assert attempts(device) == []
    assert device.ops(MoveToDeadLetters)[0].attempts == 1


def test_poison_message_steps_aside_and_the_others_go_on() -> None:
    device, far = linked(Policy(max_retries=2, retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7))
    fly(device, 1, 2, 3)
    device.advance(10.1 + 2.1 + 10.1)
    assert device.state(1) is State.FAILED
    assert far.numbers()[-2:] == [2, 3]


def test_dead_letter_is_stored_before_anything_behind_it_is_transmitted() -> None:
    device, far = linked(Policy(max_retries=1))
    fly(device, 1, 2)
    far.events()
    device.advance(9.99)
    device.holding_commits = True
    device.advance(0.2)
    assert far.peek(Notify) == []
    device.commit()
    assert far.numbers() == [2]


def test_first_link_that_ends_costs_nothing_and_the_second_in_a_row_one_attempt() -> None:
    device, far = linked()
    fly(device, 1, 2)
    far.cut()
    assert attempts(device) == []
    second = Far(device).dials()
    assert second.numbers() == [1, 2]
    second.cut()
    assert attempts(device) == [(1, Reason.LINK_LOST)]
    third = Far(device).dials()
    assert third.numbers() == [1]
    third.cut()
    assert attempts(device) == [(1, Reason.LINK_LOST), (2, Reason.LINK_LOST)]


def test_links_in_a_row_are_forgotten_when_something_is_acknowledged() -> None:
    device, far = linked()
    fly(device, 1, 2)
    far.cut()
    second = Far(device).dials()
    second.ack(1)
    second.cut()
    third = Far(device).dials()
    assert third.numbers() == [2]
    assert attempts(device) == []
    third.cut()
    assert attempts(device) == [(1, Reason.LINK_LOST)]


def test_link_that_ends_with_nothing_in_flight_costs_nothing() -> None:
    device, far = linked()
    for _ in range(3):
        far.cut()
        far = Far(device).dials()
    fly(device, 1)
    assert attempts(device) == []


def test_refusal_that_may_pass_charges_the_head() -> None:
    device, far = linked()
    fly(device, 1, 2)
    far.refuse(1, "busy", "come back later")
    assert attempts(device) == [(1, Reason.REFUSED)]
    assert device.waiting()[0].last_error == "come back later"


def test_refusal_that_may_pass_costs_nothing_behind_the_head_and_it_is_sent_again_in_turn() -> None:
    device, far = linked()
    fly(device, 1, 2, 3)
    far.events()
    far.refuse(2, "busy")
    assert attempts(device) == []
    assert far.numbers() == [1]
    far.ack(1)
    assert far.numbers() == [2, 3]


def test_refusal_that_comes_twice_is_charged_once() -> None:
    device, far = linked()
    fly(device, 1)
    far.refuse(1, "busy")
    far.refuse(1, "busy")
    assert attempts(device) == [(1, Reason.REFUSED)]


@pytest.mark.parametrize("reason", ["blocked", "too_large", "unsupported", "malformed"])
def test_refusal_for_good_makes_a_dead_letter_at_once(reason: str) -> None:
    device, far = linked()
    fly(device, 1, 2)
    far.refuse(1, reason)
    (moved,) = device.ops(MoveToDeadLetters)
    assert (moved.reason, moved.peer_has_it, moved.attempts) == (Reason(reason), PeerHasIt.NO, 0)
    assert moved.detail == reason
    assert [view.message_id for view in device.waiting()] == [mid(2)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DialError.REFUSED, Reason.CONNECTION_REFUSED),
        (DialError.TLS, Reason.HANDSHAKE_FAILED),
        (DialError.HANDSHAKE, Reason.HANDSHAKE_FAILED),
        (DialError.NO_ANSWER, None),
        (DialError.UNREACHABLE, None),
        (DialError.WRONG_KEY, None),
    ],
)
def test_dial_charges_the_head_only_when_the_host_answered(error: DialError, reason: Reason | None) -> None:
    device = Device(ALICE, policy=QUIET)
    with_mail(device)
    device.fail_dial(error)
    assert attempts(device) == ([] if reason is None else [(1, reason)])


def test_dial_that_fails_at_an_address_that_was_only_announced_costs_nothing() -> None:
    device = Device(ALICE, policy=QUIET)
    with_mail(device)
    device.fail_dial(DialError.REFUSED, address=Address("elsewhere.lan", 1))
    assert attempts(device) == []


def test_dial_that_fails_before_the_next_try_is_due_costs_nothing() -> None:
    device = Device(ALICE, policy=Policy(retry_jitter=0.0, base_retry_delay_s=20.0))
    with_mail(device)
    device.fail_dial(DialError.REFUSED)
    assert attempts(device) == [(1, Reason.CONNECTION_REFUSED)]
    device.advance(5.0)
    assert len(device.dials) > 2
    device.fail_dial(DialError.REFUSED)
    assert len(attempts(device)) == 1
    while device.clock.mono_s < 1000.0 + 60.0:
        before = len(device.dials)
        device.advance(1.0)
        if len(device.dials) > before:
            device.fail_dial(DialError.REFUSED)
    assert len(attempts(device)) > 1


def test_line_without_messages_is_not_charged_for_a_dial() -> None:
    device = Device(ALICE, policy=QUIET)
    with_mail(device)
    device.cancel(1)
    device.cancel(2)
    device.fail_dial(DialError.REFUSED)
    assert attempts(device) == []


def test_peer_that_is_absent_for_a_day_costs_no_attempts() -> None:
    device = Device(ALICE, policy=QUIET)
    with_mail(device)
    device.fail_dial(DialError.NO_ANSWER)
    end_s = device.clock.mono_s + 86_400
    while device.clock.mono_s < end_s:
        before = len(device.dials)
        device.advance(20.0)
        if len(device.dials) > before:
            device.fail_dial(DialError.NO_ANSWER)
    assert attempts(device) == []
    assert len(device.waiting()) == 2


# --- expiry -----------------------------------------------------------------------------------------------------

WEEK = 7 * 86_400.0


def test_message_expires_after_the_retention() -> None:
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    fly(device, 1)
    device.advance(WEEK - 10)
    assert device.state(1) is State.PENDING
    device.advance(20)
    (moved,) = device.ops(MoveToDeadLetters)
    assert (moved.reason, moved.peer_has_it, moved.detail) == (
        Reason.EXPIRED,
        PeerHasIt.NO,
        "waited longer than 7 days",
    )


def test_message_that_was_transmitted_expires_with_its_fate_unknown() -> None:
    device, far = linked()
    fly(device, 1)
    far.cut()
    device.advance(WEEK + 10)
    assert device.ops(MoveToDeadLetters)[0].peer_has_it is PeerHasIt.UNKNOWN


def test_expiry_is_judged_only_after_ten_minutes_up() -> None:
    """A device that was off for a week first gets the time to deliver."""
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    fly(device, 1)
    device.clock.advance(2 * WEEK)
    device.start()
    device.advance(599)
    assert device.state(1) is State.PENDING
    device.advance(2)
    assert device.state(1) is State.FAILED


def test_each_message_expires_in_its_own_time() -> None:
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    fly(device, 1)
    device.advance(86_400)
    fly(device, 2)
    device.advance(6 * 86_400 + 5)
    assert (device.state(1), device.state(2)) == (State.FAILED, State.PENDING)
    device.advance(86_400)
    assert device.state(2) is State.FAILED


def test_older_message_expires_in_time_behind_a_retried_one() -> None:
    """The one in front has a fresh clock; that must not hide the old one behind it."""
    device, far = linked(Policy(max_retries=1, auto_retry_on_reconnect=False))
    fly(device, 1)
    device.advance(10.1)
    device.advance(10 * 86_400)
    fly(device, 2)
    far.cut()
    device.advance(3600)
    device.retry(1)
    record = device.store.out[mid(1)].record
    assert record.seq > device.store.out[mid(2)].record.seq
    device.start()
    device.advance(WEEK - 3600 + 60)
    assert (device.state(2), device.state(1)) == (State.FAILED, State.PENDING)


def test_expiry_follows_the_wall_clock_when_it_is_set_back() -> None:
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    fly(device, 1)
    device.clock.wall_ms -= 86_400_000
    device.advance(WEEK + 10)
    assert device.state(1) is State.PENDING
    device.advance(86_400)
    assert device.state(1) is State.FAILED
