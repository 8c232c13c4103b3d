"""All commands together. They import what they need when they run, so that `--help` is quick."""

import sys
from io import TextIOWrapper

import click

from watcher import __version__
from watcher.cli.check import check
from watcher.cli.demo import demo
from watcher.cli.healthcheck import healthcheck
from watcher.cli.move import move
from watcher.cli.queries import deliveries, pending, retry
from watcher.cli.service import once, poll, run, show_config
from watcher.cli.simulate import simulate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
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
