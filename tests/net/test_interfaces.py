"""Which interfaces count, and when a change of them is told."""

from __future__ import annotations

import asyncio

import pytest

from p2pchat.net.interfaces import (
    Interface,
    InterfaceWatch,
    describe_change,
    dialable_hosts,
    is_wildcard,
    read_interfaces,
    usable,
)

LO = Interface("lo", 1, True, ("127.0.0.1/8", "::1/128"))
ETH = Interface("eth0", 2, True, ("192.0.2.7/24", "fe80::7/64", "fd00::7/64"))
WLAN = Interface("wlan0", 3, True, ("198.51.100.7/24",))
ETH_DOWN = Interface("eth0", 2, False, ETH.addresses)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("eth0", True),
        ("enp3s0", True),
        ("wlan0", True),
        ("wlp2s0", True),
        ("wg0", True),
        ("tun0", True),
        ("tailscale0", True),
        ("br0", True),
        ("br-lan", True),
        ("bond0", True),
        ("docker0", False),
        ("docker_gwbridge", False),
        ("br-0123456789ab", False),
        ("veth1a2b3c", True),
        ("virbr0", False),
        ("vmnet8", False),
        ("vboxnet0", False),
        ("lxdbr0", False),
        ("cni0", False),
        ("podman0", False),
    ],
)
def test_interface_counts_by_its_name(name: str, counts: bool) -> None:
    interface = Interface(name, 9, True, ("192.0.2.7/24",))
    assert (usable([interface]) == [interface]) is counts
    assert usable([interface], include_virtual=True) == [interface]


def test_loopback_and_down_interfaces_do_not_count() -> None:
    assert usable([LO, ETH_DOWN, WLAN]) == [WLAN]
    assert usable([LO, ETH_DOWN, WLAN], include_virtual=True) == [LO, WLAN]


def test_dialable_hosts_are_ipv4_first_without_link_local_ones() -> None:
    assert dialable_hosts([LO, ETH, WLAN]) == ("192.0.2.7", "198.51.100.7", "fd00::7")


def test_dialable_hosts_end_with_loopback_when_it_is_included() -> None:
    hosts = dialable_hosts([LO, ETH], include_virtual=True)
    assert hosts == ("192.0.2.7", "fd00::7", "127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("host", "expected"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False), ("x", False)]
)
def test_wildcard_is_recognised(host: str, expected: bool) -> None:
    assert is_wildcard(host) is expected


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ([], [ETH], "eth0 came up"),
        ([ETH_DOWN], [ETH], "eth0 came up"),
        ([ETH, WLAN], [ETH], "wlan0 went down"),
        ([ETH], [ETH_DOWN], "eth0 went down"),
        ([ETH], [Interface("eth0", 2, True, ("192.0.2.8/24",))], "the addresses of eth0 changed"),
        ([ETH], [ETH], "the network changed"),
    ],
)
def test_change_is_described(before: list[Interface], after: list[Interface], text: str) -> None:
    assert describe_change(before, after) == text


def test_real_interfaces_include_loopback() -> None:
    found = {interface.name: interface for interface in read_interfaces()}
    assert found["lo"].is_up
    assert "127.0.0.1/8" in found["lo"].addresses


class Reader:
    """Interfaces that a test changes."""

    def __init__(self, *now: Interface) -> None:
        self.now = list(now)
        self.fails = False

    def __call__(self) -> list[Interface]:
        if self.fails:
            raise OSError(24, "Too many open files")
        return list(self.now)


def watched(reader: Reader) -> tuple[InterfaceWatch, list[str]]:
    causes: list[str] = []
    return InterfaceWatch(lambda _, cause: causes.append(cause), read=reader), causes


def test_watch_tells_a_change_when_two_polls_agree() -> None:
    reader = Reader(ETH)
    watch, causes = watched(reader)
    reader.now = [ETH, WLAN]
    watch.poll()
    assert causes == []
    watch.poll()
    watch.poll()
    assert causes == ["wlan0 came up"]
    assert watch.current == [ETH, WLAN]


def test_watch_says_nothing_when_a_change_is_taken_back() -> None:
    reader = Reader(ETH)
    watch, causes = watched(reader)
    for now in ([], [ETH], [], [ETH]):
        reader.now = list(now)
        watch.poll()
    assert causes == []


def test_watch_waits_when_a_change_goes_on() -> None:
    reader = Reader()
    watch, causes = watched(reader)
    for now in ([ETH], [ETH, WLAN], [ETH, WLAN]):
        reader.now = now
        watch.poll()
    assert causes == ["eth0 came up"]


def test_watch_ignores_loopback_and_virtual_interfaces() -> None:
    reader = Reader(ETH)
    watch, causes = watched(reader)
    reader.now = [ETH, LO, Interface("docker0", 5, True, ("172.17.0.1/16",))]
    watch.poll()
    watch.poll()
    assert causes == []


def test_watch_goes_on_when_a_poll_fails() -> None:
    reader = Reader(ETH)
    watch, causes = watched(reader)
    reader.now, reader.fails = [], True
    watch.poll()
    reader.fails = False
    watch.poll()
    watch.poll()
    assert causes == ["eth0 went down"]


async def test_watch_polls_by_itself_when_it_runs() -> None:
    reader = Reader(ETH)
    told = asyncio.Event()
    watch = InterfaceWatch(lambda *_: told.set(), poll_s=0.001, read=reader)
    running = asyncio.create_task(watch.run())
    reader.now = []
    async with asyncio.timeout(5):
        await told.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_usable_leaves_out_a_port_of_a_bridge() -> None:
    port = Interface("veth1a2b3c", 9, True, ("fe80::9/64",), is_port=True)

    assert usable([port, ETH]) == [ETH]
