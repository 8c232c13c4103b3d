"""SIGHUP: the configuration is checked, and if it is good the process executes itself anew."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from watcher import logs
from watcher.cli.database_probe import check_database
from watcher.cli.process import exit_with
from watcher.cli.signals import hold_back_all
from watcher.config.database import PostgresqlAddress
from watcher.config.errors import ConfigError
from watcher.config.models import Config
from watcher.config.sources import load
from watcher.daemon import describe_listen_error
from watcher.store.files import find_lock_holder, real_path

_FLUSH_SECONDS: Final = 1.0


def read_config(config_file: Path | None, running: Config) -> Config:
    """Returns the configuration as it is now, for a daemon that runs with an earlier one.

    Raises:
        ValueError: a daemon could not start with it; a line for each problem.
    """
    try:
        config = load(config_file, environ=os.environ, directory=Path.cwd())
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if problems := list(_resource_problems(config, running)):
        raise ValueError("\n".join(problems))
    return config


def execute_anew() -> NoReturn:
    """Replaces this process by a new one that has the same process id and arguments."""
    hold_back_all()
    logs.flush(_FLUSH_SECONDS)
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - itself
    except OSError as error:
        exit_with(f"cannot restart {sys.executable}: {error.strerror}", 1)


def _resource_problems(config: Config, running: Config) -> Iterator[str]:
    """Tries the database and the port, unless the running daemon has them already."""
    if config.database != running.database:
        yield from (f"{found.subject}: {found.text}" for found in check_database(config) if not found.good)
        yield from _holder(config.database, running.database)
    host, port = config.http_host, config.http_port
    if port == 0 or (host, port) == (running.http_host, running.http_port):
        return
    free = 0 if port == running.http_port else port  # this process holds its own port
    try:
        family, _, _, _, address = socket.getaddrinfo(host, free, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except (OSError, ValueError) as error:  # ValueError: a host that is no name at all
        yield describe_listen_error(host, port, error)


def _holder(database: Path | PostgresqlAddress, own: Path | PostgresqlAddress) -> Iterator[str]:
    """Yields which other process holds a SQLite database; the running daemon holds its own."""
    if not isinstance(database, Path) or (isinstance(own, Path) and real_path(database) == real_path(own)):
        return
    if holder := find_lock_holder(database):
        yield f"database {database}: it is in use by process {holder}"
