"""Short ways to write operations in tests: message 1 to BOB at second 1, and so on."""

from __future__ import annotations

from p2pchat.core import ops
from p2pchat.model import DeviceId, MessageId, PeerHasIt, Reason, Trust

BOB = DeviceId("bob".ljust(52, "b"))
EVE = DeviceId("eve".ljust(52, "e"))
START_MS = 1_700_000_000_000


def at(second: float) -> int:
    """Return the time so many seconds after the start, in milliseconds."""
    return START_MS + round(second * 1000)


def clock(second: float) -> int:
    """Return the clock value of that time."""
    return at(second) << 16


def mid(n: int) -> MessageId:
    """Return message id number ``n``."""
    return MessageId((START_MS + n).to_bytes(6, "big") + n.to_bytes(10, "big"))


def peer(who: DeviceId = BOB, trust: Trust = Trust.UNVERIFIED, name: str = "bob", alias: str = "") -> ops.UpsertPeer:
    """Store a peer."""
    return ops.UpsertPeer(who, name, alias, trust, at(0))


def out(
    n: int,
    to: DeviceId = BOB,
    *,
    body: str | None = None,
    hlc: int | None = None,
    seen: MessageId | None = None,
    transmitted: bool = False,
) -> ops.InsertOutgoing:
    """Insert message ``n`` of ours, number ``n`` in the stream, at second ``n``."""
    text = f"out {n}" if body is None else body
    return ops.InsertOutgoing(to, mid(n), n, text, clock(n) if hlc is None else hlc, seen, at(n), transmitted)


def incoming(
    n: int,
    sender: DeviceId = BOB,
    *,
    hlc: int | None = None,
    seen: MessageId | None = None,
    received: float | None = None,
    body: str | None = None,
) -> ops.ApplyIncoming:
    """Apply message ``n`` of a peer, sent at second ``n`` and received a second later."""
    received_at_ms = at(n + 1 if received is None else received)
    text = f"in {n}" if body is None else body
    return ops.ApplyIncoming(sender, mid(n), n, text, clock(n) if hlc is None else hlc, seen, at(n), received_at_ms)


def delivered(*numbers: int, by: DeviceId = BOB, second: float = 100, sent: float | None = None) -> ops.MarkDelivered:
    """Mark messages as delivered."""
    sent_at_ms = None if sent is None else at(sent)
    return ops.MarkDelivered(by, tuple(map(mid, numbers)), (sent_at_ms,) * len(numbers), at(second))


def dead(
    n: int, to: DeviceId = BOB, *, peer_has_it: PeerHasIt = PeerHasIt.UNKNOWN, second: float = 90
) -> ops.MoveToDeadLetters:
    """Give a message up."""
    return ops.MoveToDeadLetters(to, mid(n), Reason.NOT_ACKNOWLEDGED, "no ack", 5, peer_has_it, at(second))


def revive(n: int, seq: int, *, auto: bool = False, auto_returns: int = 0, second: float = 95) -> ops.ReviveLetter:
    """Put a dead letter back in line."""
    return ops.ReviveLetter(BOB, mid(n), seq, auto, auto_returns, at(second), None)
