"""Settings: order of the layers, origins, zeros, and errors that name the place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from p2pchat.config import KEYS, NEVER_S, Source, load, parse_address
from p2pchat.errors import ConfigError
from p2pchat.model import Address, FirstContact, Policy
from p2pchat.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths.for_home(tmp_path)
    paths.create()
    return paths


def put(paths: Paths, text: str) -> None:
    paths.config_file.write_text(text)


def test_defaults_are_the_policy_of_the_protocol(paths: Paths) -> None:
    config = load(paths, {})
    assert config.policy() == Policy(name=config.name)
    assert config.listen == Address("", 27270)
    assert config.flush_interval_s == 1.0
    assert config.flush_threshold == 50
    assert {origin.source for origin in config.origins.values()} == {Source.DEFAULT}


def test_later_layer_wins_and_each_value_remembers_its_origin(paths: Paths) -> None:
    put(paths, "# mine\nname = 'file'\nmax_retries = 7\n\nflush_interval = 20\nhosts = ['a', '[fe80::1%eth0]:5']\n")
    environ = {"P2PCHAT_NAME": "variable", "P2PCHAT_MAX_RETRIES": "8", "P2PCHAT_READ_RECEIPTS": "off"}
    config = load(paths, environ, {"name": "flag"})
    assert (config.name, config.max_retries, config.flush_interval) == ("flag", 8, 20)
    assert config.hosts == (Address("a", 27270), Address("fe80::1%eth0", 5))
    assert config.read_receipts is False
    where = {key: (origin.source.value, origin.where) for key, origin in config.origins.items()}
    assert where["name"] == ("flag", "--name")
    assert where["max_retries"] == ("environment", "P2PCHAT_MAX_RETRIES")
    assert where["flush_interval"] == ("file", f"{paths.config_file}:5")
    assert where["listen"] == ("default", "")


ZEROS = (
    "flush_interval",
    "flush_threshold",
    "max_queue_size",
    "message_retention",
    "max_retries",
    "base_retry_delay",
    "max_retry_delay",
    "sync_fallback_interval",
    "heartbeat_interval",
)


@pytest.mark.parametrize("key", ZEROS)
def test_zero_is_zero_in_every_layer(paths: Paths, key: str) -> None:
    variable = "P2PCHAT_" + key.upper()
    assert getattr(load(paths, {variable: "0"}), key) == 0
    assert getattr(load(paths, {variable: "9"}, {key: "0"}), key) == 0
    put(paths, f"{key} = 0\n")
    config = load(paths, {})
    assert getattr(config, key) == 0
    assert config.origins[key].source is Source.FILE
    assert (key, 0, "file") in [row[:3] for row in config.rows()]


def test_policy_honours_zero(paths: Paths) -> None:
    policy = load(paths, {}, dict.fromkeys(ZEROS, "0")).policy()
    assert (policy.max_retries, policy.max_queue) == (0, 0)
    assert (policy.base_retry_delay_s, policy.max_retry_delay_s) == (0.0, 0.0)
    assert policy.retention_s == policy.poll_interval_s == policy.heartbeat_interval_s == policy.dead_after_s == NEVER_S


def test_policy_follows_the_settings(paths: Paths) -> None:
    flags = {
        "first_contact": "refuse",
        "heartbeat_interval": "1000",
        "message_retention": "0.5",
        "enable_realtime": "false",
        "auto_retry_on_reconnect": "false",
    }
    policy = load(paths, {}, flags).policy()
    assert policy.first_contact is FirstContact.REFUSE
    assert (policy.heartbeat_interval_s, policy.dead_after_s) == (1.0, 7.0)
    assert policy.retention_s == 43200
    assert (policy.realtime, policy.auto_retry_on_reconnect) == (False, False)


BAD_FILES = [
    ("\nflush_intervall = 1", ":2: unknown key 'flush_intervall' (did you mean 'flush_interval'?)"),
    ("[net]\nlisten = 'x:1'", ":1: unknown key 'net'"),
    ("max_retries = 'many'", ":1: max_retries = many: a whole number from 0 to 1000 is expected"),
    ("max_retries = 1.5", ":1: max_retries"),
    ("max_retries = true", ":1: max_retries"),
    ("max_retries = -1", ":1: max_retries"),
    ("message_retention = nan", ":1: message_retention"),
    ("discovery = 1", ":1: discovery = 1: true or false is expected"),
    ("name = ''", ":1: name"),
    ("name = 5", ":1: name"),
    ("\n\nlisten = 'a:b:c:'", ":3: listen"),
    ("listen = 'x:65536'", ":1: listen"),
    ("hosts = 'one two:x'", ":1: hosts"),
    ("hosts = [1]", ":1: hosts"),
    ("hosts = [':5']", ":1: hosts"),
    ("first_contact = 'maybe'", ":1: first_contact = maybe: one of request, accept, refuse is expected"),
    ("'log_level' = 'loud'", ":1: log_level"),
    ("a = 1\nname = ", ":2: not TOML"),
    ("name = 'a'\nname = 'b'", ":2: not TOML"),
]


@pytest.mark.parametrize(("text", "said"), BAD_FILES)
def test_file_error_names_file_and_line(paths: Paths, text: str, said: str) -> None:
    put(paths, text)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        load(paths, {})
    assert str(paths.config_file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_error_when_it_is_not_text(paths: Paths) -> None:
    paths.config_file.write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(paths, {})


def test_variable_error_names_the_variable(paths: Paths) -> None:
    with pytest.raises(ConfigError, match="P2PCHAT_MAX_RETRIES: max_retries = x"):
        load(paths, {"P2PCHAT_MAX_RETRIES": "x"})
    with pytest.raises(ConfigError, match=r"P2PCHAT_FLUSH_INTERVALL.*flush_interval"):
        load(paths, {"P2PCHAT_FLUSH_INTERVALL": "1"})


def test_variable_is_ignored_when_empty_or_not_ours(paths: Paths) -> None:
    environ = {"P2PCHAT_MAX_RETRIES": "", "P2PCHAT_HOME": "/x", "P2PCHAT_DEBUG": "1", "P2PCHAT_ZZZ": "1", "NAME": "x"}
    assert load(paths, environ).max_retries == 5


def test_flag_error_names_the_flag(paths: Paths) -> None:
    with pytest.raises(ConfigError, match="--listen"):
        load(paths, {}, {"listen": "x:y"})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("host", Address("host", 27270)),
        ("host:0", Address("host", 0)),
        (":5", Address("", 5)),
        ("*:5", Address("", 5)),
        ("[::1]:5", Address("::1", 5)),
        ("[::1]", Address("::1", 27270)),
        ("fe80::1%eth0", Address("fe80::1%eth0", 27270)),
    ],
)
def test_address_is_read_in_every_form(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", " ", "a:", "a b", "a:b", "a:-1", "a:٣", "[::1", "[::1]5", "a/b:1", "a@b:1", "a,b"]
)
def test_address_is_refused_when_it_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_address(text)


def test_listen_may_be_a_port_alone(paths: Paths) -> None:
    assert load(paths, {"P2PCHAT_LISTEN": "0"}).listen == Address("", 0)


def test_name_is_cleaned_when_hostile(paths: Paths) -> None:
    assert load(paths, {}, {"name": " a\x1b[31m\u202eb "}).name == "a␛[31m\ufffdb"


def test_every_key_has_a_reader_that_takes_its_own_default_and_a_doc(paths: Paths) -> None:
    rows = load(paths, {}).rows()
    assert [row[0] for row in rows] == [key.name for key in KEYS]
    assert all(row[3] for row in rows)
