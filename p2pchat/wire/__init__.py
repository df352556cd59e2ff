"""The protocol on the wire, version 1: bytes ⇄ frames. This docstring is its reference.

Transport
=========
TCP, TLS 1.3 only, on it a websocket (path ``/v1/link``, subprotocol ``p2pchat.v1``, no compression). One binary
websocket message is one frame: a MessagePack map with the key ``t`` naming the kind and the other keys its fields.
A frame is at most 1 MiB. Unknown fields are ignored. A frame of an unknown kind is answered with ``error``
``unknown_frame`` and otherwise ignored; bytes that are no frame end the link with ``error`` ``malformed``.

Identity
========
A device is an Ed25519 key. Its device id is the base32 (lower case, no padding) of SHA-256 over the DER
SubjectPublicKeyInfo. The listener's TLS certificate is self-signed by that key; the dialler presents none and
proves itself inside.

Handshake
=========
::

    listener                                            dialler
    hello {versions, features, name, instance,   ──►    checks that the TLS certificate's key is the one
           realtime, nonce}                             that it means to reach
                                                 ◄──    hello {… , key, applied, port}, then proof {signature}
    checks the signature with `key`
    welcome {applied}                            ──►    both sides: the link is up

``signature`` is Ed25519 over ``"p2pchat v1 dialler proof" ‖ 0x00 ‖ SHA-256(listener's hello as received) ‖
SHA-256(dialler's hello as sent) ‖ listener id ‖ dialler id`` (ids as ASCII). The listener id is computed by the
dialler from *this TLS connection's* certificate and by the listener from its own key, never taken from a frame: a
relayed handshake does not verify. ``nonce`` is 32 fresh random bytes. ``port`` is where the dialler
listens itself (0: nowhere), so that the listener can dial back the address that it sees. Both use the highest version
that both ``versions`` hold; none in common is ``error`` ``unsupported_version``. ``instance`` is random per engine run.
``applied`` counts the events of the other side that were ever applied (the listener cannot know it before the
proof, so it stands in ``welcome``): a count below what that side acknowledged means that it was restored from a
copy. Each step has 5 seconds.

Links
=====
Of two links between the same devices the side with the lower id closes all but the one whose handshake finished
last; the other side sends on its newest. A new ``instance`` replaces all older links at once. An id that was asked
about with ``have`` on one link is not taken from another any more. ``bye`` announces a close
with its reason; ``offline`` says that the engine ends, so that refused ports are no failures until it is back.

Heartbeat
=========
Every 15 s (±10 %) on every link: ``heartbeat {n, sent_ms}``, answered at once with ``heartbeat_ack {n, sent_ms,
received_ms, replied_ms, hold}``. Round trip and clock offset come from the four times. A link on which nothing was
heard for 35 s is dead.

Stream
======
Per ordered pair of devices there is one stream of *events*. Only ids decide anything; numbers inform.

``notify {events}``
    pushes events, oldest first; at most 256 events or 1 MiB are in flight.
``events {events, more}``
    answers ``pull``.
``pull {first, last}``
    asks for events by number (a hole); ``first = last = 0`` asks for whatever is waiting (the poll of links where
    either ``hello`` said ``realtime: false``).
``gone {first, last}``
    the author has nothing (more) to give in that range.
``ack {ids, refused}``
    ``ids`` are committed at the receiver; each refusal is ``{id, reason, detail}``. The receiver keeps every applied
    (author, id) for ever and acknowledges a duplicate the same way. A refusal is not remembered. Reasons that do not
    pass: ``blocked``, ``too_large``, ``unsupported``, ``malformed``.
``have {ids, n}`` → ``had {has, lacks, n}``
    asks about dead letters and cancelled events that may have been received. ``n`` is given back: what an earlier
    answer says to lack may have been sent, and asked about again, since.
``hold {reason}``
    the receiver takes no events now (``not_accepted``, ``storage_failed``); an empty reason ends it. What is held
    waits at its author and costs no attempts. Every ``heartbeat_ack`` repeats it.
``read {ids, at_ms}`` → ``read_ack {ids}``
    the addressee's user has read these; sent again on each link until acknowledged; ids that are not the
    author's are ignored.

An event is ``{id, seq, prev, hlc, seen, sent_at_ms, kind, text}``: ``id`` 16 bytes; ``seq`` counts within the stream;
``prev`` is the number of the last event before it that was not given up (0: no claim), computed when the frame is
built; ``hlc`` is the author's hybrid logical clock (milliseconds << 16 | counter); ``seen`` is, of the other side's
events that the author had applied, the one with the highest clock; ``kind`` is ``text``. Events are decoded one by
one: a bad one is refused alone. ``text`` is at most 64 KiB of UTF-8.

What an addressee skipped (refused because blocked, held, or dropped while its disk refused writes) may be on its way
again when it takes such events once more; it then ends its links to that author, so that everything comes in order on
a new one. A refusal counts only on the newest link, and says that the addressee lacks the event only if no other copy
of it can still be on its way.

``error {code, detail}``
    something was wrong with what the other side sent; codes: ``malformed, unknown_frame, not_authenticated,
    unsupported_version, bad_proof, own_device, cloned_identity, too_slow, protocol``.
"""

from p2pchat.wire.codec import (
    MAX_FRAME_BYTES,
    decode,
    decode_event,
    encode,
    encode_event,
    event_id_of,
)
from p2pchat.wire.frames import (
    Ack,
    Bye,
    Error,
    Event,
    Events,
    Frame,
    Gone,
    Had,
    Have,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Hold,
    Notify,
    Proof,
    Pull,
    Read,
    ReadAck,
    Refusal,
    Unknown,
    Welcome,
)

__all__ = [
    "MAX_FRAME_BYTES",
    "Ack",
    "Bye",
    "Error",
    "Event",
    "Events",
    "Frame",
    "Gone",
    "Had",
    "Have",
    "Heartbeat",
    "HeartbeatAck",
    "Hello",
    "Hold",
    "Notify",
    "Proof",
    "Pull",
    "Read",
    "ReadAck",
    "Refusal",
    "Unknown",
    "Welcome",
    "decode",
    "decode_event",
    "encode",
    "encode_event",
    "event_id_of",
]
