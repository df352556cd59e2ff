"""What a store is: one side that writes and one that reads.

The writing side belongs to one thread at a time. ``load`` and the reading side may be used from another thread beside
it; they see what is committed, and nothing else. Everything raises :class:`~p2pchat.errors.StoreError`, and nothing
else, when the disk does not do what it should.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from p2pchat.core.ops import Op, Outcome
from p2pchat.core.records import LetterRecord, Snapshot, WaitingRecord
from p2pchat.model import DeviceId, MessageId
from p2pchat.store.notices import Recorded
from p2pchat.store.rows import Counts, MessageDetailRow, MessageRow, Written


class CommitResult(msgspec.Struct, frozen=True):
    """What one transaction found and recorded.

    Attributes:
        outcomes: those of the conditional operations, in the order of the operations.
        recorded: the events that are now stored, in the order of their ids.
    """

    outcomes: tuple[Outcome, ...] = ()
    recorded: tuple[Recorded, ...] = ()


class Reader(Protocol):
    """The reading side. Peers and messages that are not there give empty answers, unless it says otherwise."""

    def history(
        self, peer: DeviceId, limit: int, *, before: MessageId | None = None, after: MessageId | None = None
    ) -> list[MessageRow]:
        """Return messages of a conversation, oldest first.

        Args:
            limit: the newest so many; with ``after`` and without ``before`` the oldest so many.
            before, after: strictly before, after this message of the conversation.

        Raises:
            NoSuchMessage: ``before`` or ``after`` is not in the conversation.
        """

    def message(self, message_id: MessageId) -> MessageDetailRow | None:
        """Return one message and its way; ours, if a peer used the same id."""

    def outbox(self, peer: DeviceId | None = None) -> list[WaitingRecord]:
        """Return our messages that are pending or sent, by peer and number."""

    def letters(self, peer: DeviceId | None = None) -> list[LetterRecord]:
        """Return dead letters, the oldest first."""

    def letter(self, message_id: MessageId) -> LetterRecord | None:
        """Return one dead letter."""

    def unread_count(self, peer: DeviceId) -> int:
        """Return how many messages of a peer our user has not read."""

    def unread_counts(self) -> dict[DeviceId, int]:
        """Return the unread count of every peer that has one."""

    def last_messages(self) -> dict[DeviceId, MessageRow]:
        """Return the last message of every conversation that has one."""

    def events_since(self, event_id: int, limit: int) -> list[Recorded]:
        """Return at most ``limit`` stored events with higher ids, in order."""

    def event_range(self) -> tuple[int | None, int | None]:
        """Return the first and the last event id that are stored."""

    def counts(self) -> Counts:
        """Return how much there is."""


class Store(Reader, Protocol):
    """A store: the reading side, and the writing side for one thread at a time."""

    def load(self) -> Snapshot:
        """Return everything that a node needs to start."""

    def commit(self, ops: Sequence[Op]) -> CommitResult:
        """Apply operations in order in one transaction. If it raises, nothing of it happened."""

    def tidy(self) -> None:
        """Do the housekeeping that nobody waits for, if it is due. Call it between commits."""

    def checkpoint(self) -> None:
        """Put what was committed into its final place. Nothing is lost if it fails."""

    def probe(self) -> None:
        """Write a little, for real; raises if the disk does not take it."""

    def written(self) -> Written:
        """Return what was written since the store was opened."""

    def close(self) -> None:
        """Put everything in its place and close. Closing again does nothing."""
