"""The demo as lines: what each event means, and whether everything worth seeing was seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from p2pchat.api.types import Event
from p2pchat.model import clean

WANTED: Final = {
    "message:queued": "a message on disk",
    "message:sent": "a message on the wire",
    "message:delivered": "a message on robin's disk",
    "message:read": "a message that robin read",
    "message:received": "an answer",
    "message:moved-to-dlq": "a dead letter",
    "heartbeat:received": "a heartbeat",
}


class Story:
    """Tells events; remembers texts to name messages by, and what was seen.

    Args:
        names: device id → what to call it.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._texts: dict[str, str] = {}
        self._seen: set[str] = set()

    def missing(self) -> list[str]:
        """What was not seen yet, in words."""
        return [words for event, words in WANTED.items() if event not in self._seen]

    def tell(self, event: Event) -> str | None:
        """One line for an event, or None when it says nothing to a newcomer."""
        fields = event.fields
        who = self._names.get(str(fields.get("peer")), "somebody")
        text = self._text(event)
        match event.event:
            case "message:queued":
                line = f"you → {who}: {text}  ◷ on disk"
            case "message:sent":
                line = f"       ✓ sent: {text}"
            case "message:delivered":
                line = f"       ✓✓ delivered after {fields.get('latency_ms')} ms: {text}"
            case "message:read":
                if fields.get("direction") == "in":
                    return None
                line = f"       ✔✔ read by {who}: {text}"
            case "message:received":
                line = f"{who} → you: {text}"
            case "message:moved-to-dlq":
                line = f"       ✗ dead letter ({fields.get('reason')}): {text}"
            case "heartbeat:received":
                line = f"       ♥ {who} answered a heartbeat in {_figure(fields.get('rtt_ms'))} ms"
            case "device:status-changed":
                line = f"       {who} is {fields.get('presence')}"
            case _:
                return None
        self._seen.add(event.event)
        return clean(f"{time.strftime('%H:%M:%S', time.localtime(event.at_ms / 1000))} {line}")

    def _text(self, event: Event) -> str:
        message_id = str(event.fields.get("message_id"))
        if body := event.fields.get("body"):
            self._texts[message_id] = clean(str(body), 70)
        return self._texts.get(message_id, message_id[:12])


def _figure(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "?"
