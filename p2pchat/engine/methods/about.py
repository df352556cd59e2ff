"""``status``, ``stats``, ``stop``."""

from __future__ import annotations

import os

from p2pchat import __version__
from p2pchat.api import types as t
from p2pchat.engine import invite
from p2pchat.engine.services import Call
from p2pchat.errors import ApiError
from p2pchat.model import Address, Presence
from p2pchat.store.interface import Reader


def status(call: Call, _: t.Nothing) -> None:
    """What the engine is and how it is."""
    transport = call.services.transport

    def look(reader: Reader) -> tuple[tuple[Address, ...], int]:
        # Both block: the interfaces are the system's, the counts are on the disk.
        return transport.addresses(), sum(reader.unread_counts().values())

    call.read(look, lambda found: call.answer(_status(call, *found)))


def _status(call: Call, addresses: tuple[Address, ...], unread: int) -> t.Status:
    services = call.services
    about, runtime = services.about, services.runtime
    pending, dead_letters = totals(call)
    return t.Status(
        device_id=about.device_id,
        name=about.name,
        version=__version__,
        api_version=t.API_VERSION,
        pid=os.getpid(),
        host=about.listen_host,
        port=services.transport.port,
        addresses=[str(address) for address in addresses],
        invite=invite.write(about.device_id, addresses),
        home=str(about.paths.home or about.paths.data),
        started_at_ms=about.started_at_ms,
        uptime_s=round(runtime.now().mono_s - about.started_mono_s, 3),
        links=runtime.links_up,
        pending=pending,
        dead_letters=dead_letters,
        unread=unread,
        storage=runtime.storage_detail or "ok",
        discovery=services.discovery(),
        notes=list(services.notes),
    )


def totals(call: Call) -> tuple[int, int]:
    """How many messages wait, and how many are dead letters; zeros while there is no node."""
    runtime = call.services.runtime
    try:
        views = runtime.node.peers(runtime.now())
    except ApiError:
        return 0, 0
    return sum(view.pending for view in views), sum(view.dead_letters for view in views)


def stats(call: Call, _: t.Nothing) -> None:
    """Figures of this engine run."""
    services = call.services
    pending, dead_letters = totals(call)
    views = services.runtime.node.peers(services.runtime.now())
    call.answer(
        services.counters.stats(
            uptime_s=services.runtime.now().mono_s - services.about.started_mono_s,
            writer=services.storage.metrics(),
            dlq_size=dead_letters,
            pending=pending,
            peers=sum(view.presence is Presence.ONLINE for view in views),
        )
    )


def stop(call: Call, _: t.Nothing) -> None:
    """End the engine."""
    call.answer(t.Done())
    call.services.stop()
