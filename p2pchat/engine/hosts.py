"""The hosts of the configuration: dialled until each has answered once; from then on its peer is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from p2pchat.core.effects import PeerDone, Refused, Result
from p2pchat.core.inputs import AddPeer
from p2pchat.engine.runtime import Runtime
from p2pchat.errors import ApiError
from p2pchat.model import Address

RETRY_S: Final = 30.0


async def call_hosts(
    runtime: Runtime, hosts: Sequence[Address], told: Callable[[Address, str], None], *, retry_s: float = RETRY_S
) -> None:
    """Dial each host now and every ``retry_s`` until it has answered; ``told`` hears of refusals."""
    missing = set(hosts)

    def answered(host: Address, result: Result) -> None:
        if isinstance(result, PeerDone):
            missing.discard(host)
        elif isinstance(result, Refused):
            told(host, result.text)

    while missing:
        missing -= _known(runtime)
        for host in sorted(missing, key=str):
            _dial(runtime, host, answered)
        await asyncio.sleep(retry_s)


def _dial(runtime: Runtime, host: Address, answered: Callable[[Address, Result], None]) -> None:
    runtime.ask(lambda ticket: AddPeer(ticket, (host,)), lambda result: answered(host, result))


def _known(runtime: Runtime) -> set[Address]:
    try:
        views = runtime.node.peers(runtime.now())
    except ApiError:
        return set()
    return {address for view in views for address in view.addresses}
