"""Those who were not told of what waits, because they were configured later, and are told at the start."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace

from watcher.models import App, Route
from watcher.store.enqueue import NewId, enqueue


def backfill_new_notifiers(
    connection: sqlite3.Connection,
    audiences: Iterable[tuple[App, Sequence[Route]]],
    *,
    now: float,
    new_id: NewId,
) -> dict[str, int]:
    """Lets everybody be told of what waits and they have never heard of; returns of how much, by notifier.

    What was told to nobody, because it is of a backlog that was passed over, stays so. `after` counts from
    when a request was first seen, and many make a digest once the first poll has ended.
    """
    told: dict[str, int] = {}
    for app, routes in audiences:
        for route in routes:
            for row in _unheard(connection, app.name, route.notifier):
                wait = max(row["first_seen_at"] + route.after - now, 0.0)
                enqueue(
                    connection,
                    "run.input_requested",
                    [replace(route, after=wait)],
                    app=app,
                    key=row["key"],
                    now=now,
                    event=new_id(now),
                    hold=True,
                )
                told[route.notifier] = told.get(route.notifier, 0) + 1
    return told


def _unheard(connection: sqlite3.Connection, app: str, notifier: str) -> list[sqlite3.Row]:
    return connection.execute(
        "WITH heard AS (SELECT e.request, d.notifier FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE e.request IS NOT NULL UNION ALL"
        " SELECT m.request, d.notifier FROM digest_members m JOIN deliveries d ON d.event = m.digest)"
        " SELECT r.key, r.first_seen_at FROM requests r WHERE r.app = ? AND r.resolved_at IS NULL"
        " AND r.key IN (SELECT request FROM heard)"
        " AND r.key NOT IN (SELECT request FROM heard WHERE notifier = ?) ORDER BY r.key",
        (app, notifier),
    ).fetchall()
