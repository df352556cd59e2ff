"""Where things lie: below a home, or where the platform says; the lock file; private folders."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from p2pchat.paths import MAX_SOCKET_PATH_BYTES, LockInfo, Paths, fits_socket


def test_everything_lies_below_the_home_when_one_is_named(tmp_path: Path) -> None:
    paths = Paths.for_home(tmp_path)
    named = {name: getattr(paths, name) for name in ("data", "config", "logs", "run", "downloads")}
    assert named == {name: tmp_path / name for name in named}
    assert paths.database == tmp_path / "data" / "p2pchat.db"
    assert paths.identity == tmp_path / "data" / "identity.pem"
    assert paths.config_file == tmp_path / "config" / "config.toml"
    assert paths.socket == tmp_path / "run" / "engine.sock"
    assert paths.lock == tmp_path / "run" / "engine.lock"


def test_home_is_absolute_when_given_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Paths.for_home(Path("x")).data == tmp_path / "x" / "data"


def test_platform_decides_when_no_home_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATA", "CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    paths = Paths.for_home(None)
    assert paths.data == tmp_path / "DATA" / "p2pchat"
    assert paths.config == tmp_path / "CONFIG" / "p2pchat"
    assert paths.home is None
    # One lock per database, whether or not this login has a runtime folder.
    assert paths.run == paths.data / "run"


def test_create_makes_private_folders_whatever_the_umask(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    home.mkdir(parents=True)
    home.chmod(0o755)
    before = os.umask(0)
    try:
        Paths.for_home(home).create()
    finally:
        os.umask(before)
    for folder in (home, home / "data", home / "config", home / "logs", home / "run"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not (home / "downloads").exists()


def test_looking_creates_nothing(tmp_path: Path) -> None:
    paths = Paths.for_home(tmp_path / "h")
    assert paths.read_lock() is None
    assert not paths.is_held()
    assert paths.find_socket() == paths.socket
    assert not (tmp_path / "h").exists()


def test_lock_file_round_trips_and_survives_rubbish(tmp_path: Path) -> None:
    paths = Paths.for_home(tmp_path)
    paths.create()
    info = LockInfo("desk", 42, Path("/tmp/x/engine.sock"))
    paths.lock.write_text(info.to_json())
    assert paths.read_lock() == info
    for rubbish in ("", "{", "[]", "4", '{"host":"x"}', '{"host":1,"pid":"x","socket":2}', "\0"):
        paths.lock.write_text(rubbish)
        assert paths.read_lock() is None


def test_socket_comes_from_the_lock_when_its_own_path_is_too_long(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    paths = Paths.for_home(long)
    paths.create()
    assert not fits_socket(paths.socket)
    assert paths.find_socket() == paths.socket
    paths.lock.write_text(LockInfo("desk", 1, Path("/tmp/s/engine.sock")).to_json())
    assert paths.find_socket() == Path("/tmp/s/engine.sock")


def test_socket_length_is_counted_in_bytes() -> None:
    assert fits_socket(Path("/" + "x" * (MAX_SOCKET_PATH_BYTES - 1)))
    assert not fits_socket(Path("/" + "x" * MAX_SOCKET_PATH_BYTES))
    assert not fits_socket(Path("/" + "é" * 54))


def test_lock_is_held_while_a_process_has_it(tmp_path: Path) -> None:
    paths = Paths.for_home(tmp_path)
    paths.create()
    with paths.lock.open("w") as file:
        assert not paths.is_held()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert paths.is_held()
    assert not paths.is_held()
