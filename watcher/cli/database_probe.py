"""What `watcher check` says of the database: of the file, or of the server."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watcher.config.database import PostgresqlAddress
from watcher.config.models import Config
from watcher.leadership import CLOCK_TOLERANCE
from watcher.messages import format_elapsed
from watcher.store.databases import locate_server
from watcher.store.errors import StoreError
from watcher.store.inspection import inspect
from watcher.store.lease import look
from watcher.store.sqlite import SqliteDatabase

LONG_TRANSACTION: Final = 600.0
"""Seconds after which an open transaction of another session is worth a warning."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found, in text for a person."""

    good: bool
    subject: str
    text: str
    warning: bool = False


def check_database(config: Config) -> list[CheckResult]:
    """Returns what was found; the first result says whether the daemon can use the database.

    Nothing is changed.
    """
    if isinstance(config.database, Path):
        return [_check_file(config.database)]
    subject = f"database {config.database}"
    try:
        found = list(_check_server(config.database))
    except StoreError as error:
        return [CheckResult(good=False, subject=subject, text=str(error))]
    return [
        CheckResult(good, subject, text, warning=good and number > 0)
        for number, (good, text) in enumerate(found)
    ]


def _check_server(address: PostgresqlAddress) -> Iterator[tuple[bool, str]]:
    """Yields whether the server can be used and what it is, and then what is not as it should be."""
    database = locate_server(address)
    database.check()
    with closing(database.session()) as session, session.reading() as sql:
        found = inspect(sql, address.schema)
        lease = look(sql, token="") if found.has_tables else None
    if found.lacking:
        yield False, f"the role lacks {found.lacking}"
        return
    leads = "will be made" if lease is None else "no replica leads" if lease.free else f"{lease.holder} leads"
    yield True, f"PostgreSQL {found.server}, {'encrypted' if found.encrypted else 'not encrypted'}; {leads}"
    if not found.encrypted and not found.local:
        yield True, "the connection is not encrypted; add sslmode=verify-full to the address"
    if abs(ahead := time.time() - found.now) > CLOCK_TOLERANCE:
        way = "ahead of" if ahead > 0 else "behind"
        yield True, f"this machine's clock is {abs(ahead):.0f} s {way} the server's"
    if (found.longest_transaction or 0.0) > LONG_TRANSACTION:
        since = format_elapsed(found.longest_transaction or 0.0)
        yield True, f"a transaction has been open for {since}; it keeps deleted rows on the disk, so end it"


def _check_file(path: Path) -> CheckResult:
    database = SqliteDatabase(path)
    directory = path.absolute().parent
    subject = f"database {path}"
    try:
        if not database.exists():
            if not directory.is_dir():
                return CheckResult(
                    good=False, subject=subject, text=f"the directory {directory} does not exist"
                )
            writable = os.access(directory, os.W_OK | os.X_OK)
            text = "will be created" if writable else f"cannot be created: {directory} is not writable"
            return CheckResult(writable, subject, text)
        damage = database.find_damage()
    except StoreError as error:
        return CheckResult(good=False, subject=subject, text=str(error))
    if not os.access(path, os.W_OK):
        return CheckResult(good=False, subject=subject, text="is not writable")
    return CheckResult(damage is None, subject, f"damaged: {damage}" if damage else "intact")
