"""The engine process: an asyncio shell around the core's node.

Theory of operation
===================

::

    clients ──(Unix socket, JSON lines)──► server ─► methods ──► Runtime.feed(input)
    transport, discovery ────────────────────────────────────►      │  node.handle → effects, carried out at once
    writer thread: "committed up to n" ──────────────────────►      └─► writer, transport, answers, event hub

Everything that decides runs on one event loop, in callbacks, without an await between an input and its effects;
nothing on that loop ever waits for a peer, a client or a disk. There are four named threads: the store's writer,
the store's reader (history and lists), the log writer, and whatever discovery brings along.

* ``runtime`` – one inbox, one timer, the effect interpreter; ``recovery`` – what follows a failed commit.
* ``server``, ``connection``, ``rpc`` – the local API; ``methods`` answer, ``resolve`` finds whom a person means.
* ``hub``, ``replay``, ``waits`` – the event stream, and requests that wait for one of its events.
* ``stats``, ``journal`` – figures and logs. ``lock``, ``endpoint``, ``lifetime``, ``process`` – one engine per home.
"""
