"""The loaded window of one conversation.

Pages come from the engine in the engine's order and are merged by id; at most :data:`MAX_LOADED` messages are kept,
and what was dropped at the far end is paged in again when it is scrolled to. A message that only the screen knows
yet (its state is None) stays below all others until a page has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from p2pchat.model import State
from p2pchat.tui.model import Entry, later

MAX_LOADED: Final = 1500
"""Messages of one conversation kept in memory."""

PAGE: Final = 100
"""Messages asked for at once."""


@dataclass(slots=True)
class Conversation:
    """The loaded window of the messages exchanged with one peer, and what the person was writing.

    Attributes:
        entries: oldest first.
        has_older, has_newer: whether the engine has more beyond either end of the window.
        unread_from: the message above which the unread line stands.
        at_bottom: the newest message is on the screen.
        new_below: how many messages came in while it was not.
        revision: counts changes of what is shown.
    """

    peer: str
    entries: list[Entry] = field(default_factory=list)
    has_older: bool = True
    has_newer: bool = False
    loaded: bool = False
    unread_from: str | None = None
    at_bottom: bool = True
    new_below: int = 0
    draft: str = ""
    revision: int = 0

    def index_of(self, message_id: str) -> int | None:
        """Find a loaded message; the newest are looked at first."""
        for index in range(len(self.entries) - 1, -1, -1):
            if self.entries[index].message_id == message_id:
                return index
        return None

    def entry(self, message_id: str) -> Entry | None:
        index = self.index_of(message_id)
        return None if index is None else self.entries[index]

    def _put(self, entries: list[Entry]) -> None:
        if entries != self.entries:
            self.entries = entries
            self.revision += 1

    def merge_newest(self, page: Sequence[Entry], limit: int) -> int:
        """Lay the newest page over the end of the window; return how many messages of others are new.

        A page that does not touch the window replaces it: the gap between them is paged in from there.
        """
        local = [entry for entry in self.entries if entry.state is None]
        stored = [entry for entry in self.entries if entry.state is not None]
        known = {entry.message_id: index for index, entry in enumerate(stored)}
        first = min((known[entry.message_id] for entry in page if entry.message_id in known), default=None)
        arrived = {entry.message_id for entry in page}
        fresh = [entry for entry in page if entry.message_id not in known and not entry.mine]
        was_loaded = self.loaded
        if first is None and (stored and len(page) < limit):
            first = 0
        if first is None:
            self.has_older = len(page) >= limit
            kept: list[Entry] = []
        else:
            kept = [entry for entry in stored[:first] if entry.message_id not in arrived]
        self.loaded, self.has_newer = True, False
        self._put(kept + list(page) + [entry for entry in local if entry.message_id not in arrived])
        self._trim(oldest=True)
        if was_loaded and not self.at_bottom:
            self.new_below += len(fresh)
        return len(fresh) if was_loaded else 0

    def merge_older(self, page: Sequence[Entry], limit: int) -> None:
        """Put a page before the window; the newest are dropped when it grows too long."""
        known = {entry.message_id for entry in self.entries}
        self.has_older = len(page) >= limit
        self._put([entry for entry in page if entry.message_id not in known] + self.entries)
        self._trim(oldest=False)

    def merge_newer(self, page: Sequence[Entry], limit: int) -> None:
        """Put a page after a window whose end had been dropped."""
        known = {entry.message_id for entry in self.entries}
        self.has_newer = len(page) >= limit
        self._put(self.entries + [entry for entry in page if entry.message_id not in known])
        self._trim(oldest=True)

    def _trim(self, *, oldest: bool) -> None:
        if len(self.entries) <= MAX_LOADED:
            return
        if oldest:
            if self.at_bottom or self.has_newer:
                self.entries = self.entries[-MAX_LOADED:]
                self.has_older = True
        else:
            self.entries = self.entries[:MAX_LOADED]
            self.has_newer = True
        self.revision += 1

    def forget_window(self) -> None:
        """Start again from the newest page; local messages and the draft stay."""
        self.entries = [entry for entry in self.entries if entry.state is None]
        self.loaded, self.has_newer, self.has_older = False, False, True
        self.revision += 1

    def add_local(self, entry: Entry) -> None:
        """Show a message of ours at once; it is ``saving`` until the engine says that it is stored."""
        self.entries = [*self.entries, entry]
        self.unread_from = None
        self.revision += 1

    def drop(self, message_id: str) -> None:
        """Take a message off the screen that was never stored."""
        self._put([entry for entry in self.entries if entry.message_id != message_id])

    def set_state(self, message_id: str, state: State, at_ms: int | None = None, *, back: bool = False) -> bool:
        """Move a loaded message's state (only up, unless ``back``); tell whether something changed."""
        index = self.index_of(message_id)
        if index is None:
            return False
        old = self.entries[index]
        new_state = state if back else later(old.state, state)
        received = old.received_at_ms
        if new_state is State.DELIVERED and old.mine and at_ms is not None and received is None:
            received = at_ms
        new = replace(old, state=new_state, received_at_ms=received, cancelling=old.cancelling and not back)
        return self._swap(index, new)

    def set_cancelling(self, message_id: str) -> bool:
        """Mark a message that is being taken back."""
        index = self.index_of(message_id)
        return index is not None and self._swap(index, replace(self.entries[index], cancelling=True))

    def _swap(self, index: int, new: Entry) -> bool:
        if new == self.entries[index]:
            return False
        self.entries = [*self.entries[:index], new, *self.entries[index + 1 :]]
        self.revision += 1
        return True

    @property
    def newest_incoming(self) -> str | None:
        return next((e.message_id for e in reversed(self.entries) if not e.mine), None)

    @property
    def first_unread(self) -> str | None:
        """The first message of the other side that is not read."""
        unread = (e.message_id for e in self.entries if not e.mine and e.state is State.DELIVERED)
        return next(unread, None)

    @property
    def has_unread(self) -> bool:
        return self.first_unread is not None
