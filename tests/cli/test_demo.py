"""The demo's parts: the bot, the lines, and that only a throw-away home is ever thrown away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from p2pchat.api.blocking import Connection
from p2pchat.api.types import Event
from p2pchat.cli.daemon import DEMO_PREFIX, remove_throw_away
from p2pchat.cli.demolines import WANTED, Story
from p2pchat.cli.outcome import CommandFailed
from p2pchat.cli.robin import Robin
from p2pchat.paths import Paths
from tests.api.scripted import BOB, ID, ScriptedEngine
from tests.cli.conftest import Run, is_harmless


def received(number: int, body: str) -> dict[str, Any]:
    fields = {"peer": BOB, "message_id": f"{number:032x}", "body": body}
    return {"event_id": number, "at_ms": 1, "event": "message:received", **fields}


def test_robin_reads_and_answers_every_message(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pchat.cli.robin.THINKING_S", 0.0)
    engine = ScriptedEngine(home / "run" / "engine.sock")
    engine.answers |= {
        "events.subscribe": {"first_id": 1, "last_id": 2},
        "read": {"peer": BOB, "message_ids": []},
        "message.send": {"message_id": ID, "state": "pending"},
    }
    other = {"event_id": 3, "at_ms": 1, "event": "message:delivered", "peer": BOB, "message_id": ID}
    engine.events = [received(1, "one {x} [b]"), other, received(2, "two")]
    sent = len(engine.params("message.send"))
    robin = Robin(lambda: Connection.open(engine.path))
    robin.start()
    try:
        while sent < 2:
            robin.join(0.01)
            sent = len(engine.params("message.send"))
    finally:
        robin.stop()
        engine.close()
        robin.join(5)
    answers = engine.params("message.send")
    assert [one["peer"] for one in answers] == [BOB, BOB]
    assert "one {x} [b]" in answers[0]["body"]
    assert "two" in answers[1]["body"]
    assert answers[0]["message_id"] != answers[1]["message_id"]
    assert [one["up_to"] for one in engine.params("read")] == [f"{1:032x}", f"{2:032x}"]


def test_story_tells_every_wanted_event_and_knows_what_is_missing() -> None:
    story = Story({BOB: "robin"})
    assert story.missing() == list(WANTED.values())
    for name in WANTED:
        fields = {
            "peer": BOB,
            "message_id": ID,
            "body": "hi\x1b[1m",
            "rtt_ms": 1.234,
            "latency_ms": 2,
            "reason": "blocked",
        }
        line = story.tell(Event(event_id=1, at_ms=0, event=name, fields=fields))
        assert line is not None
        assert is_harmless(line)
        assert "robin" in line or "hi" in line
    assert story.missing() == []
    assert story.tell(Event(event_id=1, at_ms=0, event="flush", fields={})) is None
    ours = {"peer": BOB, "message_id": ID, "direction": "in"}
    assert story.tell(Event(event_id=1, at_ms=0, event="message:read", fields=ours)) is None


def test_throw_away_removes_only_homes_that_the_demo_made(tmp_path: Path) -> None:
    precious = Paths.for_home(tmp_path / "home")
    precious.create()
    with pytest.raises(CommandFailed, match="throw-away"):
        remove_throw_away(precious)
    with pytest.raises(CommandFailed, match="throw-away"):
        remove_throw_away(Paths.for_home(None))
    assert precious.data.exists()
    base = tmp_path / (DEMO_PREFIX + "x")
    one, two = Paths.for_home(base / "one"), Paths.for_home(base / "two")
    one.create()
    two.create()
    remove_throw_away(one)
    assert base.exists()
    remove_throw_away(two)
    assert not base.exists()


def test_daemon_refuses_to_throw_away_a_real_home(run: Run, home: Path) -> None:
    ran = run("daemon", "--throw-away")
    assert ran.code == 2
    assert "--throw-away" in ran.err


def test_demo_needs_a_terminal_for_its_screen(run: Run) -> None:
    assert run("demo").code == 2
