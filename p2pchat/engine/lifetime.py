"""How long an engine stays that was started for a command: pure.

It stays ``LINGER_S`` after its start and after its last client has left, and after that as long as mail moves, but
at most ``MAIL_S`` more. An engine that a person started stays for good.
"""

from __future__ import annotations

from typing import Final

LINGER_S: Final = 15.0
MAIL_S: Final = 60.0


class Lifetime:
    """Judges whether an engine is still needed; times are seconds on one monotonic clock."""

    def __init__(self, started_s: float, *, linger_s: float = LINGER_S, mail_s: float = MAIL_S) -> None:
        self._needed_s = started_s
        self._linger_s = linger_s
        self._mail_s = mail_s

    def is_over(self, now_s: float, *, clients: int, mail_moves: bool) -> bool:
        """Tell whether to end now. Call it now and then, and when a client has left."""
        if clients:
            self._needed_s = now_s
            return False
        idle_s = now_s - self._needed_s
        if idle_s < self._linger_s:
            return False
        return not mail_moves or idle_s >= self._linger_s + self._mail_s
