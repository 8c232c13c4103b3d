"""How a command starts and ends: its configuration, its event loop, its exit status."""

import errno
import os
import sys
from collections.abc import Coroutine
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click

from watcher.cli.signals import DAEMON_SIGNALS, end_by_signal, hold_back_all

if TYPE_CHECKING:
    from watcher.config.models import Config
    from watcher.store.errors import StoreError

USAGE_ERROR: Final = 2
_NO_OUTPUT: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""The errors of writing to a stream; they name no file."""

T = TypeVar("T")


def load_config(config_file: Path | None, *, need_secrets: bool = True) -> "Config":
    """Returns the configuration, after setting up logs as it says; ends the process if it has problems."""
    from watcher import logs
    from watcher.config.errors import ConfigError
    from watcher.config.sources import load

    try:
        config = load(config_file, environ=os.environ, directory=Path.cwd(), need_secrets=need_secrets)
    except ConfigError as error:
        usage_error(*error.problems)
    logs.configure(level=config.log_level, format=config.log_format, redactor=config.redactor)
    return config


def run_async(work: Coroutine[Any, Any, T], database: object | None = None) -> T:
    """Runs a command to its end in an event loop; an expected error ends the process with a message.

    `database` is what an error of the store is about.
    """
    import asyncio

    from watcher.daemon import CannotListenError, DaemonDiedError
    from watcher.notifiers.base import NotifierUnusable
    from watcher.sanitize.secrets import SecretError
    from watcher.store.errors import StoreError

    async def until_done() -> T:
        try:
            return await work
        finally:  # else the event loop would restore the defaults, by which signals end the process silently
            hold_back_all()
            loop = asyncio.get_running_loop()
            for number in DAEMON_SIGNALS:
                loop.remove_signal_handler(number)
            end_by_signal()

    try:
        return asyncio.run(until_done())
    except StoreError as error:
        end_by_store_error(error, describe_store_error(error, database))
    except (CannotListenError, NotifierUnusable, SecretError) as error:
        exit_with(str(error), USAGE_ERROR)
    except DaemonDiedError as error:
        exit_with(str(error), 1)


def describe_store_error(error: "StoreError", database: object | None) -> str:
    """Returns a line that begins with the name of the setting and names the database."""
    return f"database: {database}: {error}" if database else f"database: {error}"


def end_by_store_error(error: "StoreError", message: str) -> NoReturn:
    """Prints the message, and exits with the status that the error asks for.

    A full disk or a lock may pass and is no fault of the settings: with 1 a supervisor tries again.
    """
    from watcher.store.errors import StoreUnusable

    exit_with(message, USAGE_ERROR if isinstance(error, StoreUnusable) else 1)


def exit_with(message: str, status: int) -> NoReturn:
    """Prints a message to standard error after everything that was logged, and exits."""
    from watcher import logs

    for line in message.splitlines():
        if not logs.say(f"watcher: {line}"):
            click.echo(f"watcher: {line}", err=True)
    sys.exit(status)


def flush_output() -> None:
    """Writes what standard output still holds, while an error can still be reported."""
    if sys.stdout is not None:
        sys.stdout.flush()


def end_by_output_error(error: OSError) -> NoReturn:
    """Exits with 1 if the output cannot be written, and says why unless its reader is gone; raises others."""
    if error.errno not in _NO_OUTPUT or error.filename is not None:
        raise error
    sys.stdout = StringIO()  # Python would write what is left again at its end
    with suppress(OSError):
        if error.errno != errno.EPIPE:
            click.echo(f"watcher: cannot write the output: {error.strerror}", err=True)
    sys.exit(1)


def usage_error(*problems: str) -> NoReturn:
    """Prints a line for each problem to standard error, and exits with 2."""
    for problem in problems:
        click.echo(f"watcher: {problem}", err=True)
    sys.exit(USAGE_ERROR)
