"""Stored events go when they are old or too many, the oldest first, and never the newest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2pchat.core import ops
from p2pchat.store.interface import Store
from p2pchat.store.memory import MemoryStore
from p2pchat.store.retention import Retention
from p2pchat.store.sqlite import SqliteStore
from tests.contract.samples import BOB, at, out, peer

Make = Callable[[Retention], Store]


@pytest.fixture(params=["sqlite", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[Store] = []

    def build(retention: Retention) -> Store:
        if request.param == "memory":
            made.append(MemoryStore(retention=retention))
        else:
            made.append(SqliteStore(tmp_path / "chat.db", retention=retention))
        return made[-1]

    yield build
    for store in made:
        store.close()


def note(second: float) -> ops.NoteStream:
    return ops.NoteStream(BOB, "hole", "", at(second))


def ids(store: Store) -> list[int]:
    return [event.event_id for event in store.events_since(0, 10_000)]


def test_events_beyond_the_number_of_rows_go(make: Make) -> None:
    store = make(Retention(rows=10, every=5, chunk=4))
    for n in range(100):
        store.commit([note(n)])
    kept = ids(store)
    assert kept[-1] == 100
    assert 10 <= len(kept) < 10 + 5
    assert kept == list(range(kept[0], 101))
    assert store.event_range() == (kept[0], 100)


def test_pruning_keeps_up_with_large_commits(make: Make) -> None:
    store = make(Retention(rows=10, every=5, chunk=4))
    for _ in range(6):
        store.commit([note(1)] * 50)
    assert len(ids(store)) == 10


def test_events_beyond_their_age_go_when_time_has_passed(make: Make) -> None:
    store = make(Retention(age_ms=60_000, every=1000, interval_ms=10_000))
    store.commit([note(0), note(1), note(2)])
    store.commit([note(61.5)])
    assert ids(store) == [3, 4]
    store.commit([note(65)])
    assert ids(store) == [3, 4, 5], "looked at a moment ago"
    store.commit([note(72)])
    assert ids(store) == [4, 5, 6]


def test_the_newest_event_stays_and_ids_go_on(make: Make) -> None:
    store = make(Retention(age_ms=1, every=1, interval_ms=1))
    store.commit([note(1), note(2)])
    store.commit([note(500)])
    assert ids(store) == [3]
    assert store.commit([note(0)]).recorded[0].event_id == 4


def test_pruning_touches_no_message(make: Make) -> None:
    store = make(Retention(rows=1, every=1, chunk=100))
    store.commit([peer(), *(out(n) for n in range(1, 20))])
    store.commit([note(1)])
    assert len(ids(store)) == 1
    assert len(store.load().waiting) == 19
