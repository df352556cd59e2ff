"""Requests that wait until a message has reached a state: woken by its events, never by asking again and again.

A wait looks at the stored state once, after it has begun to listen, so that nothing can happen in between unseen.
It ends when the state is reached, when it can no longer be (failed, cancelled), or at its deadline, with the state
of that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from p2pchat.model import RANK, MessageId, State
from p2pchat.store.notices import Recorded

STATE_OF_EVENT: Final = {
    "message:queued": State.PENDING,
    "message:retried": State.PENDING,
    "message:sent": State.SENT,
    "message:delivered": State.DELIVERED,
    "message:received": State.DELIVERED,
    "message:read": State.READ,
    "message:moved-to-dlq": State.FAILED,
    "message:cancelled": State.CANCELLED,
}


def is_over(state: State, wanted: State) -> bool:
    """Tell whether there is nothing left to wait for."""
    return state not in RANK or RANK[state] >= RANK[wanted]


class Wait:
    """One request that waits. ``done`` is called exactly once, unless the wait is dropped."""

    def __init__(self, waits: Waits, message_id: MessageId, wanted: State, done: Callable[[State], None]) -> None:
        self._waits = waits
        self._done = done
        self._timer: asyncio.TimerHandle | None = None
        self._state: State | None = None
        self.message_id = message_id
        self.wanted = wanted

    def begin(self, timeout_s: float) -> None:
        """Start the deadline; an event before the stored state was seen counts as well."""
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._expired)

    def see(self, state: State) -> None:
        """Learn the state that the message has now."""
        self._state = state
        if is_over(state, self.wanted):
            self._finish(state)

    def see_stored(self, state: State) -> None:
        """Learn the state that was stored a moment ago; an event since then knows better."""
        if self._state is None:
            self.see(state)

    def drop(self) -> bool:
        """Nobody wants the answer any more; False if it was given already."""
        if self._timer is not None:
            self._timer.cancel()
        return self._waits.forget(self)

    def _expired(self) -> None:
        if self._state is None:
            # The store has not answered within the time to wait; its answer will be as good as any.
            self.wanted = State.PENDING
            return
        self._finish(self._state)

    def _finish(self, state: State) -> None:
        if self.drop():
            self._done(state)


class Waits:
    """All waits, by message."""

    def __init__(self) -> None:
        self._waits: dict[MessageId, list[Wait]] = {}

    def __len__(self) -> int:
        return sum(len(waits) for waits in self._waits.values())

    def add(self, message_id: MessageId, wanted: State, done: Callable[[State], None]) -> Wait:
        """Listen from now on; call :meth:`Wait.begin` and tell the stored state next."""
        wait = Wait(self, message_id, wanted, done)
        self._waits.setdefault(message_id, []).append(wait)
        return wait

    def forget(self, wait: Wait) -> bool:
        """Listen no more for this one; False if that was so already."""
        waits = self._waits.get(wait.message_id, [])
        if wait not in waits:
            return False
        waits.remove(wait)
        if not waits:
            del self._waits[wait.message_id]
        return True

    def publish(self, events: Collection[Recorded]) -> None:
        """Take the events of a commit."""
        if not self._waits:
            return
        for event in events:
            state = STATE_OF_EVENT.get(event.name)
            if state is None or event.message_id is None:
                continue
            for wait in list(self._waits.get(event.message_id, ())):
                wait.see(state)
