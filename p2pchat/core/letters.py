"""What was given up: dead letters, and messages that are being taken back.

Both may have reached the peer all the same, if they were ever transmitted. So on each new link the peer is asked
(``have``): what it has becomes delivered, what it lacks is settled (``peer_has_it = no``, or cancelled). A letter
that returns to its line need not be asked about: sending it again asks, because a duplicate is acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from p2pchat.core.context import Context
from p2pchat.core.inputs import Now
from p2pchat.core.item import DeadLettered, Item
from p2pchat.core.records import LetterRecord
from p2pchat.model import PERMANENT, DeviceId, MessageId, PeerHasIt


@dataclass(frozen=True, slots=True)
class Cancelling:
    """A message that left the line and whose fate the peer knows."""

    peer: DeviceId
    item: Item


class Letters:
    """All dead letters and open cancels of the node, by peer."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._letters: dict[MessageId, LetterRecord] = {}
        self._cancels: dict[MessageId, Cancelling] = {}
        self._by_peer: dict[DeviceId, dict[MessageId, None]] = {}
        self._cancels_by_peer: dict[DeviceId, dict[MessageId, None]] = {}
        self._questions: dict[MessageId, int] = {}
        self._last_question = 0

    def __len__(self) -> int:
        return len(self._letters)

    def add(self, letter: LetterRecord) -> None:
        """Take over a dead letter."""
        self._letters[letter.message_id] = letter
        self._by_peer.setdefault(letter.peer, {})[letter.message_id] = None

    def bury(self, dead: DeadLettered, now: Now) -> None:
        """Make a letter of a message that was given up."""
        item = dead.item
        self.add(
            LetterRecord(
                peer=item.peer,
                message_id=item.message_id,
                seq=item.seq,
                body=item.body,
                hlc=item.hlc,
                seen=item.seen,
                sent_at_ms=item.sent_at_ms,
                reason=dead.reason,
                detail=dead.detail,
                attempts=item.attempts,
                peer_has_it=dead.peer_has_it,
                transmitted=item.transmitted,
                auto_returns=item.auto_returns,
                moved_at_ms=now.wall_ms,
            )
        )

    def begin_cancel(self, item: Item) -> None:
        """Remember a message that is being taken back."""
        self._cancels[item.message_id] = Cancelling(item.peer, item)
        self._cancels_by_peer.setdefault(item.peer, {})[item.message_id] = None

    def get(self, message_id: MessageId) -> LetterRecord | None:
        """Return a dead letter."""
        return self._letters.get(message_id)

    def cancelling(self, message_id: MessageId) -> Cancelling | None:
        """Return a message that is being taken back."""
        return self._cancels.get(message_id)

    def cancels(self, peer: DeviceId) -> list[Cancelling]:
        """The messages to a peer that are being taken back."""
        return [self._cancels[message_id] for message_id in self._cancels_by_peer.get(peer, {})]

    def count(self, peer: DeviceId) -> int:
        """How many dead letters a peer has."""
        return len(self._by_peer.get(peer, {}))

    def remove(self, message_id: MessageId) -> bool:
        """Forget a letter or a cancel; tell whether there was one."""
        self._questions.pop(message_id, None)
        letter = self._letters.pop(message_id, None)
        if letter is not None:
            del self._by_peer[letter.peer][message_id]
        cancel = self._cancels.pop(message_id, None)
        if cancel is not None:
            del self._cancels_by_peer[cancel.peer][message_id]
        return letter is not None or cancel is not None

    def remove_peer(self, peer: DeviceId) -> None:
        """Forget everything about a peer."""
        for message_id in [*self._by_peer.get(peer, {}), *self._cancels_by_peer.get(peer, {})]:
            self.remove(message_id)

    def is_open(self, message_id: MessageId) -> bool:
        """Tell whether it is a letter of which nobody knows whether the peer has its message."""
        letter = self._letters.get(message_id)
        return letter is not None and letter.peer_has_it is PeerHasIt.UNKNOWN

    def belongs(self, message_id: MessageId, peer: DeviceId) -> bool:
        """Tell whether a letter or cancel of that id is addressed to this peer."""
        return message_id in self._by_peer.get(peer, {}) or message_id in self._cancels_by_peer.get(peer, {})

    def returning(self, peer: DeviceId) -> list[LetterRecord]:
        """The letters that go back to their line by themselves now that the peer is back."""
        policy = self._context.policy
        if not policy.auto_retry_on_reconnect:
            return []
        return [
            letter
            for letter in map(self._letters.__getitem__, self._by_peer.get(peer, {}))
            if letter.reason not in PERMANENT and letter.auto_returns < policy.max_auto_returns
        ]

    def to_ask(self, peer: DeviceId) -> list[MessageId]:
        """The ids that the peer must be asked about."""
        letters = map(self._letters.__getitem__, self._by_peer.get(peer, {}))
        unknown = [letter.message_id for letter in letters if letter.peer_has_it is PeerHasIt.UNKNOWN]
        return unknown + list(self._cancels_by_peer.get(peer, {}))

    def question(self, ids: Iterable[MessageId]) -> int:
        """Return the number of a new question about these. Only the answer to the latest one says that they lack."""
        self._last_question += 1
        self._questions.update(dict.fromkeys(ids, self._last_question))
        return self._last_question

    def settle_lacking(
        self, peer: DeviceId, ids: Iterable[MessageId], question: int
    ) -> tuple[list[MessageId], list[MessageId]]:
        """The peer does not have these: return (letters settled with ``no``, cancels that are final now)."""
        settled: list[MessageId] = []
        cancelled: list[MessageId] = []
        for message_id in ids:
            if self._questions.get(message_id) != question:
                continue
            if message_id in self._cancels_by_peer.get(peer, {}):
                self.remove(message_id)
                cancelled.append(message_id)
            elif message_id in self._by_peer.get(peer, {}):
                letter = self._letters[message_id]
                if letter.peer_has_it is PeerHasIt.UNKNOWN:
                    self._letters[message_id] = replace(letter, peer_has_it=PeerHasIt.NO)
                    settled.append(message_id)
        return settled, cancelled


def item_of(letter: LetterRecord, seq: int, auto_returns: int, now: Now) -> Item:
    """Make a waiting message of a letter again, with a fresh round of attempts and a fresh retention clock."""
    return Item(
        peer=letter.peer,
        message_id=letter.message_id,
        seq=seq,
        body=letter.body,
        hlc=letter.hlc,
        seen=letter.seen,
        sent_at_ms=letter.sent_at_ms,
        waiting_since_ms=now.wall_ms,
        transmitted=letter.transmitted,
        auto_returns=auto_returns,
        copies=int(letter.transmitted),
    )
