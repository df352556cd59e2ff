"""``events``: what happens, one line each."""

from __future__ import annotations

import click

from p2pchat.api.types import Event
from p2pchat.cli.output import clock, print_json, say
from p2pchat.cli.session import Session, command, pass_session
from p2pchat.logs import to_json
from p2pchat.model import clean


@command("events")
@click.option("--since", type=click.IntRange(min=0), metavar="ID", help="Start behind this event.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens; without --since only that.")
@pass_session
def events(session: Session, since: int | None, follow: bool) -> None:
    """What happened, oldest first. A stored event has an id; live-only ones (heartbeats) have none.

    A --since that is no longer stored gives stream:reset first, then everything that is.
    """
    start = 0 if since is None and not follow else since
    with session.engine() as engine:
        for event in engine.events(start, follow=follow):
            if since is None and event.event == "stream:reset":
                continue  # everything was asked for, from wherever it begins
            if session.json:
                print_json(event.flat())
            else:
                say(_line(event))


def _line(event: Event) -> str:
    fields = (f"{name}={_shown(value)}" for name, value in event.fields.items() if value is not None)
    mark = "-" if event.event_id is None else str(event.event_id)
    return clean(f"{mark:>6} {clock(event.at_ms)} {event.event} {' '.join(fields)}".rstrip())


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else to_json(value)
