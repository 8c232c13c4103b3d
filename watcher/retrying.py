"""`watcher retry`: puts dead deliveries back, beside a daemon that may be running."""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from watcher.store import outbox, reports
from watcher.store.schema import open_beside, translated


class NotDeadError(Exception):
    """A delivery cannot be put back, because it does not exist or is not dead."""


def put_back(database: Path, ids: Sequence[int] | None) -> int:
    """Puts these dead deliveries, or all, back into the outbox and returns how many.

    Raises:
        NotDeadError: one of them is not dead; then nothing was changed.
        StoreError: the database cannot be used.
    """
    with translated(database), closing(open_beside(database)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        states = {record.id: record.state for record in reports.deliveries(connection, now=time.time())}
        dead = [number for number, state in states.items() if state == "dead"]
        for number in ids or ():
            if number not in dead:
                state = states.get(number)
                found = f"it is {state}" if state else "there is no such delivery"
                raise NotDeadError(f"ID {number}: {found}; only dead deliveries can be put back")
        chosen = dead if ids is None else sorted(set(ids))
        outbox.put_back(connection, chosen, time.time())
    return len(chosen)
