"""The whole program in a real terminal, driven by keys: talking, ticks, dead letters."""

from __future__ import annotations

import time
from typing import Final

import pytest

from tests.lab import judge
from tests.lab.conftest import Build
from tests.lab.terminal import Terminal
from tests.lab.waiting import wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

PENDING, SENT, DELIVERED, READ, FAILED = "◷", "✓", "✓✓", "✔✔", "✗"
QUITS_WITHIN_S: Final = 5.0


def tick_of(screen: str, text: str) -> str:
    """The line of the screen that holds a text, for its tick."""
    return next((line for line in screen.splitlines() if text in line), "")


def test_screen_shows_a_person_and_every_tick_when_two_talk(build: Build) -> None:
    """A person appears when their engine starts; a typed line is delivered and read, and an answer appears at once; a
    line to somebody who went away waits, visibly.
    """
    lab = build.lab()
    ada, bob = build.host(lab, "ada").start(), build.host(lab, "bob")
    began_s = time.monotonic()
    terminal = Terminal(ada)
    terminal.wait("ada")
    build.figure(f"the chat screen was up {time.monotonic() - began_s:.2f} s after tmux was started")
    bob.start()
    terminal.wait("bob")
    ada.wait_linked(bob)
    terminal.type("hello bob")
    terminal.keys("Enter")
    wait_until("bob has it", lambda: [row["body"] for row in bob.history(ada)] == ["hello bob"], 5)
    wait_until("its tick says delivered", lambda: DELIVERED in tick_of(terminal.screen(), "hello bob"), 5)
    bob.send(ada, "hello ada", "--wait", "delivered").done()
    terminal.wait("hello ada")
    bob.cli("read", ada.device_id).done()
    wait_until("its tick says read", lambda: READ in tick_of(terminal.screen(), "hello bob"), 5)
    message_id = bob.history(ada)[-1]["message_id"]
    wait_until("what is on the screen is read", lambda: bob.state_of(message_id) == "read", 5, poll_s=0.1)

    terminal.paste("first pasted line\nsecond pasted line")
    terminal.wait("second pasted line")
    assert len(bob.history(ada)) == 2, "a paste sends nothing by itself"
    terminal.keys("Enter")
    wait_until("the paste is one message", lambda: bob.history(ada)[-1]["body"].count("\n") == 1, 5)

    bob.stop()
    terminal.type("are you there?")
    terminal.keys("Enter")
    wait_until("its tick says pending", lambda: PENDING in tick_of(terminal.screen(), "are you there?"), 10)
    bob.start()
    wait_until("its tick says delivered", lambda: DELIVERED in tick_of(terminal.screen(), "are you there?"), 20)
    terminal.keys("C-q")
    assert terminal.exit_code() == 0
    assert ada.running


def test_letters_are_retried_and_purged_when_the_keys_say_so(build: Build) -> None:
    """On the dead letter screen r retries, p purges after a question, R retries all."""
    settings = {"max_retries": 1, "auto_retry_on_reconnect": False}
    ada, bob = build.linked("ada", "bob", settings=settings)
    bob.plug.reject()
    ids = {}
    for text in ("letter one", "letter two", "letter three"):
        ids[text] = ada.send(bob, text).done().row()["message_id"]
        wait_until("it is a dead letter", lambda: not ada.outbox(), 40, poll_s=0.2)
    assert len(ada.letters()) == 3
    bob.plug.mend()
    ada.wait_linked(bob, timeout_s=70)

    terminal = Terminal(ada)
    terminal.wait("ada")
    terminal.keys("F4")
    terminal.wait("Dead letters", *ids)
    chosen = _under_the_cursor(terminal, ids)
    terminal.keys("p")
    terminal.wait("Remove for good?")
    terminal.keys("n")
    terminal.wait_gone("Remove for good?")
    assert len(ada.letters()) == 3
    terminal.keys("p")
    terminal.wait("Remove for good?")
    terminal.keys("y")
    wait_until("it is purged", lambda: len(ada.letters()) == 2, 10)
    assert ids[chosen] not in {row["message_id"] for row in ada.letters()}
    assert ada.state_of(ids[chosen]) == "failed"

    terminal.wait_gone("Remove for good?")
    terminal.keys("r")
    wait_until("one was retried and delivered", lambda: len(bob.history(ada)) == 1, 10)
    terminal.keys("R")
    wait_until("all were retried and delivered", lambda: len(bob.history(ada)) == 2, 10)
    terminal.wait("No dead letters")
    assert ids[chosen] not in {row["message_id"] for row in bob.history(ada)}
    terminal.keys("Escape")
    terminal.keys("C-q")
    assert terminal.exit_code() == 0


def _under_the_cursor(terminal: Terminal, ids: dict[str, str]) -> str:
    """The letter whose text stands in the detail below the table, so twice on the screen."""

    def look() -> str:
        screen = terminal.screen()
        return next((text for text in ids if screen.count(text) == 2), "")

    return wait_until("one letter is shown in detail", look, 5)


def test_screen_stays_harmless_when_names_and_texts_are_hostile(build: Build) -> None:
    """A hostile name and hostile texts are shown as text: no colour, title or cursor of the terminal obeys them."""
    lab = build.lab()
    ada = build.host(lab, "ada").start()
    mallory = build.host(lab, "mallory", shown="\x1b[31mmal\u202elory[/bold]\n\x9b2J").start()
    mallory.wait_linked(ada)
    terminal = Terminal(ada)
    body = "[bold]markup[/bold] \x1b]0;owned\x07\x1b[2J \u202etxt.exe \x9b31m\nnext line 👩‍👩‍👧 漢字 end"
    mallory.cli("send", ada.device_id, "-", "--wait", "delivered", stdin=body).done()
    terminal.wait("mal", "[bold]markup[/bold]")
    screen = terminal.wait("ada")
    judge.harmless(screen)
    assert "owned" not in terminal.title()
    terminal.keys("C-q")
    assert terminal.exit_code() == 0
