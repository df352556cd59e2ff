"""The numbers that bound what the network may cost us."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_PORT = 27270


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines and sizes of links; the defaults are those of the protocol reference.

    Attributes:
        tcp_timeout_s: per address that is dialled, and per host name that is looked up.
        stagger_s: how long one address is tried alone before the next is tried beside it.
        tls_timeout_s, upgrade_timeout_s: for the whole TLS handshake, for the whole websocket upgrade.
        close_timeout_s: from the wish to close a link to its end by force.
        unauthenticated_age_s: how old a connection gets without ``authenticated``.
        max_unauthenticated, max_unauthenticated_per_address: accepted connections at the same time.
        max_links: accepted connections at the same time, authenticated ones included.
        max_dials: ``Dial`` effects that are worked on at the same time; further ones wait.
        max_dial_addresses: how many addresses of one ``Dial`` are tried.
        max_frame_bytes: one websocket message, either way.
        queue_bytes, queue_frames: what waits for one slow peer before its link is given up.
        frames_per_s, frames_burst: what one peer may send; beyond that we read more slowly.
        frames_unauthenticated: frames that are read before ``authenticated``; the rest waits unread.
    """

    tcp_timeout_s: float = 3.0
    stagger_s: float = 0.25
    tls_timeout_s: float = 5.0
    upgrade_timeout_s: float = 5.0
    close_timeout_s: float = 2.0
    unauthenticated_age_s: float = 15.0
    max_unauthenticated: int = 32
    max_unauthenticated_per_address: int = 4
    max_links: int = 512
    max_dials: int = 32
    max_dial_addresses: int = 16
    max_frame_bytes: int = 1024 * 1024
    queue_bytes: int = 4 * 1024 * 1024
    queue_frames: int = 4096
    frames_per_s: float = 2000.0
    frames_burst: float = 10_000.0
    frames_unauthenticated: int = 64


class TokenBucket:
    """Allows a rate with bursts. May go into debt: what has arrived is counted, the debt waited off."""

    __slots__ = ("_burst", "_per_s", "_stamp_s", "_tokens")

    def __init__(self, per_s: float, burst: float, now_s: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._stamp_s = now_s

    def take(self, count: int, now_s: float) -> float:
        """Take tokens; return the seconds to wait before more may come (0.0: none)."""
        earned = self._tokens + (now_s - self._stamp_s) * self._per_s
        self._tokens = min(earned, self._burst) - count
        self._stamp_s = now_s
        return max(0.0, -self._tokens / self._per_s)
