"""Digests: many new requests of one app in one message, reminded of together and resolved together.

A digest is an event whose `digest_members` are the requests that it announced. What it says of them is looked
up when it is sent, so that a message that waited never shows as pending what is over.
"""

import json
from collections.abc import Collection, Sequence
from typing import Final

from watcher.models import App, DeliveryRecord, Digest, DigestEntry, Outcome, Route
from watcher.store.enqueue import (
    NewEvent,
    enqueue,
    load_threads,
    mark_superseded,
    unfinished,
    was_reached,
)
from watcher.store.sql import Listed, Row, Transaction

ENTRIES: Final = 12
"""How many requests a digest names."""

ANNOUNCED: Final = (
    "d.id, d.notifier, d.for_people, d.thread_key, d.due_at, d.attempts, d.tried_for,"
    " d.last_attempt_at, d.last_error, e.id AS event, e.app, e.base_url, e.request, e.digest_id"
    " FROM deliveries d JOIN events e ON e.id = d.event"
)
"""The announcements of requests as they are merged; to be put between `SELECT` and `WHERE`."""
_HELD: Final = f"SELECT {ANNOUNCED} WHERE d.held = 1 AND e.app = ?"
_RELEASE: Final = "UPDATE deliveries SET held = 0 WHERE id IN (SELECT value FROM json_each(?))"
_DELETE_DELIVERIES: Final = "DELETE FROM deliveries WHERE id IN (SELECT value FROM json_each(?))"
_DELETE_UNUSED_EVENTS: Final = (
    "DELETE FROM events WHERE request IN (SELECT value FROM json_each(?))"
    " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = events.id)"
)
_DELETE_EVENTS: Final = "DELETE FROM events WHERE id IN (SELECT value FROM json_each(?))"
_MOVE_MEMBERS: Final = (
    "UPDATE digest_members SET digest_id = ? WHERE digest_id IN (SELECT value FROM json_each(?))"
)
_RESUME: Final = (
    "UPDATE deliveries SET due_at = ?, next_attempt_at = ?, attempts = ?, tried_for = ?, last_attempt_at = ?,"
    " last_error = ? WHERE event = ?"
)
_FOLLOWING: Final = (
    "SELECT id FROM deliveries WHERE thread_key IN (SELECT value FROM json_each(:threads))"
    " AND notifier = :notifier AND state IN ('pending', 'dead')"
)
_INSERT_MEMBER: Final = "INSERT INTO digest_members (digest_id, request) VALUES (?, ?)"
_DIGESTS_OF: Final = (
    "SELECT DISTINCT digest_id FROM digest_members WHERE request IN (SELECT value FROM json_each(?))"
)
_MEMBERS: Final = (
    "FROM digest_members m JOIN requests r ON r.key = m.request"
    " WHERE m.digest_id IN (SELECT value FROM json_each(:digests))"
)
_PENDING: Final = (
    # Not a join: PostgreSQL might begin it with all that is pending.
    "SELECT DISTINCT m.digest_id FROM digest_members m"
    " WHERE m.digest_id IN (SELECT value FROM json_each(:digests))"
    " AND (SELECT r.resolved_at FROM requests r WHERE r.key = m.request) IS NULL"
)
_COUNTS: Final = (
    f"SELECT m.digest_id, r.outcome, count(*) AS number {_MEMBERS}"
    " GROUP BY m.digest_id, r.outcome ORDER BY number DESC, r.outcome"
)
_FIRST_ENTRIES: Final = (
    "SELECT * FROM (SELECT r.run_id, r.type, r.prompt, r.first_seen_at, r.link, r.outcome,"
    " r.resolved_at - r.first_seen_at AS waited, r.params, r.key, m.digest_id,"
    " row_number() OVER (PARTITION BY m.digest_id"
    " ORDER BY CASE WHEN r.resolved_at IS NULL THEN 0 ELSE 1 END, r.first_seen_at,"
    f" coalesce(r.started_at, 0), r.key) AS place {_MEMBERS}) AS ranked"
    " WHERE place <= :most ORDER BY place"
)


def release_held(tx: Transaction, app: str, *, above: int) -> frozenset[str]:
    """Releases what was held for the end of a poll of an app; more than `above` (0: never) become a digest.

    Returns the notifiers of what was released.
    """
    rows = tx.execute(_HELD, (app,))
    groups: dict[tuple[str, bool], list[Row]] = {}
    for row in rows:
        # What another process left may be due while what is new has still to wait.
        groups.setdefault((row["notifier"], row["due_at"] <= tx.now), []).append(row)
    merged = [group for group in groups.values() if above and len(group) > above]
    if merged:
        merge(tx, merged)
    if rows:
        tx.execute(_RELEASE, (Listed([row["id"] for row in rows]),))
    return frozenset(row["notifier"] for row in rows)


def merge_backlog(tx: Transaction, rows: Sequence[Row], *, above: int) -> bool:
    """Merges announcements that were not accepted yet, if they are more than `above`; returns whether it did.

    A request joins a digest that waits. The digest keeps the oldest due time and the most attempts.
    """
    only_requests = all(row["digest_id"] is None for row in rows)
    if len(rows) < 2 or (only_requests and len(rows) <= above):  # noqa: PLR2004 - one cannot be merged
        return False
    supersede_following(tx, rows)
    ((digest_id, group),) = merge(tx, [rows]).items()
    # The next attempt too: `watcher once` claims only what was due before it began.
    oldest = min(row["due_at"] for row in group)
    most = max(group, key=lambda row: row["attempts"])
    tried = [most[name] for name in ("attempts", "tried_for", "last_attempt_at", "last_error")]
    tx.execute(_RESUME, (oldest, oldest, *tried, digest_id))
    return True


def enqueue_digest_updates(
    tx: Transaction, app: App, ended: Collection[int], routes: Sequence[Route]
) -> tuple[frozenset[str], list[DeliveryRecord]]:
    """Enqueues updates of digests in which requests ended; returns their notifiers, and what became stale.

    One message that waits to be sent is enough, for it will show what is pending by then.
    """
    ids = [row["digest_id"] for row in tx.execute(_DIGESTS_OF, (Listed(ended),))]
    if not ids:
        return frozenset(), []
    pending = {row["digest_id"] for row in tx.execute(_PENDING, {"digests": Listed(ids)})}
    wants = {route.notifier: Route(route.notifier, route.for_people) for route in routes if route.resolved}
    stale: set[int] = set()
    updates: list[NewEvent] = []
    for (digest_id, notifier), deliveries in load_threads(tx, ids).items():
        left = unfinished(deliveries, tx.claimed_ids)
        if digest_id not in pending:
            stale |= {delivery["id"] for delivery in left}
            left = []
        reached = any(was_reached(delivery, tx.claimed_ids) for delivery in deliveries)
        on_its_way = any(delivery["type"] == "run.input_resolved" for delivery in left)
        if notifier in wants and reached and not on_its_way:
            recipients = [wants[notifier]]
            updates.append(NewEvent("run.input_resolved", app, recipients, digest_id, digest_id=digest_id))
    superseded = mark_superseded(tx, stale)
    return enqueue(tx, updates), superseded


def load_digests(tx: Transaction, ids: Collection[str]) -> dict[str, Digest]:
    """Returns digests as they are now, by id."""
    if not ids:
        return {}
    parameters = {"digests": Listed(ids)}
    counts: dict[str, dict[Outcome | None, int]] = {}
    for row in tx.execute(_COUNTS, parameters):
        counts.setdefault(row["digest_id"], {})[row["outcome"]] = row["number"]
    entries: dict[str, list[DigestEntry]] = {}
    for row in tx.execute(_FIRST_ENTRIES, parameters | {"most": ENTRIES}):
        *entry, params, key, digest_id, _ = row
        entries.setdefault(digest_id, []).append(DigestEntry(*[*entry, json.loads(params), key]))
    return {digest_id: _digest(counts[digest_id], first) for digest_id, first in entries.items()}


def _digest(counts: dict[Outcome | None, int], first: Sequence[DigestEntry]) -> Digest:
    waiting = counts.get(None, 0)
    named = tuple(entry for entry in first if entry.outcome is None or not waiting)
    return Digest(
        total=sum(counts.values()),
        waiting=waiting,
        outcomes=tuple((outcome, count) for outcome, count in counts.items() if outcome is not None),
        oldest=named[0].first_seen_at,
        entries=named,
    )


def merge(tx: Transaction, groups: Sequence[Sequence[Row]]) -> dict[str, Sequence[Row]]:
    """Puts one delivery of a digest in the place of each group; returns the groups by the ids of the digests.

    The rows of a group are `ANNOUNCED`, of one notifier and app, and none of them is under way. Digests
    among them are dissolved.
    """
    rows = [row for group in groups for row in group]
    ids = Listed([row["id"] for row in rows])
    events = [_digest_event(tx, group) for group in groups]
    enqueue(tx, events)
    digests = {event.thread_key: group for event, group in zip(events, groups, strict=True)}
    for digest_id, group in digests.items():
        if old := [row["digest_id"] for row in group if row["digest_id"] is not None]:
            tx.execute(_MOVE_MEMBERS, (digest_id, Listed(old)))
    tx.execute_many(
        _INSERT_MEMBER,
        [
            (digest_id, row["request"])
            for digest_id, group in digests.items()
            for row in group
            if row["digest_id"] is None
        ],
    )
    tx.execute(_DELETE_DELIVERIES, (ids,))
    tx.execute(_DELETE_UNUSED_EVENTS, (Listed([row["request"] for row in rows if row["request"]]),))
    if old := [row["event"] for row in rows if row["digest_id"] is not None]:
        tx.execute(_DELETE_EVENTS, (Listed(old),))
    return digests


def supersede_following(tx: Transaction, rows: Sequence[Row]) -> None:
    """Supersedes what follows announcements of one notifier, which a digest replaces.

    Also what was given up: of a digest that is dissolved nothing can be sent any more.
    """
    threads = Listed({row["thread_key"] for row in rows})
    following = {"threads": threads, "notifier": rows[0]["notifier"]}
    mark_superseded(tx, [row["id"] for row in tx.execute(_FOLLOWING, following)])


def _digest_event(tx: Transaction, group: Sequence[Row]) -> NewEvent:
    first, digest_id = group[0], tx.new_event_id(tx.now)
    wait = max(max(row["due_at"] for row in group) - tx.now, 0.0)
    app = App(first["app"], first["base_url"])
    route = Route(first["notifier"], bool(first["for_people"]), wait)
    return NewEvent("run.input_requested", app, [route], digest_id, id=digest_id, digest_id=digest_id)
