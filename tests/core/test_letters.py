"""Dead letters and messages that are being taken back: who has them is asked, and what is true in the end."""

from __future__ import annotations

import pytest

from p2pchat.core.effects import Changed, MessageState, Refused
from p2pchat.core.inputs import DialError, StorageFailed, StorageRecovered
from p2pchat.core.ops import MarkDelivered, ReviveLetter, SettleLetters
from p2pchat.model import PeerHasIt, Policy, State
from p2pchat.wire import Had, Have, Hold
from tests.core.driver import ALICE, BOB, CAROL, Device, Far, mid

ONE_TRY = Policy(max_retries=1, retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7)
STAYS = Policy(
    max_retries=1, retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7, auto_retry_on_reconnect=False
)


def with_letters(*numbers: int, policy: Policy = STAYS) -> tuple[Device, Far]:
    """A device whose messages with these numbers became dead letters on a link without acknowledgements."""
    device = Device(ALICE, policy=policy)
    far = Far(device).dials()
    for number in numbers:
        device.send(BOB, number, f"text {number}")
    device.advance(10.1 * len(numbers) + 1)
    assert all(device.state(number) is State.FAILED for number in numbers)
    far.got(Have)
    return device, far


def asked(far: Far) -> list[Have]:
    return far.got(Have)


def test_letter_whose_fate_is_unknown_is_asked_about_on_the_next_link() -> None:
    device, far = with_letters(1, 2)
    assert asked(far) == []
    far.cut()
    far.dials()
    (have,) = asked(far)
    assert have.ids == (mid(1), mid(2))
    far.say(Had((mid(1),), (mid(2),), have.n))
    assert device.store.out[mid(1)].ticks[-1] is State.DELIVERED
    letter = device.store.out[mid(2)].letter
    assert letter is not None
    assert letter.peer_has_it is PeerHasIt.NO
    assert device.view(BOB).dead_letters == 1
    far.cut()
    far.dials()
    assert asked(far) == []


def test_letter_that_never_left_is_not_asked_about() -> None:
    device = Device(ALICE, policy=STAYS)
    device.announce(BOB)
    device.advance(0.1)
    far = Far(device).answers()
    device.send(BOB, 9)
    far.ack(9)
    far.cut()
    device.send(BOB, 1)
    device.advance(2.0)
    device.fail_dial(DialError.REFUSED)
    letter = device.store.out[mid(1)].letter
    assert letter is not None
    assert letter.peer_has_it is PeerHasIt.NO
    far.dials()
    assert asked(far) == []


def test_letter_is_delivered_when_a_late_acknowledgement_comes() -> None:
    device, far = with_letters(1)
    far.ack(1)
    assert device.state(1) is State.DELIVERED
    assert device.view(BOB).dead_letters == 0


def test_letter_is_settled_once() -> None:
    device, far = with_letters(1)
    far.cut()
    far.dials()
    (have,) = asked(far)
    far.say(Had((), (mid(1),), have.n))
    far.say(Had((), (mid(1),), have.n))
    assert len(device.ops(SettleLetters)) == 1


def test_answer_about_ids_that_are_nobodys_changes_nothing() -> None:
    device, far = with_letters(1)
    before = len(device.log)
    far.say(Had((mid(5),), (mid(6), mid(1)), 0))
    assert len(device.log) == before


def test_many_letters_are_asked_about_in_frames_of_a_thousand() -> None:
    device = Device(ALICE, policy=Policy(max_queue=2000, retention_s=1.0, min_uptime_for_expiry_s=0.0,
                                         window_events=2000, window_bytes=10**9))  # fmt: skip
    far = Far(device).dials()
    for number in range(1, 1101):
        device.send(BOB, number)
    device.advance(3.0)
    far.cut()
    far.dials()
    assert [len(have.ids) for have in asked(far)] == [1024, 76]


def test_refused_message_of_which_a_copy_may_still_arrive_is_asked_about_at_once() -> None:
    """The refusal answers one of its copies; the other may be taken all the same."""
    device = Device(ALICE, policy=STAYS)
    Far(device).dials()
    device.send(BOB, 1)
    far = Far(device).dials()
    far.refuse(1, "too_large")
    letter = device.store.out[mid(1)].letter
    assert letter is not None
    assert letter.peer_has_it is PeerHasIt.UNKNOWN
    (have,) = asked(far)
    far.say(Had((), have.ids, have.n))
    letter = device.store.out[mid(1)].letter
    assert letter is not None
    assert letter.peer_has_it is PeerHasIt.NO


def test_refused_message_that_left_once_is_not_asked_about() -> None:
    device = Device(ALICE, policy=STAYS)
    far = Far(device).dials()
    device.send(BOB, 1)
    far.refuse(1, "too_large")
    assert asked(far) == []


# --- returning by themselves ------------------------------------------------------------------------------------


def test_letters_return_by_themselves_in_their_order_before_what_never_left() -> None:
    device, far = with_letters(1, 2, policy=ONE_TRY)
    far.cut()
    device.send(BOB, 3)
    far.dials()
    assert far.numbers() == [1, 2, 3]
    assert asked(far) == []
    assert [(op.seq, op.auto, op.auto_returns) for op in device.ops(ReviveLetter)] == [(1, True, 1), (2, True, 1)]
    assert device.state(1) is State.PENDING
    far.ack(1, 2, 3)
    assert device.state(1) is State.DELIVERED


def test_letters_return_behind_what_was_transmitted_already() -> None:
    device, far = with_letters(1, policy=ONE_TRY)
    device.send(BOB, 2)
    far.cut()
    far.dials()
    assert far.numbers() == [2, 1]


def test_letter_returns_at_most_three_times_over_restarts() -> None:
    device, far = with_letters(1, policy=ONE_TRY)
    for _ in range(3):
        device.start()
        far.dials()
        assert far.numbers() == [1]
        device.advance(11.0)
        assert device.state(1) is State.FAILED
    far.got(Have)
    far.dials()
    assert far.numbers() == []
    device.start()
    far.dials()
    (have,) = far.peek(Have)
    assert have.ids == (mid(1),)
    assert far.numbers() == []


def test_letters_with_a_permanent_reason_do_not_return() -> None:
    device, far = with_letters(policy=ONE_TRY)
    device.send(BOB, 1)
    far.refuse(1, "too_large")
    far.cut()
    far.dials()
    assert far.numbers() == []
    assert asked(far) == []
    assert device.state(1) is State.FAILED


# --- by hand ----------------------------------------------------------------------------------------------------


def test_retry_puts_letters_at_the_end_of_the_line_with_new_numbers() -> None:
    device, far = with_letters(1, 2)
    device.send(BOB, 3)
    far.events()
    sent_at_ms = device.store.out[mid(1)].record.sent_at_ms
    assert device.retry(2, 1, 2, 77) == Changed((mid(2), mid(1)))
    assert [(one.id, one.seq) for one in far.events()] == [(mid(2), 4), (mid(1), 5)]
    assert device.store.out[mid(1)].record.sent_at_ms == sent_at_ms
    assert device.view(BOB).dead_letters == 0
    far.ack(1, 2, 3)
    assert device.state(1) is State.DELIVERED


def test_retry_is_refused_when_the_line_would_be_too_long() -> None:
    device, _ = with_letters(1, 2, policy=Policy(max_queue=2, max_retries=1, auto_retry_on_reconnect=False))
    device.send(BOB, 3)
    refused = device.retry(1, 2)
    assert isinstance(refused, Refused)
    assert refused.code == "queue_full"
    assert device.state(1) is State.FAILED
    assert device.retry(1) == Changed((mid(1),))


def test_retry_of_nothing_changes_nothing() -> None:
    device, _ = with_letters(1)
    assert device.retry() == Changed(())
    assert device.retry(99) == Changed(())


def test_purge_removes_letters_for_good() -> None:
    device, far = with_letters(1, 2)
    assert device.purge(1, 1, 99) == Changed((mid(1),))
    assert device.purge() == Changed(())
    assert device.state(1) is State.FAILED
    far.ack(1)
    assert device.state(1) is State.FAILED
    assert device.view(BOB).dead_letters == 1
    device.start()
    assert device.view(BOB).dead_letters == 1


# --- taking back ------------------------------------------------------------------------------------------------


def cancelling() -> tuple[Device, Far, Have]:
    device = Device(ALICE, policy=STAYS)
    far = Far(device).dials()
    device.send(BOB, 1)
    device.cancel(1)
    (have,) = asked(far)
    return device, far, have


def test_cancel_is_final_when_the_peer_lacks_the_message() -> None:
    device, far, have = cancelling()
    far.say(Had((), (mid(1),), have.n))
    assert device.state(1) is State.CANCELLED
    assert device.waiting() == []


def test_cancel_ends_as_delivered_when_the_peer_has_the_message() -> None:
    device, far, have = cancelling()
    far.say(Had((mid(1),), (), have.n))
    assert device.store.out[mid(1)].ticks == [State.PENDING, State.SENT, State.DELIVERED]


def test_cancel_ends_as_delivered_when_the_acknowledgement_is_on_its_way() -> None:
    device, far, have = cancelling()
    far.ack(1)
    far.say(Had((mid(1),), (), have.n))
    assert device.state(1) is State.DELIVERED


def test_cancel_is_asked_about_on_each_link_until_it_is_known() -> None:
    device, far, _ = cancelling()
    far.cut()
    far.dials()
    assert [have.ids for have in asked(far)] == [(mid(1),)]
    device.start()
    assert device.waiting()[0].cancelling
    far.dials()
    (have,) = asked(far)
    far.say(Had((), (mid(1),), have.n))
    assert device.state(1) is State.CANCELLED


def test_message_that_is_taken_back_is_not_sent_any_more() -> None:
    device, far, _ = cancelling()
    far.cut()
    device.start()
    far.dials()
    assert far.numbers() == []


def test_cancel_while_absent_is_asked_when_the_peer_is_back() -> None:
    device = Device(ALICE, policy=STAYS)
    far = Far(device).dials()
    device.send(BOB, 1)
    far.cut()
    assert device.cancel(1) == MessageState(mid(1), State.SENT, cancelling=True)
    assert device.cancel(1) == MessageState(mid(1), State.SENT, cancelling=True)
    far.dials()
    assert [have.ids for have in asked(far)] == [(mid(1),)]


def test_answer_to_an_older_question_settles_nothing() -> None:
    """The letter was asked about, sent again, and taken back, before the first answer came: it lacked it *then*."""
    device, far = with_letters(1)
    far.cut()
    far.dials()
    (first,) = asked(far)
    device.retry(1)
    device.cancel(1)
    (second,) = asked(far)
    far.say(Had((), (mid(1),), first.n))
    assert device.state(1) is State.PENDING or device.state(1) is State.SENT
    far.say(Had((mid(1),), (), second.n))
    assert device.state(1) is State.DELIVERED


def test_answer_from_another_peer_settles_nothing() -> None:
    device, _, have = cancelling()
    carol = Far(device, CAROL).dials()
    carol.say(Had((mid(1),), (mid(1),), have.n))
    assert device.store.out[mid(1)].record.cancelling
    assert device.ops(MarkDelivered) == []


def test_questions_are_asked_again_after_a_hold_because_they_may_not_have_been_heard() -> None:
    _, far, _ = cancelling()
    far.say(Hold("storage_failed"))
    assert asked(far) == []
    far.say(Hold())
    assert [have.ids for have in asked(far)] == [(mid(1),)]
    far.say(Hold())
    assert asked(far) == []


def test_questions_wait_while_the_disk_here_refuses_writes() -> None:
    device, far, _ = cancelling()
    far.say(Hold("not_accepted"))
    device.feed(StorageFailed("full"))
    far.say(Hold())
    assert asked(far) == []
    device.feed(StorageRecovered())
    assert [have.ids for have in asked(far)] == [(mid(1),)]


@pytest.mark.parametrize("settled", ["purge", "retry"])
def test_letter_is_nobodys_question_any_more_when_it_is_gone(settled: str) -> None:
    device, far = with_letters(1)
    far.cut()
    far.dials()
    (have,) = asked(far)
    (device.purge if settled == "purge" else device.retry)(1)
    far.say(Had((), (mid(1),), have.n))
    assert device.ops(SettleLetters) == []
