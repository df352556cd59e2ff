"""Waiting for something to become true, with a deadline. The lab polls real processes; nothing else here may wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

POLL_S: Final = 0.02


class TooLate(AssertionError):
    """It did not become true in time; the text says what was seen last."""


def wait_until(what: str, look: Callable[[], T], timeout_s: float, *, poll_s: float = POLL_S) -> T:
    """Look until what is seen is true, and return it.

    Args:
        what: the condition in words, for the failure.
        look: returns something true when it holds; what it returned last is part of the failure.

    Raises:
        TooLate: it did not become true within ``timeout_s``.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() >= deadline_s:
            raise TooLate(f"not within {timeout_s:g} s: {what}; seen last: {seen!r}")
        time.sleep(poll_s)
