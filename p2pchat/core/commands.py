"""What people and scripts ask of a node. Each command gets exactly one ``Reply``; a refusal changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from p2pchat.core.context import Context
from p2pchat.core.dialling import Dialling
from p2pchat.core.effects import Changed, MessageState, PeerDone, Refused, Reply, Result
from p2pchat.core.inputs import (
    AddPeer,
    CancelMessage,
    Command,
    ManagePeer,
    MarkRead,
    Now,
    PeerAction,
    PurgeLetters,
    RetryLetters,
    SendText,
)
from p2pchat.core.item import Item
from p2pchat.core.letters import Letters, item_of
from p2pchat.core.links import Links
from p2pchat.core.ops import (
    BeginCancel,
    FinishCancel,
    ForgetPeer,
    InsertOutgoing,
    MarkReadByUs,
    Outcome,
    OutgoingKnown,
    OutgoingStored,
    QueryOutgoing,
    ReadByUs,
    RemoveLetters,
    ReviveLetter,
)
from p2pchat.core.peers import Directory, Peer
from p2pchat.core.stream import Stream
from p2pchat.core.sync import Inbox
from p2pchat.model import MAX_BODY_BYTES, DeviceId, MessageId, State, Trust, clean_name


class Commands:
    """Carries out commands on the machines of one node."""

    def __init__(
        self,
        context: Context,
        directory: Directory,
        letters: Letters,
        dialling: Dialling,
        inbox: Inbox,
        stream: Stream,
        links: Links,
    ) -> None:
        self._context = context
        self._directory = directory
        self._letters = letters
        self._dialling = dialling
        self._inbox = inbox
        self._stream = stream
        self._links = links
        self._staged: dict[MessageId, SendText] = {}

    def handle(self, command: Command, now: Now) -> None:
        """Carry out one command."""
        if self._context.ledger.frozen:
            known = self._known(command) if isinstance(command, SendText) else None
            if known is not None:
                self._reply(command, known, now)
            else:
                self._refuse(command, "storage_failed", "the disk refuses writes; nothing new was stored")
            return
        match command:
            case SendText():
                self._send(command, now)
            case CancelMessage():
                self._cancel(command, now)
            case MarkRead():
                self._mark_read(command, now)
            case RetryLetters():
                self._retry(command, now)
            case PurgeLetters():
                self._purge(command, now)
            case AddPeer():
                self._add(command)
            case ManagePeer():
                self._manage(command, now)
            case _:
                assert_never(command)

    def _reply(self, command: Command, result: Result, now: Now) -> None:
        self._context.ledger.promise(Reply(command.request, result), now)

    def _refuse(self, command: Command, code: str, text: str) -> None:
        self._context.ledger.emit(Reply(command.request, Refused(code, text)))

    # --- sending ------------------------------------------------------------------------------------------------

    def _send(self, command: SendText, now: Now) -> None:
        known = self._known(command)
        if known is not None:
            self._reply(command, known, now)
            return
        peer = self._directory.get(command.peer)
        refusal = self._send_refusal(command, peer)
        if refusal is not None:
            self._refuse_unless_known(command, refusal)
            return
        assert peer is not None
        self._accept_by_writing(peer, now)
        line = peer.line
        item = Item(
            peer=peer.id,
            message_id=command.message_id,
            seq=line.draw_seq(),
            body=command.body,
            hlc=self._context.clock.tick(now.wall_ms),
            seen=peer.last_incoming,
            sent_at_ms=now.wall_ms,
            waiting_since_ms=now.wall_ms,
            transmitted=line.goes_at_once(),
        )
        line.staged += 1
        self._staged[command.message_id] = command
        op = InsertOutgoing(
            peer=peer.id,
            message_id=item.message_id,
            seq=item.seq,
            body=item.body,
            hlc=item.hlc,
            seen=item.seen,
            sent_at_ms=item.sent_at_ms,
            transmitted=item.transmitted,
        )
        self._context.ledger.ask(op, lambda outcome, then: self._stored(command, peer, item, outcome, then))

    def _refuse_unless_known(self, command: SendText, refusal: Refused) -> None:
        """Who asks again must hear of the message that it is, not of what stands in the way of a new one."""

        def found(outcome: Outcome, now: Now) -> None:
            assert isinstance(outcome, OutgoingKnown)
            if outcome.state is None:
                self._reply(command, refusal, now)
            elif outcome.same:
                self._reply(command, MessageState(command.message_id, outcome.state), now)
            else:
                self._reply(command, _in_use(command.message_id), now)

        self._context.ledger.ask(QueryOutgoing(command.peer, command.message_id, command.body), found)

    def _known(self, command: SendText) -> Result | None:
        """What to answer if the id is in memory already: the same message, or a refusal."""
        message_id = command.message_id
        peer = self._directory.get(command.peer)
        staged = self._staged.get(message_id)
        item = peer.line.get(message_id) if peer is not None else None
        letter = self._letters.get(message_id)
        if staged is not None:
            owner, body, state = staged.peer, staged.body, State.PENDING
        elif item is not None:
            owner, body, state = item.peer, item.body, item.state
        elif letter is not None:
            owner, body, state = letter.peer, letter.body, State.FAILED
        else:
            return None
        same = (owner, body) == (command.peer, command.body)
        return MessageState(message_id, state) if same else _in_use(message_id)

    def _send_refusal(self, command: SendText, peer: Peer | None) -> Refused | None:
        policy = self._context.policy
        if peer is None:
            return Refused("no_such_peer", "this device is not known and not announced")
        if len(command.body.encode("utf-8", "surrogatepass")) > MAX_BODY_BYTES:
            return Refused(
                "too_large", f"a message may have at most {MAX_BODY_BYTES} bytes of UTF-8; nothing was stored"
            )
        if peer.trust is Trust.BLOCKED:
            return Refused("blocked", f"you blocked {peer.label}; 'p2pchat peer unblock' takes that back")
        if len(peer.line) >= policy.max_queue:
            return Refused(
                "queue_full",
                f"{len(peer.line)} messages wait for {peer.label} already (max_queue_size); nothing was stored",
            )
        if len(self._letters) >= policy.max_letters:
            return Refused("letters_full", "too many dead letters; retry or purge some first; nothing was stored")
        return None

    def _accept_by_writing(self, peer: Peer, now: Now) -> None:
        if not peer.accepted:
            self._accept(peer, Trust.UNVERIFIED, now)

    def _stored(self, command: SendText, peer: Peer, item: Item, outcome: Outcome, now: Now) -> None:
        assert isinstance(outcome, OutgoingStored)
        peer.line.staged -= 1
        if self._staged.pop(command.message_id, None) is None:
            self._reply(command, Refused("no_such_peer", "the device was forgotten meanwhile"), now)
        elif outcome.inserted:
            peer.line.append(item, now)
            self._reply(command, MessageState(item.message_id, State.PENDING), now)
        elif outcome.same:
            self._reply(command, MessageState(item.message_id, outcome.state), now)
        else:
            self._reply(command, _in_use(item.message_id), now)

    def _find_waiting(self, message_id: MessageId) -> Item | None:
        for peer in self._directory:
            item = peer.line.get(message_id)
            if item is not None:
                return item
        return None

    # --- taking back, reading, dead letters ---------------------------------------------------------------------

    def _cancel(self, command: CancelMessage, now: Now) -> None:
        message_id = command.message_id
        cancelling = self._letters.cancelling(message_id)
        if cancelling is not None:
            self._reply(command, MessageState(message_id, cancelling.item.state, cancelling=True), now)
            return
        item = self._find_waiting(message_id)
        if item is None:
            text = "it is a dead letter: purge it" if self._letters.get(message_id) else "it is not waiting"
            self._refuse(command, "not_waiting", f"this message cannot be taken back: {text}")
            return
        peer = self._directory.find_or_add(item.peer)
        peer.line.give_up(item, now)
        if not item.transmitted:
            self._context.ledger.persist(FinishCancel(peer.id, (message_id,), now.wall_ms))
            self._reply(command, MessageState(message_id, State.CANCELLED), now)
            return
        self._letters.begin_cancel(item)
        self._context.ledger.persist(BeginCancel(peer.id, message_id, now.wall_ms))
        self._stream.ask_fate(peer, [message_id], now)
        self._reply(command, MessageState(message_id, item.state, cancelling=True), now)

    def _mark_read(self, command: MarkRead, now: Now) -> None:
        peer = self._directory.get(command.peer)
        if peer is None:
            self._refuse(command, "no_such_peer", "this device is not known")
            return
        tell = peer.accepted and self._context.policy.read_receipts

        def done(outcome: Outcome, then: Now) -> None:
            assert isinstance(outcome, ReadByUs)
            if tell:
                peer.untold_reads.update(dict.fromkeys(outcome.message_ids))
                self._inbox.tell_reads(peer, outcome.message_ids, then)
            self._reply(command, Changed(outcome.message_ids), then)

        op = MarkReadByUs(peer.id, command.up_to, now.wall_ms, tell)
        self._context.ledger.ask(op, done)

    def _retry(self, command: RetryLetters, now: Now) -> None:
        wanted = dict.fromkeys(command.message_ids)
        letters = [letter for letter in map(self._letters.get, wanted) if letter is not None]
        by_peer: dict[DeviceId, int] = {}
        for letter in letters:
            by_peer[letter.peer] = by_peer.get(letter.peer, 0) + 1
        for peer_id, count in by_peer.items():
            peer = self._directory.find_or_add(peer_id)
            if len(peer.line) + count > self._context.policy.max_queue:
                self._refuse(command, "queue_full", f"too many messages wait for {peer.label}; retry fewer at once")
                return
        for old in letters:
            peer = self._directory.find_or_add(old.peer)
            letter = replace(old, seen=peer.last_incoming)
            line, seq = peer.line, peer.line.draw_seq()
            self._letters.remove(letter.message_id)
            revived = ReviveLetter(
                letter.peer,
                letter.message_id,
                seq,
                auto=False,
                auto_returns=letter.auto_returns,
                at_ms=now.wall_ms,
                seen=letter.seen,
            )
            self._context.ledger.persist(revived)
            line.append(item_of(letter, seq, letter.auto_returns, now), now)
        self._reply(command, Changed(tuple(letter.message_id for letter in letters)), now)

    def _purge(self, command: PurgeLetters, now: Now) -> None:
        wanted = dict.fromkeys(command.message_ids)
        purged = tuple(message_id for message_id in wanted if self._letters.get(message_id) is not None)
        for message_id in purged:
            self._letters.remove(message_id)
        if purged:
            self._context.ledger.persist(RemoveLetters(purged, now.wall_ms))
        self._reply(command, Changed(purged), now)

    # --- peers --------------------------------------------------------------------------------------------------

    def _add(self, command: AddPeer) -> None:
        if command.expected == self._context.device_id:
            self._refuse(command, "own_device", "this is the device itself")
            return
        self._dialling.add_peer(command)

    def _manage(self, command: ManagePeer, now: Now) -> None:
        peer = self._directory.get(command.peer)
        if peer is None:
            self._refuse(command, "no_such_peer", "this device is not known")
            return
        match command.action:
            case PeerAction.ACCEPT:
                if not peer.accepted:
                    self._accept(peer, Trust.UNVERIFIED, now)
            case PeerAction.VERIFY:
                self._accept(peer, Trust.VERIFIED, now)
            case PeerAction.BLOCK:
                self._directory.store(peer, Trust.BLOCKED, now)
                peer.holding = ""
            case PeerAction.UNBLOCK:
                if peer.trust is Trust.BLOCKED:
                    self._accept(peer, Trust.UNVERIFIED, now)
            case PeerAction.RENAME:
                peer.alias = clean_name(command.name)
                self._directory.store(peer, peer.trust if peer.stored else Trust.UNVERIFIED, now)
            case PeerAction.FORGET:
                self._forget(peer, now)
            case _:
                assert_never(command.action)
        self._reply(command, PeerDone(peer.id), now)

    def _accept(self, peer: Peer, trust: Trust, now: Now) -> None:
        self._directory.store(peer, trust, now)
        self._links.renew(peer, now)
        if peer.holding:
            self._inbox.hold(peer, "")
        self._inbox.tell_reads(peer, list(peer.untold_reads), now)
        self._dialling.soon(peer, now)

    def _forget(self, peer: Peer, now: Now) -> None:
        """Remove the peer and everything about it; what its stream counts stays."""
        self._links.end_links_of(peer, "forgotten", now)
        self._letters.remove_peer(peer.id)
        peer.line.clear(now)
        self._staged = {key: send for key, send in self._staged.items() if send.peer != peer.id}
        peer.trust, peer.alias, peer.untold_reads, peer.proven = Trust.SEEN, "", {}, ()
        peer.stranger_messages = peer.stranger_bytes = 0
        peer.last_incoming, peer.last_incoming_hlc, peer.holding = None, 0, ""
        self._context.ledger.persist(ForgetPeer(peer.id, now.wall_ms))


def _in_use(message_id: MessageId) -> Refused:
    return Refused("id_in_use", f"another message has the id {message_id.hex()}; draw a new one")
