"""The store: what is on disk, and the one thread that writes it.

Theory of operation
===================

The core asks for operations (:mod:`p2pchat.core.ops`); a store applies any number of them in one transaction and
answers with their outcomes and with the events that report them. :class:`~p2pchat.store.interface.Store` is that
contract, :class:`~p2pchat.store.sqlite.SqliteStore` keeps it on disk and
:class:`~p2pchat.store.memory.MemoryStore` in memory, for the simulator; one suite of tests holds for both.
:class:`~p2pchat.store.writer.Writer` owns the writing side of a store from its own thread and groups commits.

What must never happen: a tick that goes back, an event id that is used twice, an incoming message that is applied
twice (whatever was forgotten or purged in between), half a transaction, a database that is written over because
it could not be read.
"""
