"""Another mDNS implementation on a machine of its own: avahi with a private message bus.

Nothing of the system's own avahi or D-Bus is touched: the bus listens on a socket in the lab's folder, and the daemon
sees a ``/run`` of its own.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.lab.host import environ
from tests.lab.net import Lab, Plug, end
from tests.lab.waiting import wait_until

SERVICE: Final = "_p2pchat._tcp"
START_TIMEOUT_S: Final = 10.0

_BUS: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_destination="*"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""
_DAEMON: Final = """[server]
host-name={name}
use-ipv4=yes
use-ipv6=yes
allow-interfaces=eth0
enable-dbus=yes
[wide-area]
enable-wide-area=no
[publish]
publish-hinfo=no
publish-workstation=no
"""
# Its pid file and socket have fixed paths below /run.
_START: Final = "mount -t tmpfs none /run && mkdir /run/avahi-daemon && exec avahi-daemon --file={} {}"
_OPTIONS: Final = "--no-drop-root --no-chroot --no-rlimits --no-proc-title"


class Avahi:
    """An avahi daemon and its tools on one plug; ends with the lab."""

    def __init__(self, lab: Lab, plug: Plug) -> None:
        """Start the bus and the daemon, and wait until the daemon serves."""
        self._lab = lab
        self._plug = plug
        self._folder = lab.folder / f"avahi-{plug.name}"
        self._folder.mkdir()
        socket = self._folder / "bus"
        self._environ = {**environ(), "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={socket}"}
        bus = self._write("bus.conf", _BUS.format(socket=socket))
        self._spawn("bus", "dbus-daemon", f"--config-file={bus}", "--nofork", "--nopidfile")
        wait_until("the bus is there", socket.exists, START_TIMEOUT_S)
        daemon = self._write("daemon.conf", _DAEMON.format(name=plug.name))
        self._spawn("daemon", "unshare", "--mount", "sh", "-c", _START.format(daemon, _OPTIONS))
        wait_until("avahi serves", lambda: "Server startup complete" in self._said("daemon"), START_TIMEOUT_S)

    def browse(self, *, timeout_s: float = 10.0) -> list[list[str]]:
        """Return the resolved services of our type: the fields of each ``=`` line."""
        out = self._plug.run(
            "env", f"DBUS_SYSTEM_BUS_ADDRESS={self._environ['DBUS_SYSTEM_BUS_ADDRESS']}",
            "avahi-browse", "--resolve", "--terminate", "--parsable", SERVICE,
            timeout_s=timeout_s,
        )  # fmt: skip
        return [line.split(";") for line in out.splitlines() if line.startswith("=")]

    def publish(self, name: str, port: int, *txt: str) -> subprocess.Popen[bytes]:
        """Publish a service of our type until the returned process is ended with :meth:`withdraw`."""
        label = f"publish-{port}"
        process = self._spawn(label, "avahi-publish", "--service", name, SERVICE, str(port), *txt)
        wait_until(f"{name} is published", lambda: "Established" in self._said(label), START_TIMEOUT_S)
        return process

    def withdraw(self, process: subprocess.Popen[bytes]) -> None:
        """Take a service back; the daemon says goodbye for it."""
        end(process)

    def _write(self, name: str, text: str) -> Path:
        path = self._folder / name
        path.write_text(text, "utf-8")
        os.chmod(path, 0o644)
        return path

    def _spawn(self, label: str, *argv: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{label}.out").open("wb") as out:
            return self._lab.spawn(argv, plug=self._plug, stdout=out, stderr=out, environ=self._environ)

    def _said(self, label: str) -> str:
        return (self._folder / f"{label}.out").read_text("utf-8", "replace")
