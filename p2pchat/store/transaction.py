"""The state of one transaction while operations are applied in it.

A device's row (counters of its two streams, names of its conversation) is loaded once per transaction, changed in
memory and written back at the end: a batch of a thousand messages of one peer writes its counters once. Events are
numbered at once and inserted together at the end. Message keys and event ids continue from the highest stored one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from p2pchat.core.ops import Outcome
from p2pchat.model import DeviceId, MessageId, Trust
from p2pchat.store import notices
from p2pchat.store.notices import Notice, Recorded

OURSELVES: Final = 0
"""The key of this device in ``devices``."""

_LOAD_STREAM: Final = """
SELECT d.key, c.key, p.trust, d.next_seq, d.acked, d.settled_seq, d.applied, d.last_seq, d.clock,
       d.last_incoming, d.incoming_hlc, d.incoming_place, p.stranger_messages, p.stranger_bytes,
       (SELECT max(place) FROM messages WHERE conversation = c.key)
FROM devices AS d LEFT JOIN conversations AS c ON c.device = d.key LEFT JOIN peers AS p ON p.device = d.key
WHERE d.device_id = ?
"""
_SAVE_STREAM: Final = """
UPDATE devices SET next_seq = ?, acked = ?, settled_seq = ?, applied = ?, last_seq = ?, clock = ?, last_incoming = ?,
  incoming_hlc = ?, incoming_place = ?
WHERE key = ?
"""
_FIND_OURS: Final = """
SELECT m.key, m.conversation, m.seq, m.state, m.sent_at_ms, m.handed_at_ms, m.delivered_at_ms, m.cancelling
FROM message_ids AS i JOIN messages AS m ON m.key = i.message
WHERE i.id = ? AND i.author = 0
"""


class Stream:
    """A device's row with what its conversation and peer rows add; changed in memory, saved if ``dirty``."""

    __slots__ = (
        "acked",
        "applied",
        "clock",
        "conversation",
        "device",
        "dirty",
        "incoming_hlc",
        "incoming_place",
        "last_incoming",
        "last_seq",
        "next_seq",
        "peer",
        "seen_place",
        "settled_seq",
        "stranger_bytes",
        "stranger_messages",
        "strangers_dirty",
        "top_place",
        "trust",
    )

    def __init__(self, peer: DeviceId, row: Sequence[Any]) -> None:
        self.peer = peer
        self.device: int
        self.conversation: int | None
        self.trust: str | None
        self.next_seq: int
        self.acked: int
        self.settled_seq: int
        self.applied: int
        self.last_seq: int
        self.clock: int
        self.last_incoming: MessageId | None
        self.incoming_hlc: int
        self.incoming_place: int | None
        self.stranger_messages: int
        self.stranger_bytes: int
        self.top_place: int | None
        self.device, self.conversation, self.trust, self.next_seq, self.acked, self.settled_seq = row[:6]
        self.applied, self.last_seq, self.clock, self.last_incoming, self.incoming_hlc, self.incoming_place = row[6:12]
        self.stranger_messages, self.stranger_bytes, self.top_place = row[12:]
        self.seen_place: tuple[MessageId, int] | None = None
        self.dirty = False
        self.strangers_dirty = False

    @property
    def stored(self) -> bool:
        """Whether there is a peer (and so a conversation), not just a device."""
        return self.trust is not None

    def give_place(self, place: int) -> None:
        """Note the place that a new message got."""
        self.top_place = place if self.top_place is None else max(self.top_place, place)
        self.clock = max(self.clock, place)
        self.dirty = True


class Ours(NamedTuple):
    """A message of ours, as far as changing its state needs it."""

    key: int
    conversation: int
    seq: int
    state: str
    sent_at_ms: int
    handed_at_ms: int | None
    delivered_at_ms: int | None
    cancelling: int


class Transaction:
    """What the operations of one transaction share. Made for one ``BEGIN … COMMIT``, then thrown away."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        cursor = connection.cursor()
        self.execute = cursor.execute
        self._many = connection.executemany
        self.outcomes: list[Outcome] = []
        self._notices: list[tuple[Notice, int | None]] = []
        self._recorded: list[Recorded] = []
        self._streams: dict[DeviceId, Stream] = {}
        self._by_conversation: dict[int, Stream] = {}
        row = self.execute("SELECT (SELECT max(event_id) FROM events), (SELECT max(key) FROM messages)").fetchone()
        self._last_event: int = row[0] or 0
        self._last_message: int = row[1] or 0

    def next_message_key(self) -> int:
        """Return the key of a new message."""
        self._last_message += 1
        return self._last_message

    def note(self, notice: Notice, message: int | None = None) -> None:
        """Record an event; ``message`` is the key of the message that it is about."""
        self._notices.append((notice, message))

    # --- devices --------------------------------------------------------------------------------------------------

    def stream(self, peer: DeviceId) -> Stream | None:
        """Return what is stored of a device, if it was ever stored."""
        stream = self._streams.get(peer)
        if stream is None:
            row = self.execute(_LOAD_STREAM, (peer,)).fetchone()
            if row is None or row[0] == OURSELVES:
                return None
            stream = Stream(peer, row)
            self._remember(stream)
        return stream

    def stored(self, peer: DeviceId) -> Stream | None:
        """Return what is stored of a peer, if it is one."""
        stream = self.stream(peer)
        return stream if stream is not None and stream.stored else None

    def stream_of(self, conversation: int) -> Stream:
        """Return the stream of a stored conversation."""
        stream = self._by_conversation.get(conversation)
        if stream is None:
            row = self.execute(
                "SELECT d.device_id FROM conversations AS c JOIN devices AS d ON d.key = c.device WHERE c.key = ?",
                (conversation,),
            ).fetchone()
            stream = self.stream(row[0])
            assert stream is not None
        return stream

    def ensure(self, peer: DeviceId, name: str = "", alias: str = "", trust: Trust = Trust.REQUEST) -> Stream:
        """Return a peer's stream; store the peer first if it is not.

        A message for or from a device that nobody stored before makes it a stranger, rather than be lost.
        """
        stream = self.stream(peer)
        if stream is not None and stream.stored:
            return stream
        if stream is None:
            self.execute("INSERT INTO devices (device_id) VALUES (?)", (peer,))
        else:
            self._save([stream])
        (device,) = self.execute("SELECT key FROM devices WHERE device_id = ?", (peer,)).fetchone()
        self.execute(
            "INSERT INTO peers (device, name, alias, trust) VALUES (?, ?, ?, ?)",
            (device, name, alias, trust.value),
        )
        self.execute("INSERT INTO conversations (kind, device) VALUES ('direct', ?)", (device,))
        stream = Stream(peer, self.execute(_LOAD_STREAM, (peer,)).fetchone())
        self._remember(stream)
        return stream

    def drop(self, stream: Stream) -> None:
        """Save a stream and forget that it was loaded, because its rows are about to change."""
        self._save([stream])
        del self._streams[stream.peer]
        if stream.conversation is not None:
            del self._by_conversation[stream.conversation]

    def drop_all(self) -> None:
        """As :meth:`drop`, for every stream."""
        for stream in list(self._streams.values()):
            self.drop(stream)

    def _remember(self, stream: Stream) -> None:
        self._streams[stream.peer] = stream
        if stream.conversation is not None:
            self._by_conversation[stream.conversation] = stream

    # --- messages -------------------------------------------------------------------------------------------------

    def ours(self, message_id: MessageId) -> Ours | None:
        """Find a message of ours by its id."""
        row = self.execute(_FIND_OURS, (message_id,)).fetchone()
        return None if row is None else Ours._make(row)

    def ours_to(self, stream: Stream, message_id: MessageId) -> Ours | None:
        """Find a message of ours to this peer."""
        ours = self.ours(message_id)
        return ours if ours is not None and ours.conversation == stream.conversation else None

    # --- the end --------------------------------------------------------------------------------------------------

    def finish(self) -> tuple[Recorded, ...]:
        """Write what was kept back; the transaction can then be committed."""
        self._save(self._streams.values())
        self.write_events()
        return tuple(self._recorded)

    def write_events(self) -> None:
        """Store the events recorded so far."""
        rows = [self._event_row(notice, message) for notice, message in self._notices]
        self._many("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._notices.clear()

    def _event_row(self, notice: Notice, message: int | None) -> tuple[object, ...]:
        self._last_event += 1
        self._recorded.append(notices.recorded(self._last_event, notice))
        device = stranger = None
        if notice.peer is not None:
            stream = self.stream(notice.peer)
            device, stranger = (None, notice.peer) if stream is None else (stream.device, None)
        kind, detail = notice.kind.value, notices.pack(notice)
        return (self._last_event, notice.at_ms, kind, device, message, stranger, detail)

    def _save(self, streams: Iterable[Stream]) -> None:
        for stream in streams:
            if stream.dirty:
                mine = (stream.next_seq, stream.acked, stream.settled_seq)
                theirs = (stream.applied, stream.last_seq, stream.clock)
                incoming = (stream.last_incoming, stream.incoming_hlc, stream.incoming_place)
                self.execute(_SAVE_STREAM, (*mine, *theirs, *incoming, stream.device))
                stream.dirty = False
            if stream.strangers_dirty:
                self.execute(
                    "UPDATE peers SET stranger_messages = ?, stranger_bytes = ? WHERE device = ?",
                    (stream.stranger_messages, stream.stranger_bytes, stream.device),
                )
                stream.strangers_dirty = False
