"""`watcher run`, `watcher once`, `watcher poll` and `watcher config`."""

import os
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watcher.cli.options import config_option
from watcher.cli.process import exit_with, load_config, run_async
from watcher.cli.signals import hold_back_reload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from watcher.config.models import Config


@click.command(short_help="Run the daemon until SIGTERM or SIGINT.")
@config_option
def run(config_file: Path | None) -> None:
    """Run the daemon: poll, compare and deliver until SIGTERM or SIGINT.

    SIGHUP reloads the configuration, SIGUSR1 polls every app now.
    """
    hold_back_reload()
    with without_rich():
        from watcher import daemon
        from watcher.cli.reload import execute_anew, read_config

    config = load_config(config_file)
    reload = partial(read_config, config_file, config)
    if run_async(daemon.run(config, reload=reload), config.database) == signal.SIGHUP:
        execute_anew()


@click.command(short_help="Poll every app once, deliver what is due, and exit.")
@config_option
def once(config_file: Path | None) -> None:
    """Poll every app once, deliver what is due, and exit.

    Exits with 1 if an app could not be polled completely or a due delivery was not accepted.
    """
    with without_rich():
        from watcher import daemon

    config = load_config(config_file)
    sys.exit(0 if run_async(daemon.once(config), config.database) else 1)


@click.command(short_help="Make the running daemon poll every app now.")
@config_option
def poll(config_file: Path | None) -> None:
    """Make the running daemon poll every app now, whatever its backoff, as SIGUSR1 does.

    Exits with 1 if no daemon of this database runs here.
    """
    config = load_config(config_file, need_secrets=False)
    holder = _find_daemon(config)
    if holder is None:
        exit_with(f"no daemon is running here with the database {config.database}", 1)
    try:
        os.kill(holder, signal.SIGUSR1)
    except OSError as error:
        exit_with(f"cannot signal process {holder}: {error.strerror}", 1)
    click.echo(f"process {holder} was asked to poll every app now")


def _find_daemon(config: "Config") -> int | None:
    """Returns the id of the process on this machine that polls with this database, None if there is none."""
    if isinstance(config.database, Path):
        from watcher.store.files import find_lock_holder

        return find_lock_holder(config.database)
    from watcher.cli.queries import open_database
    from watcher.store.lease import look, process_id

    with open_database(config) as database:
        if not database.exists():
            return None
        with database.reading() as reader:
            found = look(reader, token="")
    if found.free or found.holder is None:
        return None
    number = process_id(found.holder, os.uname().nodename)
    if number is None:
        exit_with(f"{found.holder} leads; run this command there", 1)
    return number


@click.command("config", short_help="Show the settings in effect and their sources.")
@config_option
def show_config(config_file: Path | None) -> None:
    """Show the settings in effect and where each value came from. Secrets are masked."""
    from watcher.cli import output

    config = load_config(config_file)
    output.show_settings(config.shown)
    for warning in config.warnings:
        click.echo(f"warning: {warning}", err=True)


@contextmanager
def without_rich() -> "Iterator[None]":
    """Keeps structlog from loading rich, which a daemon never uses and which takes 4 MiB."""
    hidden = {"rich", "pygments"} - sys.modules.keys()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # how the import system marks a missing module
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
