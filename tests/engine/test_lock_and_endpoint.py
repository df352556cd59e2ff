"""One engine per home, and the socket that only its user reaches."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from p2pchat.engine import endpoint
from p2pchat.engine.lock import EngineLock, Held
from p2pchat.paths import Paths, fits_socket


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    found = Paths.for_home(tmp_path / "home")
    found.create()
    return found


def test_lock_names_its_holder_when_a_second_engine_comes(paths: Paths) -> None:
    lock = EngineLock.acquire(paths)
    info = lock.write(paths.socket)
    assert paths.read_lock() == info
    assert paths.is_held()
    with pytest.raises(Held, match=f"process {os.getpid()} on") as held:
        EngineLock.acquire(paths)
    assert held.value.info == info
    lock.release()
    lock.release()
    assert not paths.is_held()
    EngineLock.acquire(paths).release()


def test_lock_is_free_when_its_holder_was_killed(paths: Paths) -> None:
    """The kernel releases it: no home stays locked by a remark in a file."""
    code = f"""
        import sys, time
        from pathlib import Path
        from p2pchat.engine.lock import EngineLock
        from p2pchat.paths import Paths
        paths = Paths.for_home(Path({str(paths.home)!r}))
        EngineLock.acquire(paths).write(paths.socket)
        print("held", flush=True)
        sys.stdin.read()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(Held, match=f"process {child.pid} on"):
            EngineLock.acquire(paths)
        child.kill()
        child.wait(10)
    EngineLock.acquire(paths).release()


def test_lock_tells_what_it_can_when_the_file_is_nonsense(paths: Paths) -> None:
    lock = EngineLock.acquire(paths)
    paths.lock.write_text("what?")
    with pytest.raises(Held, match=r"another engine holds this home$"):
        EngineLock.acquire(paths)
    lock.write(paths.socket)
    assert paths.read_lock() is not None
    lock.release()


def test_choose_path_is_short_and_private_when_the_home_lies_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    deep = Paths.for_home(tmp_path / ("d" * 60) / ("e" * 60))
    other = Paths.for_home(tmp_path / ("d" * 60) / ("f" * 60))
    found = endpoint.choose_path(deep)
    assert fits_socket(found)
    assert endpoint.choose_path(deep) == found
    assert endpoint.choose_path(other) != found
    for folder in (found.parent, found.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_serve_takes_the_place_of_a_dead_socket_and_leaves_nothing(paths: Paths) -> None:
    first = endpoint.bind(paths.socket)
    assert first is not None
    first.close()
    assert paths.socket.exists()
    bound = endpoint.bind(paths.socket)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(str(paths.socket))
    served = await endpoint.serve(paths.socket, bound, asyncio.Protocol)
    assert stat.S_IMODE(paths.socket.stat().st_mode) == 0o600
    _, writer = await asyncio.open_unix_connection(str(paths.socket))
    writer.close()
    await writer.wait_closed()
    served.stop_accepting()
    served.remove()
    served.remove()
    assert not paths.socket.exists()


async def test_serve_on_tcp_writes_a_private_token_where_there_are_no_unix_sockets(paths: Paths) -> None:
    served = await endpoint.serve(paths.socket, None, asyncio.Protocol)
    endpoint.write_token(served, "secret")
    host, port, said = paths.socket.read_text().split()
    assert (host, said) == ("127.0.0.1", "secret")
    assert stat.S_IMODE(paths.socket.stat().st_mode) == 0o600
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    await writer.wait_closed()
    served.stop_accepting()
    served.remove()
