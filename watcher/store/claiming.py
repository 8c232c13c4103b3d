"""What a worker sends next: requests before reminders before operations, and the apps take turns.

Within an app the oldest delivery comes first. Only the oldest due delivery of a thread is claimed, which
keeps them in order.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

from watcher.store import digests
from watcher.store.enqueue import GROUP_SECONDS, OPERATIONS, REMINDERS, REQUESTS
from watcher.store.results import ClaimRequest, NotifierPolicy
from watcher.store.sql import Listed, Row, Transaction

APPS_TRIED: Final = 8
"""How many apps are looked at before all are: mostly the first ones have something that can be sent."""

_PAUSE: Final = (
    "INSERT INTO notifiers (name, paused_until) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET paused_until ="
    " CASE WHEN excluded.paused_until > notifiers.paused_until THEN excluded.paused_until"
    " ELSE notifiers.paused_until END"
)
_PAUSED: Final = "SELECT paused_until FROM notifiers WHERE name = :notifier AND paused_until > :now"
_FREE: Final = (
    "d.notifier = :notifier AND d.state = 'pending' AND d.held = 0"
    " AND NOT (d.id IN (SELECT value FROM json_each(:claimed)))"
    " AND NOT (d.id <= :leftover AND d.app IN (SELECT value FROM json_each(:withheld)))"
)
"""Tells a delivery that is not under way, not held for the end of a poll and not withheld."""
_IN_TURN: Final = (
    f"{_FREE} AND d.priority = :priority"
    # A delivery that was only delayed, to be sent in a group, does not wait for a later run.
    " AND (d.next_attempt_at <= :now OR (:last_run = 1 AND d.attempts = 0 AND d.due_at <= :now))"
    # OFFSET keeps PostgreSQL from making a join of this, and coalesce() from an index of what is pending: it
    # would read all of that.
    " AND NOT EXISTS (SELECT 1 FROM deliveries e WHERE e.thread_key = d.thread_key"
    " AND e.notifier = d.notifier AND e.id < d.id AND coalesce(e.state, '') = 'pending' AND (e.due_at <= :now"
    " OR e.attempts > 0 OR e.id IN (SELECT value FROM json_each(:claimed))) LIMIT 1 OFFSET 0)"
)
_APPS: Final = (
    # Jumps from app to app by the index, however many deliveries each has.
    "WITH RECURSIVE known (app) AS (SELECT * FROM (SELECT n.app FROM deliveries n"
    " WHERE n.notifier = :notifier AND n.state = 'pending' AND n.priority = :priority"
    " ORDER BY n.app LIMIT 1) AS first"
    " UNION ALL SELECT (SELECT n.app FROM deliveries n WHERE n.notifier = :notifier"
    " AND n.state = 'pending' AND n.priority = :priority AND n.app > known.app ORDER BY n.app LIMIT 1)"
    " FROM known WHERE known.app IS NOT NULL)"
)
_APPS_DUE: Final = (
    f"{_APPS} SELECT o.app, o.due_at, o.id FROM (SELECT (SELECT d.id FROM deliveries d"
    " WHERE d.notifier = :notifier AND d.state = 'pending' AND d.priority = :priority AND d.app = known.app"
    " ORDER BY d.due_at, d.id LIMIT 1) AS id FROM known WHERE known.app IS NOT NULL) AS oldest"
    " JOIN deliveries o ON o.id = oldest.id WHERE o.due_at <= :now"
)
"""The apps of which something is due; asking whether it can be sent now would take long."""
_APPS_IN_TURN: Final = (
    f"{_APPS} SELECT o.app, o.due_at, o.id FROM (SELECT (SELECT d.id FROM deliveries d"
    f" WHERE {_IN_TURN} AND d.app = known.app ORDER BY d.due_at, d.id LIMIT 1) AS id"
    " FROM known WHERE known.app IS NOT NULL) AS oldest JOIN deliveries o ON o.id = oldest.id"
)
"""The apps of which something can be sent now."""
_OLDEST_OF_APP: Final = (
    f"SELECT * FROM (SELECT d.id, d.app FROM deliveries d WHERE {_IN_TURN} AND d.app = :app_0"
    " ORDER BY d.due_at, d.id LIMIT :limit) AS app_0"
)
_BACKLOG: Final = (
    f"SELECT {digests.ANNOUNCED} WHERE {_FREE} AND d.priority = :priority AND d.app = :app"
    " AND d.due_at <= :now AND e.type = 'run.input_requested'"
    " AND d.attempt_open = 0 AND d.possibly_delivered = 0 ORDER BY d.due_at, d.id"
)
"""The announcements of an app that are due and that no person can have seen."""
_SAME_KIND: Final = (
    f"SELECT d.id FROM deliveries d JOIN events e ON e.id = d.event WHERE {_FREE} AND d.priority = :priority"
    " AND d.due_at <= :now AND d.next_attempt_at <= :soon AND e.type ="
    " (SELECT x.type FROM deliveries o JOIN events x ON x.id = o.event WHERE o.id = :id"
    " AND o.for_people <> 0 AND x.type IN ('watcher.app_failing', 'watcher.app_recovered'))"
    " AND NOT EXISTS (SELECT 1 FROM deliveries o WHERE o.thread_key = d.thread_key"
    " AND o.notifier = d.notifier AND o.id < d.id AND coalesce(o.state, '') = 'pending' LIMIT 1 OFFSET 0)"
    " ORDER BY d.due_at, d.id"
)
_OPEN_ATTEMPTS: Final = (
    "UPDATE deliveries SET attempt_open = 1,"
    " possibly_delivered = CASE WHEN attempt_open <> 0 OR possibly_delivered <> 0 THEN 1 ELSE 0 END"
    " WHERE id IN (SELECT value FROM json_each(?)) AND for_people <> 0"
)
_NEXT_DUE: Final = (
    "SELECT min(next_attempt_at) AS at FROM deliveries"
    " WHERE notifier = :notifier AND state = 'pending' AND next_attempt_at > :now"
)


def claim(
    tx: Transaction, notifier: str, policy: NotifierPolicy, wanted: ClaimRequest
) -> tuple[list[list[int]], float | None]:
    """Claims up to `limit` messages; returns the deliveries of each, and when to ask again.

    A message is one delivery, or several to people about apps that fail, or recover, at the same time.
    """
    parameters = _parameters(tx, notifier, wanted)
    if wanted.pause_until is not None:
        tx.execute(_PAUSE, (notifier, wanted.pause_until))
    paused, next_due, due = tx.execute_all(
        [(_PAUSED, parameters), (_NEXT_DUE, parameters), (_APPS_DUE, {**parameters, "priority": REQUESTS})]
    )
    if paused:
        return [], paused[0]["paused_until"]
    messages = _choose(tx, policy, wanted, parameters, due) if wanted.limit > 0 else []
    if messages:
        # Before sending, an attempt is open. If its outcome never becomes known, the message may have been
        # posted, so its resolution is still sent. Machines get every event anyway.
        ids = [delivery for message in messages for delivery in message]
        tx.execute(_OPEN_ATTEMPTS, (Listed(ids),))
    return messages, next_due[0]["at"]


def _choose(
    tx: Transaction,
    policy: NotifierPolicy,
    wanted: ClaimRequest,
    parameters: Mapping[str, Any],
    requests_due: Sequence[Row],
) -> list[list[int]]:
    messages: list[list[int]] = []
    for priority, due in _due_by_priority(tx, parameters, requests_due):
        free = wanted.limit - len(messages)
        turn = {**parameters, "priority": priority, "limit": free}
        queues = _queues(tx, turn, wanted, due)
        if priority == REQUESTS and policy.digest_above:
            queues = _merge_backlogs(tx, turn, queues, policy.digest_above)
        turns = zip_longest(*queues.values())
        chosen = [delivery for each in turns for delivery in each if delivery is not None][:free]
        if priority == OPERATIONS and chosen and policy.for_people:
            messages += _grouped(tx, turn, chosen)
        else:
            messages += [[delivery] for delivery in chosen]
        if len(messages) >= wanted.limit:
            break
    return messages


def _due_by_priority(
    tx: Transaction, parameters: Mapping[str, Any], requests_due: Sequence[Row]
) -> Iterator[tuple[int, Sequence[Row]]]:
    """Yields each priority with the apps of which something is due; the later ones are read together."""
    yield REQUESTS, requests_due
    later = (REMINDERS, OPERATIONS)
    yield from zip(
        later, tx.execute_all([(_APPS_DUE, {**parameters, "priority": each}) for each in later]), strict=True
    )


def _parameters(tx: Transaction, notifier: str, wanted: ClaimRequest) -> dict[str, Any]:
    return {
        "notifier": notifier,
        "now": min(tx.now, wanted.due_by),
        "last_run": int(not math.isinf(wanted.due_by)),
        "claimed": Listed(tx.claimed_ids),
        "leftover": wanted.leftover,
        "withheld": Listed(wanted.withheld),
    }


def _queues(
    tx: Transaction, parameters: Mapping[str, Any], wanted: ClaimRequest, apps_due: Sequence[Row]
) -> dict[str, list[int]]:
    """Returns by app what can be sent, the app that was served longest ago first; of as many as needed."""
    due = _in_order(apps_due, wanted)
    first = due[: max(wanted.limit, APPS_TRIED)]
    queues = _oldest(tx, parameters, first)
    if len(first) < len(due) and sum(map(len, queues.values())) < wanted.limit:
        ready = _in_order(tx.execute(_APPS_IN_TURN, parameters), wanted)
        queues = _oldest(tx, parameters, ready[: wanted.limit])
    return queues


def _in_order(apps: Sequence[Row], wanted: ClaimRequest) -> list[str]:
    turns = {app: turn for turn, app in enumerate(wanted.served)}
    ordered = sorted(apps, key=lambda row: (turns.get(row["app"], -1), row["due_at"], row["id"]))
    return [row["app"] for row in ordered]


def _oldest(tx: Transaction, parameters: Mapping[str, Any], apps: Sequence[str]) -> dict[str, list[int]]:
    """Returns what these apps have to send now, the oldest first; apps without anything are left out."""
    if not apps:
        return {}
    names = {f"app_{number}": app for number, app in enumerate(apps)}
    statement = " UNION ALL ".join(_OLDEST_OF_APP.replace("app_0", name) for name in names)
    queues: dict[str, list[int]] = {app: [] for app in apps}
    for row in tx.execute(statement, {**parameters, **names}):
        queues[row["app"]].append(row["id"])
    return {app: queue for app, queue in queues.items() if queue}


def _merge_backlogs(
    tx: Transaction, parameters: Mapping[str, Any], queues: dict[str, list[int]], above: int
) -> dict[str, list[int]]:
    """Makes digests of what piled up of the apps whose turn it is; returns the queues as they are then."""
    turns = list(queues)[: parameters["limit"]]
    merged = False
    for rows in tx.execute_all([(_BACKLOG, {**parameters, "app": app}) for app in turns]):
        merged |= digests.merge_backlog(tx, rows, above=above)
    return _oldest(tx, parameters, turns) if merged else queues


def _grouped(tx: Transaction, parameters: Mapping[str, Any], chosen: Sequence[int]) -> list[list[int]]:
    """Returns a message for each chosen delivery with those that can be sent with it, each delivery once."""
    soon = {"soon": tx.now + GROUP_SECONDS}
    messages: list[list[int]] = []
    taken: set[int] = set()
    for delivery in chosen:
        if delivery not in taken:
            rows = tx.execute(_SAME_KIND, {**parameters, **soon, "id": delivery})
            message = [delivery, *(row["id"] for row in rows if row["id"] not in {delivery, *taken})]
            taken.update(message)
            messages.append(message)
    return messages
