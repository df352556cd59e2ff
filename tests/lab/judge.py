"""The checkers: what a run promised against what is there afterwards. Pure; each raises :class:`Verdict`.

``asked`` is what a client asked for, in its order; ``promised`` the ids that it was told to be on disk. Rows are those
of ``p2pchat history --json``, oldest first; events those of ``p2pchat events --json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

Row = dict[str, Any]

RANK: Final = {"pending": 0, "sent": 1, "delivered": 2, "read": 3}
TICKS: Final = {
    "message:queued": "pending",
    "message:sent": "sent",
    "message:delivered": "delivered",
    "message:read": "read",
}
_SHOWN: Final = 5


class Verdict(AssertionError):
    """A promise was broken; the text says which and by what messages."""


def total_queue(promised: Collection[str], asked: Collection[str], received: Sequence[Row]) -> None:
    """Everything promised was received, once; nothing was received that nobody asked for."""
    times = Counter(row["message_id"] for row in received if row["direction"] == "in")
    _none("lost", [one for one in promised if not times[one]])
    _none("received more than once", [one for one, number in times.items() if number > 1])
    known = set(asked)
    _none("received, but never asked for", [one for one in times if one not in known])


def unique_ids(rows: Sequence[Row]) -> None:
    """No id stands twice in one history."""
    times = Counter(row["message_id"] for row in rows)
    _none("twice in one history", [one for one, number in times.items() if number > 1])


def author_order(asked: Sequence[str], rows: Sequence[Row], direction: str = "in") -> None:
    """What stands in the history stands in the order in which its author wrote it."""
    place = {one: number for number, one in enumerate(asked)}
    got = [row["message_id"] for row in rows if row["direction"] == direction and row["message_id"] in place]
    wrong = [
        f"{after} (number {place[after]}, behind number {place[before]})"
        for before, after in pairwise(got)
        if place[after] < place[before]
    ]
    _none(f"{direction}: behind a later one of the same author", wrong)


def ticks_monotone(events: Iterable[Row]) -> None:
    """No tick goes back and none is told twice; a retry begins a new round from pending."""
    reached: dict[str, int] = {}
    wrong: list[str] = []
    for event in events:
        message_id = event.get("message_id")
        if not isinstance(message_id, str) or event.get("direction") == "in":
            continue
        if event["event"] in ("message:retried", "message:moved-to-dlq"):
            reached.pop(message_id, None)
        elif event["event"] in TICKS:
            rank = RANK[TICKS[event["event"]]]
            if rank <= reached.get(message_id, -1):
                wrong.append(f"{message_id} {event['event']}")
            reached[message_id] = rank
    _none("ticks that went back or came twice", wrong)


def ticks_true(author: Sequence[Row], receiver: Sequence[Row]) -> None:
    """Delivered means that it is in the peer's history, read means that it is read there."""
    there = {row["message_id"]: row["state"] for row in receiver if row["direction"] == "in"}
    out = [row for row in author if row["direction"] == "out"]
    told = [row["message_id"] for row in out if RANK.get(row["state"], 0) >= RANK["delivered"]]
    _none("delivered by its tick, but not there", [one for one in told if one not in there])
    read = [row["message_id"] for row in out if row["state"] == "read"]
    _none("read by its tick, but not read there", [one for one in read if there.get(one) != "read"])


def converged(one: Sequence[Row], other: Sequence[Row]) -> None:
    """Both sides hold the same messages with the same text, and each out is delivered."""
    left = {row["message_id"]: row["body"] for row in one}
    right = {row["message_id"]: row["body"] for row in other}
    _none("on one side only", sorted(left.keys() ^ right.keys()))
    _none("with another text", [key for key in left.keys() & right.keys() if left[key] != right[key]])
    rows = [row for row in (*one, *other) if row["direction"] == "out"]
    late = [row["message_id"] for row in rows if RANK.get(row["state"], 0) < RANK["delivered"]]
    _none("not delivered in the end", late)


def conversation(asked: Sequence[str], promised: Collection[str], author: Sequence[Row], reader: Sequence[Row]) -> None:
    """Judge one direction of a conversation after it healed, by every checker that needs no events."""
    total_queue(promised, asked, [row for row in reader if row["direction"] == "in"])
    unique_ids(author)
    unique_ids(reader)
    author_order([row["message_id"] for row in author if row["direction"] == "out"], reader)
    author_order(asked, author, "out")
    author_order(asked, reader)
    ticks_true(author, reader)


def harmless(text: str, *, newlines: bool = True) -> None:
    """No character that drives a terminal or reorders text."""
    bad = {
        f"U+{ord(char):04X}"
        for char in text
        if (ord(char) < 0x20 and not (newlines and char == "\n"))
        or 0x7F <= ord(char) < 0xA0
        or char in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
    }
    _none("hostile characters", sorted(bad))


def _none(what: str, found: Sequence[str]) -> None:
    if found:
        raise Verdict(f"{len(found)} {what}: {', '.join(found[:_SHOWN])}{' …' if len(found) > _SHOWN else ''}")
