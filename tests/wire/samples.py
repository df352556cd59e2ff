"""One frame of every kind with every field set, and Hypothesis strategies for all of them."""

from __future__ import annotations

from hypothesis import strategies as st

from p2pchat.wire import (
    Ack,
    Bye,
    Error,
    Event,
    Events,
    Frame,
    Gone,
    Had,
    Have,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Hold,
    Notify,
    Proof,
    Pull,
    Read,
    ReadAck,
    Refusal,
    Welcome,
    encode_event,
)

A, B = b"a" * 16, b"b" * 16
EVENT = Event(id=A, seq=7, prev=6, hlc=1 << 20, sent_at_ms=1000, kind="text", text="hi", seen=B)

SAMPLES: dict[str, Frame] = {
    "hello": Hello(
        versions=(1, 2),
        name="bob",
        instance=A,
        nonce=b"n" * 32,
        realtime=False,
        features=("x",),
        key=b"spki",
        applied=3,
        port=27270,
    ),
    "hello-least": Hello(versions=(1,), name="bob", instance=A, nonce=b"n" * 32),
    "proof": Proof(b"signature"),
    "welcome": Welcome(5),
    "heartbeat": Heartbeat(1, 1000),
    "heartbeat_ack": HeartbeatAck(1, 1000, 1001, 1002, "not_accepted"),
    "heartbeat_ack-least": HeartbeatAck(1, 1000, 1001, 1002),
    "notify": Notify((encode_event(EVENT),)),
    "events": Events((encode_event(EVENT),), more=True),
    "pull": Pull(3, 5),
    "pull-poll": Pull(),
    "gone": Gone(3, 5),
    "ack": Ack((A, B), (Refusal(B, "too_large", "why"),)),
    "have": Have((A, B), 9),
    "had": Had((A,), (B,), 9),
    "hold": Hold("storage_failed"),
    "hold-end": Hold(),
    "read": Read((A,), 1000),
    "read_ack": ReadAck((A,)),
    "bye": Bye("offline"),
    "error": Error("malformed", "what was wrong"),
}

ids = st.binary(min_size=16, max_size=16)
id_tuples = st.lists(ids, max_size=8).map(tuple)
counts = st.integers(0, 2**62)
millis = st.integers(0, 2**47)
words = st.text(max_size=64)
lines = st.text(max_size=512)

events = st.builds(
    Event,
    id=ids,
    seq=counts,
    prev=counts,
    hlc=st.integers(0, 2**63 - 1),
    sent_at_ms=millis,
    kind=st.one_of(st.just("text"), words),
    text=st.text(),
    seen=st.none() | ids,
)
raw_events = st.lists(events.map(encode_event), max_size=4).map(tuple)
refusals = st.builds(Refusal, ids, words, lines)

frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        Hello,
        versions=st.lists(st.integers(0, 9), max_size=16).map(tuple),
        name=st.text(max_size=256),
        instance=ids,
        nonce=st.binary(min_size=32, max_size=32),
        realtime=st.booleans(),
        features=st.lists(words, max_size=3).map(tuple),
        key=st.none() | st.binary(max_size=256),
        applied=st.none() | counts,
        port=st.integers(0, 65535),
    ),
    st.builds(Proof, st.binary(max_size=128)),
    st.builds(Welcome, counts),
    st.builds(Heartbeat, counts, millis),
    st.builds(HeartbeatAck, counts, millis, millis, millis, words),
    st.builds(Notify, raw_events),
    st.builds(Events, raw_events, st.booleans()),
    st.builds(Pull, counts, counts),
    st.builds(Gone, counts, counts),
    st.builds(Ack, id_tuples, st.lists(refusals, max_size=4).map(tuple)),
    st.builds(Have, id_tuples, counts),
    st.builds(Had, id_tuples, id_tuples, counts),
    st.builds(Hold, words),
    st.builds(Read, id_tuples, millis),
    st.builds(ReadAck, id_tuples),
    st.builds(Bye, lines),
    st.builds(Error, words, lines),
)
"""Any well-formed frame of ours."""
