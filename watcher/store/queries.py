"""What the command line and the HTTP endpoints show of the database. Only reads.

What is asked of every app or notifier is one query for all, because there may be a thousand.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from watcher.models import DeliveryRecord, DeliveryState, PendingRequest
from watcher.store.enqueue import PLANNED, RECORDS, records
from watcher.store.incidents import to_failure
from watcher.store.results import AppStatus, NotifierStatus, RecentResolution
from watcher.store.sql import Listed, Reader, Row

REVIVED_SHOWN: Final = 86_400.0
"""For how many seconds it is shown that dead deliveries were made after all."""
_PARAMS_SHOWN: Final = 1 << 14
_PART_ROWS: Final = 100
_PART_SIZE: Final = 1 << 18
"""Characters of prompts and parameters in one part of a list, unless one request alone has more."""

_COLUMNS: Final = (
    "r.key, r.app, r.run_id, r.request_id, r.type, r.prompt, r.first_seen_at, r.link, r.user_id,"
    " r.editable_params, r.masked, r.is_browser_takeover, length(r.params) AS size"
)
_ARE_PENDING: Final = "r.resolved_at IS NULL AND r.app IN (SELECT value FROM json_each(:apps))"
_IN_ORDER: Final = "ORDER BY r.first_seen_at, r.key"
_PENDING: Final = (
    f"SELECT {_COLUMNS}, CASE WHEN length(r.params) <= {_PARAMS_SHOWN} THEN r.params END AS params,"
    f" CASE WHEN length(r.questions) <= {_PARAMS_SHOWN} THEN r.questions END AS questions"
    f" FROM requests r WHERE {_ARE_PENDING} {_IN_ORDER}"
)
_WHOLE: Final = (
    f"SELECT {_COLUMNS}, r.params, r.questions FROM requests r"
    f" WHERE r.key IN (SELECT value FROM json_each(:keys)) {_IN_ORDER}"
)
_FURTHER: Final = (
    "SELECT r.key, length(r.params) + length(r.questions) + length(coalesce(r.prompt, '')) AS size"
    " FROM requests r"
    f" WHERE {_ARE_PENDING} AND (r.first_seen_at > :seen_at OR (r.first_seen_at = :seen_at AND r.key > :id))"
    f" {_IN_ORDER} LIMIT {_PART_ROWS}"
)
_TOLD: Final = (
    "SELECT e.request, d.notifier FROM events e JOIN deliveries d ON d.event = e.id AND d.state = 'sent'"
    " WHERE e.request IN (SELECT value FROM json_each(:requests))"
    " UNION SELECT m.request, d.notifier FROM digest_members m"
    " JOIN deliveries d ON d.event = m.digest_id AND d.state = 'sent'"
    " WHERE m.request IN (SELECT value FROM json_each(:requests)) ORDER BY 1, 2"
)
_ABOUT: Final = (
    "SELECT d.id, e.request FROM events e JOIN deliveries d ON d.event = e.id"
    " WHERE e.request IN (SELECT value FROM json_each(:requests))"
    " UNION ALL SELECT d.id, m.request FROM digest_members m JOIN events e ON e.digest_id = m.digest_id"
    " JOIN deliveries d ON d.event = e.id WHERE m.request IN (SELECT value FROM json_each(:requests))"
    " ORDER BY 1"
)
_APPS: Final = (
    "SELECT a.name, a.first_success_at, a.last_success_at, i.since, i.reason FROM apps a"
    " LEFT JOIN incidents i ON i.scope = 'app' AND i.name = a.name"
    " UNION ALL SELECT i.name, NULL, NULL, i.since, i.reason FROM incidents i"
    " WHERE i.scope = 'app' AND NOT EXISTS (SELECT 1 FROM apps a WHERE a.name = i.name)"
)
_PENDING_BY_APP: Final = (
    "SELECT app, count(*) AS pending, min(first_seen_at) AS oldest FROM requests"
    " WHERE resolved_at IS NULL GROUP BY app"
)
_UNDELIVERED: Final = (
    "SELECT * FROM (SELECT notifier, due_at, last_error, count(*) OVER (PARTITION BY notifier) AS number,"
    " row_number() OVER (PARTITION BY notifier ORDER BY due_at, id) AS place FROM deliveries"
    " WHERE state = 'pending' AND due_at <= :now"
    " AND (app = '' OR app IN (SELECT value FROM json_each(:apps)))) AS ranked WHERE place = 1"
)
_DEAD: Final = (
    "SELECT d.notifier, d.last_error, g.number FROM (SELECT count(*) AS number, max(id) AS newest"
    " FROM deliveries WHERE state = 'dead' GROUP BY notifier) AS g JOIN deliveries d ON d.id = g.newest"
)
_REVIVED: Final = "SELECT name, revived, revived_at FROM notifiers WHERE revived_at > ?"
_PAUSED: Final = "SELECT name, paused_until FROM notifiers WHERE paused_until > ?"
_ENDED: Final = (
    "SELECT key, app, run_id, type, prompt, outcome, first_seen_at, resolved_at FROM requests"
    " WHERE resolved_at IS NOT NULL ORDER BY resolved_at DESC, key DESC LIMIT ?"
)


def pending_requests(
    reader: Reader, apps: Collection[str], *, limit: int | None = None, offset: int = 0, details: bool = False
) -> list[PendingRequest]:
    """Returns the pending requests of these apps, or `limit` from `offset` on, the longest waiting first.

    Requests of an app that is no longer watched are left out, for they may have ended. Only with `details`
    each has its user, parameters and questions. Of parameters with more than 16 Ki characters only their
    number is given; questions of that size are left out, because the prompt has them too.
    """
    bound = "" if limit is None else f" LIMIT {limit:d} OFFSET {offset:d}"
    rows = reader.execute(f"{_PENDING}{bound}", {"apps": Listed(apps)})
    return _pending_requests(reader, rows, details=details)


def pending_part(
    reader: Reader, apps: Collection[str], after: tuple[float, int] | None = None
) -> list[PendingRequest]:
    """Returns pending requests whole, as many as are good to read at once; none if there are no more.

    `after` are the `first_seen_at` and the id of the request that they follow, None for the first ones.
    """
    seen_at, last = after or (-math.inf, 0)
    keys: list[int] = []
    size = 0
    for row in reader.execute(_FURTHER, {"apps": Listed(apps), "seen_at": seen_at, "id": last}):
        size += row["size"]
        if keys and size > _PART_SIZE:
            break
        keys.append(row["key"])
    rows = reader.execute(_WHOLE, {"keys": Listed(keys)}) if keys else ()
    return _pending_requests(reader, rows, details=True)


def all_pending(reader: Reader, apps: Collection[str]) -> Iterator[PendingRequest]:
    """Yields all pending requests of these apps whole, the longest waiting first."""
    part = pending_part(reader, apps)
    while part:
        yield from part
        part = pending_part(reader, apps, (part[-1].first_seen_at, part[-1].id))


def request_deliveries(reader: Reader, requests: Collection[int]) -> dict[int, list[DeliveryRecord]]:
    """Returns by the id of each request all deliveries about it, digests and planned reminders included."""
    about = reader.execute(_ABOUT, {"requests": Listed(requests)})
    by_id = {record.id: record for record in records(reader, {row["id"] for row in about})}
    found: dict[int, list[DeliveryRecord]] = {request: [] for request in requests}
    for row in about:
        if row["id"] in by_id:  # the daemon may delete or merge some between the two statements
            found[row["request"]].append(by_id[row["id"]])
    return found


def deliveries(
    reader: Reader,
    state: DeliveryState | None = None,
    *,
    now: float,
    notifier: str | None = None,
    newest: int | None = None,
) -> list[DeliveryRecord]:
    """Returns the deliveries, or those in one state or to one notifier, or the newest of them.

    The oldest comes first. Reminders are among them once their time has come.
    """
    wanted = "".join(
        [
            "" if state is None else " AND d.state = :state",
            "" if notifier is None else " AND d.notifier = :notifier",
            " ORDER BY d.id DESC",
            "" if newest is None else f" LIMIT {newest:d}",
        ]
    )
    parameters = {"now": now, "state": state, "notifier": notifier}
    rows = reader.execute(f"{RECORDS} WHERE NOT {PLANNED}{wanted}", parameters)
    return [DeliveryRecord(*row) for row in reversed(rows)]


def apps(reader: Reader, intervals: Mapping[str, float], *, now: float) -> list[AppStatus]:
    """Returns what is recorded of these apps; `intervals` are the seconds between their polls."""
    pending = {row["app"]: row for row in reader.execute(_PENDING_BY_APP)}
    known = {row["name"]: row for row in reader.execute(_APPS)}
    return [
        _app_status(AppStatus(name, interval), known.get(name), pending.get(name), now)
        for name, interval in intervals.items()
    ]


def notifiers(reader: Reader, apps: Collection[str], *, now: float) -> dict[str, NotifierStatus]:
    """Returns by name how each notifier is that has something undelivered or dead, is paused, or caught up.

    What is kept for apps that are not among these, which are not watched now, is not undelivered.
    """
    undelivered = {
        row["notifier"]: (row["number"], max(now - row["due_at"], 0.0), row["last_error"])
        for row in reader.execute(_UNDELIVERED, {"now": now, "apps": Listed(apps)})
    }
    dead = {row["notifier"]: (row["number"], row["last_error"]) for row in reader.execute(_DEAD)}
    paused = {row["name"]: row["paused_until"] - now for row in reader.execute(_PAUSED, (now,))}
    revived = {
        row["name"]: (row["revived"], now - row["revived_at"])
        for row in reader.execute(_REVIVED, (now - REVIVED_SHOWN,))
    }
    return {
        name: NotifierStatus(
            name,
            *undelivered.get(name, (0, None, None)),
            *dead.get(name, (0, None)),
            paused.get(name),
            *revived.get(name, (0, None)),
        )
        for name in {*undelivered, *dead, *paused, *revived}
    }


def ended_requests(reader: Reader, *, limit: int) -> list[RecentResolution]:
    """Returns the requests that ended last, the latest first."""
    return [RecentResolution(*row) for row in reader.execute(_ENDED, (limit,))]


def _pending_requests(reader: Reader, rows: Sequence[Row], *, details: bool) -> list[PendingRequest]:
    told: dict[int, list[str]] = {}
    for request, notifier in reader.execute(_TOLD, {"requests": Listed([row["key"] for row in rows])}):
        told.setdefault(request, []).append(notifier)
    return [_pending_request(row, tuple(told.get(row["key"], ())), details=details) for row in rows]


def _pending_request(row: Row, told: tuple[str, ...], *, details: bool) -> PendingRequest:
    *head, user_id, editable, masked, takeover, size, params, questions = row
    request = PendingRequest(*[*head, told])
    if not details:
        return request
    return replace(
        request,
        user_id=user_id,
        params=f"({size} characters)" if params is None else json.loads(params),
        editable_params=tuple(json.loads(editable)),
        masked=tuple(json.loads(masked)),
        questions=None if questions is None else json.loads(questions),
        is_browser_takeover=json.loads(takeover),
    )


def _app_status(status: AppStatus, app: Row | None, pending: Row | None, now: float) -> AppStatus:
    """Adds what is recorded of an app, and of its pending requests, to its status."""
    if pending is not None:
        age = max(now - pending["oldest"], 0.0)
        status = replace(status, pending=pending["pending"], oldest_pending=age)
    if app is not None:
        worked, succeeded_at = app["first_success_at"] is not None, app["last_success_at"]
        status = replace(status, worked=worked, succeeded_at=succeeded_at)
    if app is not None and app["since"] is not None:
        status = replace(status, failure=to_failure(app["since"], app["reason"], status.pending))
    return status
