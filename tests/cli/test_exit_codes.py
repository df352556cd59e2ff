"""The table of exit codes, row by row, and one clear line on stderr with each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from p2pchat.cli import session as session_module
from p2pchat.errors import ApiError
from tests.api.scripted import BOB, HANG_UP, ID, ScriptedEngine, detail, peer
from tests.cli.conftest import Run


def ref(state: str) -> dict[str, str]:
    return {"message_id": ID, "state": state}


SENDS: list[tuple[str, str, str, int]] = [
    ("pending", "pending", "pending", 0),
    ("sent", "pending", "sent", 0),
    ("sent", "pending", "read", 0),
    ("delivered", "sent", "delivered", 0),
    ("delivered", "delivered", "delivered", 0),
    ("read", "pending", "read", 0),
    ("sent", "pending", "pending", 3),
    ("read", "pending", "delivered", 3),
    ("delivered", "pending", "failed", 4),
    ("pending", "failed", "failed", 4),
    ("delivered", "pending", "cancelled", 1),
]


@pytest.mark.parametrize(("wanted", "first", "last", "code"), SENDS)
def test_send_returns_the_code_of_its_state_when_it_waited(
    run: Run, engine: ScriptedEngine, wanted: str, first: str, last: str, code: int
) -> None:
    engine.answers |= {"message.send": ref(first), "message.wait": ref(last), "message.show": detail(state=last)}
    ran = run("send", "bob", "hi", "--wait", wanted, "--timeout", "0", "--id", ID, "--json")
    assert ran.code == code
    assert ran.objects == [
        {"message_id": ID, "state": last if wanted != first and first in ("pending", "sent") else first}
    ]
    assert (ran.err == "") == (code == 0)
    assert ran.err.count("\n") == (code != 0)
    if code in (3, 4):
        assert "bob is not answering" in ran.err


ERRORS: list[tuple[str, int]] = [
    ("no_such_peer", 5),
    ("ambiguous_peer", 5),
    ("queue_full", 1),
    ("letters_full", 1),
    ("storage_failed", 1),
    ("id_in_use", 1),
    ("blocked", 1),
    ("too_large", 2),
    ("bad_request", 2),
    ("incompatible", 1),
]


@pytest.mark.parametrize(("word", "code"), ERRORS)
def test_send_maps_the_engines_error_when_it_refuses(run: Run, engine: ScriptedEngine, word: str, code: int) -> None:
    engine.answers["message.send"] = ApiError(word, "because\n\x1b[31mof this")
    ran = run("send", "bob", "hi", "--json")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err == "p2pchat: because␊␛[31mof this\n"


def test_send_names_the_candidates_when_the_peer_is_ambiguous(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["message.send"] = ApiError("ambiguous_peer", "two bobs", (BOB, "c" * 52))
    ran = run("send", "bob", "hi")
    assert ran.code == 5
    assert ran.err.splitlines()[1:] == [f"  {BOB}", "  " + "c" * 52]


def test_send_asks_again_with_the_same_id_when_it_is_cut_off(run: Run, engine: ScriptedEngine) -> None:
    answers: list[Any] = [HANG_UP, ApiError("not_known_stored", "ask"), ApiError("shutting_down", "x"), ref("pending")]
    engine.answers["message.send"] = lambda _: answers.pop(0)
    assert run("send", "bob", "hi").code == 0
    asked = engine.params("message.send")
    assert len(asked) == 4
    assert len({one["message_id"] for one in asked}) == 1


def test_send_gives_up_with_the_id_when_the_engine_stays_away(
    run: Run, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2pchat.api.blocking.Engine.__init__.__defaults__", (0.3,))
    engine.answers["message.send"] = HANG_UP
    ran = run("send", "bob", "hi", "--id", ID)
    assert ran.code == 6
    assert f"--id {ID}" in ran.err
    assert len(engine.params("message.send")) > 1


def test_send_says_not_sent_when_no_engine_can_be_started(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('p2pchat: the disk is gone')")
    monkeypatch.setattr("p2pchat.api.launch.engine_command", lambda _: command)
    ran = run("send", "bob", "hi", "--id", ID)
    assert ran.code == 6
    assert "the disk is gone" in ran.err
    assert f"{ID} was not sent" in ran.err
    assert ran.err.count("\n") == 1


USAGE = [
    "frob",
    "--frob",
    "peers --frob",
    "peers extra",
    "send",
    "send bob",
    "send bob two words",
    "send bob hi --wait nope",
    "send bob hi --timeout nan",
    "send bob hi --timeout -1",
    "send bob hi --timeout inf",
    "send bob hi --id xyz",
    "history bob --limit x",
    "history bob --before xyz",
    "cancel xyz",
    "peer",
    "peer frob",
    "peer accept",
    "dlq retry xyz",
    "events --since x",
    "logs nope",
    "logs -n x",
    "--home",
    "daemon --listen nowhere:port",
    "config frob",
]


@pytest.mark.parametrize("line", USAGE)
def test_usage_is_one_clear_line_when_it_is_wrong(run: Run, engine: ScriptedEngine, line: str) -> None:
    ran = run(*line.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("p2pchat: ")
    assert ran.err.count("\n") == 1
    assert engine.asked == []


@pytest.mark.parametrize("text", ["", "x" * 65537, "é" * 32769, "\udcff"], ids=range(4))
def test_send_refuses_a_text_that_cannot_be_a_body(run: Run, engine: ScriptedEngine, text: str) -> None:
    assert run("send", "bob", text).code == 2
    assert engine.asked == []


def test_send_takes_exactly_64_kib_when_given_as_an_argument(run: Run, engine: ScriptedEngine) -> None:
    engine.answers["message.send"] = ref("pending")
    assert run("send", "bob", "x" * 65536).code == 0


def test_send_says_that_files_are_not_there_yet_and_help_does_not_list_them(run: Run, engine: ScriptedEngine) -> None:
    ran = run("send", "bob", "--file", "x.png")
    assert (ran.code, engine.asked) == (1, [])
    assert "files" in ran.err
    assert "--file" not in run("send", "--help").out


def test_interrupt_ends_with_130_when_waiting(
    run: Run, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("p2pchat.cli._drop_output", lambda: None)
    monkeypatch.setattr("p2pchat.cli.send._send", interrupted)
    ran = run("send", "bob", "hi", "--id", ID)
    assert ran.code == 130
    assert ID in ran.err


def test_bug_is_one_line_with_the_logs_and_a_traceback_only_on_demand(
    run: Run, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object) -> None:
        raise ZeroDivisionError("\x1bboo")

    monkeypatch.setattr(session_module.Session, "engine", broken)
    ran = run("peers")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "ZeroDivisionError: ␛boo" in ran.err
    assert "logs" in ran.err
    monkeypatch.setenv("P2PCHAT_DEBUG", "1")
    assert "Traceback" in run("peers").err


def test_setting_that_is_wrong_ends_with_2_when_read(run: Run, home: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text("max_retries = 'x'\n")
    for line in (("config",), ("config", "check"), ("daemon",)):
        ran = run(*line)
        assert ran.code == 2
        assert "config.toml:1: max_retries" in ran.err


def test_screen_needs_a_terminal(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert "terminal" in ran.err


def test_home_option_wins_over_the_variable_in_both_places(run: Run, engine: ScriptedEngine, tmp_path: Path) -> None:
    other = ScriptedEngine(tmp_path / "o" / "run" / "engine.sock")
    try:
        other.answers["peers.list"] = [peer(name="otto")]
        home = str(tmp_path / "o")
        assert run("--home", home, "peers", "--json").objects[0]["name"] == "otto"
        assert run("peers", "--json", "--home", home).objects[0]["name"] == "otto"
        assert engine.asked == []
    finally:
        other.close()
