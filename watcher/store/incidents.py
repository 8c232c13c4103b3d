"""Incidents: an app that cannot be polled, a notifier that accepts nothing. Announced once, closed once.

An incident lasts as long as the failure and survives restarts. The notifiers that got the alert get the
recovery.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Generic, Literal

from watcher.models import App, EventType, Failure, Json, NotifierFailure, Route
from watcher.store.enqueue import NewEvent, enqueue, resolution_recipients
from watcher.store.results import Dead, F, IncidentChange, NotifierPolicy, Result, Retry, Sent
from watcher.store.sql import Transaction

_FIND: Final = "SELECT since, reason, announced_event FROM incidents WHERE scope = ? AND name = ?"
_OPEN: Final = (
    "INSERT INTO incidents (scope, name, since, reason) VALUES (?, ?, ?, ?) ON CONFLICT (scope, name)"
    " DO UPDATE SET since = excluded.since, reason = excluded.reason"
)
_ANNOUNCE: Final = "UPDATE incidents SET announced_event = ? WHERE scope = ? AND name = ?"
_CLOSE: Final = "DELETE FROM incidents WHERE scope = ? AND name = ?"
_PENDING: Final = "SELECT count(*) AS pending FROM requests WHERE app = ? AND resolved_at IS NULL"
_UNDELIVERED: Final = (
    "SELECT count(*) AS undelivered FROM deliveries WHERE notifier = ? AND state = 'pending' AND due_at <= ?"
)
_TRIED_IN_VAIN: Final = (
    "SELECT 1 FROM deliveries WHERE notifier = ? AND state = 'pending' AND attempts > 0 AND due_at <= ?"
    " LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Incident:
    """A failure that lasts: since when, why (JSON), and the event that announced it, if one did."""

    since: float
    reason: str
    announced_event: str | None = None


@dataclass(frozen=True, slots=True)
class Component(Generic[F]):
    """An app or a notifier that can fail, and the routes of its alerts; `describe` says how it fails now."""

    scope: Literal["app", "notifier"]
    name: str
    app: App | None
    routes: Sequence[Route]
    describe: Callable[[Transaction, Incident], F]


def app_component(app: App, routes: Sequence[Route]) -> Component[Failure]:
    """Returns an app, whose alerts go to its notifiers."""

    def describe(tx: Transaction, incident: Incident) -> Failure:
        (pending,) = tx.execute(_PENDING, (app.name,))[0]
        return to_failure(incident.since, incident.reason, pending)

    # What is configured for requests does not hold here: alerts go to all at once.
    recipients = [Route(route.notifier, route.for_people, grouped=route.grouped) for route in routes]
    return Component("app", app.name, app, recipients, describe)


def open_incident(
    tx: Transaction, component: Component[F], *, since: float, reason: Json, resume: bool = True
) -> Incident:
    """Records that a component fails, and returns the incident.

    An incident that is open already keeps its beginning if it was announced or with `resume`.
    """
    incident = Incident(since, json.dumps(reason))
    known = _find(tx, component)
    if known is not None and (resume or known.announced_event):
        incident = Incident(known.since, incident.reason, known.announced_event)
    if incident != known:
        tx.execute(_OPEN, (component.scope, component.name, incident.since, incident.reason))
    return incident


def announce_due(
    tx: Transaction, component: Component[F], incident: Incident, alert_after: float
) -> IncidentChange[F]:
    """Announces an incident once, when it has lasted `alert_after` seconds; returns what it announced."""
    if incident.announced_event is not None:
        return IncidentChange(None)
    if tx.now - incident.since < alert_after:
        return IncidentChange(None, alert_at=incident.since + alert_after)
    event = tx.new_event_id(tx.now)
    tx.execute(_ANNOUNCE, (event, component.scope, component.name))
    failure = component.describe(tx, incident)
    kind: EventType = "watcher.app_failing" if component.scope == "app" else "watcher.notifier_failing"
    detail = asdict(failure)
    news = NewEvent(kind, component.app, component.routes, thread_key=event, id=event, detail=detail)
    return IncidentChange(failure, notifiers=enqueue(tx, [news]))


def close(tx: Transaction, component: Component[F]) -> IncidentChange[F]:
    """Ends the incident of a component that works again, and returns it if it was announced.

    The notifiers that got the alert get the recovery.
    """
    incident = _find(tx, component)
    if incident is None:
        return IncidentChange(None)
    tx.execute(_CLOSE, (component.scope, component.name))
    thread_key = incident.announced_event
    if thread_key is None:
        return IncidentChange(None, closed=True)
    failure = component.describe(tx, incident)
    told, stale = resolution_recipients(tx, [thread_key], component.routes)
    kind: EventType = "watcher.app_recovered" if component.scope == "app" else "watcher.notifier_recovered"
    recipients, detail = told.get(thread_key, ()), asdict(failure)
    news = NewEvent(kind, component.app, recipients, thread_key=thread_key, detail=detail)
    return IncidentChange(failure, tuple(stale), notifiers=enqueue(tx, [news]), closed=True)


def record_results(
    tx: Transaction, notifier: str, results: Sequence[Result], policy: NotifierPolicy
) -> tuple[IncidentChange[NotifierFailure], IncidentChange[NotifierFailure]]:
    """Opens, announces or closes the incident of a notifier by what became of its sends.

    It is announced only if sends failed for all of `alert_after`: an old failure is not a new one.
    Returns what was announced and what was closed.
    """
    component = _notifier_component(notifier, policy)
    nothing: IncidentChange[NotifierFailure] = IncidentChange(None)
    if any(isinstance(result, Sent) for result in results):
        return nothing, close(tx, component)
    errors = [result.error for result in results if isinstance(result, Retry | Dead)]
    if errors:
        incident: Incident | None = open_incident(tx, component, since=tx.now, reason={"message": errors[-1]})
    else:
        incident = _find(tx, component)
    if incident is None or tx.first(_TRIED_IN_VAIN, (notifier, tx.now - policy.alert_after)) is None:
        return nothing, nothing
    return announce_due(tx, component, incident, policy.alert_after), nothing


def to_failure(since: float, reason: str, pending: int) -> Failure:
    """Returns the failure of an app that an incident records."""
    return Failure(**json.loads(reason), since=since, pending_known=pending)


def _notifier_component(name: str, policy: NotifierPolicy) -> Component[NotifierFailure]:
    """Returns a notifier, whose alerts go to the others."""

    def describe(tx: Transaction, incident: Incident) -> NotifierFailure:
        (undelivered,) = tx.execute(_UNDELIVERED, (name, tx.now))[0]
        return NotifierFailure(name, json.loads(incident.reason)["message"], incident.since, undelivered)

    return Component("notifier", name, None, policy.others, describe)


def _find(tx: Transaction, component: Component[F]) -> Incident | None:
    row = tx.first(_FIND, (component.scope, component.name))
    return None if row is None else Incident(*row)
