"""``history``, ``read``, ``cancel``, ``show``, ``outbox``: what was said and where it is."""

from __future__ import annotations

from typing import Final, overload

import click

from p2pchat.api import types as t
from p2pchat.api.blocking import Engine
from p2pchat.cli.output import clock, print_facts, print_json, print_table, say
from p2pchat.cli.session import Session, command, pass_session
from p2pchat.model import Direction, clean, clean_name, parse_message_id

MARKS: Final = {
    "pending": "◷",
    "sent": "✓",
    "delivered": "✓✓",
    "read": "✔✔",
    "failed": "✗ failed",
    "cancelled": "– cancelled",
}
MAX_LIMIT: Final = 100_000
PAGE: Final = 200
"""Most messages that are asked for at once: a page has to fit into one answer line."""


@overload
def message_ids(_: click.Context, parameter: click.Parameter, value: str) -> str: ...
@overload
def message_ids(_: click.Context, parameter: click.Parameter, value: None) -> None: ...
@overload
def message_ids(_: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]: ...


def message_ids(
    _: click.Context, parameter: click.Parameter, value: str | tuple[str, ...] | None
) -> str | tuple[str, ...] | None:
    """Check ids where they are given (a click callback); they are given on as 32 hexadecimal digits."""
    match value:
        case None:
            return None
        case str():
            return _message_id(value)
        case _:
            return tuple(map(_message_id, value))


def _message_id(text: str) -> str:
    try:
        return parse_message_id(text).hex()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@command("history")
@click.argument("peer")
@click.option("--limit", type=click.IntRange(0, MAX_LIMIT), default=50, show_default=True, help="The newest N.")
@click.option("--before", callback=message_ids, metavar="ID", help="Only what stands before this message.")
@click.option("--after", callback=message_ids, metavar="ID", help="Only what stands after it, the oldest N.")
@pass_session
def history(session: Session, peer: str, limit: int, before: str | None, after: str | None) -> None:
    """The conversation with PEER, oldest first. Never marks anything as read."""
    with session.engine() as engine:
        found = _pages(engine, t.HistoryParams(peer=peer, limit=limit, before=before, after=after))
    if session.json:
        for message in found:
            print_json(message)
        return
    for message in found:
        say(_line(message))
    if not found:
        say("nothing was said")


def _pages(engine: Engine, wanted: t.HistoryParams) -> list[t.Message]:
    """Ask page by page: backwards from the end, or forwards with ``after``."""
    found: list[t.Message] = []
    before, after = wanted.before, wanted.after
    while (left := wanted.limit - len(found)) > 0 or not wanted.limit:
        params = t.HistoryParams(peer=wanted.peer, limit=min(left, PAGE), before=before, after=after)
        page = engine.call("history", list[t.Message], params)
        if after is None:
            found[:0] = page
        else:
            found += page
        if not page or len(found) >= wanted.limit:
            break
        if after is None:
            before = page[0].message_id
        else:
            after = page[-1].message_id
    return found


def _line(message: t.Message) -> str:
    """One message: time, author, text with its further lines indented, tick."""
    outgoing = message.direction == Direction.OUT
    head = f"{clock(message.sent_at_ms)} {'me' if outgoing else clean_name(message.author_name)}: "
    body = clean(message.body, newlines=True).replace("\n", "\n" + " " * 4)
    tick = MARKS.get(message.state, message.state) if outgoing else "" if message.state == "read" else "•"
    return f"{head}{body}  {tick}".rstrip()


@command("read")
@click.argument("peer")
@click.option("--up-to", callback=message_ids, metavar="ID", help="Only up to this message, included.")
@pass_session
def read(session: Session, peer: str, up_to: str | None) -> None:
    """Mark what PEER wrote as read. Nothing else in the command line does."""
    with session.engine() as engine:
        mark = engine.call("read", t.ReadMark, t.ReadParams(peer=peer, up_to=up_to))
    if session.json:
        print_json(mark)
    else:
        say(f"{len(mark.message_ids)} newly read")


@command("cancel")
@click.argument("message_id", metavar="ID", callback=message_ids)
@pass_session
def cancel(session: Session, message_id: str) -> None:
    """Take back a message that is not delivered.

    What may have left this device already is asked back from the peer: it ends as cancelled or as delivered.
    """
    with session.engine() as engine:
        detail = engine.call("message.cancel", t.MessageDetail, t.MessageParams(message_id=message_id))
    if session.json:
        print_json(detail)
    elif detail.cancelling:
        say(f"{detail.message_id} may have left already: its peer is asked when it is back")
    else:
        say(f"{detail.message_id} is {detail.state}")


@command("show")
@click.argument("message_id", metavar="ID", callback=message_ids)
@pass_session
def show(session: Session, message_id: str) -> None:
    """One message and its timeline."""
    with session.engine() as engine:
        detail = engine.call("message.show", t.MessageDetail, t.MessageParams(message_id=message_id))
    if session.json:
        print_json(detail)
        return
    facts = [
        ("message", detail.message_id),
        ("direction", detail.direction),
        ("peer", detail.peer),
        ("author", f"{detail.author_name} ({detail.author})"),
        ("state", detail.state + (" (being taken back)" if detail.cancelling else "")),
        ("attempts", str(detail.attempts)),
        ("next attempt", clock(detail.next_attempt_at_ms)),
        ("last error", detail.last_error or ""),
        ("waiting for", detail.waiting_for or ""),
        *((one.state, _exact(one.at_ms)) for one in detail.states),
        ("body", detail.body),
    ]
    print_facts((name, value) for name, value in facts if value)


def _exact(at_ms: int) -> str:
    return f"{clock(at_ms)} ({at_ms})"


@command("outbox")
@click.argument("peer", required=False)
@pass_session
def outbox(session: Session, peer: str | None) -> None:
    """What has not been delivered yet, and why; of PEER, or of all."""
    with session.engine() as engine:
        found = engine.call("outbox", list[t.OutboxEntry], t.OutboxParams(peer=peer))
    if session.json:
        for entry in found:
            print_json(entry)
        return
    titles = ("message", "peer", "state", "attempts", "next attempt", "waiting for", "last error", "text")
    rows = (
        (
            entry.message_id,
            entry.peer_name,
            entry.state,
            str(entry.attempts),
            clock(entry.next_attempt_at_ms),
            entry.waiting_for,
            entry.last_error or "",
            clean(entry.body, 40),
        )
        for entry in found
    )
    print_table(
        titles,
        rows,
        empty="everything is delivered",
        wrapped=("waiting for", "last error", "text"),
        expendable=("last error", "attempts", "text", "next attempt"),
    )
