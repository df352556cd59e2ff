"""The timer that notices sleep, and the way of commits to the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from p2pchat.core.ops import Outcome, ReadByUs
from p2pchat.engine.alarm import ASLEEP_S, MAX_NAP_S, Alarm
from p2pchat.engine.mailbox import Commits, Mailbox
from p2pchat.model import DeviceId


class FakeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is set by hand; timers are fired by hand, too."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def time(self) -> float:
        return self.now_s


class World:
    """An alarm, its loop's clock and the machine's clock."""

    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.mono_s = 5000.0
        self.fired: list[float] = []
        self.alarm = Alarm(self.loop, lambda: self.mono_s, self.fired.append)

    def due_s(self) -> float:
        """In how many seconds of the loop it fires."""
        assert self.alarm._timer is not None
        return self.alarm._timer.when() - self.loop.now_s

    def fire_after(self, loop_s: float, mono_s: float) -> None:
        """Let time pass on both clocks and the timer fire."""
        self.loop.now_s += loop_s
        self.mono_s += mono_s
        assert self.alarm._timer is not None
        self.alarm._timer.cancel()
        self.alarm._fired()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.close()


@pytest.mark.parametrize(("deadline_s", "due_s"), [(None, MAX_NAP_S), (5001.5, 1.5), (9999.0, MAX_NAP_S), (1.0, 0.0)])
def test_alarm_naps_until_the_deadline_but_not_long(world: World, deadline_s: float | None, due_s: float) -> None:
    world.alarm.arm(deadline_s)
    assert world.due_s() == pytest.approx(due_s)


def test_alarm_keeps_an_earlier_time_and_takes_an_earlier_one(world: World) -> None:
    world.alarm.arm(5002.0)
    world.alarm.arm(5004.0)
    assert world.due_s() == pytest.approx(2.0)
    world.alarm.arm(5001.0)
    assert world.due_s() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("loop_s", "mono_s", "asleep"),
    [
        (5.0, 5.0, False),
        (5.0 + ASLEEP_S - 0.1, 5.0 + ASLEEP_S - 0.1, False),
        (5.0 + ASLEEP_S + 0.1, 5.0 + ASLEEP_S + 0.1, True),  # this process was stopped
        (5.0, 3605.0, True),  # the machine slept, and the loop's clock with it
    ],
)
def test_alarm_notices_sleep_by_either_clock(world: World, loop_s: float, mono_s: float, asleep: bool) -> None:
    world.alarm.arm(None)
    world.fire_after(loop_s, mono_s)
    assert len(world.fired) == 1
    assert (world.fired[0] > ASLEEP_S) is asleep
    assert (world.fired[0] == 0.0) is not asleep


def outcome(n: int) -> Outcome:
    return ReadByUs(DeviceId(str(n)), ())


async def test_mailbox_delivers_everything_in_order_when_threads_post_all_the_time() -> None:
    got: list[Commits | Exception] = []
    done = asyncio.Event()

    def take(report: Commits | Exception) -> None:
        got.append(report)
        if isinstance(report, Exception):
            done.set()

    mailbox = Mailbox(take)
    mailbox.open(asyncio.get_running_loop())

    def post() -> None:
        for n in range(1, 20_001):
            mailbox.commit(n, (outcome(n),), ())
        mailbox.failure(OSError("full"))

    thread = threading.Thread(target=post)
    thread.start()
    await asyncio.wait_for(done.wait(), 20)
    thread.join()
    commits = [report for report in got if isinstance(report, Commits)]
    assert [one for report in commits for one in report.outcomes] == [outcome(n) for n in range(1, 20_001)]
    assert all(
        int(report.outcomes[-1].peer) == report.upto for report in commits if isinstance(report.outcomes[-1], ReadByUs)
    )
    assert str(got[-1]) == "full"
