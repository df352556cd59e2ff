"""One link: heartbeats, round trip and clock offset, silence, goodbye."""

from __future__ import annotations

from itertools import pairwise

import pytest

from p2pchat.core.inputs import BytesReceived, LinkOpened, NetworkChanged, Role
from p2pchat.model import Address, LinkId, Policy
from p2pchat.wire import Bye, Error, Heartbeat, HeartbeatAck, Hello, Proof, Unknown, Welcome, encode
from tests.core.driver import ALICE, BOB, START_MS, Device, Far
from tests.wire.samples import SAMPLES

EXACT = Policy(heartbeat_jitter=0.0)


def linked(policy: Policy = EXACT) -> tuple[Device, Far]:
    device = Device(ALICE, policy=policy)
    return device, Far(device).dials()


def keep_alive(device: Device, far: Far, seconds: float) -> None:
    """Let time pass while the far side says something every few seconds."""
    for _ in range(round(seconds / 5)):
        device.advance(5.0)
        far.say(Heartbeat(1, 0))


def answer(far: Far, beat: Heartbeat, *, skew_ms: int = 0, took_ms: int = 0) -> None:
    at_ms = far.device.clock.wall_ms + skew_ms
    far.say(HeartbeatAck(beat.n, beat.sent_ms, at_ms, at_ms + took_ms))


# --- heartbeats -------------------------------------------------------------------------------------------------


def test_heartbeat_is_sent_when_the_link_comes_up_and_every_fifteen_seconds() -> None:
    device, far = linked()
    (first,) = far.got(Heartbeat)
    assert (first.n, first.sent_ms) == (1, START_MS)
    keep_alive(device, far, 45.1)
    assert [beat.n for beat in far.got(Heartbeat)] == [2, 3, 4]
    assert [notice.detail["sequence"] for notice in device.noticed("heartbeat:sent")] == [1, 2, 3, 4]
    assert {notice.peer for notice in device.noticed("heartbeat:sent")} == {BOB}


def test_heartbeat_jitters_by_ten_per_cent() -> None:
    device, far = linked(Policy())
    keep_alive(device, far, 600)
    beats = far.got(Heartbeat)
    gaps = [(b.sent_ms - a.sent_ms) / 1000 for a, b in pairwise(beats)]
    assert len(set(gaps)) > 10
    assert all(13.4 < gap < 16.6 for gap in gaps)


def test_heartbeat_of_the_peer_is_answered_at_once() -> None:
    _, far = linked()
    far.say(Heartbeat(5, 1234))
    assert far.got(HeartbeatAck) == [HeartbeatAck(5, 1234, START_MS, START_MS)]


def test_heartbeat_is_answered_while_a_commit_is_open() -> None:
    """It promises nothing, so it passes the barrier."""
    device, far = linked()
    device.holding_commits = True
    device.send(BOB, 1)
    far.say(Heartbeat(5, 1234))
    assert len(far.got(HeartbeatAck)) == 1


def test_heartbeat_stays_encodable_when_the_clock_is_before_the_epoch() -> None:
    device, far = linked()
    device.clock.wall_ms = -5
    far.say(Heartbeat(5, 1234))
    assert far.got(HeartbeatAck) == [HeartbeatAck(5, 1234, 0, 0)]


def test_round_trip_and_clock_offset_come_from_the_four_times() -> None:
    device, far = linked()
    (beat,) = far.got(Heartbeat)
    device.clock.advance(0.040)
    at_ms = START_MS + 20 + 5000
    far.say(HeartbeatAck(beat.n, beat.sent_ms, at_ms, at_ms + 10))
    view = device.view(BOB)
    assert view.rtt_ms == pytest.approx(30.0)
    assert view.clock_offset_ms == pytest.approx(5005.0)
    (notice,) = device.noticed("heartbeat:received")
    assert notice.detail == {"link": far.link, "rtt_ms": 30.0, "clock_offset_ms": 5005.0, "sequence": 1}


def test_round_trip_is_never_below_zero_when_the_peer_lies() -> None:
    device, far = linked()
    answer(far, far.got(Heartbeat)[0], took_ms=10_000)
    assert device.view(BOB).rtt_ms == 0.0


def test_answer_that_nobody_waits_for_is_ignored() -> None:
    device, far = linked()
    (beat,) = far.got(Heartbeat)
    answer(far, Heartbeat(99, 0))
    assert device.view(BOB).rtt_ms is None
    answer(far, beat)
    answer(far, beat)
    assert len(device.noticed("heartbeat:received")) == 1


def test_heartbeat_is_reported_as_failed_when_it_stays_unanswered() -> None:
    device, far = linked()
    far.got(Heartbeat)
    keep_alive(device, far, 15.1)
    (failed,) = device.noticed("heartbeat:failed")
    assert failed.detail["sequence"] == 1
    answer(far, Heartbeat(1, START_MS))
    assert device.noticed("heartbeat:received") == []


def test_heartbeat_that_is_answered_is_not_reported_as_failed() -> None:
    device, far = linked()
    answer(far, far.got(Heartbeat)[0])
    keep_alive(device, far, 15.1)
    assert device.noticed("heartbeat:failed") == []


@pytest.mark.parametrize(("skew_ms", "told"), [(59_000, False), (61_000, True), (-61_000, True)])
def test_clock_that_is_a_minute_off_is_told_once(skew_ms: int, told: bool) -> None:
    device, far = linked()
    for _ in range(3):
        for beat in far.got(Heartbeat):
            answer(far, beat, skew_ms=skew_ms)
        device.advance(16.0)
    skewed = device.noticed("clock:skewed")
    assert [notice.detail["offset_ms"] for notice in skewed] == ([skew_ms] if told else [])


# --- silence ----------------------------------------------------------------------------------------------------


def test_link_is_dead_when_nothing_is_heard_for_thirty_five_seconds() -> None:
    device, far = linked()
    device.advance(34.9)
    assert device.closed == []
    device.advance(0.2)
    assert [close.link for close in device.closed] == [far.link]
    assert far.got(Error)[-1].code == "too_slow"
    assert device.node.peer(BOB, device.clock.now()) is None


def test_anything_heard_counts_as_life() -> None:
    device, far = linked()
    for _ in range(10):
        device.advance(30.0)
        far.say(Error("protocol", "still there"))
    assert device.closed == []
    device.advance(35.1)
    assert len(device.closed) == 1


def test_network_change_asks_for_life_at_once_and_believes_in_silence_after_five_seconds() -> None:
    device, far = linked()
    far.got(Heartbeat)
    device.feed(NetworkChanged("wake"))
    assert len(far.got(Heartbeat)) == 1
    device.advance(4.9)
    assert device.closed == []
    device.advance(0.2)
    assert len(device.closed) == 1


def test_network_change_does_no_harm_when_the_peer_answers() -> None:
    device, far = linked()
    device.feed(NetworkChanged("interface"))
    device.advance(1.0)
    far.say(Heartbeat(1, 0))
    device.advance(30.0)
    assert device.closed == []


def test_network_change_makes_no_silence_longer() -> None:
    device, far = linked()
    device.advance(33.0)
    device.feed(NetworkChanged("wake"))
    device.advance(2.1)
    assert len(device.closed) == 1
    assert far.device is device


# --- the handshake's deadline -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
def test_handshake_ends_when_its_first_step_takes_five_seconds(role: Role) -> None:
    device = Device(ALICE)
    listener = BOB if role is Role.DIALLER else None
    device.feed(LinkOpened(LinkId(1), role, Address("far.lan", 1), None, listener))
    device.advance(4.9)
    assert device.closed == []
    device.advance(0.2)
    assert [close.link for close in device.closed] == [1]
    assert device.frames(Error)[-1].code == "too_slow"
    (notice,) = device.noticed("link:refused")
    assert notice.detail["detail"] == "far.lan:1: the handshake took too long"
    assert notice.peer == listener


@pytest.mark.parametrize("role", Role)
def test_each_step_of_the_handshake_has_five_seconds_of_its_own(role: Role) -> None:
    device = Device(ALICE)
    far = Far(device)
    far.link = device.new_link()
    listener = BOB if role is Role.DIALLER else None
    device.feed(LinkOpened(far.link, role, Address("far.lan", 1), None, listener))
    device.advance(4.0)
    far.say(far.hello(dialler=role is Role.LISTENER))
    device.advance(4.9)
    assert device.closed == []
    device.advance(0.2)
    assert [close.link for close in device.closed] == [far.link]


def test_timers_of_a_link_end_with_it() -> None:
    device, far = linked()
    far.cut()
    device.advance(100.0)
    assert device.frames(Heartbeat, far.link) == [Heartbeat(1, START_MS)]
    assert device.closed == []


# --- what a closing link does -----------------------------------------------------------------------------------


def test_bytes_on_an_unknown_or_closing_link_are_ignored() -> None:
    device, far = linked()
    assert device.feed(BytesReceived(LinkId(99), b"rubbish")) == []
    far.give(b"rubbish")
    before = len(device.sent)
    for frame in SAMPLES.values():
        assert not isinstance(frame, Unknown)
        assert far.give(encode(frame)) == []
    assert len(device.sent) == before


def test_goodbye_is_answered_with_a_close() -> None:
    device, far = linked()
    far.say(Bye("offline"))
    assert far.got(Bye) == [Bye("goodbye")]
    assert [close.link for close in device.closed] == [far.link]
    far.cut()
    assert [notice.detail["detail"] for notice in device.noticed("link:down")] == ["the other side left: offline"]


@pytest.mark.parametrize("frame", [SAMPLES["hello"], Proof(b""), Welcome(1)])
def test_frames_of_the_handshake_end_a_link_that_is_up(frame: Hello | Proof | Welcome) -> None:
    device, far = linked()
    far.say(frame)
    assert far.got(Error) == [Error("protocol", "the handshake is over")]
    assert [close.link for close in device.closed] == [far.link]
