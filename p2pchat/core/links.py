"""All links of the node: handshakes, duplicates, liveness, and the way of each frame.

Of two links to one peer only the side with the lower id closes one, and it keeps the one whose handshake finished
last; the other side just sends on its newest. A new ``instance`` of the peer's engine ends its older links at once.
Neither charges anything. While two links stand, events are taken from both (ids make that safe), with one exception:
an id that the peer asked about (``have``) on one link is not taken from another any more, because the answer was
about what may still come in. A link that brings such an id ends, so that what is sent anew comes on a new one.
"""

from __future__ import annotations

from p2pchat.core.context import Context
from p2pchat.core.dialling import Dialling
from p2pchat.core.effects import CloseLink, Notify, PeerDone, Refused, Reply, Transmit
from p2pchat.core.handshake import Handshake, HandshakeRefused, OurSide, Step, TheirSide
from p2pchat.core.inputs import AddPeer, DialError, DialFailed, LinkOpened, Now, Role
from p2pchat.core.ops import RememberAddress, UpsertPeer
from p2pchat.core.peers import Directory, Peer
from p2pchat.core.session import Phase, Session
from p2pchat.core.stream import Stream
from p2pchat.errors import WireError
from p2pchat.model import Address, DeviceId, LinkId, Trust
from p2pchat.wire import (
    Bye,
    Error,
    Frame,
    Have,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Proof,
    Unknown,
    Welcome,
    decode,
    encode,
)

MAX_ADDRESSES = 8
MAX_LINKS = 4
"""Links to one peer that stand at once, where its side is the one to close duplicates."""

MAX_DENIED = 16_384
"""Ids that a link is denied before it is closed."""

CLONED = "cloned_identity"
REFUSALS = {"own_device": "own_device", CLONED: "own_device", "unsupported_version": "incompatible"}
"""Handshake errors that a person who named the address is told in their own words."""

OFFLINE = "offline"
"""The goodbye of an engine that ends; the other reasons are for people."""

SUSPECT_S = 5.0
"""How long a link may stay silent after our network changed."""


class Links:
    """The sessions by link, and what their frames set off."""

    def __init__(self, context: Context, directory: Directory, dialling: Dialling, stream: Stream) -> None:
        self._context = context
        self._directory = directory
        self._dialling = dialling
        self._stream = stream
        self._sessions: dict[LinkId, Session] = {}
        self._closed = False

    def authenticated(self, link: LinkId) -> DeviceId | None:
        """Who is on this link, once it is up."""
        session = self._sessions.get(link)
        return session.peer if session is not None and session.phase is Phase.UP else None

    # --- opening ------------------------------------------------------------------------------------------------

    def opened(self, event: LinkOpened, now: Now) -> None:
        """A connection stands: begin the handshake."""
        context = self._context
        if self._closed:
            context.ledger.emit(CloseLink(event.link, OFFLINE))
            return
        ours = OurSide(
            context.device_id,
            context.keys,
            context.policy.name,
            context.instance,
            context.policy.realtime,
            context.policy.listen_port,
        )
        listener = event.listener_id if event.listener_id is not None else context.device_id
        handshake = Handshake(event.role, ours, context.rng.randbytes(32), listener)
        session = Session(context, event, handshake)
        self._sessions[event.link] = session
        session.begin(now)

    def received(self, link: LinkId, data: bytes, now: Now) -> None:
        """One frame arrived."""
        session = self._sessions.get(link)
        if session is None or session.phase is Phase.CLOSING:
            return
        session.heard(now)
        try:
            frame = decode(data)
        except WireError as error:
            self._end(session, "malformed", str(error), now)
            return
        if session.phase is Phase.UP:
            self._frame(session, frame, now)
        else:
            self._shake(session, frame, data, now)

    def _shake(self, session: Session, frame: Frame, data: bytes, now: Now) -> None:
        listener = session.opened.listener_id
        known = self._directory.get(listener) if listener is not None else None
        try:
            for out in session.handshake.receive(frame, data, known.applied if known is not None else 0):
                self._context.ledger.emit(Transmit(session.link, out))
            self._check_not_ourselves(session, frame)
        except HandshakeRefused as refused:
            self._end(session, refused.code, str(refused), now)
            return
        if session.handshake.step is Step.DONE:
            assert session.handshake.theirs is not None
            self._come_up(session, session.handshake.theirs, now)
        else:
            session.next_step(now)

    def _check_not_ourselves(self, session: Session, frame: Frame) -> None:
        """Our own key on the other end is either this engine or a clone of this device.

        The dialler knows it from the certificate, the listener from the proof, never from a mere claim.
        """
        ours, theirs = self._context.device_id, session.handshake.theirs
        if isinstance(frame, Hello) and session.opened.listener_id == ours:
            instance = frame.instance
        elif theirs is not None and theirs.device_id == ours:
            instance = theirs.instance
        else:
            return
        if instance == self._context.instance:
            raise HandshakeRefused("own_device", "this is the device itself")
        raise HandshakeRefused(
            CLONED,
            f"another device at {session.opened.remote} uses this device's key (a copied disk?); "
            "run 'p2pchat id reset' on one of the two",
        )

    def _come_up(self, session: Session, theirs: TheirSide, now: Now) -> None:
        peer = self._directory.find_or_add(theirs.device_id)
        if session.opened.role is Role.LISTENER:
            self._context.ledger.emit(Transmit(session.link, session.handshake.finish(peer.applied)))
        session.come_up(theirs, now)
        self._end_duplicates(peer, theirs, now)
        self._learn(peer, session, theirs, now)
        asked = self._dialling.asked(session.opened.dial)
        if asked is not None:
            self._added(peer, asked, now)
        peer.sessions.append(session)
        if session.opened.dial is not None:
            self._dialling.finished(session.opened.dial)
        self._context.timers.cancel(("dial", peer.id))
        self._directory.update_presence(peer, now)
        self._stream.check_count(peer, theirs.applied, now)
        self._stream.link_up(peer, session, now)

    def _end_duplicates(self, peer: Peer, theirs: TheirSide, now: Now) -> None:
        for other in list(peer.sessions):
            assert other.theirs is not None
            if other.theirs.instance != theirs.instance:
                reason = "replaced: the other side started anew"
            elif self._context.device_id < peer.id:
                reason = "duplicate link"
            else:
                continue
            peer.sessions.remove(other)
            other.leave(reason)
        while len(peer.sessions) >= MAX_LINKS:
            peer.sessions.pop(0).leave("too many links")

    def _learn(self, peer: Peer, session: Session, theirs: TheirSide, now: Now) -> None:
        """Take what a proven link tells: the name, the address that works, the end of all silence."""
        peer.silent_since_ms, peer.dial_error, peer.said_goodbye = None, "", False
        peer.dial_failures, peer.dial_by_hint = 0, False
        if theirs.name and theirs.name != peer.name:
            peer.name = theirs.name
            if peer.stored:
                self._context.ledger.note(UpsertPeer(peer.id, peer.name, peer.alias, peer.trust, now.wall_ms))
        remote = session.opened.remote
        if session.opened.role is Role.LISTENER and theirs.port:
            remote = Address(remote.host, theirs.port)
        if session.opened.role is Role.DIALLER or theirs.port:
            others = [address for address in peer.proven if address != remote]
            peer.proven = (remote, *others[: MAX_ADDRESSES - 1])
            self._context.ledger.note(RememberAddress(peer.id, remote, now.wall_ms))

    def _added(self, peer: Peer, asked: AddPeer, now: Now) -> None:
        """The address that a person named led to this peer: it is accepted."""
        if peer.trust in (Trust.SEEN, Trust.REQUEST):
            self._directory.store(peer, Trust.UNVERIFIED, now)
            peer.holding = ""
            self.renew(peer, now)
        self._context.ledger.promise(Reply(asked.request, PeerDone(peer.id)), now)

    # --- frames -------------------------------------------------------------------------------------------------

    def _frame(self, session: Session, frame: Frame, now: Now) -> None:
        peer = self._directory.find_or_add(session.peer)
        match frame:
            case Heartbeat():
                session.answer(frame, peer.holding, now)
            case HeartbeatAck():
                session.answered(frame, now)
                if frame.hold != peer.line.hold and session is peer.session:
                    self._stream.hold(peer, frame.hold, now)
            case Bye(reason):
                peer.said_goodbye = reason == OFFLINE
                self._drop(session, now, charge=False, reason=f"the other side left: {reason}")
                session.leave("goodbye")
            case Error(code, detail):
                session.notify("link:refused", now, detail=detail or code)
            case Unknown(kind):
                text = f"this version knows no frame {kind[:40]!r}"
                self._context.ledger.emit(Transmit(session.link, encode(Error("unknown_frame", text))))
            case Hello() | Proof() | Welcome():
                self._end(session, "protocol", "the handshake is over", now)
            case _:
                if isinstance(frame, Have):
                    self._deny(peer, session, frame, now)
                self._stream.received(peer, session, frame, now)
                if session.overtaken:
                    self._drop(session, now, charge=False, reason="overtaken by a newer link")
                    session.leave("overtaken by a newer link")

    def _deny(self, peer: Peer, session: Session, have: Have, now: Now) -> None:
        """What is asked about on this link is not taken from the others any more.

        Nor from one that we dialled and whose welcome is still under way: for the other side it is up already.
        """
        awaited = [one for one in self._sessions.values() if one.awaits_welcome_of(peer.id)]
        for other in [one for one in (*peer.sessions, *awaited) if one is not session]:
            other.denied.update(have.ids)
            if len(other.denied) > MAX_DENIED:
                self._end(other, "protocol", "too many questions", now)

    # --- ending -------------------------------------------------------------------------------------------------

    def timer(self, kind: str, link: LinkId, now: Now) -> None:
        """A timer of a link fired."""
        session = self._sessions.get(link)
        if session is None or session.phase is Phase.CLOSING:
            return
        if kind == "handshake":
            self._end(session, "too_slow", "the handshake took too long", now)
        elif kind == "heartbeat":
            session.beat(now)
        elif session.silence_over(now):
            self._end(session, "too_slow", "nothing was heard for too long", now)

    def _end(self, session: Session, code: str, detail: str, now: Now) -> None:
        """End a link because of an error."""
        if session.phase is Phase.UP:
            session.notify("link:refused", now, detail=detail)
            self._drop(session, now, charge=True, reason=detail)
        else:
            name = "identity:duplicate" if code == CLONED else "link:refused"
            self._context.ledger.emit(
                Notify(
                    name,
                    now.wall_ms,
                    session.opened.listener_id,
                    {"detail": f"{session.opened.remote}: {detail}"},
                )
            )
            self._handshake_failed(session, code, detail, now)
        session.refuse(code, detail)

    def closed(self, link: LinkId, detail: str, now: Now) -> None:
        """The connection is gone."""
        session = self._sessions.pop(link, None)
        if session is None:
            return
        session.disarm()
        phase, session.phase = session.phase, Phase.CLOSING
        if phase is Phase.UP:
            self._drop(session, now, charge=True, reason=detail)
        elif phase is Phase.HANDSHAKE:
            self._handshake_failed(session, "protocol", detail or "the connection ended during the handshake", now)

    def _handshake_failed(self, session: Session, code: str, detail: str, now: Now) -> None:
        dial = session.opened.dial
        asked = self._dialling.asked(dial)
        if dial is None:
            return
        if asked is not None and code in REFUSALS:
            self._context.ledger.emit(Reply(asked.request, Refused(REFUSALS[code], detail)))
            self._dialling.finished(dial)
            return
        self._dialling.failed(DialFailed(dial, DialError.HANDSHAKE, session.opened.remote, detail), now)

    def _drop(self, session: Session, now: Now, *, charge: bool, reason: str) -> None:
        """A link that was up carries nothing any more: go on with the next newest, or without."""
        peer = self._directory.find_or_add(session.peer)
        newest = peer.session is session
        peer.sessions.remove(session)
        session.notify("link:down", now, detail=reason)
        if peer.session is not None:
            if newest:
                self._stream.link_up(peer, peer.session, now)
            return
        self._context.timers.cancel(("poll", peer.id))
        peer.line.link_down(now, charge=charge)
        self._directory.update_presence(peer, now)
        self._dialling.soon(peer, now, self._context.policy.redial_min_s * self._context.rng.uniform(0.2, 1.0))
        self._directory.drop_if_unknown(peer)

    def suspect_all(self, now: Now) -> None:
        """Our network changed: every link must show life soon."""
        for session in self._sessions.values():
            if session.phase is Phase.UP:
                session.suspect(SUSPECT_S, now)

    def leave_all(self, reason: str, now: Now) -> None:
        """Say goodbye on every link, and take no more."""
        self._closed = True
        for peer in self._directory:
            self.end_links_of(peer, reason, now)
        for session in self._sessions.values():
            if session.phase is not Phase.CLOSING:
                session.leave(reason)

    def renew(self, peer: Peer, now: Now) -> None:
        """What was passed over will be taken from now on, and nothing under way may overtake it: use new links."""
        if peer.skipped:
            peer.skipped = False
            self.end_links_of(peer, "events are taken again", now)
            self._dialling.soon(peer, now)

    def end_links_of(self, peer: Peer, reason: str, now: Now) -> None:
        """Say goodbye to one peer."""
        for session in peer.sessions:
            session.leave(reason)
        peer.sessions.clear()
        self._context.timers.cancel(("poll", peer.id))
        peer.line.link_down(now, charge=False)
        self._directory.update_presence(peer, now)
