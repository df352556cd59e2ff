"""Where machines put their effects, and the commit barrier.

Each ``Node.handle`` call collects operations into at most one ``Persist``; its number is the commit that everything
promised afterwards needs. A promise is released once the last *durable* number issued before it is committed:
per node, not per call, so a duplicate's acknowledgement waits behind the first one's commit too. Lazy operations
hold nobody up. Because numbers only grow, what is held leaves in the order in which it was promised.

A conditional operation is *asked*: its continuation runs with the outcome once it is committed, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from p2pchat.core.effects import Effect, Persist
from p2pchat.core.inputs import Now
from p2pchat.core.ops import Op, Outcome

Continuation = Callable[[Outcome, Now], None]
Release = Callable[[Now], None]


class Ledger:
    """Collects the effects of one node. ``frozen`` drops lazy operations while the disk refuses writes."""

    def __init__(self) -> None:
        self.frozen = False
        self._effects: list[Effect] = []
        self._ops: list[Op] = []
        self._ops_are_durable = False
        self._number = 1
        self._last_durable = 0
        self._committed = 0
        self._held: deque[tuple[int, Effect, Release | None]] = deque()
        self._asked: deque[Continuation] = deque()

    def persist(self, *ops: Op) -> None:
        """Store these operations durably; promises made from now on wait for them."""
        self._ops.extend(ops)
        self._ops_are_durable = True

    def note(self, *ops: Op) -> None:
        """Store these operations lazily: nobody waits for them."""
        if not self.frozen:
            self._ops.extend(ops)

    def ask(self, op: Op, then: Continuation) -> None:
        """Store a conditional operation durably and continue with its outcome."""
        self.persist(op)
        self._asked.append(then)

    def emit(self, effect: Effect) -> None:
        """Do this now: it promises nothing."""
        self._effects.append(effect)

    def promise(self, effect: Effect, now: Now, then: Release | None = None) -> None:
        """Do this once everything stored so far is committed; ``then`` runs at that moment."""
        need = self._number if self._ops_are_durable else self._last_durable
        if need <= self._committed:
            self._release(effect, now, then)
        else:
            self._held.append((need, effect, then))

    def committed(self, upto: int, outcomes: tuple[Outcome, ...], now: Now) -> None:
        """Release what waited for commits up to ``upto`` and continue the asked operations."""
        self._committed = max(self._committed, upto)
        while self._held and self._held[0][0] <= self._committed:
            _, effect, then = self._held.popleft()
            self._release(effect, now, then)
        for outcome in outcomes:
            self._asked.popleft()(outcome, now)

    def drain(self) -> list[Effect]:
        """Hand out the effects collected since the last call; the ``Persist`` comes first."""
        effects, self._effects = self._effects, []
        if self._ops:
            effects.insert(0, Persist(self._number, tuple(self._ops), lazy=not self._ops_are_durable))
            if self._ops_are_durable:
                self._last_durable = self._number
            self._number += 1
            self._ops, self._ops_are_durable = [], False
        return effects

    def _release(self, effect: Effect, now: Now, then: Release | None) -> None:
        self._effects.append(effect)
        if then is not None:
            then(now)
