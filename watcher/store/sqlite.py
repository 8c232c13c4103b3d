"""SQLite: how a database is opened and locked, what a transaction is there, which errors may pass.

This module, `files` and `migrations` are all that knows SQLite.
"""

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from watcher.ids import new_event_id
from watcher.store.errors import (
    StoreError,
    StoreRejected,
    StoreUnavailable,
    StoreUnusable,
    newer_version,
    older_version,
)
from watcher.store.files import DatabaseLock, create_database, database_exists, file_id, real_path
from watcher.store.migrations import MIGRATIONS
from watcher.store.sql import Listed, Parameters, Reader, Row, Sql, Statement, Transaction, identity_hash

BUSY_SECONDS: Final = 5.0
"""How long a statement waits for another process's lock before it fails."""

_UNUSABLE: Final = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
)


sqlite3.register_adapter(Listed, lambda listed: json.dumps(list(listed.values)))


class SqliteDatabase:
    """A database in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        """Names the file."""
        return str(self.path)

    @property
    def absence(self) -> str:
        """Says that there is no file yet."""
        return f"there is no database at {self.path} yet"

    def exists(self) -> bool:
        """Returns whether there is a file."""
        return database_exists(self.path)

    def now(self) -> float:
        """Returns this machine's Unix time."""
        return time.time()

    def open(self) -> "SqliteConnection":
        """Takes the database to change it, creates it if necessary, and brings it to the newest version.

        Raises:
            StoreInUse: another process has it.
            StoreUnusable: it is damaged, of a newer version, or cannot be written.
            StoreUnavailable: it cannot be opened now.
        """
        lock = DatabaseLock(self.path)
        try:
            return SqliteConnection(self.path, lock, _open_writer(self.path))
        except StoreError:
            lock.release()
            raise

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Opens an existing database to read it in the block, beside a daemon that may be running."""
        with closing(open_reader(self.path)) as connection, translated():
            yield Reader(SqliteSql(connection))

    @contextmanager
    def changing(self, now: float) -> Iterator[Transaction]:
        """Makes the block one transaction beside a daemon that may be running.

        It never checkpoints: before SQLite 3.51.3 two connections that do so at once can lose a commit.
        """
        open_reader(self.path).close()
        with _opened(self.path) as connection, closing(connection):
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA synchronous = FULL")
            with committed(connection):
                yield Transaction(SqliteSql(connection), now=now, new_event_id=new_event_id)

    def find_damage(self) -> str | None:
        """Returns the first damage that SQLite finds in an existing database; errors as of `reading`."""
        with self.reading() as reader:
            (found,) = reader.execute("PRAGMA quick_check(1)")[0]
        return None if found == "ok" else str(found)


class SqliteSql:
    """Executes statements over a connection; errors are SQLite's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Parameters = (), /) -> Sequence[Row]:
        """Executes one statement and returns its rows."""
        return self._connection.execute(statement, parameters).fetchall()

    def execute_all(self, statements: Sequence[Statement], /) -> Sequence[Sequence[Row]]:
        """Executes statements and returns the rows of each."""
        return [self.execute(statement, parameters) for statement, parameters in statements]

    def execute_many(self, statement: str, rows: Iterable[Parameters], /) -> None:
        """Executes one statement once for each row of parameters, as a batch."""
        self._connection.executemany(statement, rows)


class SqliteConnection:
    """The connection of the process that has the lock of a database."""

    def __init__(self, path: Path, lock: DatabaseLock, connection: sqlite3.Connection) -> None:
        self.sqlite = connection
        self._sql = SqliteSql(connection)
        self._lock = lock
        self._path = real_path(path)
        self._file_id = file_id(self._path)

    @contextmanager
    def transaction(self) -> Iterator[Sql]:
        """Makes the block one transaction, committed at its end and rolled back by any exception."""
        with committed(self.sqlite):
            yield self._sql

    @contextmanager
    def reading(self) -> Iterator[Sql]:
        """Lets the block read."""
        with translated():
            yield self._sql

    def displaced(self) -> str | None:
        """Returns why the database is not where a new process looks for it, None if it is; on any thread."""
        found = file_id(self._path)
        if found == self._file_id:
            return None
        what = "removed" if found is None else "replaced by another"
        return f"its file was {what}; what is recorded now is lost at the end of this process"

    def close(self) -> None:
        """Closes the database and gives back the lock."""
        self.sqlite.close()
        self._lock.release()


def _open_writer(path: Path) -> sqlite3.Connection:
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
            raise older_version()
        return connection


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
    except (UnicodeEncodeError, OverflowError) as error:
        raise StoreRejected(str(error)) from None


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


def _migrate(connection: sqlite3.Connection) -> None:
    connection.create_function("identity_hash", -1, identity_hash, deterministic=True)
    for number, script in enumerate(MIGRATIONS[_version(connection) :], start=_version(connection) + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def _refuse_newer(connection: sqlite3.Connection) -> None:
    version = _version(connection)
    if version > len(MIGRATIONS):
        raise newer_version(version, len(MIGRATIONS))


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
