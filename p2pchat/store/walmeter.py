"""Count what SQLite writes, by reading the headers of the write-ahead log.

SQLite does not say how much it wrote. Its log does: every frame (24 bytes of header and one page) carries the two salts
of the log's current generation, and those with the current salts are exactly what was written since the log was last
started over (file format: sqlite.org/fileformat2.html, section 4). Reading this file is safe while SQLite uses it: the
locks are on another one.

What is counted: the frames and the log's header; with a finished checkpoint each page that the log held, once. Syncs
follow from how SQLite works in WAL mode with ``synchronous = FULL``: one for every commit, one more for the first
commit of a new generation (its header), two for a checkpoint (the log, the database).
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

_FILE_HEADER: Final = struct.Struct(">4sIII8s8x")
_FRAME_HEADER: Final = struct.Struct(">II8s8x")


class WalMeter:
    """Follows one write-ahead log.

    Attributes:
        bytes_written, fsyncs: counted since the meter was made.
        frames: how many frames the log's current generation has.
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-wal")
        self._file: int | None = None
        self._salts = b""
        self._page_size = 0
        self._pages: set[int] = set()
        self.bytes_written = 0
        self.fsyncs = 0
        self.frames = 0
        self.read()
        self.bytes_written = self.fsyncs = 0

    def read(self) -> None:
        """Count what was appended since the last call. A log that cannot be read is counted later, or not at all."""
        with suppress(OSError):
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._count(self._file)

    def _count(self, file: int) -> None:
        header = os.pread(file, _FILE_HEADER.size, 0)
        if len(header) < _FILE_HEADER.size:
            return
        _, _, page_size, _, salts = _FILE_HEADER.unpack(header)
        if salts != self._salts:
            self._salts, self._page_size, self.frames = salts, page_size, 0
            self.bytes_written += _FILE_HEADER.size
            self.fsyncs += 1
        frame_size = _FRAME_HEADER.size + page_size
        while True:
            at = _FILE_HEADER.size + self.frames * frame_size
            raw = os.pread(file, _FRAME_HEADER.size, at)
            if len(raw) < _FRAME_HEADER.size:
                return
            page, _, frame_salts = _FRAME_HEADER.unpack(raw)
            if frame_salts != salts:
                return
            self.frames += 1
            self.bytes_written += frame_size
            self._pages.add(page)

    def committed(self) -> None:
        """Count the sync of one commit."""
        self.fsyncs += 1

    def checkpointed(self, *, complete: bool) -> None:
        """Count a checkpoint; one that readers held up is made up for by the next."""
        self.read()
        self.fsyncs += 1
        if complete:
            self.fsyncs += 1
            self.bytes_written += len(self._pages) * self._page_size
            self._pages.clear()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
