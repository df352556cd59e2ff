"""The pictures in ``screenshots/`` are the running screen: each is made here and says what the committed one says.

``P2PCHAT_UPDATE_SCREENSHOTS=1 pytest tests/tui/test_screenshots.py`` writes them anew, SVG and PNG.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.tui.fake import FakeEngine, busy_engine, device
from tests.tui.pictures import FOLDER, png_of, svg_of, text_of
from tests.tui.stage import Stage, showing

UPDATE = os.environ.get("P2PCHAT_UPDATE_SCREENSHOTS", "") not in ("", "0")


@dataclass(frozen=True)
class Picture:
    name: str
    engine: Callable[[], FakeEngine]
    pose: Callable[[Stage], Awaitable[None]]
    size: tuple[int, int] = (100, 30)
    light: bool = False


async def conversation(stage: Stage) -> None:
    await stage.write("On my way")
    await stage.sees("On my way", "first draft")


async def waiting(stage: Stage) -> None:
    stage.app.controller.open(device("carol"))
    await stage.sees("Start without me.", "goes out when she is back")


async def request(stage: Stage) -> None:
    stage.app.controller.open(device("mallory"))
    await stage.sees("wants to write to you", "printer group")


async def greeting(stage: Stage) -> None:
    await stage.sees("Nobody here yet", "UDP port 5353")


async def letters(stage: Stage) -> None:
    await stage.press("f4")
    await stage.sees("3 letters", "The meeting moved")


async def outbox(stage: Stage) -> None:
    await stage.press("f3")
    await stage.sees("Running late", "Lunch at half past")


async def logs(stage: Stage) -> None:
    await stage.press("f5")
    await stage.sees("nothing heard for 35 s")


async def keys(stage: Stage) -> None:
    await stage.press("f1")
    await stage.sees("Everywhere", "These keys")


async def details(stage: Stage) -> None:
    await stage.press("tab", "up", "up", "up", "m")
    await stage.sees("No hurry.", "on their disk")


async def lost(stage: Stage) -> None:
    stage.engine.stop()
    await stage.sees("The engine is gone")


PICTURES = [
    Picture("conversation", busy_engine, conversation),
    Picture("conversation-light", busy_engine, conversation, light=True),
    Picture("conversation-80x24", busy_engine, conversation, size=(80, 24)),
    Picture("conversation-60x20", busy_engine, conversation, size=(60, 20)),
    Picture("conversation-200x50", busy_engine, conversation, size=(200, 50)),
    Picture("waiting", busy_engine, waiting),
    Picture("request", busy_engine, request),
    Picture("greeting", FakeEngine, greeting),
    Picture("dead-letters", busy_engine, letters),
    Picture("outbox", busy_engine, outbox),
    Picture("log", busy_engine, logs),
    Picture("keys", busy_engine, keys, size=(100, 40)),
    Picture("message", busy_engine, details),
    Picture("engine-lost", busy_engine, lost),
]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
async def test_screenshot_says_what_the_committed_one_says(picture: Picture) -> None:
    async with showing(picture.engine(), size=picture.size, light=picture.light) as stage:
        await picture.pose(stage)
        await stage.until(lambda: stage.app.controller.settled, "nothing under way")
        svg = svg_of(stage.app)
    file = FOLDER / f"{picture.name}.svg"
    if UPDATE:
        file.write_text(svg, encoding="utf-8")
        file.with_suffix(".png").write_bytes(png_of(svg))
    shown = text_of(svg)
    assert len(shown) > 5
    assert file.exists(), "there is no such picture yet; see the top of this file"
    assert shown == text_of(file.read_text(encoding="utf-8"))


def test_every_committed_picture_is_made_here() -> None:
    made = {picture.name for picture in PICTURES}
    assert {file.stem for file in FOLDER.iterdir() if file.suffix in (".svg", ".png")} == made
