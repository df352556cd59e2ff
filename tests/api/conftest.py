"""A scripted engine below a temporary home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pchat.paths import Paths
from tests.api.scripted import ScriptedEngine


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """The paths of an empty home."""
    return Paths.for_home(tmp_path / "h")


@pytest.fixture
def engine(paths: Paths) -> Iterator[ScriptedEngine]:
    """A scripted engine that answers for this home."""
    engine = ScriptedEngine(paths.socket)
    yield engine
    engine.close()
