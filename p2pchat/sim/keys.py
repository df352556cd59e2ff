"""Device keys that cost nothing: a signature is a hash over the public key and the text.

Anybody could forge one, so the world says nothing about cryptography; it does run every step of the handshake, and a
signature over another text or by another key does not verify.
"""

from __future__ import annotations

import hashlib


class FakeKeys:
    """The key of one simulated device; implements :class:`p2pchat.core.handshake.Keys`."""

    def __init__(self, name: str) -> None:
        self._spki = b"simulated key of " + name.encode()

    @property
    def spki(self) -> bytes:
        """The public half; any bytes will do, since the core only hashes and compares it."""
        return self._spki

    def sign(self, data: bytes) -> bytes:
        """Return the signature of ``data``."""
        return _signature(self._spki, data)

    def verify(self, spki: bytes, signature: bytes, data: bytes) -> bool:
        """Tell whether ``signature`` is that of the key ``spki`` over ``data``."""
        return signature == _signature(spki, data)


def _signature(spki: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32, key=spki[:64]).digest()
