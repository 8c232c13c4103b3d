"""The SQLite database: how it is opened, its tables, and the steps from one version to the next."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from watcher.store.errors import StoreError, StoreUnusable

BUSY_SECONDS: Final = 5.0
"""How long a statement waits for another process's lock before it fails."""

MIGRATIONS: Final = (
    """
    CREATE TABLE apps (
        name TEXT PRIMARY KEY,
        first_success_at REAL,
        failing_since REAL,
        failure TEXT,
        alert_event TEXT
    );
    CREATE TABLE requests (
        key INTEGER PRIMARY KEY,
        app TEXT NOT NULL,
        base_url TEXT NOT NULL,
        run_id TEXT NOT NULL,
        request_id TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        type TEXT NOT NULL,
        prompt TEXT,
        params TEXT NOT NULL,
        editable_params TEXT NOT NULL,
        run_status TEXT NOT NULL,
        started_at REAL,
        user_id TEXT,
        session_id TEXT,
        run_input TEXT NOT NULL,
        link TEXT,
        position TEXT,
        first_seen_at REAL NOT NULL,
        resolved_at REAL,
        outcome TEXT,
        resolved_status TEXT
    );
    CREATE UNIQUE INDEX requests_pending ON requests (app, run_id, request_id, fingerprint)
        WHERE resolved_at IS NULL;
    CREATE INDEX requests_run ON requests (app, run_id, resolved_at);
    CREATE INDEX requests_resolved ON requests (resolved_at) WHERE resolved_at IS NOT NULL;
    CREATE TABLE hidden_runs (
        app TEXT NOT NULL,
        run_id TEXT NOT NULL,
        PRIMARY KEY (app, run_id)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        id TEXT PRIMARY KEY,
        type TEXT NOT NULL,
        at REAL NOT NULL,
        app TEXT NOT NULL,
        base_url TEXT NOT NULL,
        request INTEGER REFERENCES requests (key),
        detail TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX events_at ON events (at);
    CREATE INDEX events_request ON events (request);
    CREATE TABLE deliveries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        event TEXT NOT NULL REFERENCES events (id),
        notifier TEXT NOT NULL,
        for_people INTEGER NOT NULL,
        subject TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'pending',
        attempts INTEGER NOT NULL DEFAULT 0,
        due_at REAL NOT NULL,
        next_attempt_at REAL NOT NULL,
        last_error TEXT,
        receipt TEXT,
        finished_at REAL
    );
    CREATE INDEX deliveries_event ON deliveries (event);
    CREATE INDEX deliveries_due ON deliveries (notifier, next_attempt_at) WHERE state = 'pending';
    CREATE INDEX deliveries_subject ON deliveries (subject, notifier);
    CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
    CREATE TABLE notifiers (
        name TEXT PRIMARY KEY,
        paused_until REAL NOT NULL
    );
    """,
    """
    ALTER TABLE apps ADD COLUMN last_success_at REAL;
    ALTER TABLE hidden_runs ADD COLUMN since REAL NOT NULL DEFAULT 0;
    ALTER TABLE notifiers ADD COLUMN failing_since REAL;
    ALTER TABLE notifiers ADD COLUMN failure TEXT;
    ALTER TABLE notifiers ADD COLUMN alert_event TEXT;
    ALTER TABLE deliveries ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE deliveries ADD COLUMN doubtful INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX deliveries_held ON deliveries (event) WHERE held;
    CREATE TABLE digest_members (
        digest TEXT NOT NULL REFERENCES events (id),
        request INTEGER NOT NULL REFERENCES requests (key),
        PRIMARY KEY (digest, request)
    ) WITHOUT ROWID;
    CREATE INDEX digest_members_request ON digest_members (request);
    """,
    # Readiness asks for the dead every few seconds, among everything that was delivered in a month.
    "CREATE INDEX deliveries_dead ON deliveries (notifier) WHERE state = 'dead';",
)
"""Step n brings a database from version n to n + 1."""


def open_writer(path: Path) -> sqlite3.Connection:
    """Opens the database to change it, makes it if need be, and brings it to the newest version.

    Raises:
        StoreUnusable: it cannot be opened, is damaged, or was written by a newer version.
        StoreError: it cannot be had now.
    """
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise StoreUnusable(f"cannot open {path}: {error}") from None
    try:
        # SQLite opens what it cannot write, and says so only when it has something to write.
        if path.exists() and not os.access(path, os.W_OK):
            raise StoreUnusable(f"cannot write {path}: it is read-only")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_size_limit = 16777216")
        _migrate(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, path) from None
    except StoreError:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens an existing database to read it, beside a daemon that may be running.

    Raises:
        StoreUnusable: it does not exist, is damaged, or is of another version.
        StoreError: it cannot be had now.
    """
    if not path.exists():
        raise StoreUnusable(f"there is no database at {path} yet")
    try:
        uri = f"file:{quote(str(path.absolute()))}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    except sqlite3.Error as error:
        raise translate(error, path) from None
    try:
        check_version(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise translate(error, path) from None
    except StoreError:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def open_beside(path: Path) -> sqlite3.Connection:
    """Opens an existing database for one small change beside a daemon that is running.

    It never checkpoints: before SQLite 3.51.3 two connections that do so at once can lose a commit.

    Raises:
        StoreUnusable: it does not exist, is damaged, or is of another version.
    """
    open_reader(path).close()
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA synchronous = FULL")
    connection.row_factory = sqlite3.Row
    return connection


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Makes sure that the database has this version's tables.

    Raises:
        StoreUnusable: it has not.
    """
    version = _version(connection)
    _refuse_newer(version, path)
    if version < len(MIGRATIONS):
        raise StoreUnusable(f"{path} is of an older version; start the daemon once to upgrade it")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raises our error in place of one of SQLite's."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from None


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """Returns our error for one of SQLite's: whether it may pass or not."""
    hopeless = {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind = StoreUnusable if code in hopeless else StoreError
    # While a database is being opened that is all that SQLite says of a full disk.
    hint = " (the disk may be full)" if code == sqlite3.SQLITE_IOERR else ""
    return kind(f"database {path}: {error}{hint}")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    version = _version(connection)
    _refuse_newer(version, path)
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")


def _refuse_newer(version: int, path: Path) -> None:
    if version > len(MIGRATIONS):
        raise StoreUnusable(
            f"{path} was written by a newer watcher:"
            f" it has version {version}, this one knows {len(MIGRATIONS)}"
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
