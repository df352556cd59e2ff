"""What the end tells: lost, stuck, out of order; and what a node may hold in memory at any time."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from p2pchat.core.node import Node
from p2pchat.model import ACCEPTED, PERMANENT, Direction, PeerHasIt, Reason, State
from p2pchat.sim.network import MAX_QUEUED

if TYPE_CHECKING:
    from p2pchat.sim.device import Device
    from p2pchat.sim.invariants import Fate, Judge

MAX_HELD: Final = 20_000
"""Effects that may wait for a commit."""

EVERYTHING: Final = 1_000_000_000
WAITING: Final = (State.PENDING, State.SENT)
_TICKED: Final = (State.DELIVERED, State.READ)


def drained(judge: Judge) -> bool:
    """Tell whether every message has come to its end, as far as the judge has heard."""
    if judge.world.people.unanswered:
        return False
    if any(fate.read_told and fate.state is not State.READ and not fate.purged for fate in judge.fates.values()):
        return False
    return not any(_loose_ends(judge, device) for device in judge.world.devices)


def _loose_ends(judge: Judge, device: Device) -> str:
    """Name what a device still has to settle with the others; empty: nothing."""
    ghost = judge.world.ghost
    snapshot = device.disk.store.load()
    for record in snapshot.waiting:
        if ghost is None or record.peer != ghost.id:
            return f"{record.message_id.hex()[-6:]} waits"
    for letter in snapshot.letters:
        if ghost is not None and letter.peer == ghost.id:
            continue
        if letter.peer_has_it is PeerHasIt.UNKNOWN:
            return f"letter {letter.message_id.hex()[-6:]} ({letter.reason}): nobody asked whether the peer has it"
        returns = letter.reason not in PERMANENT and letter.auto_returns < device.policy.max_auto_returns
        if returns and device.policy.auto_retry_on_reconnect:
            return f"letter {letter.message_id.hex()[-6:]} ({letter.reason}) did not return"
    for peer, ids in snapshot.untold_reads.items():
        if ids and judge.pair(judge.world.by_id[peer], device).trust in ACCEPTED:
            return f"{len(ids)} read marks were not told"
    return ""


def settle(judge: Judge) -> None:
    """Judge the end of a world that had time to drain."""
    for device, command in judge.world.people.unanswered:
        judge.violation("no reply", f"{device.name}: {type(command).__name__}")
    for fate in judge.fates.values():
        _judge_fate(judge, fate)
    for device in judge.world.devices:
        loose = _loose_ends(judge, device)
        if loose:
            judge.violation("did not drain", f"{device.name}: {loose}")
        _compare_disk(judge, device)
        _read_histories(judge, device)
        _judge_rest(judge, device)
    for (source, target), pair in judge.pairs.items():
        numbers = [fate.number for fate in pair.arrivals if not fate.given_up]
        for before, after in pairwise(numbers):
            if before > after:
                judge.violation("order", f"from {source} to {target}: number {after} arrived after number {before}")
                break


def _judge_fate(judge: Judge, fate: Fate) -> None:
    ghost = fate.peer is judge.world.ghost
    if fate.state in WAITING and not ghost:
        judge.violation("stuck", f"{fate} still waits")
    if fate.state in _TICKED and not fate.arrived:
        judge.violation("lost", str(fate))
    if fate.read_told and fate.state is not State.READ and not fate.purged:
        judge.violation("stuck", f"{fate} was read and its author does not know")
    if ghost and fate.state is State.FAILED and fate.reason != Reason.EXPIRED:
        judge.violation("absent was charged", f"{fate}: {fate.reason}")


def _compare_disk(judge: Judge, device: Device) -> None:
    """The store itself must say what its commits said."""
    snapshot = device.disk.store.load()
    waiting = {record.message_id for record in snapshot.waiting}
    letters = {record.message_id for record in snapshot.letters}
    for fate in judge.fates.values():
        if fate.author is not device:
            continue
        if (fate.state in WAITING) != (fate.message_id in waiting):
            judge.violation("lost", f"{fate}: in the line on disk: {fate.message_id in waiting}")
        if (fate.state is State.FAILED and not fate.purged) != (fate.message_id in letters):
            judge.violation("lost", f"{fate}: among the letters on disk: {fate.message_id in letters}")


def _read_histories(judge: Judge, device: Device) -> None:
    """Each conversation, as people see it: each message once, in its author's order, no answer before its question."""
    for peer in judge.world.devices:
        if peer is device:
            continue
        rows = device.disk.store.history(peer.id, EVERYTHING)
        places = {row.message_id: place for place, row in enumerate(rows)}
        if len(places) != len(rows):
            judge.violation("shown twice", f"{device.name} with {peer.name}: {len(rows) - len(places)} messages")
        last = {device.index: 0, peer.index: 0}
        for row in rows:
            fate = judge.fates.get(row.message_id)
            if fate is None:
                continue
            seen = places.get(fate.seen, -1) if fate.seen is not None else -1
            if seen > places[row.message_id]:
                judge.violation("answer above its question", f"{fate} at {device.name}")
            if not fate.given_up and fate.number < last[fate.author.index]:
                judge.violation("order", f"{fate} stands too late in the history of {device.name}")
            elif not fate.given_up:
                last[fate.author.index] = fate.number
        shown = {row.message_id for row in rows if row.direction is Direction.IN}
        for fate in judge.pair(peer, device).arrivals:
            if fate.message_id not in shown:
                judge.violation("lost", f"{fate} arrived and is not in the history of {device.name}")


def _judge_rest(judge: Judge, device: Device) -> None:
    """Look at a node that has nothing to do."""
    node = device.node
    if node is None:
        return
    look_at(judge, device, node)
    ghost = judge.world.ghost
    for view in node.waiting(device.now):
        if ghost is not None and view.peer == ghost.id:
            if view.attempts:
                judge.violation("absent was charged", f"{device.name}: {view.attempts} attempts for the ghost")
            continue
        judge.violation("stuck", f"{device.name} believes that {view.message_id.hex()[-6:]} waits: {view.waiting_for}")
    ledger = node._context.ledger
    if ledger._held or ledger._asked:
        judge.violation("stuck", f"{device.name} holds {len(ledger._held)} effects, {len(ledger._asked)} questions")
    if node._commands._staged:
        judge.violation("stuck", f"{device.name} has {len(node._commands._staged)} messages between people and disk")


def look_at(judge: Judge, device: Device, node: Node) -> None:
    """Check what a node holds in memory, and that everything that waits says why."""
    now = device.now
    for view in node.waiting(now):
        if not view.waiting_for:
            judge.violation("waits without a reason", f"{device.name}: {view}")
    for peer in node.peers(now):
        if not peer.name:
            judge.violation("peer without a name", f"{device.name}: {peer}")
    policy = device.policy
    for one in node._directory:
        if len(one.line) > policy.max_queue + policy.max_letters:
            judge.violation("unbounded", f"{device.name}: a line of {len(one.line)}")
        if len(one.line.flying) > policy.window_events:
            judge.violation("unbounded", f"{device.name}: {len(one.line.flying)} in flight")
    sizes = {
        "held effects": (len(node._context.ledger._held), MAX_HELD),
        "questions": (len(node._context.ledger._asked), MAX_HELD),
        "sessions": (len(node._links._sessions), len(device.links) + 4),
        "dials": (len(node._dialling._targets), len(judge.world.by_id) + 1),
        "timers": (len(node._context.timers._heap), 100 + 20 * len(judge.world.by_id) + 10 * len(device.links)),
        "frames under way": (max((end.queued for end in device.links.values()), default=0), MAX_QUEUED),
    }
    for what, (size, limit) in sizes.items():
        if size > limit:
            judge.violation("unbounded", f"{device.name}: {size} {what}, at most {limit}")
