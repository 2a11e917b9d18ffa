"""The command line as a whole: which commands there are, and how each of them ends.

The table below is all that `--help` and `version` load; a command's module is imported when it is called, and what is
heavy is imported by the command that needs it.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from schedmgr.errors import SchedmgrError

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130

COMMANDS = {
    "up": ("up", "Migrate, then run web and daemon in this terminal: the quick start."),
    "web": ("web", "Serve the pages."),
    "daemon": ("daemon", "Fire schedules and run jobs, until stopped."),
    "worker": ("worker", "Run jobs only, on this host or on others, until stopped."),
    "migrate": ("migrate", "Bring the database to this program's revision."),
    "check": ("definitions", "Say what is wrong in the definitions, if anything."),
    "plan": ("definitions", "Say what a deploy of the definitions would change."),
    "sync": ("definitions", "Write the definitions to the tables, as a deploy step."),
    "config": ("config", "Print the settings in force; secrets are covered."),
    "health": ("health", "Say how the whole installation is, for people and monitoring."),
    "verify": ("verify", "Prove that every occurrence is accounted for."),
    "schedules": ("schedules", "List schedules, switch them, run them now."),
    "jobs": ("jobs", "List jobs, run one now."),
    "runs": ("runs", "List job runs, read their output, cancel and retry them."),
    "pause": ("pausing", "Stop all firing until someone resumes, or until its end."),
    "resume": ("pausing", "End the pause."),
    "cron": ("cron", "Say when a cron expression is due."),
    "users": ("users", "Say who may sign in."),
    "prune": ("prune", "Remove what ended long ago; the daemon does it by itself."),
    "version": ("version", "Print the version."),
}
"""Each command's name -> the module that holds it under that name, and what it does."""

NOTHING_CHOSEN = """Nothing says what to run. Set SCHEDMGR_MODE to web, daemon or worker, or name a command:

  schedmgr up        everything in this terminal, to look at it
  schedmgr web       the pages
  schedmgr daemon    the daemon, which fires schedules and runs jobs
  schedmgr worker    a worker, which runs jobs only
  schedmgr --help    all commands"""


class Program(click.Group):
    """The root: knows its commands from the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which is that of their use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        found = vars(import_module(f"schedmgr.cli.{module}"))[cmd_name]
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises NoSuchCommand, with the nearest that exists."""
        if args[0] not in COMMANDS:
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, so that help imports none of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, what) in COMMANDS.items()])


@click.group(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Settings come from environment variables and a .env in the working directory: schedmgr config.",
)
@click.pass_context
def program(ctx: click.Context) -> None:
    """Run a team's recurring jobs: schedules in code, every occurrence accounted for."""
    if ctx.invoked_subcommand is not None:
        return
    mode = _mode()
    if mode is None:
        click.echo(NOTHING_CHOSEN)
        return
    command = program.get_command(ctx, mode)
    assert command is not None
    ctx.invoke(command)


def _mode() -> str | None:
    """What bare `schedmgr` is: what SCHEDMGR_MODE says, else what a set SCHEDULE_DAEMON_ENABLED implies."""
    from schedmgr.settings import Settings

    settings = Settings.load()
    if settings.mode is None and settings.daemon_enabled_was_set:
        return "daemon" if settings.daemon_enabled else "web"
    return settings.mode


def run(words: Sequence[str]) -> int:
    """Run the command that the words name.  Returns the exit code; says on standard error what went wrong."""
    if any("\udc80" <= character <= "\udcff" for word in words for character in word):
        click.echo("Error: An argument holds bytes that are no text in UTF-8.", err=True)
        return WRONG_USAGE
    try:
        outcome = program.main(list(words), prog_name="schedmgr", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
    except SchedmgrError as error:
        click.echo(str(error), err=True)
        return FAILED
    except BrokenPipeError:
        # Whoever read our output has had enough.  Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return outcome if isinstance(outcome, int) else 0
