"""Whom a text means, step by step."""

from __future__ import annotations

import pytest

from p2pchat.core.views import PeerView
from p2pchat.engine.resolve import resolve
from p2pchat.errors import ApiError
from p2pchat.model import DeviceId, Presence, Trust


def device(letter: str) -> DeviceId:
    return DeviceId(letter * 4 + "a" * 48)


def view(letter: str, own_name: str = "", alias: str = "", trust: Trust = Trust.UNVERIFIED) -> PeerView:
    return PeerView(
        peer=device(letter),
        name=alias or own_name,
        own_name=own_name,
        alias=alias,
        trust=trust,
        presence=Presence.OFFLINE,
        addresses=(),
        rtt_ms=None,
        clock_offset_ms=None,
        pending=0,
        dead_letters=0,
        last_seen_ms=None,
        mode="",
        detail="",
    )


PEERS = [
    view("b", own_name="bob"),
    view("c", own_name="bob", alias="Carol"),
    view("d", own_name="carol"),
    view("e", own_name="ddddaa"),
    view("f", own_name="frank", trust=Trust.SEEN),
    view("g", own_name="Bob", trust=Trust.REQUEST),
    view("h", own_name="ivan", trust=Trust.BLOCKED),
    view("k", own_name="Kim"),
    view("m", own_name="KIM"),
]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (device("b"), "b"),
        (device("b").upper(), "b"),
        ("Carol", "c"),
        ("carol", "c"),
        ("CAROL", "c"),
        ("ddddaa", "e"),
        ("dddd", "d"),
        ("DDDD", "d"),
        ("frank", "f"),
        ("FRANK", "f"),
        ("  frank ", "f"),
        ("ivan", "h"),
        ("Kim", "k"),
        ("KIM", "m"),
    ],
)
def test_resolve_finds_the_first_step_with_a_match_when_texts_compete(text: str, letter: str) -> None:
    assert resolve(text, PEERS).peer == device(letter)


@pytest.mark.parametrize("text", ["", "   ", "nobody", "ddd", "z" * 52, "\x1b[31m", "b" * 5000])
def test_resolve_refuses_when_nobody_matches(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        resolve(text, PEERS)
    assert refused.value.code == "no_such_peer"
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(("text", "letters"), [("bob", "bc"), ("kim", "km"), ("BOB", "bc")])
def test_resolve_names_all_candidates_when_two_match_in_one_step(text: str, letters: str) -> None:
    with pytest.raises(ApiError) as refused:
        resolve(text, PEERS)
    assert refused.value.code == "ambiguous_peer"
    assert refused.value.candidates == tuple(device(letter) for letter in letters)


def test_resolve_names_all_candidates_when_a_prefix_is_short() -> None:
    two = [view("b"), view("b")]
    with pytest.raises(ApiError) as refused:
        resolve("bbbb", two)
    assert refused.value.code == "ambiguous_peer"
