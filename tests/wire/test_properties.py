"""Any frame survives the wire; any bytes are a frame or a WireError."""

from __future__ import annotations

import contextlib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from p2pchat.errors import WireError
from p2pchat.wire import Event, Frame, Unknown, decode, decode_event, encode, encode_event, event_id_of
from tests.wire.samples import events, frames

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
tags = st.sampled_from([str(kind.__struct_config__.tag) for kind in Frame.__args__ if kind is not Unknown])
field_names = sorted({name for kind in (*Frame.__args__, Event) for name in kind.__struct_fields__})
maps = st.dictionaries(st.sampled_from(field_names) | st.text(max_size=4), plain, max_size=8)


def read_everything(data: bytes) -> None:
    """Any exception but WireError fails the test; a map that is no frame may be an event."""
    with contextlib.suppress(WireError):
        decode(data)
    with contextlib.suppress(WireError):
        decode_event(msgspec.Raw(data))
    message_id = event_id_of(msgspec.Raw(data))
    assert message_id is None or len(message_id) == 16


@given(frames)
def test_frame_comes_back_as_it_was(frame: Frame) -> None:
    assert not isinstance(frame, Unknown)
    assert decode(encode(frame)) == frame


@given(events)
def test_event_comes_back_as_it_was_and_its_id_is_known(event: Event) -> None:
    raw = encode_event(event)
    assert decode_event(raw) == event
    assert event_id_of(raw) == event.id


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read_everything(data)


@given(tags | st.text(max_size=12), maps)
def test_any_map_with_a_tag_is_read_or_refused(tag: str, fields: dict[str, object]) -> None:
    read_everything(msgspec.msgpack.encode({**fields, "t": tag}))


@given(frames, st.data())
def test_frame_with_a_few_wrong_bytes_is_read_or_refused(frame: Frame, data: st.DataObject) -> None:
    assert not isinstance(frame, Unknown)
    changed = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    read_everything(bytes(changed))


@given(st.integers(0, 5000), st.sampled_from([b"\x91", b"\x81\xa1a", b"\x81\x91", b"\xdd\x00\x00\x00\x01"]))
def test_nesting_of_any_depth_is_read_or_refused(depth: int, opening: bytes) -> None:
    read_everything(opening * depth + b"\x01")
    read_everything(b"\x82\xa1t\xa5later\xa1z" + opening * depth + b"\x01")
