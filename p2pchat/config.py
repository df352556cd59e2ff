"""Settings: defaults < config.toml < environment < flags; every value remembers where it came from.

Theory of operation
===================

:data:`KEYS` is the one table of what can be set: name, default, how a value is read, what it means. A value
is checked where it is read, and the error names the place: file and line, the variable, or the flag. Nothing
is ever replaced silently: 0 means what the table says it means, an unknown key is an error, and a wrong type
is one too.

The file is flat TOML (``flush_interval = 0``). A variable is ``P2PCHAT_`` and the key in capitals; an empty
one counts as not set. Times are integers in milliseconds where the table says ms.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from p2pchat.errors import ConfigError
from p2pchat.model import Address, FirstContact, Policy, clean, clean_name
from p2pchat.paths import Paths

DEFAULT_PORT: Final = 27270
NEVER_S: Final = 100 * 365 * 86400.0
"""What "never" is as a number of seconds: a century fits into every clock that the core adds it to."""

ENV_PREFIX: Final = "P2PCHAT_"
RESERVED_VARIABLES: Final = frozenset({"P2PCHAT_HOME", "P2PCHAT_DEBUG"})


class Source(StrEnum):
    """Where a value came from; a later one wins."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class LogLevel(StrEnum):
    """The least serious line that the engine log keeps."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from; ``where`` is ``path:line``, the variable, the flag, or empty."""

    source: Source
    where: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, checked. Attributes are named as the keys; :data:`KEYS` documents their units.

    Attributes:
        listen: an empty host means every interface.
        origins: key → where its value came from.
    """

    name: str
    listen: Address
    discovery: bool
    include_virtual_interfaces: bool
    hosts: tuple[Address, ...]
    flush_interval: int
    flush_threshold: int
    max_queue_size: int
    message_retention: float
    max_retries: int
    base_retry_delay: int
    max_retry_delay: int
    auto_retry_on_reconnect: bool
    enable_realtime: bool
    sync_fallback_interval: int
    heartbeat_interval: int
    read_receipts: bool
    first_contact: FirstContact
    log_level: LogLevel
    origins: Mapping[str, Origin]

    def policy(self) -> Policy:
        """Return the numbers that the core decides by. An interval of 0 (off) becomes a century."""
        beat_s = self.heartbeat_interval / 1000
        return Policy(
            name=self.name,
            realtime=self.enable_realtime,
            read_receipts=self.read_receipts,
            auto_retry_on_reconnect=self.auto_retry_on_reconnect,
            first_contact=self.first_contact,
            max_retries=self.max_retries,
            base_retry_delay_s=self.base_retry_delay / 1000,
            max_retry_delay_s=self.max_retry_delay / 1000,
            max_queue=self.max_queue_size,
            retention_s=self.message_retention * 86400 if self.message_retention > 0 else NEVER_S,
            heartbeat_interval_s=beat_s if self.heartbeat_interval > 0 else NEVER_S,
            # Two missed answers and the time that an answer may take: 35 s with the default.
            dead_after_s=2 * beat_s + 5 if self.heartbeat_interval > 0 else NEVER_S,
            poll_interval_s=self.sync_fallback_interval / 1000 if self.sync_fallback_interval > 0 else NEVER_S,
        )

    @property
    def flush_interval_s(self) -> float:
        """How long changes that promise nothing may wait for the disk, in seconds; 0: written through."""
        return self.flush_interval / 1000

    def rows(self) -> list[tuple[str, object, str, str]]:
        """Return (key, value, source, doc) for every key, in the table's order, as JSON has them."""
        return [
            (key.name, shown(getattr(self, key.name)), self.origins[key.name].source.value, key.doc) for key in KEYS
        ]


def load(paths: Paths, environ: Mapping[str, str] | None = None, flags: Mapping[str, str] | None = None) -> Config:
    """Read the settings.

    Args:
        environ: the variables; the process's own when None.
        flags: key → text, as given on the command line.

    Raises:
        ConfigError: something is wrong; the text names where and what would be right.
    """
    values: dict[str, object] = {key.name: key.default() for key in KEYS}
    origins = {key.name: Origin(Source.DEFAULT) for key in KEYS}
    layers = [_from_file(paths), _from_environ(os.environ if environ is None else environ)]
    layers.append({name: (text, Origin(Source.FLAG, _flag(name))) for name, text in (flags or {}).items()})
    for layer in layers:
        for name, (raw, origin) in layer.items():
            values[name] = _read(name, raw, origin)
            origins[name] = origin
    return Config(**values, origins=origins)  # type: ignore[arg-type]  # each reader returns its field's type


def parse_address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """Read ``HOST``, ``HOST:PORT``, ``:PORT``, ``[V6]:PORT``, ``[V6]`` or a bare IPv6 address.

    ``*`` and an empty host become "".

    Raises:
        ValueError: it is not one; the text says what would be.
    """
    said = text.strip()
    host, port_text = said, ""
    if said.startswith("["):
        host, closed, rest = said[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(_not_an_address(text))
        port_text = rest[1:]
    elif said.count(":") == 1:
        host, _, port_text = said.partition(":")
    if not said or any(char.isspace() or char in "[]/@," for char in host) or said.endswith(":"):
        raise ValueError(_not_an_address(text))
    if port_text and not (port_text.isascii() and port_text.isdigit() and int(port_text) < 65536):
        raise ValueError(f"{clean(port_text, 40)!r} is not a port (0 to 65535)")
    return Address("" if host == "*" else host, int(port_text) if port_text else default_port)


def _not_an_address(text: str) -> str:
    return f"{clean(text, 80)!r} is not HOST:PORT (an IPv6 address with a port stands in brackets: [::1]:27270)"


# --- reading one value: each takes what TOML gives or a text, and returns the field's type ------------------


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError('a text in quotes is expected, such as "ada"')
    return raw


def _name(raw: object) -> str:
    name = clean_name(_text(raw))
    if not name:
        raise ValueError("a name cannot be empty")
    return name


def _switch(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.strip().lower() in ("true", "1", "yes", "on"):
        return True
    if isinstance(raw, str) and raw.strip().lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("true or false is expected")


def _whole(low: int, high: int) -> Callable[[object], int]:
    def read(raw: object) -> int:
        number = raw
        if isinstance(raw, str):
            try:
                number = int(raw)
            except ValueError:
                number = None
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError(f"a whole number from {low} to {high} is expected")
        return number

    return read


def _days(raw: object) -> float:
    number = raw
    if isinstance(raw, str):
        try:
            number = float(raw)
        except ValueError:
            number = None
    if not isinstance(number, int | float) or isinstance(number, bool) or not 0 <= number <= 36500:
        raise ValueError("a number of days from 0 to 36500 is expected")
    return number


def _listen(raw: object) -> Address:
    said = _text(raw)
    return Address("", int(said)) if said.isascii() and said.isdigit() and int(said) < 65536 else parse_address(said)


def _hosts(raw: object) -> tuple[Address, ...]:
    if isinstance(raw, str):
        raw = [part for part in raw.replace(",", " ").split() if part]
    if not isinstance(raw, list) or not all(isinstance(part, str) for part in raw):
        raise ValueError('a list of texts is expected, such as ["192.168.1.20", "desk.lan:27271"]')
    found = tuple(parse_address(part) for part in raw)
    if any(not address.host or not address.port for address in found):
        raise ValueError("a host to dial needs a name and a port other than 0")
    return found


def _choice(kind: type[StrEnum]) -> Callable[[object], StrEnum]:
    def read(raw: object) -> StrEnum:
        try:
            return kind(_text(raw).strip().lower())
        except ValueError:
            raise ValueError("one of " + ", ".join(kind) + " is expected") from None

    return read


@dataclass(frozen=True, slots=True)
class Key:
    """One setting."""

    name: str
    default: Callable[[], object]
    read: Callable[[object], object]
    doc: str


def _host_name() -> str:
    return clean_name(os.uname().nodename.split(".")[0]) or "p2pchat"


_MAX_MS: Final = 86_400_000

KEYS: Final[tuple[Key, ...]] = (
    Key("name", _host_name, _name, "what other people see; this machine's name unless set"),
    Key(
        "listen",
        lambda: Address("", DEFAULT_PORT),
        _listen,
        "HOST:PORT to listen on; *: every interface; port 0: any free one",
    ),
    Key("discovery", lambda: True, _switch, "announce this device and find others by mDNS"),
    Key(
        "include_virtual_interfaces",
        lambda: False,
        _switch,
        "also use loopback, docker and other virtual interfaces",
    ),
    Key("hosts", tuple, _hosts, "devices to dial where multicast does not pass, HOST[:PORT] each"),
    Key(
        "flush_interval",
        lambda: 1000,
        _whole(0, _MAX_MS),
        "ms that changes which promise nothing may wait; 0: write through",
    ),
    Key(
        "flush_threshold",
        lambda: 50,
        _whole(0, 100_000),
        "that many such changes are written without waiting; 0 or 1: each",
    ),
    Key(
        "max_queue_size",
        lambda: 1000,
        _whole(0, 1_000_000),
        "undelivered messages per peer, more are refused; 0: refuse all",
    ),
    Key(
        "message_retention",
        lambda: 7,
        _days,
        "days after which an undelivered message becomes a dead letter; 0: never",
    ),
    Key(
        "max_retries",
        lambda: 5,
        _whole(0, 1000),
        "attempts before a message becomes a dead letter; 0: one attempt, no retry",
    ),
    Key(
        "base_retry_delay",
        lambda: 2000,
        _whole(0, _MAX_MS),
        "ms before the first retry, doubled each time; 0: at once",
    ),
    Key(
        "max_retry_delay",
        lambda: 30_000,
        _whole(0, _MAX_MS),
        "ms that a retry is delayed at most; 0: retries are not delayed",
    ),
    Key(
        "auto_retry_on_reconnect",
        lambda: True,
        _switch,
        "retry dead letters that may succeed now when their peer is back",
    ),
    Key("enable_realtime", lambda: True, _switch, "send and fetch at once; false: poll only"),
    Key(
        "sync_fallback_interval",
        lambda: 30_000,
        _whole(0, _MAX_MS),
        "ms between polls where realtime is off or fails; 0: no polls",
    ),
    Key(
        "heartbeat_interval",
        lambda: 15_000,
        _whole(0, _MAX_MS),
        "ms between heartbeats on a link; 0: none, a dead link is noticed late",
    ),
    Key("read_receipts", lambda: True, _switch, "tell others what was read here"),
    Key(
        "first_contact",
        lambda: FirstContact.REQUEST,
        _choice(FirstContact),
        "when a stranger writes: request (ask me), accept, refuse",
    ),
    Key(
        "log_level",
        lambda: LogLevel.INFO,
        _choice(LogLevel),
        "debug, info, warning or error: the least serious line of engine.log",
    ),
)
_BY_NAME: Final = {key.name: key for key in KEYS}

# --- the layers ---------------------------------------------------------------------------------------------

Layer = dict[str, tuple[object, Origin]]


def _from_file(paths: Paths) -> Layer:
    path = paths.config_file
    try:
        source = path.read_text("utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {clean(str(error), 200)}") from None
    import tomllib

    try:
        found = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        # The parser says "at line 2, column 9" or "at end of document".
        named = re.search(r"at line (\d+)", str(error))
        number = int(named[1]) if named else max(1, len(source.splitlines()))
        raise ConfigError(f"{path}:{number}: not TOML: {clean(str(error), 200)}") from None
    layer: Layer = {}
    for name, raw in found.items():
        where = f"{path}:{_line_of(source, name)}"
        if name not in _BY_NAME:
            raise ConfigError(f"{where}: unknown key {clean(name, 80)!r}{_meant(name)}")
        layer[name] = (raw, Origin(Source.FILE, where))
    return layer


def _line_of(source: str, name: str) -> int:
    """The first line that sets the key or opens its table (TOML parsers give no positions of values)."""
    for number, line in enumerate(source.splitlines(), 1):
        start = line.strip().lstrip("[").strip()
        for form in (name, f'"{name}"', f"'{name}'"):
            if start.startswith(form) and start[len(form) :].lstrip()[:1] in ("=", ".", "]", ""):
                return number
    return 1


def _from_environ(environ: Mapping[str, str]) -> Layer:
    layer: Layer = {}
    for variable, text in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable in RESERVED_VARIABLES or not text:
            continue
        name = variable.removeprefix(ENV_PREFIX).lower()
        if name in _BY_NAME:
            layer[name] = (text, Origin(Source.ENVIRONMENT, variable))
        elif hint := _meant(name):
            # Only what looks like a slip of the pen: other programs may own variables of this prefix.
            raise ConfigError(f"{clean(variable, 80)}: unknown variable{hint}")
    return layer


def _read(name: str, raw: object, origin: Origin) -> object:
    key = _BY_NAME.get(name)
    if key is None:
        raise ConfigError(f"{origin.where}: unknown key {clean(name, 80)!r}")
    try:
        return key.read(raw)
    except ValueError as error:
        said = clean(raw if isinstance(raw, str) else repr(raw), 60)
        raise ConfigError(f"{origin.where}: {name} = {said}: {error}") from None


def _flag(name: str) -> str:
    return "--no-discovery" if name == "discovery" else "--" + name.replace("_", "-")


def _meant(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(_BY_NAME), n=1, cutoff=0.75)
    return f" (did you mean {close[0]!r}?)" if close else ""


def shown(value: object) -> object:
    """A value as JSON and people see it: addresses as texts, tuples as lists, enum members as words."""
    match value:
        case Address():
            return str(value) if value.host else f"*:{value.port}"
        case tuple():
            return [shown(part) for part in value]
        case StrEnum():
            return value.value
        case _:
            return value
