"""Lines to requests and answers to lines."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pchat.api.types import HistoryParams, WaitParams
from p2pchat.engine import rpc
from p2pchat.errors import ApiError


def line(**fields: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, **fields}).encode()


def test_decode_gives_typed_parameters_when_the_request_is_good() -> None:
    request, params = rpc.decode(line(method="history", params={"peer": "bob", "later": "field"}))
    assert (request.id, params) == (1, HistoryParams(peer="bob"))
    _, params = rpc.decode(line(method="message.wait", params={"message_id": "x", "state": "read", "timeout_s": 3}))
    assert params == WaitParams(message_id="x", state="read", timeout_s=3.0)


@pytest.mark.parametrize("params", [{}, None])
def test_decode_takes_requests_without_parameters(params: object) -> None:
    assert rpc.decode(line(method="status", params=params))[0].method == "status"
    assert rpc.decode(b'{"jsonrpc":"2.0","method":"status"}')[0].method == "status"


@pytest.mark.parametrize(
    ("data", "number", "code", "request_id", "words"),
    [
        (b"{", rpc.PARSE_ERROR, "bad_request", None, "not JSON"),
        (b"\xff\xfe", rpc.PARSE_ERROR, "bad_request", None, "not JSON"),
        (b"[]", rpc.INVALID_REQUEST, "bad_request", None, "one request a line"),
        (b'[{"jsonrpc":"2.0"}]', rpc.INVALID_REQUEST, "bad_request", None, "one request a line"),
        (b"7", rpc.INVALID_REQUEST, "bad_request", None, "JSON-RPC 2.0"),
        (b'{"id": 4}', rpc.INVALID_REQUEST, "bad_request", 4, "JSON-RPC 2.0"),
        (b'{"jsonrpc":"1.0","id":"x","method":"status"}', rpc.INVALID_REQUEST, "bad_request", "x", "2.0"),
        (line(method="status", id=[1]), rpc.INVALID_REQUEST, "bad_request", None, "id"),
        (line(method="sta\x1btus"), rpc.NO_SUCH_METHOD, "no_such_method", 1, "no method is called"),
        (line(method="history", params={}), rpc.INVALID_PARAMS, "bad_request", 1, "peer"),
        (line(method="history", params={"peer": 7}), rpc.INVALID_PARAMS, "bad_request", 1, "history: Expected `str`"),
        (line(method="history", params=["bob"]), rpc.INVALID_PARAMS, "bad_request", 1, "history"),
    ],
)
def test_decode_says_what_is_wrong_in_one_line(
    data: bytes, number: int, code: str, request_id: object, words: str
) -> None:
    with pytest.raises(rpc.Malformed) as wrong:
        rpc.decode(data)
    assert (wrong.value.number, wrong.value.code) == (number, code)
    assert wrong.value.id == request_id
    assert words in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert "\x1b" not in str(wrong.value)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"jsonrpc":"2.0","method":"status","params":['])
def test_decode_survives_when_json_is_nested_without_end(opening: bytes) -> None:
    with pytest.raises(rpc.Malformed):
        rpc.decode(opening * 100_000)


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_decode_raises_nothing_but_malformed_when_fed_anything(data: bytes) -> None:
    with contextlib.suppress(rpc.Malformed):
        rpc.decode(data)


def test_encode_error_carries_word_and_candidates() -> None:
    data = json.loads(rpc.encode_error(3, ApiError("ambiguous_peer", "two\nlines", ("a", "b"))))
    assert data == {
        "jsonrpc": "2.0",
        "id": 3,
        "error": {"code": -32000, "message": "two␊lines", "data": {"code": "ambiguous_peer", "candidates": ["a", "b"]}},
    }


def test_encode_makes_exactly_one_line_when_texts_have_line_ends() -> None:
    data = rpc.encode_result("x", {"body": "a\nb\u2028c"})
    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert json.loads(data)["result"]["body"] == "a\nb\u2028c"
