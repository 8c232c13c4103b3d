"""Digests: many new requests of one app, told of together, reminded of together and ended together.

A digest is an event whose `digest_members` are the requests that it announced. What it says of them is looked
up when it is sent, so that a message that waited never tells what is over.
"""

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from watcher.models import App, DeliveryRecord, Digest, DigestEntry, Outcome, Route
from watcher.store.enqueue import NewId, enqueue, supersede

ENTRIES: Final = 12
"""How many requests a digest names."""

_MEMBERS: Final = "FROM digest_members m JOIN requests r ON r.key = m.request WHERE m.digest = ?"


def subject(digest: str) -> str:
    """Returns the subject of all deliveries about a digest."""
    return f"digest:{digest}"


def release_held(connection: sqlite3.Connection, app: str, *, above: int, now: float, new_id: NewId) -> bool:
    """Lets go what was held for the end of a poll; more than `above` (0: never) become a digest.

    Returns whether there was anything.
    """
    rows = connection.execute(
        "SELECT d.id, d.notifier, d.for_people, d.due_at, e.app, e.base_url, e.request"
        " FROM deliveries d JOIN events e ON e.id = d.event"
        " WHERE d.held AND d.state = 'pending' AND e.app = ? ORDER BY d.id",
        (app,),
    ).fetchall()
    groups: dict[tuple[str, bool], list[sqlite3.Row]] = {}
    for row in rows:
        # What another process left may be due while what is new has still to wait.
        groups.setdefault((row["notifier"], row["due_at"] <= now), []).append(row)
    for group in groups.values():
        if above and len(group) > above:
            _merge(connection, group, now=now, event=new_id(now))
    connection.executemany("UPDATE deliveries SET held = 0 WHERE id = ?", [(row["id"],) for row in rows])
    return bool(rows)


def enqueue_digest_update(
    connection: sqlite3.Connection,
    ended: Collection[int],
    routes: Sequence[Route],
    *,
    in_flight: Collection[int],
    now: float,
    new_id: NewId,
) -> list[DeliveryRecord]:
    """Tells those who got a digest that requests in it ended, and returns what became stale by that.

    One message that waits to be sent is enough, for it will say how things are by then.
    """
    digests = connection.execute(
        "SELECT DISTINCT m.digest, e.app, e.base_url FROM digest_members m JOIN events e ON e.id = m.digest"
        " WHERE m.request IN (SELECT value FROM json_each(?))",
        (json.dumps(list(ended)),),
    ).fetchall()
    stale: list[DeliveryRecord] = []
    for row in digests:
        about = subject(row["digest"])
        deliveries = connection.execute(
            "SELECT d.id, d.state, d.doubtful, d.notifier, e.type FROM deliveries d"
            " JOIN events e ON e.id = d.event WHERE d.subject = ? ORDER BY d.id",
            (about,),
        ).fetchall()
        if not deliveries:
            continue
        notifier = deliveries[0]["notifier"]
        if not has_pending(connection, row["digest"]):
            stale += supersede(connection, about, notifier, in_flight=in_flight, now=now)
        route = next((route for route in routes if route.notifier == notifier and route.resolved), None)
        gone = {delivery.id for delivery in stale}
        if route is not None and _wants_news(deliveries, gone=gone, in_flight=in_flight):
            enqueue(
                connection,
                "run.input_resolved",
                [Route(route.notifier, route.for_people)],
                app=App(row["app"], row["base_url"]),
                subject=about,
                detail={"digest": row["digest"]},
                now=now,
                event=new_id(now),
            )
    return stale


def _wants_news(
    deliveries: Sequence[sqlite3.Row], *, gone: Collection[int], in_flight: Collection[int]
) -> bool:
    """Returns whether somebody knows, or may know, of a digest and no news of it waits to be sent."""
    reached = any(
        each["state"] == "sent" or each["doubtful"] or each["id"] in in_flight for each in deliveries
    )
    on_its_way = any(
        each["type"] == "run.input_resolved"
        and each["state"] == "pending"
        and each["id"] not in gone
        and each["id"] not in in_flight
        for each in deliveries
    )
    return reached and not on_its_way


def has_pending(connection: sqlite3.Connection, digest: str) -> bool:
    """Returns whether a request of a digest still waits."""
    row = connection.execute(f"SELECT 1 {_MEMBERS} AND r.resolved_at IS NULL LIMIT 1", (digest,)).fetchone()
    return row is not None


def load(connection: sqlite3.Connection, digest: str) -> Digest:
    """Returns a digest as it is now."""
    counts: dict[Outcome | None, int] = {
        row["outcome"]: row["count"]
        for row in connection.execute(
            f"SELECT r.outcome, count(*) AS count {_MEMBERS} GROUP BY r.outcome ORDER BY count DESC",
            (digest,),
        )
    }
    waiting = counts.get(None, 0)
    still = " AND r.resolved_at IS NULL" if waiting else ""
    rows = connection.execute(
        f"SELECT r.* {_MEMBERS}{still} ORDER BY r.first_seen_at, r.started_at, r.key LIMIT ?",
        (digest, ENTRIES),
    ).fetchall()
    return Digest(
        total=sum(counts.values()),
        waiting=waiting,
        outcomes=tuple((outcome, count) for outcome, count in counts.items() if outcome is not None),
        oldest=rows[0]["first_seen_at"],
        entries=tuple(_entry(row) for row in rows),
    )


def _merge(connection: sqlite3.Connection, group: Sequence[sqlite3.Row], *, now: float, event: str) -> None:
    """Puts one delivery of a digest in the place of many; none of them was given out yet."""
    first = group[0]
    due_at = max(row["due_at"] for row in group)
    connection.executemany("DELETE FROM deliveries WHERE id = ?", [(row["id"],) for row in group])
    connection.execute(
        "DELETE FROM events WHERE request IN (SELECT value FROM json_each(?))"
        " AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = events.id)",
        (json.dumps([row["request"] for row in group]),),
    )
    enqueue(
        connection,
        "run.input_requested",
        [Route(first["notifier"], bool(first["for_people"]), after=max(due_at - now, 0.0))],
        app=App(first["app"], first["base_url"]),
        subject=subject(event),
        detail={"digest": event},
        now=now,
        event=event,
    )
    connection.executemany(
        "INSERT INTO digest_members VALUES (?, ?)", [(event, row["request"]) for row in group]
    )


def _entry(row: sqlite3.Row) -> DigestEntry:
    return DigestEntry(
        run_id=row["run_id"],
        type=row["type"],
        prompt=row["prompt"],
        first_seen_at=row["first_seen_at"],
        link=row["link"],
        outcome=row["outcome"],
        waited=None if row["resolved_at"] is None else row["resolved_at"] - row["first_seen_at"],
    )
