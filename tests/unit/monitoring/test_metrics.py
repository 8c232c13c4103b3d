"""What is counted, and what Prometheus reads."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from tests.support.builders import NOW, ScriptedNotifier, lock_database, make_worker, record_new
from tests.support.databases import Place
from tests.support.poll_bench import PollBench, api_run, open_bench, question, refusal
from watcher.hooks import Observer
from watcher.models import Failure
from watcher.monitoring.health import Status
from watcher.monitoring.metrics import Metrics, standby_metrics
from watcher.notifiers.base import DeliveryError
from watcher.polling.poller import OUTCOMES
from watcher.store import StoreUnavailable
from watcher.store.results import AppStatus, NotifierStatus

pytestmark = pytest.mark.anyio


def make_metrics() -> Metrics:
    """Metrics of one app and two notifiers."""
    return Metrics(
        apps=["support"],
        notifiers=["slack", "webhook"],
        outcomes=OUTCOMES,
        version="1.2.3",
    )


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample, by its name and the values of its labels in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


class Listener(Observer):
    """Keeps what it is told, without the seconds that nobody can foresee."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.parts: set[str] = set()

    def set_deadline(self, part: str, within: float) -> None:
        """Keeps the part."""
        assert within > 0
        self.parts.add(part)

    def polled(self, app: str, outcome: str, seconds: float) -> None:
        """Keeps app and outcome."""
        assert seconds >= 0
        self.heard.append(("polled", app, outcome))

    def request_seen(self, app: str, kind: str) -> None:
        """Keeps everything."""
        self.heard.append(("seen", app, kind))

    def request_ended(self, app: str, outcome: str, waited: float) -> None:
        """Keeps everything."""
        self.heard.append(("ended", app, outcome, waited))

    def delivery_ended(self, notifier: str, event: str, outcome: str, latency: float | None = None) -> None:
        """Keeps everything."""
        self.heard.append(("delivery", notifier, event, outcome, latency))


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[PollBench]:
    """A poller's surroundings."""
    async with open_bench(database) as opened:
        yield opened


def test_every_combination_is_there_from_the_start() -> None:
    """The first failure of a kind is an increase of a series that was there, at zero."""
    found = samples(make_metrics())
    for outcome in ("success", "timeout", "unauthorized", "rate_limited", "server_error", "database_error"):
        assert 0 == found["watcher_polls_total", "support", outcome]
    for kind in ("approval_request", "human_feedback", "unknown", "other"):
        assert 0 == found["watcher_requests_total", "support", kind]
    for outcome in ("answered", "canceled", "failed", "gone", "replaced"):
        assert 0 == found["watcher_resolved_total", "support", outcome]
    for outcome in ("sent", "retry", "superseded", "dead"):
        assert 0 == found["watcher_deliveries_total", "run.input_reminder", "slack", outcome]
    assert 0 == found["watcher_poll_duration_seconds_count", "support"]
    assert 0 == found["watcher_time_to_answer_seconds_count", "support"]
    assert 0 == found["watcher_notify_latency_seconds_count", "webhook"]
    assert 1 == found["watcher_build_info", "1.2.3"]


def test_what_is_counted() -> None:
    """Each happening counts once, under its labels."""
    metrics = make_metrics()
    metrics.polled("support", "timeout", 12.5)
    metrics.request_seen("support", "approval_request")
    metrics.request_ended("support", "answered", 61.0)
    metrics.request_ended("support", "canceled", 5.0)
    metrics.delivery_ended("slack", "run.input_requested", "retry", 1.0)
    metrics.delivery_ended("slack", "run.input_requested", "sent", 3.0)
    metrics.delivery_ended("slack", "run.input_resolved", "sent", 70.0)
    found = samples(metrics)
    assert 1 == found["watcher_polls_total", "support", "timeout"]
    assert 12.5 == found["watcher_poll_duration_seconds_sum", "support"]
    assert 1 == found["watcher_requests_total", "support", "approval_request"]
    assert 1 == found["watcher_resolved_total", "support", "answered"]
    assert 1 == found["watcher_resolved_total", "support", "canceled"]
    assert 61 == found["watcher_time_to_answer_seconds_sum", "support"]
    assert 1 == found["watcher_deliveries_total", "run.input_requested", "slack", "retry"]
    assert 1 == found["watcher_deliveries_total", "run.input_requested", "slack", "sent"]
    assert 1 == found["watcher_deliveries_total", "run.input_resolved", "slack", "sent"]
    assert 3 == found["watcher_notify_latency_seconds_sum", "slack"]


def test_labels_hold_no_words_of_others() -> None:
    """However many types of request an API makes up, they are one series."""
    metrics = make_metrics()
    for number in range(5):
        metrics.request_seen("support", f"made_up_{number}")
    found = samples(metrics)
    assert 5 == found["watcher_requests_total", "support", "other"]
    assert not [name for name in found if "made_up" in str(name)]


def test_a_clock_set_back_makes_no_negative_durations() -> None:
    """A histogram's sum never falls, whatever the wall clock does."""
    metrics = make_metrics()
    metrics.request_ended("support", "answered", -3600.0)
    metrics.delivery_ended("slack", "run.input_requested", "sent", -3600.0)
    found = samples(metrics)
    assert 0 == found["watcher_time_to_answer_seconds_sum", "support"]
    assert 0 == found["watcher_notify_latency_seconds_sum", "slack"]


def test_gauges_are_looked_up_when_they_are_read() -> None:
    """Every reading shows how things are then; an app without a success has no time of one."""
    failure = Failure(500, "server_error", "broken", NOW, 2)
    waiting = AppStatus("support", 15.0, 1.0, 0.1, 1.0, NOW, True, None, 2, 60.0)  # noqa: FBT003 - a fact
    failing = AppStatus("support", 15.0, 1.0, 0.1, None, None, True, failure, 0, None)  # noqa: FBT003 - a fact
    slack = NotifierStatus("slack", 3, 301.0, None, 0, None, None)
    looks = iter([Status((waiting,), (slack,)), Status((failing,), ())])
    metrics = make_metrics()
    metrics.show(lambda: next(looks))
    first, second = samples(metrics), samples(metrics)
    assert (1, 2, 60, NOW) == (
        first["watcher_app_up", "support"],
        first["watcher_pending_requests", "support"],
        first["watcher_oldest_pending_seconds", "support"],
        first["watcher_last_success_timestamp_seconds", "support"],
    )
    assert (3, 301) == (
        first["watcher_undelivered", "slack"],
        first["watcher_oldest_undelivered_seconds", "slack"],
    )
    assert (0, 0, 0) == (
        second["watcher_app_up", "support"],
        second["watcher_pending_requests", "support"],
        second["watcher_oldest_pending_seconds", "support"],
    )
    assert ("watcher_last_success_timestamp_seconds", "support") not in second


def test_an_app_that_was_never_read_is_not_called_empty() -> None:
    """Without a successful poll there is no number of pending requests, unless some are known anyway."""
    never = AppStatus("support", 15.0, 1.0, 0.1, None, None, False, None, 0, None)  # noqa: FBT003 - a fact
    metrics = make_metrics()
    metrics.show(lambda: Status((never,), ()))
    found = samples(metrics)
    assert 0 == found["watcher_app_up", "support"]
    assert not {"watcher_pending_requests", "watcher_oldest_pending_seconds"} & {name for name, *_ in found}
    metrics = make_metrics()
    metrics.show(lambda: Status((replace(never, pending=2, oldest_pending=5.0),), ()))
    assert 2 == samples(metrics)["watcher_pending_requests", "support"]


def test_a_database_that_cannot_be_read_takes_only_the_gauges() -> None:
    """Counters are still told, and why the rest is missing is logged."""

    def look() -> Status:
        raise StoreUnavailable("database is locked")

    metrics = make_metrics()
    metrics.show(look)
    with capture_logs() as logs:
        found = samples(metrics)
    assert ("watcher_build_info", "1.2.3") in found
    assert not [name for name in found if name[0] == "watcher_app_up"]
    assert ["metrics.incomplete"] == [record["event"] for record in logs]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_finds_nothing_to_criticise() -> None:
    """Prometheus' own checker of names, units and help texts is content."""
    metrics = make_metrics()
    metrics.show(lambda: Status((), ()))
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=metrics.text(), capture_output=True, timeout=60, check=False
    )
    assert (0, b"", b"") == (checked.returncode, checked.stdout, checked.stderr)


async def test_what_a_poller_reports(bench: PollBench) -> None:
    """A poller tells of each poll and its outcome, of each request, and of how long it waited."""
    listener = Listener()
    poller = bench.poller(observer=listener)
    bench.api.lists(api_run("run-1", question()))
    await poller.poll()
    bench.clock.now += 42
    bench.api.pages = [[]]
    bench.api.runs["run-1"] = api_run("run-1", status="completed")
    await poller.poll()
    bench.api.pages = [refusal(401, "some_code_of_theirs", "no")]
    await poller.poll()
    bench.api.lists(api_run("run-2", question()))
    with closing(lock_database(bench.database)):
        await poller.poll()
    assert [
        ("seen", "support", "approval_request"),
        ("polled", "support", "success"),
        ("ended", "support", "answered", 42.0),
        ("delivery", "slack", "run.input_requested", "superseded", None),
        ("polled", "support", "success"),
        ("polled", "support", "unauthorized"),
        ("polled", "support", "database_error"),
    ] == listener.heard


async def test_what_a_lane_reports(database: Place) -> None:
    """A worker tells of every attempt and its outcome, with the time since the request was first seen."""
    notifier, listener = ScriptedNotifier(script=[DeliveryError("no")]), Listener()
    async with open_bench(database) as opened:
        await record_new(opened.store)
        worker = make_worker(notifier, opened.store, opened.clock, observer=listener)
        opened.clock.now += 2
        await worker.run(until_idle=True)
        opened.clock.now += 5
        await worker.run(until_idle=True)
    assert [
        ("delivery", "slack", "run.input_requested", "retry", 2.0),
        ("delivery", "slack", "run.input_requested", "sent", 7.0),
    ] == listener.heard
    assert {"notifier slack"} == listener.parts


async def test_a_lane_reports_the_dead(database: Place) -> None:
    """What is given up is told of as dead."""
    async with open_bench(database) as opened:
        await record_new(opened.store)
        opened.clock.now += 100_000
        listener = Listener()
        notifier = ScriptedNotifier(script=[DeliveryError("no")])
        worker = make_worker(notifier, opened.store, opened.clock, observer=listener, give_up_after=0.0)
        await worker.run(until_idle=True)
    assert [("delivery", "slack", "run.input_requested", "dead", 100_000.0)] == listener.heard


def test_who_leads() -> None:
    """The leader exports `watcher_leader` 1; a standby exports only that as 0, with build and process."""
    assert samples(make_metrics())["watcher_leader",] == 1
    families = list(text_string_to_metric_families(standby_metrics("1.2.3").decode()))
    names = {family.name for family in families if not family.name.startswith("process_")}
    assert names == {"watcher_build_info", "watcher_leader"}
    assert [family.samples[0].value for family in families if family.name == "watcher_leader"] == [0]
