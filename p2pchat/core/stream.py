"""The stream between us and one peer on its links: which frame goes to which machine, and what a new link sets off.

While the disk refuses writes (``ledger.frozen``) every frame that would change something is left unanswered: its
sender keeps it and sends it again after the hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from p2pchat.core.context import Context
from p2pchat.core.effects import Notify, Transmit
from p2pchat.core.inputs import Now
from p2pchat.core.letters import Letters, item_of
from p2pchat.core.ops import FinishCancel, MarkDelivered, MarkReadByPeer, NoteStream, ReviveLetter, SettleLetters
from p2pchat.core.peers import Peer
from p2pchat.core.session import Session
from p2pchat.core.sync import STORAGE_FAILED, Inbox
from p2pchat.model import MessageId, Reason
from p2pchat.wire import Ack, Events, Frame, Gone, Had, Have, Hold, Pull, Read, ReadAck, encode
from p2pchat.wire import Notify as NotifyFrame

IDS_PER_FRAME: Final = 1024
_REASONS: Final = {
    reason.value: reason for reason in (Reason.BLOCKED, Reason.TOO_LARGE, Reason.UNSUPPORTED, Reason.MALFORMED)
}


class Stream:
    """Both halves of the stream with each peer."""

    def __init__(self, context: Context, inbox: Inbox, letters: Letters) -> None:
        self._context = context
        self._inbox = inbox
        self._letters = letters

    def link_up(self, peer: Peer, session: Session, now: Now) -> None:
        """Everything unsettled goes over the new link: returning letters, the line, questions, read marks."""
        if self._context.ledger.frozen:
            peer.holding = STORAGE_FAILED
        if peer.holding:
            self._context.ledger.emit(Transmit(session.link, encode(Hold(peer.holding))))
        peer.answering_pull = False
        peer.line.link_up(session.link, session.realtime, now)
        self.resume(peer, session, now)

    def resume(self, peer: Peer, session: Session, now: Now) -> None:
        """Send again what a new link, or a disk that takes writes again, allows to send."""
        peer.line.touch()
        if not self._context.ledger.frozen:
            self._return_letters(peer, now)
            self._ask_again(peer, now)
            self._arm_poll(peer, session, now, first=True)

    def _ask_again(self, peer: Peer, now: Now) -> None:
        self.ask_fate(peer, self._letters.to_ask(peer.id), now)
        self._inbox.tell_reads(peer, list(peer.untold_reads), now)

    def hold(self, peer: Peer, reason: str, now: Now) -> None:
        """The peer takes no events now; or it does again, and did not hear what we asked meanwhile."""
        ended = peer.line.hold and not reason
        peer.line.set_hold(reason, now)
        if ended and not self._context.ledger.frozen:
            self._ask_again(peer, now)

    def _return_letters(self, peer: Peer, now: Now) -> None:
        items = []
        for letter in self._letters.returning(peer.id):
            self._letters.remove(letter.message_id)
            returns = letter.auto_returns + 1
            items.append(item_of(letter, letter.seq, returns, now))
            self._context.ledger.persist(
                ReviveLetter(
                    peer.id,
                    letter.message_id,
                    letter.seq,
                    auto=True,
                    auto_returns=returns,
                    at_ms=now.wall_ms,
                    seen=letter.seen,
                )
            )
        if items:
            peer.line.insert_returned(items, now)

    def ask_fate(self, peer: Peer, ids: list[MessageId], now: Now) -> None:
        """Ask the peer which of these it has, on the live link if there is one."""
        if peer.session is not None:
            for start in range(0, len(ids), IDS_PER_FRAME):
                chunk = tuple(ids[start : start + IDS_PER_FRAME])
                frame = Have(chunk, self._letters.question(chunk))
                self._context.ledger.promise(Transmit(peer.session.link, encode(frame)), now)

    # --- polling ------------------------------------------------------------------------------------------------

    def _arm_poll(self, peer: Peer, session: Session, now: Now, *, first: bool = False) -> None:
        if session.realtime:
            self._context.timers.cancel(("poll", peer.id))
            return
        wait_s = 0.0 if first else self._context.policy.poll_interval_s
        self._context.timers.set(("poll", peer.id), now.mono_s + wait_s)

    def poll(self, peer: Peer, now: Now) -> None:
        """The poll timer fired: ask for what waits, if the link is still one that polls."""
        session = peer.session
        if session is not None and not session.realtime:
            self._context.ledger.emit(Transmit(session.link, encode(Pull())))
            self._context.ledger.emit(Notify("sync:fallback-triggered", now.wall_ms, peer.id, {}))
            self._arm_poll(peer, session, now)

    # --- frames -------------------------------------------------------------------------------------------------

    def received(self, peer: Peer, session: Session, frame: Frame, now: Now) -> None:
        """Take one stream frame of an authenticated link."""
        if isinstance(frame, Hold):
            self.hold(peer, frame.reason, now)
            return
        if self._context.ledger.frozen:
            peer.skipped = True
            return
        match frame:
            case NotifyFrame(events):
                self._inbox.take(peer, session, events, now)
            case Events():
                self._inbox.pulled(peer, session, frame, now)
            case Ack():
                self._acked(peer, session, frame, now)
            case Have():
                self._inbox.answer_have(peer, session, frame)
            case Had():
                self._had(peer, frame, now)
            case Pull(first=0):
                peer.line.evidence(now)
                peer.line.polled()
            case Pull():
                self._inbox.answer_pull(peer, session, frame, now)
            case Gone():
                self._inbox.gone(peer, frame, now)
            case Read(ids):
                self._read_by_peer(peer, session, ids, now)
            case _:
                assert isinstance(frame, ReadAck)
                self._inbox.reads_known(peer, frame.ids)

    def _acked(self, peer: Peer, session: Session, ack: Ack, now: Now) -> None:
        self.delivered(peer, map(MessageId, ack.ids), now)
        if session is not peer.session:
            # What was refused on an older link is under way again on the newest, and may be taken there.
            return
        for refusal in ack.refused:
            reason = _REASONS.get(refusal.reason, Reason.REFUSED)
            detail = refusal.detail or refusal.reason
            peer.line.refused(MessageId(refusal.id), reason, detail, now)
        refused = [MessageId(refusal.id) for refusal in ack.refused]
        self.ask_fate(peer, [one for one in refused if self._letters.is_open(one)], now)

    def delivered(self, peer: Peer, message_ids: Iterable[MessageId], now: Now) -> None:
        """The peer has these: settle them wherever they are. Ids that are not addressed to it are ignored."""
        wanted = list(dict.fromkeys(message_ids))
        ids, handed = peer.line.acked(wanted, now)
        for message_id in wanted:
            if self._letters.belongs(message_id, peer.id):
                self._letters.remove(message_id)
                ids.append(message_id)
                handed.append(now.wall_ms)
        if ids:
            peer.acked += len(ids)
            self._context.ledger.persist(MarkDelivered(peer.id, tuple(ids), tuple(handed), now.wall_ms))

    def _had(self, peer: Peer, had: Had, now: Now) -> None:
        self.delivered(peer, map(MessageId, had.has), now)
        settled, cancelled = self._letters.settle_lacking(peer.id, map(MessageId, had.lacks), had.n)
        if settled:
            self._context.ledger.persist(SettleLetters(tuple(settled), now.wall_ms))
        if cancelled:
            self._context.ledger.persist(FinishCancel(peer.id, tuple(cancelled), now.wall_ms))

    def _read_by_peer(self, peer: Peer, session: Session, ids: tuple[bytes, ...], now: Now) -> None:
        read = tuple(map(MessageId, ids))
        self.delivered(peer, read, now)
        if read:
            self._context.ledger.persist(MarkReadByPeer(peer.id, read, now.wall_ms))
        self._context.ledger.promise(Transmit(session.link, encode(ReadAck(read))), now)

    def check_count(self, peer: Peer, applied_there: int, now: Now) -> None:
        """Compare what the peer says it applied with what it acknowledged: fewer means it was restored from a copy."""
        if applied_there < peer.acked:
            text = (
                f"{peer.label} acknowledged {peer.acked} messages and knows of {applied_there}: "
                "it was restored from an older copy"
            )
            self._context.ledger.note(NoteStream(peer.id, "restored", text, now.wall_ms))
