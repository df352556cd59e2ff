"""The methods of the local API: one function each, by their names in :data:`p2pchat.api.types.METHODS`.

A method gets the request under way and its parameters, already of the right type. It answers at once or later, and
never waits: what needs the disk goes through :meth:`~p2pchat.engine.services.Call.read`, what needs the node through
:meth:`~p2pchat.engine.runtime.Runtime.ask`. An :class:`~p2pchat.errors.ApiError` that it raises is its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from p2pchat.engine.methods import about, letters, messages, peers, streams
from p2pchat.engine.services import Call

Method = Callable[[Call, Any], None]

TABLE: Final[dict[str, Method]] = {
    "status": about.status,
    "stop": about.stop,
    "stats": about.stats,
    "peers.list": peers.list_all,
    "peer.show": peers.show,
    "peer.add": peers.add,
    "peer.accept": peers.accept,
    "peer.block": peers.block,
    "peer.unblock": peers.unblock,
    "peer.forget": peers.forget,
    "peer.rename": peers.rename,
    "message.send": messages.send,
    "message.wait": messages.wait,
    "message.cancel": messages.cancel,
    "message.show": messages.show,
    "history": messages.history,
    "read": messages.read,
    "outbox": messages.outbox,
    "dlq.list": letters.list_all,
    "dlq.retry": letters.retry,
    "dlq.purge": letters.purge,
    "logs.tail": streams.log_tail,
    "logs.subscribe": streams.log_subscribe,
    "events.subscribe": streams.event_subscribe,
}
