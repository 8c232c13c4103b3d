"""All commands together. They import what they need when they run, so that `--help` is quick."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from watcher import __version__
from watcher.cli.check import check
from watcher.cli.demo import demo
from watcher.cli.healthcheck import healthcheck
from watcher.cli.move import move
from watcher.cli.process import USAGE_ERROR
from watcher.cli.queries import deliveries, pending, retry
from watcher.cli.service import once, poll, run, show_config
from watcher.cli.simulate import simulate


class _WrongArgumentsError(click.ClickException):
    """A usage error in one line, as problems of the configuration are shown."""

    exit_code = USAGE_ERROR

    def show(self, file: Any = None) -> None:
        """Prints the line to standard error."""
        click.echo(f"watcher: {self.format_message()}", file=file, err=file is None)


@contextmanager
def _in_one_line(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        words = " ".join(error.format_message().split()).rstrip(".")
        path = (error.ctx or ctx).command_path
        raise _WrongArgumentsError(f"{words} (see `{path} --help`)") from None


class _Watcher(click.Group):
    """The commands by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses what stands before the command."""
        with _in_one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Parses what stands after the command, and runs it."""
        with _in_one_line(ctx):
            return super().invoke(ctx)


@click.group(cls=_Watcher, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="watcher")
def group() -> None:
    """Notify people when a Dynamiq agent run is waiting for input.

    Settings come from WATCHER_… environment variables and a TOML file.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a locale's encoding may lack characters of a prompt
        sys.stdout.reconfigure(errors="backslashreplace")


for command in (
    run,
    once,
    poll,
    check,
    pending,
    deliveries,
    retry,
    move,
    show_config,
    healthcheck,
    demo,
    simulate,
):
    group.add_command(command)
