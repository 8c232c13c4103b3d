"""PostgreSQL: how a database is reached, what must be true of it, which errors may pass.

This module, `postgresql_session` and `postgresql_schema` are all that knows PostgreSQL, and are imported only
where one is configured. Every transaction makes its own settings, and nothing is kept in a session, so that
a pooler may give each transaction another one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any, Final
from zlib import crc32

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import Identifier, quote

from watcher.ids import new_event_id
from watcher.store.errors import (
    StoreError,
    StoreRejected,
    StoreUnavailable,
    StoreUnusable,
    newer_version,
    older_version,
)
from watcher.store.lease import NOW
from watcher.store.postgresql_schema import BASE_VERSION, SCHEMA, STEPS, VERSION
from watcher.store.postgresql_session import Session, named
from watcher.store.sql import Reader, Row, Sql, Transaction

OLDEST_SERVER: Final = 14
LOCK_SECONDS: Final = 5.0
STATEMENT_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 5.0
"""After such a silence inside a transaction the server ends it: a frozen process must not keep its locks."""
CONNECTING: Final[Mapping[str, str]] = {
    "application_name": "watcher",
    "connect_timeout": "5",
    "gssencmode": "disable",
    # A peer that is gone without a word is noticed within some 6 s.
    "keepalives_idle": "3",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "6000",
}
"""Parameters of libpq, unless the address has others."""

_LASTING: Final = frozenset({"3D", "3F", "42", "XX"})
"""Classes of errors that waiting does not help: no such database or table, no right, damage."""
_REFUSED: Final = re.compile(
    r"authentication failed|no password supplied|does not exist|no pg_hba\.conf entry|permission denied"
    r"|not permitted|certificate|does not support SSL|invalid|unrecognized"
)
"""What libpq says of a connection that waiting does not help; it has no code for that."""


class PostgresqlDatabase:
    """A schema in a database of PostgreSQL."""

    def __init__(
        self,
        url: str,
        *,
        schema: str = "watcher",
        password: Callable[[], str] | None = None,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        """`password` returns the password where the address has none; it is asked at each connect.

        A statement waits `lock_seconds` for another session's lock.

        Raises:
            StoreUnusable: this is no address that libpq understands.
        """
        try:
            given = conninfo_to_dict(url)
        except psycopg.Error as error:
            raise StoreUnusable(f"the address is wrong: {_first_line(error)}") from None
        self._parameters = {**CONNECTING, **{name: str(value) for name, value in given.items()}}
        self._password = password
        self._name = schema
        self.schema = Identifier(schema).as_string()
        """Its name as it stands in statements."""
        self._settings = local_settings(
            {
                "search_path": f"{self.schema}, pg_temp",
                "statement_timeout": f"{STATEMENT_SECONDS * 1000:.0f}",
                "lock_timeout": f"{lock_seconds * 1000:.0f}",
                "idle_in_transaction_session_timeout": f"{IDLE_SECONDS * 1000:.0f}",
                "jit": "off",  # to compile one of our statements takes longer than to execute it
                # Every statement finds its rows by one index, and joins them so, as SQLite does it. Otherwise
                # its plan would depend on statistics, which are never right in an outbox that is mostly
                # empty.
                **{f"enable_{way}": "off" for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin")},
            }
        )

    def __str__(self) -> str:
        """Names the server and the database."""
        parts = self._parameters
        return f"{parts.get('host', 'localhost')}/{parts.get('dbname', parts.get('user', ''))}"

    @property
    def absence(self) -> str:
        """Says that there are no tables yet; a person may have made the schema before."""
        return f"the tables of the schema {self._name} do not exist yet in {self}; `watcher run` makes them"

    def exists(self) -> bool:
        """Returns whether the tables are there."""
        with self.connected() as connection:
            return self._version(connection) is not None

    def now(self) -> float:
        """Returns the server's Unix time."""
        with self.connected() as connection:
            return float(_value(connection, f"SELECT {NOW}"))

    def prepare(self) -> None:
        """Makes the schema, its tables and the row of the lease where they are missing.

        Raises:
            StoreUnusable: the server is too old, has another encoding, is read-only or denies a right, or the
                schema is of a newer version.
            StoreUnavailable: the database cannot be reached now.
        """
        with self.connected() as connection:
            self._check_server(connection)
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [crc32(self.schema.encode())])
                version = self._version(connection)
                if version is None:
                    self._create(connection)
                elif version > VERSION:
                    raise newer_version(version, VERSION)

    def check(self) -> None:
        """Raises what `prepare` would raise, and changes nothing."""
        with self.connected() as connection:
            self._check_server(connection)
            if (version := self._version(connection) or 0) > VERSION:
                raise newer_version(version, VERSION)

    def session(self) -> Session:
        """Returns a session without a fence, for the lease itself."""
        return Session(self._connect, self.translate, self._settings)

    def open(self, token: str) -> Session:
        """Returns the session of the process that took the lease with this token."""
        return Session(self._connect, self.translate, self._settings, token=token)

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Reads in the block, beside the process that has the lease."""
        with closing(self.session()) as session, session.reading() as sql:
            _refuse_other_version(sql, "SELECT version FROM lease")
            yield Reader(sql)

    @contextmanager
    def changing(self, now: float) -> Iterator[Transaction]:
        """Makes the block one transaction, during which the process that has the lease changes nothing."""
        with closing(self.session()) as session, session.transaction() as sql:
            _refuse_other_version(sql, "SELECT version FROM lease FOR UPDATE")
            yield Transaction(sql, now=now, new_event_id=new_event_id)

    def translate(self, error: psycopg.Error, *, starting: bool = False) -> StoreError:
        """Returns our error for one of psycopg's: whether it may pass or not.

        A refused password may pass once a process has started: it may be about to be changed here too.
        """
        state, message = error.sqlstate or "", error.diag.message_primary or _first_line(error)
        if password := self._parameters.get("password"):
            message = message.replace(password, "***")
        if isinstance(error, psycopg.DataError) or state.startswith("54"):
            return StoreRejected(message)
        refused = state.startswith("28") or (not state and _REFUSED.search(message) is not None)
        if state[:2] in _LASTING or (starting and refused):
            return StoreUnusable(message)
        return StoreUnavailable(message)

    def _connect(self) -> "psycopg.Connection[Row]":
        secret = {"password": self._password()} if self._password else {}
        address = make_conninfo("", **self._parameters, **secret)
        connection: psycopg.Connection[Row] = psycopg.connect(
            address, autocommit=True, prepare_threshold=None, row_factory=named
        )
        return connection

    @contextmanager
    def connected(self) -> Iterator["psycopg.Connection[Row]"]:
        """Connects in the block, for what no session offers; each statement is a transaction."""
        try:
            with closing(self._connect()) as connection:
                yield connection
        except psycopg.Error as error:
            raise self.translate(error, starting=True) from None

    def _check_server(self, connection: "psycopg.Connection[Row]") -> None:
        version = connection.info.server_version
        encoding = connection.info.parameter_status("server_encoding")
        if version < OLDEST_SERVER * 10_000:
            raise StoreUnusable(
                f"the server is PostgreSQL {version // 10_000}; it must be {OLDEST_SERVER} or newer"
            )
        if encoding != "UTF8":
            raise StoreUnusable(f"its encoding is {encoding}; it must be UTF8")
        question = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'"
        standby, read_only = connection.execute(question).fetchone() or (True, True)
        if standby or read_only:
            what = "the server is a read-only standby; name the primary" if standby else "it is read-only"
            raise StoreUnusable(what)

    def _version(self, connection: "psycopg.Connection[Row]") -> int | None:
        """Returns the version of the schema, None if it does not exist."""
        if _value(connection, "SELECT to_regclass(%s)", f"{self.schema}.lease") is None:
            return None
        return _value(connection, f"SELECT version FROM {self.schema}.lease") or 0

    def _create(self, connection: "psycopg.Connection[Row]") -> None:
        if _value(connection, "SELECT to_regnamespace(%s)", self.schema) is None:
            connection.execute(f"CREATE SCHEMA {self.schema}".encode())
        connection.execute(f"SET LOCAL search_path = {self.schema}, pg_temp".encode())
        connection.execute(f"{SCHEMA};{_steps(BASE_VERSION)}".encode())


def local_settings(values: Mapping[str, str]) -> str:
    """Returns one statement, which costs less than one for each, that sets these until a transaction ends."""
    calls = (f"set_config({quote(name)}, {quote(value)}, true)" for name, value in values.items())
    return f"SELECT {', '.join(calls)}"


def upgrade(sql: Sql, version: int) -> None:
    """Brings a schema from a version to the newest one, in the transaction that takes the lease."""
    if version < VERSION:
        sql.execute(f"SET LOCAL statement_timeout = 0;{_steps(version)}")


def _steps(version: int) -> str:
    return ";".join([*STEPS[version - BASE_VERSION :], f"UPDATE lease SET version = {VERSION}"])


def _refuse_other_version(sql: Sql, question: str) -> None:
    (version,) = sql.execute(question)[0]
    if version > VERSION:
        raise newer_version(version, VERSION)
    if version < VERSION:
        raise older_version()


def _value(connection: "psycopg.Connection[Row]", statement: str, *parameters: str) -> Any:
    """Returns the first value of the first row, None if there is no row."""
    row = connection.execute(statement.encode(), parameters).fetchone()
    return None if row is None else row[0]


def _first_line(error: psycopg.Error) -> str:
    return str(error).partition("\n")[0]
