"""The store in memory: the same operations, outcomes, events and answers as on disk, for simulated disks.

It is deterministic, and :meth:`MemoryStore.copy` takes a picture of it that goes on by itself: a restored backup, say.
What was committed is what a simulated crash leaves.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import msgspec

from p2pchat.core.ops import Op
from p2pchat.core.records import LetterRecord, Snapshot, WaitingRecord
from p2pchat.model import DeviceId, MessageId
from p2pchat.store import notices
from p2pchat.store.failures import NoSuchMessage
from p2pchat.store.interface import CommitResult
from p2pchat.store.memory_apply import MemoryTransaction
from p2pchat.store.memory_tables import StoredNotice, Tables
from p2pchat.store.notices import Recorded
from p2pchat.store.retention import Pruner, Retention
from p2pchat.store.rows import Counts, MessageDetailRow, MessageRow, Written, timeline


class MemoryStore:
    """A :class:`~p2pchat.store.interface.Store` without a disk."""

    def __init__(self, *, retention: Retention | None = None) -> None:
        self._tables = Tables()
        self._pruner = Pruner(retention or Retention())
        self._commits = 0

    def copy(self) -> MemoryStore:
        """Return a store with the same contents that changes on its own from here on."""
        other = MemoryStore()
        other._tables = self._tables.copy()
        other._pruner = self._pruner.copy()
        other._commits = self._commits
        return other

    # --- writing --------------------------------------------------------------------------------------------------

    def commit(self, ops: Sequence[Op]) -> CommitResult:
        """See :meth:`p2pchat.store.interface.Store.commit`."""
        transaction = MemoryTransaction(self._tables)
        for op in ops:
            transaction.apply(op)
        self._prune(transaction.recorded)
        self._commits += 1
        return CommitResult(tuple(transaction.outcomes), tuple(transaction.recorded))

    def _prune(self, recorded: Sequence[Recorded]) -> None:
        if not recorded or not self._pruner.due(len(recorded), recorded[-1].at_ms):
            return
        events, newest = self._tables.events, recorded[-1]
        oldest = [(stored.event_id, stored.notice.at_ms) for stored in events[: self._pruner.reach()]]
        keep_from = self._pruner.keep_from(oldest, newest.event_id, newest.at_ms)
        del events[: self._after(keep_from - 1)]

    def tidy(self) -> None:
        """See :meth:`p2pchat.store.interface.Store.tidy`. Nothing piles up here."""

    def checkpoint(self) -> None:
        """See :meth:`p2pchat.store.interface.Store.checkpoint`. There is no other place."""

    def probe(self) -> None:
        """See :meth:`p2pchat.store.interface.Store.probe`. Memory takes writes."""

    def written(self) -> Written:
        """Return the number of commits; no disk was made to write."""
        return Written(commits=self._commits)

    def close(self) -> None:
        """See :meth:`p2pchat.store.interface.Store.close`. The contents stay: they are the simulated disk."""

    # --- reading --------------------------------------------------------------------------------------------------

    def load(self) -> Snapshot:
        """See :meth:`p2pchat.store.interface.Store.load`."""
        tables = self._tables
        untold: dict[DeviceId, list[MessageId]] = {}
        messages = [tables.messages[key] for key in tables.untold]
        for message in sorted(messages, key=lambda m: (m.place, m.key)):
            untold.setdefault(message.peer, []).append(message.id)
        return Snapshot(
            peers=tuple(
                tables.peer_record(peer) for peer in sorted(tables.devices, key=lambda p: tables.devices[p].key)
            ),
            waiting=tuple(self.outbox()),
            letters=tuple(self.letters()),
            untold_reads={peer: tuple(untold[peer]) for peer in sorted(untold, key=self._conversation)},
            hlc=max((device.clock for device in tables.devices.values()), default=0),
        )

    def _conversation(self, peer: DeviceId) -> int:
        return self._tables.peers[peer].conversation

    def history(
        self, peer: DeviceId, limit: int, *, before: MessageId | None = None, after: MessageId | None = None
    ) -> list[MessageRow]:
        """See :meth:`p2pchat.store.interface.Reader.history`."""
        order = self._tables.order.get(peer, [])
        first = 0 if after is None else bisect_right(order, self._position(peer, after))
        end = len(order) if before is None else bisect_left(order, self._position(peer, before))
        if after is not None and before is None:
            end = min(end, first + limit)
        else:
            first = max(first, end - limit)
        return [self._tables.messages[key].as_row() for _, key in order[first:end]]

    def _position(self, peer: DeviceId, message_id: MessageId) -> tuple[int, int]:
        position = self._tables.place_of(peer, message_id)
        if position is None:
            raise NoSuchMessage(f"no message {message_id.hex()} in this conversation")
        return position

    def message(self, message_id: MessageId) -> MessageDetailRow | None:
        """See :meth:`p2pchat.store.interface.Reader.message`."""
        tables = self._tables
        authors = sorted(tables.devices, key=lambda peer: tables.devices[peer].key)
        keys = (tables.ids.get((message_id, author)) for author in (None, *authors))
        message = next((tables.messages[key] for key in keys if key is not None), None)
        if message is None:
            return None
        row = message.as_row()
        letter = tables.letters.get(message.key)
        return MessageDetailRow(
            message=row,
            states=timeline(row, ended_at_ms=message.ended_at_ms, retried_at_ms=message.retried_at_ms),
            waiting=message.as_waiting() if message.key in tables.waiting else None,
            letter=None if letter is None else message.as_letter(letter),
        )

    def outbox(self, peer: DeviceId | None = None) -> list[WaitingRecord]:
        """See :meth:`p2pchat.store.interface.Reader.outbox`."""
        messages = [self._tables.messages[key] for key in self._tables.waiting]
        messages.sort(key=lambda m: (self._conversation(m.peer), m.seq, m.key))
        return [message.as_waiting() for message in messages if peer in (None, message.peer)]

    def letters(self, peer: DeviceId | None = None) -> list[LetterRecord]:
        """See :meth:`p2pchat.store.interface.Reader.letters`."""
        letters = sorted(self._tables.letters.items(), key=lambda item: (item[1].moved_at_ms, item[0]))
        records = (self._tables.messages[key].as_letter(letter) for key, letter in letters)
        return [record for record in records if peer in (None, record.peer)]

    def letter(self, message_id: MessageId) -> LetterRecord | None:
        """See :meth:`p2pchat.store.interface.Reader.letter`."""
        key = self._tables.ids.get((message_id, None))
        letter = None if key is None else self._tables.letters.get(key)
        return None if key is None or letter is None else self._tables.messages[key].as_letter(letter)

    def unread_count(self, peer: DeviceId) -> int:
        """See :meth:`p2pchat.store.interface.Reader.unread_count`."""
        return len(self._tables.unread.get(peer, ()))

    def unread_counts(self) -> dict[DeviceId, int]:
        """See :meth:`p2pchat.store.interface.Reader.unread_counts`."""
        return {peer: len(keys) for peer, keys in self._tables.unread.items() if keys}

    def last_messages(self) -> dict[DeviceId, MessageRow]:
        """See :meth:`p2pchat.store.interface.Reader.last_messages`."""
        tables = self._tables
        return {peer: tables.messages[order[-1][1]].as_row() for peer, order in tables.order.items() if order}

    def events_since(self, event_id: int, limit: int) -> list[Recorded]:
        """See :meth:`p2pchat.store.interface.Reader.events_since`."""
        first = self._after(event_id)
        return [self._replayed(stored) for stored in self._tables.events[first : first + limit]]

    def _after(self, event_id: int) -> int:
        return bisect_right(self._tables.events, event_id, key=lambda stored: stored.event_id)

    def _replayed(self, stored: StoredNotice) -> Recorded:
        notice = stored.notice
        if notice.kind in notices.WITH_BODY and stored.message is not None:
            body = self._tables.messages[stored.message].body
            notice = msgspec.structs.replace(notice, body=body)
        return notices.recorded(stored.event_id, notice)

    def event_range(self) -> tuple[int | None, int | None]:
        """See :meth:`p2pchat.store.interface.Reader.event_range`."""
        events = self._tables.events
        return (events[0].event_id, events[-1].event_id) if events else (None, None)

    def counts(self) -> Counts:
        """See :meth:`p2pchat.store.interface.Reader.counts`."""
        tables = self._tables
        return Counts(
            peers=len(tables.peers),
            messages=len(tables.messages),
            waiting=len(tables.waiting),
            letters=len(tables.letters),
            unread=sum(map(len, tables.unread.values())),
            events=len(tables.events),
        )
