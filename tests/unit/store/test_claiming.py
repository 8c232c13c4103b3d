"""What a worker sends next: whose turn it is, what becomes a digest, what becomes one alert."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.builders import (
    APP,
    NOW,
    PEOPLE,
    event_of,
    make_new_request,
    open_store,
    outbox,
    record_new,
    sqlite_of,
)
from tests.support.databases import Place, rows
from watcher.models import App, AppEvent, AppGroupEvent, Delivery, DigestEvent, RequestEvent, Route
from watcher.store import AppFailure, Dead, NotifierPolicy, Result, Retry, Sent, Store
from watcher.store import outbox as outbox_work
from watcher.store.claiming import APPS_TRIED
from watcher.store.migrations import MIGRATIONS

pytestmark = pytest.mark.anyio

SALES = App("sales", "https://sales.example")
DIGESTS = NotifierPolicy(for_people=True, digest_above=3)
ALERTS = NotifierPolicy(for_people=True)
NEWS = "run.input_requested"
HOOK = Route("hook", for_people=False)
GROUPED = Route("slack", for_people=True, grouped=True)


async def ask(store: Store, app: App, *run_ids: str, now: float = NOW) -> None:
    """Records a new request of each of these runs."""
    new = [make_new_request(run_id) for run_id in run_ids]
    await store.record_changes(app, [PEOPLE], new=new, now=now)


async def claim(
    store: Store,
    results: Sequence[Result] = (),
    *,
    limit: int = 1,
    now: float = NOW,
    policy: NotifierPolicy = ALERTS,
) -> tuple[Delivery, ...]:
    """Settles, and returns what Slack is to send next."""
    return (await store.settle_and_claim("slack", results, limit=limit, now=now, policy=policy)).deliveries


async def send_one_by_one(store: Store, count: int, *, now: float = NOW) -> list[str]:
    """Sends so many deliveries, one after the other; returns the app and the run or type of each."""
    sent: list[str] = []
    results: list[Result] = []
    for _ in range(count):
        (delivery,) = await claim(store, results, now=now)
        event = delivery.event
        app = event.app.name if isinstance(event, RequestEvent | AppEvent) else "?"
        sent.append(f"{app} {event.run.id if isinstance(event, RequestEvent) else event.type}")
        results = [Sent(delivery.id, None)]
    await claim(store, results, limit=0, now=now)
    return sent


async def fail(store: Store, *apps: App, route: Route = GROUPED, now: float = NOW) -> None:
    """Records that these apps have failed for long enough to be told of."""
    for app in apps:
        failure = AppFailure(503, "unavailable", "no", now - 120)
        await store.record_failure(app, [route], failure, alert_after=120.0, now=now)


async def recover(store: Store, *apps: App, now: float) -> None:
    """Records that these apps were polled."""
    for app in apps:
        await store.record_success(app, [GROUPED], invisible=(), now=now)


def named(delivery: Delivery) -> list[str]:
    """Returns the apps that an alert names."""
    return [app.name for app, _ in event_of(delivery, AppGroupEvent).failures]


# Turns


async def test_a_busy_app_does_not_hold_up_a_quiet_one(database: Place) -> None:
    """Apps take turns: the only request of a quiet app is second, whatever the other has in the queue."""
    async with open_store(database) as store:
        await ask(store, APP, *[f"busy-{number}" for number in range(50)])
        await ask(store, SALES, "quiet", now=NOW + 30)
        sent = await send_one_by_one(store, 4, now=NOW + 30)
    assert ["support busy-0", "sales quiet", "support busy-1", "support busy-2"] == sent


async def test_turns_go_on_where_they_were(database: Place) -> None:
    """Whoever was served last waits longest, also when the queue of another app was empty meanwhile."""
    async with open_store(database) as store:
        await ask(store, APP, "a-1", "a-2")
        await ask(store, SALES, "b-1", "b-2")
        assert ["support a-1", "sales b-1", "support a-2"] == await send_one_by_one(store, 3)
        await ask(store, APP, "a-3")
        assert ["sales b-2", "support a-3"] == await send_one_by_one(store, 2)


async def test_several_at_once_are_shared_out(database: Place) -> None:
    """With eight places free each app gets some, the oldest of each first."""
    async with open_store(database) as store:
        await ask(store, APP, *[f"a-{number}" for number in range(20)])
        await ask(store, SALES, "b-0", "b-1")
        claimed = await claim(store, limit=8)
    runs = [event_of(delivery, RequestEvent).run.id for delivery in claimed]
    assert ["a-0", "b-0", "a-1", "b-1", "a-2", "a-3", "a-4", "a-5"] == runs


async def test_an_app_behind_many_that_must_wait_gets_its_turn(database: Place) -> None:
    """However many apps have only what was refused and waits, the next one is found behind them."""
    async with open_store(database) as store:
        for number in range(APPS_TRIED + 1):
            await ask(store, App(f"app-{number}", "https://x.example"), "run-1")
        refused = await claim(store, limit=APPS_TRIED + 1)
        await claim(store, [Retry(each.id, "no", NOW + 60) for each in refused], limit=0)
        await ask(store, SALES, "run-2", now=NOW + 1)
    async with open_store(database) as store:  # which does not know whom it served last
        (found,) = await claim(store, now=NOW + 1)
    assert APPS_TRIED + 1 == len(refused)
    assert SALES == event_of(found, RequestEvent).app


async def test_only_what_comes_later_for_a_notifier_wakes_it(database: Place) -> None:
    """Neither what is under way nor what another notifier has to send gives a time to ask again."""
    async with open_store(database) as store:
        await record_new(store)
        assert 1 == len(await claim(store))
        (other,) = (await store.settle_and_claim("webhook", (), limit=1, now=NOW)).deliveries
        await store.settle_and_claim("webhook", [Retry(other.id, "no", NOW + 60)], limit=0, now=NOW)
        again = await store.settle_and_claim("slack", (), limit=1, now=NOW)
    assert ((), None) == (again.deliveries, again.wake_at)


async def test_requests_before_reminders_before_operations(database: Place) -> None:
    """An alert that has waited longer, and a reminder, let a request go first."""
    policy = NotifierPolicy(for_people=True, remind_after=(60.0,))
    async with open_store(database) as store:
        await ask(store, APP, "old")
        (first,) = await claim(store)
        await claim(store, [Sent(first.id, None)], limit=0, policy=policy)
        await fail(store, SALES, route=PEOPLE, now=NOW + 10)
        await ask(store, APP, "new", now=NOW + 70)
        kinds = []
        results: list[Result] = []
        for _ in range(3):
            (delivery,) = await claim(store, results, now=NOW + 80)
            kinds.append(delivery.event.type)
            results = [Sent(delivery.id, None)]
    assert ["run.input_requested", "run.input_reminder", "watcher.app_failing"] == kinds


async def test_the_oldest_goes_first_also_after_failures(database: Place) -> None:
    """Once a notifier accepts again the order is that of the requests, not that of their next attempts."""
    async with open_store(database) as store:
        for number in range(3):
            await ask(store, APP, f"run-{number}", now=NOW + number)
        claimed = await claim(store, limit=3, now=NOW + 3)
        retries = [Retry(each.id, "no", NOW + 9 - each.id) for each in claimed]
        await claim(store, retries, limit=0, now=NOW + 3)
        sent = await send_one_by_one(store, 3, now=NOW + 60)
    assert ["support run-0", "support run-1", "support run-2"] == sent


# Backlogs


async def test_a_backlog_becomes_one_digest(database: Place) -> None:
    """What piled up over several polls, and was refused, is one message once there is too much of it."""
    async with open_store(database) as store:
        await ask(store, APP, "run-1", "run-2", "run-3")
        refused = await claim(store, limit=3, policy=DIGESTS)
        results = [Retry(each.id, "no", NOW + 60) for each in refused]
        await claim(store, results, limit=0, policy=DIGESTS)
        await ask(store, APP, "run-4", now=NOW + 30)
        await ask(store, SALES, "other", now=NOW + 30)
        (alone,) = await claim(store, now=NOW + 61, policy=DIGESTS)
        (digest,) = await claim(store, now=NOW + 61, policy=DIGESTS)
    assert 4 == event_of(digest, DigestEvent).digest.total
    assert (2, NOW) == (digest.attempt, digest.due_at)
    assert "other" == event_of(alone, RequestEvent).run.id
    assert 2 == len(outbox(database))


async def test_a_backlog_is_sent_by_the_run_that_makes_it_a_digest(database: Place) -> None:
    """`watcher once` sends what was due when it began, also if that became a digest a moment later."""
    async with open_store(database) as store:
        await ask(store, APP, "run-1", "run-2", "run-3")
        refused = await claim(store, limit=3, policy=DIGESTS)
        await claim(store, [Retry(each.id, "no", NOW + 60) for each in refused], limit=0, policy=DIGESTS)
        await ask(store, APP, "run-4", now=NOW + 61)
        claimed = await store.settle_and_claim(
            "slack", (), limit=1, now=NOW + 61.5, due_by=NOW + 61, policy=DIGESTS
        )
    (digest,) = claimed.deliveries
    assert 4 == event_of(digest, DigestEvent).digest.total


async def test_a_digest_that_waits_takes_in_what_follows(database: Place) -> None:
    """An hour without Slack makes one digest and not one for every twenty requests."""
    async with open_store(database) as store:
        for number in range(15):
            await ask(store, APP, f"run-{number}", now=NOW + number)
            claimed = await claim(store, now=NOW + number, policy=DIGESTS)
            results = [Retry(each.id, "no", NOW + number + 1) for each in claimed]
            await claim(store, results, limit=0, now=NOW + number, policy=DIGESTS)
        (digest,) = await claim(store, now=NOW + 60, policy=DIGESTS)
    assert 15 == event_of(digest, DigestEvent).digest.total
    assert NOW == digest.due_at
    assert [(claimed[0].event.id,)] == rows(database, "SELECT id FROM events")


async def test_a_digest_takes_the_place_of_the_reminders_of_its_requests(database: Place) -> None:
    """Of requests that a digest announces after all this notifier has no reminders of their own any more."""
    reminding = NotifierPolicy(for_people=True, remind_after=(600.0,))
    async with open_store(database) as store:
        new = [make_new_request(f"run-{number}") for number in range(4)]
        await record_new(store, *new, routes=[PEOPLE, HOOK])
        dead = [Dead(each.id, "no") for each in await claim(store, limit=9, policy=reminding)]
        await claim(store, dead, limit=0, policy=reminding)
        with database.changing(NOW + 60) as tx:
            outbox_work.requeue(tx, None)
        assert 1 == len(await claim(store, limit=9, now=NOW + 60, policy=DIGESTS))
    assert [("hook", NEWS, "pending")] * 4 + [("slack", NEWS, "pending")] == outbox(database)


async def test_what_a_person_may_have_seen_is_in_no_digest(database: Place) -> None:
    """A message that may have been posted keeps its thread, so that its end is told in it."""
    async with open_store(database) as store:
        await ask(store, APP, "run-1")
        (lost_reply,) = await claim(store, policy=DIGESTS)
        lost = [Retry(lost_reply.id, "no answer", NOW + 1, possibly_delivered=True)]
        await claim(store, lost, limit=0, policy=DIGESTS)
        await ask(store, APP, *[f"more-{number}" for number in range(4)], now=NOW + 2)
        claimed = await claim(store, limit=9, now=NOW + 5, policy=DIGESTS)
    assert ["run-1", 4] == [
        each.event.run.id
        if isinstance(each.event, RequestEvent)
        else event_of(each, DigestEvent).digest.total
        for each in claimed
    ]


async def test_requests_up_to_the_limit_stay_apart(database: Place) -> None:
    """As many as a digest is not needed for are told one by one, and so is every request to a machine."""
    async with open_store(database) as store:
        await ask(store, APP, "run-1", "run-2", "run-3")
        await record_new(store, *[make_new_request(f"m-{number}") for number in range(9)], routes=[HOOK])
        people = await claim(store, limit=9, policy=DIGESTS)
        hook = await store.settle_and_claim("hook", (), limit=99, now=NOW)
    assert [RequestEvent] * 12 == [type(each.event) for each in (*people, *hook.deliveries)]


# Outages of many apps


async def test_an_outage_of_many_apps_is_one_alert(database: Place) -> None:
    """Apps that fail within ten seconds make one message, which is not held back longer than that."""
    apps = [App(f"app-{number:02}", "https://x.example") for number in range(60)]
    async with open_store(database) as store:
        for number, app in enumerate(apps):
            await fail(store, app, now=NOW + number / 6)
        waiting = await store.settle_and_claim("slack", (), limit=1, now=NOW + 9.9, policy=ALERTS)
        assert ((), NOW + 10) == (waiting.deliveries, waiting.wake_at)
        (alert,) = await claim(store, now=NOW + 10)
        assert [app.name for app in apps] == named(alert)
        numbers = [alert.id, *alert.together_with]
        await claim(store, [Sent(number, None) for number in numbers], limit=0, now=NOW + 11)
        assert {"sent"} == {state for _, _, state in outbox(database)}
        await recover(store, *apps[:40], now=NOW + 600)
        (recovery,) = await claim(store, now=NOW + 610)
    assert ("watcher.app_recovered", 40) == (recovery.event.type, len(named(recovery)))


async def test_a_group_that_is_refused_stays_together(database: Place) -> None:
    """What failed together is tried again together."""
    async with open_store(database) as store:
        await fail(store, APP, SALES)
        (alert,) = await claim(store, now=NOW + 10)
        numbers = [alert.id, *alert.together_with]
        await claim(store, [Retry(number, "no", NOW + 11) for number in numbers], limit=0, now=NOW + 10)
        (again,) = await claim(store, now=NOW + 11)
    assert ([2, 2], ["support", "sales"]) == ([again.attempt, len(numbers)], named(again))


async def test_a_webhook_gets_one_event_for_each_app(database: Place) -> None:
    """Programs are told of every app by itself, at once."""
    async with open_store(database) as store:
        await fail(store, APP, SALES, route=Route("slack", for_people=False))
        claimed = await claim(store, limit=8, policy=NotifierPolicy())
    assert ["support", "sales"] == [event_of(each, AppEvent).app.name for each in claimed]


async def test_requests_wait_for_no_others(database: Place) -> None:
    """Only alerts about apps wait to be sent together, requests to the same notifier do not."""
    async with open_store(database) as store:
        await record_new(store, routes=[GROUPED])
        assert 1 == len(await claim(store))


async def test_a_short_outage_that_is_over_before_it_is_told_is_not_told(database: Place) -> None:
    """An alert that still waits for others is superseded by the recovery."""
    async with open_store(database) as store:
        await fail(store, APP)
        await recover(store, APP, now=NOW + 5)
        assert () == await claim(store, now=NOW + 60)
    assert [("slack", "watcher.app_failing", "superseded")] == outbox(database)


async def test_a_single_run_waits_for_no_others(database: Place) -> None:
    """`watcher once` has polled every app, so it sends at once what was to wait for other apps."""
    async with open_store(database) as store:
        await fail(store, APP, SALES)
        once = await store.settle_and_claim("slack", (), limit=1, now=NOW, policy=ALERTS, due_by=NOW)
    assert ["support", "sales"] == named(once.deliveries[0])


async def test_an_upgrade_knows_apps_and_kinds(path: Path) -> None:
    """Deliveries of version 4 get their app and their place in the order."""
    async with open_store(path) as store:
        await fail(store, SALES, route=PEOPLE)
        await ask(store, APP, "run-1")
        connection = sqlite_of(store)
        connection.execute("UPDATE deliveries SET app = '', priority = 0")
        script = next(part for part in MIGRATIONS if "ADD COLUMN priority" in part)
        connection.executescript(script[script.index("UPDATE deliveries") : script.index("CREATE INDEX")])
        rows = connection.execute("SELECT app, priority FROM deliveries ORDER BY id").fetchall()
    assert [("sales", 2), ("support", 0)] == [tuple(row) for row in rows]
