"""What is asked of us, and told: pulls, questions about ids, read marks, polls."""

from __future__ import annotations

import pytest

from p2pchat.core.inputs import PeerAction
from p2pchat.core.ops import QueryApplied, QueryStream, ReadTold
from p2pchat.model import Policy, State
from p2pchat.wire import (
    Error,
    Events,
    Gone,
    Had,
    Have,
    Notify,
    Pull,
    Read,
    ReadAck,
    decode_event,
)
from tests.core.driver import ALICE, BOB, CAROL, START_MS, Device, Far, event, mid
from tests.core.test_sync import QUIET, linked

# --- answering pulls --------------------------------------------------------------------------------------------


def numbers(frames: list[Events]) -> list[list[int]]:
    return [[int.from_bytes(decode_event(raw).id, "big") for raw in frame.events] for frame in frames]


def with_history(policy: Policy = QUIET, count: int = 4) -> tuple[Device, Far]:
    device, far = linked(policy)
    for number in range(1, count + 1):
        device.send(BOB, number, f"text {number}")
    far.ack(*range(1, count + 1))
    far.got(Notify)
    return device, far


def test_pull_is_answered_from_the_history() -> None:
    _, far = with_history()
    far.say(Pull(2, 3))
    (frame,) = far.got(Events)
    assert [(decode_event(raw).seq, decode_event(raw).prev) for raw in frame.events] == [(2, 0), (3, 0)]
    assert not frame.more


def test_pull_is_answered_with_gone_when_there_is_nothing() -> None:
    _, far = with_history()
    far.say(Pull(50, 60))
    assert far.got(Gone) == [Gone(50, 60)]


def test_pull_of_nothing_is_ignored() -> None:
    device, far = with_history()
    far.say(Pull(3, 2))
    assert device.ops(QueryStream) == []


def test_pulls_are_answered_one_at_a_time() -> None:
    device, far = with_history()
    device.holding_commits = True
    far.say(Pull(1, 2))
    far.say(Pull(1, 2))
    device.commit()
    assert len(far.got(Events)) == 1
    far.say(Pull(1, 2))
    device.commit()
    assert len(far.got(Events)) == 1


def test_pull_is_answered_in_parts_of_bounded_size() -> None:
    device, far = linked()
    for number in range(1, 12):
        device.send(BOB, number, "x" * 60_000)
        far.ack(number)
    far.got(Notify)
    far.say(Pull(1, 11))
    (frame,) = far.got(Events)
    assert frame.more
    assert 5 <= len(frame.events) < 11


def test_pull_does_not_bring_out_what_was_given_up() -> None:
    device, far = linked()
    for number in (1, 2, 3, 4):
        device.send(BOB, number)
    far.refuse(2, "too_large")
    device.cancel(3)
    far.got(Notify)
    far.say(Pull(1, 4))
    assert numbers(far.got(Events)) == [[1, 4]]


def test_pull_does_not_bring_out_what_was_never_transmitted() -> None:
    """Taking such a message back is final at once, so it may leave in its turn only."""
    device, far = linked(Policy(window_events=1))
    device.send(BOB, 1)
    device.send(BOB, 2)
    far.got(Notify)
    far.say(Pull(1, 99))
    assert numbers(far.got(Events)) == [[1]]
    far.say(Pull(2, 99))
    assert far.got(Gone) == [Gone(2, 99)]


def test_pull_looks_again_when_a_message_was_taken_back_meanwhile() -> None:
    """Else the message would leave behind the question whether it had arrived."""
    device, far = linked()
    for number in (1, 2):
        device.send(BOB, number)
    far.got(Notify)
    device.holding_commits = True
    far.say(Pull(1, 2))
    device.cancel(1)
    while device.persists:
        device.commit()
    assert numbers(far.got(Events)) == [[2]]


# --- having -----------------------------------------------------------------------------------------------------


def test_have_is_answered_with_what_is_here_and_its_number() -> None:
    device, far = linked()
    far.notify(event(1))
    far.say(Have((mid(1), mid(2)), 7))
    assert far.got(Had) == [Had((mid(1),), (mid(2),), 7)]
    assert device.ops(QueryApplied)[-1].message_ids == (mid(1), mid(2))


def test_have_waits_for_what_came_in_before_it() -> None:
    device, far = linked()
    device.holding_commits = True
    far.notify(event(1))
    far.say(Have((mid(1),)))
    assert far.got(Had) == []
    device.commit()
    assert far.got(Had) == [Had((mid(1),), ())]


def test_have_of_very_many_is_answered_for_the_first_thousand() -> None:
    _, far = linked()
    far.say(Have(tuple(map(mid, range(4000)))))
    assert len(far.got(Had)[0].lacks) == 1024


# --- reading ----------------------------------------------------------------------------------------------------


def test_author_is_told_what_was_read_until_it_knows() -> None:
    device, far = linked()
    far.notify(event(1), event(2, prev=1))
    device.read(BOB)
    assert far.got(Read) == [Read((mid(1), mid(2)), START_MS)]
    far.cut()
    far.dials()
    assert [frame.ids for frame in far.got(Read)] == [(mid(1), mid(2))]
    far.say(ReadAck((mid(1), mid(77))))
    assert device.ops(ReadTold)[-1].message_ids == (mid(1),)
    device.start()
    far.dials()
    assert [frame.ids for frame in far.got(Read)] == [(mid(2),)]
    far.say(ReadAck((mid(2),)))
    far.say(ReadAck((mid(2),)))
    assert len(device.ops(ReadTold)) == 2


def test_read_mark_waits_for_its_commit() -> None:
    device, far = linked()
    far.notify(event(1))
    device.holding_commits = True
    device.read(BOB)
    assert far.got(Read) == []
    device.commit()
    assert len(far.got(Read)) == 1


def test_author_is_not_told_when_read_receipts_are_off() -> None:
    device, far = linked(Policy(read_receipts=False))
    far.notify(event(1))
    device.read(BOB)
    far.cut()
    far.dials()
    assert device.frames(Read) == []
    assert device.store.snapshot().untold_reads == {}


def test_stranger_is_not_told_what_was_read() -> None:
    device, far = linked(accepted=False)
    far.notify(event(1))
    device.read(BOB)
    assert far.got(Read) == []
    device.manage(BOB, PeerAction.ACCEPT)
    far.cut()
    far.dials()
    assert far.got(Read) == []


def test_many_read_marks_go_in_frames_of_a_thousand() -> None:
    device, far = linked()
    for start in range(0, 1500, 500):
        far.notify(*[event(start + number, seq=start + number, prev=0) for number in range(1, 501)])
    device.read(BOB)
    assert [len(frame.ids) for frame in far.got(Read)] == [1024, 476]


def test_messages_of_ours_become_read_even_if_the_acknowledgement_was_lost() -> None:
    device, far = linked()
    device.send(BOB, 1)
    far.say(Read((mid(1),), 5))
    assert device.store.out[mid(1)].ticks == [State.PENDING, State.SENT, State.DELIVERED, State.READ]
    assert far.got(ReadAck) == [ReadAck((mid(1),))]


def test_read_mark_of_the_peer_is_acknowledged_after_its_commit() -> None:
    device, far = linked()
    device.send(BOB, 1)
    device.holding_commits = True
    far.say(Read((mid(1),), 5))
    assert far.got(ReadAck) == []
    device.commit()
    assert len(far.got(ReadAck)) == 1


def test_empty_read_mark_stores_nothing() -> None:
    device, far = linked()
    before = len(device.log)
    far.say(Read((), 5))
    assert len(device.log) == before + 1


# --- polling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("off", ["here", "there"])
def test_both_sides_pull_every_thirty_seconds_when_either_wants_no_notifications(off: str) -> None:
    device = Device(ALICE, policy=Policy(realtime=off != "here", heartbeat_interval_s=1e6, dead_after_s=1e7))
    far = Far(device)
    far.realtime = off != "there"
    far.dials()
    assert far.got(Pull) == [Pull()]
    device.advance(29.0)
    assert far.got(Pull) == []
    device.advance(2.0)
    assert far.got(Pull) == [Pull()]
    assert len(device.noticed("sync:fallback-triggered")) == 2
    assert device.view(BOB).mode == "polling"


def test_polling_ends_by_itself_on_a_link_where_both_want_notifications() -> None:
    device = Device(CAROL, policy=QUIET)
    far = Far(device)
    far.realtime = False
    far.dials()
    better = Far(device).dials()
    assert device.view(BOB).mode == "realtime"
    device.advance(100.0)
    assert better.got(Pull) == []
    better.cut()
    assert device.view(BOB).mode == "polling"
    device.advance(0.1)
    far.cut()
    device.advance(100.0)
    assert device.frames(Error) == []
