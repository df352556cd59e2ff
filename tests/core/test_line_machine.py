"""A random life of one line, against the promises that it makes about itself."""

from __future__ import annotations

import contextlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2pchat.core.inputs import DialError, StorageFailed, StorageRecovered
from p2pchat.core.outbox import Line
from p2pchat.model import RANK, Policy, State
from p2pchat.wire import Had, Have, Heartbeat, Hold, Notify, Pull, decode_event
from tests.core.driver import ALICE, BOB, Device, Far, mid

POLICY = Policy(window_events=4, window_bytes=2000, max_retries=2, max_queue=12, dead_after_s=1e7, retention_s=300.0,
                min_uptime_for_expiry_s=1.0)  # fmt: skip
numbers = st.integers(1, 14)
some = st.lists(numbers, max_size=4)


class LineMachine(RuleBasedStateMachine):
    """Bob does what he likes; the line to him keeps its order, its window and its word."""

    @initialize()
    def begin(self) -> None:
        self.device = Device(ALICE, policy=POLICY)
        self.far = Far(self.device)
        self.linked = False
        self.given_up: set[int] = set()
        self.device.announce(BOB)

    @property
    def line(self) -> Line:
        peer = self.device.node._directory.get(BOB)
        assert peer is not None
        return peer.line

    # --- what happens ---------------------------------------------------------------------------------------------

    @rule(number=numbers, size=st.sampled_from([1, 1, 1, 900]))
    def send(self, number: int, size: int) -> None:
        self.device.send(BOB, number, "x" * size)

    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        self.device.cancel(number)

    @rule(which=some)
    def retry(self, which: list[int]) -> None:
        self.device.retry(*which)

    @rule(which=some)
    def purge(self, which: list[int]) -> None:
        self.device.purge(*which)

    @precondition(lambda self: not self.linked)
    @rule(realtime=st.sampled_from([True, True, True, False]), dialled=st.booleans())
    def link(self, realtime: bool, dialled: bool) -> None:
        self.far = Far(self.device)
        self.far.realtime = realtime
        if dialled and self.device.dials:
            self.far.answers()
        else:
            self.far.dials()
        self.linked = True

    @precondition(lambda self: self.linked)
    @rule()
    def cut(self) -> None:
        self.far.cut()
        self.linked = False

    @precondition(lambda self: self.linked)
    @rule(which=some)
    def ack(self, which: list[int]) -> None:
        self.far.ack(*which)

    @precondition(lambda self: self.linked)
    @rule(number=numbers, reason=st.sampled_from(["busy", "busy", "too_large", "blocked"]))
    def refuse(self, number: int, reason: str) -> None:
        self.far.refuse(number, reason)

    @precondition(lambda self: self.linked)
    @rule(reason=st.sampled_from(["", "", "not_accepted"]))
    def hold(self, reason: str) -> None:
        self.far.say(Hold(reason))

    @precondition(lambda self: self.linked)
    @rule(has=st.booleans())
    def answer(self, has: bool) -> None:
        for have in self.far.peek(Have):
            self.far.say(Had(have.ids if has else (), () if has else have.ids, have.n))

    @precondition(lambda self: self.linked)
    @rule(first=st.integers(0, 5), last=st.integers(0, 20))
    def pull(self, first: int, last: int) -> None:
        self.far.say(Pull(first, last))

    @rule(error=st.sampled_from(DialError))
    def fail_dial(self, error: DialError) -> None:
        if self.device.dials:
            self.device.fail_dial(error)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 11.0, 40.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.device.advance(seconds)

    @rule()
    def hold_commits(self) -> None:
        self.device.holding_commits = not self.device.holding_commits
        if not self.device.holding_commits:
            self.device.commit()

    @precondition(lambda self: self.device.persists)
    @rule()
    def commit(self) -> None:
        self.device.commit(1)

    @rule(fails=st.booleans())
    def disk(self, fails: bool) -> None:
        self.device.feed(StorageFailed("full") if fails else StorageRecovered())

    @rule()
    def crash(self) -> None:
        self.device.start()
        self.linked = False
        self.device.announce(BOB)

    # --- what holds -----------------------------------------------------------------------------------------------

    @invariant()
    def line_is_consistent(self) -> None:
        line = self.line
        assert not line.flying.keys() & line.waiting.keys()
        assert line._flying_bytes == sum(item.size_bytes for item in line.flying.values())
        assert line.staged >= 0
        assert len(line.flying) <= POLICY.window_events
        assert len(line.flying) <= 1 or line._flying_bytes <= POLICY.window_bytes
        if line.link is None or line.hold:
            assert not line.flying
        if line.alone:
            assert len(line.flying) <= 1
        for item in line.items():
            assert item.attempts < POLICY.max_retries

    @invariant()
    def line_does_not_stand_still(self) -> None:
        """What may go, has gone: with a window, a link, no hold and no next try to wait for, the head is in flight."""
        line = self.line
        head = line.head
        if line.link is None or line.hold or self.device.node._context.ledger.frozen or not line.realtime:
            return
        if head is not None and not line.flying:
            assert head.attempts
            assert self.device.clock.mono_s < head.retry_at_s
            deadline = self.device.node.next_deadline()
            assert deadline is not None
            assert deadline <= head.retry_at_s

    @invariant()
    def only_what_was_marked_has_left(self) -> None:
        """A message whose frame left is known to the disk to have left."""
        for _, frame in self.device.sent:
            if isinstance(frame, Notify):
                for raw in frame.events:
                    event = decode_event(raw)
                    assert event.prev < event.seq
                    stored = self.device.store.out[mid(int.from_bytes(event.id, "big"))]
                    assert stored.record.transmitted
        self.device.sent.clear()
        self.far._read = 0

    @invariant()
    def ticks_never_go_back(self) -> None:
        for one in self.device.store.out.values():
            for before, after in zip(one.ticks, one.ticks[1:], strict=False):
                if before in RANK and after in RANK:
                    assert RANK[before] < RANK[after]
                elif before is State.FAILED:
                    assert after in (State.PENDING, State.DELIVERED)
                else:
                    assert before in (State.PENDING, State.SENT)

    @invariant()
    def memory_agrees_with_the_disk_when_everything_is_committed(self) -> None:
        if self.device.persists:
            return
        waiting = {view.message_id: view for view in self.device.waiting()}
        stored = {record.message_id: record for record in self.device.store.snapshot().waiting}
        assert waiting.keys() == stored.keys()
        assert all(waiting[key].cancelling == stored[key].cancelling for key in waiting)
        letters = sum(one.letter is not None for one in self.device.store.out.values())
        assert self.device.view(BOB).dead_letters == letters

    def teardown(self) -> None:
        """In the end a willing bob gets everything that was not given up."""
        with contextlib.suppress(AttributeError):
            self.settle()

    def settle(self) -> None:
        device = self.device
        device.holding_commits = False
        device.commit()
        device.feed(StorageRecovered())
        if self.linked:
            self.far.cut()
        far = Far(device).dials()
        for _ in range(60):
            for number in far.numbers():
                far.ack(number)
            for have in device.frames(Have, far.link):
                far.say(Had((), have.ids, have.n))
            far.say(Heartbeat(1, 0))
            device.advance(1.0)
        assert device.waiting() == []


TestLine = LineMachine.TestCase
TestLine.settings = settings(
    max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
