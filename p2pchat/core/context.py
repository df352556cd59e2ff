"""What all machines of one node share."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from p2pchat.core.clock import HybridClock
from p2pchat.core.handshake import Keys
from p2pchat.core.inputs import Now
from p2pchat.core.ledger import Ledger
from p2pchat.core.timers import Timers
from p2pchat.model import DeviceId, Policy

if TYPE_CHECKING:
    from p2pchat.core.outbox import Line


@dataclass(slots=True)
class Context:
    """Who we are, what we decide by, and where effects and deadlines go.

    Attributes:
        instance: 16 random bytes of this engine run.
        started: when the node was made.
        touched: lines that may have something to send at the end of this step.
    """

    device_id: DeviceId
    keys: Keys
    policy: Policy
    rng: random.Random
    instance: bytes
    started: Now
    clock: HybridClock
    ledger: Ledger = field(default_factory=Ledger)
    timers: Timers = field(default_factory=Timers)
    touched: dict[DeviceId, Line] = field(default_factory=dict)

    def pump(self, now: Now) -> None:
        """Let every line that was touched since the last call send what it may."""
        while self.touched:
            lines, self.touched = self.touched, {}
            for line in lines.values():
                line.pump(now)
