"""Databases of both kinds for tests of the store."""

from secrets import token_hex
from typing import Protocol

from tests.support.postgresql import Schema
from watcher.store.sql import Connection, Database


class OwnDatabase(Database, Protocol):
    """A database of a test's own."""

    def open(self) -> Connection:
        """Takes it, as a daemon does."""


def on_postgresql(schema: Schema) -> OwnDatabase:
    """Returns a database in a schema; who opens it takes the lease from who has it."""
    from watcher.store.postgresql import PostgresqlDatabase  # noqa: PLC0415 - for SQLite psycopg is not needed
    from watcher.store.postgresql_session import Session  # noqa: PLC0415

    class TakenDatabase(PostgresqlDatabase):
        def open(self, token: str | None = None) -> Session:
            token = token or token_hex(16)
            self.prepare()
            session = self.session()
            session.execute("UPDATE lease SET token = ?, epoch = epoch + 1", [token])
            session.close()
            return super().open(token)

    return TakenDatabase(schema.url, schema=schema.name)
