"""The runtime around a node that does what it is told: order, turns, crashes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import cast

import pytest

from p2pchat.core.effects import CloseLink, Dial, Effect, Notify, PeerDone, Persist, Refused, Reply, Result, Transmit
from p2pchat.core.inputs import (
    BytesReceived,
    Command,
    Committed,
    Input,
    LinkClosed,
    LinkOpened,
    ManagePeer,
    Now,
    PeerAction,
    Role,
    StorageFailed,
    StorageRecovered,
)
from p2pchat.core.node import Node
from p2pchat.core.ops import Op, Outcome, ReadByUs, ResetAttempts
from p2pchat.core.records import Snapshot
from p2pchat.engine.runtime import MAX_HELD_OPS, MAX_INBOX, Runtime
from p2pchat.model import Address, DeviceId, LinkId, MessageId
from p2pchat.store.notices import Recorded

PEER = DeviceId("a" * 52)
ONE, TWO = LinkId(1), LinkId(2)
OP = ResetAttempts(MessageId(bytes(16)))


class ScriptedNode:
    """Answers inputs as ``answer`` says and keeps what it was given."""

    def __init__(self, answer: Callable[[Input], list[Effect]]) -> None:
        self.answer = answer
        self.got: list[Input] = []
        self.friends: set[LinkId] = set()

    def start(self, now: Now) -> list[Effect]:
        return []

    def handle(self, event: Input, now: Now) -> list[Effect]:
        self.got.append(event)
        return self.answer(event)

    def next_deadline(self) -> float | None:
        return None

    def authenticated(self, link: LinkId) -> DeviceId | None:
        return PEER if link in self.friends else None


class World:
    """A runtime whose every neighbour is a list."""

    def __init__(self, answer: Callable[[Input], list[Effect]] = lambda _: []) -> None:
        self.answer = answer
        self.nodes: list[ScriptedNode] = []
        self.did: list[object] = []
        self.runtime = Runtime(self._build, self._submit, self)
        self.runtime.attach(self)
        self.runtime.start(Snapshot())

    @property
    def node(self) -> ScriptedNode:
        return self.nodes[-1]

    def _build(self, snapshot: Snapshot, now: Now) -> Node:
        self.nodes.append(ScriptedNode(self.answer))
        return cast(Node, self.nodes[-1])

    def _submit(self, number: int, ops: Sequence[Op], lazy: bool) -> None:
        self.did.append(("submit", number))

    def open(self, link: LinkId) -> None:
        self.runtime.feed(LinkOpened(link, Role.LISTENER, Address("h", 1)))

    def ask(self) -> list[Result]:
        answers: list[Result] = []
        self.runtime.ask(manage, answers.append)
        return answers

    # the transport
    def dial(self, effect: Dial) -> None:
        self.did.append(("dial", effect.dial))

    def transmit(self, link: LinkId, data: bytes) -> None:
        self.did.append(("transmit", link, data))
        if data == b"breaks":
            self.runtime.feed(LinkClosed(link, "broken"))

    def close_link(self, link: LinkId, reason: str) -> None:
        self.did.append(("close", link))

    def authenticated(self, link: LinkId) -> None:
        self.did.append(("authenticated", link))

    def pause_reading(self, link: LinkId) -> None:
        self.did.append(("pause", link))

    def resume_reading(self, link: LinkId) -> None:
        self.did.append(("resume", link))

    # the observer
    def applied(self, outcomes: Sequence[Outcome]) -> None:
        self.did.append(("applied", len(outcomes)))

    def recorded(self, events: Collection[Recorded]) -> None:
        self.did.append(("recorded", [event.event_id for event in events]))

    def noticed(self, notice: Notify) -> None:
        self.did.append(("noticed", notice.name))

    def crashed(self, detail: str, *, storage: bool) -> None:
        self.did.append(("crashed", detail, storage))


def manage(ticket: int) -> Command:
    return ManagePeer(ticket, PEER, PeerAction.ACCEPT)


def recorded(event_id: int) -> Recorded:
    return Recorded(event_id, 0, "peer:changed", PEER, None, {}, None)


async def test_effects_are_carried_out_in_order_before_the_input_returns() -> None:
    effects: list[Effect] = [
        Persist(1, (OP,)),
        Transmit(ONE, b"x"),
        Notify("n", 0, None, {}),
        Dial(7, (Address("h", 1),), None),
        CloseLink(ONE, "bye"),
    ]
    world = World(lambda event: effects if isinstance(event, BytesReceived) else [])
    world.open(ONE)
    world.runtime.feed(BytesReceived(ONE, b""))
    assert world.did == [("submit", 1), ("transmit", ONE, b"x"), ("noticed", "n"), ("dial", 7), ("close", ONE)]


async def test_input_that_an_effect_causes_waits_for_the_effects_before_it() -> None:
    """A link that breaks while it is written to is reported after everything else of that step."""
    effects: list[Effect] = [Transmit(ONE, b"breaks"), Transmit(TWO, b"after")]
    world = World(lambda event: effects if isinstance(event, BytesReceived) else [])
    world.open(ONE)
    world.runtime.feed(BytesReceived(ONE, b""))
    assert world.did == [("transmit", ONE, b"breaks"), ("transmit", TWO, b"after")]
    assert isinstance(world.node.got[-1], LinkClosed)


async def test_reply_answers_its_command_once() -> None:
    world = World(lambda event: [Reply(event.request, PeerDone(PEER))] * 2 if isinstance(event, ManagePeer) else [])
    assert world.ask() == [PeerDone(PEER)]
    assert world.ask() == [PeerDone(PEER)]


async def test_link_is_reported_as_authenticated_once_the_node_says_so() -> None:
    world = World()
    world.open(ONE)
    world.runtime.feed(BytesReceived(ONE, b"hello"))
    assert world.runtime.links_up == 0
    world.node.friends.add(ONE)
    world.runtime.feed(BytesReceived(ONE, b"proof"))
    world.runtime.feed(BytesReceived(ONE, b"more"))
    assert world.did == [("authenticated", ONE)]
    assert world.runtime.links_up == 1
    world.runtime.feed(LinkClosed(ONE))
    assert world.runtime.links_up == 0


async def test_loop_gets_its_turn_and_links_are_held_when_inputs_pile_up() -> None:
    """Slow steps: the inbox is worked off a turn at a time, whoever brings more is not read meanwhile."""

    def slow(event: Input) -> list[Effect]:
        time.sleep(0.0002)
        return []

    world = World(slow)
    world.open(ONE)
    turns, longest_s = 0, 0.0
    count = MAX_INBOX * 2
    # The first step takes the whole turn; what comes meanwhile queues.
    world.answer = slow
    world.node.answer = lambda event: _hog(event, world, count)
    world.runtime.feed(BytesReceived(ONE, b"hog"))
    world.node.answer = slow
    assert ("pause", ONE) in world.did
    while len(world.node.got) < count + 2:
        began_s = time.perf_counter()
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.perf_counter() - began_s)
        turns += 1
    assert turns > 10
    assert longest_s < 0.2
    assert [event.data for event in world.node.got if isinstance(event, BytesReceived)][1:] == [
        str(n).encode() for n in range(count)
    ]
    assert world.did[-1] == ("resume", ONE)


def _hog(event: Input, world: World, count: int) -> list[Effect]:
    if isinstance(event, BytesReceived) and event.data == b"hog":
        for n in range(count):
            world.runtime.feed(BytesReceived(ONE, str(n).encode()))
        time.sleep(0.01)
    return []


async def test_commit_reaches_the_node_before_the_clients_and_in_parts_when_it_is_long() -> None:
    world = World()
    outcomes = [ReadByUs(DeviceId(str(n)), ()) for n in range(1000)]
    world.runtime.mailbox.commit(1, outcomes[:1], [recorded(1)])
    world.runtime.mailbox.commit(3, outcomes[1:], [recorded(2), recorded(3)])
    world.runtime.mailbox.empty()
    told = [event for event in world.node.got if isinstance(event, Committed)]
    assert [outcome for event in told for outcome in event.outcomes] == outcomes
    assert [event.upto for event in told] == [0] * (len(told) - 1) + [3]
    assert len(told) > 1
    assert world.did == [("applied", 1000), ("recorded", [1, 2, 3])]


async def test_failed_commit_drops_every_promise_and_everything_old() -> None:
    """Who waits hears that nothing is known; links close; what still comes from them reaches nobody."""
    world = World()
    world.open(ONE)
    answers = world.ask()
    world.runtime.mailbox.commit(1, (), [recorded(1)])
    world.runtime.mailbox.failure(OSError("disk full"))
    world.runtime.mailbox.empty()
    assert ("crashed", "disk full", True) in world.did
    assert world.did[:2] == [("applied", 0), ("recorded", [1])]
    assert ("close", ONE) in world.did
    assert [answer.code for answer in answers if isinstance(answer, Refused)] == ["not_known_stored"]
    late = world.ask()
    assert [answer.code for answer in late if isinstance(answer, Refused)] == ["not_known_stored"]
    world.open(TWO)
    assert world.did[-1] == ("close", TWO)

    world.runtime.start(Snapshot(), storage_failure="disk full")
    assert world.node.got == [StorageFailed("disk full")]
    for event in (BytesReceived(ONE, b"old"), LinkClosed(ONE), LinkClosed(TWO)):
        world.runtime.feed(event)
    assert world.node.got == [StorageFailed("disk full")]


async def test_writes_are_held_while_the_disk_refuses_and_follow_in_order() -> None:
    world = World(lambda event: [Persist(len(world.node.got), (OP,))] if isinstance(event, ManagePeer) else [])
    world.runtime.start(Snapshot(), storage_failure="disk full")
    world.ask()
    world.ask()
    assert world.did == []
    world.runtime.storage_recovered()
    assert world.did == [("submit", 2), ("submit", 3)]
    assert isinstance(world.node.got[-1], StorageRecovered)
    world.ask()
    assert world.did[-1] == ("submit", 5)


async def test_node_crashes_rather_than_hold_writes_without_end() -> None:
    world = World(lambda event: [Persist(1, (OP,) * (MAX_HELD_OPS + 1))] if isinstance(event, ManagePeer) else [])
    world.runtime.start(Snapshot(), storage_failure="disk full")
    world.ask()
    assert world.did == [("crashed", "disk full", True)]


async def test_fault_in_the_node_is_a_crash_that_is_not_the_disks() -> None:
    def faulty(event: Input) -> list[Effect]:
        raise RuntimeError("a bug")

    world = World()
    world.node.answer = faulty
    assert [answer.code for answer in world.ask() if isinstance(answer, Refused)] == ["not_known_stored"]
    assert world.did == [("crashed", "a fault of this program: RuntimeError", False)]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_stop_answers_whoever_waits(when: str) -> None:
    world = World()
    if when == "before":
        answers = world.ask()
        world.runtime.shut_down()
        world.runtime.mailbox.commit(1, (), [recorded(1)])
        world.runtime.stop()
        assert world.did[-1] == ("recorded", [1])
    else:
        world.runtime.stop()
        answers = world.ask()
    assert [answer.code for answer in answers if isinstance(answer, Refused)] == ["shutting_down"]
