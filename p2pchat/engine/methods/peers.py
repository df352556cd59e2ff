"""``peers.list`` and what is done to one peer."""

from __future__ import annotations

from collections.abc import Callable

from p2pchat.api import types as t
from p2pchat.core.effects import PeerDone, Result
from p2pchat.core.inputs import AddPeer, ManagePeer, PeerAction
from p2pchat.engine import invite, present
from p2pchat.engine.services import Call, checked
from p2pchat.errors import ApiError
from p2pchat.model import DeviceId
from p2pchat.store.interface import Reader
from p2pchat.store.rows import MessageRow


def list_all(call: Call, _: t.Nothing) -> None:
    """Everyone known or seen."""

    def look(reader: Reader) -> tuple[dict[DeviceId, int], dict[DeviceId, MessageRow]]:
        return reader.unread_counts(), reader.last_messages()

    def then(found: tuple[dict[DeviceId, int], dict[DeviceId, MessageRow]]) -> None:
        unread, last = found
        runtime = call.services.runtime
        views = runtime.node.peers(runtime.now())
        call.answer([present.peer(view, unread.get(view.peer, 0), last.get(view.peer)) for view in views])

    call.read(look, then)


def show(call: Call, params: t.PeerParams) -> None:
    """One peer."""
    _answer_with(call, call.services.whom(params.peer))


def add(call: Call, params: t.PeerAddParams) -> None:
    """Dial an address or invite that a person gave."""
    try:
        addresses, expected = invite.read(params.address)
    except ValueError as error:
        raise ApiError(t.ErrorCode.BAD_REQUEST, str(error)) from None
    call.services.runtime.ask(lambda ticket: AddPeer(ticket, addresses, expected), _then_show(call))


def accept(call: Call, params: t.PeerParams) -> None:
    """Accept a stranger."""
    _manage(call, params.peer, PeerAction.ACCEPT)


def block(call: Call, params: t.PeerParams) -> None:
    """Block a peer."""
    _manage(call, params.peer, PeerAction.BLOCK)


def unblock(call: Call, params: t.PeerParams) -> None:
    """Take a block back."""
    _manage(call, params.peer, PeerAction.UNBLOCK)


def rename(call: Call, params: t.PeerRenameParams) -> None:
    """Give a peer a name of ours."""
    _manage(call, params.peer, PeerAction.RENAME, params.name)


def forget(call: Call, params: t.PeerParams) -> None:
    """Remove a peer and everything about it."""

    def done(result: Result) -> None:
        checked(result, PeerDone)
        call.services.peers_changed()
        call.answer(t.Done())

    peer = call.services.whom(params.peer)
    call.services.runtime.ask(
        lambda ticket: ManagePeer(ticket, peer, PeerAction.FORGET),
        lambda result: call.guard(lambda: done(result)),
    )


def _manage(call: Call, text: str, action: PeerAction, name: str = "") -> None:
    peer = call.services.whom(text)
    call.services.runtime.ask(lambda ticket: ManagePeer(ticket, peer, action, name), _then_show(call))


def _then_show(call: Call) -> Callable[[Result], None]:
    def done(result: Result) -> None:
        peer = checked(result, PeerDone).peer
        call.services.peers_changed()
        _answer_with(call, peer)

    return lambda result: call.guard(lambda: done(result))


def _answer_with(call: Call, peer: DeviceId) -> None:
    def look(reader: Reader) -> tuple[int, list[MessageRow]]:
        return reader.unread_count(peer), reader.history(peer, 1)

    def then(found: tuple[int, list[MessageRow]]) -> None:
        unread, last = found
        runtime = call.services.runtime
        view = runtime.node.peer(peer, runtime.now())
        if view is None:
            raise ApiError(t.ErrorCode.NO_SUCH_PEER, "this device is not known any more")
        call.answer(present.peer(view, unread, last[0] if last else None))

    call.read(look, then)
