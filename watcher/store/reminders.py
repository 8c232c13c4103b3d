"""Reminders: for each request or digest that a notifier got, the next reminder waits in the outbox.

Ages count from when a request was first seen. At most one reminder of a thread waits for a notifier at a
time; the one after it is planned when it was sent, and none for what is over.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from watcher.models import App, DeliveryRecord, Route
from watcher.store.enqueue import NewEvent, enqueue, mark_superseded
from watcher.store.sql import Listed, Row, Transaction

CATCH_UP: Final = 30.0
"""A reminder that is due for longer than this is left out if a later message has just been sent."""

AgesOf = Callable[[str, str], Sequence[float]]
"""Returns the ages, ascending, at which a notifier (the first name) reminds of an app's requests."""

_TELLING: Final = "('run.input_requested', 'run.input_reminder')"
_PENDING: Final = "SELECT key FROM requests WHERE resolved_at IS NULL"
_TOLD: Final = (
    "SELECT d.id, d.notifier, d.for_people, d.thread_key, e.app, e.base_url, e.request, e.digest_id,"
    " coalesce((SELECT r.first_seen_at FROM requests r WHERE r.key = e.request AND r.resolved_at IS NULL),"
    " (SELECT min((SELECT r.first_seen_at FROM requests r WHERE r.key = m.request AND r.resolved_at IS NULL))"
    " FROM digest_members m WHERE m.digest_id = e.digest_id)) AS pending_since,"
    " (SELECT max(x.age) FROM deliveries o JOIN events x ON x.id = o.event WHERE o.thread_key = d.thread_key"
    " AND o.notifier = d.notifier AND o.state <> 'superseded') AS last_age"
    " FROM deliveries d JOIN events e ON e.id = d.event"
    " WHERE d.id IN (SELECT value FROM json_each(?))"
    f" AND e.type IN {_TELLING}"
    " AND NOT EXISTS (SELECT 1 FROM deliveries o JOIN events x ON x.id = o.event"
    " WHERE o.thread_key = d.thread_key AND o.notifier = d.notifier AND coalesce(o.state, '') = 'pending'"
    " AND x.type = 'run.input_reminder') ORDER BY d.id"
)
"""Deliveries that no reminder follows yet; `pending_since` is null where nothing is pending any more."""
_PLANNED: Final = (
    "SELECT d.id, d.notifier, e.app, e.age FROM deliveries d JOIN events e ON e.id = d.event"
    " WHERE d.state = 'pending' AND e.type = 'run.input_reminder'"
)
_SENT: Final = (
    "SELECT id FROM deliveries WHERE state = 'sent' AND event IN"
    f" (SELECT id FROM events WHERE request IN ({_PENDING})"
    f" UNION SELECT id FROM events WHERE digest_id IN (SELECT digest_id FROM digest_members"
    f" WHERE request IN ({_PENDING})))"
)
"""The deliveries that told notifiers of what is pending."""


def plan_next(tx: Transaction, deliveries: Collection[int], ages_of: AgesOf) -> None:
    """Puts the reminders that follow deliveries into the outbox, where one is due and something is pending.

    An age that has a reminder already, sent or not, is over. What is long past is left out, so that a
    notifier that was away for hours is not flooded.
    """
    events: dict[tuple[str, str], NewEvent] = {}
    for row in tx.execute(_TOLD, (Listed(deliveries),)):
        ages = ages_of(row["notifier"], row["app"])
        since, last_age = row["pending_since"], row["last_age"] or 0.0
        if since is None:
            continue
        for number, age in enumerate(ages, start=1):
            if age > last_age and since + age > tx.now - CATCH_UP:
                detail = {"number": number, "of": len(ages)}
                event = _reminder(row, at=since + age, age=age, detail=detail)
                events[row["thread_key"], row["notifier"]] = event
                break
    enqueue(tx, list(events.values()))


def replan_reminders(
    tx: Transaction, ages: Mapping[str, Sequence[float]], apps: Mapping[str, Collection[str]]
) -> list[DeliveryRecord]:
    """Brings the reminders in the outbox in line with a configuration that may have changed.

    `ages` are those of each notifier, `apps` the notifiers of each app. Returns what is not wanted any more.
    """

    def ages_of(notifier: str, app: str) -> Sequence[float]:
        return ages.get(notifier, ()) if notifier in apps.get(app, ()) else ()

    planned = tx.execute(_PLANNED)
    unwanted = [row["id"] for row in planned if row["age"] not in ages_of(row["notifier"], row["app"])]
    dropped = mark_superseded(tx, unwanted)
    plan_next(tx, [row["id"] for row in tx.execute(_SENT)], ages_of)
    return dropped


def _reminder(row: Row, *, at: float, age: float, detail: dict[str, int]) -> NewEvent:
    return NewEvent(
        "run.input_reminder",
        App(row["app"], row["base_url"]),
        [Route(row["notifier"], bool(row["for_people"]))],
        thread_key=row["thread_key"],
        at=at,  # an event happens when its time comes
        request=row["request"],
        digest_id=row["digest_id"],
        age=age,
        detail=detail,
    )
