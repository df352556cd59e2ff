"""``config …``: what is set, where it came from, whether it is right. No engine is needed."""

from __future__ import annotations

import sys

import click

from p2pchat.cli.output import print_json, print_table, say
from p2pchat.cli.session import Session, group, pass_session


@group("config", invoke_without_command=True)
@click.pass_context
def config(context: click.Context) -> None:
    """Settings, and where each came from. Without a command: show them.

    Later wins: defaults, config.toml, the environment (P2PCHAT_ and the key in capitals), flags of `daemon`.
    """
    if context.invoked_subcommand is None:
        context.invoke(show)


@config.command("show")
@pass_session
def show(session: Session) -> None:
    """Every key with its value and source."""
    from p2pchat.config import load

    loaded = load(session.paths)
    rows = [(*row, loaded.origins[row[0]].where) for row in loaded.rows()]
    if session.json:
        for key, value, source, doc, where in rows:
            print_json({"key": key, "value": value, "source": source, "where": where, "doc": doc})
        return
    table = ((key, _text(value), where or source, doc) for key, value, source, doc, where in rows)
    print_table(("key", "value", "from", "meaning"), table, empty="no settings", wrapped=("from", "meaning"))


@config.command("path")
@pass_session
def path(session: Session) -> None:
    """Where config.toml is, or would be."""
    file = session.paths.config_file
    if session.json:
        print_json({"path": str(file), "exists": file.exists()})
    else:
        say(str(file))


@config.command("check")
@pass_session
def check(session: Session) -> None:
    """Read everything and say whether it is right; exit code 2 when not."""
    from p2pchat.config import load

    loaded = load(session.paths)
    file = session.paths.config_file
    if session.json:
        print_json({"ok": True, "path": str(file), "exists": file.exists()})
        return
    own = sum(origin.source != "default" for origin in loaded.origins.values())
    sys.stdout.write(f"all right: {own} set, the rest are defaults\n")


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)
