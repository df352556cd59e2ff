"""Robin the echo: a small bot over the API, which reads what it gets and answers. The demo's second person."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from p2pchat.api import types as t
from p2pchat.api.blocking import Connection, Engine
from p2pchat.errors import P2PChatError
from p2pchat.model import clean, new_message_id

THINKING_S: Final = 0.6
"""Long enough to see the ticks change one by one."""

ANSWERS: Final = (
    "Loud and clear! I am an echo, so: {text}",
    "You said: {text}",
    "Four ticks: written here, on the wire, on my disk, read by me. And you said: {text}",
    "{text} … {text} … {text} …",
    "No server in between, just the two of us. {text}",
)


class Robin:
    """Answers every message of one home in a thread, until the engine goes away.

    Args:
        connect: makes a connection to robin's engine.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._answers = itertools.cycle(ANSWERS)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="p2pchat-demo-robin", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nothing any more; the thread ends with the next event or with the engine."""
        self._ended.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            with Engine(self._connect, patience_s=0.0) as ears, Engine(self._connect, patience_s=0.0) as mouth:
                for event in self._received(ears):
                    self._ended.wait(THINKING_S)
                    if self._ended.is_set():
                        return
                    self._answer(mouth, event)
        except P2PChatError:
            return  # the engine ended, and the demo with it

    def _received(self, ears: Engine) -> Iterator[t.Event]:
        for event in ears.events(0, follow=True):
            if self._ended.is_set():
                return
            if event.event == "message:received":
                yield event

    def _answer(self, mouth: Engine, event: t.Event) -> None:
        peer, text = str(event.fields["peer"]), clean(str(event.fields.get("body") or ""), 200)
        mouth.call("read", t.ReadMark, t.ReadParams(peer=peer, up_to=str(event.fields["message_id"])))
        self._ended.wait(THINKING_S)
        send(mouth, peer, next(self._answers).format(text=text))


def send(engine: Engine, peer: str, body: str) -> str:
    """Send a text and return the id that it got."""
    message_id = new_message_id(time.time_ns() // 1_000_000, secrets.token_bytes(10)).hex()
    engine.call("message.send", t.MessageRef, t.SendParams(peer=peer, body=body, message_id=message_id))
    return message_id
