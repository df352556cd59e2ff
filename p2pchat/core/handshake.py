"""Who is on the other end: hello, proof, welcome, as a table of what each side may receive when.

::

    role       state            frame     then
    listener   AWAIT_HELLO      Hello     AWAIT_PROOF
    listener   AWAIT_PROOF      Proof     DONE (sends Welcome)
    dialler    AWAIT_HELLO      Hello     AWAIT_WELCOME (sends Hello, Proof)
    dialler    AWAIT_WELCOME    Welcome   DONE

Anything else is refused with a reason and ends the link. Nothing that was said before DONE is remembered.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from p2pchat.core.inputs import Role
from p2pchat.errors import RemoteProtocolError
from p2pchat.model import DeviceId, clean_name, device_id_of
from p2pchat.wire import Error, Frame, Hello, Proof, Welcome, encode

VERSIONS: Final = (1,)
_CONTEXT: Final = b"p2pchat v1 dialler proof\0"


class Keys(Protocol):
    """The device key, as far as the core needs it: two pure functions and the public half."""

    @property
    def spki(self) -> bytes:
        """Our public key as DER SubjectPublicKeyInfo."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Sign with our key."""
        ...

    def verify(self, spki: bytes, signature: bytes, data: bytes) -> bool:
        """Tell whether ``signature`` is by the key ``spki``; False for anything malformed."""
        ...


class Step(Enum):
    """How far the handshake is."""

    AWAIT_HELLO = auto()
    AWAIT_PROOF = auto()
    AWAIT_WELCOME = auto()
    DONE = auto()


_EXPECTED: Final[dict[tuple[Role, Step], type]] = {
    (Role.LISTENER, Step.AWAIT_HELLO): Hello,
    (Role.LISTENER, Step.AWAIT_PROOF): Proof,
    (Role.DIALLER, Step.AWAIT_HELLO): Hello,
    (Role.DIALLER, Step.AWAIT_WELCOME): Welcome,
}


class HandshakeRefused(RemoteProtocolError):
    """The handshake ends here. ``code`` goes into the error frame."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class OurSide:
    """What we say about ourselves in a hello."""

    device_id: DeviceId
    keys: Keys
    name: str
    instance: bytes
    realtime: bool
    port: int = 0


@dataclass(frozen=True, slots=True)
class TheirSide:
    """What a finished handshake proved (the id) and what the other side said (the rest)."""

    device_id: DeviceId
    name: str
    instance: bytes
    realtime: bool
    applied: int
    port: int = 0


def proof_text(listener_hello: bytes, dialler_hello: bytes, listener: DeviceId, dialler: DeviceId) -> bytes:
    """Return the bytes that the dialler signs."""
    return (
        _CONTEXT
        + hashlib.sha256(listener_hello).digest()
        + hashlib.sha256(dialler_hello).digest()
        + listener.encode()
        + dialler.encode()
    )


class Handshake:
    """One link's handshake. ``frames_out`` of each step are to be sent in order."""

    def __init__(self, role: Role, ours: OurSide, nonce: bytes, listener_id: DeviceId) -> None:
        """Args: ``listener_id``: ours for a listener, the TLS certificate's for a dialler."""
        self.role = role
        self.step = Step.AWAIT_HELLO
        self.theirs: TheirSide | None = None
        self._ours = ours
        self._nonce = nonce
        self._listener_id = listener_id
        self._our_hello = b""
        self._their_hello: tuple[Hello, bytes] | None = None

    def start(self) -> list[bytes]:
        """Return what we say first: the listener its hello, the dialler nothing."""
        if self.role is Role.DIALLER:
            return []
        self._our_hello = encode(self._hello(applied=None))
        return [self._our_hello]

    def receive(self, frame: Frame, data: bytes, applied: int) -> list[bytes]:
        """Take one frame; return the frames to send.

        Args:
            data: the frame's bytes as received.
            applied: how many events of this peer were ever applied here, for a dialler (who knows whom it dialled).

        Raises:
            HandshakeRefused: the link must end with this error.
        """
        if isinstance(frame, Error):
            raise HandshakeRefused("protocol", f"the other side refused: {frame.detail or frame.code}")
        if type(frame) is not _EXPECTED.get((self.role, self.step)):
            raise HandshakeRefused("not_authenticated", "prove who you are first: hello, then proof")
        match frame:
            case Hello():
                return self._receive_hello(frame, data, applied)
            case Proof():
                return self._receive_proof(frame)
            case _:
                assert isinstance(frame, Welcome)
                return self._receive_welcome(frame)

    def finish(self, applied: int) -> bytes:
        """Return the listener's welcome, once :attr:`theirs` is known."""
        return encode(Welcome(applied))

    def _hello(self, applied: int | None) -> Hello:
        return Hello(
            versions=VERSIONS,
            name=self._ours.name,
            instance=self._ours.instance,
            nonce=self._nonce,
            realtime=self._ours.realtime,
            key=self._ours.keys.spki if self.role is Role.DIALLER else None,
            applied=applied,
            port=self._ours.port if self.role is Role.DIALLER else 0,
        )

    def _receive_hello(self, hello: Hello, data: bytes, applied: int) -> list[bytes]:
        if not set(hello.versions) & set(VERSIONS):
            theirs = ", ".join(map(str, hello.versions)) or "none"
            raise HandshakeRefused(
                "unsupported_version",
                f"no protocol version in common (here: 1, there: {theirs}); update the older side",
            )
        self._their_hello = (hello, data)
        if self.role is Role.LISTENER:
            if hello.key is None or hello.applied is None:
                raise HandshakeRefused("not_authenticated", "a dialler's hello carries its key and its count")
            self.step = Step.AWAIT_PROOF
            return []
        self._our_hello = encode(self._hello(applied))
        text = proof_text(data, self._our_hello, self._listener_id, self._ours.device_id)
        self.step = Step.AWAIT_WELCOME
        return [self._our_hello, encode(Proof(self._ours.keys.sign(text)))]

    def _receive_proof(self, proof: Proof) -> list[bytes]:
        assert self._their_hello is not None
        hello, data = self._their_hello
        assert hello.key is not None
        assert hello.applied is not None
        dialler = device_id_of(hello.key)
        text = proof_text(self._our_hello, data, self._ours.device_id, dialler)
        if not self._ours.keys.verify(hello.key, proof.signature, text):
            raise HandshakeRefused("bad_proof", "the signature does not prove the key in the hello")
        self._done(dialler, hello, hello.applied)
        return []

    def _receive_welcome(self, welcome: Welcome) -> list[bytes]:
        assert self._their_hello is not None
        self._done(self._listener_id, self._their_hello[0], welcome.applied)
        return []

    def _done(self, peer: DeviceId, hello: Hello, applied: int) -> None:
        self.theirs = TheirSide(peer, clean_name(hello.name), hello.instance, hello.realtime, applied, hello.port)
        self.step = Step.DONE
