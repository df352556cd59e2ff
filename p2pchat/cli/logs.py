"""``logs``: the end of a log, read from its file; no engine is needed."""

from __future__ import annotations

import json
import sys

import click

from p2pchat.cli.output import is_fancy, warn
from p2pchat.cli.session import Session, command, pass_session
from p2pchat.logs import Log, follow, log_path, render, tail, to_json
from p2pchat.model import clean


@command("logs")
@click.argument("log", type=click.Choice([log.value for log in Log]), default=Log.ENGINE.value)
@click.option("-n", "count", type=click.IntRange(0, 1_000_000), default=20, show_default=True, help="Lines to show.")
@click.option("-f", "--follow", "go_on", is_flag=True, help="Go on with new lines.")
@pass_session
def logs(session: Session, log: str, count: int, go_on: bool) -> None:
    """Show the last lines of the heartbeat, latency or engine log (default: engine)."""
    kind = Log(log)
    path = log_path(session.paths.logs, kind)
    if not path.exists():
        warn(f"{path} does not exist yet")
    lines = follow(path, count) if go_on else iter(tail(path, count))
    for line in lines:
        sys.stdout.write((_as_json(line) if session.json else render(kind, line)) + "\n")
        if go_on or is_fancy():
            sys.stdout.flush()


def _as_json(line: str) -> str:
    """The line as it is when it is JSON (escaped anew: anybody may have written into the file)."""
    try:
        return to_json(json.loads(line))
    except ValueError:
        return to_json({"unreadable": clean(line, 1000)})
