"""The node as a whole: storage that fails, waking up, starting again, and what people are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pchat.core.effects import Persist
from p2pchat.core.inputs import (
    Committed,
    DialError,
    LinkOpened,
    NetworkChanged,
    PeerAction,
    Role,
    StorageFailed,
    StorageRecovered,
    TimerFired,
)
from p2pchat.core.ops import RecordAttempt
from p2pchat.core.records import LetterRecord, PeerRecord, Snapshot, WaitingRecord
from p2pchat.model import Address, LinkId, PeerHasIt, Policy, Reason, State, Trust
from p2pchat.wire import Ack, Had, Have, Heartbeat, HeartbeatAck, Hold, Pull, Read
from tests.core.driver import ALICE, BOB, CAROL, START_MS, Device, Far, event, mid
from tests.core.fakestore import FakeStore

QUIET = Policy(retry_jitter=0.0, heartbeat_interval_s=1e6, dead_after_s=1e7)


Step = Callable[[Device, Far], object]


def linked(policy: Policy = QUIET) -> tuple[Device, Far]:
    device = Device(ALICE, policy=policy)
    return device, Far(device).dials()


def seen_then(*then: Step) -> Device:
    """Bob, accepted at a proven address, and then what the steps do."""
    device = Device(ALICE, policy=QUIET)
    device.announce(BOB)
    device.advance(0.1)
    far = Far(device).answers()
    device.manage(BOB, PeerAction.ACCEPT)
    for step in then:
        step(device, far)
    return device


def beat(skew_ms: int) -> Step:
    def step(device: Device, far: Far) -> None:
        (one,) = far.got(Heartbeat)
        at_ms = device.clock.wall_ms + skew_ms
        far.say(HeartbeatAck(one.n, one.sent_ms, at_ms, at_ms))

    return step


def cut(device: Device, far: Far) -> None:
    far.cut()


def dial_fails(error: DialError) -> Step:
    def step(device: Device, far: Far) -> None:
        device.advance(2.0)
        device.fail_dial(error, "why")

    return step


def mail(device: Device, far: Far) -> None:
    device.send(BOB, 1)
    device.send(BOB, 2)


def unacknowledged(device: Device, far: Far) -> None:
    mail(device, far)
    device.advance(10.1)


# --- starting ---------------------------------------------------------------------------------------------------


class GivenStore(FakeStore):
    """A store that holds one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.given = snapshot

    def snapshot(self) -> Snapshot:
        return self.given


def waiting(number: int, **fields: object) -> WaitingRecord:
    plain = {
        "peer": BOB,
        "message_id": mid(number),
        "seq": number,
        "body": "hi",
        "hlc": 1,
        "seen": None,
        "sent_at_ms": START_MS,
        "waiting_since_ms": START_MS,
        "state": State.PENDING,
        "transmitted": False,
    }
    return WaitingRecord(**{**plain, **fields})  # type: ignore[arg-type]  # the tests name the fields


def test_node_takes_everything_over_from_the_store() -> None:
    letter = LetterRecord(
        BOB, mid(5), 5, "dead", 1, None, START_MS, Reason.LINK_LOST, "why", 5, PeerHasIt.UNKNOWN, True, 3, START_MS
    )
    snapshot = Snapshot(
        peers=(PeerRecord(BOB, "bob", "robert", Trust.VERIFIED, next_seq=9, last_seen_ms=START_MS),),
        waiting=(waiting(1), waiting(2, cancelling=True, transmitted=True, attempts=2)),
        letters=(letter,),
        untold_reads={BOB: (mid(70),)},
        hlc=1 << 62,
    )
    device = Device(ALICE, store=GivenStore(snapshot), policy=QUIET)
    (view,) = device.node.peers(device.clock.now())
    assert (view.name, view.trust, view.pending, view.dead_letters) == ("robert", Trust.VERIFIED, 2, 1)
    assert view.last_seen_ms == START_MS
    assert [(one.message_id, one.cancelling) for one in device.waiting()] == [(mid(1), False), (mid(2), True)]
    far = Far(device).dials()
    assert [frame.ids for frame in far.peek(Have)] == [(mid(5), mid(2))]
    assert [frame.ids for frame in far.peek(Read)] == [(mid(70),)]
    assert far.numbers() == [1]


def test_node_takes_over_messages_to_a_peer_that_is_not_stored() -> None:
    device = Device(ALICE, store=GivenStore(Snapshot(waiting=(waiting(1),), untold_reads={CAROL: (mid(9),)})))
    assert [one.message_id for one in device.waiting()] == [mid(1)]


def test_node_without_anything_to_do_has_no_deadline() -> None:
    assert Device(ALICE).node.next_deadline() is None


def test_timer_that_fires_early_does_no_harm() -> None:
    device, _ = linked()
    assert device.feed(TimerFired()) == []


def test_commit_that_nobody_waits_for_does_no_harm() -> None:
    device = Device(ALICE)
    assert device.feed(Committed(0)) == []


def test_persists_are_numbered_from_one() -> None:
    device = Device(ALICE)
    device.announce(BOB)
    device.send(BOB, 1)
    device.send(BOB, 2)
    numbers = [effect.number for effect in device.log if isinstance(effect, Persist)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_network_change_cuts_the_wait_for_the_next_try_short() -> None:
    device, far = linked()
    device.send(BOB, 1)
    device.advance(10.1)
    far.events()
    device.feed(NetworkChanged("wake"))
    assert far.numbers() == [1]


def test_crash_between_transmitting_and_acknowledging_delivers_once() -> None:
    device, far = linked()
    device.send(BOB, 1)
    assert far.numbers() == [1]
    device.start()
    far.dials()
    assert far.numbers() == [1]
    far.ack(1)
    assert device.store.out[mid(1)].ticks == [State.PENDING, State.SENT, State.DELIVERED]


# --- a disk that refuses writes ---------------------------------------------------------------------------------


def test_peers_are_told_to_hold_while_the_disk_refuses_writes() -> None:
    device, far = linked()
    device.feed(StorageFailed("no space left"))
    assert far.got(Hold) == [Hold("storage_failed")]
    far.say(Heartbeat(1, 0))
    assert far.got(HeartbeatAck)[0].hold == "storage_failed"
    device.feed(StorageRecovered())
    assert far.got(Hold) == [Hold()]
    far.say(Heartbeat(2, 0))
    assert far.got(HeartbeatAck)[0].hold == ""


def test_peer_that_links_up_while_the_disk_refuses_writes_is_told_to_hold() -> None:
    device = Device(ALICE, policy=QUIET)
    device.feed(StorageFailed("no space left"))
    far = Far(device).dials()
    assert far.got(Hold) == [Hold("storage_failed")]
    device.feed(StorageRecovered())
    assert far.got(Hold) == [Hold()]
    far.notify(event(1))
    assert len(far.got(Ack)) == 1


def test_nothing_is_stored_while_the_disk_refuses_writes() -> None:
    device, far = linked(Policy(retry_jitter=0.0))
    device.manage(BOB, PeerAction.ACCEPT)
    device.send(BOB, 1)
    device.send(BOB, 2)
    far.notify(event(80))
    device.feed(StorageFailed("no space left"))
    first = len(device.log)
    far.notify(event(81))
    far.ack(1)
    far.refuse(2, "too_large")
    far.say(Have((mid(1),)))
    far.say(Had((mid(1),)))
    far.say(Pull(1, 2))
    far.say(Read((mid(1),), 5))
    far.say(Hold("not_accepted"))
    far.say(Hold())
    far.cut()
    again = Far(device).dials()
    assert again.numbers() == []
    again.cut()
    device.announce(BOB)
    device.advance(60.0)
    device.fail_dial(DialError.REFUSED)
    assert [effect for effect in device.log[first:] if isinstance(effect, Persist)] == []
    assert device.ops(RecordAttempt) == []
    assert [view.waiting_for for view in device.waiting()] == ["the disk here refuses writes: no space left"] * 2


def test_everything_goes_on_when_the_disk_takes_writes_again() -> None:
    device, far = linked()
    device.send(BOB, 1)
    far.events()
    device.feed(StorageFailed("no space left"))
    device.advance(600.0)
    assert far.numbers() == []
    device.feed(StorageRecovered())
    assert far.numbers() == [1]
    far.ack(1)
    assert device.state(1) is State.DELIVERED
    assert device.ops(RecordAttempt) == []


def test_hold_of_the_peer_outlives_a_disk_that_recovers_here() -> None:
    """It was never taken back: sending into it would be charged."""
    device, far = linked()
    far.say(Hold("not_accepted"))
    device.send(BOB, 1)
    device.feed(StorageFailed("no space left"))
    device.feed(StorageRecovered())
    device.advance(60.0)
    assert far.numbers() == []
    assert device.ops(RecordAttempt) == []


def test_sent_tick_is_stored_late_when_the_disk_refused_it() -> None:
    device, far = linked()
    device.send(BOB, 1)
    device.feed(StorageFailed("no space left"))
    device.advance(30.0)
    assert device.state(1) is State.PENDING
    device.feed(StorageRecovered())
    device.advance(6.0)
    assert device.state(1) is State.SENT
    assert far.numbers() == [1, 1]


def test_polling_goes_on_when_the_disk_takes_writes_again() -> None:
    device = Device(ALICE, policy=Policy(realtime=False, heartbeat_interval_s=1e6, dead_after_s=1e7))
    far = Far(device).dials()
    far.got(Pull)
    device.feed(StorageFailed("no space left"))
    device.advance(100.0)
    assert far.got(Pull) == []
    device.feed(StorageRecovered())
    device.advance(0.1)
    assert far.got(Pull) == [Pull()]


def test_dial_that_is_refused_while_the_disk_refuses_writes_is_not_charged() -> None:
    device = seen_then(cut, mail)
    device.advance(2.0)
    device.feed(StorageFailed("no space left"))
    device.fail_dial(DialError.REFUSED)
    device.feed(StorageRecovered())
    assert device.ops(RecordAttempt) == []


def test_disk_that_recovers_concerns_peers_without_a_link_too() -> None:
    device, far = linked()
    device.announce(CAROL)
    device.feed(StorageFailed("no space left"))
    device.feed(StorageRecovered())
    assert device.closed == []
    assert far.got(Hold) == [Hold("storage_failed"), Hold()]


# --- waking up: many deadlines at once --------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("realtime", [True, False])
def test_everything_that_came_due_during_a_sleep_is_handled_at_once(stored: bool, realtime: bool) -> None:
    """The link's silence comes first, and takes away what the later deadlines are about."""
    device = Device(CAROL, policy=Policy())
    far = Far(device)
    far.realtime = realtime
    far.dials()
    if stored:
        device.send(BOB, 1)
        far.say(Pull())
    device.feed(NetworkChanged("sleep"))
    device.clock.advance(3600.0)
    device.feed(TimerFired())
    assert [close.link for close in device.closed] == [far.link]
    assert device.node.authenticated(far.link) is None
    assert (device.node.peer(BOB, device.clock.now()) is not None) == stored
    far.cut()
    device.advance(100.0)
    assert device.ops(RecordAttempt) == []


def test_network_change_does_not_touch_a_handshake() -> None:
    device = Device(ALICE)
    device.feed(LinkOpened(LinkId(1), Role.LISTENER, Address("x", 1)))
    device.feed(NetworkChanged("interface"))
    device.advance(4.9)
    assert device.closed == []
