"""Everything that the screen is about, without a screen: peers, conversations, what waits, what died.

The setters say whether anything that is shown has changed. A tick moves up only, whatever order answers and events
arrive in: states that events told are remembered for a while and laid over every page.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from p2pchat.api.types import Letter, Message, OutboxEntry, Peer
from p2pchat.model import ACCEPTED, State, Trust
from p2pchat.tui.cells import line_text
from p2pchat.tui.conversation import Conversation
from p2pchat.tui.model import EngineState, Entry, Me, PeerItem, Waiting, entry_of, later, peer_item

_RECENT_STATES: Final = 2048


def _peer_order(item: PeerItem) -> tuple[int, int, str, str]:
    """Requests first, then the latest conversations, then by name; blocked ones last."""
    group = 0 if item.is_request else 3 if item.trust is Trust.BLOCKED else 1
    if group == 1 and item.last_message_at_ms is None and item.trust not in ACCEPTED:
        group = 2
    return group, -(item.last_message_at_ms or 0), item.name.casefold(), item.device_id


class Desk:
    """Everything on the desk of one person: peers, conversations, what waits, what died."""

    def __init__(self) -> None:
        self.me: Me | None = None
        self.engine = EngineState()
        self.peers: tuple[PeerItem, ...] = ()
        self.peers_known = False
        self.conversations: dict[str, Conversation] = {}
        self.open_peer: str | None = None
        self.waiting: dict[str, Waiting] = {}
        self.outbox: tuple[OutboxEntry, ...] = ()
        self.letters: tuple[Letter, ...] = ()
        self.letter_reasons: dict[str, str] = {}
        self._recent: OrderedDict[str, State] = OrderedDict()

    def peer(self, device_id: str | None) -> PeerItem | None:
        return next((item for item in self.peers if item.device_id == device_id), None)

    def name_of(self, device_id: str) -> str:
        item = self.peer(device_id)
        return item.name if item is not None else line_text(device_id[:8])

    def conversation(self, device_id: str) -> Conversation:
        """The conversation with a peer, made when it is first asked for."""
        return self.conversations.setdefault(device_id, Conversation(device_id))

    @property
    def current(self) -> Conversation | None:
        return None if self.open_peer is None else self.conversation(self.open_peer)

    def set_me(self, me: Me) -> bool:
        changed = me != self.me
        self.me = me
        return changed

    def set_engine(self, state: EngineState) -> bool:
        changed = state != self.engine
        self.engine = state
        return changed

    def set_peers(self, peers: Iterable[Peer]) -> bool:
        """Take the list over; tell whether anything that is shown has changed."""
        items = tuple(sorted((peer_item(peer) for peer in peers), key=_peer_order))
        changed = items != self.peers or not self.peers_known
        self.peers, self.peers_known = items, True
        return changed

    def set_outbox(self, entries: Sequence[OutboxEntry]) -> bool:
        """Take over what waits; tell whether a reason changed."""
        waiting = {
            entry.message_id: Waiting(
                message_id=entry.message_id,
                reason=line_text(entry.waiting_for),
                attempts=entry.attempts,
                next_attempt_at_ms=entry.next_attempt_at_ms,
                last_error=line_text(entry.last_error or ""),
            )
            for entry in entries
        }
        changed = waiting != self.waiting or tuple(entries) != self.outbox
        self.waiting, self.outbox = waiting, tuple(entries)
        return changed

    def set_letters(self, letters: Sequence[Letter]) -> bool:
        """Take over the dead letters."""
        changed = tuple(letters) != self.letters
        self.letters = tuple(letters)
        self.letter_reasons = {letter.message_id: letter.reason for letter in letters}
        return changed

    def overlay(self, page: Sequence[Message]) -> list[Entry]:
        """Read a page of history and lay the states over it that events told since."""
        entries = []
        for message in page:
            entry = entry_of(message)
            recent = self._recent.get(entry.message_id)
            if recent is not None and entry.state is not None:
                entry = replace(entry, state=later(entry.state, recent))
            entries.append(entry)
        return entries

    def note_state(self, peer: str | None, message_id: str, state: State, at_ms: int, *, back: bool = False) -> bool:
        """Take over a state that an event told; tell whether a loaded message changed."""
        self._recent[message_id] = state if back else later(self._recent.get(message_id), state)
        self._recent.move_to_end(message_id)
        while len(self._recent) > _RECENT_STATES:
            self._recent.popitem(last=False)
        if peer is not None:
            found = self.conversations.get(peer)
            return found is not None and found.set_state(message_id, state, at_ms, back=back)
        return any(c.set_state(message_id, state, at_ms, back=back) for c in self.conversations.values())

    def forget_events(self) -> None:
        """Events may have been missed: trust what the engine answers from now on."""
        self._recent.clear()

    def next_unread(self) -> str | None:
        """The next peer with unread messages after the open one, in the order of the panel."""
        ids = [item.device_id for item in self.peers]
        start = ids.index(self.open_peer) + 1 if self.open_peer in ids else 0
        ring = self.peers[start:] + self.peers[:start]
        return next((item.device_id for item in ring if item.unread and item.device_id != self.open_peer), None)
