"""What the command line shows of the database. Only reads."""

import sqlite3

from watcher.models import DeliveryRecord, DeliveryState, PendingRequest
from watcher.store.telling import RECORD_COLUMNS, to_record


def pending_requests(connection: sqlite3.Connection) -> list[PendingRequest]:
    """Returns the requests that wait, the longest waiting first."""
    rows = connection.execute(
        "SELECT r.*, (SELECT group_concat(notifier, char(10)) FROM"
        " (SELECT d.notifier FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE e.request = r.key AND d.state = 'sent'"
        " UNION SELECT d.notifier FROM digest_members m JOIN deliveries d ON d.event = m.digest"
        " WHERE m.request = r.key AND d.state = 'sent' ORDER BY 1)) AS told"
        " FROM requests r WHERE r.resolved_at IS NULL ORDER BY r.first_seen_at, r.key"
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


def deliveries(connection: sqlite3.Connection, state: DeliveryState | None = None) -> list[DeliveryRecord]:
    """Returns the deliveries, or those in one state, the oldest first."""
    rows = connection.execute(
        f"{RECORD_COLUMNS} WHERE ? IS NULL OR d.state = ? ORDER BY d.id", (state, state)
    )
    return [to_record(row) for row in rows]
