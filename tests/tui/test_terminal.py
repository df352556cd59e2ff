"""The whole program in a terminal: a pseudo-terminal around the process, an emulator that reads what it writes.

Every row of the emulator's screen must be exactly as wide as the screen, frames where they belong, with names and
messages that try to break it.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pyte
import pytest
from wcwidth import wcwidth

from p2pchat.tui.cells import body_text
from p2pchat.tui.widgets.painted import Painted
from tests.tui.fake import NOON, FakeEngine, device, peer
from tests.tui.stage import showing
from tests.tui.test_cells import NASTY

ROOT = Path(__file__).parents[2]
DEADLINE_S = 20.0
_BEYOND_PYTE = re.compile(rb"\x1b\[[<>=?][0-9;]*[u$][a-z]?|\x1b\[\?[0-9;]+\$p|\x1bP.*?\x1b\\", re.DOTALL)


class Terminal:
    """A process in a pseudo-terminal of a fixed size."""

    def __init__(self, master: int, columns: int, lines: int) -> None:
        self._master = master
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.written = 0

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def rows(self) -> list[str]:
        """The rows as read; the second column of a wide character is nothing."""
        buffer, columns = self.screen.buffer, range(self.screen.columns)
        return ["".join(buffer[y][x].data for x in columns) for y in range(self.screen.lines)]

    def wait_for(self, *texts: str) -> None:
        """Read until all of these are on the screen."""
        end_s = time.monotonic() + DEADLINE_S
        while not all(text in self.text for text in texts):
            if time.monotonic() > end_s:
                raise AssertionError(f"never: {texts}\n{self.text}")
            self._read(0.1)
        while self._read(0.15):
            pass

    def _read(self, patience_s: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], patience_s)
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.written += len(data)
        self._stream.feed(_BEYOND_PYTE.sub(b"", data))
        return bool(data)

    def type(self, keys: bytes) -> None:
        """Send what a keyboard would."""
        os.write(self._master, keys)

    def quiet_for(self, seconds: float) -> int:
        """Bytes that are written in this time."""
        before, end_s = self.written, time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._read(left_s)
        return self.written - before


@contextmanager
def running(scene: str, columns: int, lines: int) -> Generator[Terminal, None, None]:
    """Run the screen on a fake engine."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
    environment |= {"COLUMNS": str(columns), "LINES": str(lines), "PYTHONPATH": str(ROOT)}
    environment.pop("P2PCHAT_ASCII", None)
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for number in (0, 1, 2):
                os.dup2(slave, number)
            os.execve(sys.executable, [sys.executable, "-m", "tests.tui.fake", scene], environment)
        finally:
            os._exit(127)
    os.close(slave)
    try:
        yield Terminal(master, columns, lines)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)


def columns_of(terminal: Terminal, row: int) -> str:
    """One character for each column; the second half of a wide one is a zero byte."""
    line = terminal.screen.buffer[row]
    return "".join(line[x].data[:1] or "\0" for x in range(terminal.screen.columns))


@pytest.mark.parametrize(("columns", "lines"), [(60, 20), (80, 24), (120, 40), (200, 50)])
def test_rows_are_exactly_as_wide_as_the_terminal_with_nasty_text(columns: int, lines: int) -> None:
    with running("nasty", columns, lines) as terminal:
        terminal.wait_for("the last one", "alice")
        right = [columns_of(terminal, row)[columns - 1] for row in range(lines - 1)]
        assert set(right) <= set("│╮╯"), terminal.text
        assert right[0] == "╮"
        assert right[-1] == "╯"
        left = [columns_of(terminal, row)[0] for row in range(lines - 1)]
        assert set(left) <= set("│╭╰"), terminal.text
        for key in (b"\x1bOS", b"\x1bOR", b"\x1b[15~"):
            terminal.type(key)
            terminal.wait_for("Esc Back")
            right = [columns_of(terminal, row)[columns - 1] for row in range(lines - 1)]
            assert set(right) <= set("│╮╯"), terminal.text


def test_alt_enter_begins_a_line_and_a_paste_sends_nothing_in_a_terminal() -> None:
    with running("busy", 80, 24) as terminal:
        terminal.wait_for("Write a message", "alice")
        terminal.type(b"one\x1b\rtwo")
        terminal.wait_for("one", "two")
        terminal.type(b"\x1b[200~three\rfour\r\x1b[201~")
        terminal.wait_for("twothree", "four")
        assert "You said" not in terminal.text
        at = next(y for y, row in enumerate(terminal.rows) if "twothree" in row)
        assert " one " in terminal.rows[at - 1]
        assert " four " in terminal.rows[at + 1]


def test_terminal_gets_nothing_when_nothing_happens() -> None:
    with running("busy", 80, 24) as terminal:
        terminal.wait_for("Write a message", "first draft", "alice")
        terminal.quiet_for(0.7)
        assert terminal.quiet_for(1.3) == 0


def test_quit_gives_the_terminal_back() -> None:
    with running("busy", 80, 24) as terminal:
        terminal.wait_for("Write a message", "alice")
        terminal.type(b"\x11")
        end_s = time.monotonic() + DEADLINE_S
        while pyte.modes.DECTCEM not in terminal.screen.mode and time.monotonic() < end_s:
            terminal.quiet_for(0.1)
        assert pyte.modes.DECTCEM in terminal.screen.mode


@pytest.mark.parametrize("width", [60, 80, 120, 200])
async def test_every_strip_is_as_wide_as_its_widget(width: int) -> None:
    engine = FakeEngine()
    for number, text in enumerate(NASTY):
        engine.add(peer(f"p{number}", name=text, own_name=text, detail=text, last_message_at_ms=NOON - number))
        engine.write("p0", text, state="delivered", mine=bool(number % 2))
        engine.bury(f"p{number}", text, "refused", peer_name=text, last_error=text)
    async with showing(engine, size=(width, 40)) as stage:
        stage.app.controller.open(device("p0"))
        await stage.until(lambda: "surrogate" in stage.text)
        for key in ("", "f4", "f3", "f5", "f1"):
            await stage.press(*([key] if key else []))
            await stage.pilot.pause()
            for widget in stage.app.screen.query(Painted):
                for y in range(widget.scrollable_content_region.height if widget.display else 0):
                    strip = widget.render_line(y)
                    real = sum(max(0, wcwidth(char)) for segment in strip for char in segment.text)
                    assert strip.cell_length == real, strip.text
            await stage.press(*(["escape"] if key else []))


def test_nasty_samples_are_nasty() -> None:
    assert any(body_text(text) != text for text in NASTY)
