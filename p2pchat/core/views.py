"""Read-only pictures of a node's memory, for the shell that answers clients. Stored history is not in them."""

from __future__ import annotations

from dataclasses import dataclass

from p2pchat.model import Address, DeviceId, MessageId, Presence, State, Trust


@dataclass(frozen=True, slots=True)
class PeerView:
    """One peer, stored or merely seen.

    Attributes:
        name: what to call it (the alias, else its own name, else the start of its id).
        mode: ``realtime``, ``polling``, or empty without a link.
        detail: why it cannot be reached or what its mail waits for; empty when all is well.
        rtt_ms, clock_offset_ms: of the live link's last heartbeat; the offset is the peer's clock minus ours.
    """

    peer: DeviceId
    name: str
    own_name: str
    alias: str
    trust: Trust
    presence: Presence
    addresses: tuple[Address, ...]
    rtt_ms: float | None
    clock_offset_ms: float | None
    pending: int
    dead_letters: int
    last_seen_ms: int | None
    mode: str
    detail: str


@dataclass(frozen=True, slots=True)
class WaitingView:
    """A message of ours that is not delivered: where it is and what it waits for, in words.

    In ``waiting_for`` the word ``{since}`` stands for ``silent_since_ms``: the shell puts the local time there.
    """

    message_id: MessageId
    peer: DeviceId
    body: str
    state: State
    attempts: int
    next_attempt_at_ms: int | None
    last_error: str | None
    waiting_for: str
    cancelling: bool
    sent_at_ms: int
    silent_since_ms: int | None
