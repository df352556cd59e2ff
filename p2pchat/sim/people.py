"""The clients: people and scripts who send, take back, read, retry, purge and block.

A client draws the id of its message. When its engine goes away before the answer it asks again with the same id, or
gives up and never knows. Whoever was answered is believed by the judge: that is what must be true.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2pchat.core.effects import Result
from p2pchat.core.inputs import (
    AddPeer,
    CancelMessage,
    Command,
    ManagePeer,
    MarkRead,
    PeerAction,
    PurgeLetters,
    RetryLetters,
    SendText,
)
from p2pchat.model import MAX_BODY_BYTES, MessageId, new_message_id

if TYPE_CHECKING:
    from p2pchat.sim.device import Device
    from p2pchat.sim.world import World

ASK_AGAIN_S: Final = (0.05, 1.5)
PEACE_S: Final = 15.0
REMEMBERED: Final = 40
"""How many of one's last messages one may still think of."""


class People:
    """All clients of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._requests = 0
        self._stopped = False
        self._open: dict[int, tuple[Device, Command]] = {}
        self._mine: dict[int, deque[SendText]] = {}

    @property
    def unanswered(self) -> list[tuple[Device, Command]]:
        """The commands that wait for their reply."""
        return list(self._open.values())

    # --- the day's work -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to do things on every device."""
        traffic = self._world.profile.traffic
        habits: tuple[tuple[float, Callable[[Device], None]], ...] = (
            (traffic.send_every_s, self._send),
            (traffic.cancel_every_s, self._cancel),
            (traffic.read_every_s, self._read),
            (traffic.retry_every_s, self._retry),
            (traffic.purge_every_s, self._purge),
            (traffic.block_every_s, self._block),
            (traffic.add_every_s, self._add),
            (traffic.forget_every_s, self._forget),
        )
        for device in self._world.devices:
            self._mine[device.index] = deque(maxlen=REMEMBERED)
            for every_s, act in habits:
                if every_s:
                    self._again(every_s, act, device)

    def stop(self) -> None:
        """Go home; what was asked is still waited for."""
        self._stopped = True

    def _again(self, every_s: float, act: Callable[[Device], None], device: Device) -> None:
        clock = self._world.clock

        def occasion() -> None:
            if self._stopped:
                return
            if device.node is not None and not device.asleep:
                act(device)
            clock.after(clock.gap(every_s), occasion)

        clock.after(clock.gap(every_s), occasion)

    def _ask(self, device: Device, make: Callable[[int], Command]) -> None:
        self._requests += 1
        command = make(self._requests)
        self._open[self._requests] = (device, command)
        device.feed(command)

    def replied(self, device: Device, request: int, result: Result) -> None:
        """A command was answered."""
        asked = self._open.pop(request, None)
        if asked is None:
            self._world.judge.violation("replied twice", f"{device.name}: request {request}: {result}")
            return
        self._world.judge.replied(device, asked[1], result)

    def _other(self, device: Device) -> Device:
        world = self._world
        others = [other for other in world.devices if other is not device]
        if world.ghost is not None and world.clock.chance(0.05):
            return world.ghost
        return others[world.clock.rng.randrange(len(others))]

    # --- one thing at a time ------------------------------------------------------------------------------------

    def _send(self, device: Device) -> None:
        traffic, clock = self._world.profile.traffic, self._world.clock
        peer = self._other(device)
        for _ in range(clock.rng.randint(1, traffic.burst)):
            message_id = new_message_id(max(0, device.now.wall_ms), clock.rng.randbytes(10))
            size = clock.rng.randint(1000, MAX_BODY_BYTES) if clock.chance(traffic.big_p) else 0
            body = f"{device.name} {message_id.hex()[-6:]}" + "x" * size
            self._send_one(device, SendText(0, peer.id, message_id, body[:MAX_BODY_BYTES]))

    def _send_one(self, device: Device, text: SendText) -> None:
        self._mine[device.index].append(text)
        self._ask(device, lambda request: SendText(request, text.peer, text.message_id, text.body))
        if self._world.clock.chance(self._world.profile.traffic.ask_again_p):
            self._world.clock.after(self._world.clock.draw(ASK_AGAIN_S), self._ask_again, device, text)

    def _ask_again(self, device: Device, text: SendText) -> None:
        if device.node is None:
            self._world.clock.after(1.0, self._ask_again, device, text)
            return
        self._ask(device, lambda request: SendText(request, text.peer, text.message_id, text.body))

    def _one_of_mine(self, device: Device) -> SendText | None:
        mine = self._mine[device.index]
        return mine[self._world.clock.rng.randrange(len(mine))] if mine else None

    def _cancel(self, device: Device) -> None:
        mine = self._mine[device.index]
        # Mostly the latest: that is what is still on its way.
        text = mine[-1] if mine and self._world.clock.chance(0.7) else self._one_of_mine(device)
        if text is not None:
            self._ask(device, lambda request: CancelMessage(request, text.message_id))

    def _read(self, device: Device) -> None:
        peer = self._other(device).id
        self._ask(device, lambda request: MarkRead(request, peer, None))

    def _letters(self, device: Device) -> tuple[MessageId, ...]:
        letters = [letter.message_id for letter in device.disk.store.letters()]
        rng = self._world.clock.rng
        return tuple(letter for letter in letters if rng.random() < 0.5)

    def _retry(self, device: Device) -> None:
        letters = self._letters(device)
        self._ask(device, lambda request: RetryLetters(request, letters))

    def _purge(self, device: Device) -> None:
        letters = self._letters(device)
        self._ask(device, lambda request: PurgeLetters(request, letters))

    def _block(self, device: Device) -> None:
        clock = self._world.clock
        peer = self._other(device)
        self._manage(device, peer, PeerAction.BLOCK)
        clock.after(clock.draw(self._world.profile.traffic.block_s), self._unblock, device, peer)

    def _unblock(self, device: Device, peer: Device) -> None:
        if device.node is not None:
            self._manage(device, peer, PeerAction.UNBLOCK)

    def _forget(self, device: Device) -> None:
        self._manage(device, self._other(device), PeerAction.FORGET)

    def _manage(self, device: Device, peer: Device, action: PeerAction) -> None:
        self._ask(device, lambda request: ManagePeer(request, peer.id, action))

    def _add(self, device: Device) -> None:
        peer = self._other(device)
        expected = peer.id if self._world.clock.chance(0.5) else None
        self._ask(device, lambda request: AddPeer(request, (peer.address,), expected))

    # --- what happens to people ---------------------------------------------------------------------------------

    def started(self, device: Device) -> None:
        """An engine came up: devices hear of each other, or are told of each other by people."""
        world = self._world
        if world.profile.mdns:
            world.clock.after(world.clock.draw((0.0, 1.0)), world.announce, device)
        elif device.run == 1:
            for other in world.devices[: device.index]:
                self._introduce(device, other)
        if not world.profile.traffic.strangers and device.run == 1:
            world.clock.after(1.5, self._accept_all, device)

    def _introduce(self, device: Device, other: Device) -> None:
        self._ask(device, lambda request: AddPeer(request, (other.address,), other.id))

    def _accept_all(self, device: Device) -> None:
        if device.node is not None:
            for other in self._world.by_id.values():
                if other is not device:
                    self._manage(device, other, PeerAction.ACCEPT)

    def engine_lost(self, device: Device, *, restarted: bool) -> None:
        """The engine went away with what it was asked: some ask again, some never know."""
        clock, traffic = self._world.clock, self._world.profile.traffic
        for request, (asked, command) in list(self._open.items()):
            if asked is not device:
                continue
            del self._open[request]
            if isinstance(command, SendText) and not clock.chance(traffic.give_up_p):
                clock.after(clock.draw(ASK_AGAIN_S) + (0.0 if restarted else 0.5), self._ask_again, device, command)

    def disk_back(self, device: Device) -> None:
        """The disk of a device takes writes again."""
        self._world.trace(device, "-- disk is back")

    def make_peace(self) -> None:
        """From now on everybody unblocks and accepts everybody, again and again: some are heard of late."""
        for device in self._world.devices:
            self._peace(device)
        self._world.clock.after(PEACE_S, self.make_peace)

    def _peace(self, device: Device) -> None:
        if device.node is None:
            return
        for other in self._world.by_id.values():
            if other is not device:
                self._manage(device, other, PeerAction.UNBLOCK)
                self._manage(device, other, PeerAction.ACCEPT)
