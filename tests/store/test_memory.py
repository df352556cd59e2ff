"""The store in memory as a simulated disk: pictures of it."""

from __future__ import annotations

from p2pchat.core import ops
from p2pchat.store.memory import MemoryStore
from p2pchat.store.rows import Written
from tests.contract.samples import BOB, at, dead, delivered, incoming, mid, out, peer, revive


def filled() -> MemoryStore:
    store = MemoryStore()
    store.commit([peer(), *(out(n) for n in range(1, 6)), incoming(10), incoming(11), dead(2), dead(3)])
    return store


def picture(store: MemoryStore) -> list[object]:
    return [store.load(), store.history(BOB, 99), store.events_since(0, 99), store.counts(), store.unread_counts()]


def test_copy_is_not_changed_by_what_happens_to_the_original() -> None:
    store = filled()
    copy = store.copy()
    before = picture(copy)
    changes: list[ops.Op] = [
        delivered(1),
        revive(2, 9),
        ops.RemoveLetters((mid(3),), at(99)),
        incoming(12),
        ops.MarkReadByUs(BOB, None, at(99), tell=True),
        out(6),
        ops.ForgetPeer(BOB, at(100)),
    ]
    for op in changes:
        store.commit([op])
        assert picture(copy) == before, op
    assert picture(store) != before


def test_copy_goes_on_as_the_original_would() -> None:
    """A backup that is restored gives out the numbers again that were given out after it was made."""
    store = filled()
    copy = store.copy()
    assert copy.commit([out(6), incoming(10)]) == store.commit([out(6), incoming(10)])
    assert picture(copy) == picture(store)


def test_memory_counts_its_commits() -> None:
    store = filled()
    for housekeeping in (store.tidy, store.checkpoint, store.probe, store.close):
        housekeeping()
    assert store.written() == Written(commits=1)
