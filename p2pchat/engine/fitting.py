"""Answers that fit on a line: the API allows ``MAX_LINE_BYTES``, and a text may have 64 KiB, more when escaped.

A page of history gets shorter (the client asks for the next one anyway). A list that must be complete keeps all its
entries and shortens their texts instead. All of it is done off the loop; the result is encoded already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from p2pchat.api.types import MAX_LINE_BYTES, ErrorCode, Letter, Message, OutboxEntry
from p2pchat.errors import ApiError

ROOM_BYTES: Final = MAX_LINE_BYTES - 4096
"""What a result may take; the rest is for the envelope around it."""

_BODY_CHARS: Final = (16_384, 4_096, 1_024, 256, 64, 0)

Listed = TypeVar("Listed", Letter, OutboxEntry)

_encoder: Final = msgspec.json.Encoder()


def fit_history(page: Sequence[Message], *, keep_oldest: bool, room_bytes: int = ROOM_BYTES) -> msgspec.Raw:
    """Encode as many messages as fit, from the end of the page that the client asked for."""
    kept: list[bytes] = []
    size_bytes = 2
    for message in page if keep_oldest else reversed(page):
        data = _encoder.encode(message)
        size_bytes += len(data) + 1
        if size_bytes > room_bytes and kept:
            break
        kept.append(data)
    if not keep_oldest:
        kept.reverse()
    return msgspec.Raw(b"[" + b",".join(kept) + b"]")


def fit_bodies(entries: Sequence[Listed], *, room_bytes: int = ROOM_BYTES) -> msgspec.Raw:
    """Encode all entries, with their texts cut as far as needed.

    Raises:
        ApiError: not even without texts do they fit.
    """
    data = _encoder.encode(entries)
    for chars in _BODY_CHARS:
        if len(data) <= room_bytes:
            break
        data = _encoder.encode([_cut(entry, chars) for entry in entries])
    if len(data) > room_bytes:
        raise ApiError(ErrorCode.TOO_LARGE, "the list is too long for one answer; ask for one peer at a time")
    return msgspec.Raw(data)


def _cut(entry: Listed, chars: int) -> Listed:
    if len(entry.body) <= chars:
        return entry
    return msgspec.structs.replace(entry, body=entry.body[:chars] + "…")
