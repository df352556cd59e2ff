"""``peers`` and ``peer …``: who is there, and what we think of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from p2pchat.api import types as t
from p2pchat.api.blocking import Engine
from p2pchat.cli.outcome import CommandFailed, ExitCode
from p2pchat.cli.output import clock, is_asking_possible, number, print_json, print_table, say, warn
from p2pchat.cli.session import Session, command, group, pass_session
from p2pchat.errors import ApiError
from p2pchat.model import clean_name

DIAL_TIMEOUT_S: Final = 90.0
"""How long ``peer add`` waits: the engine tries each address of an invite within its own deadlines."""


@command("peers")
@pass_session
def peers(session: Session) -> None:
    """Everyone known or seen.

    online: linked; away: announced without a link; offline: neither.
    """
    with session.engine() as engine:
        found = engine.call("peers.list", list[t.Peer])
    if session.json:
        for one in found:
            print_json(one)
        return
    titles = ("name", "presence", "trust", "pending", "dead", "rtt", "last seen", "address", "id", "")
    print_table(
        titles,
        map(_row, found),
        empty="nobody yet; `p2pchat id` shows an invite to give away",
        wrapped=("name", ""),
        expendable=("address", "rtt", "last seen", "dead", "pending", ""),
    )


def _row(peer: t.Peer) -> tuple[str, ...]:
    return (
        peer.name,
        peer.presence,
        peer.trust,
        str(peer.pending),
        str(peer.dead_letters),
        number(peer.rtt_ms, "ms"),
        clock(peer.last_seen_ms),
        peer.addresses[0] if peer.addresses else "",
        peer.device_id[:12],
        peer.detail,
    )


@group("peer")
def peer() -> None:
    """Add, accept, block, rename or forget somebody.

    PEER is a full device id, a name that you gave, the name of somebody accepted, the first 4 or more
    characters of an id, or a name that is only seen.
    """


@peer.command("add")
@click.argument("address", metavar="ADDRESS|INVITE")
@pass_session
def add(session: Session, address: str) -> None:
    """Dial HOST[:PORT], [V6]:PORT or an invite, and remember who answers."""
    with session.engine() as engine:
        found = engine.call("peer.add", t.Peer, t.PeerAddParams(address=address), DIAL_TIMEOUT_S)
    _report(session, found, f"{found.name} ({found.device_id}) is {found.trust}")


@peer.command("rename")
@click.argument("name_or_id", metavar="PEER")
@click.argument("name")
@pass_session
def rename(session: Session, name_or_id: str, name: str) -> None:
    """Call PEER by a NAME of yours; an empty one shows the peer's own again."""
    if name and not clean_name(name):
        raise click.BadParameter("the name has no visible character")
    with session.engine() as engine:
        found = engine.call("peer.rename", t.Peer, t.PeerRenameParams(peer=name_or_id, name=name))
    _report(session, found, f"now called {found.name}")


@peer.command("accept")
@click.argument("names", metavar="PEER…", nargs=-1, required=True)
@pass_session
def accept(session: Session, names: tuple[str, ...]) -> None:
    """Accept somebody who wrote: the conversation is no longer limited."""
    _each(session, names, lambda engine, name: _change(engine, "peer.accept", name), "accepted")


@peer.command("block")
@click.argument("names", metavar="PEER…", nargs=-1, required=True)
@pass_session
def block(session: Session, names: tuple[str, ...]) -> None:
    """Refuse everything from PEER; it hears that it is blocked."""
    _each(session, names, lambda engine, name: _change(engine, "peer.block", name), "blocked")


@peer.command("unblock")
@click.argument("names", metavar="PEER…", nargs=-1, required=True)
@pass_session
def unblock(session: Session, names: tuple[str, ...]) -> None:
    """Take a block back."""
    _each(session, names, lambda engine, name: _change(engine, "peer.unblock", name), "unblocked")


@peer.command("forget")
@click.argument("names", metavar="PEER…", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def forget(session: Session, names: tuple[str, ...], yes: bool) -> None:
    """Remove PEER with its history, letters and waiting messages. A terminal is asked first."""
    if not yes and is_asking_possible():
        click.confirm("The history goes too. Forget?", abort=True, err=True)
    _each(session, names, _forget, "forgotten")


def _change(engine: Engine, method: str, name: str) -> t.Peer:
    return engine.call(method, t.Peer, t.PeerParams(peer=name))


def _forget(engine: Engine, name: str) -> t.Peer:
    found = engine.call("peer.show", t.Peer, t.PeerParams(peer=name))
    engine.call("peer.forget", t.Done, t.PeerParams(peer=found.device_id))
    return found


def _each(session: Session, names: tuple[str, ...], do: Callable[[Engine, str], t.Peer], done: str) -> None:
    """Do it to every peer, whatever becomes of the others; the first failure is the result."""
    failures: list[ApiError] = []
    with session.engine() as engine:
        for name in names:
            try:
                found = do(engine, name)
            except ApiError as error:
                if len(names) == 1 or error.code == t.ErrorCode.ENGINE_UNAVAILABLE:
                    raise
                warn(f"{name}: {error}")
                failures.append(error)
            else:
                _report(session, found, f"{found.name} ({found.device_id}) {done}")
    if failures:
        codes = (t.ErrorCode.NO_SUCH_PEER, t.ErrorCode.AMBIGUOUS_PEER)
        code = ExitCode.NO_SUCH_PEER if failures[0].code in codes else ExitCode.FAILED
        raise CommandFailed(f"{len(failures)} of {len(names)} not done", code)


def _report(session: Session, found: t.Peer, text: str) -> None:
    if session.json:
        print_json(found)
    else:
        say(text)
