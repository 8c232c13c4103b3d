"""A real PostgreSQL for tests: one server for all processes of a run, and a schema for each test.

Debian's programs start it, on a Unix socket and on a port of the loopback interface. Where there are none the
tests that need them are skipped; with `TESTS_REQUIRE_POSTGRESQL=1` in the environment they fail instead.
"""

import fcntl
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from json import loads
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote

import pytest

from tests.support import postgresql_keeper

if TYPE_CHECKING:
    import psycopg

REQUIRED: Final = "TESTS_REQUIRE_POSTGRESQL"
"""The variable that makes a missing server a failure. The watcher reads none of this prefix."""
_END_SESSIONS: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"


class Kept:
    """Connections that are used again: the server needs some 8 ms of CPU for each new one.

    Closing one gives it back, unless it is broken or in a transaction.
    """

    def __init__(self) -> None:
        self._idle: list[psycopg.Connection[Any]] = []
        self._in_use: set[psycopg.Connection[Any]] = set()

    def take(self, connect: "Callable[[], psycopg.Connection[Any]]") -> "psycopg.Connection[Any]":
        """Returns a connection that was given back, or else a new one."""
        connection = self._take_idle()
        if connection is None:
            connection = connect()
            connection.close = partial(self._give_back, connection)  # type: ignore[method-assign]
        self._in_use.add(connection)
        return connection

    def end_used(self) -> None:
        """Ends the connections that were not given back."""
        while self._in_use:
            _close(self._in_use.pop())

    def end(self) -> None:
        """Ends all connections."""
        self.end_used()
        while self._idle:
            _close(self._idle.pop())

    def _take_idle(self) -> "psycopg.Connection[Any] | None":
        while self._idle:
            connection = self._idle.pop()
            ended, _, _ = select.select([connection], [], [], 0)  # the server has said something unasked
            if not ended:
                return connection
            _close(connection)
        return None

    def _give_back(self, connection: "psycopg.Connection[Any]") -> None:
        from psycopg.pq import TransactionStatus  # noqa: PLC0415 - the tests of SQLite run without it

        if connection not in self._in_use:
            return
        self._in_use.remove(connection)
        if connection.info.transaction_status == TransactionStatus.IDLE:
            self._idle.append(connection)
        else:
            _close(connection)


def _close(connection: "psycopg.Connection[Any]") -> None:
    type(connection).close(connection)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `host` is the directory of its Unix socket."""

    host: str
    port: int
    _kept: Kept = field(default_factory=Kept, compare=False, repr=False)

    def url(self, *, user: str = "watcher", database: str = "watcher", tcp: bool = False) -> str:
        """Returns the address of a database, by its Unix socket or by TCP."""
        host = "127.0.0.1" if tcp else quote(self.host, safe="")
        return f"postgresql://{user}@{host}:{self.port}/{database}"

    def connect(self, user: str = "postgres", database: str = "watcher") -> "psycopg.Connection":
        """Connects as the superuser, or as another user; each statement is a transaction."""
        import psycopg  # noqa: PLC0415 - the tests of SQLite run without it

        return psycopg.connect(self.url(user=user, database=database), autocommit=True)

    def administer(self, statements: str, parameters: Sequence[object] = ()) -> None:
        """Executes statements as the superuser, in one transaction, on a connection that is kept."""
        with self._kept.take(self.connect) as connection:
            connection.execute(statements.encode(), parameters)

    def disconnect(self) -> None:
        """Ends the connections that are kept."""
        self._kept.end()


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema for one test, which does not exist yet; the role `watcher` may make it."""

    server: Server
    name: str
    connections: Kept = field(default_factory=Kept, compare=False, repr=False)
    """Those of this process to the schema."""

    @property
    def url(self) -> str:
        """The address of its database, by the Unix socket; its sessions have the name of the schema."""
        return f"{self.server.url()}?application_name={self.name}"

    def end_sessions(self) -> None:
        """Ends the sessions that tests left open, or hold open to see what happens."""
        self.connections.end()
        self.server.administer(_END_SESSIONS, [self.name])


def find_binaries() -> Path | None:
    """Returns the directory with the programs of the newest PostgreSQL that is installed."""
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    newest = max(installed, key=lambda path: float(path.parent.name), default=None)
    return newest or (Path(on_path).resolve().parent if on_path else None)


@contextmanager
def shared_server(shared: Path, *, durable: bool = False) -> Iterator[Server]:
    """Gives the server of this run of the tests, whose processes share a directory; starts it if need be.

    It ends with the last process that uses it. Unless it is `durable` it leaves out what only protects data.
    """
    try:
        import psycopg  # noqa: F401, PLC0415 - without it no test can use the server
    except ImportError:
        _missing("psycopg is not installed")
    binaries = find_binaries()
    if binaries is None:
        _missing("PostgreSQL is not installed")
    shared.mkdir(exist_ok=True)
    with (shared / "users").open("a") as users:
        with (shared / "starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)
            if not (shared / "server.json").exists():
                _start(binaries, shared, durable=durable)
        server = Server(**loads((shared / "server.json").read_text(encoding="ascii")))
        try:
            yield server
        finally:
            server.disconnect()


@contextmanager
def schema_for_test(server: Server) -> Iterator[Schema]:
    """Gives a test a name for its schema, and drops the schema after it."""
    schema = Schema(server, f"test_{token_hex(6)}")
    yield schema
    schema.end_sessions()
    server.administer(f'DROP SCHEMA IF EXISTS "{schema.name}" CASCADE')


def _start(binaries: Path, shared: Path, *, durable: bool) -> None:
    command = [sys.executable, postgresql_keeper.__file__, str(binaries), str(shared), *["durable"] * durable]
    with (shared / "errors").open("w+") as errors:
        done = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
        if done.returncode:
            errors.seek(0)
            raise RuntimeError(f"the test server does not start: {errors.read()}")


def _missing(reason: str) -> NoReturn:
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{reason}, but {REQUIRED}=1 is set")
    pytest.skip(reason)
