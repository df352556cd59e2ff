"""The bytes of every frame, written down: whoever changes the wire breaks a test here, and knows it."""

from __future__ import annotations

import pytest

from p2pchat.wire import Event, Frame, Unknown, decode, decode_event, encode, encode_event
from tests.wire.samples import EVENT, SAMPLES, A

GOLDEN = {
    "hello": (
        "8aa174a568656c6c6fa876657273696f6e73920102a46e616d65a3626f62a8696e7374616e6365c41061616161616161"
        "616161616161616161a56e6f6e6365c4206e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e"
        "6ea87265616c74696d65c2a8666561747572657391a178a36b6579c40473706b69a76170706c69656403a4706f7274cd"
        "6a86"
    ),
    "hello-least": (
        "85a174a568656c6c6fa876657273696f6e739101a46e616d65a3626f62a8696e7374616e6365c4106161616161616161"
        "6161616161616161a56e6f6e6365c4206e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e6e"
    ),
    "proof": "82a174a570726f6f66a97369676e6174757265c4097369676e6174757265",
    "welcome": "82a174a777656c636f6d65a76170706c69656405",
    "heartbeat": "83a174a9686561727462656174a16e01a773656e745f6d73cd03e8",
    "heartbeat_ack": (
        "86a174ad6865617274626561745f61636ba16e01a773656e745f6d73cd03e8ab72656365697665645f6d73cd03e9aa72"
        "65706c6965645f6d73cd03eaa4686f6c64ac6e6f745f6163636570746564"
    ),
    "heartbeat_ack-least": (
        "85a174ad6865617274626561745f61636ba16e01a773656e745f6d73cd03e8ab72656365697665645f6d73cd03e9aa72"
        "65706c6965645f6d73cd03ea"
    ),
    "notify": (
        "82a174a66e6f74696679a66576656e74739188a26964c41061616161616161616161616161616161a373657107a47072"
        "657606a3686c63ce00100000aa73656e745f61745f6d73cd03e8a46b696e64a474657874a474657874a26869a4736565"
        "6ec41062626262626262626262626262626262"
    ),
    "events": (
        "83a174a66576656e7473a66576656e74739188a26964c41061616161616161616161616161616161a373657107a47072"
        "657606a3686c63ce00100000aa73656e745f61745f6d73cd03e8a46b696e64a474657874a474657874a26869a4736565"
        "6ec41062626262626262626262626262626262a46d6f7265c3"
    ),
    "pull": "83a174a470756c6ca5666972737403a46c61737405",
    "pull-poll": "81a174a470756c6c",
    "gone": "83a174a4676f6e65a5666972737403a46c61737405",
    "ack": (
        "83a174a361636ba369647392c41061616161616161616161616161616161c41062626262626262626262626262626262"
        "a7726566757365649183a26964c41062626262626262626262626262626262a6726561736f6ea9746f6f5f6c61726765"
        "a664657461696ca3776879"
    ),
    "have": (
        "83a174a468617665a369647392c41061616161616161616161616161616161c41062626262626262626262626262626262a16e09"
    ),
    "had": (
        "84a174a3686164a368617391c41061616161616161616161616161616161a56c61636b7391c410626262626262626262"
        "62626262626262a16e09"
    ),
    "hold": "82a174a4686f6c64a6726561736f6eae73746f726167655f6661696c6564",
    "hold-end": "81a174a4686f6c64",
    "read": "83a174a472656164a369647391c41061616161616161616161616161616161a561745f6d73cd03e8",
    "read_ack": "82a174a8726561645f61636ba369647391c41061616161616161616161616161616161",
    "bye": "82a174a3627965a6726561736f6ea76f66666c696e65",
    "error": "83a174a56572726f72a4636f6465a96d616c666f726d6564a664657461696cae77686174207761732077726f6e67",
}
EVENT_BYTES = (
    "88a26964c41061616161616161616161616161616161a373657107a47072657606a3686c63ce00100000aa73656e745f"
    "61745f6d73cd03e8a46b696e64a474657874a474657874a26869a47365656ec410626262626262626262626262626262"
    "62"
)
LEAST_EVENT_BYTES = (
    "86a26964c41061616161616161616161616161616161a373657101a47072657600a3686c6300aa73656e745f61745f6d"
    "7300a46b696e64a474657874"
)


@pytest.mark.parametrize("name", SAMPLES)
def test_encode_gives_the_written_bytes_for_each_frame(name: str) -> None:
    frame = SAMPLES[name]
    assert not isinstance(frame, Unknown)
    assert encode(frame).hex() == GOLDEN[name]


@pytest.mark.parametrize("name", GOLDEN)
def test_decode_reads_the_written_bytes_of_each_frame(name: str) -> None:
    assert decode(bytes.fromhex(GOLDEN[name])) == SAMPLES[name]


def test_samples_hold_every_kind_of_frame_with_every_field() -> None:
    kinds = {kind for kind in Frame.__args__ if kind is not Unknown}
    assert {type(frame) for frame in SAMPLES.values()} == kinds
    for kind in kinds:
        full = next(frame for frame in SAMPLES.values() if type(frame) is kind)
        defaults = dict(zip(reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False))
        assert all(getattr(full, name) != default for name, default in defaults.items()), kind


def test_event_gives_the_written_bytes_and_comes_back() -> None:
    assert bytes(encode_event(EVENT)).hex() == EVENT_BYTES
    assert decode_event(encode_event(EVENT)) == EVENT


def test_event_leaves_out_what_is_not_set() -> None:
    least = Event(id=A, seq=1, prev=0, hlc=0, sent_at_ms=0, kind="text")
    assert bytes(encode_event(least)).hex() == LEAST_EVENT_BYTES
    assert decode_event(encode_event(least)) == least
