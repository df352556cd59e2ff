"""Where the local API listens: a Unix domain socket that only our user can reach.

The path is the home's own when it fits into an address (107 bytes), else ``engine.sock`` in a private folder below
a per-user folder of the system's temporary one, found again through the lock file. Folders are 0700, the socket
0600. A socket file that a killed engine left is removed: the caller holds the lock, so nobody listens there.

Where the system has no Unix domain sockets the API listens on loopback TCP instead; the file at the socket's place
then holds ``HOST PORT TOKEN`` (0600), and a client opens with the request ``auth`` that proves that it could read it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pchat.errors import P2PChatError
from p2pchat.paths import Paths, fits_socket, make_private

BACKLOG: Final = 256


@dataclass(slots=True)
class Endpoint:
    """A listening local API; ``path`` is its socket, or the file with its token."""

    path: Path
    server: asyncio.Server

    def stop_accepting(self) -> None:
        """Take no more clients; those that are connected stay."""
        self.server.close()

    def remove(self) -> None:
        """Remove the socket (or token) file and the private folder, if that is where it was."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        if self.path.parent.name.startswith("h-"):
            with contextlib.suppress(OSError):
                self.path.parent.rmdir()


def choose_path(paths: Paths) -> Path:
    """Return where to listen. Touches no disk but to make the private folder when one is needed.

    Raises:
        P2PChatError: the private folder belongs to somebody else.
    """
    if fits_socket(paths.socket):
        return paths.socket
    user = os.getuid() if hasattr(os, "getuid") else "user"
    base = Path(tempfile.gettempdir()) / f"p2pchat-{user}"
    if not fits_socket(base / "h-0123456789abcdef" / "engine.sock"):
        base = Path("/tmp") / f"p2pchat-{user}"  # noqa: S108  # the folder below is made 0700 and checked
    _make_owned(base)
    folder = base / f"h-{hashlib.sha256(os.fsencode(paths.run)).hexdigest()[:16]}"
    _make_owned(folder)
    return folder / "engine.sock"


def _make_owned(folder: Path) -> None:
    make_private(folder)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "getuid") and status.st_uid != os.getuid()):
        raise P2PChatError(f"{folder} belongs to somebody else; set TMPDIR to a folder of your own")


def bind(path: Path) -> socket.socket | None:
    """Make the socket at ``path``; it refuses clients until :func:`serve`. Blocks on the disk for a moment.

    Returns:
        None where there are no Unix domain sockets.

    Raises:
        OSError: the socket cannot be made.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    if not hasattr(socket, "AF_UNIX"):
        return None
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


async def serve(path: Path, bound: socket.socket | None, protocol: Callable[[], asyncio.Protocol]) -> Endpoint:
    """Accept clients from now on, at what :func:`bind` made.

    Raises:
        OSError: it is not possible.
    """
    loop = asyncio.get_running_loop()
    if bound is not None:
        return Endpoint(path, await loop.create_unix_server(protocol, sock=bound, backlog=BACKLOG))
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG)
    return Endpoint(path, server)


def write_token(endpoint: Endpoint, token: str) -> None:
    """Write where a TCP endpoint is and what a client has to show. Blocks for a moment.

    Raises:
        OSError: the file cannot be written.
    """
    host, port = endpoint.server.sockets[0].getsockname()[:2]
    fd = os.open(endpoint.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(f"{host} {port} {token}\n")
