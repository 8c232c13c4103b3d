"""At the start announcements follow the configuration, which may have changed.

A new notifier gets the pending requests that were announced before it came, and an announcement that was not
tried yet waits until the `after` of now has passed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from watcher.models import App, Route
from watcher.store.enqueue import NewEvent, enqueue
from watcher.store.sql import Listed, Row, Transaction

_PENDING: Final = "FROM requests WHERE app IN (SELECT value FROM json_each(:apps)) AND resolved_at IS NULL"
_REQUESTS: Final = f"SELECT key, app, first_seen_at {_PENDING} ORDER BY key"
_HEARD: Final = (
    "SELECT e.request, d.notifier FROM events e JOIN deliveries d ON d.event = e.id"
    f" WHERE e.request IN (SELECT key {_PENDING}) UNION SELECT m.request, d.notifier FROM digest_members m"
    f" JOIN deliveries d ON d.event = m.digest_id WHERE m.request IN (SELECT key {_PENDING})"
)
"""Which notifiers have a delivery about which pending requests; about a `baseline` backlog none has."""
_UNTRIED: Final = (
    "SELECT d.id, d.notifier, d.due_at, e.app, r.first_seen_at FROM deliveries d"
    " JOIN events e ON e.id = d.event JOIN requests r ON r.key = e.request"
    " WHERE d.state = 'pending' AND d.attempts = 0 AND d.attempt_open = 0"
    " AND e.type = 'run.input_requested'"
    f" AND e.request IN (SELECT key {_PENDING}) ORDER BY d.id"
)
_RESCHEDULE: Final = "UPDATE deliveries SET due_at = ?, next_attempt_at = ? WHERE id = ?"


def backfill_new_notifiers(
    tx: Transaction, audiences: Sequence[tuple[App, Sequence[Route]]]
) -> dict[str, int]:
    """Announces pending requests to the notifiers without a delivery of them; returns how many, by notifier.

    A request that was announced to no notifier, because it is part of a `baseline` backlog, stays so.
    `after` counts from when a request was first seen. Many make a digest once the first poll has ended.
    """
    apps = {"apps": Listed([app.name for app, _ in audiences])}
    heard: dict[int, set[str]] = {}
    for key, notifier in tx.execute(_HEARD, apps):
        heard.setdefault(key, set()).add(notifier)
    pending: dict[str, list[Row]] = {}
    for row in tx.execute(_REQUESTS, apps):
        if row["key"] in heard:
            pending.setdefault(row["app"], []).append(row)
    events = [
        NewEvent(
            "run.input_requested",
            app,
            [replace(route, after=max(row["first_seen_at"] + route.after - tx.now, 0.0))],
            thread_key=str(row["key"]),
            request=row["key"],
        )
        for app, routes in audiences
        for route in routes
        for row in pending.get(app.name, ())
        if route.notifier not in heard[row["key"]]
    ]
    enqueue(tx, events, hold=True)
    return dict(Counter(event.routes[0].notifier for event in events))


def reschedule_announcements(tx: Transaction, audiences: Sequence[tuple[App, Sequence[Route]]]) -> None:
    """Moves announcements to when the `after` of now has passed since their requests were first seen.

    What is due already stays, unless it is to wait longer.
    """
    after = {(app.name, route.notifier): route.after for app, routes in audiences for route in routes}
    moved: list[tuple[float, float, int]] = []
    for row in tx.execute(_UNTRIED, {"apps": Listed([app.name for app, _ in audiences])}):
        wait = after.get((row["app"], row["notifier"]))
        if wait is None:
            continue
        due_at = max(row["first_seen_at"] + wait, tx.now)
        if due_at != row["due_at"] and max(due_at, row["due_at"]) > tx.now:
            moved.append((due_at, due_at, row["id"]))
    if moved:
        tx.execute_many(_RESCHEDULE, moved)
