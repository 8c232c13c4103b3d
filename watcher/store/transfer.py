"""Copies a SQLite database into PostgreSQL, whole or not at all."""

import sqlite3
from typing import TYPE_CHECKING, Final

from watcher.store.errors import StoreLost, StoreUnusable
from watcher.store.sqlite import SqliteConnection, translated

if TYPE_CHECKING:
    import psycopg

    from watcher.store.postgresql import PostgresqlDatabase
    from watcher.store.sql import Row

TABLES: Final = (
    "apps", "requests", "invisible_runs", "incidents", "events", "deliveries", "digest_members", "notifiers",
    "clock", "counters",
)  # fmt: skip
"""All tables of both databases but the lease, each after those that it refers to."""


def copy_all(source: SqliteConnection, target: "PostgresqlDatabase", token: str) -> dict[str, int]:
    """Copies every row and returns how many each table had; `token` is that of the lease.

    Raises:
        StoreUnusable: the schema is not empty.
        StoreLost: another process took the lease.
        StoreError: one of the databases failed. Nothing was copied then, as after every other error.
    """
    with target.connected() as connection, connection.transaction():
        connection.execute(f"SET LOCAL search_path = {target.schema}, pg_temp".encode())
        if not connection.execute("SELECT 1 FROM lease WHERE token = %s FOR KEY SHARE", [token]).fetchall():
            raise StoreLost("another process has taken the lease")
        for table in TABLES:
            if connection.execute(f"SELECT 1 FROM {table} LIMIT 1".encode()).fetchall():
                raise StoreUnusable(
                    f"its schema is not empty: the table {table} has rows. If a move was interrupted just"
                    " before it renamed the file, everything has been copied: rename FILE to FILE.moved and"
                    " start the daemon. Otherwise set another database_schema and move again"
                )
        with translated():
            counts = {table: _copy(source.sqlite, connection, table) for table in TABLES}
        connection.execute(
            "SELECT setval(pg_get_serial_sequence('deliveries', 'id'), max(id)) FROM deliveries"
        )
    return counts


def _copy(source: sqlite3.Connection, target: "psycopg.Connection[Row]", table: str) -> int:
    rows = source.execute(f"SELECT * FROM {table}")
    columns = ", ".join(column[0] for column in rows.description)
    count = 0
    with target.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copying:
        for row in rows:
            copying.write_row([_storable(value) for value in row])
            count += 1
    return count


def _storable(value: object) -> object:
    """Returns a value of SQLite's as PostgreSQL takes it, which has no text with a NUL."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
