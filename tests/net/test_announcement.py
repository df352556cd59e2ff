"""What is said in mDNS, and what is believed of it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pchat.model import Address, DeviceId, device_id_of
from p2pchat.net.announcement import SERVICE_TYPE, device_id_in, judge, service
from p2pchat.net.identity import generate

BOB = device_id_of(b"bob")
US = device_id_of(b"us")
TXT: dict[bytes, bytes | None] = {b"v": b"1", b"id": BOB.encode(), b"name": b"bob"}


def label_of(name: str) -> str:
    instance = service(BOB, name, 27270).instance
    assert instance.endswith("." + SERVICE_TYPE)
    return instance.removesuffix("." + SERVICE_TYPE)


def test_service_is_named_by_name_and_id() -> None:
    ours = service(BOB, "Bob's laptop", 27270)
    assert ours.instance == f"Bob's laptop {BOB[:8]}.{SERVICE_TYPE}"
    assert ours.server == f"{BOB}.local."
    assert (ours.port, ours.txt) == (27270, {"v": "1", "id": BOB, "name": "Bob's laptop"})


def test_services_differ_when_ten_devices_have_one_name() -> None:
    services = [service(generate().device_id, "laptop", 1) for _ in range(10)]
    assert len({ours.instance for ours in services}) == 10
    assert len({ours.server for ours in services}) == 10


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("", BOB[:8]),
        ("a.b.c", f"a b c {BOB[:8]}"),
        ("line\nbreak", f"line␊break {BOB[:8]}"),
        ("x" * 200, "x" * 54 + f" {BOB[:8]}"),
        ("é" * 64, "é" * 27 + f" {BOB[:8]}"),
        ("🦊" * 64, "🦊" * 13 + f" {BOB[:8]}"),
    ],
)
def test_label_is_clean_and_short_whatever_the_name(name: str, label: str) -> None:
    # A name over 64 characters ends in an ellipsis, which the cut to bytes removes again.
    assert label_of(name) == label


@given(st.text(max_size=300))
def test_label_and_txt_fit_whatever_the_name(name: str) -> None:
    label = label_of(name)
    assert "." not in label
    assert len(label.encode()) <= 63
    assert len(service(BOB, name, 1).txt["name"].encode()) + len("name=") <= 255


def test_announcement_is_believed_as_a_hint() -> None:
    heard = judge(TXT, ["192.0.2.7"], 27270, own_id=US)
    assert heard is not None
    assert (heard.peer, heard.name, heard.addresses) == (BOB, "bob", (Address("192.0.2.7", 27270),))


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"bob",
        BOB[:-1].encode(),
        BOB.encode() + b"a",
        BOB.upper().encode(),
        BOB[:-1].encode() + b"b",
        b"1" * 52,
        b"\xff" * 52,
        BOB.encode() + b"\n",
        BOB[:51].encode() + b"\n",
    ],
)
def test_device_id_is_refused_when_it_is_not_one(value: bytes | None) -> None:
    assert device_id_in(value) is None
    assert judge({**TXT, b"id": value}, ["192.0.2.7"], 1, own_id=US) is None


@pytest.mark.parametrize("port", [None, 0, 65536, -1])
def test_announcement_is_refused_when_its_port_is_none(port: int | None) -> None:
    assert judge(TXT, ["192.0.2.7"], port, own_id=US) is None


def test_own_announcement_is_left_out() -> None:
    assert judge(TXT, ["192.0.2.7"], 1, own_id=BOB) is None


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"bob \x1b[31m", "bob ␛[31m"),
        (b"", BOB[:8]),
        (None, BOB[:8]),
        (b"\xff\xfe", "��"),
        (b"x" * 1000, "x" * 63 + "…"),
    ],
    ids=["control", "empty", "absent", "not UTF-8", "long"],
)
def test_name_is_cleaned(raw: bytes | None, name: str) -> None:
    heard = judge({**TXT, b"name": raw}, ["192.0.2.7"], 1, own_id=US)
    assert heard is not None
    assert heard.name == name


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "224.0.0.251", "ff02::fb", "127.0.0.1", "127.8.8.8", "::1", "fe80::1", "bob.example", ""],
)
def test_address_that_leads_nowhere_is_dropped(host: str) -> None:
    assert judge(TXT, [host], 1, own_id=US) is None
    heard = judge(TXT, [host, "192.0.2.7"], 1, own_id=US)
    assert heard is not None
    assert heard.addresses == (Address("192.0.2.7", 1),)


def test_loopback_counts_only_when_it_is_allowed() -> None:
    heard = judge(TXT, ["127.0.0.1"], 1, own_id=US, allow_loopback=True)
    assert heard is not None
    assert heard.addresses == (Address("127.0.0.1", 1),)


def test_addresses_near_us_come_first_and_link_local_ones_last() -> None:
    hosts = ["fe80::9%eth0", "2001:db8::9", "198.51.100.9", "fd00::9", "192.0.2.9"]
    local = [ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("fd00::/64")]
    heard = judge(TXT, hosts, 1, own_id=US, local=local)
    assert heard is not None
    assert [address.host for address in heard.addresses] == [
        "192.0.2.9",
        "fd00::9",
        "198.51.100.9",
        "2001:db8::9",
        "fe80::9%eth0",
    ]


def test_addresses_are_few_when_a_hostile_announcement_has_many() -> None:
    hosts = [f"192.0.2.{last}" for last in range(1, 200)]
    heard = judge(TXT, hosts, 1, own_id=US)
    assert heard is not None
    assert len(heard.addresses) == 8


@given(
    st.dictionaries(st.sampled_from([b"v", b"id", b"name"]), st.none() | st.binary(max_size=300)),
    st.lists(st.text(max_size=30) | st.ip_addresses().map(str), max_size=20),
    st.none() | st.integers(-1, 70_000),
)
def test_judging_never_raises_whatever_is_announced(
    txt: dict[bytes, bytes | None], hosts: list[str], port: int | None
) -> None:
    heard = judge({b"id": BOB.encode(), **txt}, hosts, port, own_id=DeviceId(US))
    assert heard is None or (heard.addresses and heard.name)
