"""The root command: names and one-line helps of all commands, none of them loaded; errors to exit codes.

What is imported here is paid for by every command, so what only a failure needs is imported where it fails.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Final

import click

from p2pchat import __version__
from p2pchat.cli.outcome import ExitCode, exit_code_of
from p2pchat.cli.session import Group, Session, pass_session
from p2pchat.errors import ApiError, P2PChatError

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo:demo", "See it all work, alone on one machine."),
    "daemon": ("daemon:daemon", "Run the engine in the foreground."),
    "stop": ("daemon:stop", "End the engine."),
    "id": ("identity:identity", "Who am I: device id, invite, QR code."),
    "peers": ("peers:peers", "Everyone known or seen."),
    "peer": ("peers:peer", "Add, accept, block, rename or forget somebody."),
    "send": ("send:send", "Send a message."),
    "history": ("messages:history", "What was said."),
    "read": ("messages:read", "Mark messages as read."),
    "cancel": ("messages:cancel", "Take back what is not delivered."),
    "show": ("messages:show", "One message and its way."),
    "outbox": ("messages:outbox", "What has not been delivered yet, and why."),
    "dlq": ("dlq:dlq", "Dead letters: list, show, retry, purge."),
    "events": ("events:events", "What happens, replayable."),
    "logs": ("logs:logs", "Show the heartbeat, latency or engine log."),
    "stats": ("stats:stats", "Metrics now."),
    "config": ("settings:config", "Settings, and where each came from."),
    "bench": ("bench:bench", "Measure it on this machine, beside the bare limits."),
}
"""Name → (module and attribute, help), in the order of the help."""


class Root(Group):
    """The root group: loads a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(f"p2pchat.cli.{module}"), attribute)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=Root, name="p2pchat", invoke_without_command=True)
@click.version_option(__version__, "--version", "-V", prog_name="p2pchat", message="%(prog)s %(version)s")
@click.pass_context
@pass_session
def root(session: Session, context: click.Context) -> None:
    """Chat in the terminal, straight to the other devices on your network.

    Without a command: the chat screen.
    """
    if context.invoked_subcommand is None:
        from p2pchat.cli.screen import open_screen

        context.exit(open_screen(session.paths))


def run(argv: list[str]) -> int:
    """Run a command line; every error but a broken or full stdout ends here."""
    session = Session()
    # A terminal or file of another encoding must not make the program fail at somebody's name.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        # Not root.main(): that turns a closed pipe and Ctrl-C into exit codes of its own.
        with root.make_context("p2pchat", argv, obj=session) as context:
            code = root.invoke(context)
        return code if isinstance(code, int) else ExitCode.DONE
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        return _fail(_usage_line(error), ExitCode.USAGE, error)
    except click.ClickException as error:
        return _fail(error.format_message(), ExitCode.FAILED, error)
    except click.Abort as error:
        interrupted = isinstance(error.__context__, KeyboardInterrupt)
        return _fail("interrupted" if interrupted else "not done", _abort_code(interrupted), error)
    except P2PChatError as error:
        code = _fail(str(error), exit_code_of(error), error)
        if isinstance(error, ApiError):
            _list_candidates(error.candidates)
        return code
    except (KeyboardInterrupt, OSError):
        raise
    except Exception as error:
        return _fail(_bug_line(session, error), ExitCode.FAILED, error)


def _abort_code(interrupted: bool) -> ExitCode:
    return ExitCode.INTERRUPTED if interrupted else ExitCode.FAILED


def _usage_line(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "p2pchat"
    return f"{error.format_message()} (see {path} --help)"


def _bug_line(session: Session, error: Exception) -> str:
    from p2pchat.model import clean

    what = clean(f"{type(error).__name__}: {error}", 300)
    return f"{what} (a bug; the logs are in {session.paths.logs}; P2PCHAT_DEBUG=1 shows more)"


def _list_candidates(candidates: tuple[str, ...]) -> None:
    from p2pchat.model import clean

    for candidate in candidates:
        sys.stderr.write(f"  {clean(candidate, 200)}\n")


def _fail(text: str, code: ExitCode, error: BaseException) -> ExitCode:
    from p2pchat.model import clean

    sys.stdout.flush()
    if os.environ.get("P2PCHAT_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    sys.stderr.write(f"p2pchat: {clean(' '.join(text.split()), 1000)}\n")
    return code
