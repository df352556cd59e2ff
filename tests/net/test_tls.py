"""TLS 1.3 by device keys, without sockets."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from p2pchat.errors import LinkError
from p2pchat.net.identity import generate
from p2pchat.net.tls import TlsStream, client_context, peer_device_id, server_context


class Certificate:
    """Stands in for an ssl object with this certificate."""

    def __init__(self, der: bytes | None) -> None:
        self._der = der

    def getpeercert(self, binary_form: bool = False) -> bytes | None:
        return self._der


def shake_hands(client: TlsStream, server: TlsStream) -> None:
    done = {client: False, server: False}
    for _ in range(10):
        for end, other in ((client, server), (server, client)):
            try:
                done[end] = done[end] or end.handshake()
            finally:
                other.feed(memoryview(end.outgoing()))
        if all(done.values()):
            return
    raise AssertionError("the handshake does not end")


def foreign_context(tmp_path: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "printer")])
    now = dt.datetime.now(dt.UTC)
    certificate = (x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))).sign(
        key, hashes.SHA256()
    )
    file = tmp_path / "printer.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_stream_carries_bytes_both_ways_when_the_handshake_is_done() -> None:
    identity = generate()
    client = TlsStream(client_context(), server_side=False)
    server = TlsStream(server_context(identity), server_side=True)
    shake_hands(client, server)
    assert client.peer_device_id() == identity.device_id
    server.feed(memoryview(client.encrypt(b"question")))
    assert server.read() == b"question"
    assert server.read() is None
    client.feed(memoryview(server.encrypt(b"answer")))
    assert client.read() == b"answer"


def test_stream_carries_a_large_text_when_it_takes_many_records() -> None:
    client = TlsStream(client_context(), server_side=False)
    server = TlsStream(server_context(generate()), server_side=True)
    shake_hands(client, server)
    data = bytes(range(256)) * 1200
    server.feed(memoryview(client.encrypt(data)))
    received = b"".join(iter(server.read, None))
    assert received == data


def test_stream_reads_the_end_when_the_other_side_finishes() -> None:
    client = TlsStream(client_context(), server_side=False)
    server = TlsStream(server_context(generate()), server_side=True)
    shake_hands(client, server)
    client.finish()
    server.feed(memoryview(client.outgoing()))
    assert server.read() == b""


def test_server_refuses_a_client_that_ends_at_tls_1_2() -> None:
    old = client_context()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    client = TlsStream(old, server_side=False)
    server = TlsStream(server_context(generate()), server_side=True)
    with pytest.raises(LinkError, match=r"unsupported protocol|version"):
        shake_hands(client, server)


def test_client_refuses_a_server_that_ends_at_tls_1_2() -> None:
    old = server_context(generate())
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(LinkError, match="TLS handshake failed"):
        shake_hands(TlsStream(client_context(), server_side=False), TlsStream(old, server_side=True))


def test_stream_raises_when_what_it_reads_was_tampered_with() -> None:
    client = TlsStream(client_context(), server_side=False)
    server = TlsStream(server_context(generate()), server_side=True)
    shake_hands(client, server)
    record = bytearray(client.encrypt(b"pay 10"))
    record[-1] ^= 1
    server.feed(memoryview(record))
    with pytest.raises(LinkError, match="broke"):
        server.read()


def test_peer_id_is_refused_when_the_certificate_has_another_kind_of_key(tmp_path: Path) -> None:
    client = TlsStream(client_context(), server_side=False)
    shake_hands(client, TlsStream(foreign_context(tmp_path), server_side=True))
    with pytest.raises(LinkError, match="not a p2pchat device"):
        client.peer_device_id()


@pytest.mark.parametrize("der", [None, b"", b"\x30\x80", b"\x00" * 1000])
def test_peer_id_is_refused_when_the_certificate_cannot_be_read(der: bytes | None) -> None:
    with pytest.raises(LinkError, match="certificate"):
        peer_device_id(Certificate(der))  # type: ignore[arg-type]  # only getpeercert is called


def test_server_context_leaves_no_key_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server_context(generate())
    assert list(tmp_path.iterdir()) == []
