"""Messages: send, wait, take back, show, history, read, outbox."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from p2pchat.api import types as t
from p2pchat.core.effects import Changed, MessageState, Result
from p2pchat.core.inputs import CancelMessage, MarkRead, SendText
from p2pchat.engine import present
from p2pchat.engine.fitting import fit_bodies, fit_history
from p2pchat.engine.services import Call, checked, message_id_of
from p2pchat.errors import ApiError
from p2pchat.model import RANK, MessageId, State
from p2pchat.store.interface import Reader
from p2pchat.store.rows import MessageDetailRow

MAX_HISTORY: Final = 5_000
"""Most messages of one answer; a client that wants more asks again, before or after the last one it got."""

MAX_WAIT_S: Final = 30 * 86400.0


def send(call: Call, params: t.SendParams) -> None:
    """Store a message and answer once it is on disk."""
    message_id = message_id_of(params.message_id)
    if not params.body:
        raise ApiError(t.ErrorCode.BAD_REQUEST, "there is no text to send")
    try:
        params.body.encode()
    except UnicodeEncodeError:
        raise ApiError(t.ErrorCode.BAD_REQUEST, "the text is not Unicode: it has half a surrogate pair") from None
    peer = call.services.whom(params.peer)

    def done(result: Result) -> None:
        stored = checked(result, MessageState)
        call.answer(t.MessageRef(message_id=message_id.hex(), state=stored.state.value))

    call.services.runtime.ask(
        lambda ticket: SendText(ticket, peer, message_id, params.body),
        lambda result: call.guard(lambda: done(result)),
    )


def wait(call: Call, params: t.WaitParams) -> None:
    """Answer once a message has reached a state, or can no longer, or the time is over."""
    message_id = message_id_of(params.message_id)
    try:
        wanted = State(params.state)
    except ValueError:
        wanted = State.FAILED
    if wanted not in RANK or not 0 <= params.timeout_s < math.inf:
        text = "state must be pending, sent, delivered or read, and timeout_s a number of seconds from 0"
        raise ApiError(t.ErrorCode.BAD_REQUEST, text)
    key = f"wait-{id(call)}"

    def done(state: State) -> None:
        call.connection.on_close.pop(key, None)
        call.answer(t.MessageRef(message_id=message_id.hex(), state=state.value))

    def stored(found: MessageDetailRow | None) -> None:
        if found is not None:
            waiting.see_stored(found.message.state)
            return
        call.connection.on_close.pop(key, None)
        if waiting.drop():
            raise _no_such(message_id)

    waiting = call.services.waits.add(message_id, wanted, done)
    call.connection.on_close[key] = waiting.drop
    waiting.begin(min(params.timeout_s, MAX_WAIT_S))
    call.read(lambda reader: reader.message(message_id), stored)


def cancel(call: Call, params: t.MessageParams) -> None:
    """Take a message back that is not delivered."""
    message_id = message_id_of(params.message_id)

    def done(result: Result) -> None:
        error: ApiError | None = None
        try:
            checked(result, MessageState)
        except ApiError as refused:
            error = refused
        call.read(lambda reader: reader.message(message_id), lambda found: answer(found, error))

    def answer(found: MessageDetailRow | None, error: ApiError | None) -> None:
        if found is None:
            raise _no_such(message_id)
        if error is not None:
            raise error
        _answer_with(call, found)

    call.services.runtime.ask(
        lambda ticket: CancelMessage(ticket, message_id), lambda result: call.guard(lambda: done(result))
    )


def show(call: Call, params: t.MessageParams) -> None:
    """One message and its way."""
    message_id = message_id_of(params.message_id)

    def then(found: MessageDetailRow | None) -> None:
        if found is None:
            raise _no_such(message_id)
        _answer_with(call, found)

    call.read(lambda reader: reader.message(message_id), then)


def _answer_with(call: Call, found: MessageDetailRow) -> None:
    services = call.services
    peer = found.message.peer
    waiting = None
    if found.waiting is not None:
        views = services.runtime.node.waiting(services.runtime.now(), peer)
        waiting = next((view for view in views if view.message_id == found.message.message_id), None)
    about = services.about
    call.answer(present.detail(found, waiting, about.device_id, about.name, services.name_of(peer)))


def _no_such(message_id: MessageId) -> ApiError:
    return ApiError(t.ErrorCode.NO_SUCH_MESSAGE, f"there is no message {message_id.hex()}")


def history(call: Call, params: t.HistoryParams) -> None:
    """A page of a conversation."""
    if params.limit < 1:
        raise ApiError(t.ErrorCode.BAD_REQUEST, "limit must be 1 or more")
    peer = call.services.whom(params.peer)
    before = None if params.before is None else message_id_of(params.before)
    after = None if params.after is None else message_id_of(params.after)
    about, name = call.services.about, call.services.name_of(peer)

    def look(reader: Reader) -> msgspec.Raw:
        rows = reader.history(peer, min(params.limit, MAX_HISTORY), before=before, after=after)
        page = [present.message(row, about.device_id, about.name, name) for row in rows]
        return fit_history(page, keep_oldest=after is not None and before is None)

    call.read(look, call.answer)


def read(call: Call, params: t.ReadParams) -> None:
    """Mark as read."""
    peer = call.services.whom(params.peer)
    up_to = None if params.up_to is None else message_id_of(params.up_to)

    def done(result: Result) -> None:
        changed = checked(result, Changed)
        call.answer(t.ReadMark(peer=peer, message_ids=present.hexes(changed.message_ids)))

    def begin() -> None:
        call.services.runtime.ask(
            lambda ticket: MarkRead(ticket, peer, up_to), lambda result: call.guard(lambda: done(result))
        )

    if up_to is None:
        begin()
    else:
        # Raises if there is no such message in the conversation.
        call.read(lambda reader: reader.history(peer, 1, before=up_to), lambda _: begin())


def outbox(call: Call, params: t.OutboxParams) -> None:
    """What is not delivered, and why."""
    services = call.services
    peer = None if params.peer is None else services.whom(params.peer)
    names = services.names()
    views = services.runtime.node.waiting(services.runtime.now(), peer)

    def look(_: Reader) -> msgspec.Raw:
        return fit_bodies([present.outbox_entry(view, names.get(view.peer, view.peer[:8])) for view in views])

    call.read(look, call.answer)
