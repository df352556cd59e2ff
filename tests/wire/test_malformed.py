"""What is not a frame or not an event: a WireError each time, and nothing else."""

from __future__ import annotations

import msgspec
import pytest

from p2pchat.errors import WireError
from p2pchat.wire import (
    MAX_FRAME_BYTES,
    Bye,
    Hello,
    Notify,
    Unknown,
    decode,
    decode_event,
    encode,
    encode_event,
    event_id_of,
)
from tests.wire.samples import EVENT, SAMPLES, A

pack = msgspec.msgpack.encode
DEEP = b"\x91" * 200_000 + b"\x01"


def body(tag: str, **fields: object) -> bytes:
    return pack({"t": tag, **fields})


def raw_body(tag: str, field: str, value: bytes) -> bytes:
    """A map of the tag and one field whose bytes are given."""
    return b"\x82" + pack("t") + pack(tag) + pack(field) + value


def event_fields(**changes: object) -> dict[str, object]:
    return {**msgspec.structs.asdict(EVENT), **changes}


MALFORMED = {
    "nothing": b"",
    "a number": b"\x05",
    "an array": b"\x90",
    "an opcode that there is not": b"\xc1",
    "a map without a tag": b"\x80",
    "a tag that is a number": b"\x81\xa1t\x05",
    "a tag that is nil": b"\x81\xa1t\xc0",
    "a tag that is not UTF-8": b"\x81\xa1t\xa1\xff",
    "a key that is a number": b"\x81\x05\x05",
    "cut off": encode(Bye("offline"))[:-1],
    "something behind it": encode(Bye("offline")) + b"\x01",
    "two tags": b"\x82\xa1t\xa3bye\xa1t\xa4gone",
    "a field missing": body("welcome"),
    "a field of another type": body("welcome", applied="5"),
    "a count that is a fraction": body("welcome", applied=1.5),
    "a count that is infinite": body("welcome", applied=float("inf")),
    "a count below zero": body("welcome", applied=-1),
    "a count too large": body("welcome", applied=2**62 + 1),
    "the largest integer": raw_body("welcome", "applied", b"\xcf" + b"\xff" * 8),
    "a time too late": body("heartbeat", n=1, sent_ms=2**47 + 1),
    "an id too short": body("read_ack", ids=[b"a" * 15]),
    "an id too long": body("read_ack", ids=[b"a" * 17]),
    "an id that is a text": body("read_ack", ids=["a" * 16]),
    "too many ids": body("read_ack", ids=[A] * 4097),
    "too many events": body("notify", events=[1] * 1025),
    "too many refusals": body("ack", refused=[{"id": A, "reason": "x"}] * 1025),
    "a refusal without a reason": body("ack", refused=[{"id": A}]),
    "a word too long": body("hold", reason="x" * 65),
    "a line too long": body("bye", reason="x" * 513),
    "a text that is not UTF-8": raw_body("bye", "reason", b"\xa1\xff"),
    "a text with a surrogate": raw_body("bye", "reason", b"\xa3\xed\xa0\x80"),
    "a nonce too short": body("hello", versions=[1], name="b", instance=A, nonce=b"n" * 31),
    "a name too long": body("hello", versions=[1], name="b" * 257, instance=A, nonce=b"n" * 32),
    "a port too high": body("hello", versions=[1], name="b", instance=A, nonce=b"n" * 32, port=65536),
    "a version that is a text": body("hello", versions=["1"], name="b", instance=A, nonce=b"n" * 32),
    "a key too long": body("hello", versions=[1], name="b", instance=A, nonce=b"n" * 32, key=b"k" * 257),
    "a signature too long": body("proof", signature=b"s" * 129),
    "an array said to be enormous": raw_body("notify", "events", b"\xdd\xff\xff\xff\xff"),
    "a map said to be enormous": raw_body("notify", "else", b"\xdf\xff\xff\xff\xff"),
    "a text said to be enormous": raw_body("bye", "reason", b"\xdb\xff\xff\xff\xff"),
    "deep nesting": DEEP,
    "deep nesting in a field": raw_body("notify", "events", DEEP),
    "deep nesting in a field that is ignored": raw_body("bye", "else", DEEP),
    "deep nesting in an unknown frame": raw_body("later", "else", DEEP),
    "too long": b"\x00" * (MAX_FRAME_BYTES + 1),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_decode_refuses_what_is_not_a_frame(what: str) -> None:
    with pytest.raises(WireError) as caught:
        decode(MALFORMED[what])
    text = str(caught.value)
    assert 0 < len(text) < 300
    assert "\n" not in text


def test_decode_says_how_long_a_frame_may_be_when_one_is_too_long() -> None:
    with pytest.raises(WireError, match="1048577 bytes; at most 1048576"):
        decode(b"\x00" * (MAX_FRAME_BYTES + 1))


def test_decode_takes_a_frame_of_exactly_the_longest_size() -> None:
    around = len(raw_body("bye", "else", b"\xc6" + bytes(4)))
    size = MAX_FRAME_BYTES - around
    data = raw_body("bye", "else", b"\xc6" + size.to_bytes(4, "big") + bytes(size))
    assert len(data) == MAX_FRAME_BYTES
    assert decode(data) == Bye()


@pytest.mark.parametrize("name", SAMPLES)
def test_decode_ignores_unknown_fields_in_each_frame(name: str) -> None:
    frame = SAMPLES[name]
    assert not isinstance(frame, Unknown)
    fields = msgspec.msgpack.decode(encode(frame))
    for value in (None, 5, "text", b"bytes", [1, [2]], {"a": {"b": 1.5}}):
        assert decode(pack({**fields, "zz_later": value})) == frame


def test_decode_takes_fields_in_any_order() -> None:
    assert decode(pack({"reason": "offline", "t": "bye"})) == Bye("offline")


@pytest.mark.parametrize("fields", [{}, {"a": 1}, {"events": 5}, {"reason": None}])
def test_decode_names_the_kind_when_it_is_unknown(fields: dict[str, object]) -> None:
    assert decode(body("later", **fields)) == Unknown("later")


def test_decode_does_not_call_a_known_kind_unknown_when_it_is_malformed() -> None:
    with pytest.raises(WireError, match="applied"):
        decode(body("welcome"))


def test_decode_leaves_bad_events_to_be_refused_one_by_one() -> None:
    data = body("notify", events=[event_fields(), {"id": A}, 5])
    frame = decode(data)
    assert isinstance(frame, Notify)
    assert decode_event(frame.events[0]) == EVENT
    for raw in frame.events[1:]:
        with pytest.raises(WireError, match="not an event"):
            decode_event(raw)
    assert [event_id_of(raw) for raw in frame.events] == [A, A, None]


BAD_EVENTS = {
    "no kind": {key: value for key, value in event_fields().items() if key != "kind"},
    "a number below zero": event_fields(seq=-1),
    "a clock too large": event_fields(hlc=2**63),
    "a time too late": event_fields(sent_at_ms=2**47 + 1),
    "a seen id too short": event_fields(seen=b"s"),
    "a text that is bytes": event_fields(text=b"hi"),
    "a kind too long": event_fields(kind="k" * 65),
}


@pytest.mark.parametrize("what", BAD_EVENTS)
def test_decode_event_refuses_and_the_id_is_still_known(what: str) -> None:
    raw = msgspec.Raw(pack(BAD_EVENTS[what]))
    with pytest.raises(WireError, match="not an event"):
        decode_event(raw)
    assert event_id_of(raw) == A


@pytest.mark.parametrize(
    "data",
    [b"", b"\x05", b"\xc1", b"\x80", DEEP, pack({"id": b"short"}), pack({"id": "text" * 4}), b"\x81\xa1\xff\x01"],
)
def test_event_without_a_readable_id_has_none(data: bytes) -> None:
    raw = msgspec.Raw(data)
    assert event_id_of(raw) is None
    with pytest.raises(WireError):
        decode_event(raw)


def test_event_ignores_unknown_fields() -> None:
    assert decode_event(msgspec.Raw(pack(event_fields(later=[1, {"a": 2}])))) == EVENT


def test_hello_has_exactly_what_a_listener_knows_when_the_rest_is_left_out() -> None:
    hello = decode(body("hello", versions=[1], name="b", instance=A, nonce=b"n" * 32))
    assert hello == Hello(versions=(1,), name="b", instance=A, nonce=b"n" * 32)
    assert isinstance(hello, Hello)
    assert (hello.realtime, hello.features, hello.key, hello.applied, hello.port) == (True, (), None, None, 0)


def test_encode_event_is_what_stands_in_the_frame() -> None:
    raw = encode_event(EVENT)
    assert bytes(raw) in encode(Notify((raw,)))
