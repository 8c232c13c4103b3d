"""The units of work of polling: what is known of an app, what is new, what ended, how its polls went."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from watcher.models import (
    App,
    DeliveryRecord,
    Failure,
    NewRequest,
    PendingKey,
    RequestEventType,
    ResolvedRequest,
    Route,
)
from watcher.store import digests, incidents
from watcher.store.enqueue import NewEvent, enqueue, resolution_recipients
from watcher.store.results import AppFailure, AppState, IncidentChange, RecordResult
from watcher.store.sql import Listed, Transaction, identity_hash

ECHO_SECONDS: Final = 5.0
"""A request that was answered can be seen again, unchanged, while its run resumes. For so many seconds after
its end that is no new question; later it is one."""

Question = tuple[str, str, str]
"""The ids of a run and of a request in it, and the fingerprint of what it asks."""

_PENDING: Final = (
    "SELECT key, run_id, request_id, fingerprint, first_seen_at FROM requests"
    " WHERE app = ? AND resolved_at IS NULL"
)
_APP: Final = (
    "SELECT a.first_success_at, a.last_success_at, i.since AS failing_since,"
    " v.run_id, v.since AS invisible_since"
    " FROM (SELECT CAST(? AS TEXT) AS name) AS asked LEFT JOIN apps a ON a.name = asked.name"
    " LEFT JOIN incidents i ON i.scope = 'app' AND i.name = asked.name"
    " LEFT JOIN invisible_runs v ON v.app = asked.name"
)
_STILL_PENDING: Final = (
    "SELECT key FROM requests WHERE key IN (SELECT value FROM json_each(?)) AND resolved_at IS NULL"
)
_RESOLVE: Final = "UPDATE requests SET resolved_at = ?, outcome = ?, resolved_status = ? WHERE key = ?"
_KNOWN: Final = (
    # Two searches, each by an index. A clock that was set back hides nothing.
    "SELECT identity FROM requests WHERE identity IN (SELECT value FROM json_each(:identities))"
    " AND resolved_at IS NULL UNION ALL"
    " SELECT identity FROM requests WHERE identity IN (SELECT value FROM json_each(:identities))"
    " AND resolved_at > :echo_begins AND resolved_at < :echo_ends"
)
_ENDED: Final = (
    "SELECT DISTINCT identity FROM requests WHERE identity IN (SELECT value FROM json_each(?))"
    " AND resolved_at IS NOT NULL"
)
_NEWEST_KEY: Final = (
    "SELECT coalesce(max(key), 0) AS newest FROM (SELECT max(key) AS key FROM requests"
    " UNION ALL SELECT value FROM counters WHERE name = 'request') AS given"
)
"""The greatest key that a request ever had, also if it was pruned: a key is in links of old messages."""
_COLUMNS: Final = (
    "key, identity, app, base_url, run_id, request_id, fingerprint, type, prompt, params, editable_params,"
    " masked, questions, is_browser_takeover, run_status, started_at, user_id, session_id, run_input, link,"
    " position, first_seen_at"
)
_INSERT: Final = f"INSERT INTO requests ({_COLUMNS}) VALUES ({', '.join('?' * len(_COLUMNS.split(',')))})"
_INVISIBLE: Final = "SELECT run_id FROM invisible_runs WHERE app = ?"
_FORGET_INVISIBLE: Final = "DELETE FROM invisible_runs WHERE app = ? AND run_hash = ?"
_INSERT_INVISIBLE: Final = "INSERT INTO invisible_runs (app, run_hash, run_id, since) VALUES (?, ?, ?, ?)"
_SUCCEED: Final = (
    "INSERT INTO apps (name, first_success_at, last_success_at) VALUES (?, ?, ?) ON CONFLICT (name)"
    " DO UPDATE SET first_success_at = coalesce(apps.first_success_at, excluded.first_success_at),"
    " last_success_at = excluded.last_success_at"
)
_WORKED: Final = "SELECT 1 FROM apps WHERE name = ? AND first_success_at IS NOT NULL"


def load_app(tx: Transaction, app: str) -> AppState:
    """Returns what is known of an app."""
    known, rows = tx.execute_all([(_PENDING, (app,)), (_APP, (app,))])
    return AppState(
        known=tuple(PendingKey(*row) for row in known),
        invisible={row["run_id"]: row["invisible_since"] for row in rows if row["run_id"] is not None},
        first_poll=rows[0]["first_success_at"] is None,
        last_success_at=rows[0]["last_success_at"],
        failing=rows[0]["failing_since"] is not None,
    )


def ended_among(tx: Transaction, app: str, questions: Collection[Question]) -> set[Question]:
    """Returns those of an app's questions that were asked before and have ended."""
    found = {identity_hash(app, *question): question for question in questions}
    return {found[row["identity"]] for row in tx.execute(_ENDED, (Listed(found.keys()),))}


def record_changes(
    tx: Transaction,
    app: App,
    routes: Sequence[Route],
    *,
    new: Iterable[NewRequest],
    ended: Iterable[ResolvedRequest],
    announce: bool,
) -> RecordResult:
    """Records requests that are new and requests that have ended, each with its deliveries.

    What ended already, or was seen a moment ago, changes nothing. Without `announce` new requests are
    recorded and not announced. What goes into digests is held until it is released.
    """
    notifiers: frozenset[str] = frozenset()
    superseded: list[DeliveryRecord] = []
    resolved = _resolve(tx, ended)
    if resolved:
        keys = [change.known.key for change in resolved]
        told, superseded = resolution_recipients(tx, [str(key) for key in keys], routes)
        ends = [_event("run.input_resolved", app, told.get(str(key), ()), key) for key in keys]
        updated, stale = digests.enqueue_digest_updates(tx, app, keys, routes)
        notifiers = enqueue(tx, ends) | updated
        superseded += stale
    recorded = _insert(tx, app, new)
    if announce:
        news = [_event("run.input_requested", app, routes, key) for key in recorded]
        notifiers |= enqueue(tx, news, hold=True)
    return RecordResult(tuple(recorded.values()), tuple(resolved), tuple(superseded), notifiers)


def record_success(
    tx: Transaction, app: App, routes: Sequence[Route], *, invisible: Collection[str]
) -> IncidentChange[Failure]:
    """Records a complete poll of an app, and announces its recovery if its failure was announced."""
    _replace_invisible(tx, app.name, invisible)
    tx.execute(_SUCCEED, (app.name, tx.now, tx.now))
    return incidents.close(tx, incidents.app_component(app, routes))


def record_failure(
    tx: Transaction, app: App, routes: Sequence[Route], failure: AppFailure, *, alert_after: float
) -> IncidentChange[Failure]:
    """Records that an app could not be polled; announces that once it has lasted `alert_after`, in seconds.

    The failure of an app that ever worked keeps the beginning that an earlier process recorded; that of an
    app that never worked begins with this process.
    """
    component = incidents.app_component(app, routes)
    incident = incidents.open_incident(
        tx,
        component,
        since=failure.since,
        reason={"status": failure.status, "code": failure.code, "message": failure.message},
        resume=tx.first(_WORKED, (app.name,)) is not None,
    )
    return incidents.announce_due(tx, component, incident, alert_after)


def _resolve(tx: Transaction, ended: Iterable[ResolvedRequest]) -> list[ResolvedRequest]:
    """Marks requests as resolved; returns those that were pending, each once."""
    changes: dict[int, ResolvedRequest] = {}
    for change in ended:
        changes.setdefault(change.known.key, change)
    if not changes:
        return []
    pending = {row["key"] for row in tx.execute(_STILL_PENDING, (Listed(changes.keys()),))}
    resolved = [change for key, change in changes.items() if key in pending]
    tx.execute_many(
        _RESOLVE, [(tx.now, change.outcome, change.run_status, change.known.key) for change in resolved]
    )
    return resolved


def _insert(tx: Transaction, app: App, new: Iterable[NewRequest]) -> dict[int, NewRequest]:
    """Inserts requests that are not known, and returns them by the keys that they are given."""
    found: dict[str, NewRequest] = {}
    for each in new:
        request = each.request
        found.setdefault(identity_hash(app.name, each.run.id, request.id, request.fingerprint), each)
    if not found:
        return {}
    echo = {"echo_begins": tx.now - ECHO_SECONDS, "echo_ends": tx.now + ECHO_SECONDS}
    seen = (_KNOWN, echo | {"identities": Listed(found.keys())})
    (rows_seen, ((newest,),)) = tx.execute_all([seen, (_NEWEST_KEY, ())])
    known = {row["identity"] for row in rows_seen}
    fresh = [(identity, each) for identity, each in found.items() if identity not in known]
    if not fresh:
        return {}
    rows = list(enumerate(fresh, start=newest + 1))
    tx.execute_many(_INSERT, [_row(tx, app, key, identity, each) for key, (identity, each) in rows])
    return {key: each for key, (_, each) in rows}


def _row(tx: Transaction, app: App, key: int, identity: str, new: NewRequest) -> tuple[object, ...]:
    """Returns the values of `_COLUMNS`."""
    run, request = new.run, new.request
    ids = (key, identity, app.name, app.base_url, run.id, request.id, request.fingerprint)
    parts = (request.params, request.editable_params, request.masked)
    question = map(json.dumps, (*parts, request.questions, request.is_browser_takeover))
    state = (run.status, run.started_at, run.user_id, run.session_id, json.dumps(run.input))
    return (*ids, request.type, request.prompt, *question, *state, new.link, json.dumps(new.position), tx.now)


def _event(kind: RequestEventType, app: App, routes: Sequence[Route], key: int) -> NewEvent:
    return NewEvent(kind, app, routes, thread_key=str(key), request=key)


def _replace_invisible(tx: Transaction, app: str, invisible: Collection[str]) -> None:
    before = {row["run_id"] for row in tx.execute(_INVISIBLE, (app,))}
    now = set(invisible)
    if gone := before - now:
        tx.execute_many(_FORGET_INVISIBLE, [(app, identity_hash(run_id)) for run_id in gone])
    if come := now - before:
        tx.execute_many(_INSERT_INVISIBLE, [(app, identity_hash(run_id), run_id, tx.now) for run_id in come])
