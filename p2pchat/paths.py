"""Where things lie, and who holds them.

Theory of operation
===================

One *home* is one device: its key, its messages, its settings, and at most one engine. With ``--home DIR`` (or
``P2PCHAT_HOME``) everything lies below that folder; without it the platform's conventions decide. The folder
of the socket and the lock is never the system's runtime folder: that one differs between a login and a cron
job, and two engines would then open the same database.

The **lock file** is written by the engine that holds it by flock(2) (one JSON object: :class:`LockInfo`) and
names the host, the process and the socket. A socket path has to fit into 107 bytes (``sun_path`` of unix(7)
is 108 with its zero); a longer one is replaced by a private short folder under the system's temporary one,
which only the lock file knows.

Folders are made 0700. Nothing here is created by looking at it; only :meth:`Paths.create` writes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_SOCKET_PATH_BYTES: Final = 107
"""Longest path that a Unix domain socket can be bound to on Linux."""


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who holds a home: what the lock file says.

    Attributes:
        host: the machine's name, for homes on a shared disk.
        pid: the engine's process id on that host.
        socket: the path that it listens at (or will within moments).
    """

    host: str
    pid: int
    socket: Path

    def to_json(self) -> str:
        """One line for the lock file."""
        return json.dumps({"host": self.host, "pid": self.pid, "socket": str(self.socket)}) + "\n"


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one home; see the properties for the files in them."""

    data: Path
    config: Path
    logs: Path
    run: Path
    downloads: Path
    home: Path | None = None
    """What ``--home`` named, absolute; None when the platform decides."""

    @classmethod
    def for_home(cls, home: Path | None) -> Paths:
        """Return the paths below ``home``, or the platform's own when it is None. Touches no disk."""
        if home is not None:
            home = home.expanduser().absolute()
            return cls(home / "data", home / "config", home / "logs", home / "run", home / "downloads", home=home)
        import platformdirs

        dirs = platformdirs.PlatformDirs("p2pchat", appauthor=False)
        data = dirs.user_data_path
        return cls(
            data,
            dirs.user_config_path,
            dirs.user_log_path,
            data / "run",
            dirs.user_downloads_path / "p2pchat",
        )

    @property
    def database(self) -> Path:
        """The SQLite file with everything that was ever said."""
        return self.data / "p2pchat.db"

    @property
    def identity(self) -> Path:
        """The device's private key."""
        return self.data / "identity.pem"

    @property
    def config_file(self) -> Path:
        """The settings; it need not exist."""
        return self.config / "config.toml"

    @property
    def socket(self) -> Path:
        """Where the engine listens, unless that path is too long (then the lock file knows)."""
        return self.run / "engine.sock"

    @property
    def lock(self) -> Path:
        """Held by the one engine of this home."""
        return self.run / "engine.lock"

    def create(self) -> None:
        """Make the folders (0700) but for the downloads, which are made when something is put there.

        Raises:
            OSError: a folder cannot be made.
        """
        for folder in (self.home, self.data, self.config, self.logs, self.run):
            if folder is not None:
                make_private(folder)

    def read_lock(self) -> LockInfo | None:
        """Return what the lock file says, or None when there is none or it is not readable as one."""
        try:
            said = json.loads(self.lock.read_text("utf-8"))
            return LockInfo(str(said["host"]), int(said["pid"]), Path(str(said["socket"])))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def is_held(self) -> bool:
        """Tell whether a running process holds the lock (flock(2), which ends with the process)."""
        import fcntl

        try:
            file = os.open(self.lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(file)
        return False

    def find_socket(self) -> Path:
        """Return the path where an engine of this home listens, if one does."""
        if fits_socket(self.socket):
            return self.socket
        held = self.read_lock()
        return self.socket if held is None else held.socket


def fits_socket(path: Path) -> bool:
    """Tell whether a Unix domain socket can be bound to this path."""
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter (0700); one that exists is narrowed to that.

    Raises:
        OSError: it cannot be made or is not ours.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
