"""The decisions, and nothing else: pure, typed, without I/O.

Theory of operation
===================

:class:`p2pchat.core.node.Node` is one device as a state machine::

    effects = node.handle(input, now)      # see inputs.py, effects.py
    when    = node.next_deadline()         # seconds on the clock of Now.mono_s, or None

It never reads a clock, a socket, a file or an unseeded random source. A shell feeds it what happened (a command
of a client, a frame, a link, a dial that failed, a commit, a timer that ran out) and carries out what it asks for
(store these operations, send these bytes, dial, close, answer a client, tell the clients).

**The commit barrier** (ledger.py). An effect that promises something leaves only after the commit that makes
the promise true. The barrier belongs to the node: while a durable operation is uncommitted, every later promise
waits behind it, in order. Effects that promise nothing pass at once.

**A failed commit is a crash.** The shell drops the node with its held promises, closes every link, loads a new
:class:`p2pchat.core.records.Snapshot` and builds a new node. There is no roll-back code.

Machines inside the node: ``links`` with a ``session`` and a ``handshake`` per link, ``outbox`` (one line per peer),
``letters`` (what was given up), ``sync`` (what comes in), ``stream`` (which frame goes to which machine), ``peers`` and
``dialling`` (who, where, when to try), ``commands`` (what people ask for), ``describe`` (why, in words). They share a
``Context``: a ``Ledger`` for effects and ``Timers`` for deadlines. ``item`` is one undelivered message of ours.
"""
