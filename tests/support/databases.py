"""Databases of both kinds for tests of the store."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import cache
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, Protocol

from tests.support.postgresql import Schema
from watcher.store.sql import Connection, Database, Reader, Row
from watcher.store.sqlite import SqliteConnection, SqliteDatabase

if TYPE_CHECKING:
    import psycopg

KINDS: Final = ("sqlite", "postgresql")
BUSY_SECONDS: Final = 0.2
LOCK_SECONDS: Final = 0.5
"""How long SQLite, and how long PostgreSQL, waits for the lock of another process."""
TABLES: Final = (
    "deliveries",
    "digest_members",
    "events",
    "requests",
    "apps",
    "clock",
    "counters",
    "incidents",
    "invisible_runs",
    "notifiers",
)


class Lock(Protocol):
    """A lock of another process."""

    def close(self) -> None:
        """Gives it back."""


class Place(Database, Protocol):
    """A database of a test's own."""

    def open(self) -> Connection:
        """Takes it, as a daemon does."""

    def looking(self) -> AbstractContextManager[Reader]:
        """Reads it in the block, often and quickly."""

    def lock(self) -> Lock:
        """Locks it against writing, as another process would."""

    def corrupt(self) -> None:
        """Damages it, so that it cannot be used any more, under whoever has it open."""


class OnSqlite(SqliteDatabase):
    """A database in a file, which begins as a copy: migrations take longer than most tests."""

    def open(self) -> SqliteConnection:
        """Takes it, as a daemon does."""
        if not self.path.exists():
            write_empty_database(self.path)
        return super().open()

    def looking(self) -> AbstractContextManager[Reader]:
        """Reads it in the block."""
        return self.reading()

    def lock(self) -> sqlite3.Connection:
        """Locks it against writing, as another process would."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        return connection

    def corrupt(self) -> None:
        """Overwrites tables and indexes with rubbish."""
        with closing(sqlite3.connect(self.path)) as connection:
            pages = connection.execute("SELECT rootpage FROM sqlite_master").fetchall()
            size = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute("CREATE TABLE makes_others_read_anew (a)")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with self.path.open("r+b") as file:
            for (page,) in pages:
                file.seek((page - 1) * size)
                file.write(b"\xff" * size)


def write_empty_database(path: Path) -> None:
    """Writes a database of the newest version, in which nothing is recorded; migrations take much longer."""
    path.write_bytes(_empty_database())


@cache
def _empty_database() -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "watcher.db"
        SqliteDatabase(path).open().close()
        return path.read_bytes()


def on_postgresql(schema: Schema) -> Place:
    """Returns a database in a schema; who opens it takes the lease from who has it."""
    # For SQLite psycopg is not needed.
    from watcher.store.postgresql import PostgresqlDatabase, local_settings  # noqa: PLC0415
    from watcher.store.postgresql_session import Session  # noqa: PLC0415

    class TakenDatabase(PostgresqlDatabase):
        def _connect(self) -> "psycopg.Connection[Row]":
            return schema.connections.take(super()._connect)

        @contextmanager
        def looking(self) -> Iterator[Reader]:
            just_the_schema = local_settings({"search_path": self.schema})
            session = Session(self._connect, self.translate, just_the_schema)
            with closing(session), session.reading() as sql:
                yield Reader(sql)

        def lock(self) -> Lock:
            connection = schema.server.connect()
            connection.execute(f"BEGIN; SELECT 1 FROM {schema.name}.lease FOR UPDATE".encode())
            return connection

        def corrupt(self) -> None:
            with schema.server.connect() as connection:
                for table in TABLES:
                    connection.execute(f"DROP TABLE {schema.name}.{table} CASCADE".encode())

        def open(self, token: str | None = None) -> Session:
            token = token or token_hex(16)
            self.prepare()
            session = self.session()
            session.execute("UPDATE lease SET token = ?, epoch = epoch + 1", [token])
            session.close()
            return super().open(token)

    return TakenDatabase(schema.url, schema=schema.name, lock_seconds=LOCK_SECONDS)


def empty(schema: Schema) -> None:
    """Ends the sessions of a test and deletes its rows, which takes less time than to make tables."""
    from psycopg.errors import UndefinedTable  # noqa: PLC0415

    schema.connections.end_used()
    forget = [f"DELETE FROM {schema.name}.{table}" for table in TABLES]
    restart = f"SELECT setval(pg_get_serial_sequence('{schema.name}.deliveries', 'id'), 1, false)"
    try:
        schema.server.administer(";".join([*forget, restart]))
    except UndefinedTable:
        schema.server.administer(f"DROP SCHEMA {schema.name} CASCADE")
        on_postgresql(schema).open().close()


def rows(database: Database, statement: str) -> Sequence[tuple[object, ...]]:
    """Returns the rows of a statement, as a second process would read them."""
    with database.reading() as reader:
        return [tuple(row) for row in reader.execute(statement)]
