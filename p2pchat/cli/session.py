"""What the global options say, and the click classes that let them stand before or after the command.

Every command and group has the global options as hidden-from-the-function parameters; whichever place they
stand in, they write into the one :class:`Session` of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from p2pchat.cli.outcome import CommandFailed, ExitCode

if TYPE_CHECKING:
    from p2pchat.api.blocking import Engine
    from p2pchat.api.launch import Launcher
    from p2pchat.paths import Paths


class Session:
    """One run of the program: the home that ``--home`` named, and whether to print JSON."""

    def __init__(self) -> None:
        self.home: str | None = None
        self.json = False

    @property
    def paths(self) -> Paths:
        """Where this home lies."""
        from pathlib import Path

        from p2pchat.paths import Paths

        home = self.home or os.environ.get("P2PCHAT_HOME")
        try:
            return Paths.for_home(Path(home) if home else None)
        except RuntimeError as error:  # ~nobody
            raise CommandFailed(f"--home: {error}", ExitCode.USAGE) from None

    def launcher(self, *, start: bool = True) -> Launcher:
        """What finds or starts this home's engine."""
        from p2pchat.api.launch import Launcher

        return Launcher(self.paths, start=start)

    def engine(self) -> Engine:
        """This home's engine; started when first asked, if none runs."""
        from p2pchat.api.blocking import Engine

        return Engine(self.launcher().connect)


pass_session: Final = click.make_pass_decorator(Session, ensure=True)


def _set_home(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    if not value:
        raise click.BadParameter("a folder is expected")
    context.ensure_object(Session).home = value


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Session).json = True


def _global_options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--home"],
            metavar="DIR",
            expose_value=False,
            callback=_set_home,
            help="Keep everything below DIR (or set P2PCHAT_HOME).",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_set_json,
            help="Print JSON, one object a line.",
        ),
    ]


_CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Command(click.Command):
    """A command with the global options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {**_CONTEXT, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.params.extend(_global_options())


class Group(click.Group):
    """A group with the global options."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {**_CONTEXT, **(kwargs.get("context_settings") or {})}
        # A missing command is one line and exit code 2, as every other usage error.
        super().__init__(*args, **{"no_args_is_help": False, **kwargs})
        self.params.extend(_global_options())


def command(name: str, **kwargs: Any) -> Callable[[Callable[..., Any]], Command]:
    """As ``click.command``, with the global options."""
    return click.command(name, cls=Command, **kwargs)


def group(name: str, **kwargs: Any) -> Callable[[Callable[..., Any]], Group]:
    """As ``click.group``, with the global options."""
    return click.group(name, cls=Group, **kwargs)
