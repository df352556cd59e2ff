"""TLS 1.3 by the standard ``ssl`` module: contexts, the peer's device id, and a stream without I/O.

No chain is verified, because there is none: TLS proves that the listener holds the key of its certificate,
and the device id is computed from that key (:func:`peer_device_id`). The dialler shows no certificate; it
proves itself inside the link. So a context here, used without the check of the id, protects against nobody:
``link.py`` makes it directly after the handshake, before it sends anything.

:class:`TlsStream` exists because asyncio's TLS keeps a 256 KiB buffer per connection and passes each byte
through a second protocol; ours shares one receive buffer between all links and is read in the same callback
that the socket woke.
"""

from __future__ import annotations

import ssl
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from p2pchat.errors import IdentityError, LinkError
from p2pchat.model import DeviceId, device_id_of
from p2pchat.net.identity import Identity

_RECORD_BYTES = 16 * 1024
"""The most plain text that one TLS record holds (RFC 8446, section 5.1)."""

_SLICE_BYTES = 64 * 1024
"""How much is encrypted at once: OpenSSL's buffer never shrinks, so a large frame goes through in slices."""


def server_context(identity: Identity) -> ssl.SSLContext:
    """Make the listener's context: TLS 1.3, our certificate, no session tickets. Touches the disk briefly."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_NONE
    # The ssl module loads keys from files only. The temporary file is 0600 and gone when the block ends.
    try:
        with tempfile.NamedTemporaryFile(prefix="p2pchat-", suffix=".pem") as file:
            file.write(identity.key_pem + identity.cert_pem)
            file.flush()
            context.load_cert_chain(file.name)
    except OSError as error:
        raise IdentityError(f"cannot hand the device key to TLS: {error}") from error
    return context


def client_context() -> ssl.SSLContext:
    """Make the dialler's context: TLS 1.3, no chain and no host name checked (see the module's theory)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def peer_device_id(ssl_object: ssl.SSLObject | ssl.SSLSocket) -> DeviceId:
    """Compute the device id of the other side from the certificate that it proved to hold the key of.

    Raises:
        LinkError: it showed none, an unreadable one, or one with another kind of key.
    """
    der = ssl_object.getpeercert(binary_form=True)
    if der is None:
        raise LinkError("the other side showed no certificate")
    try:
        key = x509.load_der_x509_certificate(der).public_key()
    except Exception as error:
        # A hostile certificate reaches every corner of the parser; none of them may reach the loop.
        raise LinkError("the other side's certificate cannot be read") from error
    if not isinstance(key, Ed25519PublicKey):
        raise LinkError("the other side's certificate is not by an Ed25519 key: not a p2pchat device")
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return device_id_of(spki)


class TlsStream:
    """One TLS connection without I/O: encrypted bytes in and out on one side, plain ones on the other.

    Call :meth:`outgoing` after every other method and send what it returns, also when the method raised: an
    alert may wait there.
    """

    __slots__ = ("_incoming", "_outgoing", "_tls")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server_side)

    def feed(self, data: memoryview) -> None:
        """Take encrypted bytes from the socket."""
        self._incoming.write(data)

    def outgoing(self) -> bytes:
        """Return the encrypted bytes that wait to be sent; may be empty."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def handshake(self) -> bool:
        """Go on with the handshake; True when it is complete.

        Raises:
            LinkError: it failed.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise LinkError(f"the TLS handshake failed: {_reason(error)}") from error
        return True

    def peer_device_id(self) -> DeviceId:
        """See :func:`peer_device_id`; valid once the handshake is complete."""
        return peer_device_id(self._tls)

    def read(self) -> bytes | None:
        """Return the next plain bytes (at most one record), None when more must be fed first, b"" at the end.

        Raises:
            LinkError: what was fed is not from the other side of this connection.
        """
        try:
            return self._tls.read(_RECORD_BYTES)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            raise LinkError(f"the TLS connection broke: {_reason(error)}") from error

    def encrypt(self, data: bytes) -> bytes:
        """Turn plain bytes into encrypted ones, after whatever waited in :meth:`outgoing`.

        Raises:
            LinkError: the connection is no longer able to send.
        """
        parts = []
        view = memoryview(data)
        try:
            while view:
                written = self._tls.write(view[:_SLICE_BYTES])
                parts.append(self._outgoing.read())
                view = view[written:]
        except ssl.SSLError as error:
            raise LinkError(f"the TLS connection broke: {_reason(error)}") from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def finish(self) -> None:
        """Say that nothing more comes from us (close_notify)."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            # It waits for the other side's close_notify, which nobody needs; ours is in the buffer by now.
            return


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "protocol error").replace("_", " ").lower()
