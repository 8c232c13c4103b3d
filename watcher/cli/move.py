"""`watcher move`: from a SQLite file into PostgreSQL."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watcher.cli.options import config_option
from watcher.cli.process import end_by_store_error, exit_with, load_config, run_async, usage_error

if TYPE_CHECKING:
    from watcher.config.database import PostgresqlAddress
    from watcher.store.sqlite import SqliteConnection


@click.command(short_help="Copy a SQLite database into PostgreSQL.")
@config_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def move(config_file: Path | None, file: Path) -> None:
    """Copy the SQLite database FILE into the empty schema of the configured PostgreSQL.

    All of it is copied or nothing. Then the file is renamed to FILE.moved, so that no daemon starts on it
    again. No daemon may be using either of them.
    """
    from watcher import logs
    from watcher.store.errors import StoreError
    from watcher.store.files import ENDINGS
    from watcher.store.sqlite import SqliteDatabase

    config = load_config(config_file, need_secrets=False)
    # The lease keeper logs that this process leads, which means nothing to the person who moves a file.
    logs.configure(level="warning", format=config.log_format, redactor=config.redactor)
    address = config.database
    if isinstance(address, Path):
        usage_error(
            f"database: got {str(address)!r}; must be postgresql://USER@HOST/NAME to move a file there"
        )
    moved = Path(f"{file}.moved")
    source = SqliteDatabase(file)
    try:
        if not source.exists():
            was_moved = f"; it was moved already, and is {moved} now" if moved.exists() else ""
            usage_error(f"{file} does not exist{was_moved}")
        if moved.exists():
            usage_error(f"{moved} exists already; rename it, because {file} would replace it")
        connection = source.open()
    except StoreError as error:
        end_by_store_error(error, f"{file}: {error}")
    counts = run_async(_copy(connection, address), address)
    connection.sqlite.close()
    try:
        for ending in ENDINGS:  # the lock is held until all of them are gone
            path = Path(f"{file}{ending}")
            if path.exists():
                path.rename(f"{moved}{ending}")
    except OSError as error:
        reason = f"{file} was copied, but its files cannot be renamed: {error.strerror}"
        exit_with(f"{reason}; rename {file} to {moved}, so that no daemon starts on it", 1)
    connection.close()
    for table, count in counts.items():
        click.echo(f"{table:<14} {count:>9}")
    click.echo(f"{file} was renamed to {moved}")


async def _copy(connection: "SqliteConnection", address: "PostgresqlAddress") -> dict[str, int]:
    from watcher.concurrency import run_blocking
    from watcher.standby import holding_lease
    from watcher.store.databases import locate_server
    from watcher.store.transfer import copy_all

    async with holding_lease(address) as keeper:
        return await run_blocking(partial(copy_all, connection, locate_server(address), keeper.token))
