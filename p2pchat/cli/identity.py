"""``id`` and ``id reset``: who this device is.

A reset moves the key aside (never deletes it) while no engine runs; the engine makes a new one at its next
start.
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from p2pchat.api import types as t
from p2pchat.cli.outcome import CommandFailed
from p2pchat.cli.output import is_fancy, print_facts, print_json, say, warn
from p2pchat.cli.session import Session, group, pass_session


@group("id", invoke_without_command=True)
@click.option("--qr/--no-qr", default=None, help="Show the invite as a QR code; by default on a terminal.")
@click.pass_context
@pass_session
def identity(session: Session, context: click.Context, qr: bool | None) -> None:
    """Who am I: device id, name, addresses, and an invite to give away."""
    if context.invoked_subcommand is None:
        _show(session, qr)


@identity.command("reset")
@pass_session
def reset(session: Session) -> None:
    """Become a new device. Everybody who knows this one will see a stranger; the old key is kept beside."""
    paths = session.paths
    if (link := session.launcher(start=False).reach()) is not None:
        link.close()
        raise CommandFailed("the engine is running; end it first: p2pchat stop")
    if paths.is_held():
        raise CommandFailed("an engine holds this home; end it first: p2pchat stop")
    if not paths.identity.exists():
        raise CommandFailed(f"there is no key to reset: {paths.identity}")
    warn("a new identity cuts this device off from everybody who knows it")
    click.confirm("Make a new identity?", abort=True, err=True)
    click.confirm("Really? The old one comes back only by hand.", abort=True, err=True)
    backup = _move_aside(paths.identity)
    warn(f"the old key is kept as {backup}")
    _show(session, None)


def _move_aside(key: Path) -> Path:
    backup = key.with_name(f"{key.name}.{time.strftime('%Y%m%d-%H%M%S')}.old")
    if backup.exists():
        raise CommandFailed(f"{backup} is already there; wait a second")
    try:
        key.rename(backup)
    except OSError as error:
        raise CommandFailed(f"the key cannot be moved aside: {error}") from None
    return backup


def _show(session: Session, qr: bool | None) -> None:
    with session.engine() as engine:
        status = engine.call("status", t.Status)
    if session.json:
        print_json(
            {
                "device_id": status.device_id,
                "name": status.name,
                "invite": status.invite,
                "addresses": status.addresses,
                "host": status.host,
                "port": status.port,
            }
        )
        return
    print_facts(
        (
            ("name", status.name),
            ("device id", status.device_id),
            ("addresses", "\n".join(status.addresses) or f"none but {status.host}:{status.port}"),
            ("invite", status.invite),
        )
    )
    if qr or (qr is None and is_fancy()):
        _print_qr(status.invite)
    for note in status.notes:
        warn(note)


def _print_qr(invite: str) -> None:
    import sys

    import segno

    say()
    segno.make(invite, error="l", micro=False).terminal(out=sys.stdout, border=2, compact=True)
