"""Dead is not final: what was given up and is still pending is announced when a notifier accepts again.

Only people need that. What a machine did not accept stays dead until `watcher retry`.
"""

from typing import Final

from watcher.store import digests
from watcher.store.results import NotifierPolicy
from watcher.store.sql import Listed, Row, Transaction

_UNKNOWN_REQUESTS: Final = (
    f"SELECT {digests.ANNOUNCED} WHERE d.notifier = :notifier AND d.state = 'dead'"
    " AND e.type = 'run.input_requested'"
    " AND (EXISTS (SELECT 1 FROM requests r WHERE r.key = e.request AND r.resolved_at IS NULL)"
    " OR EXISTS (SELECT 1 FROM digest_members m WHERE m.digest_id = e.digest_id"
    " AND (SELECT r.resolved_at FROM requests r WHERE r.key = m.request) IS NULL))"
    " AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.thread_key = d.thread_key"
    " AND o.notifier = d.notifier AND o.state = 'sent') ORDER BY d.id"
)
"""Announcements that were given up, are still pending in part, and were not replaced by a later message."""
_UNKNOWN_INCIDENTS: Final = (
    "SELECT d.id FROM deliveries d JOIN incidents i ON i.announced_event = d.event"
    " WHERE d.notifier = :notifier AND d.state = 'dead'"
)
_REVIVE: Final = (
    "UPDATE deliveries SET state = 'pending', attempts = 0,"
    # A delivery whose notifier was removed before its time came still has to wait.
    " due_at = CASE WHEN due_at > :now THEN due_at ELSE :now END,"
    " next_attempt_at = CASE WHEN due_at > :now THEN due_at ELSE :now END,"
    " tried_for = 0, last_attempt_at = NULL, finished_at = NULL"
    " WHERE id IN (SELECT value FROM json_each(:ids))"
)
_REMEMBER: Final = (
    "INSERT INTO notifiers (name, paused_until, revived_at, revived) VALUES (:name, 0, :now, :number)"
    " ON CONFLICT (name) DO UPDATE SET revived_at = excluded.revived_at, revived = excluded.revived"
)


def revive_dead(tx: Transaction, notifier: str, policy: NotifierPolicy) -> int:
    """Makes what was given up and is still pending due again, several requests of an app as one digest.

    Returns how many announcements.
    """
    if not policy.for_people:
        return 0
    apps: dict[str, list[Row]] = {}
    for row in tx.execute(_UNKNOWN_REQUESTS, {"notifier": notifier}):
        apps.setdefault(row["app"], []).append(row)
    several: list[list[Row]] = []
    alone: list[int] = []
    for rows in apps.values():
        if policy.digest_above and len(rows) > 1:
            digests.supersede_following(tx, rows)
            several.append(rows)
        else:
            alone += [row["id"] for row in rows]
    if several:
        digests.merge(tx, several)
    incidents = [row["id"] for row in tx.execute(_UNKNOWN_INCIDENTS, {"notifier": notifier})]
    if alone or incidents:
        tx.execute(_REVIVE, {"now": tx.now, "ids": Listed([*alone, *incidents])})
    number = sum(len(rows) for rows in apps.values())
    if number:
        tx.execute(_REMEMBER, {"name": notifier, "now": tx.now, "number": number})
    return number
