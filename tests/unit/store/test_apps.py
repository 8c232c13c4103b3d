"""The store's record of apps: what is told when one fails and recovers, and what is known of each."""

from dataclasses import replace

import pytest

from tests.support.builders import (
    APP,
    BOTH,
    MACHINE,
    NOW,
    PEOPLE,
    claim,
    event_of,
    make_new_request,
    open_store,
    outbox,
    record_answered,
    record_new,
    records,
)
from tests.support.databases import Place
from watcher.models import App, AppEvent, Failure, Route
from watcher.store import AppFailure, IncidentChange, Retry, Sent, Store, queries
from watcher.store.results import AppState, AppStatus

pytestmark = pytest.mark.anyio

DAY = 86_400.0
FAILING, RECOVERED = "watcher.app_failing", "watcher.app_recovered"


# Apps that fail


async def fail(
    store: Store, *, since: float, now: float, code: str = "timeout", routes: tuple[Route, ...] = BOTH
) -> IncidentChange[Failure]:
    """Records that the app could not be polled; it is told of after two minutes."""
    return await store.record_failure(
        APP, routes, AppFailure(None, code, "slow", since), alert_after=120.0, now=now
    )


async def succeed(store: Store, *, now: float, routes: tuple[Route, ...] = BOTH) -> IncidentChange[Failure]:
    """Records that the app was polled whole."""
    return await store.record_success(APP, routes, invisible=frozenset(), now=now)


async def test_a_failing_app_is_told_of_once(database: Place) -> None:
    """After `alert_after` seconds every notifier is told, at once and once, whatever its `after`."""
    patient = (replace(PEOPLE, after=600.0), MACHINE)
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-1"), make_new_request("over"), routes=())
        await record_answered(store, "over", routes=(), now=NOW)
        told = [
            await fail(store, since=NOW, now=NOW + later, routes=patient)
            for later in (0, 119.9, 120, 121, 9999)
        ]
        (delivery,) = await claim(store, "slack", now=NOW + 120)
    failure = Failure(None, "timeout", "slow", NOW, pending_known=1)
    assert [None, None, failure, None, None] == [health.failure for health in told]
    assert (FAILING, failure, APP) == (
        delivery.event.type,
        event_of(delivery, AppEvent).failure,
        event_of(delivery, AppEvent).app,
    )
    assert [("slack", FAILING, "pending"), ("webhook", FAILING, "pending")] == outbox(database)
    assert [("support", None, None)] * 2 == [
        (record.app, record.run_id, record.request_id) for record in records(database)
    ]


async def test_a_recovery_is_told_once_with_the_same_since_across_restarts(database: Place) -> None:
    """Neither failing nor recovery is repeated by another process, and both carry one beginning."""
    async with open_store(database) as store:
        await succeed(store, now=NOW)
        assert (await fail(store, since=NOW, now=NOW + 200)).failure is not None
        (failing,) = await claim(store, "webhook", now=NOW + 200)
        await store.settle_and_claim("webhook", [Sent(failing.id, None)], limit=0, now=NOW + 200)
    async with open_store(database) as store:
        restarted = NOW + 300
        again = await fail(store, since=restarted, now=restarted + 500, code="http_500")
        assert IncidentChange(None) == again
    async with open_store(database) as store:
        recovered = await succeed(store, now=NOW + 900)
        assert recovered.failure is not None
        assert (NOW, "http_500") == (recovered.failure.since, recovered.failure.code)
        assert IncidentChange(None) == await succeed(store, now=NOW + 901)
        (delivery,) = await claim(store, "webhook", now=NOW + 900)
    assert (RECOVERED, recovered.failure) == (delivery.event.type, event_of(delivery, AppEvent).failure)


async def test_who_was_not_told_of_a_failing_app_is_not_told_of_its_recovery(database: Place) -> None:
    """People not told in time hear neither; a webhook hears both, in order."""
    async with open_store(database) as store:
        await fail(store, since=NOW, now=NOW + 120)
        health = await succeed(store, now=NOW + 130)
        assert [("slack", "superseded")] == [(stale.notifier, stale.state) for stale in health.superseded]
    assert [
        ("slack", FAILING, "superseded"),
        ("webhook", FAILING, "pending"),
        ("webhook", RECOVERED, "pending"),
    ] == outbox(database)


async def test_failing_news_that_fails_itself_is_dropped_after_the_recovery(database: Place) -> None:
    """News of a failing app that was under way at its recovery and not accepted is not tried again.

    Another app that still fails changes nothing about that.
    """
    async with open_store(database) as store:
        await fail(store, since=NOW, now=NOW + 120, routes=(PEOPLE,))
        (failing,) = await claim(store, "slack", now=NOW + 120)
        other, failure = App("other", APP.base_url), AppFailure(None, "timeout", "slow", NOW)
        await store.record_failure(other, (PEOPLE,), failure, alert_after=120.0, now=NOW + 120)
        await succeed(store, now=NOW + 130, routes=(PEOPLE,))
        settled = await store.settle_and_claim("slack", [Retry(failing.id, "x", NOW)], limit=1, now=NOW + 131)
    assert [FAILING, RECOVERED] == [record.type for record in settled.superseded]


async def test_a_notifier_that_wants_no_resolutions_hears_of_a_recovery(database: Place) -> None:
    """`resolved = false` is about requests; who was told that an app fails hears that it recovered."""
    quiet = (replace(PEOPLE, resolved=False),)
    async with open_store(database) as store:
        await fail(store, since=NOW, now=NOW + 120, routes=quiet)
        (failing,) = await claim(store, "slack", now=NOW + 120)
        await store.settle_and_claim("slack", [Sent(failing.id, None)], limit=0, now=NOW + 120)
        await succeed(store, now=NOW + 130, routes=quiet)
    assert [("slack", FAILING, "sent"), ("slack", RECOVERED, "pending")] == outbox(database)


async def test_a_short_failure_is_nobodys_business(database: Place) -> None:
    """An app that recovers before it was told of is not told of at all, and its time starts anew."""
    async with open_store(database) as store:
        await fail(store, since=NOW, now=NOW + 100)
        assert IncidentChange(None, closed=True) == await succeed(store, now=NOW + 110)
        assert IncidentChange(None, alert_at=NOW + 230) == await fail(store, since=NOW + 110, now=NOW + 200)
    assert [] == outbox(database)


async def test_an_app_that_never_worked_counts_from_the_start_of_the_process(database: Place) -> None:
    """What an earlier process recorded of an app that never worked does not make its failing older.

    That another app works changes nothing about that.
    """
    async with open_store(database) as store:
        await store.record_success(App("other", APP.base_url), (), invisible=(), now=NOW)
        await fail(store, since=NOW, now=NOW + 100)
    async with open_store(database) as store:
        restarted = NOW + 110
        early = await fail(store, since=restarted, now=restarted + 119)
        assert IncidentChange(None, alert_at=restarted + 120) == early
        told = await fail(store, since=restarted, now=restarted + 120)
    assert told.failure is not None
    assert restarted == told.failure.since


async def test_an_app_that_worked_counts_across_restarts(database: Place) -> None:
    """For an app that has worked the beginning that an earlier process recorded stays."""
    async with open_store(database) as store:
        await succeed(store, now=NOW - 50)
        await fail(store, since=NOW, now=NOW + 100)
    async with open_store(database) as store:
        told = await fail(store, since=NOW + 110, now=NOW + 120)
    assert told.failure is not None
    assert NOW == told.failure.since


async def test_news_of_an_app_is_pruned_once_it_is_done(database: Place) -> None:
    """Events about no request go by their own end, but not before the failure has passed."""
    async with open_store(database) as store:
        await fail(store, since=NOW, now=NOW + 120, routes=(PEOPLE,))
        (failing,) = await claim(store, "slack", now=NOW + 120)
        await store.settle_and_claim("slack", [Sent(failing.id, None)], limit=0, now=NOW + 120)
        assert 0 == await store.prune(before=NOW + DAY)
        await succeed(store, now=NOW + DAY, routes=(PEOPLE,))
        assert 1 == await store.prune(before=NOW + DAY)
    assert [("slack", RECOVERED, "pending")] == outbox(database)


# The state of an app


async def test_the_state_of_an_app_survives_a_restart(database: Place) -> None:
    """Known requests, runs that hide their question, and whether it was ever polled whole come back."""
    async with open_store(database) as store:
        assert (await store.app_state(APP.name)).first_poll
        await record_new(store)
        await store.record_success(APP, BOTH, invisible=frozenset({"run-8", "run-9"}), now=NOW)
    async with open_store(database) as store:
        state = await store.app_state(APP.name)
        other = await store.app_state("other")
    assert [("run-1", "q1", "Approve?")] == [
        (request.run_id, request.request_id, request.fingerprint) for request in state.known
    ]
    assert ({"run-8": NOW, "run-9": NOW}, False) == (state.invisible, state.first_poll)
    assert AppState((), {}, first_poll=True, last_success_at=None, failing=False) == other


async def test_the_failures_of_others_are_not_those_of_an_app(database: Place) -> None:
    """Neither another app that fails, nor a notifier of the same name, makes an app one that fails."""
    failure = AppFailure(None, "timeout", "slow", NOW)
    namesake = replace(PEOPLE, notifier=APP.name)
    async with open_store(database) as store:
        await store.record_failure(App("other", APP.base_url), (), failure, alert_after=120.0, now=NOW)
        await record_new(store, routes=[namesake])
        (news,) = await claim(store, namesake.notifier)
        refused = [Retry(news.id, "no", NOW + 60)]
        await store.settle_and_claim(namesake.notifier, refused, limit=0, now=NOW)
        assert not (await store.app_state(APP.name)).failing


async def test_runs_that_no_longer_hide_are_forgotten(database: Place) -> None:
    """Each whole poll says anew which runs hide their question, and since when; a failed one says nothing."""
    async with open_store(database) as store:
        await store.record_success(APP, BOTH, invisible=frozenset({"run-7", "run-8"}), now=NOW)
        await fail(store, since=NOW, now=NOW)
        assert {"run-7": NOW, "run-8": NOW} == (await store.app_state(APP.name)).invisible
        await store.record_success(APP, BOTH, invisible=frozenset({"run-7", "run-9"}), now=NOW + 5)
        assert {"run-7": NOW, "run-9": NOW + 5} == (await store.app_state(APP.name)).invisible


async def test_a_recovery_within_a_minute_of_a_success_is_told(database: Place) -> None:
    """The end of a failure is told however short a time ago the app was well."""
    async with open_store(database) as store:
        await succeed(store, now=NOW)
        await store.record_failure(APP, BOTH, AppFailure(503, "x", "y", NOW), alert_after=1.0, now=NOW + 5)
        (failing,) = await claim(store, "webhook", now=NOW + 5)
        await store.settle_and_claim("webhook", [Sent(failing.id, None)], limit=0, now=NOW + 6)
        assert (await succeed(store, now=NOW + 10)).failure is not None
        (recovered,) = await claim(store, "webhook", now=NOW + 10)
    assert (RECOVERED, APP) == (recovered.event.type, event_of(recovered, AppEvent).app)


async def test_what_a_success_has_to_record(database: Place) -> None:
    """A success is news once a minute, at the end of a failure, and when other runs hide their question."""
    async with open_store(database) as store:
        never = await store.app_state(APP.name)
        await store.record_success(APP, BOTH, invisible={"run-8"}, now=NOW)
        well = await store.app_state(APP.name)
        await fail(store, since=NOW, now=NOW + 5)
        failing = await store.app_state(APP.name)
    assert [True, True] == [state.success_is_news({"run-8"}, NOW + 6) for state in (never, failing)]
    times = (NOW - 60, NOW - 59.9, NOW + 59.9, NOW + 60)
    assert [True, False, False, True] == [well.success_is_news({"run-8"}, now) for now in times]
    assert [True, True] == [well.success_is_news(runs, NOW + 6) for runs in ((), {"run-8", "run-9"})]


async def test_how_an_app_is(database: Place) -> None:
    """A list shows why it fails and since when, what waits, and when it was last well."""
    async with open_store(database) as store:
        await succeed(store, now=NOW)
        await succeed(store, now=NOW + 60)
        await record_new(store, routes=())
        await fail(store, since=NOW + 100, now=NOW + 130)
        await fail(store, since=NOW + 100, now=NOW + 140, code="http_503")
    failure = Failure(None, "http_503", "slow", NOW + 100, pending_known=1)
    expected = AppStatus("support", 15.0, worked=True, failure=failure, pending=1, oldest_pending=140.0)
    assert replace(expected, succeeded_at=NOW + 60) == status(database, now=NOW + 140)


def status(database: Place, now: float = NOW) -> AppStatus:
    """Returns how the app is, as a second process reads it."""
    with database.reading() as reader:
        (app,) = queries.apps(reader, {APP.name: 15.0}, now=now)
    return app


async def test_an_app_that_never_worked_fails_since_the_start(database: Place) -> None:
    """What an earlier process recorded of one that never worked is no beginning of what is told."""
    async with open_store(database) as store:
        await fail(store, since=NOW, now=NOW + 10)
        assert NOW + 120 == (await fail(store, since=NOW, now=NOW + 20)).alert_at
    async with open_store(database) as store:
        assert NOW + 220 == (await fail(store, since=NOW + 100, now=NOW + 130)).alert_at
    failure = Failure(None, "timeout", "slow", NOW + 100, pending_known=0)
    assert AppStatus("support", 15.0, failure=failure) == status(database)
