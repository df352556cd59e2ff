"""The event stream: what happened, to everyone who subscribed, without a gap and in order.

A stored event has an id; ids grow and come to this loop in order, with the commit that stored them. A subscriber has
a *cursor*, the id up to which it has everything, and is in one of two states::

    catching up ──cursor reached the newest id──► live
         ▲                                          │
         └───────── the client does not read ───────┘

Catching up takes events from a short memory of recent ones, else from the store, a page at a time and only as fast
as the client reads. Live, each commit's events are written as they come. So a slow client costs no memory and loses
nothing; what is not stored (heartbeats and the like, null ids) it misses.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

from p2pchat.core.effects import Notify
from p2pchat.engine import present, rpc
from p2pchat.model import DeviceId
from p2pchat.store.notices import Recorded

PAGE_EVENTS: Final = 256
CHUNK_BYTES: Final = 256 * 1024
RECENT_EVENTS: Final = 2_048
RECENT_BYTES: Final = 4 * 1024 * 1024
_EVENT_BYTES: Final = 500
"""About what an event takes in memory besides its text."""

NameOf = Callable[[DeviceId], str]
Pages = Callable[[int, int, Callable[[list[Recorded] | None], None]], None]
"""Read at most so many events behind an id from the store, and hand them on (None: the store failed)."""


class Client(Protocol):
    """What a subscriber needs of its connection."""

    on_drained: Callable[[], None] | None

    @property
    def alive(self) -> bool: ...

    @property
    def backed_up(self) -> bool: ...

    def send(self, data: bytes, lines: int = 1) -> None: ...

    def cut(self, reason: str) -> None: ...


class Hub:
    """Knows the newest event and the subscribers.

    Args:
        last_id: the newest stored event's id at the start; 0 if there is none.
        name_of: what to call a peer.
        pages: reads stored events.
    """

    def __init__(self, last_id: int, name_of: NameOf, pages: Pages) -> None:
        self.last_id = last_id
        self.name_of = name_of
        self.pages = pages
        self._recent: deque[Recorded] = deque()
        self._recent_bytes = 0
        self._remembers_after = last_id
        self._subscribers: list[Subscriber] = []

    def publish(self, events: Collection[Recorded]) -> None:
        """Take the events of a commit, in the order of their ids."""
        for event in events:
            self._recent.append(event)
            self._recent_bytes += _size(event)
            self.last_id = event.event_id
        while len(self._recent) > RECENT_EVENTS or self._recent_bytes > RECENT_BYTES:
            forgotten = self._recent.popleft()
            self._recent_bytes -= _size(forgotten)
            self._remembers_after = forgotten.event_id
        live = [subscriber for subscriber in self._subscribers if subscriber.live]
        if live and events:
            lines = self.encode(events)
            for subscriber in live:
                subscriber.push(lines)

    def notify(self, notice: Notify) -> None:
        """Tell those who are live about something that is not stored."""
        live = [subscriber for subscriber in self._subscribers if subscriber.live]
        if live:
            line = rpc.encode_notification("event", present.notice(notice, self.name_of))
            for subscriber in live:
                subscriber.client.send(line)

    def encode(self, events: Collection[Recorded]) -> list[tuple[int, bytes]]:
        """Make the lines of stored events, each with its id."""
        names: dict[DeviceId, str] = {}
        lines = []
        for event in events:
            name = ""
            if event.peer is not None:
                name = names.get(event.peer) or names.setdefault(event.peer, self.name_of(event.peer))
            lines.append((event.event_id, rpc.encode_notification("event", present.recorded(event, name))))
        return lines

    def recent(self, cursor: int, limit: int) -> list[Recorded] | None:
        """Return remembered events behind ``cursor``; None if some were forgotten already."""
        if cursor < self._remembers_after:
            return None
        start = bisect_right(self._recent, cursor, key=lambda event: event.event_id)
        return [self._recent[index] for index in range(start, min(start + limit, len(self._recent)))]

    def subscribe(self, client: Client, cursor: int, until: int | None) -> Subscriber:
        """Send ``client`` everything behind ``cursor``; with ``until`` only up to that id, then the end."""
        subscriber = Subscriber(self, client, cursor, until)
        self._subscribers.append(subscriber)
        subscriber.catch_up()
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Send it nothing more."""
        if subscriber in self._subscribers:
            self._subscribers.remove(subscriber)
            subscriber.end()


def _size(event: Recorded) -> int:
    return _EVENT_BYTES + len(event.body or "")


class Subscriber:
    """One client's place in the stream."""

    def __init__(self, hub: Hub, client: Client, cursor: int, until: int | None) -> None:
        self._hub = hub
        self._cursor = cursor
        self._until = until
        self._reading = False
        self._ended = False
        self.client = client
        self.live = False
        client.on_drained = self._drained

    def end(self) -> None:
        """Send nothing more."""
        self._ended = True
        self.live = False
        self.client.on_drained = None

    def push(self, lines: Sequence[tuple[int, bytes]]) -> None:
        """Write events that just came, a portion at a time; stop when the client does not read."""
        portion: list[bytes] = []
        size_bytes = 0
        for event_id, line in lines:
            if event_id <= self._cursor:
                continue
            portion.append(line)
            size_bytes += len(line)
            self._cursor = event_id
            if size_bytes >= CHUNK_BYTES:
                self.client.send(b"".join(portion), len(portion))
                portion, size_bytes = [], 0
                if self.client.backed_up:
                    self.live = False
                    return
        if portion:
            self.client.send(b"".join(portion), len(portion))
        if self.client.backed_up:
            self.live = False

    def catch_up(self) -> None:
        """Take the next step towards the newest event."""
        if self._ended or self._reading or self.live or not self.client.alive or self.client.backed_up:
            return
        target = self._hub.last_id if self._until is None else self._until
        if self._cursor >= target:
            self._reached()
            return
        recent = self._hub.recent(self._cursor, PAGE_EVENTS)
        if recent:
            self._send_page(recent)
            return
        self._reading = True
        self._hub.pages(self._cursor, PAGE_EVENTS, self._page_came)

    def _page_came(self, page: list[Recorded] | None) -> None:
        self._reading = False
        if self._ended:
            return
        if page is None:
            self.client.cut("stored events cannot be read")
            return
        if not page:
            # Nothing is stored behind the cursor: what was there has been pruned.
            self._cursor = self._hub.last_id if self._until is None else self._until
        self._send_page(page)

    def _send_page(self, page: Sequence[Recorded]) -> None:
        self.push(self._hub.encode(page))
        asyncio.get_running_loop().call_soon(self.catch_up)

    def _reached(self) -> None:
        if self._until is None:
            self.live = True
            return
        self.client.send(rpc.encode_notification("event", stream_event("stream:end")))
        self._hub.unsubscribe(self)

    def _drained(self) -> None:
        asyncio.get_running_loop().call_soon(self.catch_up)


def stream_event(name: str, **fields: Any) -> dict[str, Any]:
    """An event about the stream itself, as it is sent."""
    return {"event_id": None, "at_ms": present.wall_ms(), "event": name, **fields}
