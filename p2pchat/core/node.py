"""One device as a state machine: ``handle(input, now) -> effects``.

The node composes the machines and routes between them; each input is one method. At the end of every step the lines
that may have something to send are pumped and the collected acknowledgements are promised, so that a step with many
outcomes makes few frames.
"""

from __future__ import annotations

import random
from typing import assert_never

from p2pchat.core import commands, describe
from p2pchat.core.clock import HybridClock
from p2pchat.core.context import Context
from p2pchat.core.dialling import Dialling
from p2pchat.core.effects import Effect
from p2pchat.core.handshake import Keys
from p2pchat.core.inputs import (
    AddPeer,
    BytesReceived,
    CancelMessage,
    Committed,
    DialFailed,
    Input,
    LinkClosed,
    LinkOpened,
    ManagePeer,
    MarkRead,
    NetworkChanged,
    Now,
    PeerAnnounced,
    PeerWithdrawn,
    PurgeLetters,
    RetryLetters,
    SendText,
    ShutDown,
    StorageFailed,
    StorageRecovered,
    TimerFired,
)
from p2pchat.core.item import DeadLettered
from p2pchat.core.letters import Letters
from p2pchat.core.links import OFFLINE, Links
from p2pchat.core.peers import Directory, Peer
from p2pchat.core.records import Snapshot
from p2pchat.core.stream import Stream
from p2pchat.core.sync import STORAGE_FAILED, Inbox
from p2pchat.core.timers import Key
from p2pchat.core.views import PeerView, WaitingView
from p2pchat.model import DeviceId, LinkId, Policy, clean_name

FROZEN_TIMER_S = 5.0
"""How much later a timer that would store something fires while the disk refuses writes."""


class Node:
    """The decisions of one device.

    Args:
        device_id: ours.
        keys: our device key.
        snapshot: what the store holds.
        rng: seeded randomness for nonces and jitter.
        now: the time of making; expiry is judged from here.
        instance: 16 random bytes of this engine run.
    """

    def __init__(
        self,
        *,
        device_id: DeviceId,
        keys: Keys,
        policy: Policy,
        snapshot: Snapshot,
        rng: random.Random,
        now: Now,
        instance: bytes,
    ) -> None:
        self._context = Context(device_id, keys, policy, rng, instance, now, HybridClock(snapshot.hlc))
        self._letters = Letters(self._context)
        self._directory = Directory(self._context, self._bury)
        self._dialling = Dialling(self._context, self._directory, self._letters)
        self._inbox = Inbox(self._context, self._directory)
        self._stream = Stream(self._context, self._inbox, self._letters)
        self._links = Links(self._context, self._directory, self._dialling, self._stream)
        self._commands = commands.Commands(
            self._context,
            self._directory,
            self._letters,
            self._dialling,
            self._inbox,
            self._stream,
            self._links,
        )
        self._storage_error = ""
        self._restore(snapshot, now)

    def _restore(self, snapshot: Snapshot, now: Now) -> None:
        for record in snapshot.peers:
            self._directory.restore(record)
        for waiting in snapshot.waiting:
            line = self._directory.find_or_add(waiting.peer).line
            line.restore(waiting, now)
            if waiting.cancelling:
                item = line.remove(waiting.message_id)
                assert item is not None
                self._letters.begin_cancel(item)
        for letter in snapshot.letters:
            self._letters.add(letter)
        for peer_id, ids in snapshot.untold_reads.items():
            self._directory.find_or_add(peer_id).untold_reads = dict.fromkeys(ids)

    # --- the interface ------------------------------------------------------------------------------------------

    def start(self, now: Now) -> list[Effect]:
        """Dial the peers whose addresses are remembered; call once, first."""
        for peer in self._directory:
            self._dialling.soon(peer, now)
        return self._finish(now)

    def handle(self, event: Input, now: Now) -> list[Effect]:
        """Take one input; return what is to be done, in order."""
        self._dispatch(event, now)
        return self._finish(now)

    def next_deadline(self) -> float | None:
        """When to call with ``TimerFired``, in seconds of ``Now.mono_s``; None: not at all."""
        return self._context.timers.next_s()

    def authenticated(self, link: LinkId) -> DeviceId | None:
        """Who is on a link; None until the handshake is done, and after the link's end."""
        return self._links.authenticated(link)

    def peers(self, now: Now) -> list[PeerView]:
        """All peers that are stored, announced or linked."""
        shown = (peer for peer in self._directory if peer.stored or peer.announced or peer.sessions)
        return [self._view(peer, now) for peer in shown]

    def peer(self, peer_id: DeviceId, now: Now) -> PeerView | None:
        """One peer."""
        peer = self._directory.get(peer_id)
        return None if peer is None else self._view(peer, now)

    def waiting(self, now: Now, peer_id: DeviceId | None = None) -> list[WaitingView]:
        """The messages that are not delivered, to one peer or to all, in the order in which they go."""
        peers = [peer for peer in self._directory if peer_id in (None, peer.id)]
        return [view for peer in peers for view in describe.waiting(peer, self._letters, self._storage_error, now)]

    def _view(self, peer: Peer, now: Now) -> PeerView:
        return describe.peer(peer, self._letters, self._context, now)

    # --- routing ------------------------------------------------------------------------------------------------

    def _dispatch(self, event: Input, now: Now) -> None:
        match event:
            case Committed(upto, outcomes):
                self._context.ledger.committed(upto, outcomes, now)
            case BytesReceived(link, data):
                self._links.received(link, data, now)
            case TimerFired():
                pass
            case LinkOpened():
                self._links.opened(event, now)
            case LinkClosed(link, detail):
                self._links.closed(link, detail, now)
            case DialFailed():
                self._dialling.failed(event, now)
            case PeerAnnounced():
                self._announced(event, now)
            case PeerWithdrawn(peer_id):
                self._withdrawn(peer_id, now)
            case NetworkChanged():
                self._network_changed(now)
            case StorageFailed(detail):
                self._storage_failed(detail)
            case StorageRecovered():
                self._storage_recovered(now)
            case ShutDown():
                self._dialling.close()
                self._links.leave_all(OFFLINE, now)
            case SendText() | CancelMessage() | MarkRead() | RetryLetters() | PurgeLetters() | AddPeer() | ManagePeer():
                self._commands.handle(event, now)
            case _:
                assert_never(event)

    def _finish(self, now: Now) -> list[Effect]:
        for key in self._context.timers.due(now.mono_s):
            self._fire(key, now)
        self._inbox.flush(now)
        self._context.pump(now)
        return self._context.ledger.drain()

    def _fire(self, key: Key, now: Now) -> None:
        kind, subject = key
        if isinstance(subject, int):
            self._links.timer(kind, LinkId(subject), now)
            return
        peer = self._directory.get(DeviceId(subject))
        if peer is None:
            return
        if self._context.ledger.frozen and kind != "dial":
            self._context.timers.set(key, now.mono_s + FROZEN_TIMER_S)
            return
        match kind:
            case "dial":
                self._dialling.due(peer, now)
            case "ack":
                peer.line.ack_overdue(now)
            case "sent":
                peer.line.mark_sent(now)
            case "expiry":
                peer.line.expire(now)
            case "poll":
                self._stream.poll(peer, now)
            case _:
                assert kind == "retry"
                peer.line.touch()

    # --- the world ----------------------------------------------------------------------------------------------

    def _announced(self, event: PeerAnnounced, now: Now) -> None:
        if event.peer == self._context.device_id:
            return
        peer = self._directory.get(event.peer)
        if peer is None:
            if self._directory.seen_full():
                return
            peer = self._directory.find_or_add(event.peer)
        if not peer.stored and not peer.sessions:
            peer.name = clean_name(event.name)
        peer.announced = event.addresses
        self._directory.update_presence(peer, now)
        peer.line.evidence(now)
        self._dialling.hint(peer, now)

    def _withdrawn(self, peer_id: DeviceId, now: Now) -> None:
        peer = self._directory.get(peer_id)
        if peer is not None:
            peer.announced = ()
            self._directory.update_presence(peer, now)
            self._directory.drop_if_unknown(peer)

    def _network_changed(self, now: Now) -> None:
        for peer in self._directory:
            peer.line.evidence(now)
            self._dialling.soon(peer, now)
        self._links.suspect_all(now)

    def _storage_failed(self, detail: str) -> None:
        self._storage_error = detail
        self._context.ledger.frozen = True
        for peer in self._directory:
            peer.line.requeue()
            self._inbox.hold(peer, STORAGE_FAILED)

    def _storage_recovered(self, now: Now) -> None:
        self._storage_error = ""
        self._context.ledger.frozen = False
        for peer in list(self._directory):
            self._links.renew(peer, now)
            self._inbox.hold(peer, "")
            if peer.session is not None:
                self._stream.resume(peer, peer.session, now)

    def _bury(self, dead: DeadLettered, now: Now) -> None:
        self._letters.bury(dead, now)
