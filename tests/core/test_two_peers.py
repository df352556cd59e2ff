"""A random life of two nodes that talk to each other, against what neither may ever get wrong.

Frames are carried one at a time, commits come late, links double, break and come back, engines crash and start again
from what is on their disks. The stores of both sides are the truth that the ticks are judged by.
"""

from __future__ import annotations

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2pchat.core.effects import MessageState
from p2pchat.core.inputs import NetworkChanged, PeerAction, StorageFailed, StorageRecovered
from p2pchat.model import RANK, PeerHasIt, Policy, State
from p2pchat.wire import Pull
from tests.core.driver import ALICE, BOB, Device, Pair, mid

SIDES = st.integers(0, 1)
SEEDS = st.integers(0, 2**32)
IDS = (ALICE, BOB)
MOVES = {
    "carry": 60,
    "commit": 30,
    "send": 12,
    "cancel": 8,
    "retry": 3,
    "read": 3,
    "connect": 3,
    "pull": 3,
    "wait": 4,
    "crash": 1,
}
"""How often each happens."""


class TwoPeers(RuleBasedStateMachine):
    """Nothing is lost, doubled or told wrongly, whatever happens in between."""

    @initialize(realtime=st.tuples(st.booleans(), st.booleans()), accepted=st.booleans(), returning=st.booleans())
    def begin(self, realtime: tuple[bool, bool], accepted: bool, returning: bool) -> None:
        low, high = (
            Device(
                device_id,
                policy=Policy(
                    realtime=real or realtime == (False, False),
                    window_events=3,
                    max_retries=2 if returning else 1,
                    auto_retry_on_reconnect=returning,
                    base_retry_delay_s=1.0,
                    max_stranger_messages=2,
                ),
                seed=number,
            )
            for number, (device_id, real) in enumerate(zip(IDS, realtime, strict=True))
        )
        self.pair = Pair(low, high)
        self.sent: list[list[int]] = [[], []]
        self.last = 0
        for side, device in enumerate(self.pair.devices):
            device.announce(IDS[1 - side])
            if accepted:
                device.manage(IDS[1 - side], PeerAction.ACCEPT)
            device.holding_commits = True
        self._link_up(0)

    # --- what happens ---------------------------------------------------------------------------------------------

    def _send(self, side: int) -> None:
        self.last += 1
        self.sent[side].append(self.last)
        self.pair[side].send(IDS[1 - side], self.last, f"text {self.last}")

    def _cancel(self, side: int) -> None:
        if self.sent[side]:
            self.pair[side].cancel(self.sent[side][-1])

    def _retry(self, side: int) -> None:
        letters = [int.from_bytes(key, "big") for key, one in self.pair[side].store.out.items() if one.letter]
        self.pair[side].retry(*letters)

    def _crash(self, side: int) -> None:
        self.pair.crash(side)
        self.pair[side].announce(IDS[1 - side])

    def _sleep(self, seconds: float) -> None:
        """Time passes on both sides while the network carries nothing."""
        end_s = self.pair[0].clock.mono_s + seconds
        for device in self.pair.devices:
            device.advance_to(end_s)

    def _link_up(self, dialler: int) -> None:
        if not self.pair.ends:
            self.pair.connect(dialler)
        self.pair.settle()

    @rule(seed=SEEDS)
    def talk(self, seed: int) -> None:
        """Many small steps, in any order: who sends, whose frame arrives, whose disk is done."""
        rng = random.Random(seed)
        for move in rng.choices(list(MOVES), list(MOVES.values()), k=rng.choice([10, 60])):
            self._move(move, rng.randrange(2), rng)
            self.ticks_are_true()

    def _move(self, move: str, side: int, rng: random.Random) -> None:
        pair = self.pair
        match move:
            case "send":
                self._send(side)
            case "carry":
                pair.step(side, rng.randrange(9))
            case "commit":
                pair[side].commit(1)
            case "cancel":
                self._cancel(side)
            case "retry":
                self._retry(side)
            case "connect":
                if len(pair.ends) < 6:
                    pair.connect(side)
            case "read":
                pair[side].read(IDS[1 - side])
            case "pull":
                pair.inject(side, Pull(1, 99))
            case "wait":
                self._sleep(rng.choice([0.3, 2.0, 11.0]))
            case _:
                assert move == "crash"
                self._crash(side)

    @rule(side=SIDES, seed=SEEDS)
    def link_up(self, side: int, seed: int) -> None:
        """Everybody is there and all is said: where most trouble begins."""
        self._link_up(side)
        self.talk(seed)

    @rule(side=SIDES, seed=SEEDS, action=st.sampled_from([PeerAction.ACCEPT, PeerAction.BLOCK, PeerAction.UNBLOCK]))
    def manage(self, side: int, seed: int, action: PeerAction) -> None:
        self.pair[side].manage(IDS[1 - side], action)
        self.talk(seed)
        self.pair[side].manage(IDS[1 - side], PeerAction.UNBLOCK)

    @precondition(lambda self: self.pair.ends)
    @rule(data=st.data(), seed=SEEDS)
    def cut(self, data: st.DataObject, seed: int) -> None:
        self.pair.cut(*data.draw(st.sampled_from(sorted(self.pair.ends))))
        self.talk(seed)

    @rule(side=SIDES, seed=SEEDS)
    def crash(self, side: int, seed: int) -> None:
        self._crash(side)
        self._link_up(side)
        self.talk(seed)

    @rule(seconds=st.sampled_from([0.3, 11.0, 16.0, 40.0]), seed=SEEDS)
    def live(self, seconds: float, seed: int) -> None:
        self.pair.advance(seconds)
        self.talk(seed)

    @rule(side=SIDES, seed=SEEDS)
    def wake(self, side: int, seed: int) -> None:
        self._sleep(40.0)
        self.pair[side].feed(NetworkChanged("wake"))
        self._link_up(side)
        self.talk(seed)

    @rule(side=SIDES, seed=SEEDS)
    def disk(self, side: int, seed: int) -> None:
        """A disk that refuses: the node is built anew from what is stored, as after any failed commit."""
        self._crash(side)
        self.pair[side].feed(StorageFailed("full"))
        self._link_up(side)
        self.talk(seed)
        self.pair[side].feed(StorageRecovered())

    # --- what holds -----------------------------------------------------------------------------------------------

    def _applied(self, author: int) -> list[int]:
        applied = self.pair[1 - author].store.applied.get(IDS[author], {})
        return [int.from_bytes(message_id, "big") for message_id in applied]

    @invariant()
    def what_was_told_pending_is_on_disk(self) -> None:
        for device in self.pair.devices:
            for result in device.replies.values():
                if isinstance(result, MessageState):
                    assert result.message_id in device.store.out

    @invariant()
    def ticks_are_true(self) -> None:
        for side, device in enumerate(self.pair.devices):
            applied = set(map(mid, self._applied(side)))
            theirs = self.pair[1 - side].store.incoming
            for message_id, one in device.store.out.items():
                has_it = message_id in applied
                if one.state in (State.DELIVERED, State.READ):
                    assert has_it
                if one.state is State.READ:
                    assert theirs[IDS[side], message_id].state is State.READ
                if one.state is State.CANCELLED:
                    assert not has_it
                if one.letter is not None and one.letter.peer_has_it is PeerHasIt.NO:
                    assert not has_it
                if has_it:
                    assert one.record.transmitted

    @invariant()
    def ticks_never_go_back(self) -> None:
        for device in self.pair.devices:
            for one in device.store.out.values():
                ranks = [RANK[tick] for tick in one.ticks if tick in RANK]
                if State.FAILED not in one.ticks:
                    assert ranks == sorted(set(ranks))
                assert one.ticks.count(State.DELIVERED) <= 1
                assert one.ticks.count(State.CANCELLED) <= 1

    @invariant()
    def order_is_the_authors_order(self) -> None:
        """Among the messages that were never given up."""
        for side, device in enumerate(self.pair.devices):
            out = device.store.out
            kept = [
                number
                for number in self._applied(side)
                if mid(number) in out and not {State.FAILED, State.CANCELLED} & set(out[mid(number)].ticks)
            ]
            assert kept == sorted(kept)

    @invariant()
    def nothing_unsent_has_arrived(self) -> None:
        for side in (0, 1):
            assert set(self._applied(side)) <= set(self.sent[side])

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.heal()

    def heal(self) -> None:
        """The network and the disks are well again: what was not given up arrives, what is open is settled."""
        pair = self.pair
        for side, device in enumerate(pair.devices):
            device.feed(StorageRecovered())
            pair.settle()
            device.manage(IDS[1 - side], PeerAction.UNBLOCK)
            device.manage(IDS[1 - side], PeerAction.ACCEPT)
        pair.settle()
        for _ in range(5):
            if not any(device.view(IDS[1 - side]).mode for side, device in enumerate(pair.devices)):
                pair.cut_all()
                pair.connect(0)
            pair.advance(45.0)
        for side, device in enumerate(pair.devices):
            assert device.waiting() == []
            applied = self._applied(side)
            for message_id, one in device.store.out.items():
                number = int.from_bytes(message_id, "big")
                assert one.state in (State.DELIVERED, State.READ, State.FAILED, State.CANCELLED)
                assert (number in applied) == (one.state in (State.DELIVERED, State.READ))
            stored = pair[1 - side].store
            assert len(stored.incoming) == len(applied) == stored.peers[IDS[side]].applied if applied else True
        self.ticks_are_true()
        self.order_is_the_authors_order()


TestTwoPeers = TwoPeers.TestCase
TestTwoPeers.settings = settings(
    max_examples=60, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
