"""The device key: made once, kept whole, never replaced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from p2pchat.errors import IdentityError
from p2pchat.model import device_id_of
from p2pchat.net.identity import generate, load_or_create, verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "identity.pem"


def foreign_pem() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def encrypted_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def test_identity_is_private_and_alone_when_created(path: Path) -> None:
    load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["identity.pem"]


def test_identity_is_the_same_when_loaded_again(path: Path) -> None:
    first, second = load_or_create(path), load_or_create(path)
    assert (first.device_id, first.spki, first.cert_pem) == (second.device_id, second.spki, second.cert_pem)
    assert first.device_id == device_id_of(first.spki)
    assert verify(first.spki, second.sign(b"data"), b"data")


def test_identity_hides_the_key_when_printed() -> None:
    assert "PRIVATE" not in repr(generate())
    assert "_key" not in repr(generate())


def test_identity_is_synced_before_and_after_the_rename(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(handle: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file")
        fsync(handle)

    def note_rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    load_or_create(path)
    assert steps == ["sync file", "rename", "sync folder"]


def test_identity_leaves_nothing_when_it_cannot_be_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(IdentityError, match="No space left"):
        load_or_create(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "damaged"),
        (b"hello", "damaged"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        (b"x" * 100_000, "damaged"),
        (foreign_pem(), "another kind of key"),
        (encrypted_pem(), "password"),
        (generate().cert_pem, "damaged"),
    ],
    ids=["empty", "garbage", "broken PEM", "huge", "P-256", "encrypted", "certificate"],
)
def test_identity_is_refused_and_kept_when_the_file_is_no_key(path: Path, content: bytes, says: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(IdentityError, match=says) as caught:
        load_or_create(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_identity_is_refused_when_its_path_is_a_folder(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(IdentityError, match="cannot read"):
        load_or_create(path)


def test_identity_is_refused_when_its_folder_is_a_file(path: Path) -> None:
    path.parent.write_text("in the way")
    with pytest.raises(IdentityError):
        load_or_create(path)


def test_identity_is_refused_and_not_made_anew_when_its_link_dangles(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(path.parent / "unmounted" / "identity.pem")
    with pytest.raises(IdentityError, match="link to a file that is missing"):
        load_or_create(path)
    assert path.is_symlink()


def test_identity_is_closed_to_others_when_it_was_open(path: Path) -> None:
    load_or_create(path)
    path.chmod(0o644)
    load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_certificate_holds_the_device_key_and_tolerates_any_clock() -> None:
    identity = generate()
    certificate = x509.load_pem_x509_certificate(identity.cert_pem)
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert spki == identity.spki
    assert certificate.not_valid_before_utc.year == 2000
    assert certificate.not_valid_after_utc.year == 9999


def test_verify_is_false_when_anything_was_changed() -> None:
    ours, other = generate(), generate()
    signature = ours.sign(b"data")
    foreign = ec.generate_private_key(ec.SECP256R1()).public_key()
    foreign_spki = foreign.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert verify(ours.spki, signature, b"data")
    assert not verify(ours.spki, signature, b"date")
    assert not verify(ours.spki, signature[:-1], b"data")
    assert not verify(ours.spki, b"", b"data")
    assert not verify(other.spki, signature, b"data")
    assert not verify(b"", signature, b"data")
    assert not verify(b"\x30\x03garbage", signature, b"data")
    assert not verify(foreign_spki, signature, b"data")
