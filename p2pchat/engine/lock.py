"""One engine per home: a lock file that the system releases when its holder dies.

The lock is the kernel's (flock(2)), so a killed engine never leaves a home locked; the file's text only says who
holds it (:class:`p2pchat.paths.LockInfo`) and stays behind as a remark. It is released last of all: whoever gets it
may open the database. Where there is no ``fcntl``, ``msvcrt`` locks a byte far behind the text instead.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import Final

from p2pchat.model import clean
from p2pchat.paths import LockInfo, Paths

if sys.platform != "win32":
    import fcntl
else:  # pragma: no cover
    import msvcrt

_LOCKED_BYTE: Final = 1 << 20


class Held(Exception):
    """Another engine holds this home; ``info`` says which, as far as its lock file tells."""

    def __init__(self, info: LockInfo | None) -> None:
        self.info = info
        if info is None:
            super().__init__("another engine holds this home")
        else:
            host = clean(info.host, 80)
            super().__init__(f"another engine holds this home: process {info.pid} on {host}")


class EngineLock:
    """Held from :meth:`acquire` until :meth:`release`."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, paths: Paths) -> EngineLock:
        """Take the lock of a home without waiting.

        Raises:
            Held: somebody else has it.
            OSError: the file cannot be made.
        """
        fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock(fd)
        except OSError:
            os.close(fd)
            raise Held(paths.read_lock()) from None
        return cls(fd)

    def write(self, listening_at: Path) -> LockInfo:
        """Say who holds the lock and where it listens. A reader never sees half of it."""
        info = LockInfo(host=socket.gethostname(), pid=os.getpid(), socket=listening_at)
        text = info.to_json().encode()
        assert self._fd is not None
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))
        return info

    def release(self) -> None:
        """Give the home free; idempotent."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.close(fd)


if sys.platform != "win32":

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

else:  # pragma: no cover

    def _lock(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        os.lseek(fd, 0, os.SEEK_SET)
