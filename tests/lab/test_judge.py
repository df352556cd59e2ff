"""The checkers judge: each lets a faultless history pass and finds the fault that it is there for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.lab import judge

Row = dict[str, Any]
IDS = ["a1", "a2", "a3"]


def rows(direction: str, ids: list[str], state: str = "delivered") -> list[Row]:
    return [{"message_id": one, "direction": direction, "state": state, "body": f"text {one}"} for one in ids]


def told(*names: str) -> list[Row]:
    return [{"event_id": number, "event": name, "message_id": "a1"} for number, name in enumerate(names)]


def test_judge_is_content_when_nothing_is_wrong() -> None:
    out, received = rows("out", IDS, "read"), rows("in", IDS, "read")
    judge.conversation(IDS, IDS, out, received)
    judge.converged(out, received)
    judge.ticks_monotone(told("message:queued", "message:sent", "message:delivered", "message:read"))
    judge.harmless("plain ␛[31m text\nand one more line, é 🎉")


def test_judge_accepts_an_unpromised_message_when_it_arrives_or_not() -> None:
    for got in (IDS[:2], IDS):
        judge.total_queue(IDS[:2], IDS, rows("in", got))


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        pytest.param(lambda: judge.total_queue(IDS, IDS, rows("in", IDS[:2])), "lost", id="lost"),
        pytest.param(lambda: judge.total_queue(IDS, IDS, rows("in", [*IDS, "a1"])), "more than once", id="duplicated"),
        pytest.param(lambda: judge.total_queue(IDS, IDS, rows("in", [*IDS, "zz"])), "never asked", id="invented"),
        pytest.param(lambda: judge.unique_ids(rows("out", ["a1", "a1"])), "twice", id="id twice"),
        pytest.param(lambda: judge.author_order(IDS, rows("in", ["a2", "a1"])), "behind", id="order"),
        pytest.param(lambda: judge.author_order(IDS, rows("out", ["a3", "a2"]), "out"), "behind", id="own order"),
        pytest.param(
            lambda: judge.ticks_monotone(told("message:delivered", "message:sent")), "went back", id="tick back"
        ),
        pytest.param(
            lambda: judge.ticks_monotone(told("message:delivered", "message:delivered")), "twice", id="tick twice"
        ),
        pytest.param(lambda: judge.ticks_true(rows("out", IDS), rows("in", IDS[1:])), "not there", id="false tick"),
        pytest.param(
            lambda: judge.ticks_true(rows("out", IDS, "read"), rows("in", IDS)), "not read", id="false read tick"
        ),
        pytest.param(lambda: judge.converged(rows("out", IDS), rows("in", IDS[1:])), "one side", id="diverged"),
        pytest.param(lambda: judge.converged(rows("out", IDS, "sent"), rows("in", IDS)), "not deliv", id="undelivered"),
        pytest.param(lambda: judge.harmless("\x1b[31m"), "U\\+001B", id="escape"),
        pytest.param(lambda: judge.harmless("a\u202eb"), "U\\+202E", id="bidi"),
        pytest.param(lambda: judge.harmless("a\x9bb"), "U\\+009B", id="C1"),
        pytest.param(lambda: judge.harmless("a\nb", newlines=False), "U\\+000A", id="newline in one line"),
    ],
)
def test_judge_finds_the_fault_when_there_is_one(fault: Callable[[], None], word: str) -> None:
    with pytest.raises(judge.Verdict, match=word):
        fault()


def test_judge_allows_a_new_round_when_a_letter_was_retried() -> None:
    judge.ticks_monotone(
        told(
            "message:queued", "message:sent", "message:moved-to-dlq", "message:retried", "message:sent", "message:read"
        )
    )
