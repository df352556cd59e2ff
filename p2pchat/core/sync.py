"""What comes in: events of peers, and what our user has read of them.

An event is applied, refused or held; the store decides whether it is a duplicate, because only the store knows every
id that was ever applied. So an event that would be refused or held is first looked up: what is on our disk already
is acknowledged, whatever we think of its author now. Acknowledgements are collected per link and leave after the
commit, in order.

========================= =====================================================================
the event                 what happens
========================= =====================================================================
cannot be decoded         refused ``malformed`` if its id can be read; the others go on
kind or size not ours     refused ``unsupported``, ``too_large``
its author is blocked     refused ``blocked`` (also strangers, where first contact is refused)
a stranger over the cap   held ``not_accepted``: it waits at its author
otherwise                 applied once, acknowledged always
========================= =====================================================================

Once something of a peer is held, everything behind it is held too, so that the author's order survives. A number
that is missing is noticed, shown and asked for once; the event that revealed it is applied at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from p2pchat.core.context import Context
from p2pchat.core.effects import Notify, Transmit
from p2pchat.core.inputs import Now
from p2pchat.core.item import stored_event
from p2pchat.core.ops import (
    AppliedKnown,
    ApplyIncoming,
    IncomingApplied,
    NoteStream,
    Outcome,
    QueryApplied,
    QueryStream,
    ReadTold,
    StoredEvent,
    StreamFound,
)
from p2pchat.core.peers import Directory, Peer
from p2pchat.core.session import Phase, Session
from p2pchat.errors import WireError
from p2pchat.model import MAX_BODY_BYTES, FirstContact, LinkId, MessageId, Reason, Trust
from p2pchat.wire import (
    Ack,
    Event,
    Events,
    Gone,
    Had,
    Have,
    Hold,
    Pull,
    Read,
    Refusal,
    decode_event,
    encode,
    encode_event,
    event_id_of,
)

NOT_ACCEPTED: Final = "not_accepted"
STORAGE_FAILED: Final = "storage_failed"
IDS_PER_FRAME: Final = 1024
PULL_EVENTS: Final = 256
PULL_BYTES: Final = 512 * 1024


@dataclass(slots=True)
class _Answers:
    """What is to be said about events on one link."""

    session: Session
    ids: list[MessageId] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


class Inbox:
    """The receiving half of all streams."""

    def __init__(self, context: Context, directory: Directory) -> None:
        self._context = context
        self._directory = directory
        self._answers: dict[LinkId, _Answers] = {}

    # --- events -------------------------------------------------------------------------------------------------

    def take(self, peer: Peer, session: Session, events: Sequence[msgspec.Raw], now: Now) -> None:
        """Take the events of one frame, in order."""
        if peer.holding:
            self._context.ledger.emit(Transmit(session.link, encode(Hold(peer.holding))))
        for raw in events:
            try:
                event = decode_event(raw)
            except WireError as error:
                message_id = event_id_of(raw)
                if message_id is not None:
                    self._refuse(session, message_id, Reason.MALFORMED, str(error))
                continue
            self._take_one(peer, session, event, now)
        self._notify("sync:notification-received", peer, now, events=len(events))

    def _take_one(self, peer: Peer, session: Session, event: Event, now: Now) -> None:
        message_id = MessageId(event.id)
        if message_id in session.denied:
            session.overtaken = True
            return
        refusal = self._refusal(peer, event)
        if refusal is not None and refusal[0] is not Reason.BLOCKED:
            self._watch_numbers(peer, session, event, now)
        if refusal is None and not peer.holding and not self._admit(peer, event, now):
            self.hold(peer, NOT_ACCEPTED)
        if refusal is not None or peer.holding:
            peer.skipped = peer.skipped or refusal is None or refusal[0] is Reason.BLOCKED
            self._look_up(peer, session, message_id, refusal)
            return
        self._watch_numbers(peer, session, event, now)
        self._context.clock.merge(event.hlc, now.wall_ms)
        op = ApplyIncoming(
            peer=peer.id,
            message_id=message_id,
            seq=event.seq,
            body=event.text,
            hlc=event.hlc,
            seen=None if event.seen is None else MessageId(event.seen),
            sent_at_ms=event.sent_at_ms,
            received_at_ms=now.wall_ms,
        )
        self._context.ledger.ask(op, lambda outcome, _: self._applied(peer, session, event, outcome))

    def _refusal(self, peer: Peer, event: Event) -> tuple[Reason, str] | None:
        if event.kind != "text":
            return Reason.UNSUPPORTED, "this version takes only text"
        if len(event.text.encode("utf-8")) > MAX_BODY_BYTES:
            return Reason.TOO_LARGE, f"a text may have at most {MAX_BODY_BYTES} bytes"
        if peer.trust is Trust.BLOCKED:
            return Reason.BLOCKED, "blocked by the addressee"
        if not peer.accepted and self._context.policy.first_contact is FirstContact.REFUSE:
            return Reason.BLOCKED, "the addressee takes no messages from strangers"
        return None

    def _admit(self, peer: Peer, event: Event, now: Now) -> bool:
        """Let the accepted pass and strangers in as requests; False: the stranger is over the cap."""
        policy = self._context.policy
        if peer.accepted:
            return True
        if policy.first_contact is FirstContact.ACCEPT:
            self._directory.store(peer, Trust.UNVERIFIED, now)
            return True
        size = len(event.text.encode("utf-8"))
        full = (
            peer.stranger_messages >= policy.max_stranger_messages
            or peer.stranger_bytes + size > policy.max_stranger_bytes
            or (peer.trust is Trust.SEEN and self._directory.strangers() >= policy.max_strangers)
        )
        if full:
            return False
        if peer.trust is Trust.SEEN:
            self._directory.store(peer, Trust.REQUEST, now)
        peer.stranger_messages += 1
        peer.stranger_bytes += size
        return True

    def _applied(self, peer: Peer, session: Session, event: Event, outcome: Outcome) -> None:
        assert isinstance(outcome, IncomingApplied)
        if outcome.applied:
            peer.applied += 1
            peer.last_seq = max(peer.last_seq, event.seq)
            if event.hlc >= peer.last_incoming_hlc:
                peer.last_incoming, peer.last_incoming_hlc = outcome.message_id, event.hlc
        elif peer.trust is Trust.REQUEST:
            peer.stranger_messages -= 1
            peer.stranger_bytes -= len(event.text.encode("utf-8"))
        self._answer(session).ids.append(outcome.message_id)

    def _look_up(self, peer: Peer, session: Session, message_id: MessageId, refusal: tuple[Reason, str] | None) -> None:
        """Acknowledge what is here already; refuse the rest, or leave it held."""

        def found(outcome: Outcome, now: Now) -> None:
            assert isinstance(outcome, AppliedKnown)
            if outcome.has:
                self._answer(session).ids.append(message_id)
            elif refusal is not None:
                self._refuse(session, message_id, *refusal)

        self._context.ledger.ask(QueryApplied(peer.id, (message_id,)), found)

    def _refuse(self, session: Session, message_id: MessageId, reason: Reason, detail: str) -> None:
        self._answer(session).refused.append(Refusal(message_id, reason.value, detail[:512]))

    def _answer(self, session: Session) -> _Answers:
        return self._answers.setdefault(session.link, _Answers(session))

    def flush(self, now: Now) -> None:
        """Promise the acknowledgements collected since the last call."""
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if answer.session.phase is Phase.UP:
                for start in range(0, max(len(answer.ids), len(answer.refused)), IDS_PER_FRAME):
                    end = start + IDS_PER_FRAME
                    ack = Ack(tuple(answer.ids[start:end]), tuple(answer.refused[start:end]))
                    self._context.ledger.promise(Transmit(answer.session.link, encode(ack)), now)

    # --- holes --------------------------------------------------------------------------------------------------

    def _watch_numbers(self, peer: Peer, session: Session, event: Event, now: Now) -> None:
        first = max(peer.heard_seq, peer.asked_upto) + 1
        if event.prev >= first:
            peer.asked_upto = event.prev
            peer.hole = (first, event.prev)
            self._context.ledger.emit(Transmit(session.link, encode(Pull(first, event.prev))))
            text = (
                f"messages {first} to {event.prev} are missing; asked for"
                if event.prev > first
                else (f"message {first} is missing; asked for")
            )
            self._context.ledger.note(NoteStream(peer.id, "hole", text, now.wall_ms))
        peer.heard_seq = max(peer.heard_seq, event.seq)

    def pulled(self, peer: Peer, session: Session, events: Events, now: Now) -> None:
        """The answer to a pull: take it, and ask on if there is more."""
        self.take(peer, session, events.events, now)
        if not events.more or peer.hole is None:
            peer.hole = None
            return
        numbers = [number for number in map(_seq_of, events.events) if number is not None]
        first = max(numbers, default=peer.hole[1]) + 1
        peer.hole = (first, peer.hole[1]) if first <= peer.hole[1] else None
        if peer.hole is not None:
            self._context.ledger.emit(Transmit(session.link, encode(Pull(*peer.hole))))

    def gone(self, peer: Peer, gone: Gone, now: Now) -> None:
        """The author cannot give what is missing."""
        if peer.hole is not None:
            peer.hole = None
            text = f"messages {gone.first} to {gone.last} are gone at their author"
            self._context.ledger.note(NoteStream(peer.id, "gone", text, now.wall_ms))

    def answer_pull(self, peer: Peer, session: Session, pull: Pull, now: Now) -> None:
        """The peer misses events of ours: look them up, one question at a time."""
        if peer.answering_pull or pull.last < pull.first:
            return
        peer.answering_pull = True
        given_up = peer.line.given_up

        def found(outcome: Outcome, then: Now) -> None:
            assert isinstance(outcome, StreamFound)
            peer.answering_pull = False
            if peer.line.given_up != given_up:
                # Something was taken back while the store was looking: what it found may not leave any more.
                self.answer_pull(peer, session, pull, then)
                return
            events = [stored for stored in outcome.events if _may_leave(peer, stored)]
            chosen: list[msgspec.Raw] = []
            size = 0
            for stored in events:
                raw = encode_event(stored_event(stored))
                size += len(bytes(raw))
                if chosen and size > PULL_BYTES:
                    break
                chosen.append(raw)
            for stored in events[: len(chosen)]:
                item = peer.line.get(stored.message_id)
                if item is not None:
                    item.copies += 1
            more = len(chosen) < len(events) or len(outcome.events) == PULL_EVENTS
            frame = Events(tuple(chosen), more=more) if chosen else Gone(pull.first, pull.last)
            self._context.ledger.promise(Transmit(session.link, encode(frame)), then)

        self._context.ledger.ask(QueryStream(peer.id, pull.first, pull.last), found)

    # --- holding, having, reading -------------------------------------------------------------------------------

    def hold(self, peer: Peer, reason: str) -> None:
        """Take no events of this peer (or, with an empty reason, take them again), and say so on its links."""
        peer.holding = reason
        for session in peer.sessions:
            self._context.ledger.emit(Transmit(session.link, encode(Hold(reason))))

    def answer_have(self, peer: Peer, session: Session, have: Have) -> None:
        """The peer asks which of its messages are here."""

        def found(outcome: Outcome, then: Now) -> None:
            assert isinstance(outcome, AppliedKnown)
            frame = Had(outcome.has, outcome.lacks, have.n)
            self._context.ledger.promise(Transmit(session.link, encode(frame)), then)

        self._context.ledger.ask(QueryApplied(peer.id, tuple(map(MessageId, have.ids[:IDS_PER_FRAME]))), found)

    def tell_reads(self, peer: Peer, ids: Sequence[MessageId], now: Now) -> None:
        """Tell the author what our user has read, on the live link if there is one."""
        session = peer.session
        if session is None or not ids or not peer.accepted or not self._context.policy.read_receipts:
            return
        for chunk in _chunks(ids):
            self._context.ledger.promise(Transmit(session.link, encode(Read(chunk, max(0, now.wall_ms)))), now)

    def reads_known(self, peer: Peer, ids: Sequence[bytes]) -> None:
        """The author acknowledged that it knows these reads."""
        known = tuple(MessageId(message_id) for message_id in ids if message_id in peer.untold_reads)
        if known:
            for message_id in known:
                del peer.untold_reads[message_id]
            self._context.ledger.note(ReadTold(peer.id, known))

    def _notify(self, name: str, peer: Peer, now: Now, **detail: int) -> None:
        self._context.ledger.emit(Notify(name, now.wall_ms, peer.id, {**detail}))


def _may_leave(peer: Peer, stored: StoredEvent) -> bool:
    """Tell whether it may be sent out of turn: a message that never was waits, because taking it back is final."""
    item = peer.line.get(stored.message_id)
    return item is None or item.transmitted


def _seq_of(raw: msgspec.Raw) -> int | None:
    try:
        return decode_event(raw).seq
    except WireError:
        return None


def _chunks(ids: Sequence[MessageId]) -> Iterator[tuple[MessageId, ...]]:
    for start in range(0, len(ids), IDS_PER_FRAME):
        yield tuple(ids[start : start + IDS_PER_FRAME])
