"""Programs that are not ours: another mDNS, a TLS client, websocket clients without a key, devices with another key."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from tests.lab import judge, stranger
from tests.lab.avahi import Avahi
from tests.lab.conftest import Build
from tests.lab.host import Host, Row
from tests.lab.net import PORT, Plug
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

FAKE_ID: Final = "fakefakefakefakefakefakefakefakefakefakefakefakefaka"
OTHER_FAKE_ID: Final = "q".join(["fake"] * 10) + "faq"
CLOSED_PORT: Final = 9


def talk(ada: Host, bob: Host) -> None:
    """Prove that the two are as well as before."""
    for author, reader in ((ada, bob), (bob, ada)):
        author.send(reader, f"{author.name} still talks", "--wait", "delivered", "--timeout", "10").done()


def test_foreign_mdns_lists_us_and_its_fake_service_harms_nothing(build: Build) -> None:
    """avahi lists our services with their TXT; a service of our type with a fake id, published by it, is shown as not
    reachable and harms nothing; it can be written to, and the message waits.
    """
    ada, bob = build.linked("ada", "bob")
    foreign = Avahi(ada.lab, ada.lab.plug("cyd"))

    def listed() -> dict[str, list[str]]:
        found = {}
        for fields in foreign.browse():
            found.update({host.device_id: fields for host in (ada, bob) if host.device_id in fields[9]})
        return found if len(found) == 2 else {}

    for host_id, fields in wait_until("avahi lists both", listed, 15, poll_s=0.2).items():
        host = ada if host_id == ada.device_id else bob
        assert fields[8] == str(host.ready["port"])
        assert {f'"id={host.device_id}"', f'"name={host.name}"'} <= set(fields[9].split(" "))

    for label, port, txt in (
        ("mallory", CLOSED_PORT, ("v=1", f"id={FAKE_ID}", "name=\x1b[31mmal\u202elory")),
        ("\x1b[31mmallory [red]", CLOSED_PORT + 1, ("v=1", f"id={OTHER_FAKE_ID}", "name=eve")),
        ("x" * 63, CLOSED_PORT + 2, ("v=1", "id=no device id")),
        ("nothing said", CLOSED_PORT + 3, ()),
    ):
        foreign.publish(label, port, *txt)

    def fake() -> Row:
        rows = ada.json("peers")
        row = next((row for row in rows if row["device_id"] == FAKE_ID), {})
        return row if row.get("detail") else {}

    row = wait_until("the fake is shown as not reachable", fake, 15, poll_s=0.2)
    build.figure(f"the fake device is shown as {row['presence']}: {row['detail']!r}")
    assert row["presence"] != "online"
    assert row["trust"] == "seen"
    judge.harmless(row["name"] + row["detail"], newlines=False)
    judge.harmless(ada.cli("peers").done().out)
    answer = ada.cli("send", FAKE_ID, "anybody?", "--wait", "delivered", "--timeout", "2", "--json")
    assert answer.code in (3, 4), answer
    talk(ada, bob)
    assert {row["device_id"] for row in ada.json("peers")} <= {bob.device_id, FAKE_ID, OTHER_FAKE_ID}


def test_known_peer_is_reached_when_somebody_announces_its_id_elsewhere(build: Build) -> None:
    """An announcement of bob's id with a wrong address neither cuts the link nor keeps ada from finding bob again."""
    ada, bob = build.linked("ada", "bob")
    talk(ada, bob)
    foreign = Avahi(ada.lab, ada.lab.plug("cyd"))
    foreign.publish("bob", CLOSED_PORT, "v=1", f"id={bob.device_id}", "name=bob")
    talk(ada, bob)
    bob.kill()
    bob.start()
    ada.wait_linked(bob, timeout_s=20)
    talk(ada, bob)
    assert not ada.letters()


def s_client(plug: Plug, address: str, *options: str) -> str:
    """Let OpenSSL's client connect, and return everything that it says."""
    target = f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
    words = " ".join(("openssl", "s_client", "-connect", target, *options))
    return plug.run("sh", "-c", f"timeout 10 {words} </dev/null 2>&1", check=False)


def test_listener_speaks_only_tls_1_3_when_openssl_connects(build: Build) -> None:
    """`openssl s_client` negotiates TLS 1.3 and nothing else."""
    lab = build.lab()
    ada, plug = build.host(lab, "ada").start(), lab.plug("cyd")
    for address in (ada.plug.ipv4, ada.plug.ipv6):
        best = s_client(plug, address)
        assert "TLSv1.3" in best, best
        assert "no peer certificate available" not in best
        # The client is told to accept anything, so that it is our side that refuses.
        for version in ("-tls1_2", "-tls1_1", "-tls1"):
            older = s_client(plug, address, version, "-cipher", "'ALL:@SECLEVEL=0'")
            assert "no peer certificate available" in older, older
            assert "alert protocol version" in older or "no protocols available" in older, older


def stock_client(plug: Plug, target: Host, mode: str, key: bytes = b"") -> Row:
    """Let a stock websocket client connect, and return what it got."""
    script = str(Path(stranger.__file__))
    out = plug.run(sys.executable, script, target.plug.address, str(target.ready["port"]), mode, key.hex())
    result: Row = json.loads(out)
    return result


@pytest.mark.parametrize("mode", ["silent", "text", "garbage", "early", "forged", "large", "elsewhere", "plain"])
def test_stranger_gets_nowhere_when_it_has_no_device_key(build: Build, mode: str) -> None:
    """A websocket client without a device key gets an error frame and a closed connection, and leaves no trace."""
    ada, bob = build.linked("ada", "bob")
    plug = ada.lab.plug("cyd")
    private = load_pem_private_key(bob.paths.identity.read_bytes(), password=None)
    spki = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    began_s = time.monotonic()
    got = stock_client(plug, ada, mode, spki)
    build.figure(f"{mode}: {got} after {time.monotonic() - began_s:.1f} s")
    if mode == "elsewhere":
        assert "InvalidStatus" in got["error"]
    else:
        assert got["closed"], got
    if mode not in ("elsewhere", "plain"):
        assert got["frames"][0]["t"] == "hello"
        assert {frame["t"] for frame in got["frames"][1:]} <= {"error"}
    if mode in ("silent", "text", "garbage", "early", "forged"):
        assert got["frames"][-1]["t"] == "error", got
        assert got["frames"][-1]["detail"]
    assert [row["device_id"] for row in ada.json("peers")] == [bob.device_id]
    assert ada.history(bob) == []
    talk(ada, bob)


def test_another_key_is_refused_and_told_when_it_answers_for_a_known_peer(build: Build) -> None:
    """Another device at bob's address is not bob: his invite gets a hard stop, mail for him waits and says why, and the
    other device is another peer.
    """
    ada, bob = build.linked("ada", "bob")
    talk(ada, bob)
    invite = bob.json("id")[0]["invite"]
    bob.kill()
    eve = build.host(ada.lab, "eve", plug=bob.plug, shown="bob", settings={"discovery": False}).start()
    assert eve.ready["port"] == PORT

    answer = ada.cli("peer", "add", invite)
    assert answer.code == 1, answer
    assert "STOP" in answer.err
    judge.harmless(answer.err)
    message_id = ada.send(bob, "for bob only").done().row()["message_id"]

    def told() -> Row:
        row = ada.waiting(message_id)
        return row if "another device" in row["waiting_for"] else {}

    row = wait_until("the user is told that it is another device", told, 30, poll_s=0.3)
    build.figure(
        f"outbox: {row['waiting_for']!r}; peers: {ada.peer(bob)['detail']!r}; peer add: {answer.err.strip()!r}"
    )
    assert "another device" in ada.peer(bob)["detail"]
    assert ada.presence_of(bob) != "online"
    assert row["attempts"] == 0
    assert eve.json("history", ada.device_id) == [] if eve.peer(ada) else True

    eve.stop()
    bob.start()
    ada.wait_state(message_id, "delivered", 30)
    assert bob.history(ada)[-1]["message_id"] == message_id


def test_peer_is_added_by_address_when_there_is_no_discovery(build: Build) -> None:
    """`peer add HOST:PORT` and an invite link two engines without multicast; wrong targets are refused in words."""
    lab = build.lab()
    quiet = {"discovery": False}
    ada, bob, cyd = (build.host(lab, name, settings=quiet).start() for name in ("ada", "bob", "cyd"))
    added = ada.json("peer", "add", bob.plug.dialable)[0]
    assert (added["device_id"], added["trust"], added["presence"]) == (bob.device_id, "unverified", "online")
    assert ada.json("peer", "add", cyd.json("id")[0]["invite"])[0]["device_id"] == cyd.device_id
    talk(ada, bob)
    for target in (f"{bob.plug.ipv4}:{CLOSED_PORT}", "10.77.0.200:27270", ada.plug.dialable):
        answer = ada.cli("peer", "add", target)
        assert answer.code == 1, answer
        assert len(answer.err.splitlines()) == 1, answer


_FLOOD: Final = """
import socket, sys, time
held, made, ends_s = [], 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < ends_s:
    try:
        held.append(socket.create_connection((sys.argv[1], 27270), timeout=1))
        made += 1
    except OSError:
        pass
    if len(held) > 300:
        held.pop(0).close()
    time.sleep(0.005)
print(made)
"""


def test_flood_of_strangers_keeps_nobody_out_when_a_peer_returns(build: Build) -> None:
    """Hundreds of connections that prove nothing, from one machine, cost few descriptors and keep no peer out."""
    ada, bob = build.linked("ada", "bob")
    output = ada.lab.folder / "flood"
    with output.open("wb") as out:
        argv = [sys.executable, "-c", _FLOOD, ada.plug.ipv4, "4"]
        flood = ada.lab.spawn(argv, plug=ada.lab.plug("cyd"), stdout=out)
    bob.kill()
    bob.start()
    ada.wait_linked(bob, timeout_s=5)
    talk(ada, bob)
    descriptors = len(list(Path(f"/proc/{ada.pid}/fd").iterdir()))
    assert flood.poll() is None, "the flood ended too early to prove anything"
    assert flood.wait(15) == 0
    build.figure(f"{output.read_text('utf-8').strip()} connections, {descriptors} descriptors meanwhile")
    assert int(output.read_text("utf-8")) > 100
    assert descriptors < 80
    talk(ada, bob)


def test_two_devices_share_a_machine_when_each_has_its_home(build: Build) -> None:
    """A second device on one machine takes the next port and talks to all; a second engine on one home is refused."""
    ada, bob = build.linked("ada", "bob")
    eve = build.host(ada.lab, "eve", plug=bob.plug).start()
    assert eve.ready["port"] == PORT + 1
    for one, other in ((ada, eve), (eve, bob)):
        one.wait_linked(other)
        talk(one, other)
    answer = bob.cli("daemon", timeout_s=20)
    assert answer.code == 6, answer
    assert str(bob.pid) in answer.err
    talk(ada, bob)
