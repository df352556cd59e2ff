"""The network adapter: identity and TLS, websocket links, mDNS discovery.

It decides nothing about peers or messages. It turns what happens on the network into the core's inputs and
hands them to a *sink*, a plain function of the engine that is called on the event loop and must not block;
and it carries out the core's ``Dial``, ``Transmit`` and ``CloseLink``. The protocol's own handshake (hello,
proof, welcome) and the heartbeats are frames like any other here.

======================  =============================================================================
``identity``            the device key: load or create, sign, verify
``tls``                 contexts, the peer's device id, a TLS stream without I/O
``websocket``           our rules for the websocket on top of it, without I/O
``link``                one connection, from TCP to the last byte: the only place where bytes move
``limits``              every number that bounds what the network may cost us
``listener``            accepts sockets, within limits that hold before TLS
``dialler``             tries the addresses of a ``Dial``, names what went wrong
``transport``           the three above behind one face for the engine
``interfaces``          this machine's addresses, and a watch on them
``announcement``        what we say about ourselves in mDNS, and how the same from others is judged
``discovery``           announces and browses
``mdns``                zeroconf, and nothing else
``text``                cuts texts to bytes
``threads``             the two calls that no event loop can make
``clock``               the time of an input
======================  =============================================================================
"""
