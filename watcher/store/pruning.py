"""Pruning: what ended long ago is deleted; what is pending, and its deliveries, stays."""

from typing import Final

from watcher.store.sql import Transaction

# OFFSET keeps PostgreSQL from making joins, which would read all there is.
_DELIVERIES: Final = (
    # `watcher retry` may put one back at the same time.
    "DELETE FROM deliveries WHERE state <> 'pending' AND id IN (SELECT d.id FROM deliveries d"
    " JOIN events e ON e.id = d.event LEFT JOIN requests r ON r.key = e.request WHERE d.finished_at < :before"
    " AND (r.key IS NULL OR r.resolved_at < :before) AND NOT EXISTS (SELECT 1 FROM digest_members m"
    " WHERE m.digest_id = e.digest_id"
    " AND coalesce((SELECT w.resolved_at FROM requests w WHERE w.key = m.request), :before) >= :before"
    " LIMIT 1 OFFSET 0)"
    " AND NOT EXISTS (SELECT 1 FROM incidents i WHERE i.announced_event = d.thread_key LIMIT 1 OFFSET 0)"
    " LIMIT :limit) RETURNING id"
)
_UNUSED: Final = (
    "e.at < :before AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = e.id LIMIT 1 OFFSET 0)"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.thread_key = e.id LIMIT 1 OFFSET 0)"
)
"""Tells an old event of which, or of whose digest, no delivery is left."""
_MEMBERS: Final = f"DELETE FROM digest_members WHERE digest_id IN (SELECT e.id FROM events e WHERE {_UNUSED})"
_EVENTS: Final = f"DELETE FROM events AS e WHERE {_UNUSED}"
_REQUESTS: Final = (
    "DELETE FROM requests WHERE key IN (SELECT key FROM requests r WHERE r.resolved_at < :before"
    " AND NOT EXISTS (SELECT 1 FROM events e WHERE e.request = r.key LIMIT 1 OFFSET 0)"
    " AND NOT EXISTS (SELECT 1 FROM digest_members m WHERE m.request = r.key LIMIT 1 OFFSET 0) LIMIT :limit)"
    " RETURNING key"
)
_REMEMBER_KEY: Final = (
    "INSERT INTO counters (name, value) VALUES ('request', ?) ON CONFLICT (name)"
    " DO UPDATE SET value = excluded.value WHERE excluded.value > counters.value"
)


def prune(tx: Transaction, before: float, limit: int) -> int:
    """Deletes at most `limit` finished deliveries, and requests, that ended before a time; returns how many.

    An incident that lasts keeps its deliveries. The key of a request is never given to another one.
    """
    parameters = {"before": before, "limit": limit}
    deleted = len(tx.execute(_DELIVERIES, parameters))
    tx.execute(_MEMBERS, parameters)
    tx.execute(_EVENTS, parameters)
    requests = tx.execute(_REQUESTS, parameters)
    if requests:
        tx.execute(_REMEMBER_KEY, (max(row["key"] for row in requests),))
    return deleted + len(requests)
