"""Ids, names and texts from outside."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pchat.model import (
    MAX_NAME_CHARS,
    PERMANENT,
    RANK,
    Address,
    Reason,
    State,
    clean,
    clean_name,
    device_id_of,
    is_hostile,
    new_message_id,
    parse_message_id,
)


def test_device_id_is_the_base32_of_the_keys_hash() -> None:
    made = device_id_of(b"spki")
    padded = made.upper() + "=" * (-len(made) % 8)
    assert base64.b32decode(padded) == hashlib.sha256(b"spki").digest()
    assert len(made) == 52
    assert made == made.lower()


def test_device_id_differs_for_each_key() -> None:
    assert device_id_of(b"one") != device_id_of(b"two")


def test_message_id_holds_its_time_then_its_randomness() -> None:
    made = new_message_id(0x0123456789AB, b"r" * 10)
    assert made == bytes.fromhex("0123456789ab") + b"r" * 10


def test_message_id_sorts_by_time() -> None:
    assert new_message_id(1000, b"\xff" * 10) < new_message_id(1001, b"\x00" * 10)


@pytest.mark.parametrize("wall_ms", [-1, 2**48, 2**60])
def test_message_id_takes_any_clock(wall_ms: int) -> None:
    assert len(new_message_id(wall_ms, bytes(10))) == 16


@pytest.mark.parametrize("count", [0, 9, 11])
def test_message_id_refuses_another_amount_of_randomness(count: int) -> None:
    with pytest.raises(ValueError, match="exactly 10 random bytes"):
        new_message_id(0, bytes(count))


@pytest.mark.parametrize(
    "text",
    [
        "000102030405060708090a0b0c0d0e0f",
        " 000102030405060708090A0B0C0D0E0F\n",
        "00010203-0405-0607-0809-0a0b0c0d0e0f",
    ],
)
def test_parse_message_id_reads_hexadecimal_digits(text: str) -> None:
    assert parse_message_id(text) == bytes(range(16))


@pytest.mark.parametrize("text", ["", "00", "0" * 31, "0" * 33, "0" * 34, "g" * 32, "0 " * 16, "\x1b[31m", "ä" * 32])
def test_parse_message_id_says_what_would_be_one(text: str) -> None:
    with pytest.raises(ValueError, match="32 hexadecimal digits are expected") as caught:
        parse_message_id(text)
    assert "\x1b" not in str(caught.value)


@given(st.binary(min_size=16, max_size=16))
def test_parse_message_id_reads_what_hex_shows(raw: bytes) -> None:
    assert parse_message_id(raw.hex()) == raw


@pytest.mark.parametrize(
    ("host", "shown"), [("10.0.0.2", "10.0.0.2:80"), ("bob.lan", "bob.lan:80"), ("fe80::1%eth0", "[fe80::1%eth0]:80")]
)
def test_address_is_shown_as_people_write_it(host: str, shown: str) -> None:
    assert str(Address(host, 80)) == shown


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("hello", "hello"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("\x1b[2J", "␛[2J"),
        ("a\x00b", "a␀b"),
        ("a\tb", "a    b"),
        ("a\nb", "a␊b"),
        ("a\r\nb", "a␍␊b"),
        ("\x7f", "␡"),
        ("\x9b31m", "\ufffd31m"),
        ("a\u202eb", "a\ufffdb"),
        ("a\u2066b\u2069", "a\ufffdb\ufffd"),
        ("a\u2028b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("née 👩‍👩‍👧", "née 👩‍👩‍👧"),
    ],
)
def test_clean_makes_text_harmless_and_visible(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(("text", "cleaned"), [("a\nb", "a\nb"), ("a\r\nb", "a\nb"), ("a\rb", "a␍b")])
def test_clean_keeps_line_feeds_of_bodies(text: str, cleaned: str) -> None:
    assert clean(text, newlines=True) == cleaned


@pytest.mark.parametrize(("limit", "cleaned"), [(5, "hello"), (4, "hel…"), (1, "…")])
def test_clean_cuts_to_the_limit(limit: int, cleaned: str) -> None:
    assert clean("hello", limit) == cleaned


@given(st.text(alphabet=st.characters()), st.none() | st.integers(1, 50), st.booleans())
def test_clean_leaves_nothing_hostile(text: str, limit: int | None, newlines: bool) -> None:
    cleaned = clean(text, limit, newlines=newlines)
    assert not any(is_hostile(char) for char in cleaned if not (newlines and char == "\n"))
    assert limit is None or len(cleaned) <= limit
    cleaned.encode()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("bob", "bob"),
        ("  bob \n smith ", "bob ␊ smith"),
        ("", ""),
        (" ", ""),
        ("e\u0301", "é"),
        ("x" * 65, "x" * 63 + "…"),
        ("\x1b]0;x\x07", "␛]0;x␇"),
    ],
)
def test_clean_name_is_one_harmless_line(text: str, name: str) -> None:
    assert clean_name(text) == name


@given(st.text(alphabet=st.characters()))
def test_clean_name_stays_what_it_is_when_cleaned_again(text: str) -> None:
    name = clean_name(text)
    assert clean_name(name) == name
    assert len(name) <= MAX_NAME_CHARS


def test_ticks_are_ranked_in_the_order_in_which_they_come() -> None:
    assert sorted(RANK, key=RANK.__getitem__) == [State.PENDING, State.SENT, State.DELIVERED, State.READ]


def test_reasons_that_pass_by_waiting_are_not_permanent() -> None:
    passing = {Reason.NOT_ACKNOWLEDGED, Reason.LINK_LOST, Reason.CONNECTION_REFUSED, Reason.HANDSHAKE_FAILED}
    assert passing | {Reason.REFUSED} == set(Reason) - PERMANENT
