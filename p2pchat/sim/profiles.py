"""What kind of world it is, as data: how slow, how broken, how talkative.

``*_every_s`` is the mean time between two such things in the whole world (for what people do: per device); 0 means
never. ``*_p`` is a probability, a pair of numbers a range to draw from. Mild worlds prove little; they show that the
ordinary works. Hot worlds find bugs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from p2pchat.model import FirstContact, Policy

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What people do, mean seconds between two of a kind on one device.

    Attributes:
        send_every_s: between two occasions to send; each is a burst of up to ``burst`` messages.
        ask_again_p: a client asks again with the same id although nothing is wrong.
        give_up_p: a client whose engine went away does not ask again.
        block_s: how long somebody stays blocked.
        retry_every_s, purge_every_s: dead letters put back, removed.
        add_every_s: somebody types an address again; with a link there this makes a second one.
        forget_every_s: somebody forgets a peer with its whole conversation.
        strangers: nobody has accepted anybody at the start.
    """

    send_every_s: float = 4.0
    burst: int = 4
    big_p: float = 0.01
    ask_again_p: float = 0.02
    give_up_p: float = 0.1
    cancel_every_s: float = 0.0
    read_every_s: float = 10.0
    retry_every_s: float = 0.0
    purge_every_s: float = 0.0
    block_every_s: float = 0.0
    block_s: Range = (1.0, 20.0)
    add_every_s: float = 0.0
    forget_every_s: float = 0.0
    strangers: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of world.

    Attributes:
        latency_s: one way, drawn per frame between the bounds; ``slow_latency_s`` for a link that is slow.
        commit_s: how long a commit takes.
        cut_after_send_p: for each frame with events or acknowledgements, the link is cut right behind it.
        silent_cut_p: of the cuts, those that neither side is told of; ``half_open_p``: that one side is told of.
        lost_in_outage_p: a link that was blackholed does not survive the end of the outage.
        restore_every_s: a device comes back from a crash with an older copy of its disk.
        power_loss_p: of the crashes, those after which the network says nothing to the other side; ``quit_p``: those
            that are no crashes: somebody ends the engine, which says goodbye.
        wall_offset_s: how wrong the clocks of the devices are.
        mdns: devices announce themselves; without it they know only the addresses that people gave.
        ghost: one more device that everybody writes to and that is never there.
    """

    name: str
    traffic: Traffic = field(default_factory=Traffic)
    policy: Policy = field(default_factory=Policy)
    latency_s: Range = (0.001, 0.02)
    slow_link_p: float = 0.0
    slow_latency_s: Range = (0.2, 3.0)
    commit_s: Range = (0.001, 0.01)
    commit_fail_every_s: float = 0.0
    commit_fail_s: Range = (0.5, 10.0)
    crash_every_s: float = 0.0
    power_loss_p: float = 0.3
    quit_p: float = 0.2
    down_s: Range = (0.2, 8.0)
    restore_every_s: float = 0.0
    sleep_every_s: float = 0.0
    sleep_s: Range = (2.0, 90.0)
    cut_after_send_p: float = 0.0
    cut_every_s: float = 0.0
    silent_cut_p: float = 0.1
    half_open_p: float = 0.2
    partition_every_s: float = 0.0
    one_way_every_s: float = 0.0
    outage_s: Range = (0.5, 25.0)
    lost_in_outage_p: float = 0.3
    refuse_every_s: float = 0.0
    refuse_s: Range = (0.5, 15.0)
    wall_offset_s: float = 0.0
    wall_jump_every_s: float = 0.0
    network_change_every_s: float = 0.0
    mdns: bool = True
    ghost: bool = False
    drain_s: float = 400.0


MILD: Final = Profile(
    name="mild",
    traffic=Traffic(cancel_every_s=60.0, add_every_s=120.0),
    crash_every_s=60.0,
    cut_every_s=60.0,
    partition_every_s=90.0,
    outage_s=(0.5, 10.0),
    wall_offset_s=30.0,
    ghost=True,
)

HOT: Final = Profile(
    name="hot",
    traffic=Traffic(
        send_every_s=3.0,
        burst=6,
        ask_again_p=0.1,
        cancel_every_s=5.0,
        read_every_s=8.0,
        retry_every_s=10.0,
        purge_every_s=60.0,
        block_every_s=60.0,
        add_every_s=20.0,
    ),
    latency_s=(0.001, 0.3),
    slow_link_p=0.2,
    commit_s=(0.001, 0.8),
    commit_fail_every_s=60.0,
    crash_every_s=15.0,
    sleep_every_s=90.0,
    cut_after_send_p=0.5,
    cut_every_s=20.0,
    partition_every_s=30.0,
    one_way_every_s=30.0,
    refuse_every_s=20.0,
    wall_offset_s=4 * 3600.0,
    wall_jump_every_s=120.0,
    network_change_every_s=60.0,
    ghost=True,
)

STRANGERS: Final = replace(
    HOT,
    name="strangers",
    traffic=replace(HOT.traffic, strangers=True, block_every_s=30.0),
    policy=replace(HOT.policy, max_stranger_messages=5),
)
"""Hot, and everybody begins as a stranger to everybody."""

POLLING: Final = replace(HOT, name="polling", policy=replace(HOT.policy, realtime=False, poll_interval_s=10.0))
"""Hot, and nobody pushes: everything is pulled."""

IMPATIENT: Final = replace(
    HOT,
    name="impatient",
    policy=replace(HOT.policy, max_retries=2, ack_timeout_s=2.0, retention_s=90.0, min_uptime_for_expiry_s=5.0),
)
"""Hot, and messages are given up after two attempts or two minutes: many dead letters."""

CLOSED: Final = replace(STRANGERS, name="closed", policy=replace(HOT.policy, first_contact=FirstContact.REFUSE))
"""Hot, and strangers are turned away until they are accepted."""

FORGETTING: Final = replace(HOT, name="forgetting", traffic=replace(HOT.traffic, forget_every_s=20.0))
"""Hot, and people forget each other."""

TANGLED: Final = replace(
    HOT,
    name="tangled",
    traffic=replace(
        HOT.traffic,
        send_every_s=2.0,
        cancel_every_s=1.5,
        add_every_s=4.0,
        block_every_s=8.0,
        block_s=(0.1, 4.0),
        retry_every_s=4.0,
    ),
    policy=replace(HOT.policy, ack_timeout_s=3.0),
    slow_link_p=0.5,
    crash_every_s=60.0,
    sleep_every_s=0.0,
    cut_after_send_p=0.1,
    refuse_every_s=0.0,
)
"""Many links at once between the same two, fast and slow ones, and people who cannot make up their minds."""

RESTORED: Final = replace(HOT, name="restored", restore_every_s=25.0)
"""Hot, and now and then a device goes on from an older copy of its disk."""

PROFILES: Final = {
    profile.name: profile
    for profile in (MILD, HOT, STRANGERS, CLOSED, POLLING, IMPATIENT, TANGLED, FORGETTING, RESTORED)
}
