"""What the command line and the HTTP endpoints show of the database. Only reads.

What is asked of every app or notifier is one query for all, because there may be a thousand.
"""

import json
from collections.abc import Collection
from typing import Final

from watcher.models import DeliveryRecord, DeliveryState, Failure, PendingRequest
from watcher.store.connection import Reader, Row
from watcher.store.enqueue import RECORD_COLUMNS, TO_COME, to_record
from watcher.store.results import AppStanding, NotifierStanding, RecentResolution

_PARAMS_SHOWN: Final = 1 << 14


def pending_requests(
    reader: Reader, apps: Collection[str], *, limit: int = -1, details: bool = False
) -> list[PendingRequest]:
    """Returns the requests of these apps that wait, or the first `limit`, the longest waiting first.

    Of an app that is no longer watched nobody knows what became of its requests. Only with `details` is there
    who asks, and with which parameters; parameters of more than 16 Ki characters are only counted.
    """
    rows = reader.execute(
        "SELECT r.app, r.run_id, r.request_id, r.type, r.prompt, r.first_seen_at, r.link,"
        " iif(:details, r.user_id, NULL) AS user_id,"
        " iif(:details, r.editable_params, '[]') AS editable_params,"
        " iif(NOT :details, 'null', iif(length(r.params) <= :most, r.params,"
        " json_quote('(' || length(r.params) || ' characters)'))) AS params,"
        " (SELECT group_concat(notifier, char(10)) FROM"
        " (SELECT d.notifier FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE e.request = r.key AND d.state = 'sent'"
        " UNION SELECT d.notifier FROM digest_members m JOIN deliveries d ON d.event = m.digest"
        " WHERE m.request = r.key AND d.state = 'sent' ORDER BY 1)) AS told"
        " FROM requests r WHERE r.resolved_at IS NULL AND r.app IN (SELECT value FROM json_each(:apps))"
        " ORDER BY r.first_seen_at, r.key LIMIT :limit",
        {"apps": json.dumps(list(apps)), "limit": limit, "details": details, "most": _PARAMS_SHOWN},
    )
    return [
        PendingRequest(
            app=row["app"],
            run_id=row["run_id"],
            request_id=row["request_id"],
            type=row["type"],
            prompt=row["prompt"],
            first_seen_at=row["first_seen_at"],
            link=row["link"],
            told=tuple(row["told"].split("\n")) if row["told"] else (),
            user_id=row["user_id"],
            params=json.loads(row["params"]),
            editable_params=tuple(json.loads(row["editable_params"])),
        )
        for row in rows
    ]


def deliveries(
    reader: Reader,
    state: DeliveryState | None = None,
    *,
    now: float,
    notifier: str | None = None,
    newest: int = -1,
) -> list[DeliveryRecord]:
    """Returns the deliveries, or those in one state or to one notifier, or the newest of them.

    The oldest comes first. Reminders are among them once their time has come.
    """
    rows = reader.execute(
        f"{RECORD_COLUMNS} WHERE NOT ({TO_COME}) AND (? IS NULL OR d.state = ?)"
        " AND (? IS NULL OR d.notifier = ?) ORDER BY d.id DESC LIMIT ?",
        (now, state, state, notifier, notifier, newest),
    )
    return [to_record(row) for row in rows][::-1]


def apps(reader: Reader) -> dict[str, AppStanding]:
    """Returns by name how each app is of which anything is recorded."""
    waiting = {
        row["app"]: (row["pending"], row["oldest"])
        for row in reader.execute(
            "SELECT app, count(*) AS pending, min(first_seen_at) AS oldest FROM requests"
            " WHERE resolved_at IS NULL GROUP BY app"
        )
    }
    known = {row["name"]: row for row in reader.execute("SELECT * FROM apps")}
    return {name: _standing(known.get(name), *waiting.get(name, (0, None))) for name in {*known, *waiting}}


def notifiers(reader: Reader, apps: Collection[str], *, now: float) -> dict[str, NotifierStanding]:
    """Returns by name how each notifier is that has something undelivered or dead, or is paused.

    What is kept for apps that are not among these, which nobody watches now, is not undelivered.
    """
    undelivered = {
        row["notifier"]: row
        for row in reader.execute(  # with min(), SQLite takes the other columns from the same row
            "SELECT d.notifier, count(*) AS number, min(d.due_at) AS oldest, d.last_error FROM deliveries d"
            " JOIN events e ON e.id = d.event WHERE d.state = 'pending' AND d.due_at <= ?"
            " AND (e.app = '' OR e.app IN (SELECT value FROM json_each(?))) GROUP BY d.notifier",
            (now, json.dumps(list(apps))),
        )
    }
    dead = {
        name: (number, error)
        for name, number, _, error in reader.execute(  # and with max() as well
            "SELECT notifier, count(*), max(id), last_error FROM deliveries WHERE state = 'dead'"
            " GROUP BY notifier"
        )
    }
    paused = {
        row["name"]: row["paused_until"]
        for row in reader.execute("SELECT name, paused_until FROM notifiers WHERE paused_until > ?", (now,))
    }
    found = {}
    for name in {*undelivered, *dead, *paused}:
        number, oldest, error = 0, None, None
        if name in undelivered:
            _, number, oldest, error = undelivered[name]
        found[name] = NotifierStanding(number, oldest, error, *dead.get(name, (0, None)), paused.get(name))
    return found


def ended_requests(reader: Reader, *, limit: int) -> list[RecentResolution]:
    """Returns the requests that ended last, the latest first."""
    rows = reader.execute(
        "SELECT app, run_id, type, prompt, outcome, first_seen_at, resolved_at FROM requests"
        " WHERE resolved_at IS NOT NULL ORDER BY resolved_at DESC, key DESC LIMIT ?",
        (limit,),
    )
    return [RecentResolution(*row) for row in rows]


def _standing(row: Row | None, pending: int, oldest: float | None) -> AppStanding:
    failure = None
    if row is not None and row["failing_since"] is not None:
        failure = Failure(**json.loads(row["failure"]), since=row["failing_since"], pending_known=pending)
    worked = row is not None and row["first_success_at"] is not None
    return AppStanding(worked, failure, pending, oldest, row["last_success_at"] if row is not None else None)
