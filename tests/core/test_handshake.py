"""Hello, proof, welcome: who may say what when, and what a proof proves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from p2pchat.core.handshake import Handshake, HandshakeRefused, OurSide, Step, proof_text
from p2pchat.core.inputs import Role
from p2pchat.model import DeviceId
from p2pchat.wire import Error, Frame, Hello, Proof, Unknown, Welcome, decode, encode
from tests.core.driver import ALICE, BOB, CAROL, keys_of
from tests.wire.samples import SAMPLES

INSTANCE = b"i" * 16


def side(role: Role, device_id: DeviceId, listener: DeviceId, *, nonce: bytes = b"n" * 32) -> Handshake:
    ours = OurSide(device_id, keys_of(device_id), f"name of {device_id[:4]}", INSTANCE, realtime=True, port=4711)
    return Handshake(role, ours, nonce, listener)


def give(to: Handshake, data: bytes, applied: int = 0) -> list[bytes]:
    return to.receive(decode(data), data, applied)


def run(listener: Handshake, dialler: Handshake) -> None:
    (hello,) = listener.start()
    assert dialler.start() == []
    ours, proof = give(dialler, hello, applied=7)
    assert give(listener, ours) == []
    assert give(listener, proof) == []
    assert give(dialler, listener.finish(9)) == []


def test_handshake_proves_both_sides_to_each_other() -> None:
    listener, dialler = side(Role.LISTENER, ALICE, ALICE), side(Role.DIALLER, BOB, ALICE)
    run(listener, dialler)
    assert listener.step is dialler.step is Step.DONE
    assert listener.theirs is not None
    assert dialler.theirs is not None
    assert (listener.theirs.device_id, listener.theirs.applied, listener.theirs.port) == (BOB, 7, 4711)
    assert (dialler.theirs.device_id, dialler.theirs.applied, dialler.theirs.port) == (ALICE, 9, 0)
    assert listener.theirs.name == f"name of {BOB[:4]}"
    assert dialler.theirs.instance == INSTANCE


def at_listener_hello() -> Handshake:
    handshake = side(Role.LISTENER, ALICE, ALICE)
    handshake.start()
    return handshake


def at_listener_proof() -> Handshake:
    handshake, dialler = side(Role.LISTENER, ALICE, ALICE), side(Role.DIALLER, BOB, ALICE)
    give(handshake, give(dialler, handshake.start()[0])[0])
    return handshake


def at_dialler_hello() -> Handshake:
    return side(Role.DIALLER, BOB, ALICE)


def at_dialler_welcome() -> Handshake:
    handshake = side(Role.DIALLER, BOB, ALICE)
    give(handshake, side(Role.LISTENER, ALICE, ALICE).start()[0])
    return handshake


def at_the_end(role: Role) -> Handshake:
    listener, dialler = side(Role.LISTENER, ALICE, ALICE), side(Role.DIALLER, BOB, ALICE)
    run(listener, dialler)
    return listener if role is Role.LISTENER else dialler


STEPS: dict[str, tuple[Callable[[], Handshake], type | None]] = {
    "listener awaits hello": (at_listener_hello, Hello),
    "listener awaits proof": (at_listener_proof, Proof),
    "listener is done": (lambda: at_the_end(Role.LISTENER), None),
    "dialler awaits hello": (at_dialler_hello, Hello),
    "dialler awaits welcome": (at_dialler_welcome, Welcome),
    "dialler is done": (lambda: at_the_end(Role.DIALLER), None),
}
FRAMES: dict[str, Frame] = {**SAMPLES, "unknown": Unknown("later")}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("step", STEPS)
def test_handshake_refuses_any_frame_that_is_not_expected(step: str, frame: str) -> None:
    make, expected = STEPS[step]
    if type(FRAMES[frame]) is expected:
        return
    handshake = make()
    before = handshake.step
    with pytest.raises(HandshakeRefused) as caught:
        handshake.receive(FRAMES[frame], b"bytes", 0)
    assert caught.value.code == ("protocol" if frame == "error" else "not_authenticated")
    assert handshake.step is before


def test_handshake_passes_on_why_the_other_side_refused() -> None:
    with pytest.raises(HandshakeRefused, match="the other side refused: update"):
        at_dialler_hello().receive(Error("unsupported_version", "update"), b"", 0)
    with pytest.raises(HandshakeRefused, match="the other side refused: too_slow"):
        at_dialler_hello().receive(Error("too_slow"), b"", 0)


def dialler_hello(**changes: object) -> Hello:
    fields: dict[str, object] = {
        "versions": (1,),
        "name": "bob",
        "instance": INSTANCE,
        "nonce": b"d" * 32,
        "key": keys_of(BOB).spki,
        "applied": 0,
    }
    return Hello(**{**fields, **changes})  # type: ignore[arg-type]  # the tests name the fields


@pytest.mark.parametrize(("versions", "said"), [((), "none"), ((2,), "2"), ((0, 2, 3), "0, 2, 3")])
@pytest.mark.parametrize("role", Role)
def test_handshake_refuses_when_no_version_is_common(role: Role, versions: tuple[int, ...], said: str) -> None:
    handshake = at_listener_hello() if role is Role.LISTENER else at_dialler_hello()
    hello = dialler_hello(versions=versions)
    with pytest.raises(HandshakeRefused, match=rf"here: 1, there: {said}\)") as caught:
        handshake.receive(hello, encode(hello), 0)
    assert caught.value.code == "unsupported_version"


def test_handshake_goes_on_when_a_higher_version_is_offered_too() -> None:
    handshake = at_listener_hello()
    hello = dialler_hello(versions=(1, 2))
    assert handshake.receive(hello, encode(hello), 0) == []
    assert handshake.step is Step.AWAIT_PROOF


@pytest.mark.parametrize("missing", ["key", "applied"])
def test_listener_refuses_a_hello_without_key_or_count(missing: str) -> None:
    hello = dialler_hello(**{missing: None})
    with pytest.raises(HandshakeRefused, match="carries its key and its count") as caught:
        at_listener_hello().receive(hello, encode(hello), 0)
    assert caught.value.code == "not_authenticated"


def refuses(listener: Handshake, hello: Hello, signature: bytes) -> None:
    data = encode(hello)
    listener.receive(hello, data, 0)
    with pytest.raises(HandshakeRefused) as caught:
        listener.receive(Proof(signature), b"", 0)
    assert caught.value.code == "bad_proof"
    assert listener.theirs is None
    assert listener.step is Step.AWAIT_PROOF


@pytest.mark.parametrize("signature", [b"", b"s" * 32, b"s" * 128])
def test_listener_refuses_a_signature_of_nothing(signature: bytes) -> None:
    refuses(at_listener_hello(), dialler_hello(), signature)


def test_listener_refuses_a_proof_by_another_key_than_the_one_named() -> None:
    """Carol cannot be bob by naming bob's key."""
    listener = side(Role.LISTENER, ALICE, ALICE)
    (ours,) = listener.start()
    hello = dialler_hello()
    text = proof_text(ours, encode(hello), ALICE, BOB)
    refuses(listener, hello, keys_of(CAROL).sign(text))


def test_listener_refuses_a_proof_over_another_hello_of_the_dialler() -> None:
    listener = side(Role.LISTENER, ALICE, ALICE)
    (ours,) = listener.start()
    text = proof_text(ours, encode(dialler_hello(name="another")), ALICE, BOB)
    refuses(listener, dialler_hello(), keys_of(BOB).sign(text))


def test_listener_refuses_a_proof_of_an_earlier_link() -> None:
    """A recorded handshake does not verify again: the listener's nonce is another one."""
    dialler = side(Role.DIALLER, BOB, ALICE)
    (recorded,) = side(Role.LISTENER, ALICE, ALICE, nonce=b"1" * 32).start()
    hello, proof = give(dialler, recorded)
    listener = side(Role.LISTENER, ALICE, ALICE, nonce=b"2" * 32)
    listener.start()
    give(listener, hello)
    with pytest.raises(HandshakeRefused) as caught:
        give(listener, proof)
    assert caught.value.code == "bad_proof"


def test_listener_refuses_a_relayed_handshake() -> None:
    """Bob dials carol, who passes every frame on to alice: bob's proof names carol's certificate, so it fails."""
    alice = side(Role.LISTENER, ALICE, ALICE)
    bob = side(Role.DIALLER, BOB, CAROL)
    hello, proof = give(bob, alice.start()[0])
    give(alice, hello)
    with pytest.raises(HandshakeRefused) as caught:
        give(alice, proof)
    assert caught.value.code == "bad_proof"


def test_proof_text_is_the_one_of_the_protocol() -> None:
    """Byte for byte, so that another implementation can be written from the reference."""
    made = proof_text(b"listener hello", b"dialler hello", DeviceId("l"), DeviceId("d"))
    assert made.startswith(b"p2pchat v1 dialler proof\0")
    assert made.endswith(b"ld")
    assert len(made) == 25 + 32 + 32 + 2


def test_handshake_cleans_the_name_of_the_other_side() -> None:
    listener = side(Role.LISTENER, ALICE, ALICE)
    (ours,) = listener.start()
    hello = dialler_hello(name="\x1b[2Jbob\n")
    data = encode(hello)
    listener.receive(hello, data, 0)
    listener.receive(Proof(keys_of(BOB).sign(proof_text(ours, data, ALICE, BOB))), b"", 0)
    assert listener.theirs is not None
    assert listener.theirs.name == "␛[2Jbob␊"
