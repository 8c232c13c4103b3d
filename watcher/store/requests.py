"""The units of work of polling: requests with their deliveries, and the health of apps."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Final

from watcher.models import App, DeliveryRecord, Failure, NewRequest, PendingKey, ResolvedRequest, Route
from watcher.store import digests
from watcher.store.enqueue import NewId, enqueue, immediate, resolution_recipients
from watcher.store.results import AppState, IncidentChange, RecordResult

ECHO_SECONDS: Final = 5.0
"""A request that was answered can be seen once more, unchanged, while its run resumes. For this long after it
ended that is no new question; whoever still asks then does ask again."""

SUCCESS_SECONDS: Final = 60.0
"""How exactly the last success of an app is remembered: a quiet poll is not worth a write."""

_UNUSED: Final = (
    "NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = e.id OR d.subject = 'digest:' || e.id)"
)
"""Tells an event of which, or of whose digest, no delivery is left."""


_LASTING: Final = (
    "SELECT 'app:' || alert_event FROM apps WHERE alert_event IS NOT NULL"
    " UNION ALL SELECT 'notifier:' || alert_event FROM notifiers WHERE alert_event IS NOT NULL"
)
"""The subjects of failures that were told of and have not passed."""


def load_app(connection: sqlite3.Connection, app: str) -> AppState:
    """Returns what is known of an app."""
    known = connection.execute(
        "SELECT key, run_id, request_id, fingerprint, first_seen_at FROM requests"
        " WHERE app = ? AND resolved_at IS NULL",
        (app,),
    )
    invisible = connection.execute("SELECT run_id, since FROM hidden_runs WHERE app = ?", (app,))
    polled = connection.execute(
        "SELECT 1 FROM apps WHERE name = ? AND first_success_at IS NOT NULL", (app,)
    ).fetchone()
    return AppState(
        known=tuple(PendingKey(*row) for row in known),
        invisible={row["run_id"]: row["since"] for row in invisible},
        first_poll=polled is None,
    )


def record_changes(
    connection: sqlite3.Connection,
    app: App,
    routes: Sequence[Route],
    new: Iterable[NewRequest],
    ended: Iterable[ResolvedRequest],
    *,
    announce: bool,
    in_flight: Collection[int],
    now: float,
    new_id: NewId,
) -> RecordResult:
    """Records requests that are new and requests that have ended, each with the deliveries that tell of it.

    What ended already, or was seen a moment ago, changes nothing. Without `announce` new requests are
    recorded and nobody is told of them. What goes into digests is held until it is released.
    """
    really_ended: list[ResolvedRequest] = []
    superseded: list[DeliveryRecord] = []
    for change in ended:
        marked = connection.execute(
            "UPDATE requests SET resolved_at = ?, outcome = ?, resolved_status = ?"
            " WHERE key = ? AND resolved_at IS NULL",
            (now, change.outcome, change.run_status, change.known.key),
        )
        if marked.rowcount:
            really_ended.append(change)
            key = change.known.key
            told, stale = resolution_recipients(
                connection, f"request:{key}", routes, in_flight=in_flight, now=now
            )
            superseded += stale
            enqueue(connection, "run.input_resolved", told, app=app, key=key, now=now, event=new_id(now))
    superseded += digests.enqueue_digest_update(
        connection,
        [change.known.key for change in really_ended],
        routes,
        in_flight=in_flight,
        now=now,
        new_id=new_id,
    )
    really_new: list[NewRequest] = []
    for sighting in new:
        if _known(connection, app, sighting, now):
            continue
        really_new.append(sighting)
        key = _insert(connection, app, sighting, now)
        if announce:
            event = new_id(now)
            enqueue(
                connection, "run.input_requested", routes, app=app, key=key, now=now, event=event, hold=True
            )
    return RecordResult(tuple(really_new), tuple(really_ended), tuple(superseded))


def record_success(
    connection: sqlite3.Connection,
    app: App,
    routes: Sequence[Route],
    *,
    invisible: frozenset[str],
    in_flight: Collection[int],
    now: float,
    new_id: NewId,
) -> IncidentChange:
    """Records that an app was polled whole, and tells of its recovery if its failing was told of."""
    _replace_invisible(connection, app.name, invisible, now)
    row = connection.execute("SELECT * FROM apps WHERE name = ?", (app.name,)).fetchone()
    fresh = row is not None and abs(now - (row["last_success_at"] or 0.0)) < SUCCESS_SECONDS
    if fresh and row["failing_since"] is None:
        return IncidentChange(None)
    connection.execute(
        "INSERT INTO apps (name, first_success_at, last_success_at) VALUES (?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET"
        " first_success_at = coalesce(first_success_at, excluded.first_success_at),"
        " last_success_at = excluded.last_success_at,"
        " failing_since = NULL, failure = NULL, alert_event = NULL",
        (app.name, now, now),
    )
    if row is None or row["alert_event"] is None:
        return IncidentChange(None)
    failure = _failure(row, pending_known(connection, app.name))
    subject = f"app:{row['alert_event']}"
    told, stale = resolution_recipients(connection, subject, immediate(routes), in_flight=in_flight, now=now)
    enqueue(
        connection,
        "watcher.app_recovered",
        told,
        app=app,
        subject=subject,
        detail={"failure": asdict(failure)},
        now=now,
        event=new_id(now),
    )
    return IncidentChange(failure, tuple(stale))


def record_failure(
    connection: sqlite3.Connection,
    app: App,
    routes: Sequence[Route],
    *,
    status: int | None,
    code: str,
    message: str,
    since: float,
    alert_after: float,
    now: float,
    new_id: NewId,
) -> IncidentChange:
    """Records that an app could not be polled; tells of it once when that has lasted `alert_after` seconds.

    `since` is the last success this process knows of, else its start. For an app that had worked, an
    older beginning that an earlier process recorded stays; for one that never worked time counts anew.
    """
    row = connection.execute("SELECT * FROM apps WHERE name = ?", (app.name,)).fetchone()
    lasts = row is not None and (row["first_success_at"] or row["alert_event"])
    if lasts and row["failing_since"] is not None:
        since = row["failing_since"]
    reason = json.dumps({"status": status, "code": code, "message": message})
    if row is None or row["failing_since"] != since or row["failure"] != reason:
        connection.execute(
            "INSERT INTO apps (name, failing_since, failure) VALUES (?, ?, ?) ON CONFLICT (name)"
            " DO UPDATE SET failing_since = excluded.failing_since, failure = excluded.failure",
            (app.name, since, reason),
        )
    if row is not None and row["alert_event"] is not None:
        return IncidentChange(None)
    if now - since < alert_after:
        return IncidentChange(None, alert_at=since + alert_after)
    failure = Failure(status, code, message, since, pending_known(connection, app.name))
    event = new_id(now)
    connection.execute("UPDATE apps SET alert_event = ? WHERE name = ?", (event, app.name))
    enqueue(
        connection,
        "watcher.app_failing",
        immediate(routes),
        app=app,
        subject=f"app:{event}",
        detail={"failure": asdict(failure)},
        now=now,
        event=event,
    )
    return IncidentChange(failure)


def pending_known(connection: sqlite3.Connection, app: str) -> int:
    """Returns how many requests of an app are known to wait."""
    row = connection.execute(
        "SELECT count(*) FROM requests WHERE app = ? AND resolved_at IS NULL", (app,)
    ).fetchone()
    return int(row[0])


def prune(connection: sqlite3.Connection, before: float, limit: int) -> int:
    """Deletes at most `limit` finished deliveries, and requests, that ended before a time; returns how many.

    What still waits stays, and so does a failure that lasts, and what was told of them.
    """
    finished = connection.execute(
        "DELETE FROM deliveries WHERE id IN (SELECT d.id FROM deliveries d JOIN events e ON e.id = d.event"  # noqa: S608
        " LEFT JOIN requests r ON r.key = e.request WHERE d.finished_at < ?"
        " AND (r.key IS NULL OR r.resolved_at < ?) AND NOT EXISTS (SELECT 1 FROM digest_members m"
        " JOIN requests w ON w.key = m.request WHERE m.digest = json_extract(e.detail, '$.digest')"
        " AND (w.resolved_at IS NULL OR w.resolved_at >= ?))"
        f" AND d.subject NOT IN ({_LASTING}) LIMIT ?)",
        (before, before, before, limit),
    ).rowcount
    connection.execute(
        "DELETE FROM digest_members WHERE digest IN (SELECT e.id FROM events e WHERE e.at < ?"  # noqa: S608
        f" AND {_UNUSED})",
        (before,),
    )
    connection.execute(f"DELETE FROM events AS e WHERE e.at < ? AND {_UNUSED}", (before,))  # noqa: S608
    requests = connection.execute(
        "DELETE FROM requests WHERE key IN (SELECT key FROM requests r WHERE r.resolved_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.request = r.key)"
        " AND NOT EXISTS (SELECT 1 FROM digest_members m WHERE m.request = r.key) LIMIT ?)",
        (before, limit),
    ).rowcount
    return finished + requests


def _known(connection: sqlite3.Connection, app: App, sighting: NewRequest, now: float) -> bool:
    # Two searches, each by an index: many requests may wait in one run.
    row = connection.execute(
        "SELECT 1 FROM requests WHERE app = :app AND run_id = :run AND request_id = :id"
        " AND fingerprint = :content AND resolved_at IS NULL"
        " UNION ALL SELECT 1 FROM requests WHERE app = :app AND run_id = :run AND request_id = :id"
        # a clock that was set back hides nothing
        " AND fingerprint = :content AND resolved_at > :now - :echo AND resolved_at < :now + :echo",
        {
            "app": app.name,
            "run": sighting.run.id,
            "id": sighting.request.id,
            "content": sighting.request.fingerprint,
            "now": now,
            "echo": ECHO_SECONDS,
        },
    ).fetchone()
    return row is not None


def _insert(connection: sqlite3.Connection, app: App, sighting: NewRequest, now: float) -> int:
    run, request = sighting.run, sighting.request
    values = {
        "app": app.name,
        "base_url": app.base_url,
        "run_id": run.id,
        "request_id": request.id,
        "fingerprint": request.fingerprint,
        "type": request.type,
        "prompt": request.prompt,
        "params": json.dumps(request.params),
        "editable_params": json.dumps(request.editable_params),
        "run_status": run.status,
        "started_at": run.started_at,
        "user_id": run.user_id,
        "session_id": run.session_id,
        "run_input": json.dumps(run.input),
        "link": sighting.link,
        "position": json.dumps(sighting.position),
        "first_seen_at": now,
    }
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    cursor = connection.execute(
        f"INSERT INTO requests ({columns}) VALUES ({marks})",  # noqa: S608 - the names are the literals above
        tuple(values.values()),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _replace_invisible(
    connection: sqlite3.Connection, app: str, invisible: frozenset[str], now: float
) -> None:
    before = {row[0] for row in connection.execute("SELECT run_id FROM hidden_runs WHERE app = ?", (app,))}
    connection.executemany(
        "DELETE FROM hidden_runs WHERE app = ? AND run_id = ?",
        [(app, run_id) for run_id in before - invisible],
    )
    connection.executemany(
        "INSERT INTO hidden_runs VALUES (?, ?, ?)", [(app, run_id, now) for run_id in invisible - before]
    )


def _failure(row: sqlite3.Row, known: int) -> Failure:
    return Failure(**json.loads(row["failure"]), since=row["failing_since"], pending_known=known)
