"""``dlq …``: messages that were given up, with the reason."""

from __future__ import annotations

from typing import Any

import click

from p2pchat.api import types as t
from p2pchat.cli.messages import message_ids as check_ids
from p2pchat.cli.outcome import CommandFailed
from p2pchat.cli.output import clock, is_asking_possible, print_facts, print_json, print_table, say
from p2pchat.cli.session import Session, group, pass_session
from p2pchat.model import clean


@group("dlq", invoke_without_command=True)
@click.pass_context
def dlq(context: click.Context) -> None:
    """Dead letters: messages that were given up. Without a command: list them all."""
    if context.invoked_subcommand is None:
        context.invoke(list_letters, message_ids=(), peer=None, every=False)


def _selection(command: Any) -> Any:
    """The arguments that say which letters."""
    command = click.option("--all", "every", is_flag=True, help="All of them.")(command)
    command = click.option("--peer", metavar="P", help="Those to this peer.")(command)
    return click.argument("message_ids", metavar="[ID…]", nargs=-1, callback=check_ids)(command)


@dlq.command("list")
@_selection
@pass_session
def list_letters(session: Session, message_ids: tuple[str, ...], peer: str | None, every: bool) -> None:
    """List dead letters; without a selection all."""
    found = _letters(session, _params(message_ids, peer, every, needed=False))
    if session.json:
        for letter in found:
            print_json(letter)
        return
    titles = ("message", "peer", "reason", "peer has it", "last error", "attempts", "moved", "text")
    rows = (
        (
            letter.message_id,
            letter.peer_name,
            letter.reason,
            letter.peer_has_it,
            letter.last_error,
            str(letter.attempts),
            clock(letter.moved_at_ms),
            clean(letter.body, 40),
        )
        for letter in found
    )
    print_table(
        titles,
        rows,
        empty="no dead letters",
        wrapped=("last error", "text"),
        expendable=("attempts", "moved", "last error", "peer has it"),
    )


@dlq.command("show")
@_selection
@pass_session
def show(session: Session, message_ids: tuple[str, ...], peer: str | None, every: bool) -> None:
    """Show dead letters with their whole text."""
    found = _letters(session, _params(message_ids, peer, every, needed=True))
    for letter in found:
        if session.json:
            print_json(letter)
            continue
        print_facts(
            (
                ("message", letter.message_id),
                ("peer", f"{letter.peer_name} ({letter.peer})"),
                ("reason", letter.reason),
                ("peer has it", letter.peer_has_it),
                ("last error", letter.last_error),
                ("attempts", str(letter.attempts)),
                ("written", clock(letter.sent_at_ms)),
                ("moved", clock(letter.moved_at_ms)),
                ("body", letter.body),
            )
        )
    missing = set(message_ids) - {letter.message_id for letter in found}
    if missing:
        raise CommandFailed("no dead letter: " + ", ".join(sorted(missing)))


@dlq.command("retry")
@_selection
@pass_session
def retry(session: Session, message_ids: tuple[str, ...], peer: str | None, every: bool) -> None:
    """Put dead letters at the end of their lines again, under the same ids."""
    _change(session, "dlq.retry", _params(message_ids, peer, every, needed=True), "waiting again")


@dlq.command("purge")
@_selection
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def purge(session: Session, message_ids: tuple[str, ...], peer: str | None, every: bool, yes: bool) -> None:
    """Remove dead letters for good; the messages stay in the history as failed. A terminal is asked first."""
    params = _params(message_ids, peer, every, needed=True)
    if not yes and is_asking_possible():
        click.confirm("They will never be sent. Purge?", abort=True, err=True)
    _change(session, "dlq.purge", params, "purged")


def _params(message_ids: tuple[str, ...], peer: str | None, every: bool, *, needed: bool) -> t.LettersParams:
    given = [bool(message_ids), peer is not None, every]
    if sum(given) > 1:
        raise click.UsageError("give either ids, or --peer, or --all")
    if needed and not any(given):
        raise click.UsageError("which? Give ids, --peer P or --all")
    return t.LettersParams(message_ids=list(message_ids) or None, peer=peer)


def _letters(session: Session, params: t.LettersParams) -> list[t.Letter]:
    with session.engine() as engine:
        return engine.call("dlq.list", list[t.Letter], params)


def _change(session: Session, method: str, params: t.LettersParams, done: str) -> None:
    with session.engine() as engine:
        changed = engine.call(method, t.Changed, params)
    if session.json:
        print_json(changed)
    else:
        say(f"{len(changed.message_ids)} {done}")
    missing = set(params.message_ids or ()) - set(changed.message_ids)
    if missing:
        raise CommandFailed("no dead letter: " + ", ".join(sorted(missing)))
