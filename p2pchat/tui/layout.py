"""Where everything of a conversation stands: messages broken into rows, without a screen.

A message is a :class:`Block` of rows: perhaps the day, the unread line and its author's name, then its text, then
perhaps a note (why it waits, when it really arrived). A block depends on its message and on a few facts about its
neighbours, its *key*; blocks whose key stands are used again, so that a change costs what has changed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from enum import StrEnum
from itertools import accumulate
from typing import Final

from p2pchat.tui import texts
from p2pchat.tui.cells import wrap
from p2pchat.tui.conversation import Conversation
from p2pchat.tui.model import Entry

GUTTER: Final = 2
"""Cells left of a text: the bar and a space."""

META: Final = 10
"""Cells right of a text: a space, the time, a space, the tick, a space."""

MAX_ROWS: Final = 60
"""Rows of one message on the screen; its details show all."""

_RUN_MS: Final = 10 * 60_000


class Kind(StrEnum):
    """What a row is."""

    GAP = "gap"
    TOP = "top"
    DAY = "day"
    UNREAD = "unread"
    HEAD = "head"
    BODY = "body"
    FOLD = "fold"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Note:
    """A line below a message; ``tone`` is a style's name."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the conversation; ``time`` is there, and ``tick`` is true, on the first row of a text."""

    kind: Kind
    text: str = ""
    entry: Entry | None = None
    time: str = ""
    tick: bool = False
    tone: str = ""


Key = tuple[Entry | None, str, int, bool, str, Note | None]


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of one message; ``head`` of them stand above its text."""

    key: Key
    rows: tuple[Row, ...]

    @property
    def message_id(self) -> str:
        return "" if self.key[0] is None else self.key[0].message_id


@dataclass(frozen=True, slots=True)
class Changed:
    """What a sync did: nothing, these rows in place, or (``moved``) rows came or went."""

    first: int = 0
    count: int = 0
    moved: bool = False

    def __bool__(self) -> bool:
        return self.moved or self.count > 0


NotesOf = Callable[[Entry], Note | None]


class Layout:
    """The rows of one conversation at one width."""

    def __init__(self, zone: tzinfo | None = None, me: str = "you") -> None:
        self._zone = zone
        self._me = me
        self.width = 0
        self.blocks: list[Block] = []
        self._tops: list[int] = [0]

    @property
    def height(self) -> int:
        return self._tops[-1]

    def sync(self, conversation: Conversation, width: int, notes: NotesOf) -> Changed:
        """Bring the rows up to date."""
        reuse = {block.message_id: block for block in self.blocks} if width == self.width else {}
        moved = width != self.width
        self.width = width
        old, self.blocks = self.blocks, self._blocks(conversation, notes, reuse)
        changed = [index for index, pair in enumerate(zip(old, self.blocks, strict=False)) if pair[0] is not pair[1]]
        if len(old) == len(self.blocks) and not changed and not moved:
            return Changed()
        moved = moved or len(old) != len(self.blocks)
        moved = moved or any(len(old[index].rows) != len(self.blocks[index].rows) for index in changed)
        if moved:
            self._tops = [0, *accumulate(len(block.rows) for block in self.blocks)]
            return Changed(moved=True)
        first, last = changed[0], changed[-1]
        return Changed(self._tops[first], self._tops[last + 1] - self._tops[first])

    def _blocks(self, conversation: Conversation, notes: NotesOf, reuse: dict[str, Block]) -> list[Block]:
        entries = conversation.entries
        blocks = [self._top(conversation, reuse)]
        all_notes = [notes(entry) for entry in entries]
        days = [texts.day(entry.sent_at_ms, self._zone) for entry in entries]
        unread_from, unread = conversation.unread_from, 0
        if unread_from is not None and (start := conversation.index_of(unread_from)) is not None:
            unread = sum(not entry.mine for entry in entries[start:])
        previous: Entry | None = None
        clock_before = ""
        for index, entry in enumerate(entries):
            new_day = "" if index and days[index - 1] == days[index] else days[index]
            mark = unread if entry.message_id == unread_from else 0
            head = bool(new_day or mark) or _starts_run(previous, entry)
            at = texts.clock(entry.sent_at_ms, self._zone)
            note = all_notes[index]
            if note is not None and index + 1 < len(entries) and all_notes[index + 1] == note:
                note = None
            key: Key = (entry, new_day, mark, head, at if head or at != clock_before else "", note)
            known = reuse.get(entry.message_id)
            blocks.append(known if known is not None and known.key == key else Block(key, self._rows(key, entry)))
            previous, clock_before = entry, at
        return blocks

    def _top(self, conversation: Conversation, reuse: dict[str, Block]) -> Block:
        text = ""
        if conversation.loaded:
            text = texts.HISTORY_LOADING if conversation.has_older else texts.HISTORY_START
            if not conversation.entries:
                text = texts.NOTHING_YET
        key: Key = (None, text, 0, False, "", None)
        known = reuse.get("")
        if known is not None and known.key == key:
            return known
        return Block(key, tuple(Row(Kind.TOP, line) for line in wrap(text, self.width - 4)) if text else ())

    def _rows(self, key: Key, entry: Entry) -> tuple[Row, ...]:
        _, new_day, unread, head, time, note = key
        rows: list[Row] = []
        if new_day:
            rows += [Row(Kind.GAP), Row(Kind.DAY, new_day)]
        if unread:
            rows += [Row(Kind.GAP), Row(Kind.UNREAD, texts.unread_line(unread))]
        if head:
            rows += [Row(Kind.GAP), Row(Kind.HEAD, self._me if entry.mine else entry.author, entry)]
        lines = wrap(entry.body, self.width - GUTTER - META)
        hidden = len(lines) - MAX_ROWS if len(lines) > MAX_ROWS + 3 else 0
        for index, line in enumerate(lines[: len(lines) - hidden]):
            rows.append(Row(Kind.BODY, line, entry, "" if index else time, not index))
        if hidden:
            rows.append(Row(Kind.FOLD, texts.folded(hidden), entry))
        if note is not None:
            for index, line in enumerate(wrap(note.text, self.width - GUTTER - 4)):
                rows.append(Row(Kind.NOTE, line, entry, tick=not index, tone=note.tone))
        return tuple(rows)

    def row(self, y: int) -> Row | None:
        """The row at ``y``; None outside."""
        if not 0 <= y < self.height:
            return None
        index = self.block_at(y)
        return self.blocks[index].rows[y - self._tops[index]]

    def block_at(self, y: int) -> int:
        """Which block a row belongs to."""
        return min(max(0, bisect_right(self._tops, y) - 1), len(self.blocks) - 1)

    def anchor(self, y: int) -> tuple[str, int]:
        """What stands at ``y``: a message and the row within its block, counted from the end of the block."""
        index = self.block_at(y)
        if index == 0 and len(self.blocks) > 1:
            return self.blocks[1].message_id, y - self._tops[2]
        return (self.blocks[index].message_id if self.blocks else ""), y - self._tops[
            min(index + 1, len(self._tops) - 1)
        ]

    def find(self, anchor: tuple[str, int]) -> int | None:
        """Where an anchor stands now; None when its message is gone."""
        index = self.index_of(anchor[0])
        return None if index is None else max(0, self._tops[index + 1] + anchor[1])

    def index_of(self, message_id: str) -> int | None:
        """Which block a message is."""
        for index in range(len(self.blocks) - 1, 0, -1):
            if self.blocks[index].message_id == message_id:
                return index
        return None

    def span(self, index: int) -> tuple[int, int]:
        """First row of a message's own text, and the row after its block."""
        above = sum(row.kind in (Kind.GAP, Kind.DAY, Kind.UNREAD, Kind.HEAD) for row in self.blocks[index].rows)
        return self._tops[index] + above, self._tops[index + 1]


def _starts_run(previous: Entry | None, entry: Entry) -> bool:
    if previous is None or previous.mine != entry.mine:
        return True
    return abs(entry.sent_at_ms - previous.sent_at_ms) > _RUN_MS
