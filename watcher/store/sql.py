"""The seam to the databases: what a unit of work sees of one, and what each kind of database offers.

A unit of work is a function whose first argument is a `Transaction`; a query takes a `Reader`. Their
statements use only what SQLite 3.35 and PostgreSQL 14 share; `sqlite` and `postgresql` know which it is.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


class Row(Protocol):
    """One row of a result; its values are reached by position or by the name of the column."""

    def __getitem__(self, key: int | str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


Parameters = Sequence[object] | Mapping[str, object]
Statement = tuple[str, Parameters]


@dataclass(frozen=True, slots=True)
class Listed:
    """The values of a list in a statement, which always reads `IN (SELECT value FROM json_each(?))`."""

    values: Collection[int] | Collection[str]


class Sql(Protocol):
    """Executes statements, which have `?` or `:name` for their parameters; every error is a StoreError."""

    def execute(self, statement: str, parameters: Parameters = (), /) -> Sequence[Row]:
        """Executes one statement and returns its rows."""

    def execute_all(self, statements: Sequence[Statement], /) -> Sequence[Sequence[Row]]:
        """Executes statements in one round trip; returns the rows of each."""

    def execute_many(self, statement: str, rows: Iterable[Parameters], /) -> None:
        """Executes one statement once for each row of parameters, as a batch."""


class Connection(Protocol):
    """The connection of the one process that may change the database. One thread at a time uses it."""

    def transaction(self) -> AbstractContextManager[Sql]:
        """Makes the block one transaction, committed at its end and rolled back by any exception."""

    def reading(self) -> AbstractContextManager[Sql]:
        """Lets the block read, without a lock; each statement or list of statements sees one state."""

    def displaced(self) -> str | None:
        """Returns why another process would not find this database, None if it would; on any thread."""

    def close(self) -> None:
        """Gives the database back."""


class Database(Protocol):
    """A database that another process may be changing; as text its name, without a password.

    Every method raises StoreUnusable for a database that is damaged, of another version or not there, and
    StoreUnavailable for one that cannot be used now.
    """

    @property
    def absence(self) -> str:
        """What to tell a person while there is nothing to read yet."""

    def exists(self) -> bool:
        """Returns whether there is something to read."""

    def now(self) -> float:
        """Returns the Unix time by the clock that counts for it."""

    def reading(self) -> "AbstractContextManager[Reader]":
        """Opens it to read it in the block."""

    def changing(self, now: float) -> "AbstractContextManager[Transaction]":
        """Makes the block one transaction at the Unix time `now`."""


class Reader:
    """Reads the database."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self.execute = sql.execute
        self.execute_all = sql.execute_all

    def first(self, statement: str, parameters: Parameters = ()) -> Row | None:
        """Executes one statement and returns its first row, None if it has none."""
        rows = self.execute(statement, parameters)
        return rows[0] if rows else None


class Transaction(Reader):
    """One unit of work under way at the Unix time `now`.

    `claimed_ids` are the deliveries that workers of this process have claimed and not settled yet. A unit of
    work that changes them assigns a new set, which counts once the transaction is committed.
    """

    def __init__(
        self,
        sql: Sql,
        *,
        now: float,
        new_event_id: Callable[[float], str],
        claimed_ids: frozenset[int] = frozenset(),
    ) -> None:
        """`new_event_id` makes the id of an event that happens at a time."""
        super().__init__(sql)
        self.execute_many = sql.execute_many
        self.now = now
        self.new_event_id = new_event_id
        self.claimed_ids = claimed_ids


def identity_hash(*names: str) -> str:
    """Returns what an index holds in place of names of any length that others give."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()
