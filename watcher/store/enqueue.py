"""How the outbox is filled and emptied again: events with their deliveries, and those that became stale."""

import json
import sqlite3
from collections.abc import Callable, Collection, Sequence
from typing import Final

from watcher.models import App, DeliveryRecord, EventType, Json, Route
from watcher.store.connection import Row

NewId = Callable[[float], str]

RECORD_COLUMNS: Final = (
    "SELECT d.id, d.event, e.type, d.notifier, d.state, d.attempts, d.next_attempt_at, d.last_error,"
    " nullif(e.app, '') AS app, r.run_id, r.request_id, d.due_at, d.finished_at"
    " FROM deliveries d JOIN events e ON e.id = d.event LEFT JOIN requests r ON r.key = e.request"
)
TO_COME: Final = "e.type = 'run.input_reminder' AND d.state = 'pending' AND d.attempts = 0 AND d.due_at > ?"
"""Tells, of a time, a reminder that is only planned: it is no delivery yet."""


def enqueue(
    connection: sqlite3.Connection,
    kind: EventType,
    routes: Sequence[Route],
    *,
    app: App | None,
    now: float,
    event: str,
    key: int | None = None,
    subject: str | None = None,
    detail: Json = None,
    hold: bool = False,
) -> None:
    """Records an event of this id, and a delivery of it for each route; without any, nothing.

    The `subject` is what deliveries are about, `request:KEY` by default: of one subject a notifier gets one
    after the other. With `hold` those that go into digests wait to be released.
    """
    if not routes:
        return
    connection.execute(
        "INSERT INTO events (id, type, at, app, base_url, request, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            event,
            kind,
            now,
            app.name if app else "",
            app.base_url if app else "",
            key,
            json.dumps(detail or {}),
        ),
    )
    connection.executemany(
        "INSERT INTO deliveries (event, notifier, for_people, subject, due_at, next_attempt_at, held)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                event,
                route.notifier,
                route.for_people,
                subject or f"request:{key}",
                now + route.after,
                now + route.after,
                hold and route.digests,
            )
            for route in routes
        ],
    )


def resolution_recipients(
    connection: sqlite3.Connection,
    subject: str,
    routes: Sequence[Route],
    *,
    in_flight: Collection[int],
    now: float,
) -> tuple[list[Route], list[DeliveryRecord]]:
    """Returns who is to be told how a subject ended, and drops what others need not be told any more.

    Who was told, if only by a reminder, or may have been, or is being told right now, is to hear the end too.
    A machine hears everything, but nothing of what ended before its turn came, and nobody is reminded of what
    is over.
    """
    wants = {route.notifier: route for route in routes}
    openings = connection.execute(
        "SELECT min(id), notifier, state, attempts, due_at, for_people,"
        " sum(state = 'sent' OR doubtful OR id IN (SELECT value FROM json_each(?))) AS reached"
        " FROM deliveries WHERE subject = ? GROUP BY notifier",
        (json.dumps(list(in_flight)), subject),
    ).fetchall()
    told: list[Route] = []
    stale: list[DeliveryRecord] = []
    for opening in openings:
        reached = bool(opening["reached"])
        # What was tried had its turn, even if the clock was set back since.
        in_turn = opening["state"] != "pending" or opening["attempts"] > 0 or opening["due_at"] <= now
        route = wants.get(opening["notifier"])
        if route is not None and route.resolved and (reached or (not opening["for_people"] and in_turn)):
            told.append(Route(route.notifier, route.for_people))
        due_after = now if in_turn and not opening["for_people"] else None
        stale += supersede(
            connection, subject, opening["notifier"], in_flight=in_flight, due_after=due_after, now=now
        )
    return told, stale


def supersede(
    connection: sqlite3.Connection,
    subject: str,
    notifier: str,
    *,
    in_flight: Collection[int],
    now: float,
    due_after: float | None = None,
) -> list[DeliveryRecord]:
    """Ends the unfinished deliveries of a subject to a notifier that are not under way, and returns them.

    With `due_after` only those whose turn comes after that time, and never came.
    """
    rows = connection.execute(
        "SELECT id FROM deliveries WHERE subject = ? AND notifier = ? AND state = 'pending'"
        " AND (? IS NULL OR (due_at > ? AND attempts = 0)) ORDER BY id",
        (subject, notifier, due_after, due_after),
    ).fetchall()
    return mark_superseded(connection, [row["id"] for row in rows if row["id"] not in in_flight], now=now)


def mark_superseded(
    connection: sqlite3.Connection, numbers: Sequence[int], *, now: float
) -> list[DeliveryRecord]:
    """Marks deliveries as superseded and returns them; of reminders that are only planned nothing is left."""
    superseded = []
    for number in numbers:
        row = connection.execute(
            f"SELECT d.event, {TO_COME} AS to_come"  # noqa: S608 - the literal above
            " FROM deliveries d JOIN events e ON e.id = d.event WHERE d.id = ?",
            (now, number),
        ).fetchone()
        if row["to_come"]:
            connection.execute("DELETE FROM deliveries WHERE id = ?", (number,))
            connection.execute("DELETE FROM events WHERE id = ?", (row["event"],))
            continue
        connection.execute(
            "UPDATE deliveries SET state = 'superseded', held = 0, finished_at = ? WHERE id = ?",
            (now, number),
        )
        superseded.append(record(connection, number))
    return superseded


def immediate(routes: Sequence[Route]) -> list[Route]:
    """What is configured for requests does not hold for other news: everybody hears all of that, now."""
    return [Route(route.notifier, route.for_people) for route in routes]


def record(connection: sqlite3.Connection, number: int) -> DeliveryRecord:
    """Returns one delivery as a list shows it."""
    row = connection.execute(f"{RECORD_COLUMNS} WHERE d.id = ?", (number,)).fetchone()
    return to_record(row)


def to_record(row: Row) -> DeliveryRecord:
    """Returns the delivery in a row of `RECORD_COLUMNS`."""
    return DeliveryRecord(
        id=row["id"],
        event_id=row["event"],
        type=row["type"],
        notifier=row["notifier"],
        state=row["state"],
        attempts=row["attempts"],
        next_attempt_at=row["next_attempt_at"] if row["state"] == "pending" else None,
        last_error=row["last_error"],
        app=row["app"],
        run_id=row["run_id"],
        request_id=row["request_id"],
        due_at=row["due_at"],
        finished_at=row["finished_at"],
    )
