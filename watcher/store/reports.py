"""What the command line shows of the database. Only reads."""

import json
import sqlite3
from collections.abc import Collection

from watcher.models import DeliveryRecord, DeliveryState, Failure, PendingRequest
from watcher.store.telling import RECORD_COLUMNS, to_record


def pending_requests(connection: sqlite3.Connection, apps: Collection[str]) -> list[PendingRequest]:
    """Returns the requests of these apps that wait, the longest waiting first.

    Of an app that is no longer watched nobody knows what became of its requests.
    """
    rows = connection.execute(
        "SELECT r.*, (SELECT group_concat(notifier, char(10)) FROM"
        " (SELECT d.notifier FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE e.request = r.key AND d.state = 'sent'"
        " UNION SELECT d.notifier FROM digest_members m JOIN deliveries d ON d.event = m.digest"
        " WHERE m.request = r.key AND d.state = 'sent' ORDER BY 1)) AS told"
        " FROM requests r WHERE r.resolved_at IS NULL AND r.app IN (SELECT value FROM json_each(?))"
        " ORDER BY r.first_seen_at, r.key",
        (json.dumps(list(apps)),),
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
        )
        for row in rows
    ]


def failing_apps(connection: sqlite3.Connection, apps: Collection[str]) -> dict[str, Failure]:
    """Returns why each of these apps cannot be polled, where that is so."""
    rows = connection.execute(
        "SELECT name, failing_since, failure, (SELECT count(*) FROM requests r WHERE r.app = name"
        " AND r.resolved_at IS NULL) AS waiting FROM apps WHERE failing_since IS NOT NULL"
        " AND name IN (SELECT value FROM json_each(?)) ORDER BY name",
        (json.dumps(list(apps)),),
    )
    return {
        row["name"]: Failure(
            **json.loads(row["failure"]), since=row["failing_since"], pending_known=row["waiting"]
        )
        for row in rows
    }


def deliveries(connection: sqlite3.Connection, state: DeliveryState | None = None) -> list[DeliveryRecord]:
    """Returns the deliveries, or those in one state, the oldest first."""
    rows = connection.execute(
        f"{RECORD_COLUMNS} WHERE ? IS NULL OR d.state = ? ORDER BY d.id", (state, state)
    )
    return [to_record(row) for row in rows]
