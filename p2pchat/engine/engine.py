"""One engine: its parts, and the order in which they start and end.

Start: identity, store, TLS (:meth:`Engine.prepare`, which blocks); then on the loop transport, node, local API,
*ready*, discovery. Nothing that may take long stands before *ready*.

End: take no more clients and commands; say goodbye on every link and in mDNS; close the links; write what is queued
and close the store; answer whoever still waits; hang up; remove the socket. The lock is the caller's, and goes last.
Ending twice is ending once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from p2pchat.config import Config, Source
from p2pchat.core.effects import Notify
from p2pchat.core.inputs import NetworkChanged, Now
from p2pchat.core.node import Node
from p2pchat.core.ops import Outcome
from p2pchat.core.records import Snapshot
from p2pchat.engine import endpoint, present
from p2pchat.engine.hosts import call_hosts
from p2pchat.engine.hub import Hub
from p2pchat.engine.journal import Journal
from p2pchat.engine.lifetime import LINGER_S, Lifetime
from p2pchat.engine.recovery import PROBE_S, Recovery
from p2pchat.engine.runtime import Runtime
from p2pchat.engine.server import ApiServer
from p2pchat.engine.services import About, Services
from p2pchat.engine.stats import Counters
from p2pchat.engine.storage import Open, Storage, open_sqlite
from p2pchat.engine.waits import Waits
from p2pchat.errors import ApiError, StoreError
from p2pchat.logs import Logs
from p2pchat.model import Presence
from p2pchat.net import clock
from p2pchat.net.discovery import Discovery
from p2pchat.net.identity import Identity, load_or_create, verify
from p2pchat.net.interfaces import InterfaceWatch, is_wildcard
from p2pchat.net.threads import in_thread
from p2pchat.net.transport import Transport
from p2pchat.paths import Paths
from p2pchat.store.notices import Recorded

_log = logging.getLogger(__name__)

GOODBYE_S: Final = 0.5
"""How long clients may take to read their last answers."""
_LOOK_S: Final = 1.0
_MAIL_MOVED_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Times that tests make shorter."""

    probe_s: float = PROBE_S
    linger_s: float = LINGER_S
    look_s: float = _LOOK_S


class _Keys:
    """The device key as the core wants it."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.spki = identity.spki

    def sign(self, data: bytes) -> bytes:
        return self._identity.sign(data)

    def verify(self, spki: bytes, signature: bytes, data: bytes) -> bool:
        return verify(spki, signature, data)


class Engine:
    """See the module. :meth:`prepare` first, in any thread; :meth:`run` once, on the loop.

    Args:
        auto: end when nobody needs it.
        open_store: opens the store; the home's database when None.
    """

    def __init__(
        self,
        paths: Paths,
        config: Config,
        logs: Logs,
        *,
        auto: bool = False,
        open_store: Open | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._paths = paths
        self._config = config
        self._logs = logs
        self._auto = auto
        self._timing = timing or Timing()
        self._instance = os.urandom(16)
        self._storage = Storage(
            open_store or open_sqlite(paths.database),
            flush_interval_s=config.flush_interval_s,
            flush_threshold=config.flush_threshold,
        )
        self._runtime = Runtime(self._build_node, self._storage.submit, self)
        self._counters = Counters()
        self._waits = Waits()
        self._journal = Journal(logs, config.log_level)
        self._recovery: Recovery | None = None
        self._discovery: Discovery | None = None
        self._server: ApiServer | None = None
        self._endpoint: endpoint.Endpoint | None = None
        self._stop = asyncio.Event()
        self._ending = False

    # --- start --------------------------------------------------------------------------------------------------

    def prepare(self, socket_path: Path) -> None:
        """Read the key, open the store, make the socket: whatever blocks. Nothing listens yet.

        Raises:
            P2PChatError: it cannot be done; the text says why.
            OSError: the socket cannot be made.
        """
        self._identity = load_or_create(self._paths.identity)
        self._snapshot: Snapshot | None = self._storage.open(self._identity.device_id)
        try:
            self._prepare_rest(socket_path)
        except BaseException:
            self._storage.close()
            raise

    def _prepare_rest(self, socket_path: Path) -> None:
        _, last_id = self._storage.store.event_range()
        self._hub = Hub(last_id or 0, self._name_of, self._read_events)
        self._transport = Transport(
            self._identity, self._runtime.feed, include_virtual=self._config.include_virtual_interfaces
        )
        self._interfaces = InterfaceWatch(
            lambda _, cause: self._runtime.feed(NetworkChanged(cause)),
            include_virtual=self._config.include_virtual_interfaces,
        )
        self._socket_path = socket_path
        self._bound: socket.socket | None = endpoint.bind(socket_path)

    def _build_node(self, snapshot: Snapshot, now: Now) -> Node:
        return Node(
            device_id=self._identity.device_id,
            keys=_Keys(self._identity),
            policy=replace(self._config.policy(), listen_port=self._transport.port),
            snapshot=snapshot,
            rng=random.SystemRandom(),
            now=now,
            instance=self._instance,
        )

    async def run(self, ready: Callable[[Services], None]) -> None:
        """Run until :meth:`stop`; ``ready`` is called once clients and peers can come.

        Raises:
            LinkError: the port cannot be had.
            OSError: the local API cannot be served.
        """
        try:
            await self._start()
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(work, name=name) for name, work in self._background().items()]
                ready(self.services)
                if self._discovery is not None:
                    await self._discovery.start()
                await self._stop.wait()
                for task in background:
                    task.cancel()
        finally:
            await asyncio.shield(self._end())

    async def _start(self) -> None:
        now = clock.now()
        host = self._config.listen.host
        host = "127.0.0.1" if host == "localhost" else host
        by_default = self._config.origins["listen"].source is Source.DEFAULT
        await self._transport.start(host or None, None if by_default else self._config.listen.port)
        about = About(
            device_id=self._identity.device_id,
            name=self._config.name,
            listen_host=host or "*",
            started_at_ms=now.wall_ms,
            started_mono_s=now.mono_s,
            paths=self._paths,
        )
        self.services = Services(
            about=about,
            runtime=self._runtime,
            storage=self._storage,
            transport=self._transport,
            hub=self._hub,
            waits=self._waits,
            counters=self._counters,
            journal=self._journal,
            logs=self._logs,
            discovery=lambda: "off" if self._discovery is None else self._discovery.status,
            stop=self.stop,
        )
        self._note_quarantine()
        self._recovery = Recovery(self._runtime, self._storage, self._told, probe_s=self._timing.probe_s)
        self._runtime.attach(self._transport)
        self._storage.start(self._runtime.mailbox.commit, self._commit_failed)
        if self._config.discovery:
            fixed = None if not host or is_wildcard(host) else (host,)
            self._discovery = Discovery(
                about.device_id,
                about.name,
                self._transport.port,
                self._runtime.feed,
                interfaces=fixed,
                include_virtual=self._config.include_virtual_interfaces,
            )
        assert self._snapshot is not None
        snapshot, self._snapshot = self._snapshot, None
        self._runtime.start(snapshot)
        token = None if self._bound is not None else secrets.token_hex(32)
        self._server = ApiServer(self.services, token=token)
        self._endpoint = await endpoint.serve(self._socket_path, self._bound, self._server.make_connection)
        if token is not None:
            listening = self._endpoint
            await in_thread("p2pchat-token", lambda: endpoint.write_token(listening, token))
        self._journal.note("engine:ready", device_id=about.device_id, port=self._transport.port, pid=os.getpid())

    def _background(self) -> dict[str, Coroutine[Any, Any, None]]:
        assert self._recovery is not None
        work = {"p2pchat-recovery": self._recovery.run()}
        if self._config.hosts:
            work["p2pchat-hosts"] = call_hosts(self._runtime, self._config.hosts, self._host_refused)
        if self._discovery is None:
            work["p2pchat-interface-watch"] = self._interfaces.run()
        if self._auto:
            work["p2pchat-lifetime"] = self._watch_lifetime()
        return work

    def _note_quarantine(self) -> None:
        for place in self._storage.quarantined[len(self.services.notes) :]:
            text = f"the database could not be read and was kept as {place}; a new one was begun"
            self.services.notes.append(text)
            self._journal.note("storage:quarantined", logging.ERROR, detail=text)

    # --- end ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End, soon. Again: nothing."""
        self._stop.set()

    async def _end(self) -> None:
        if self._ending:
            return
        self._ending = True
        self._journal.note("engine:ending")
        if self._endpoint is not None:
            self._endpoint.stop_accepting()
        elif self._bound is not None:
            self._bound.close()
        self._runtime.shut_down()
        leaving = [self._transport.stop()]
        if self._discovery is not None:
            leaving.append(self._discovery.stop())
        for error in await asyncio.gather(*leaving, return_exceptions=True):
            if isinstance(error, BaseException):
                self._journal.note("engine:fault", logging.ERROR, error=repr(error))
        if not await in_thread("p2pchat-close", self._storage.close):
            self._journal.note("storage:hangs", logging.ERROR, detail="the disk did not answer in time")
        self._runtime.stop()
        await self._hang_up()
        if self._endpoint is not None:
            await in_thread("p2pchat-remove", self._endpoint.remove)
        self._journal.finish()

    async def _hang_up(self) -> None:
        if self._server is None:
            return
        self._server.end_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                await self._server.all_gone()
        self._server.abort_all()

    async def _watch_lifetime(self) -> None:
        """End an engine that nobody needs any more."""
        assert self._server is not None
        lifetime = Lifetime(clock.now().mono_s, linger_s=self._timing.linger_s)
        over = False
        while not over:
            await asyncio.sleep(self._timing.look_s)
            clients = len(self._server)
            over = lifetime.is_over(clock.now().mono_s, clients=clients, mail_moves=self._mail_moves())
        self._journal.note("engine:not-needed")
        self.stop()

    def _mail_moves(self) -> bool:
        if time.perf_counter() - self._counters.moved_at_s < _MAIL_MOVED_S:
            return True
        try:
            views = self._runtime.node.peers(self._runtime.now())
        except ApiError:
            return False
        return any(view.pending and view.presence is Presence.ONLINE for view in views)

    # --- what happened: the runtime calls these -----------------------------------------------------------------

    def applied(self, outcomes: Sequence[Outcome]) -> None:
        """See :class:`p2pchat.engine.runtime.Observer`."""
        self._counters.outcomes(outcomes)

    def recorded(self, events: Collection[Recorded]) -> None:
        """See :class:`p2pchat.engine.runtime.Observer`."""
        if any(event.message_id is None for event in events):
            self.services.peers_changed()
        self._counters.recorded(events)
        self._hub.publish(events)
        self._waits.publish(events)
        self._journal.recorded(events)

    def noticed(self, notice: Notify) -> None:
        """See :class:`p2pchat.engine.runtime.Observer`."""
        self._counters.noticed(notice)
        self._hub.notify(notice)
        self._journal.noticed(notice)

    def crashed(self, detail: str, *, storage: bool) -> None:
        """See :class:`p2pchat.engine.runtime.Observer`."""
        if self._recovery is not None and not self._ending:
            self._recovery.crashed(detail, storage=storage)

    def _commit_failed(self, error: StoreError) -> None:
        """A commit failed; in the writer's thread."""
        if self._recovery is not None:
            self._recovery.failed(error)
        self._runtime.mailbox.failure(error)

    def _told(self, name: str, detail: str) -> None:
        self._note_quarantine()
        self.noticed(Notify(name, present.wall_ms(), None, {"detail": detail}))

    def _host_refused(self, host: object, text: str) -> None:
        self._journal.note("host:unreachable", host=str(host), detail=text)

    def _name_of(self, peer: Any) -> str:
        return self.services.name_of(peer)

    def _read_events(self, cursor: int, limit: int, then: Callable[[list[Recorded] | None], None]) -> None:
        self._storage.read(lambda reader: reader.events_since(cursor, limit), then, lambda _: then(None))
