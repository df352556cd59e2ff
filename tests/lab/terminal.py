"""A real terminal: tmux on a private socket in a machine's namespace, driven by keys and read as text."""

from __future__ import annotations

import shlex
import sys
from typing import Final

from tests.lab.host import Host, environ
from tests.lab.net import LabError, run
from tests.lab.waiting import wait_until

SERVER_TIMEOUT_S: Final = 10.0
ROWS_AND_COLUMNS: Final = (24, 80)


class Terminal:
    """The chat screen of a host in an 80×24 terminal; ends with the lab at the latest."""

    def __init__(self, host: Host) -> None:
        """Start the terminal with the chat screen in it."""
        folder = host.lab.folder
        self._socket = folder / f"{host.name}.tmux"
        settings = folder / "tmux.conf"
        settings.write_text("set -g default-terminal tmux-256color\nset -g remain-on-exit on\nset -s escape-time 0\n")
        # With -D the server is our own child and ends with the lab, however that ends.
        host.lab.spawn(
            ["tmux", "-D", "-u", "-S", str(self._socket), "-f", str(settings)],
            plug=host.plug,
            environ={**environ(), "TERM": "xterm-256color", "NO_COLOR": ""},
        )
        wait_until("tmux is there", self._socket.exists, SERVER_TIMEOUT_S)
        rows, columns = ROWS_AND_COLUMNS
        # tmux does not always say how a program in it ended, so a shell around the program writes it down.
        self._ended = folder / f"{host.name}.ended"
        self._ended.unlink(missing_ok=True)
        program = shlex.join([sys.executable, "-m", "p2pchat", "--home", str(host.home)])
        command = f"{program}; echo $? > {shlex.quote(str(self._ended))}"
        wait_until("tmux serves", lambda: self._started(command, rows, columns), SERVER_TIMEOUT_S)

    def _started(self, command: str, rows: int, columns: int) -> bool:
        try:
            self._tmux("new-session", "-d", "-s", "lab", "-x", str(columns), "-y", str(rows), command)
        except LabError as error:
            if "error connecting" in str(error):
                return False
            raise
        return True

    def _tmux(self, *words: str) -> str:
        return run("tmux", "-u", "-S", str(self._socket), *words)

    def keys(self, *names: str) -> None:
        """Press keys, named as tmux names them."""
        self._tmux("send-keys", "-t", "lab", *names)

    def type(self, text: str) -> None:
        """Type a text, character by character as it stands."""
        self._tmux("send-keys", "-t", "lab", "-l", text)

    def paste(self, text: str) -> None:
        """Paste a text as a terminal does it for a program that understands bracketed paste."""
        self._tmux("set-buffer", text)
        self._tmux("paste-buffer", "-p", "-t", "lab")

    def screen(self) -> str:
        """What the terminal shows now."""
        return self._tmux("capture-pane", "-p", "-t", "lab")

    def title(self) -> str:
        """The terminal's title, which programs can set."""
        return self._tmux("display-message", "-p", "-t", "lab", "#{pane_title}")

    def wait(self, *texts: str, timeout_s: float = 10.0) -> str:
        """Wait until the terminal shows all of these, and return what it shows."""
        found = ""

        def look() -> str:
            nonlocal found
            found = self.screen()
            return found if all(text in found for text in texts) else ""

        try:
            return wait_until(f"the screen shows {texts}", look, timeout_s, poll_s=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{found}") from None

    def wait_gone(self, text: str, *, timeout_s: float = 10.0) -> None:
        """Wait until the terminal no longer shows this."""
        wait_until(f"the screen no longer shows {text!r}", lambda: text not in self.screen(), timeout_s, poll_s=0.05)

    def exit_code(self, *, timeout_s: float = 10.0) -> int:
        """Wait until the program has ended and return its exit code."""

        def look() -> str:
            return self._ended.read_text("ascii").strip() if self._ended.exists() else ""

        return int(wait_until("the program has ended", look, timeout_s))
