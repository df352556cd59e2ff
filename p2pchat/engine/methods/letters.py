"""Dead letters: list, retry, purge."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from p2pchat.api import types as t
from p2pchat.core.effects import Changed, Result
from p2pchat.core.inputs import PurgeLetters, RetryLetters
from p2pchat.core.records import LetterRecord
from p2pchat.engine import present
from p2pchat.engine.fitting import fit_bodies
from p2pchat.engine.services import Call, checked, message_id_of
from p2pchat.errors import ApiError
from p2pchat.model import MessageId
from p2pchat.store.interface import Reader

MakeCommand = Callable[[int, tuple[MessageId, ...]], RetryLetters | PurgeLetters]


def list_all(call: Call, params: t.LettersParams) -> None:
    """Dead letters, the oldest first."""
    query = _which(call, params)
    names = call.services.names()

    def look(reader: Reader) -> msgspec.Raw:
        return fit_bodies([present.letter(found, names.get(found.peer, found.peer[:8])) for found in query(reader)])

    call.read(look, call.answer)


def retry(call: Call, params: t.LettersParams) -> None:
    """Put dead letters back in their lines."""
    _change(call, params, RetryLetters)


def purge(call: Call, params: t.LettersParams) -> None:
    """Remove dead letters for good."""
    _change(call, params, PurgeLetters)


def _change(call: Call, params: t.LettersParams, make: MakeCommand) -> None:
    def done(result: Result) -> None:
        call.answer(t.Changed(message_ids=present.hexes(checked(result, Changed).message_ids)))

    def then(found: list[LetterRecord]) -> None:
        ids = tuple(letter.message_id for letter in found)
        call.services.runtime.ask(lambda ticket: make(ticket, ids), lambda result: call.guard(lambda: done(result)))

    call.read(_which(call, params), then)


def _which(call: Call, params: t.LettersParams) -> Callable[[Reader], list[LetterRecord]]:
    """Return a query for the letters that are meant."""
    if params.message_ids is not None and params.peer is not None:
        raise ApiError(t.ErrorCode.BAD_REQUEST, "name dead letters by message_ids or by peer, not by both")
    if params.message_ids is not None:
        ids = [message_id_of(text) for text in params.message_ids]
        return lambda reader: [_one(reader, message_id) for message_id in dict.fromkeys(ids)]
    peer = None if params.peer is None else call.services.whom(params.peer)
    return lambda reader: reader.letters(peer)


def _one(reader: Reader, message_id: MessageId) -> LetterRecord:
    found = reader.letter(message_id)
    if found is None:
        raise ApiError(t.ErrorCode.NO_SUCH_MESSAGE, f"{message_id.hex()} is no dead letter; nothing was changed")
    return found
