"""What each command asks the engine and prints: the JSON contract, the human form, hostile text in both."""

from __future__ import annotations

import fcntl
import io
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from p2pchat.errors import ApiError
from p2pchat.paths import Paths
from tests.api.scripted import ANN, BOB, ID, ScriptedEngine, detail, entry, letter, message, peer, stats
from tests.cli.conftest import Run, is_harmless

CHANGED = {"message_ids": [ID]}
EVENT = {"event_id": 3, "at_ms": 5, "event": "message:received", "message_id": ID, "body": "hi"}

CONTRACT: list[tuple[str, str, object, str]] = [
    ("id", "status", None, "device_id name invite addresses"),
    (
        "peers",
        "peers.list",
        [peer()],
        "device_id name presence trust addresses rtt_ms clock_offset_ms pending dead_letters last_seen_ms",
    ),
    ("peer add 192.0.2.8", "peer.add", peer(), "device_id name trust"),
    ("peer accept bob", "peer.accept", peer(), "device_id name trust"),
    ("peer block bob", "peer.block", peer(trust="blocked"), "device_id name trust"),
    ("peer unblock bob", "peer.unblock", peer(), "device_id name trust"),
    ("peer rename bob robert", "peer.rename", peer(name="robert"), "device_id name trust"),
    ("send bob hi", "message.send", {"message_id": ID, "state": "pending"}, "message_id state"),
    (
        "history bob --limit 1",
        "history",
        [message()],
        "message_id direction author body state sent_at_ms received_at_ms seq",
    ),
    ("read bob", "read", {"peer": BOB, "message_ids": [ID]}, "peer message_ids"),
    (f"cancel {ID}", "message.cancel", detail(state="cancelled"), "message_id state"),
    (f"show {ID}", "message.show", detail(), "message_id states attempts"),
    (
        "outbox",
        "outbox",
        [entry()],
        "message_id peer state attempts next_attempt_at_ms last_error waiting_for",
    ),
    (
        "dlq list",
        "dlq.list",
        [letter()],
        "message_id peer reason peer_has_it last_error attempts moved_at_ms body",
    ),
    (f"dlq show {ID}", "dlq.list", [letter()], "message_id peer reason body"),
    (f"dlq retry {ID}", "dlq.retry", CHANGED, "message_ids"),
    ("dlq purge --all", "dlq.purge", CHANGED, "message_ids"),
    (
        "stats",
        "stats",
        stats(),
        "uptime_s flushes fsyncs bytes_written writes_per_s messages_sent messages_received duplicates_dropped "
        "retries retry_success_rate dlq_size pending latency_ms rss_bytes peers",
    ),
    ("events", "events.subscribe", {"first_id": 1, "last_id": 3}, "event_id at_ms event message_id body"),
]


@pytest.mark.parametrize(("line", "method", "answer", "fields"), CONTRACT, ids=[row[0] for row in CONTRACT])
def test_command_prints_its_fields_as_json_and_something_for_people(
    run: Run, engine: ScriptedEngine, line: str, method: str, answer: object, fields: str
) -> None:
    if answer is not None:
        engine.answers[method] = answer
    engine.events = [EVENT]
    after = run(*line.split(), "--json")
    before = run("--json", *line.split())
    human = run(*line.split())
    assert (after.code, after.err) == (0, "")
    assert set(fields.split()) <= set(after.objects[0])
    if not line.startswith("send"):
        assert after.out == before.out
    assert (human.code, human.err) == (0, "")
    assert human.out
    assert not human.out.startswith("{")
    assert engine.asked[0][0] == method


@pytest.mark.parametrize(("line", "method", "answer", "fields"), CONTRACT, ids=[row[0] for row in CONTRACT])
def test_command_lets_nothing_drive_the_terminal_when_text_is_hostile(
    run: Run, engine: ScriptedEngine, line: str, method: str, answer: object, fields: str
) -> None:
    evil = "\x1b]0;x\x07\x9b31m\u202e[bold]\x7f\ud83d\x00\u2028"

    def poison(value: Any, key: str = "") -> Any:
        match value:
            case dict():
                return {name: poison(inner, name) for name, inner in value.items()}
            case list():
                return [poison(inner) for inner in value]
            case str() if key in ("body", "name", "own_name", "author_name", "peer_name", "detail", "last_error"):
                return evil.replace("\ud83d", "")
            case _:
                return value

    if answer is not None:
        engine.answers[method] = poison(answer)
    engine.events = [poison(EVENT)]
    json = run(*line.split(), "--json")
    human = run(*line.split())
    assert (json.code, human.code) == (0, 0)
    for text in (json.out, human.out, human.err):
        assert is_harmless(text), repr(text)
    assert json.objects


def test_hostile_check_fails_when_a_character_gets_through() -> None:
    assert not is_harmless("a\x1b[0m")
    assert not is_harmless("a\u202eb")
    assert not is_harmless("a\x9bb")
    assert is_harmless('plain "text" ✓✓ \\ é')


def test_list_prints_one_object_a_line_and_nothing_when_empty(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["peers.list"] = [peer(), peer(device_id=ANN, name="ann")]
    assert [one["name"] for one in run("peers", "--json").objects] == ["bob", "ann"]
    engine.answers["peers.list"] = []
    assert run("peers", "--json").out == ""
    assert "nobody" in run("peers").out


def test_history_pages_backwards_until_the_limit_when_it_is_large(run: Run, engine: ScriptedEngine) -> None:
    ids = [f"{number:032x}" for number in range(450)]

    def answer(params: dict[str, Any]) -> object:
        end = len(ids) if params["before"] is None else ids.index(params["before"])
        return [message(message_id=one) for one in ids[max(0, end - params["limit"]) : end]]

    engine.answers["history"] = answer
    assert [one["message_id"] for one in run("history", "bob", "--limit", "420", "--json").objects] == ids[-420:]
    assert [one["message_id"] for one in run("history", "bob", "--limit", "9999", "--json").objects] == ids
    assert run("history", "bob", "--limit", "0", "--json").out == ""


def test_history_pages_forwards_when_after_is_given(run: Run, engine: ScriptedEngine) -> None:
    ids = [f"{number:032x}" for number in range(450)]

    def answer(params: dict[str, Any]) -> object:
        start = ids.index(params["after"]) + 1
        return [message(message_id=one) for one in ids[start : start + params["limit"]]]

    engine.answers["history"] = answer
    got = run("history", "bob", "--after", ids[9], "--limit", "300", "--json").objects
    assert [one["message_id"] for one in got] == ids[10:310]


def test_history_never_asks_to_mark_as_read(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["history"] = [message()]
    run("history", "bob")
    assert {method for method, _ in engine.asked} == {"history"}


def test_history_indents_further_lines_when_a_body_has_several(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["history"] = [message(body="one\n12:00:00 ann: forged")]
    lines = run("history", "bob", "--limit", "1").out.splitlines()
    assert lines[1].startswith("    12:00:00")


def test_events_replays_everything_without_reset_when_nothing_is_said(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["events.subscribe"] = {"first_id": 7, "last_id": 8}
    engine.events = [
        {"event_id": None, "at_ms": 1, "event": "stream:reset"},
        {"event_id": 7, "at_ms": 1, "event": "message:queued"},
    ]
    assert [one["event"] for one in run("events", "--json").objects] == ["message:queued"]
    assert engine.params("events.subscribe") == [{"since": 0, "follow": False}]


def test_events_shows_the_reset_when_since_is_given(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["events.subscribe"] = {"first_id": 7, "last_id": 8}
    engine.events = [{"event_id": None, "at_ms": 1, "event": "stream:reset"}]
    assert [one["event"] for one in run("events", "--since", "2", "--json").objects] == ["stream:reset"]


def test_ids_are_normalised_when_written_as_a_uuid(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["message.show"] = detail()
    dashed = f"{ID[:8]}-{ID[8:12]}-{ID[12:16]}-{ID[16:20]}-{ID[20:]}".upper()
    assert run("show", dashed, "--json").code == 0
    assert engine.params("message.show") == [{"message_id": ID}]


def test_peer_accept_goes_on_with_the_others_when_one_fails(run: Run, engine: ScriptedEngine) -> None:
    def answer(params: dict[str, Any]) -> object:
        return ApiError("no_such_peer", "who?") if params["peer"] == "nobody" else peer(name=params["peer"])

    engine.answers["peer.accept"] = answer
    ran = run("peer", "accept", "x", "nobody", "y", "--json")
    assert ran.code == 5
    assert [one["name"] for one in ran.objects] == ["x", "y"]
    assert "nobody: who?" in ran.err


def test_peer_forget_prints_whom_and_forgets_by_full_id(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["peer.show"] = peer()
    engine.answers["peer.forget"] = {"ok": True}
    assert run("peer", "forget", "bob", "--json").objects[0]["device_id"] == BOB
    assert engine.params("peer.forget") == [{"peer": BOB}]


def test_dlq_says_which_ids_are_no_letters_when_some_are_not(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["dlq.retry"] = {"message_ids": []}
    ran = run("dlq", "retry", ID)
    assert ran.code == 1
    assert ID in ran.err


@pytest.mark.parametrize("selection", [(), ("--all", "--peer", "bob"), (ID, "--all")])
def test_dlq_purge_refuses_when_the_selection_is_unclear(
    run: Run, engine: ScriptedEngine, selection: tuple[str, ...]
) -> None:
    assert run("dlq", "purge", *selection).code == 2
    assert engine.asked == []


def test_dlq_without_a_command_lists_all(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["dlq.list"] = [letter()]
    assert run("--json", "dlq").objects[0]["message_id"] == ID
    assert engine.params("dlq.list") == [{"message_ids": None, "peer": None}]


def test_stop_is_content_when_no_engine_runs(run: Run) -> None:
    ran = run("stop")
    assert (ran.code, ran.err) == (0, "")


def test_stop_asks_the_engine_and_waits_for_its_end(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["stop"] = {"ok": True}
    assert run("stop").code == 0
    assert engine.asked == [("stop", {})]


def test_id_shows_a_qr_code_when_asked(run: Run, engine: ScriptedEngine) -> None:
    plain, with_qr = run("id"), run("id", "--qr")
    assert plain.out in with_qr.out
    assert "▀" in with_qr.out.removeprefix(plain.out)


def test_id_reset_moves_the_key_aside_only_after_two_answers(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = home / "data" / "identity.pem"
    key.parent.mkdir(parents=True)
    key.write_text("the old key")
    monkeypatch.setattr("p2pchat.cli.identity._show", lambda *_: None)
    for answers in ("", "n\n", "y\n", "y\nn\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answers))
        ran = run("id", "reset")
        assert (ran.code, key.read_text()) == (1, "the old key")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\n"))
    assert run("id", "reset").code == 0
    assert not key.exists()
    assert [file.read_text() for file in key.parent.iterdir()] == ["the old key"]


def test_id_reset_refuses_while_an_engine_runs(run: Run, engine: ScriptedEngine, home: Path) -> None:
    key = home / "data" / "identity.pem"
    key.parent.mkdir(parents=True)
    key.write_text("the key")
    ran = run("id", "reset")
    assert ran.code == 1
    assert "stop" in ran.err
    assert key.read_text() == "the key"


def test_id_reset_refuses_while_the_lock_is_held(run: Run, home: Path) -> None:
    paths = Paths.for_home(home)
    paths.create()
    paths.identity.write_text("the key")
    with paths.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run("id", "reset").code == 1
    assert paths.identity.exists()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_table_fits_a_terminal_of_any_width(
    run: Run, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr("p2pchat.cli.output.is_fancy", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    engine.answers |= {
        "peers.list": [peer(name="志" * 30, detail="x " * 60)],
        "outbox": [entry()],
        "dlq.list": [letter()],
    }
    for line in ("peers", "outbox", "dlq"):
        lines = run(line).out.splitlines()
        assert max(map(cell_len, lines)) <= width
        if width >= 80:
            assert ID in "".join(lines) or line == "peers"
