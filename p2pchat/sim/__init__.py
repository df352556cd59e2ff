"""The deterministic world: whole devices, a network, disks and people, all drawn from one seed.

Theory of operation
===================

:class:`~p2pchat.sim.world.World` owns one queue of events in simulated time and one seeded generator. A
:class:`~p2pchat.sim.device.Device` is the shell of a real :class:`p2pchat.core.node.Node`: it feeds the node and
carries out its effects on a simulated network (``network.py``) and a simulated disk (``disk.py``). ``people.py``
plays the clients, ``faults.py`` breaks things as a :class:`~p2pchat.sim.profiles.Profile` says. ``invariants.py``
judges every commit and every reply at the instant at which it happens; ``verdict.py`` judges what is left after the
world was mended and had time to drain. ``run.py`` runs seeds and reports.

The same seed gives the same trace on every machine: no clock, no thread, no iteration over a set, no ``id()`` or
``hash()``, and no draw from any other generator.

What must never happen: a check that believes the node under test. What is on a disk is learnt from the commits of
that disk's store, and what a person was told from the replies.
"""
