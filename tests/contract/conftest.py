"""The stores that the contract holds for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from p2pchat.store.interface import Store
from p2pchat.store.memory import MemoryStore
from p2pchat.store.sqlite import SqliteStore

Reopen = Callable[[], Store]


class Home:
    """Keeps one store; ``reopen`` is what a restart does to it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._path = folder / "chat.db"
        self.store: Store = MemoryStore() if kind == "memory" else SqliteStore(self._path)

    def reopen(self) -> Store:
        """Close the store and return it as it is found again."""
        self.store.close()
        if isinstance(self.store, MemoryStore):
            self.store = self.store.copy()
        else:
            self.store = SqliteStore(self._path)
        return self.store


@pytest.fixture(params=["sqlite", "memory"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path, request.param)
    yield made
    made.store.close()


@pytest.fixture
def store(home: Home) -> Store:
    return home.store


@pytest.fixture
def reopen(home: Home) -> Reopen:
    return home.reopen
