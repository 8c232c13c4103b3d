"""Reminders: of each request, or digest, that a notifier was told of, the next one waits in the outbox.

Ages count from when a request was first seen. At most one reminder of a subject waits for a notifier at a
time; the one after it is put there when it was sent, and none for what is over.
"""

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from watcher.models import App, DeliveryRecord, Route
from watcher.store import digests
from watcher.store.enqueue import NewId, enqueue, mark_superseded

CATCH_UP: Final = 30.0
"""A reminder that is due for longer than this is left out if a later message has just been sent."""

_SUBJECTS: Final = (
    "SELECT d.notifier, d.for_people, d.subject, e.app, e.base_url, e.request,"
    " json_extract(e.detail, '$.digest') AS digest, json_extract(e.detail, '$.age') AS age"
    " FROM deliveries d JOIN events e ON e.id = d.event"
)

_TOLD: Final = (
    "FROM (SELECT 'request:' || key AS subject FROM requests WHERE resolved_at IS NULL"
    " UNION SELECT 'digest:' || m.digest FROM requests r JOIN digest_members m ON m.request = r.key"
    " WHERE r.resolved_at IS NULL) s"
    " JOIN deliveries d ON d.subject = s.subject JOIN events e ON e.id = d.event"
)
"""The deliveries about what waits."""


def plan_next(
    connection: sqlite3.Connection,
    delivery: int,
    ages: Sequence[float],
    *,
    apps: Collection[str] | None = None,
    now: float,
    new_id: NewId,
) -> None:
    """Puts the reminder that follows a delivery into the outbox, if there is one and somebody still waits.

    Nothing is put there twice: an age that has a reminder already, sent or not, is over. `ages` are all those
    at which its notifier reminds, ascending, and `apps` those of which it does (None: all). What is long past
    is left out, so that a notifier that was away for hours is not flooded.
    """
    row = connection.execute(
        f"{_SUBJECTS} WHERE d.id = ? AND e.type IN ('run.input_requested', 'run.input_reminder')", (delivery,)
    ).fetchone()
    if row is None or (apps is not None and row["app"] not in apps):
        return
    since = _waiting_since(connection, row)
    if since is None or _one_waits(connection, row["subject"], row["notifier"]):
        return
    last = _last_age(connection, row["subject"], row["notifier"])
    for number, age in enumerate(ages, start=1):
        if age > last and since + age > now - CATCH_UP:
            detail = {"reminder": {"number": number, "of": len(ages)}, "age": age}
            enqueue(
                connection,
                "run.input_reminder",
                [Route(row["notifier"], bool(row["for_people"]))],
                app=App(row["app"], row["base_url"]),
                key=row["request"],
                subject=row["subject"],
                detail=detail | ({"digest": row["digest"]} if row["digest"] else {}),
                now=since + age,  # an event happens when its time comes
                event=new_id(now),
            )
            return


def replan_reminders(
    connection: sqlite3.Connection,
    ages: Mapping[str, Sequence[float]],
    apps: Mapping[str, Collection[str]],
    *,
    now: float,
    new_id: NewId,
) -> list[DeliveryRecord]:
    """Brings the reminders in the outbox in line with a configuration that may have changed.

    `ages` are those of each notifier, `apps` the notifiers of each app. Returns what is not wanted any more.
    """
    waiting = connection.execute(
        f"{_SUBJECTS.replace('SELECT', 'SELECT d.id,', 1)}"
        " WHERE d.state = 'pending' AND e.type = 'run.input_reminder' AND d.attempts = 0"
    ).fetchall()
    unwanted = [
        row["id"]
        for row in waiting
        if row["age"] not in ages.get(row["notifier"], ()) or row["notifier"] not in apps.get(row["app"], ())
    ]
    dropped = mark_superseded(connection, unwanted, now=now)
    last = connection.execute(
        f"SELECT max(d.id) AS id, d.notifier, e.app {_TOLD} WHERE d.state = 'sent'"
        " AND e.type IN ('run.input_requested', 'run.input_reminder') GROUP BY d.subject, d.notifier"
    ).fetchall()
    for row in last:
        if row["notifier"] in apps.get(row["app"], ()):
            plan_next(connection, row["id"], ages.get(row["notifier"], ()), now=now, new_id=new_id)
    return dropped


def _one_waits(connection: sqlite3.Connection, subject: str, notifier: str) -> bool:
    """Returns whether a reminder of a subject is in the outbox already."""
    row = connection.execute(
        "SELECT 1 FROM deliveries d JOIN events e ON e.id = d.event WHERE d.subject = ? AND d.notifier = ?"
        " AND d.state = 'pending' AND e.type = 'run.input_reminder' LIMIT 1",
        (subject, notifier),
    ).fetchone()
    return row is not None


def _last_age(connection: sqlite3.Connection, subject: str, notifier: str) -> float:
    """Returns the age of the last reminder that there is of a subject, 0 if there is none."""
    row = connection.execute(
        "SELECT max(json_extract(e.detail, '$.age')) FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE d.subject = ? AND d.notifier = ? AND d.state <> 'superseded'",
        (subject, notifier),
    ).fetchone()
    return float(row[0] or 0.0)


def _waiting_since(connection: sqlite3.Connection, row: sqlite3.Row) -> float | None:
    """Returns when what a delivery is about was first seen, None if nothing of it waits any more."""
    if row["digest"]:
        has_pending = digests.has_pending(connection, row["digest"])
        return digests.load(connection, row["digest"]).oldest if has_pending else None
    found = connection.execute(
        "SELECT first_seen_at FROM requests WHERE key = ? AND resolved_at IS NULL", (row["request"],)
    ).fetchone()
    return None if found is None else float(found[0])
