"""A session of PostgreSQL: its transactions, the fence that they lock, and how statements are written there.

Statements are sent as texts with their values quoted in them by libpq, so that many make one round trip: what
writes goes with the next question or the end of the transaction, and the beginning with the first of all.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any, ClassVar, Final

import psycopg
from psycopg.pq import Escaping, ExecStatus, TransactionStatus

from watcher.store.errors import StoreError, StoreLost, StoreRejected, StoreUnavailable
from watcher.store.sql import Listed, Parameters, Row, Sql, Statement

RECONNECT_SECONDS: Final = (1.0, 2.0, 4.0, 5.0)
"""How long a session waits before it connects again, after each failure in a row."""
BATCH_SIZE: Final = 1 << 20
"""Characters of a batch that are sent at once, unless one statement alone has more."""

_FENCE: Final = "SELECT 1 / count(*) FROM (SELECT FROM lease WHERE token = ? FOR KEY SHARE) AS held"
"""Fails where another process has the lease, so that nothing that is sent with it is done."""
_LOST: Final = "22012"
"""The error of a division by zero, which no other statement has."""
_WRITING: Final = ("INSERT", "UPDATE", "DELETE")
_LIST: Final = re.compile(r"IN \(SELECT value FROM json_each\((\?|:\w+)\)\)")
_MARK: Final = re.compile(r"(\?|(?<!:):\w+)")
_READ_ONLY: Final = "25006"

Connect = Callable[[], "psycopg.Connection[Row]"]
Translate = Callable[[psycopg.Error], StoreError]


class Session:
    """One connection, which is opened again when it was lost. One thread at a time uses it.

    `round_trips` counts how often the server was asked.
    """

    def __init__(
        self,
        connect: Connect,
        translate: Translate,
        settings: str,
        *,
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings` is a statement that follows each beginning of a transaction; `clock` times reconnects.

        With a `token` each transaction that writes locks the row of the lease that has it.
        """
        self.round_trips = 0
        self._connect = connect
        self._translate = translate
        self._settings = settings
        self._token = token
        self._clock = clock
        self._connection: psycopg.Connection[Row] | None = None
        self._failures = 0
        self._not_before = 0.0

    @contextmanager
    def transaction(self) -> Iterator[Sql]:
        """Makes the block one transaction, committed at its end and rolled back by any exception.

        Raises:
            StoreLost: the block writes, and another process has the lease.
            StoreError: a statement or the commit failed. After a connection was lost at the commit it is open
                whether the transaction was committed.
        """
        unit = _Transaction(self, ["BEGIN", self._settings], self._token)
        with self.rolling_back():
            yield unit
            unit.commit()

    @contextmanager
    def reading(self) -> Iterator[Sql]:
        """Lets the block read; each statement, or list of statements, is a transaction."""
        yield _Reads(self, ["BEGIN READ ONLY", self._settings])

    def execute(self, statement: str, parameters: Parameters = (), /) -> Sequence[Row]:
        """Executes one statement as a transaction, in one round trip and without a fence."""
        with self.rolling_back():
            return self.send(["BEGIN", self._settings, self.text(statement, parameters), "COMMIT"])[-2]

    def displaced(self) -> str | None:
        """Returns None: the fence notices when another process has the lease."""
        return None

    def close(self) -> None:
        """Closes the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def text(self, statement: str, parameters: Parameters) -> str:
        """Returns a statement as PostgreSQL reads it, with its values in it."""
        escape = Escaping(self._connected().pgconn).escape_literal
        texts, names = _parts(statement)
        values = [parameters[name] for name in names] if isinstance(parameters, Mapping) else parameters
        quoted = [_quoted(value, escape) for value in values]
        return "".join(chain.from_iterable(zip(texts, [*quoted, ""], strict=True)))

    def send(self, texts: Sequence[str]) -> list[Sequence[Row]]:
        """Sends texts of statements in one round trip and returns the rows of each."""
        connection = self._connected()
        self.round_trips += 1
        with self._translating(connection):
            cursor = connection.execute(";".join(texts).encode())
            results = [_rows(cursor)]
            while cursor.nextset():
                results.append(_rows(cursor))
        if texts[-1] == "COMMIT" and cursor.statusmessage != "COMMIT":
            raise StoreUnavailable("the transaction was rolled back, because a statement in it had failed")
        return results

    @contextmanager
    def _translating(self, connection: "psycopg.Connection[Row]") -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            if connection.closed or error.sqlstate == _READ_ONLY:  # then libpq is to look for the primary
                self.close()
            if error.sqlstate == _LOST:
                raise StoreLost("another process has taken the lease") from None
            raise self._translate(error) from None

    @contextmanager
    def rolling_back(self) -> Iterator[None]:
        """Rolls back what is open if the block fails."""
        try:
            yield
        except BaseException:
            connection = self._connection
            if connection is not None and connection.info.transaction_status != TransactionStatus.IDLE:
                try:
                    connection.execute("ROLLBACK")
                except psycopg.Error:
                    self.close()
            raise

    def _connected(self) -> "psycopg.Connection[Row]":
        if self._connection is not None:
            return self._connection
        if self._clock() < self._not_before:
            raise StoreUnavailable("the database could not be reached a moment ago")
        try:
            self._connection = self._connect()
        except psycopg.Error as error:
            wait = RECONNECT_SECONDS[min(self._failures, len(RECONNECT_SECONDS) - 1)]
            self._failures += 1
            self._not_before = self._clock() + wait
            raise self._translate(error) from None
        self._failures = 0
        return self._connection


class _Reads:
    """Executes statements, each or each list of them as a transaction that only reads."""

    def __init__(self, session: Session, begin: Sequence[str]) -> None:
        self._session = session
        self._begin = begin

    def execute(self, statement: str, parameters: Parameters = (), /) -> Sequence[Row]:
        """Executes one statement and returns its rows."""
        return self.execute_all([(statement, parameters)])[0]

    def execute_all(self, statements: Sequence[Statement], /) -> Sequence[Sequence[Row]]:
        """Executes statements in one round trip; returns the rows of each."""
        with self._session.rolling_back():
            texts = [self._session.text(*statement) for statement in statements]
            return self._session.send([*self._begin, *texts, "COMMIT"])[len(self._begin) : -1]

    def execute_many(self, statement: str, rows: Iterable[Parameters], /) -> None:
        """Executes one statement once for each row of parameters."""
        self.execute_all([(statement, row) for row in rows])


class _Transaction:
    """Executes the statements of one transaction, which begins with the first one.

    What writes and returns nothing is kept until something is asked, or until the end.
    """

    def __init__(self, session: Session, begin: Sequence[str], token: str | None) -> None:
        self._session = session
        self._kept = list(begin)
        self._size = 0
        self._begun = False
        self._token = token

    def execute(self, statement: str, parameters: Parameters = (), /) -> Sequence[Row]:
        """Executes one statement and returns its rows."""
        return self.execute_all([(statement, parameters)])[0]

    def execute_all(self, statements: Sequence[Statement], /) -> Sequence[Sequence[Row]]:
        """Executes statements in one round trip; returns the rows of each."""
        for statement, parameters in statements:
            self._keep(self._session.text(statement, parameters))
        if all(
            statement.startswith(_WRITING) and "RETURNING" not in statement for statement, _ in statements
        ):
            return [()] * len(statements)
        return self._send()[-len(statements) :]

    def execute_many(self, statement: str, rows: Iterable[Parameters], /) -> None:
        """Executes one statement once for each row of parameters, in as few round trips as size allows."""
        # Rows of one statement take a tenth of the time of as many statements.
        insertion, _, values = statement.partition(" VALUES ")
        for batch in _batches(self._session.text(values or statement, row) for row in rows):
            if values:
                self._keep(f"{insertion} VALUES {','.join(batch)}")
            else:
                for text in batch:
                    self._keep(text)
            if self._size >= BATCH_SIZE:
                self._send()

    def commit(self) -> None:
        """Commits what was done."""
        if self._begun or self._size:
            self._kept.append("COMMIT")
            self._send()

    def _keep(self, text: str) -> None:
        if self._token is not None and text.startswith(_WRITING):
            self._kept.append(self._session.text(_FENCE, [self._token]))
            self._token = None  # it is locked until the end
        self._kept.append(text)
        self._size += len(text)

    def _send(self) -> Sequence[Sequence[Row]]:
        kept, self._kept, self._size, self._begun = self._kept, [], 0, True
        return self._session.send(kept) if kept else ()


class _Row(tuple[Any, ...]):
    """One row of a result; its values are reached by position or by the name of the column."""

    __slots__ = ()
    places: ClassVar[Mapping[str, int]] = {}

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.places[key] if isinstance(key, str) else key)


def named(cursor: "psycopg.Cursor[Any]") -> Callable[[Sequence[Any]], Row]:
    """Makes rows whose values have the names of their columns; a row factory of psycopg's."""
    result = cursor.pgresult
    if result is None:
        return _Row
    return _row_type(tuple((result.fname(field) or b"").decode() for field in range(result.nfields)))


@lru_cache(maxsize=256)
def _row_type(names: tuple[str, ...]) -> type[_Row]:
    return type(
        "_NamedRow", (_Row,), {"__slots__": (), "places": {name: at for at, name in enumerate(names)}}
    )


def _rows(cursor: "psycopg.Cursor[Row]") -> Sequence[Row]:
    result = cursor.pgresult
    return cursor.fetchall() if result is not None and result.status == ExecStatus.TUPLES_OK else ()


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@lru_cache(maxsize=512)
def _parts(statement: str) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the texts around the parameters of a statement, with arrays for lists, and their names."""
    parts = _MARK.split(_LIST.sub(r"= ANY(\1)", statement))
    return parts[::2], [name[1:] for name in parts[1::2]]


def _quoted(value: object, escape: Callable[[bytes], bytes]) -> str:
    """Returns a value as a literal. The type of a text, or a list, is that of what it is compared with."""
    match value:
        case None:
            return "NULL"
        case int() | float() if math.isfinite(value):
            return f"({value})"  # else a minus before a negative one would begin a comment
        case float():
            return f"'{value}'::float8"
        case Listed():
            value = "{" + ",".join(map(_element, value.values)) + "}"
    if not isinstance(value, str):
        raise TypeError(f"{type(value)} is no type of a parameter")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise StoreRejected("a text has half a surrogate pair in it") from None
    if b"\0" in encoded:
        raise StoreRejected("a text has a NUL in it")
    return bytes(escape(encoded)).decode()


def _element(element: int | str) -> str:
    if isinstance(element, int):
        return str(element)
    return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'
