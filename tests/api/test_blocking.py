"""The plain client: answers, errors, cuts, long and broken lines, the event stream over a cut."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from p2pchat.api import types as t
from p2pchat.api.blocking import Connection, Engine
from p2pchat.errors import ApiError, EngineUnavailable
from p2pchat.paths import Paths
from tests.api.scripted import HANG_UP, SILENCE, ScriptedEngine, peer


def engine_at(paths: Paths, patience_s: float = 0.3) -> Engine:
    return Engine(lambda: Connection.open(paths.socket), patience_s)


def test_call_returns_the_typed_result_and_ignores_new_fields(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["peers.list"] = [peer(some_new_field=1)]
    with engine_at(paths) as link:
        found = link.call("peers.list", list[t.Peer])
    assert isinstance(found[0], t.Peer)
    assert found[0].name == "bob"


def test_call_raises_the_engines_error_cleaned_and_keeps_the_connection(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["peer.show"] = ApiError("ambiguous_peer", "two \x1b[1m", ("a", "b"))
    with engine_at(paths) as link:
        with pytest.raises(ApiError) as caught:
            link.call("peer.show", t.Peer, t.PeerParams(peer="x"))
        assert (caught.value.code, caught.value.candidates) == ("ambiguous_peer", ("a", "b"))
        assert str(caught.value) == "two ␛[1m"
        link.call("status", t.Status)
    assert engine.connections == 1


def test_call_asks_again_when_cut_and_gives_up_after_its_patience(paths: Paths, engine: ScriptedEngine) -> None:
    answers: list[Any] = [HANG_UP, HANG_UP, []]
    engine.answers["peers.list"] = lambda _: answers.pop(0)
    with engine_at(paths) as link:
        assert link.call("peers.list", list[t.Peer]) == []
    assert engine.connections == 3
    engine.answers["peers.list"] = HANG_UP
    with engine_at(paths, 0.25) as link, pytest.raises(EngineUnavailable, match="cut off"):
        link.call("peers.list", list[t.Peer])


def test_call_gives_up_at_once_when_the_engine_holds_the_line(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["peers.list"] = SILENCE
    with engine_at(paths) as link, pytest.raises(EngineUnavailable, match=r"did not answer within 0\.1 s"):
        link.call("peers.list", list[t.Peer], timeout_s=0.1)
    assert len(engine.asked) == 1


def test_call_says_so_when_the_answer_has_another_shape(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["peers.list"] = {"not": "a list"}
    with engine_at(paths) as link, pytest.raises(ApiError, match="not understood"):
        link.call("peers.list", list[t.Peer])


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[1]\n", b'{"id":"x","error":5}\n', b"\xff\n", b"[" * 100_000 + b"\n"]
)
def test_call_says_so_when_the_other_end_is_no_engine(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                link.recv(1000)
                link.sendall(line)

        thread = threading.Thread(target=serve)
        thread.start()
        link = Connection.open(path)
        with pytest.raises(ApiError, match="not understood"):
            link.call("status", t.Status)
        link.close()
        thread.join()


def test_call_finds_its_answer_behind_others_and_in_pieces(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        link = Connection(ours)
        reply = (
            b'{"jsonrpc":"2.0","method":"event","params":{}}\n{"id":77,"result":{}}\n{"id":1,"result":{"ok":true}}\n'
        )

        def serve() -> None:
            theirs.recv(1000)
            for byte in reply:
                theirs.sendall(bytes([byte]))

        thread = threading.Thread(target=serve)
        thread.start()
        assert link.call("x", t.Done).ok
        thread.join()
        link.close()


def test_read_refuses_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pchat.api.blocking.MAX_LINE_BYTES", 1000)
    ours, theirs = socket.socketpair()
    with theirs:
        link = Connection(ours)
        theirs.sendall(b"x" * 3000)
        with pytest.raises(ConnectionError, match="longer"):
            link.read()
        link.close()


def test_events_go_on_behind_the_last_one_after_a_cut(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["events.subscribe"] = {"first_id": 1, "last_id": 2}
    engine.events = [
        {"event_id": 1, "at_ms": 1, "event": "a", "more": "x"},
        {"event_id": None, "at_ms": 1, "event": "live"},
        {"event_id": 2, "at_ms": 1, "event": "b"},
    ]
    with engine_at(paths, 5.0) as link:
        stream = link.events(0, follow=True)
        first = [next(stream).event for _ in range(3)]
        engine.events.append({"event_id": 3, "at_ms": 1, "event": "c"})
        for one in engine._links:
            one.shutdown(socket.SHUT_RDWR)
        after = [next(stream).event for _ in range(2)]
    assert (first, after) == (["a", "live", "b"], ["live", "c"])
    assert [one["since"] for one in engine.params("events.subscribe")] == [0, 2]


def test_events_started_live_resume_from_what_was_last_when_they_began(paths: Paths, engine: ScriptedEngine) -> None:
    engine.answers["events.subscribe"] = {"first_id": 1, "last_id": 9}
    engine.events = [{"event_id": None, "at_ms": 1, "event": "live"}]
    with engine_at(paths, 5.0) as link:
        stream = link.events(None, follow=True)
        next(stream)
        for one in engine._links:
            one.shutdown(socket.SHUT_RDWR)
        next(stream)
    assert [one["since"] for one in engine.params("events.subscribe")] == [None, 9]


def test_open_raises_when_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Connection.open(tmp_path / "none")


def test_call_raises_an_error_about_the_connection_itself() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        link = Connection(ours)
        theirs.sendall(b'{"id":null,"error":{"message":"too many","data":{"code":"engine_unavailable"}}}\n')
        with pytest.raises(ApiError, match="too many"):
            link.call("x", t.Done)
        link.close()
