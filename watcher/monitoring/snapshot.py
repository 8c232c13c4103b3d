"""What the daemon shows of itself, from its database and from what the liveness tracker remembers.

Everything here but `alive` reads the database, on a connection of its own, and may be called on any thread.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final, Self
from urllib.parse import urlencode

from watcher.config.models import AppConfig, NotifierConfig
from watcher.leadership import Standing
from watcher.messages import format_timestamp, given_fields
from watcher.models import DeliveryRecord, Json, PendingRequest, RequestEvent
from watcher.monitoring import health
from watcher.monitoring.health import HealthReport, Problem, Status
from watcher.monitoring.liveness import LivenessTracker
from watcher.monitoring.notifications import Notification, next_reminders, notifications
from watcher.store import StoreError, StoreUnusable, queries
from watcher.store.events import load_request
from watcher.store.results import SUCCESS_SECONDS, AppStatus, NotifierStatus, RecentResolution
from watcher.store.sql import Database, Reader

REQUESTS_PER_PAGE: Final = 50
APPS_PER_PAGE: Final = 100
ENDED_SHOWN: Final = 10

_NUMBER: Final = re.compile("[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class StatusQuery:
    """Which part of the status page to show: requests of one app only, which page of them and of the apps.

    Pages count from 1. With `refresh` the browser reloads the page.
    """

    app: str | None = None
    page: int = 1
    apps: int = 1
    refresh: bool = True

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Self:
        """Returns what a query string asks for; what makes no sense is left at its default."""
        numbers = {
            name: int(query[name])
            for name in ("page", "apps")
            if _NUMBER.fullmatch(query.get(name, "")) and int(query[name])
        }
        return cls(app=query.get("app") or None, refresh=query.get("refresh") != "off", **numbers)

    def link(self, **changes: str | float | None) -> str:
        """Returns a relative address of this page, with some changes."""
        query = replace(self, **changes)  # type: ignore[arg-type]
        parts = {
            "app": query.app,
            "page": query.page if query.page > 1 else None,
            "apps": query.apps if query.apps > 1 else None,
            "refresh": None if query.refresh else "off",
        }
        return f"?{urlencode({name: value for name, value in parts.items() if value is not None})}"


@dataclass(frozen=True, slots=True)
class StatusPageData:
    """What the status page shows at the Unix time `at`; `waiting` is one page of requests."""

    at: float
    query: StatusQuery
    status: Status
    report: HealthReport
    waiting: Sequence[PendingRequest]
    ended: Sequence[RecentResolution]
    notifications: Mapping[int, Sequence[Notification]] = field(default_factory=dict)
    standing: Standing | None = None

    @property
    def apps(self) -> Sequence[AppStatus]:
        """The apps whose requests are shown."""
        return [app for app in self.status.apps if self.query.app in {None, app.name}]

    @property
    def blind(self) -> Sequence[AppStatus]:
        """Those of `apps` that were not seen recently."""
        return [app for app in self.apps if not app.visible]

    @property
    def total(self) -> int:
        """How many requests of `apps` are known to be pending."""
        return sum(app.pending for app in self.apps)

    @property
    def oldest(self) -> float | None:
        """The age of the oldest of them in seconds."""
        return max((app.oldest_pending for app in self.apps if app.oldest_pending is not None), default=None)

    @property
    def pages(self) -> int:
        """How many pages of requests there are."""
        return max(ceil(self.total / REQUESTS_PER_PAGE), 1)

    @property
    def apps_pages(self) -> int:
        """How many pages of apps there are."""
        return max(ceil(len(self.status.apps) / APPS_PER_PAGE), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPageData:
    """All about one request at the Unix time `at`: its event, its app if that is watched, all deliveries.

    `reminders` are the times of those to come, each with its notifier; `answer_hint` is the app's.
    """

    at: float
    event: RequestEvent
    app: AppStatus | None
    deliveries: Sequence[DeliveryRecord]
    notifications: Sequence[Notification]
    reminders: Sequence[tuple[float, str]]
    answer_hint: str | None = None


class Monitor:
    """Reads the state of the configured apps and notifiers, and of no others."""

    def __init__(
        self,
        database: Database,
        apps: Iterable[AppConfig],
        notifiers: Iterable[NotifierConfig],
        *,
        liveness: LivenessTracker,
        wall: Callable[[], float],
        displaced: Callable[[], str | None] = lambda: None,
        standing: Callable[[], Standing] | None = None,
    ) -> None:
        """`wall` gives the Unix time.

        `displaced` returns why the database that is read is not the one that the daemon writes; `standing`
        returns the role of this process where there may be several.
        """
        self._database = database
        self._displaced = displaced
        self._apps = {app.name: app for app in apps}
        self._intervals = {app.name: app.poll_interval for app in self._apps.values()}
        self._notifiers = {notifier.name: notifier for notifier in notifiers}
        self._liveness = liveness
        self.wall = wall
        self._standing: Callable[[], Standing | None] = standing or (lambda: None)

    def alive(self) -> HealthReport:
        """Returns whether every part of the daemon makes progress."""
        return health.liveness(self._liveness.deadlines(), self._liveness.now())

    def ready(self) -> HealthReport:
        """Returns whether people can rely on being notified."""
        standing = self._standing()
        if standing is not None and standing.role == "standby":
            return health.standby_readiness(standing)
        try:
            return replace(health.readiness(self.snapshot()), standing=standing)
        except StoreError as error:
            return HealthReport((Problem("part", "database", str(error)),), standing)

    def database_problem(self) -> str | None:
        """Returns why the database cannot be read, None if it can."""
        try:
            with self._reading():
                return None
        except StoreError as error:
            return str(error)

    def snapshot(self) -> Status:
        """Returns the state of the apps and the notifiers.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._reading() as database:
            return self._snapshot(database)

    def pending(self, after: tuple[float, int] | None = None) -> Sequence[PendingRequest]:
        """Returns some of the pending requests, see `queries.pending_part`.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._reading() as database:
            return queries.pending_part(database, list(self._apps), after)

    def request(self, request: int) -> RequestPageData | None:
        """Returns all about the request of this id, None if there is none.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._reading() as database:
            event = load_request(database, request)
            if event is None:
                return None
            at, status = self.wall(), self._snapshot(database)
            deliveries = queries.request_deliveries(database, [request])[request]
        app = self._apps.get(event.app.name)
        known = [self._notifiers[name] for name in app.notify if name in self._notifiers] if app else []
        return RequestPageData(
            at=at,
            event=event,
            app=next((one for one in status.apps if one.name == event.app.name), None),
            deliveries=deliveries,
            notifications=self._notifications(event.app.name, deliveries, status, at),
            reminders=next_reminders(known, deliveries, first_seen_at=event.first_seen_at, now=at),
            answer_hint=app.answer_hint if app else None,
        )

    def view(self, query: StatusQuery) -> StatusPageData | None:
        """Returns what the status page shows, None if there is no such app.

        Instead of a page after the last one it returns the last: there may have been more when it was asked.

        Raises:
            StoreError: the database cannot be read.
        """
        with self._reading() as database:
            status = self._snapshot(database)
            ended = queries.ended_requests(database, limit=ENDED_SHOWN)
            data = StatusPageData(
                self.wall(), query, status, health.readiness(status), (), ended, standing=self._standing()
            )
            if not data.apps:
                return None
            page, apps = min(query.page, data.pages), min(query.apps, data.apps_pages)
            data = replace(data, query=replace(query, page=page, apps=apps))
            waiting = queries.pending_requests(
                database,
                [app.name for app in data.apps],
                limit=REQUESTS_PER_PAGE,
                offset=(page - 1) * REQUESTS_PER_PAGE,
                details=True,
            )
            about = queries.request_deliveries(database, [request.id for request in waiting])
        told = {
            request.id: self._notifications(request.app, about[request.id], status, data.at)
            for request in waiting
        }
        return replace(data, waiting=waiting, notifications=told)

    @contextmanager
    def _reading(self) -> Iterator[Reader]:
        if problem := self._displaced():
            raise StoreUnusable(problem)
        with self._database.reading() as database:
            yield database

    def _snapshot(self, database: Reader) -> Status:
        at = self.wall()
        apps = queries.apps(database, self._intervals, now=at)
        notifiers = queries.notifiers(database, self._intervals, now=at)
        return Status(
            tuple(self._add_polls(app) for app in apps),
            tuple(notifiers.get(name, NotifierStatus(name)) for name in self._notifiers),
        )

    def _notifications(
        self, app: str, deliveries: Sequence[DeliveryRecord], status: Status, at: float
    ) -> tuple[Notification, ...]:
        paused = {notifier.name: notifier.paused_for for notifier in status.notifiers}
        names = self._apps[app].notify if app in self._apps else ()
        return notifications(names, deliveries, now=at, paused=paused)

    def _add_polls(self, app: AppStatus) -> AppStatus:
        """Adds what this process knows of an app's polls; a standby goes by what the leader records."""
        standing = self._standing()
        if standing is not None and standing.role == "standby":
            if app.succeeded_at is None:
                return app
            ago = max(self.wall() - app.succeeded_at - SUCCESS_SECONDS, 0.0)
            return replace(app, polled_ago=ago, succeeded_ago=ago)
        now, last = self._liveness.now(), self._liveness.last(app.name)
        success = self._liveness.last_success(app.name)
        if last is not None:
            app = replace(app, polled_ago=now - last.ended, took=last.took)
        if success is not None:
            app = replace(app, succeeded_ago=now - success.ended, succeeded_at=success.ended_at)
        return app


def pending_json(request: PendingRequest, now: float) -> dict[str, Json]:
    """Returns a pending request as JSON, here and on the command line; an invisible request has no id."""
    return {
        "id": request.id,
        "app": request.app,
        "run_id": request.run_id,
        "request_id": request.request_id or None,
        "type": request.type,
        "prompt": request.prompt,
        "first_seen_at": format_timestamp(request.first_seen_at),
        "waiting_seconds": max(int(now - request.first_seen_at), 0),
        "params": request.params,
        "editable_params": list(request.editable_params),
        "masked": list(request.masked),
        **given_fields(request),
        "told": list(request.told),
        "link": request.link,
    }
