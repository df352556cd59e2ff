"""When to dial whom. Links dial, messages never do.

A peer without a link is dialled as long as an address of it is known: after a failure again in 1 s to 60 s (to 12 s
while mail waits for a peer that was linked within the hour), doubling, with jitter. Evidence of life starts over. An
announcement is a hint: it causes at most one dial per peer in 5 s, and a dial that it caused is never charged to a
message. Nor is a dial charged that nobody answered, that failed at an address that was only announced, or that
follows a goodbye: absent is not failed.

Of two devices that discover each other the one with the higher id waits a second, so that they rarely dial at once.
"""

from __future__ import annotations

from typing import Final

from p2pchat.core.context import Context
from p2pchat.core.effects import Dial, JSONValue, Notify, Refused, Reply
from p2pchat.core.inputs import AddPeer, DialError, DialFailed, Now
from p2pchat.core.letters import Letters
from p2pchat.core.peers import Directory, Peer
from p2pchat.model import DeviceId, Reason, Trust

COURTESY_S: Final = 1.0
ANSWERED: Final = {
    DialError.REFUSED: Reason.CONNECTION_REFUSED,
    DialError.TLS: Reason.HANDSHAKE_FAILED,
    DialError.HANDSHAKE: Reason.HANDSHAKE_FAILED,
}


class Dialling:
    """The dials that are under way and the times of the next ones."""

    def __init__(self, context: Context, directory: Directory, letters: Letters) -> None:
        self._context = context
        self._directory = directory
        self._letters = letters
        # A node that is rebuilt after a failed commit must not take answers to its predecessor's dials for its own.
        self._last = context.rng.getrandbits(40)
        self._targets: dict[int, DeviceId] = {}
        self._asked: dict[int, AddPeer] = {}
        self._closed = False

    def close(self) -> None:
        """Dial no more; answer who still waits for a dial."""
        self._closed = True
        for asked in self._asked.values():
            self._refuse_closed(asked)
        self._asked.clear()

    def _refuse_closed(self, command: AddPeer) -> None:
        refused = Refused("shutting_down", "the engine is ending; nothing was changed")
        self._context.ledger.emit(Reply(command.request, refused))

    def asked(self, dial: int | None) -> AddPeer | None:
        """The command that a dial answers, if a person named the address."""
        return self._asked.get(dial) if dial is not None else None

    def add_peer(self, command: AddPeer) -> None:
        """Dial what a person named."""
        if self._closed:
            self._refuse_closed(command)
            return
        self._last += 1
        self._asked[self._last] = command
        self._context.ledger.emit(Dial(self._last, command.addresses, command.expected))

    def wanted(self, peer: Peer) -> bool:
        """Tell whether the peer should be dialled when its time comes."""
        idle = not peer.sessions and peer.dial is None and not self._closed
        return idle and peer.trust is not Trust.BLOCKED and bool(peer.addresses())

    def hint(self, peer: Peer, now: Now) -> None:
        """The peer was announced, or its announcement changed."""
        pending = peer.dial_by_hint and self._context.timers.armed(("dial", peer.id))
        if pending or not self.wanted(peer):
            return
        last_s = peer.last_hint_dial_s
        earliest_s = now.mono_s if last_s is None else last_s + self._context.policy.hint_dial_interval_s
        at_s = max(now.mono_s, earliest_s)
        if self._context.device_id > peer.id:
            at_s += COURTESY_S
        peer.dial_failures = 0
        peer.dial_by_hint = True
        self._context.timers.set(("dial", peer.id), at_s)

    def soon(self, peer: Peer, now: Now, delay_s: float = 0.0) -> None:
        """There is proof of life, or every reason to look again: start over."""
        if self.wanted(peer):
            peer.dial_failures = 0
            peer.dial_by_hint = False
            courtesy_s = COURTESY_S if self._context.device_id > peer.id else 0.0
            self._context.timers.set(("dial", peer.id), now.mono_s + delay_s + courtesy_s)

    def due(self, peer: Peer, now: Now) -> None:
        """The time to dial this peer has come."""
        if not self.wanted(peer):
            return
        self._last += 1
        peer.dial = self._last
        if peer.dial_by_hint:
            peer.last_hint_dial_s = now.mono_s
        self._targets[self._last] = peer.id
        self._context.ledger.emit(Dial(self._last, peer.addresses(), peer.id))

    def finished(self, dial: int) -> None:
        """A dial led to a link that is up, or its link is gone."""
        target = self._targets.pop(dial, None)
        peer = self._directory.get(target) if target is not None else None
        if peer is not None and peer.dial == dial:
            peer.dial = None
        self._asked.pop(dial, None)

    def failed(self, event: DialFailed, now: Now) -> None:
        """A dial came to nothing: answer who asked, charge who must be, and set the next time."""
        asked = self._asked.pop(event.dial, None)
        if asked is not None:
            self._context.ledger.emit(Reply(asked.request, _refusal(asked, event)))
            return
        target = self._targets.get(event.dial)
        self.finished(event.dial)
        peer = self._directory.get(target) if target is not None else None
        if peer is None:
            return
        self._note_failure(peer, event, now)
        if event.error is DialError.WRONG_KEY:
            detail: dict[str, JSONValue] = {"detail": peer.dial_error}
            self._context.ledger.emit(Notify("link:refused", now.wall_ms, peer.id, detail))
        reason = ANSWERED.get(event.error)
        known = event.address is not None and event.address in peer.proven
        absent = peer.dial_by_hint or peer.said_goodbye
        if reason is not None and known and not absent and not peer.sessions:
            peer.line.dial_failed(reason, peer.dial_error, now)
        peer.dial_by_hint = False
        self._again(peer, now)
        self._directory.drop_if_unknown(peer)

    def _note_failure(self, peer: Peer, event: DialFailed, now: Now) -> None:
        where = f" at {event.address}" if event.address is not None else ""
        peer.dial_error = {
            DialError.NO_ANSWER: f"no answer{where}",
            DialError.UNREACHABLE: f"no route{where}",
            DialError.REFUSED: f"connection refused{where}",
            DialError.TLS: f"no secure connection{where}: {event.detail}",
            DialError.HANDSHAKE: f"handshake failed{where}: {event.detail}",
            DialError.WRONG_KEY: f"another device answers{where}: not the {peer.label} you know",
        }[event.error]
        if event.error in (DialError.NO_ANSWER, DialError.UNREACHABLE):
            if peer.silent_since_ms is None:
                peer.silent_since_ms = now.wall_ms
        else:
            peer.silent_since_ms = None

    def _again(self, peer: Peer, now: Now) -> None:
        policy = self._context.policy
        recent_ms = policy.recently_linked_s * 1000
        recent = peer.last_linked_ms is not None and now.wall_ms - peer.last_linked_ms <= recent_ms
        cap_s = policy.redial_max_with_mail_s if recent and self.has_mail(peer) else policy.redial_max_s
        delay_s = min(cap_s, policy.redial_min_s * 2.0 ** min(peer.dial_failures, 16))
        delay_s *= 1 + self._context.rng.uniform(-policy.retry_jitter, 0)
        peer.dial_failures += 1
        self._context.timers.set(("dial", peer.id), now.mono_s + delay_s)

    def has_mail(self, peer: Peer) -> bool:
        """Tell whether anything waits for this peer's return."""
        waiting = len(peer.line) or self._letters.cancels(peer.id) or self._letters.returning(peer.id)
        return bool(waiting or peer.untold_reads)


def _refusal(asked: AddPeer, event: DialFailed) -> Refused:
    where = str(event.address or asked.addresses[0])
    if event.error is DialError.WRONG_KEY:
        return Refused(
            "wrong_key",
            f"STOP: another device answers at {where} than the one you named ({event.detail}); nothing was changed. "
            "If the device was replaced, use 'p2pchat peer add' with its new invite.",
        )
    text = {
        DialError.NO_ANSWER: f"nobody answers at {where}; is the machine on, on this network, and not firewalled?",
        DialError.UNREACHABLE: f"there is no route to {where}; check the address and your own network",
        DialError.REFUSED: f"{where} refuses connections; is p2pchat running there, and on this port?",
        DialError.TLS: f"no secure connection to {where}: {event.detail}",
        DialError.HANDSHAKE: f"{where} answers, but not as p2pchat: {event.detail}",
    }[event.error]
    return Refused("unreachable", text)
