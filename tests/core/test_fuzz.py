"""Whatever comes in, in whatever phase: the node never raises, and what it says can always be read."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pchat.core.inputs import (
    AddPeer,
    BytesReceived,
    CancelMessage,
    DialError,
    DialFailed,
    Input,
    LinkClosed,
    LinkOpened,
    ManagePeer,
    MarkRead,
    NetworkChanged,
    PeerAction,
    PeerAnnounced,
    PeerWithdrawn,
    PurgeLetters,
    RetryLetters,
    Role,
    SendText,
    ShutDown,
    StorageFailed,
    StorageRecovered,
    TimerFired,
)
from p2pchat.model import LinkId, Policy
from p2pchat.wire import Frame, Notify, Unknown, encode, encode_event
from tests.core.driver import ALICE, BOB, CAROL, Device, Far, address_of, event, mid
from tests.wire.samples import frames

POLICY = Policy(max_retries=2, max_stranger_messages=3, window_events=2)
few_ids = st.integers(0, 6).map(mid)
peers = st.sampled_from([ALICE, BOB, CAROL])
addresses = st.sampled_from([address_of("bob"), address_of("carol")])
hostile = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
near_events = st.builds(
    event,
    st.integers(0, 6),
    hostile,
    seq=st.integers(0, 9),
    prev=st.integers(0, 9),
    hlc=st.integers(0, 2**63 - 1),
    kind=st.sampled_from(["text", "text", "text", "later"]),
    seen=st.none() | few_ids,
)
pushes = st.lists(near_events, max_size=4).map(lambda some: Notify(tuple(map(encode_event, some))))


@st.composite
def near_frames(draw: st.DrawFn) -> Frame:
    """A frame whose ids are those that the node knows."""
    frame = draw(st.one_of(pushes, frames))
    fields: dict[str, object] = {}
    for name in ("ids", "has", "lacks"):
        if hasattr(frame, name):
            fields[name] = tuple(draw(st.lists(few_ids, max_size=4)))
    for name in ("first", "last", "n"):
        if hasattr(frame, name):
            fields[name] = draw(st.integers(0, 9))
    return type(frame)(**{**{name: getattr(frame, name) for name in frame.__struct_fields__}, **fields})


def said(frame: Frame) -> bytes:
    assert not isinstance(frame, Unknown)
    return encode(frame)


payloads = st.one_of(
    near_frames().map(said),
    st.binary(max_size=60),
    st.tuples(near_frames().map(said), st.binary(max_size=3)).map(b"".join),
)
links = st.integers(1, 6).map(LinkId)
dials = st.integers(0, 3)
id_lists = st.lists(few_ids, max_size=3).map(tuple)

inputs: st.SearchStrategy[Input] = st.one_of(
    st.builds(BytesReceived, links, payloads),
    st.builds(BytesReceived, links, payloads),
    st.builds(BytesReceived, links, payloads),
    st.builds(LinkClosed, links, hostile),
    st.builds(DialFailed, dials, st.sampled_from(DialError), st.none() | addresses, hostile),
    st.builds(PeerAnnounced, peers, hostile, st.lists(addresses, max_size=2).map(tuple)),
    st.builds(PeerWithdrawn, peers),
    st.builds(NetworkChanged, hostile),
    st.just(TimerFired()),
    st.builds(StorageFailed, hostile),
    st.just(StorageRecovered()),
    st.builds(SendText, st.just(0), peers, few_ids, hostile),
    st.builds(CancelMessage, st.just(0), few_ids),
    st.builds(MarkRead, st.just(0), peers, st.none() | few_ids),
    st.builds(RetryLetters, st.just(0), id_lists),
    st.builds(PurgeLetters, st.just(0), id_lists),
    st.builds(AddPeer, st.just(0), st.tuples(addresses), st.none() | peers),
    st.builds(ManagePeer, st.just(0), peers, st.sampled_from(PeerAction), hostile),
)


def feed(device: Device, given_input: Input, rng: random.Random) -> None:
    """Feed one input as a shell would: fresh tickets, numbers of dials that there were, time that goes on."""
    device.clock.advance(rng.choice([0.0, 0.0, 0.1, 3.0, 40.0]))
    device.clock.wall_ms += rng.choice([0, 0, 0, 86_400_000, -(10**13)])
    if hasattr(given_input, "request"):
        device.requests += 1
        fields = {name: getattr(given_input, name) for name in given_input.__dataclass_fields__}
        given_input = type(given_input)(**{**fields, "request": device.requests})
    if isinstance(given_input, DialFailed) and device.dials:
        dial = rng.choice(device.dials).dial
        given_input = DialFailed(dial, given_input.error, given_input.address, given_input.detail)
    device.feed(given_input)
    device.node.peers(device.clock.now())
    device.waiting()
    deadline = device.node.next_deadline()
    assert deadline is None or deadline >= device.clock.mono_s


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(inputs, min_size=5, max_size=40), st.integers(0, 2**32), st.sampled_from([ALICE, BOB, CAROL]))
def test_node_never_raises_on_any_inputs(some: list[Input], seed: int, ours: object) -> None:
    """Six links in several phases: up with two peers, half-way through a handshake, just opened."""
    rng = random.Random(seed)
    device = Device(CAROL if ours == CAROL else ALICE, policy=POLICY)
    for peer in (BOB, BOB):
        Far(device, peer).dials()
    device.announce(BOB)
    device.feed(LinkOpened(device.new_link(), Role.LISTENER, address_of("x")))
    device.feed(LinkOpened(device.new_link(), Role.DIALLER, address_of("x"), None, BOB))
    device.feed(LinkOpened(device.new_link(), Role.DIALLER, address_of("x"), None, device.device_id))
    device.holding_commits = rng.random() < 0.3
    for one in some:
        feed(device, one, rng)
        device.commit(rng.randrange(3))
    device.commit()
    device.feed(ShutDown())
    device.commit()


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(payloads, max_size=25), st.booleans())
def test_node_never_raises_on_any_frames_of_a_peer(some: list[bytes], accepted: bool) -> None:
    device = Device(ALICE, policy=POLICY)
    far = Far(device).dials()
    if accepted:
        device.manage(BOB, PeerAction.ACCEPT)
    for number in range(4):
        device.send(BOB, number)
    for data in some:
        if device.node.authenticated(far.link) is None:
            far.dials()
        far.give(data)
        device.advance(1.0)
    assert len(device.node.peers(device.clock.now())) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(payloads, max_size=6), st.sampled_from(Role))
def test_nothing_is_remembered_of_a_link_that_proved_nothing(some: list[bytes], role: Role) -> None:
    device = Device(ALICE, policy=POLICY)
    listener = BOB if role is Role.DIALLER else None
    device.feed(LinkOpened(LinkId(1), role, address_of("x"), None, listener))
    for data in some:
        device.feed(BytesReceived(LinkId(1), data))
    if role is Role.LISTENER:
        assert device.node.peers(device.clock.now()) == []
        assert device.node.authenticated(LinkId(1)) is None
    assert device.store.peers == {}
