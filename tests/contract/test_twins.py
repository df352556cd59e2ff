"""The same operations, whatever they are, have the same effect on disk and in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pchat.core import ops
from p2pchat.model import Address, DeviceId, MessageId, PeerHasIt, Reason, Trust
from p2pchat.store.failures import NoSuchMessage
from p2pchat.store.interface import Store
from p2pchat.store.memory import MemoryStore
from p2pchat.store.retention import Retention
from p2pchat.store.rows import MessageRow
from p2pchat.store.sqlite import SqliteStore
from tests.contract.samples import BOB, EVE, START_MS, mid

KEEP_FEW = Retention(age_ms=40, rows=12, every=5, interval_ms=30, chunk=4)

peers = st.sampled_from([BOB, EVE])
ids = st.integers(1, 8).map(mid)
some_ids = st.lists(ids, min_size=1, max_size=4).map(tuple)
times = st.integers(0, 60).map(lambda n: START_MS + n)
own_clocks = st.integers(0, 60).map(lambda n: START_MS + n << 16)
clocks = own_clocks | st.sampled_from([0, 2**63 - 1])
bodies = st.sampled_from(["hello", "", "ä\u202e\x1b[2J", "x" * 300])
reasons = st.sampled_from(Reason)
seqs = st.integers(0, 20)


@st.composite
def deliveries(draw: st.DrawFn) -> ops.MarkDelivered:
    message_ids = draw(some_ids)
    sent = tuple(draw(st.none() | times) for _ in message_ids)
    return ops.MarkDelivered(draw(peers), message_ids, sent, draw(times))


operations: st.SearchStrategy[ops.Op] = st.one_of(
    st.builds(ops.InsertOutgoing, peers, ids, st.just(0), bodies, own_clocks, st.none() | ids, times, st.booleans()),
    st.builds(ops.InsertOutgoing, peers, ids, st.just(0), bodies, own_clocks, st.none() | ids, times, st.booleans()),
    st.builds(ops.ApplyIncoming, peers, ids, seqs, bodies, clocks, st.none() | ids, times, times),
    st.builds(ops.ApplyIncoming, peers, ids, seqs, bodies, clocks, st.none() | ids, times, times),
    st.builds(ops.MarkTransmitted, some_ids),
    st.builds(ops.MarkSent, some_ids, times),
    deliveries(),
    st.builds(ops.MarkReadByPeer, peers, some_ids, times),
    st.builds(ops.RecordAttempt, ids, st.integers(1, 5), times, reasons, bodies, times),
    st.builds(ops.ResetAttempts, ids),
    st.builds(ops.MoveToDeadLetters, peers, ids, reasons, bodies, st.integers(0, 5), st.sampled_from(PeerHasIt), times),
    st.builds(ops.ReviveLetter, peers, ids, st.just(0), st.booleans(), st.integers(0, 3), times),
    st.builds(ops.SettleLetters, some_ids, times),
    st.builds(ops.RemoveLetters, some_ids, times),
    st.builds(ops.BeginCancel, peers, ids, times),
    st.builds(ops.FinishCancel, peers, some_ids, times),
    st.builds(ops.MarkReadByUs, peers, st.none() | ids, times, st.booleans()),
    st.builds(ops.ReadTold, peers, some_ids),
    st.builds(ops.QueryApplied, peers, some_ids),
    st.builds(ops.QueryStream, peers, st.integers(0, 200), st.integers(0, 200)),
    st.builds(ops.UpsertPeer, peers, bodies, bodies, st.sampled_from(sorted(set(Trust) - {Trust.SEEN})), times),
    st.builds(ops.RememberAddress, peers, st.builds(Address, st.sampled_from("ab"), st.integers(1, 6)), times),
    st.builds(ops.NotePresence, peers, bodies, st.sampled_from(["online", "offline"]), st.booleans(), times),
    st.builds(ops.ForgetPeer, peers, times),
    st.builds(ops.QueryOutgoing, peers, ids, bodies),
    st.builds(ops.NoteStream, peers, st.sampled_from(["hole", "restored"]), bodies, times),
    st.builds(ops.AdoptIdentity, st.sampled_from([DeviceId("me"), DeviceId("me again")])),
)
commits = st.lists(st.lists(operations, max_size=12), max_size=12)


def numbered(batches: Sequence[Sequence[ops.Op]]) -> list[list[ops.Op]]:
    """Give what goes out numbers that grow, as the core does; big steps, to get past the marks of the stream index."""
    seq = 0
    result: list[list[ops.Op]] = []
    for batch in batches:
        result.append([])
        for op in batch:
            match op:
                case ops.InsertOutgoing(p, i, _, body, hlc, seen, sent, transmitted):
                    seq += 16
                    result[-1].append(ops.InsertOutgoing(p, i, seq, body, hlc, seen, sent, transmitted))
                case ops.ReviveLetter(p, i, _, auto, returns, at_ms, seen):
                    seq += 16
                    result[-1].append(ops.ReviveLetter(p, i, seq, auto, returns, at_ms, seen))
                case _:
                    result[-1].append(op)
    return result


def seen_of(store: Store) -> list[object]:
    """Return all that can be read of a store."""
    return [
        store.load(),
        *(store.message(mid(n)) for n in range(1, 9)),
        *(store.letter(mid(n)) for n in range(1, 9)),
        *(look(peer) for peer in (BOB, EVE) for look in (store.outbox, store.letters, store.unread_count)),
        store.unread_counts(),
        store.last_messages(),
        store.events_since(0, 1000),
        store.event_range(),
        store.counts(),
    ]


def page(store: Store, peer: DeviceId, limit: int, edge: str, message_id: MessageId) -> list[MessageRow] | str:
    try:
        match edge:
            case "before":
                return store.history(peer, limit, before=message_id)
            case "after":
                return store.history(peer, limit, after=message_id)
        return store.history(peer, limit)
    except NoSuchMessage as error:
        return str(error)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=commits, pause_after=st.integers(0, 12), limit=st.integers(1, 5))
def test_twins_agree_on_everything_whatever_is_done(batches: list[list[ops.Op]], pause_after: int, limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chat.db"
        memory = MemoryStore(retention=KEEP_FEW)
        disk = SqliteStore(path, retention=KEEP_FEW)
        try:
            for number, batch in enumerate(numbered(batches)):
                if number == pause_after:
                    # Neither may show.
                    disk.checkpoint()
                    memory = memory.copy()
                assert disk.commit(batch) == memory.commit(batch)
                assert seen_of(disk) == seen_of(memory)
            for peer in (BOB, EVE):
                for edge in ("", "before", "after"):
                    for n in range(1, 9):
                        expected = page(memory, peer, limit, edge, mid(n))
                        assert page(disk, peer, limit, edge, mid(n)) == expected
            before = seen_of(disk)
            disk.close()
            disk = SqliteStore(path, check=True)
            assert disk.opened.quarantined is None
            assert seen_of(disk) == before
        finally:
            disk.close()
