"""Text that wants to do harm appears as harmless text, wherever the command line or a log shows it."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.lab import judge
from tests.lab.conftest import Build
from tests.lab.host import Host
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(90)]

NAME: Final = "\x1b[31mmal\u202elory[/bold]\n\x9b2J🦹 [red]x[/red]"
BODIES: Final = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "[bold]markup[/bold] [link=file:///etc/passwd]x[/link] [/] \\[",
    "first line\nsecond line\r\nthird\rover\x08\x08",
    "bidi \u202egnp.exe\u202c \u2066isolate\u2069 \u200fmark",
    "C1 \x9b31m \x85 next line \u2028 separator \x7f delete",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈 ❤️ combining e\u0301\u0323 wide 漢字 rtl שלום",
)


def plain_outputs(host: Host, other: Host) -> dict[str, str]:
    """Everything that the command line prints for people about this conversation."""
    ids = [row["message_id"] for row in host.history(other)]
    commands = [
        ("history", other.device_id),
        ("peers",),
        ("outbox",),
        ("dlq", "list"),
        ("events",),
        ("id", "--no-qr"),
        ("stats",),
        ("logs", "engine", "-n", "1000"),
        ("logs", "heartbeat", "-n", "1000"),
        ("logs", "latency", "-n", "1000"),
        *(("show", message_id) for message_id in ids[:2]),
    ]
    return {" ".join(words): (answer := host.cli(*words).done()).out + answer.err for words in commands}


def test_hostile_text_is_harmless_when_it_is_shown_or_logged(build: Build) -> None:
    """Names and bodies with escapes, markup, newlines, bidi overrides and emoji: no raw control character comes out of
    `history`, `peers`, `outbox`, `dlq`, `events`, `show` and `logs`, in plain text or JSON, nor stands in a log file;
    and the bodies themselves arrive unharmed.
    """
    lab = build.lab()
    ada = build.host(lab, "ada", settings={"max_retries": 1, "auto_retry_on_reconnect": False}).start()
    mallory = build.host(lab, "mallory", shown=NAME).start()
    for one, other in ((ada, mallory), (mallory, ada)):
        one.wait_linked(other)
        for body in BODIES:
            # From stdin: an argument cannot hold every character that a terminal can be hurt with.
            one.cli("send", other.device_id, "-", "--wait", "delivered", stdin=body).done()
    assert [row["body"] for row in ada.history(mallory) if row["direction"] == "in"] == list(BODIES)
    assert [row["body"] for row in mallory.history(ada) if row["direction"] == "in"] == list(BODIES)

    mallory.plug.reject()
    for body in BODIES:
        ada.cli("send", mallory.device_id, "-", stdin=body).done()
    wait_until("there is a dead letter", ada.letters, 40)
    for host, other in ((ada, mallory), (mallory, ada)):
        for command, text in plain_outputs(host, other).items():
            try:
                judge.harmless(text)
            except judge.Verdict as verdict:
                pytest.fail(f"{host.name}: p2pchat {command}: {verdict}\n{text!r}")
        for words in (("peers",), ("history", other.device_id), ("outbox",), ("dlq", "list"), ("events",)):
            answer = host.cli(*words, "--json").done()
            judge.harmless(answer.out)
            assert all(json.loads(line) for line in answer.out.splitlines())
        for path in (*host.paths.logs.glob("*.log*"), host.output, host.errors):
            judge.harmless(path.read_text("utf-8"))
    name = ada.peer(mallory)["name"]
    judge.harmless(name, newlines=False)
    assert "mal" in name


def test_errors_are_one_harmless_line_when_arguments_are_hostile(build: Build) -> None:
    """A name, address or id that wants to do harm is refused with the right exit code and one harmless line."""
    ada = build.host(build.lab(), "ada").start()
    for code, words in (
        (5, ("send", "\x1b[31mnobody\n\x9b", "text")),
        (5, ("history", "[red]nobody[/red]\u202e")),
        (2, ("show", "\x1b[2J")),
        (2, ("send", "x", "text", "--id", "\x1b[2J")),
        (2, ("--\x1b[31mno-such-option",)),
        (2, ("no-such-command\x1b[31m",)),
        (2, ("peer", "add", "\x1b[31m:\n:")),
    ):
        answer = ada.cli(*words)
        assert answer.code == code, answer
        judge.harmless(answer.out + answer.err)
        assert len(answer.err.splitlines()) == 1, answer
        assert "Traceback" not in answer.err
