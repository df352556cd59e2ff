"""``send``: from the arguments to the state that was waited for.

The message id is drawn here, before anything is asked, so that every failure can name it and asking again
with ``--id`` is safe. One connection serves the sending and the waiting; a cut asks again with the same id.
"""

from __future__ import annotations

import secrets
import sys
import time
from typing import Final

import click

from p2pchat.api import types as t
from p2pchat.api.blocking import ANSWER_TIMEOUT_S, Engine
from p2pchat.cli.outcome import CommandFailed, ExitCode
from p2pchat.cli.output import print_json, say, warn
from p2pchat.cli.session import Session, command, pass_session
from p2pchat.errors import ApiError, EngineUnavailable
from p2pchat.model import MAX_BODY_BYTES, RANK, State, new_message_id, parse_message_id

MAX_TIMEOUT_S: Final = 30 * 86400.0


@command("send")
@click.argument("peer")
@click.argument("text", required=False, metavar="[TEXT|-]")
@click.option("--file", "files", multiple=True, hidden=True)
@click.option(
    "--wait",
    "wanted",
    type=click.Choice([state.value for state in RANK]),
    default=State.PENDING.value,
    show_default=True,
    help="Return once this is reached; pending: on this disk.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=float,
    callback=lambda _context, _parameter, value: _checked_timeout(value),
    default=30.0,
    show_default=True,
    metavar="S",
    help="Wait at most S seconds.",
)
@click.option(
    "--id",
    "given_id",
    metavar="MESSAGE_ID",
    help="Send again what may have been sent: same id, same message.",
)
@pass_session
def send(
    session: Session,
    peer: str,
    text: str | None,
    files: tuple[str, ...],
    wanted: str,
    timeout_s: float,
    given_id: str | None,
) -> None:
    """Send TEXT to PEER; with - the text comes from stdin, less one line end.

    Exit codes: 0 reached; 3 accepted and on disk but not reached in time; 4 dead-lettered; 5 no such peer;
    6 no engine.
    """
    if files:
        raise CommandFailed("files cannot be sent yet, only text; nothing was sent")
    message_id = _id(given_id)
    body = _body(text)
    with session.engine() as engine:
        try:
            state = _send(engine, peer, body, message_id, State(wanted), timeout_s)
        except EngineUnavailable as error:
            again = f"; whether {message_id} is stored is not known, ask again with --id {message_id}"
            if not engine.was_reached:
                again = f"; {message_id} was not sent"
            raise CommandFailed(f"{error}{again}", ExitCode.NO_ENGINE) from None
        except KeyboardInterrupt:
            warn(f"no longer waiting for {message_id}; if it was accepted it still goes out")
            raise
    if session.json:
        print_json({"message_id": message_id, "state": state.value})
    else:
        say(f"{state.value} {message_id}")
    _judge(engine, message_id, State(wanted), state, timeout_s)


def _send(engine: Engine, peer: str, body: str, message_id: str, wanted: State, timeout_s: float) -> State:
    give_up_s = time.monotonic() + timeout_s
    params = t.SendParams(peer=peer, body=body, message_id=message_id)
    state = State(engine.call("message.send", t.MessageRef, params).state)
    while not _is_over(state, wanted):
        left_s = max(0.0, give_up_s - time.monotonic())
        asked = t.WaitParams(message_id=message_id, state=wanted.value, timeout_s=left_s)
        state = State(engine.call("message.wait", t.MessageRef, asked, left_s + ANSWER_TIMEOUT_S).state)
        if time.monotonic() >= give_up_s:
            break
    return state


def _is_over(state: State, wanted: State) -> bool:
    return state not in RANK or RANK[state] >= RANK[wanted]


def _judge(engine: Engine, message_id: str, wanted: State, state: State, timeout_s: float) -> None:
    """Say on stderr why it is not what was wanted."""
    if state is State.FAILED:
        raise CommandFailed(f"{message_id} is a dead letter{_why(engine, message_id)}", ExitCode.DEAD_LETTERED)
    if state is State.CANCELLED:
        raise CommandFailed(f"{message_id} was cancelled")
    if RANK[state] < RANK[wanted]:
        late = f"not {wanted.value} within {timeout_s:g} s; it is on disk and goes on"
        text = f"{message_id} is {state.value}, {late}"
        raise CommandFailed(text + _why(engine, message_id), ExitCode.NOT_IN_TIME)


def _why(engine: Engine, message_id: str) -> str:
    try:
        detail = engine.call("message.show", t.MessageDetail, t.MessageParams(message_id=message_id))
    except ApiError:
        return ""  # the reason is a courtesy; the exit code stands without it
    finally:
        engine.close()
    known = [text for text in (detail.last_error, detail.waiting_for) if text]
    return ": " + "; ".join(known) if known else ""


def _checked_timeout(timeout_s: float) -> float:
    if not 0 <= timeout_s <= MAX_TIMEOUT_S:  # "nan" fails both
        raise click.BadParameter(f"a number of seconds from 0 to {MAX_TIMEOUT_S:.0f} is expected")
    return timeout_s


def _id(given: str | None) -> str:
    if given is None:
        return new_message_id(time.time_ns() // 1_000_000, secrets.token_bytes(10)).hex()
    try:
        return parse_message_id(given).hex()
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--id") from None


def _body(text: str | None) -> str:
    if text is None:
        raise click.UsageError("what should be sent? Give TEXT, or - for stdin")
    if text == "-":
        return _from_stdin()
    try:
        size_bytes = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise click.UsageError("the text is not UTF-8") from None
    return _checked(text, size_bytes)


def _from_stdin() -> str:
    # One byte more than a body and its line end may have shows that it is too long, however long it is.
    data = sys.stdin.buffer.read(MAX_BODY_BYTES + 3)
    data = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    if len(data) > MAX_BODY_BYTES:
        raise click.UsageError(_too_long())
    try:
        return _checked(data.decode("utf-8"), len(data))
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not UTF-8 (byte {error.start})") from None


def _checked(text: str, size_bytes: int) -> str:
    if size_bytes > MAX_BODY_BYTES:
        raise click.UsageError(_too_long())
    if not text:
        raise click.UsageError("there is no text to send")
    return text


def _too_long() -> str:
    return f"the text is longer than {MAX_BODY_BYTES // 1024} KiB of UTF-8; nothing was sent"
