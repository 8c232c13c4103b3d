"""The seam to the database: how it is opened, and what a transaction is.

This module, `files` and `migrations` are all that knows SQLite. A unit of work is a function whose first
argument is a `Transaction`; a query takes a `Reader`. Their statements use only what SQLite 3.35 and
PostgreSQL 14 share.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from watcher.ids import event_id
from watcher.store.errors import StoreError, StoreUnavailable, StoreUnusable
from watcher.store.files import create_database, database_exists
from watcher.store.migrations import MIGRATIONS

BUSY_SECONDS: Final = 5.0
"""How long a statement waits for another process's lock before it fails."""

_UNUSABLE: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
)


class Row(Protocol):
    """One row of a result; its values are reached by position or by the name of the column."""

    def __getitem__(self, key: int | str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


Parameters = Sequence[object] | Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Listed:
    """The values of a list in a statement, which always reads `IN (SELECT value FROM json_each(?))`."""

    values: Collection[int] | Collection[str]


sqlite3.register_adapter(Listed, lambda listed: json.dumps(list(listed.values)))


class Reader:
    """Reads the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Parameters = ()) -> Sequence[Row]:
        """Executes one statement and returns its rows."""
        return self._connection.execute(statement, parameters).fetchall()

    def first(self, statement: str, parameters: Parameters = ()) -> Row | None:
        """Executes one statement and returns its first row, None if it has none."""
        row: Row | None = self._connection.execute(statement, parameters).fetchone()
        return row


class Transaction(Reader):
    """One unit of work under way at the Unix time `now`.

    `claimed_ids` are the deliveries that workers of this process have claimed and not settled yet. A unit of
    work that changes them assigns a new set, which counts once the transaction is committed.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        now: float,
        new_event_id: Callable[[float], str],
        claimed_ids: frozenset[int] = frozenset(),
    ) -> None:
        """`new_event_id` makes the id of an event that happens at a time."""
        super().__init__(connection)
        self.now = now
        self.new_event_id = new_event_id
        self.claimed_ids = claimed_ids

    def execute_many(self, statement: str, rows: Iterable[Parameters]) -> None:
        """Executes one statement once for each row of parameters, as a batch."""
        self._connection.executemany(statement, rows)


def open_writer(path: Path) -> sqlite3.Connection:
    """Opens the database to change it, creates it if necessary, and brings it to the newest version.

    Raises:
        StoreUnusable: it cannot be opened, is damaged, or was written by a newer version.
        StoreUnavailable: it cannot be opened now.
    """
    # SQLite opens a file that it cannot write, and says so only when it has something to write.
    if not database_exists(path):
        create_database(path)
    elif not os.access(path, os.W_OK):
        raise StoreUnusable("it cannot be written: it is read-only")
    with _opened(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        _migrate(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens an existing database to read it, beside a daemon that may be running.

    Raises:
        StoreUnusable: it does not exist, is damaged, or is of another version.
        StoreUnavailable: it cannot be read now.
    """
    if not database_exists(path):
        raise StoreUnusable("it does not exist")
    with _opened(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True) as connection:
        if _version(connection) < len(MIGRATIONS):
            raise StoreUnusable("it is of an older version; start the daemon once to upgrade it")
        return connection


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Opens an existing database to read it in the block; errors as of `open_reader`."""
    with closing(open_reader(path)) as connection, translated():
        yield Reader(connection)


@contextmanager
def changing(path: Path, now: float) -> Iterator[Transaction]:
    """Makes the block one transaction beside a daemon that may be running; errors as of `open_reader`.

    It never checkpoints: before SQLite 3.51.3 two connections that do so at once can lose a commit.
    """
    open_reader(path).close()
    with _opened(path) as connection, closing(connection):
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA synchronous = FULL")
        with committed(connection):
            yield Transaction(connection, now=now, new_event_id=lambda at: event_id(at, os.urandom(10)))


def find_damage(path: Path) -> str | None:
    """Returns the first damage that SQLite finds in an existing database; errors as of `open_reader`."""
    with reading(path) as reader:
        (found,) = reader.execute("PRAGMA quick_check(1)")[0]
    return None if found == "ok" else str(found)


@contextmanager
def committed(connection: sqlite3.Connection) -> Iterator[None]:
    """Makes the block one transaction, committed at its end and rolled back by any exception."""
    with translated():
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def translated() -> Iterator[None]:
    """Raises our error in place of one of SQLite's."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error) from None


def translate(error: sqlite3.Error) -> StoreError:
    """Returns our error for one of SQLite's: whether it may pass or not."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # While a database is being opened that is all that SQLite says of a full disk.
    hint = " (the disk may be full)" if code == sqlite3.SQLITE_IOERR else ""
    return (StoreUnusable if code in _UNUSABLE else StoreUnavailable)(f"{error}{hint}")


@contextmanager
def _opened(database: Path | str, *, uri: bool = False) -> Iterator[sqlite3.Connection]:
    """Opens a connection that the block prepares; it is closed again if that fails."""
    with translated():
        connection = sqlite3.connect(
            database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=uri
        )
        connection.row_factory = sqlite3.Row
        try:
            # A read-only container has no directory for temporary files.
            connection.execute("PRAGMA temp_store = MEMORY")
            _refuse_newer(connection)
            yield connection
        except BaseException:
            connection.close()
            raise


def identity_hash(*names: str) -> str:
    """Returns what an index holds in place of names of any length that others give."""
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _migrate(connection: sqlite3.Connection) -> None:
    connection.create_function("identity_hash", -1, identity_hash, deterministic=True)
    for number, script in enumerate(MIGRATIONS[_version(connection) :], start=_version(connection) + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def _refuse_newer(connection: sqlite3.Connection) -> None:
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise StoreUnusable(
            f"it was written by a newer watcher: it has version {version}, this one knows {len(MIGRATIONS)}"
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
