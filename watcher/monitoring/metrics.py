"""The metrics for Prometheus. deploy/monitoring.md says what each means.

Counters and histograms count what this process did. Gauges are read from the database at each scrape, so they
are right from the start. Every combination of labels exists from the start too, so the first failure is an
increase and not a new series. No label holds other people's text.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, get_args

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from watcher.hooks import DeliveryOutcome, Observer
from watcher.models import APPROVAL, FEEDBACK, INVISIBLE, EventType, Outcome
from watcher.monitoring.health import Status
from watcher.store import StoreError

OTHER: Final = "other"
"""Stands for every request type that the API adds later."""
TYPES: Final = (APPROVAL, FEEDBACK, INVISIBLE, OTHER)
EVENTS: Final = tuple(event for event in get_args(EventType) if event != "watcher.test")
POLL_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
LATENCY_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86400.0)
ANSWER_BUCKETS: Final = (30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 28800.0, 86400.0, 604800.0)
"""People answer within seconds or within days."""

log = structlog.get_logger()


class Metrics(Observer):
    """Counts what the hooks report."""

    def __init__(
        self, *, apps: Sequence[str], notifiers: Sequence[str], outcomes: Sequence[str], version: str
    ) -> None:
        """`outcomes` are all that a poll can have; `version` is the version that runs."""
        self._registry = registry = _registry(version, leads=True)
        self._polls = Counter("watcher_polls", "Polls by outcome.", ["app", "outcome"], registry=registry)
        self._poll_duration = Histogram(
            "watcher_poll_duration_seconds",
            "Poll duration.",
            ["app"],
            buckets=POLL_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "watcher_requests", "New requests by type.", ["app", "type"], registry=registry
        )
        self._resolved = Counter(
            "watcher_resolved", "Resolved requests by outcome.", ["app", "outcome"], registry=registry
        )
        self._time_to_answer = Histogram(
            "watcher_time_to_answer_seconds",
            "Time from first seeing a request to its answer.",
            ["app"],
            buckets=ANSWER_BUCKETS,
            registry=registry,
        )
        self._deliveries = Counter(
            "watcher_deliveries",
            "Delivery attempts by outcome, and deliveries that became unnecessary.",
            ["notifier", "event", "outcome"],
            registry=registry,
        )
        self._notify_latency = Histogram(
            "watcher_notify_latency_seconds",
            "Time from first seeing a request to the notifier accepting the message.",
            ["notifier"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._start_at_zero(apps, notifiers, outcomes)

    def show(self, snapshot: Callable[[], Status]) -> None:
        """Exports the status as gauges; `snapshot` is called at each scrape and may raise StoreError."""
        self._registry.register(_Gauges(snapshot))

    def text(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def polled(self, app: str, outcome: str, seconds: float) -> None:
        """Counts a poll."""
        self._polls.labels(app, outcome).inc()
        self._poll_duration.labels(app).observe(seconds)

    def request_seen(self, app: str, kind: str) -> None:
        """Counts a new request."""
        self._requests.labels(app, kind if kind in TYPES else OTHER).inc()

    def request_ended(self, app: str, outcome: Outcome, waited: float) -> None:
        """Counts a resolved request, and the time to answer if it was answered."""
        self._resolved.labels(app, outcome).inc()
        if outcome == "answered":
            self._time_to_answer.labels(app).observe(max(waited, 0.0))

    def delivery_ended(
        self, notifier: str, event: EventType, outcome: DeliveryOutcome, latency: float | None = None
    ) -> None:
        """Counts an attempt, and the latency if it announced a request."""
        self._deliveries.labels(notifier, event, outcome).inc()
        if event == "run.input_requested" and outcome == "sent" and latency is not None:
            self._notify_latency.labels(notifier).observe(max(latency, 0.0))

    def _start_at_zero(self, apps: Sequence[str], notifiers: Sequence[str], outcomes: Sequence[str]) -> None:
        for app in apps:
            for outcome in outcomes:
                self._polls.labels(app, outcome)
            for kind in TYPES:
                self._requests.labels(app, kind)
            for ending in get_args(Outcome):
                self._resolved.labels(app, ending)
            self._poll_duration.labels(app)
            self._time_to_answer.labels(app)
        for notifier in notifiers:
            self._notify_latency.labels(notifier)
            for event in EVENTS:
                for result in get_args(DeliveryOutcome):
                    self._deliveries.labels(notifier, event, result)


def standby_metrics(version: str) -> bytes:
    """Returns the metrics of a replica that stands by: none of the leader's, which would be counted twice."""
    return generate_latest(_registry(version, leads=False))


def _registry(version: str, *, leads: bool) -> CollectorRegistry:
    """Returns a registry with what every process exports."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    Info("watcher_build", "Version of the running watcher.", registry=registry).info({"version": version})
    Gauge("watcher_leader", "1 if this process leads, 0 if it stands by.", registry=registry).set(leads)
    ProcessCollector(registry=registry)
    return registry


class _Gauges(Collector):
    """Reads the status at each scrape; without a readable database a scrape has no gauges."""

    def __init__(self, snapshot: Callable[[], Status]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges without values."""
        yield from _families(Status((), ()))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges."""
        try:
            status = self._snapshot()
        except StoreError as error:
            log.warning("metrics.incomplete", error=str(error))
            return
        yield from _families(status)


def _families(status: Status) -> Iterator[GaugeMetricFamily]:
    up = _gauge("app_up", "Whether the last poll of an app succeeded.", "app")
    success = _gauge("last_success_timestamp_seconds", "Unix time of the last successful poll.", "app")
    pending = _gauge("pending_requests", "Pending requests; absent until the first successful poll.", "app")
    oldest = _gauge("oldest_pending_seconds", "Age of the oldest pending request, 0 without one.", "app")
    for app in status.apps:
        up.add_metric([app.name], app.up)
        if app.worked or app.pending:  # zero would claim that an app that was never read is empty
            pending.add_metric([app.name], app.pending)
            oldest.add_metric([app.name], app.oldest_pending or 0.0)
        if app.succeeded_at is not None:
            success.add_metric([app.name], app.succeeded_at)
    undelivered = _gauge("undelivered", "Deliveries that are due and not accepted yet.", "notifier")
    overdue = _gauge(
        "oldest_undelivered_seconds", "Age of the oldest undelivered delivery, 0 without one.", "notifier"
    )
    for notifier in status.notifiers:
        undelivered.add_metric([notifier.name], notifier.undelivered)
        overdue.add_metric([notifier.name], notifier.oldest_undelivered or 0.0)
    yield from (up, success, pending, oldest, undelivered, overdue)


def _gauge(name: str, documentation: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"watcher_{name}", documentation, labels=[label])
