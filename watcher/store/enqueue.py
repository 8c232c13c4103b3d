"""How the outbox is filled and emptied again: events with their deliveries, and those that became stale.

Deliveries of one `thread_key` are about the same thing: a request (its key), a digest or an incident (the id
of the event that announced it). A notifier gets them one after the other.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from watcher.models import App, DeliveryRecord, EventType, Json, Route
from watcher.store.sql import Listed, Reader, Row, Transaction

PLANNED: Final = (
    "(e.type = 'run.input_reminder' AND d.state = 'pending' AND d.attempts = 0 AND d.due_at > :now)"
)
"""Tells a reminder whose time has not come: it is no delivery yet."""
RECORDS: Final = (
    "SELECT d.id, d.event, e.type, d.notifier, d.state, d.attempts,"
    " CASE WHEN d.state = 'pending' THEN d.next_attempt_at END AS next_attempt_at, d.last_error,"
    " nullif(e.app, '') AS app, r.run_id, r.request_id, d.due_at, d.finished_at"
    " FROM deliveries d JOIN events e ON e.id = d.event LEFT JOIN requests r ON r.key = e.request"
)
"""Deliveries, with the columns in the order of the fields of `DeliveryRecord`."""

REQUESTS, REMINDERS, OPERATIONS = 0, 1, 2
"""What is sent first; the end of a request counts with requests."""
GROUP_SECONDS: Final = 10.0
"""How long the alerts about apps wait for others that can be sent with them."""

_INSERT_EVENT: Final = (
    "INSERT INTO events (id, type, at, app, base_url, request, digest_id, age, detail)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_DELIVERY: Final = (
    "INSERT INTO deliveries (event, notifier, for_people, thread_key, app, priority, due_at, next_attempt_at,"
    " held) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_THREADS: Final = (
    "SELECT d.id, d.thread_key, d.notifier, d.for_people, d.state, d.attempts, d.due_at, d.attempt_open,"
    " d.possibly_delivered, e.type FROM deliveries d JOIN events e ON e.id = d.event"
    " WHERE d.thread_key IN (SELECT value FROM json_each(?))"
    " ORDER BY d.id + 0"  # else PostgreSQL may read all by the index that has this order
)
_RECORDS_BY_ID: Final = f"{RECORDS} WHERE d.id IN (SELECT value FROM json_each(?)) ORDER BY d.id"
_PLANNED_BY_ID: Final = (
    "SELECT d.id, d.event FROM deliveries d JOIN events e ON e.id = d.event"
    f" WHERE d.id IN (SELECT value FROM json_each(:ids)) AND {PLANNED}"
)
_FORGET_DELIVERIES: Final = "DELETE FROM deliveries WHERE id IN (SELECT value FROM json_each(?))"
_FORGET_EVENTS: Final = "DELETE FROM events WHERE id IN (SELECT value FROM json_each(?))"
_SUPERSEDE: Final = (
    "UPDATE deliveries SET state = 'superseded', held = 0, finished_at = ?"
    " WHERE id IN (SELECT value FROM json_each(?))"
)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to record, and the notifiers that get it.

    A digest's events carry its id, a reminder's the age that it reminds at; `detail` is JSON. `id` is given
    where the event begins a thread, `at` where it does not happen now.
    """

    type: EventType
    app: App | None
    routes: Sequence[Route]
    thread_key: str
    id: str | None = None
    at: float | None = None
    request: int | None = None
    digest_id: str | None = None
    age: float | None = None
    detail: Json = None


def enqueue(tx: Transaction, events: Sequence[NewEvent], *, hold: bool = False) -> frozenset[str]:
    """Records events, each with a delivery for each of its routes; an event without routes is left out.

    With `hold` deliveries that may go into a digest wait to be released. Returns the notifiers of the others.
    """
    event_rows: list[tuple[object, ...]] = []
    delivery_rows: list[tuple[object, ...]] = []
    released: set[str] = set()
    for event in events:
        if not event.routes:
            continue
        event_id, at = event.id or tx.new_event_id(tx.now), tx.now if event.at is None else event.at
        app = (event.app.name, event.app.base_url) if event.app else ("", "")
        subject = (event.request, event.digest_id, event.age, json.dumps(event.detail or {}))
        event_rows.append((event_id, event.type, at, *app, *subject))
        for route in event.routes:
            due_at, held = at + route.after, hold and route.digests
            to_whom = (event_id, route.notifier, int(route.for_people), event.thread_key)
            grouped = route.grouped and event.type in {"watcher.app_failing", "watcher.app_recovered"}
            first_attempt_at = due_at + GROUP_SECONDS if grouped else due_at
            place = (app[0], _priority(event.type))
            delivery_rows.append((*to_whom, *place, due_at, first_attempt_at, int(held)))
            if not held:
                released.add(route.notifier)
    if event_rows:
        tx.execute_many(_INSERT_EVENT, event_rows)
        tx.execute_many(_INSERT_DELIVERY, delivery_rows)
    return frozenset(released)


def _priority(kind: EventType) -> int:
    if kind == "run.input_reminder":
        return REMINDERS
    return REQUESTS if kind in {"run.input_requested", "run.input_resolved"} else OPERATIONS


def resolution_recipients(
    tx: Transaction, thread_keys: Sequence[str], routes: Sequence[Route]
) -> tuple[dict[str, list[Route]], list[DeliveryRecord]]:
    """Returns by thread the routes that get its resolution, and the deliveries that it makes stale.

    A notifier gets it if a message, or only a reminder, was accepted, may have been, or is being sent. A
    webhook gets every resolution, unless the request ended before its turn came. Reminders are stale.
    """
    wants = {route.notifier: replace(route, after=0.0) for route in routes if route.resolved}
    told: dict[str, list[Route]] = {}
    stale: list[int] = []
    for (thread_key, notifier), deliveries in load_threads(tx, thread_keys).items():
        opening = deliveries[0]
        # What was tried had its turn, even if the clock was set back since.
        in_turn = opening["attempts"] > 0 or opening["due_at"] <= tx.now
        machine_in_turn = bool(in_turn and not opening["for_people"])
        reached = any(was_reached(delivery, tx.claimed_ids) for delivery in deliveries)
        if notifier in wants and (reached or machine_in_turn):
            told.setdefault(thread_key, []).append(wants[notifier])
        stale += [
            delivery["id"]
            for delivery in unfinished(deliveries, tx.claimed_ids)
            if not machine_in_turn or (delivery["due_at"] > tx.now and delivery["attempts"] == 0)
        ]
    return told, mark_superseded(tx, stale)


def load_threads(tx: Transaction, thread_keys: Collection[str]) -> dict[tuple[str, str], list[Row]]:
    """Returns the deliveries of threads by thread and notifier, the oldest first."""
    threads: dict[tuple[str, str], list[Row]] = {}
    for row in tx.execute(_THREADS, (Listed(thread_keys),)):
        threads.setdefault((row["thread_key"], row["notifier"]), []).append(row)
    return threads


def was_reached(delivery: Row, claimed_ids: Collection[int]) -> bool:
    """Returns whether a delivery was accepted, may have been, or is being sent."""
    doubt = delivery["attempt_open"] or delivery["possibly_delivered"]
    return bool(delivery["state"] == "sent" or doubt or delivery["id"] in claimed_ids)


def unfinished(deliveries: Sequence[Row], claimed_ids: Collection[int]) -> list[Row]:
    """Returns the deliveries that are still to be sent and are not being sent."""
    return [each for each in deliveries if each["state"] == "pending" and each["id"] not in claimed_ids]


def mark_superseded(tx: Transaction, ids: Collection[int]) -> list[DeliveryRecord]:
    """Marks deliveries as superseded and returns them; reminders that are only planned are deleted."""
    if not ids:
        return []
    planned = {
        row["id"]: row["event"] for row in tx.execute(_PLANNED_BY_ID, {"now": tx.now, "ids": Listed(ids)})
    }
    if planned:
        tx.execute(_FORGET_DELIVERIES, (Listed(planned.keys()),))
        tx.execute(_FORGET_EVENTS, (Listed(planned.values()),))
    stale = set(ids) - planned.keys()
    if not stale:
        return []
    tx.execute(_SUPERSEDE, (tx.now, Listed(stale)))
    return records(tx, stale)


def records(reader: Reader, ids: Collection[int]) -> list[DeliveryRecord]:
    """Returns deliveries as a list shows them, the oldest first."""
    return [DeliveryRecord(*row) for row in reader.execute(_RECORDS_BY_ID, (Listed(ids),))]
