"""Simulated time: one queue of what is to happen, in order of time and then of asking."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

Act = Callable[..., None]


class Clockwork:
    """The queue of events of a world and its only source of randomness.

    Attributes:
        now_s: simulated seconds since the start of the world.
        handled: how many events have happened.
    """

    def __init__(self, seed: int) -> None:
        self.now_s = 0.0
        self.handled = 0
        self.rng = random.Random(seed)  # noqa: S311  # must be repeatable
        self._queue: list[tuple[float, int, Act, tuple[Any, ...]]] = []
        self._asked = 0

    def at(self, when_s: float, act: Act, *args: object) -> None:
        """Do this at a moment; never before now."""
        self._asked += 1
        heapq.heappush(self._queue, (max(when_s, self.now_s), self._asked, act, args))

    def after(self, delay_s: float, act: Act, *args: object) -> None:
        """Do this in so many seconds."""
        self.at(self.now_s + delay_s, act, *args)

    def run_until(self, end_s: float) -> None:
        """Let everything up to a moment happen."""
        queue, pop = self._queue, heapq.heappop
        while queue and queue[0][0] <= end_s:
            self.now_s, _, act, args = pop(queue)
            self.handled += 1
            act(*args)
        self.now_s = max(self.now_s, end_s)

    def draw(self, bounds: tuple[float, float]) -> float:
        """Draw evenly between two bounds."""
        low, high = bounds
        return low + (high - low) * self.rng.random()

    def chance(self, probability: float) -> bool:
        """Draw yes or no; draws nothing for 0."""
        return probability > 0 and self.rng.random() < probability

    def gap(self, mean_s: float) -> float:
        """Draw the time to the next of something that happens every ``mean_s`` on average."""
        return self.rng.expovariate(1 / mean_s)
