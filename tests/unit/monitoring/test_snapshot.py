"""How the daemon is, by its database and its memory."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.support.builders import (
    APP,
    BOTH,
    NOW,
    PEOPLE,
    Clock,
    claim,
    corrupt_database,
    make_new_request,
    open_store,
    record_answered,
    record_new,
)
from tests.support.databases import Place
from watcher.config.models import AppConfig, NotifierConfig
from watcher.models import Route
from watcher.monitoring.liveness import LivenessTracker
from watcher.monitoring.notifications import Notification
from watcher.monitoring.snapshot import (
    REQUESTS_PER_PAGE,
    Monitor,
    RequestPageData,
    StatusPageData,
    StatusQuery,
    pending_json,
)
from watcher.sanitize.redactor import MASK
from watcher.store import AppFailure, Dead, Retry, Sent, Store, StoreError, queries

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True)
class Bench:
    """A store, the clocks, and a monitor of it."""

    database: Place
    store: Store
    clock: Clock
    liveness: LivenessTracker
    monitor: Monitor

    def view(self, **query: Any) -> StatusPageData:
        """What the status page shows."""
        data = self.monitor.view(StatusQuery(**query))
        assert data is not None
        return data

    def request(self, number: int) -> RequestPageData:
        """What the page of a request shows."""
        data = self.monitor.request(number)
        assert data is not None
        return data

    def standing(self) -> tuple[tuple[int, float | None], Mapping[str, tuple[int, float | None, int]]]:
        """What waits of the app, and what is undelivered and dead of each notifier."""
        now = self.monitor.snapshot()
        (app,) = now.apps
        return (app.pending, app.oldest_pending), {
            notifier.name: (notifier.undelivered, notifier.oldest_undelivered, notifier.dead)
            for notifier in now.notifiers
        }


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[Bench]:
    """A monitor of an empty database, as right after a start."""
    clock = Clock()
    liveness = LivenessTracker(monotonic=clock.time, wall=clock.time)
    monitor = Monitor(
        database,
        [AppConfig(name=APP.name, base_url=APP.base_url, notify=("slack", "webhook"))],
        [NotifierConfig(name="slack"), NotifierConfig(name="webhook", after=60.0)],
        liveness=liveness,
        wall=clock.time,
    )
    async with open_store(database) as store:
        yield Bench(database, store, clock, liveness, monitor)


async def fail(store: Store, code: str = "timeout") -> None:
    """Records that the app cannot be polled."""
    await store.record_failure(APP, BOTH, AppFailure(None, code, "too slow", NOW), alert_after=1e9, now=NOW)


async def test_a_fresh_start_is_not_ready(bench: Bench) -> None:
    """Until the first poll nobody knows what waits, and that is said."""
    assert ["app support: not checked yet"] == [str(problem) for problem in bench.monitor.ready().problems]
    bench.liveness.polled(APP.name, "success", 0.1)
    assert bench.monitor.ready().good


async def test_what_waits_is_known_right_after_a_start(bench: Bench) -> None:
    """What an earlier process recorded counts before anything was polled."""
    await record_new(bench.store, make_new_request("run-1"), make_new_request("run-2"))
    bench.clock.now += 60
    waiting = {"slack": (2, 60.0, 0), "webhook": (2, 60.0, 0)}
    assert ((2, 60.0), waiting) == bench.standing()
    await record_answered(bench.store, "run-1", now=bench.clock.now)
    assert (1, 60.0) == bench.standing()[0]


async def test_what_is_not_due_yet_is_not_undelivered(bench: Bench) -> None:
    """An escalation that waits for its time is no arrears, until its time has come."""
    await record_new(bench.store, routes=[Route("slack", for_people=True, after=900.0)])
    bench.clock.now += 600
    assert (0, None, 0) == bench.standing()[1]["slack"]
    bench.clock.now += 301
    assert (1, 1.0, 0) == bench.standing()[1]["slack"]


async def test_what_is_retried_stays_undelivered_since_it_was_due(bench: Bench) -> None:
    """Waiting for the next attempt does not hide a delivery, and its error is shown."""
    await record_new(bench.store)
    (delivery,) = await claim(bench.store, "slack")
    await bench.store.settle_and_claim(
        "slack", [Retry(delivery.id, "HTTP 500", NOW + 9000)], limit=0, now=NOW, pause_until=NOW + 700
    )
    bench.clock.now += 600
    slack, _ = bench.monitor.snapshot().notifiers
    assert (1, 600.0, "HTTP 500", 100.0) == (
        slack.undelivered,
        slack.oldest_undelivered,
        slack.last_error,
        slack.paused_for,
    )
    assert [("notifier", "slack"), ("notifier", "webhook")] == [
        (problem.kind, problem.name) for problem in bench.monitor.ready().problems[1:]
    ]


async def test_the_dead_are_counted(bench: Bench) -> None:
    """A delivery that was given up is dead and no longer undelivered."""
    await record_new(bench.store)
    (delivery,) = await claim(bench.store, "webhook")
    await bench.store.settle_and_claim("webhook", [Dead(delivery.id, "HTTP 410")], limit=0, now=NOW)
    assert (0, None, 1) == bench.standing()[1]["webhook"]


async def test_only_what_is_configured_counts(bench: Bench) -> None:
    """Deliveries and failures of what was taken out of the configuration are nobody's problem."""
    bench.liveness.polled(APP.name, "success", 0.1)
    await record_new(bench.store, routes=[Route("gone", for_people=True)])
    await bench.store.dead_letter_removed(["slack", "webhook"], now=NOW)
    bench.clock.now += 30
    assert bench.monitor.ready().good
    with bench.database.reading() as reader:
        assert {"gone"} == queries.notifiers(reader, [], now=NOW).keys()


async def test_up_and_down(bench: Bench) -> None:
    """An app is up if the last poll that anybody recorded succeeded, in whichever process."""
    assert not bench.monitor.snapshot().apps[0].up
    await bench.store.record_success(APP, BOTH, invisible=frozenset(), now=NOW)
    assert bench.monitor.snapshot().apps[0].up
    await fail(bench.store)
    (app,) = bench.monitor.snapshot().apps
    assert (False, "timeout") == (app.up, app.failure and app.failure.code)


async def test_lanes_must_go_round(bench: Bench) -> None:
    """A worker of the dispatcher that is stuck is named, and so is anything else that should have stirred."""
    bench.liveness.set_deadline("notifier slack", 5.0)
    bench.liveness.set_deadline("scheduler", 600.0)
    bench.clock.now += 60
    assert bench.monitor.alive().good
    bench.clock.now += 6
    assert ["notifier slack"] == [problem.name for problem in bench.monitor.alive().problems]


async def test_a_database_that_cannot_be_read(bench: Bench) -> None:
    """It is a problem of its own, not an exception, for those who ask whether the daemon is ready."""
    corrupt_database(bench.database)
    assert ["database"] == [problem.name for problem in bench.monitor.ready().problems]
    with pytest.raises(StoreError):
        bench.monitor.view(StatusQuery())


async def test_the_page_has_pages(bench: Bench) -> None:
    """However much is waiting, a page shows a part of it, the longest waiting first, and counts all."""
    names = [f"run-{number}" for number in range(REQUESTS_PER_PAGE + 5)]
    await record_new(bench.store, *map(make_new_request, names))
    first, second = bench.view(), bench.view(page=2)
    assert names == [request.run_id for page in (first, second) for request in page.waiting]
    assert [(len(names), 2)] * 2 == [(page.total, page.pages) for page in (first, second)]
    assert len(names) == len(bench.monitor.pending())


async def test_a_page_that_does_not_exist(bench: Bench) -> None:
    """An app that is not configured is not found; a page that reloads itself never ends as not found."""
    assert bench.view(app=APP.name).apps
    assert bench.monitor.view(StatusQuery(app="gone")) is None
    for query in (StatusQuery(page=2), StatusQuery(apps=2)):
        assert bench.view().query == bench.view(page=query.page, apps=query.apps).query


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, StatusQuery()),
        ({"app": "support", "page": "2", "apps": "3", "refresh": "off"}, StatusQuery("support", 2, 3, False)),  # noqa: FBT003 - a fact
        ({"app": "", "page": "0", "apps": "-1", "refresh": "on"}, StatusQuery()),
        ({"page": "9" * 5000, "apps": "\u0663", "other": "x"}, StatusQuery()),
    ],
)
def test_what_an_address_asks_for(query: dict[str, str], expected: StatusQuery) -> None:
    """What makes no sense is left at its default, and every link says what it asks for."""
    found = StatusQuery.parse(query)
    assert expected == found
    assert found == StatusQuery.parse(dict(parse_qsl(found.link().removeprefix("?"))))


async def test_what_ended_last_comes_first(bench: Bench) -> None:
    """The view lists what was resolved, the latest first, with its outcome."""
    await record_new(bench.store, make_new_request("run-1"), make_new_request("run-2"))
    await record_answered(bench.store, "run-2", now=NOW + 10)
    await record_answered(bench.store, "run-1", now=NOW + 20)
    assert [("run-1", "answered", NOW + 20), ("run-2", "answered", NOW + 10)] == [
        (ended.run_id, ended.outcome, ended.resolved_at) for ended in bench.view().ended
    ]


async def ask(bench: Bench, run_id: str = "run-1", **request: Any) -> None:
    """Records a request with these contents, of a user."""
    new = make_new_request(run_id)
    asked = replace(
        new, run=replace(new.run, user_id="customer-7421"), request=replace(new.request, **request)
    )
    await record_new(bench.store, asked)


async def test_the_page_knows_what_requests_are_about(bench: Bench) -> None:
    """The page has the parameters of what is waiting and who asks, but nothing that would not fit on it."""
    small, huge = {"amount": 620}, {"text": "x" * 20_000}
    await ask(bench, "run-1", params=small, editable_params=("amount",))
    await ask(bench, "run-2", params=huge)
    first, second = bench.view().waiting
    assert (small, ("amount",), "customer-7421") == (first.params, first.editable_params, first.user_id)
    assert f"({len(json.dumps(huge))} characters)" == second.params


async def test_programs_get_everything(bench: Bench) -> None:
    """As JSON a request has its id, whole parameters, which can be edited, and which are masked, by path."""
    params = {"amount": 620, "llm": {"api_key": MASK}, "text": "x" * 20_000}
    await ask(bench, params=params, editable_params=("amount",), masked=("llm.api_key",))
    (request,) = bench.monitor.pending()
    shown = pending_json(request, NOW + 60)
    assert (params, ["amount"]) == (shown["params"], shown["editable_params"])
    assert ["llm.api_key"] == shown["masked"]
    assert (request.id, 60) == (shown["id"], shown["waiting_seconds"])
    assert bench.monitor.request(request.id) is not None


async def test_questions_are_in_the_list(bench: Bench) -> None:
    """A request with questions or a takeover has them as JSON and on the page, any other has neither."""
    asked = {"questions": [{"question": "Which?"}], "is_browser_takeover": True}
    await ask(bench, "run-1", **asked)
    await ask(bench, "run-2")
    first, second = (pending_json(request, NOW) for request in bench.monitor.pending())
    assert asked == {name: first[name] for name in asked}
    assert not asked.keys() & second.keys()
    assert [asked["questions"], None] == [request.questions for request in bench.view().waiting]


async def test_all_about_one_request(bench: Bench) -> None:
    """A request is found by its id, pending or ended, with its deliveries and the reminders to come."""
    await ask(bench, prompt="Refund?")
    (request,) = bench.monitor.pending()
    assert bench.monitor.request(request.id + 1) is None
    (delivery,) = await claim(bench.store, "slack")
    await bench.store.settle_and_claim("slack", [Sent(delivery.id, None)], limit=0, now=NOW + 1)
    found = bench.request(request.id)
    assert ("Refund?", None, 15.0) == (found.event.request.prompt, found.event.resolution, found.app and 15.0)
    assert (Notification("slack", NOW + 1), Notification("webhook", reason="queued")) == found.notifications
    assert [(NOW + 1800, "slack"), (NOW + 1800, "webhook"), (NOW + 7200, "slack")] == list(
        found.reminders[:3]
    )
    assert ["slack", "webhook"] == [record.notifier for record in found.deliveries]
    await record_answered(bench.store, now=NOW + 10)
    resolution = bench.request(request.id).event.resolution
    assert resolution is not None
    assert ("answered", NOW + 10) == (resolution.outcome, resolution.resolved_at)


async def test_a_request_that_was_announced_in_a_digest(bench: Bench) -> None:
    """Who got a digest was notified of each request in it."""
    routes = [replace(PEOPLE, digests=True)]
    await record_new(bench.store, *map(make_new_request, ("run-1", "run-2", "run-3")), routes=routes)
    await bench.store.release_held(APP.name, digest_above=2, now=NOW)
    (delivery,) = await claim(bench.store, "slack")
    await bench.store.settle_and_claim("slack", [Sent(delivery.id, None)], limit=0, now=NOW + 1)
    view = bench.view()
    expected = (Notification("slack", NOW + 1), Notification("webhook", reason="no message is planned"))
    assert [expected] * 3 == [view.notifications[request.id] for request in view.waiting]


async def test_the_list_is_read_in_parts(bench: Bench) -> None:
    """However much is waiting, no part is larger than is good, and no request is missed or repeated."""
    names = [f"run-{number:03}" for number in range(250)]
    await record_new(bench.store, *map(make_new_request, names))
    await ask(bench, "run-x", params={"text": "x" * 400_000})
    await ask(bench, "run-y", params={"text": "x" * 400_000})
    parts = [part := bench.monitor.pending()]
    while part := bench.monitor.pending((part[-1].first_seen_at, part[-1].id)):
        parts.append(part)
    assert [100, 100, 50, 1, 1] == [len(part) for part in parts]
    assert [*names, "run-x", "run-y"] == [request.run_id for part in parts for request in part]
    with bench.database.reading() as reader:
        assert 252 == len(list(queries.all_pending(reader, [APP.name])))
