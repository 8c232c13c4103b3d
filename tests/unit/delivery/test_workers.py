"""Delivery workers: how much goes out at once, what makes them go on, and how they end."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.builders import (
    APP,
    BOTH,
    MACHINE,
    NOW,
    PEOPLE,
    Clock,
    ScriptedNotifier,
    WatchedStore,
    corrupt_database,
    event_of,
    lock_database,
    make_new_request,
    make_worker,
    outbox,
    record_answered,
    record_new,
    records,
    run_ids,
    soon,
)
from tests.support.databases import Place
from watcher.delivery import retry
from watcher.delivery import worker as worker_module
from watcher.delivery.dispatcher import Dispatcher
from watcher.delivery.rate_limit import RateLimiter
from watcher.models import App, DigestEvent, RequestEvent, Route
from watcher.monitoring.liveness import LivenessTracker
from watcher.notifiers.base import DeliveryError
from watcher.store import AppFailure, Claim, NotifierPolicy, Result, StoreUnavailable, StoreUnusable, sqlite

pytestmark = pytest.mark.anyio

NEWS, END = "run.input_requested", "run.input_resolved"


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers go on only for a reason, unless a test wants otherwise; a locked database fails quickly."""
    monkeypatch.setattr(worker_module, "CLAIM_INTERVAL", 3600.0)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)


@pytest.fixture
async def store(database: Place) -> AsyncIterator[WatchedStore]:
    """An empty store."""
    opened = WatchedStore(database)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    """The wall clock."""
    return Clock()


# What people read


async def test_people_are_told_as_of_now(store: WatchedStore, clock: Clock) -> None:
    """The age and the next reminder are those at the moment of sending; programs get the event as it is."""
    policy = NotifierPolicy(for_people=True, remind_after=(1800.0, 7200.0))
    people, machine = ScriptedNotifier("slack"), ScriptedNotifier("webhook", for_people=False)
    await record_new(store)
    for now in (NOW + 60, NOW + 1860, NOW + 7260):
        clock.now = now
        for notifier in (people, machine):
            await make_worker(notifier, store, clock, policy=policy).run(until_idle=True)
    events = {
        each.name: [event_of(sent, RequestEvent) for sent in each.accepted] for each in (people, machine)
    }
    told = [(event.at, event.next_reminder_at) for event in events["slack"]]
    assert [(NOW + 60, NOW + 1800), (NOW + 1860, NOW + 7200), (NOW + 7260, None)] == told
    assert [(NOW, None), (NOW + 1800, None), (NOW + 7200, None)] == [
        (event.at, event.next_reminder_at) for event in events["webhook"]
    ]


async def test_people_are_told_when_a_digest_is_followed(store: WatchedStore, clock: Clock) -> None:
    """A digest, too, says when its next reminder comes: counted from its oldest request."""
    routes = [Route("slack", for_people=True, digests=True)]
    await record_new(store, *map(make_new_request, ("run-1", "run-2")), routes=routes)
    await store.release_held(APP.name, digest_above=1, now=NOW)
    notifier, policy = ScriptedNotifier(), NotifierPolicy(for_people=True, remind_after=(1800.0,))
    await make_worker(notifier, store, clock, policy=policy).run(until_idle=True)
    (delivery,) = notifier.accepted
    assert NOW + 1800 == event_of(delivery, DigestEvent).next_reminder_at


async def test_a_worker_is_watched(store: WatchedStore, clock: Clock) -> None:
    """Each time that a worker looks for work it sets its deadline, so a worker that hangs is noticed."""
    liveness = LivenessTracker(monotonic=time.monotonic, wall=time.time)
    await make_worker(ScriptedNotifier("slack"), store, clock, observer=liveness).run(until_idle=True)
    assert ["notifier slack"] == list(liveness.deadlines())


# Many at once


async def test_eight_are_sent_at_once_and_never_more(store: WatchedStore, clock: Clock) -> None:
    """A notifier with eight slots has eight sends under way, and the rest follow as they end."""
    await record_new(store, *[make_new_request(f"run-{number}") for number in range(20)], routes=[MACHINE])
    notifier = ScriptedNotifier("webhook", max_concurrency=8, for_people=False)
    notifier.gate.clear()
    worker = make_worker(notifier, store, clock)
    running = asyncio.create_task(worker.run(until_idle=True))
    for _ in range(8):
        await soon(notifier.started.get())
    worker.wake()
    assert [(8, 0), (0, 0)] == [await soon(store.asked.get()) for _ in range(2)]
    assert 8 == notifier.in_flight
    notifier.gate.set()
    await soon(running)
    assert (8, 20) == (notifier.max_in_flight, len(notifier.accepted))
    assert ["sent"] * 20 == [state for _, _, state in outbox(store.database)]


async def test_order_holds_for_each_request_and_a_failing_one_holds_up_no_other(
    store: WatchedStore, clock: Clock
) -> None:
    """The end of a request waits behind its news, however many slots are free; other requests pass."""
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[MACHINE])
    for run_id in ("run-1", "run-2"):
        await record_answered(store, run_id, routes=[MACHINE], now=NOW)
    notifier = ScriptedNotifier("webhook", max_concurrency=8, for_people=False, script=[DeliveryError("503")])
    worker = make_worker(notifier, store, clock)
    await worker.run(until_idle=True)
    clock.now = NOW + 1
    await worker.run(until_idle=True)
    attempts = [
        (event_of(delivery, RequestEvent).run.id, delivery.event.type) for delivery in notifier.attempts
    ]
    assert [
        ("run-1", NEWS),
        ("run-2", NEWS),
        ("run-2", END),
        ("run-1", NEWS),
        ("run-1", END),
    ] == attempts


async def test_sends_are_spaced(store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the interval is over nothing more is even asked for; then the next one goes."""
    loop = asyncio.get_running_loop()
    real_time, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real_time() + ahead)
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[PEOPLE])
    notifier = ScriptedNotifier(min_interval=3000.0)
    worker = make_worker(notifier, store, clock)
    running = asyncio.create_task(worker.run())
    assert [(1, 0), (0, 1)] == [await soon(store.asked.get()) for _ in range(2)]
    worker.wake()
    assert ((0, 0), 1) == (await soon(store.asked.get()), len(notifier.attempts))
    ahead = 3000.0
    worker.wake()
    assert (1, 0) == await soon(store.asked.get())
    worker.stop()
    await soon(running)
    assert ["run-1", "run-2"] == run_ids(notifier.accepted)


async def test_a_spacing_that_ends_while_the_worker_looks_is_not_overslept(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the interval runs out while a claim is made, the next send follows at once."""
    loop = asyncio.get_running_loop()
    real_time, real_claim, ahead = loop.time, store.settle_and_claim, 0.0
    monkeypatch.setattr(loop, "time", lambda: real_time() + ahead)

    async def claim_slowly(notifier: str, results: Sequence[Result], *, limit: int, **more: Any) -> Claim:
        nonlocal ahead
        claim = await real_claim(notifier, results, limit=limit, **more)
        ahead += 0.0 if limit else 3000.0
        return claim

    monkeypatch.setattr(store, "settle_and_claim", claim_slowly)
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[PEOPLE])
    notifier = ScriptedNotifier(min_interval=3000.0)
    running = asyncio.create_task(make_worker(notifier, store, clock).run(until_idle=True))
    assert ["run-1", "run-2"] == run_ids([await notifier.started.get() for _ in range(2)])
    await running  # the loop's own timeouts would follow its clock, so only the runner's bounds this


async def test_two_notifiers_of_one_place_share_its_rate_limit(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one sends to a channel the other does not start, and then keeps the interval from that send."""
    loop = asyncio.get_running_loop()
    real_time, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real_time() + ahead)
    routes = [PEOPLE, Route("other", for_people=True)]
    await record_new(store, routes=routes)
    first, second = ScriptedNotifier(min_interval=3000.0), ScriptedNotifier("other", min_interval=3000.0)
    first.gate.clear()
    rate_limiter = RateLimiter(3000.0)
    workers = [make_worker(notifier, store, clock, rate_limiter=rate_limiter) for notifier in (first, second)]
    running = asyncio.create_task(Dispatcher(workers).run())
    await soon(first.started.get())
    ahead = 5000.0
    workers[1].wake()
    while (await soon(store.asked.get()))[0]:
        """Until a worker asks for nothing, because it may not send."""
    assert 0 == second.in_flight
    first.gate.set()
    await soon(second.started.get())
    for worker in workers:
        worker.stop()
    await soon(running)
    assert (1, 1) == (len(first.accepted), len(second.accepted))


async def test_a_silent_notifier_is_logged_and_told_through_the_others(
    store: WatchedStore, clock: Clock
) -> None:
    """A worker that delivers nothing for long says so once, and once more when it does again."""
    await record_new(store, routes=[MACHINE])
    policy = NotifierPolicy(alert_after=120.0, others=(PEOPLE,))
    notifier = ScriptedNotifier("webhook", for_people=False, script=[DeliveryError("HTTP 500")] * 2)
    worker = make_worker(notifier, store, clock, policy=policy)
    with capture_logs() as logs:
        for later in (0.0, 120.0, 200.0):
            clock.now = NOW + later
            await worker.run(until_idle=True)
    said = [(entry["event"], entry.get("error"), entry["since"]) for entry in logs if "since" in entry]
    assert [
        ("notifier.failing", "HTTP 500", "2027-01-15T08:00:00Z"),
        ("notifier.recovered", None, "2027-01-15T08:00:00Z"),
    ] == said
    assert ["superseded"] == [state for name, _, state in outbox(store.database) if name == "slack"]


async def test_idle_is_only_who_has_sent_everything_due(store: WatchedStore, clock: Clock) -> None:
    """With `until_idle` a spaced notifier still sends all that is due before it ends."""
    await record_new(store, *[make_new_request(f"run-{number}") for number in range(3)], routes=[PEOPLE])
    await soon(make_worker(ScriptedNotifier(min_interval=0.01), store, clock).run(until_idle=True))
    assert ["sent"] * 3 == [state for _, _, state in outbox(store.database)]


async def test_a_hanging_destination_delays_no_other(store: WatchedStore, clock: Clock) -> None:
    """While one notifier does not answer at all another delivers everything."""
    await record_new(store, *[make_new_request(f"run-{number}") for number in range(10)], routes=BOTH)
    hanging = ScriptedNotifier()
    hanging.gate.clear()
    webhook = ScriptedNotifier("webhook", max_concurrency=8, for_people=False)
    running = asyncio.create_task(
        Dispatcher([make_worker(hanging, store, clock), make_worker(webhook, store, clock)]).run(
            until_idle=True
        )
    )
    for _ in range(10):
        await soon(webhook.started.get())
    assert (1, 10) == (hanging.in_flight, len(webhook.attempts))
    hanging.gate.set()
    await soon(running)
    assert {"sent"} == {state for _, _, state in outbox(store.database)}


# Going on, and ending


async def test_a_worker_wakes_when_something_was_recorded(store: WatchedStore, clock: Clock) -> None:
    """Waking all workers is enough for news to go out, without any wait."""
    notifier = ScriptedNotifier()
    dispatcher = Dispatcher([make_worker(notifier, store, clock)])
    running = asyncio.create_task(dispatcher.run())
    assert (1, 0) == await soon(store.asked.get())
    await record_new(store, routes=[PEOPLE])
    dispatcher.wake()
    assert ["run-1"] == run_ids([await soon(notifier.started.get())])
    dispatcher.stop()
    await soon(running)


async def test_only_the_workers_that_have_something_to_claim_are_woken(
    store: WatchedStore, clock: Clock
) -> None:
    """A worker whose notifier is not named sleeps on; without names all are woken."""
    workers = [make_worker(ScriptedNotifier(name), store, clock) for name in ("slack", "webhook")]
    dispatcher = Dispatcher(workers)
    woken = []
    for names in ((), ("webhook",), None):
        dispatcher.wake(names)
        woken.append([worker.name for worker in workers if worker._woken.is_set()])
    assert [[], ["webhook"], ["slack", "webhook"]] == woken


async def test_a_worker_wakes_when_the_next_attempt_is_due(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry goes out at its time with nobody waking the worker."""
    monkeypatch.setattr(retry, "FIRST_RETRY", 0.1)
    await record_new(store, routes=[PEOPLE], now=time.time())
    notifier = ScriptedNotifier(script=[DeliveryError("503")])
    worker = make_worker(notifier, store, clock, wall=time.time)
    running = asyncio.create_task(worker.run())
    assert [1, 2] == [(await soon(notifier.started.get())).attempt for _ in range(2)]
    worker.stop()
    await soon(running)


async def test_stopping_finishes_what_is_under_way_and_begins_nothing(
    store: WatchedStore, clock: Clock
) -> None:
    """After `stop` the send under way is finished and marked; what was not begun stays in the outbox."""
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[PEOPLE])
    notifier = ScriptedNotifier()
    notifier.gate.clear()
    dispatcher = Dispatcher([make_worker(notifier, store, clock)])
    running = asyncio.create_task(dispatcher.run())
    await soon(notifier.started.get())
    dispatcher.stop()
    assert [(1, 0), (0, 0)] == [await soon(store.asked.get()) for _ in range(2)]
    assert not running.done()
    notifier.gate.set()
    await soon(running)
    assert ["sent", "pending"] == [state for _, _, state in outbox(store.database)]


async def test_a_worker_that_is_cancelled_cancels_its_sends(store: WatchedStore, clock: Clock) -> None:
    """Who does not wait any longer leaves no send behind, and the delivery is still in the outbox."""
    await record_new(store, routes=[PEOPLE])
    notifier = ScriptedNotifier()
    notifier.gate.clear()
    running = asyncio.create_task(make_worker(notifier, store, clock).run())
    await soon(notifier.started.get())
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert 0 == notifier.in_flight
    assert [("slack", NEWS, "pending")] == outbox(store.database)


# The database


async def test_a_send_that_cannot_be_marked_now_is_marked_later_and_not_repeated(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is locked a result is kept; afterwards it is recorded, and nothing is sent twice."""
    monkeypatch.setattr(worker_module, "FIRST_RETRY", 0.01)
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[MACHINE])
    notifier = ScriptedNotifier("webhook", max_concurrency=2, for_people=False)
    notifier.gate.clear()
    with capture_logs() as logs:
        running = asyncio.create_task(make_worker(notifier, store, clock).run(until_idle=True))
        await soon(notifier.started.get())
        await soon(notifier.started.get())
        with closing(lock_database(store.database)):
            notifier.gate.set()
            await soon(store.refused.get())
            await soon(store.refused.get())
        await soon(running)
    assert ["run-1", "run-2"] == sorted(run_ids(notifier.attempts))
    assert [("sent", 1), ("sent", 1)] == [
        (record.state, record.attempts) for record in records(store.database)
    ]
    unrecorded = [entry for entry in logs if entry["event"] == "outbox.unavailable"]
    first = unrecorded[0]
    assert ("error", "webhook", True) == (first["log_level"], first["notifier"], first["unsaved"] > 0)


async def test_what_cannot_be_claimed_now_is_claimed_later(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that starts while the database is locked goes on when it is free."""
    monkeypatch.setattr(worker_module, "FIRST_RETRY", 0.01)
    await record_new(store, routes=[PEOPLE])
    with closing(lock_database(store.database)):
        running = asyncio.create_task(make_worker(ScriptedNotifier(), store, clock).run(until_idle=True))
        await soon(store.refused.get())
    await soon(running)
    assert ["sent"] == [state for _, _, state in outbox(store.database)]


async def test_what_can_never_be_claimed_ends_a_worker_that_works_once(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`watcher once` does not wait for ever for a database that stays locked."""
    monkeypatch.setattr(worker_module, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(worker_module, "CLAIMS_REFUSED_MAX", 2)
    await record_new(store, routes=[PEOPLE])
    with closing(lock_database(store.database)), pytest.raises(StoreUnavailable):
        await soon(make_worker(ScriptedNotifier(), store, clock).run(until_idle=True))
    assert 2 == store.refused.qsize()


async def test_a_damaged_database_ends_all_workers(store: WatchedStore, clock: Clock) -> None:
    """A database that cannot be used any more is raised, and no send is left under way."""
    await record_new(store, routes=BOTH)
    slack, webhook = ScriptedNotifier(), ScriptedNotifier("webhook", for_people=False)
    slack.gate.clear()
    webhook.gate.clear()
    dispatcher = Dispatcher([make_worker(slack, store, clock), make_worker(webhook, store, clock)])
    running = asyncio.create_task(dispatcher.run())
    await soon(slack.started.get())
    await soon(webhook.started.get())
    corrupt_database(store.database)
    webhook.gate.set()
    with pytest.raises(StoreUnusable):
        await soon(running)
    await asyncio.sleep(0)
    assert 0 == slack.in_flight


async def test_an_alert_about_several_apps_is_one_message(store: WatchedStore, clock: Clock) -> None:
    """One send settles the deliveries of all the apps that it names, whether it fails or is accepted."""
    apps = [App(f"app-{number}", "https://x.example") for number in range(3)]
    for app in apps:
        failure = AppFailure(503, "unavailable", "no", NOW - 120)
        await store.record_failure(app, [PEOPLE], failure, alert_after=120.0, now=NOW)
    notifier = ScriptedNotifier(script=[DeliveryError("no")])
    worker = make_worker(notifier, store, clock, policy=NotifierPolicy(for_people=True))
    with capture_logs() as logs:
        await worker.run(until_idle=True)
        clock.now = NOW + 1
        await worker.run(until_idle=True)
    assert (2, 1) == (len(notifier.attempts), len(notifier.accepted))
    assert [(f"delivery.{event}", number) for event in ("retry", "sent") for number in (1, 2, 3)] == [
        (entry["event"], entry["delivery"]) for entry in logs
    ]
    assert [("sent", 2)] * 3 == [(record.state, record.attempts) for record in records(store.database)]


async def test_what_was_given_up_is_logged_when_it_comes_back(store: WatchedStore, clock: Clock) -> None:
    """Once a notifier accepts again, what it never got is sent after all, and the log says how much."""
    policy = NotifierPolicy(for_people=True, digest_above=20)
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("no")] * 2)
    await make_worker(notifier, store, clock, policy=policy, give_up_after=0.0).run(until_idle=True)
    await record_new(store, make_new_request("run-3"), routes=[PEOPLE])
    with capture_logs() as logs:
        await make_worker(notifier, store, clock, policy=policy).run(until_idle=True)
    assert [("slack", 2)] == [
        (entry["notifier"], entry["announcements"])
        for entry in logs
        if entry["event"] == "notifier.caught_up"
    ]
    assert [RequestEvent, DigestEvent] == [type(delivery.event) for delivery in notifier.accepted]
