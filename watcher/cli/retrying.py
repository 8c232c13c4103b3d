"""`watcher retry`: puts dead deliveries back, beside a daemon that may be running."""

import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from watcher.store import outbox
from watcher.store.migrations import open_beside, translated


class NotDeadError(Exception):
    """A delivery cannot be put back, because it does not exist or is not dead."""


def requeue(database: Path, ids: Sequence[int] | None) -> int:
    """Puts these dead deliveries, or all, back into the outbox and returns how many.

    Raises:
        NotDeadError: one of them is not dead; then nothing was changed.
        StoreError: the database cannot be used.
    """
    with translated(database), closing(open_beside(database)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        dead = outbox.dead(connection)
        for number in ids or ():
            if number not in dead:
                raise NotDeadError(
                    f"ID {number}: {_found(connection, number)}; only dead deliveries can be put back"
                )
        chosen = sorted(dead if ids is None else set(ids))
        outbox.requeue(connection, chosen, time.time())
    return len(chosen)


def _found(connection: sqlite3.Connection, number: int) -> str:
    state = outbox.state(connection, number)
    return f"it is {state}" if state else "there is no such delivery"
