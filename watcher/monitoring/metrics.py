"""What is counted, for Prometheus. README.md says what each means.

Counters and histograms count what this process did; gauges say how things are when they are read, by the
database, and so are right from the start. Every combination of labels that can come is there from the start
too, so that the first failure is an increase and not a new series. No label holds another side's words.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, get_args

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
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
"""Stands for every type of request that is not known here."""
TYPES: Final = (APPROVAL, FEEDBACK, INVISIBLE, OTHER)
EVENTS: Final = tuple(event for event in get_args(EventType) if event != "watcher.test")
POLL_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
LATENCY_BUCKETS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 86400.0)
ANSWER_BUCKETS: Final = (30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14400.0, 28800.0, 86400.0, 604800.0)
"""People answer within seconds or within days."""

log = structlog.get_logger()


class Metrics(Observer):
    """Counts what it is told of."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        apps: Sequence[str],
        notifiers: Sequence[str],
        outcomes: Sequence[str],
        version: str,
    ) -> None:
        """`outcomes` are those that a poll can have."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry
        self._polls = Counter("watcher_polls", "Polls that ended.", ["app", "outcome"], registry=registry)
        self._poll_duration = Histogram(
            "watcher_poll_duration_seconds",
            "How long polls took.",
            ["app"],
            buckets=POLL_BUCKETS,
            registry=registry,
        )
        self._requests = Counter(
            "watcher_requests", "Requests seen for the first time.", ["app", "type"], registry=registry
        )
        self._resolved = Counter(
            "watcher_resolved", "Requests that ended.", ["app", "outcome"], registry=registry
        )
        self._time_to_answer = Histogram(
            "watcher_time_to_answer_seconds",
            "From the first sight of a request to its answer.",
            ["app"],
            buckets=ANSWER_BUCKETS,
            registry=registry,
        )
        self._deliveries = Counter(
            "watcher_deliveries",
            "Attempts to deliver, and deliveries that were spared.",
            ["notifier", "event", "outcome"],
            registry=registry,
        )
        self._notify_latency = Histogram(
            "watcher_notify_latency_seconds",
            "From the first sight of a request to its acceptance by a notifier.",
            ["notifier"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        Info("watcher_build", "The version that runs.", registry=registry).info({"version": version})
        ProcessCollector(registry=registry)
        self._start_at_zero(apps, notifiers, outcomes)

    def show(self, look: Callable[[], Status]) -> None:
        """Shows as gauges, from now on, what `look` finds at the time of reading; it may raise StoreError."""
        self._registry.register(_Gauges(look))

    def text(self) -> bytes:
        """Returns everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def polled(self, app: str, outcome: str, seconds: float) -> None:
        """Counts a poll."""
        self._polls.labels(app, outcome).inc()
        self._poll_duration.labels(app).observe(seconds)

    def request_seen(self, app: str, kind: str) -> None:
        """Counts a new request."""
        self._requests.labels(app, kind if kind in TYPES else OTHER).inc()

    def request_ended(self, app: str, outcome: Outcome, waited: float) -> None:
        """Counts a request that ended, and how long people took if it was they who ended it."""
        self._resolved.labels(app, outcome).inc()
        if outcome == "answered":
            self._time_to_answer.labels(app).observe(max(waited, 0.0))

    def delivery_ended(
        self, notifier: str, event: EventType, outcome: DeliveryOutcome, latency: float | None = None
    ) -> None:
        """Counts an attempt, and how long people did not know of a request that was told now."""
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


class _Gauges(Collector):
    """Looks when it is read; where the database cannot be read, there are no gauges that time."""

    def __init__(self, look: Callable[[], Status]) -> None:
        self._look = look

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges without values."""
        yield from _families(Status((), ()))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the gauges."""
        try:
            now = self._look()
        except StoreError as error:
            log.warning("metrics.incomplete", error=str(error))
            return
        yield from _families(now)


def _families(now: Status) -> Iterator[GaugeMetricFamily]:
    up = GaugeMetricFamily("watcher_app_up", "Whether the last poll of an app succeeded.", labels=["app"])
    success = GaugeMetricFamily(
        "watcher_last_success_timestamp_seconds", "When an app was last polled successfully.", labels=["app"]
    )
    pending = GaugeMetricFamily("watcher_pending_requests", "Requests that wait.", labels=["app"])
    oldest = GaugeMetricFamily(
        "watcher_oldest_pending_seconds", "How long the oldest request has waited.", labels=["app"]
    )
    for app in now.apps:
        up.add_metric([app.name], app.up)
        pending.add_metric([app.name], app.pending)
        oldest.add_metric([app.name], app.oldest_pending or 0.0)
        if app.succeeded_at is not None:
            success.add_metric([app.name], app.succeeded_at)
    undelivered = GaugeMetricFamily(
        "watcher_undelivered", "Deliveries that are due and not accepted yet.", labels=["notifier"]
    )
    overdue = GaugeMetricFamily(
        "watcher_oldest_undelivered_seconds",
        "How long the oldest of them has been due.",
        labels=["notifier"],
    )
    for notifier in now.notifiers:
        undelivered.add_metric([notifier.name], notifier.undelivered)
        overdue.add_metric([notifier.name], notifier.oldest_undelivered or 0.0)
    yield from (up, success, pending, oldest, undelivered, overdue)
