"""The device key: who we are.

An Ed25519 key in ``identity.pem`` (PKCS #8, mode 0600, folder 0700). It is made once, when there is no file,
and written so that a crash leaves either nothing or all of it: temporary file, fsync, rename, fsync of the
folder.

What must never happen: a new key over an old one. A file that is there but cannot be read, whatever the
cause, is an :class:`IdentityError`, because a fresh key would silently turn this device into a stranger for
all its peers. The same holds for a symbolic link whose target is missing (a drive that is not mounted).

The certificate for TLS is derived from the key at each start. It is the same bytes every time (Ed25519
signatures are deterministic), and valid from 2000 to the end of time, because a LAN has machines with any
clock and nobody checks more of it than its key.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import os
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from p2pchat.errors import IdentityError
from p2pchat.model import DeviceId, device_id_of

_log = logging.getLogger(__name__)

_MAX_FILE_BYTES = 64 * 1024
_NOT_BEFORE = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
# RFC 5280, section 4.1.2.5: the value for "no well-defined expiration date".
_NOT_AFTER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Identity:
    """A device key, ready for use.

    Attributes:
        device_id: base32 of SHA-256 over ``spki``.
        spki: the public key as DER SubjectPublicKeyInfo.
        key_pem, cert_pem: what the ``ssl`` module wants to load. ``key_pem`` is a secret.
    """

    device_id: DeviceId
    spki: bytes
    cert_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)
    _key: Ed25519PrivateKey = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature over the data."""
        return self._key.sign(data)


def generate() -> Identity:
    """Make an identity that is stored nowhere (tests, demos)."""
    return _from_key(Ed25519PrivateKey.generate())


def load_or_create(path: Path) -> Identity:
    """Read the identity from a file; make and store one if there is no file.

    Blocks on the disk: call it before the event loop runs, or in a thread.

    Raises:
        IdentityError: the file cannot be read, is not an unencrypted Ed25519 key, or cannot be written.
    """
    try:
        pem = _read(path)
    except FileNotFoundError:
        if path.is_symlink():
            raise IdentityError(
                f"{path} is a link to a file that is missing: bring the file back, or remove the link"
            ) from None
        return _create(path)
    except OSError as error:
        raise IdentityError(f"cannot read the device key {path}: {error.strerror}; fix its permissions") from error
    return _from_key(_parse(path, pem))


def verify(spki: bytes, signature: bytes, data: bytes) -> bool:
    """Tell whether the signature over the data is by this key. Hostile arguments are merely False."""
    try:
        key = serialization.load_der_public_key(spki)
        if not isinstance(key, Ed25519PublicKey):
            return False
        key.verify(signature, data)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            _log.warning("the device key was open to others; closing it", extra={"path": str(path), "mode": oct(mode)})
            with contextlib.suppress(OSError):
                os.fchmod(file.fileno(), 0o600)
        return file.read(_MAX_FILE_BYTES + 1)


def _parse(path: Path, pem: bytes) -> Ed25519PrivateKey:
    way_out = "restore it from a backup, or move it away to become a new device"
    try:
        if len(pem) > _MAX_FILE_BYTES:
            raise ValueError("far too large")
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise IdentityError(f"the device key {path} is encrypted with a password: store it without one") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise IdentityError(f"{path} is damaged or not a private key: {way_out}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path} holds another kind of key (an Ed25519 key is needed): {way_out}")
    return key


def _create(path: Path) -> Identity:
    identity = generate()
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        _write_atomically(path, identity.key_pem)
    except OSError as error:
        raise IdentityError(
            f"cannot store the device key {path}: {error.strerror}; make the folder writable"
        ) from error
    return identity


def _write_atomically(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=".identity-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _from_key(key: Ed25519PrivateKey) -> Identity:
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    device_id = device_id_of(spki)
    return Identity(device_id, spki, _certificate(key, device_id), pem, key)


def _certificate(key: Ed25519PrivateKey, device_id: DeviceId) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device_id)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )
    return builder.sign(key, None).public_bytes(serialization.Encoding.PEM)
