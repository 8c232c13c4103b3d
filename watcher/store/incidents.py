"""How notifiers are: when one accepts nothing for long, the others are told, and again when it is well."""

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import asdict

from watcher.models import DeliveryRecord, NotifierFailure
from watcher.store.enqueue import NewId, enqueue, resolution_recipients
from watcher.store.results import Dead, NotifierPolicy, Result, Retry, Sent


def record_results(
    connection: sqlite3.Connection,
    notifier: str,
    results: Sequence[Result],
    terms: NotifierPolicy,
    *,
    in_flight: Collection[int],
    now: float,
    new_id: NewId,
) -> tuple[NotifierFailure | None, list[DeliveryRecord]]:
    """Records since when and why a notifier accepts nothing, or that it accepts again.

    Returns the failure that has passed, if the others had been told of it, and what of that they need not be
    told any more.
    """
    if any(isinstance(result, Sent) for result in results):
        return _recover(connection, notifier, terms, in_flight=in_flight, now=now, new_id=new_id)
    failed = [result.error for result in results if isinstance(result, Retry | Dead)]
    if failed:
        connection.execute(
            "INSERT INTO notifiers (name, paused_until, failing_since, failure) VALUES (?, 0, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET"
            " failing_since = coalesce(failing_since, excluded.failing_since), failure = excluded.failure",
            (notifier, now, failed[-1]),
        )
    return None, []


def announce_due(
    connection: sqlite3.Connection, notifier: str, terms: NotifierPolicy, *, now: float, new_id: NewId
) -> NotifierFailure | None:
    """Tells the others once when a notifier has accepted nothing for long; returns what it told.

    Something must have been tried in vain for all of that time: a failure of long ago is none of today.
    """
    row = connection.execute(
        "SELECT * FROM notifiers WHERE name = ? AND alert_event IS NULL AND failing_since <= ?",
        (notifier, now - terms.alert_after),
    ).fetchone()
    if row is None:
        return None
    in_vain = connection.execute(
        "SELECT 1 FROM deliveries WHERE notifier = ? AND state = 'pending' AND attempts > 0 AND due_at <= ?"
        " LIMIT 1",
        (notifier, now - terms.alert_after),
    ).fetchone()
    if in_vain is None:
        return None
    failure = _failure(connection, row, now)
    event = new_id(now)
    connection.execute("UPDATE notifiers SET alert_event = ? WHERE name = ?", (event, notifier))
    enqueue(
        connection,
        "watcher.notifier_failing",
        terms.others,
        app=None,
        subject=f"notifier:{event}",
        detail={"notifier_failure": asdict(failure)},
        now=now,
        event=event,
    )
    return failure


def _recover(
    connection: sqlite3.Connection,
    notifier: str,
    terms: NotifierPolicy,
    *,
    in_flight: Collection[int],
    now: float,
    new_id: NewId,
) -> tuple[NotifierFailure | None, list[DeliveryRecord]]:
    row = connection.execute(
        "SELECT * FROM notifiers WHERE name = ? AND failing_since IS NOT NULL", (notifier,)
    ).fetchone()
    if row is None:
        return None, []
    connection.execute(
        "UPDATE notifiers SET failing_since = NULL, failure = NULL, alert_event = NULL WHERE name = ?",
        (notifier,),
    )
    if row["alert_event"] is None:
        return None, []
    failure = _failure(connection, row, now)
    subject = f"notifier:{row['alert_event']}"
    told, stale = resolution_recipients(connection, subject, terms.others, in_flight=in_flight, now=now)
    enqueue(
        connection,
        "watcher.notifier_recovered",
        told,
        app=None,
        subject=subject,
        detail={"notifier_failure": asdict(failure)},
        now=now,
        event=new_id(now),
    )
    return failure, stale


def _failure(connection: sqlite3.Connection, row: sqlite3.Row, now: float) -> NotifierFailure:
    undelivered = connection.execute(
        "SELECT count(*) FROM deliveries WHERE notifier = ? AND state = 'pending' AND due_at <= ?",
        (row["name"], now),
    ).fetchone()
    return NotifierFailure(row["name"], row["failure"], row["failing_since"], undelivered[0])
