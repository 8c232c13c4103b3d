"""The store's reminders: when each is due, that none is repeated or outlives its request."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.support.builders import (
    APP,
    BOTH,
    MACHINE,
    NOW,
    PEOPLE,
    event_of,
    make_new_request,
    open_store,
    outbox,
    record_answered,
    record_new,
    records,
    reminder_of,
    run_ids,
)
from tests.support.databases import Place, rows
from watcher.models import Delivery, MessageRef, RequestEvent, Route
from watcher.store import Dead, NotifierPolicy, Retry, Sent, Store, queries

pytestmark = pytest.mark.anyio

MINUTE, HOUR = 60.0, 3600.0
AGES = (30 * MINUTE, 2 * HOUR, 8 * HOUR)
POLICY = NotifierPolicy(remind_after=AGES)
NEWS, REMINDER, END = "run.input_requested", "run.input_reminder", "run.input_resolved"


async def take(
    store: Store, now: float, notifier: str = "slack", policy: NotifierPolicy = POLICY
) -> list[Delivery]:
    """Gives out what is due."""
    return list((await store.settle_and_claim(notifier, (), limit=100, now=now, policy=policy)).deliveries)


async def send(
    store: Store, now: float, notifier: str = "slack", policy: NotifierPolicy = POLICY
) -> list[str]:
    """Sends everything that is due now and returns it: a type, or for reminders `1 of 3`."""
    told = []
    while due := await take(store, now, notifier, policy):
        results = [Sent(delivery.id, MessageRef({"ts": str(delivery.id)})) for delivery in due]
        await store.settle_and_claim(notifier, results, limit=0, now=now, policy=policy)
        told += [_name(delivery) for delivery in due]
    return told


def _name(delivery: Delivery) -> str:
    reminder = reminder_of(delivery.event)
    return f"{reminder.number} of {reminder.of}" if reminder else delivery.event.type


async def test_reminders_come_at_their_ages_once_each(database: Place) -> None:
    """Each age, counted from when the request was first seen, brings one reminder, and no more come."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        told = [
            await send(store, NOW + age)
            for age in (5.0, AGES[0] - 1, AGES[0], AGES[1] - 1, AGES[1], AGES[2], 20 * HOUR)
        ]
    assert [[NEWS], [], ["1 of 3"], [], ["2 of 3"], ["3 of 3"], []] == told


async def test_a_reminder_happens_when_it_is_due(database: Place) -> None:
    """Its event is dated by its age, so that what it says of the wait is true; it has an id of its own."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
        claim = await store.settle_and_claim("slack", (), limit=1, now=NOW + 6, policy=POLICY)
        (reminder,) = await take(store, NOW + AGES[0])
    assert NOW + AGES[0] == claim.wake_at
    assert (NOW + AGES[0], NOW + AGES[0]) == (reminder.event.at, reminder.due_at)
    assert MessageRef({"ts": "1"}) == reminder.first_message
    assert "run-1" == event_of(reminder, RequestEvent).run.id


async def test_reminders_survive_restarts_without_repeating(database: Place) -> None:
    """Whatever process sends the next one, each is sent once."""
    told = []
    for age in (5.0, 40 * MINUTE, 50 * MINUTE, 3 * HOUR):
        async with open_store(database) as store:
            if age == 5.0:
                await record_new(store, routes=[PEOPLE])
            await store.plan_reminders({"slack": AGES}, {APP.name: ["slack"]}, now=NOW + age)
            told.append(await send(store, NOW + age))
    assert [[NEWS], ["1 of 3"], [], ["2 of 3"]] == told


async def test_nobody_is_reminded_of_what_is_over(database: Place) -> None:
    """The reminder that is planned goes with the request, without a trace, and none follows.

    The end of another request, whose announcement was not due yet, touches no reminder.
    """
    async with open_store(database) as store:
        await record_new(store)
        for notifier in ("slack", "webhook"):
            await send(store, NOW + 5, notifier)
        escalation = [replace(PEOPLE, after=HOUR)]
        await record_new(store, make_new_request("run-2"), routes=escalation)
        assert [NEWS] == [one.type for one in await record_answered(store, "run-2", routes=escalation)]
        assert 2 == [kind for _, kind, _ in outbox(database)].count(REMINDER)
        stale = await record_answered(store, now=NOW + 60)
        told = [await send(store, NOW + 9 * HOUR, notifier) for notifier in ("slack", "webhook")]
    assert ((), [[END], [END]]) == (stale, told)
    assert {NEWS, END} == {record.type for record in records(database)}
    assert 3 == len(rows(database, "SELECT 1 FROM events"))


async def test_a_reminder_under_way_at_the_end_is_followed_by_none(database: Place) -> None:
    """What is being sent while the request ends is recorded as sent, before the end is told."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        await send(store, NOW + 5, "webhook")
        (reminder,) = await take(store, NOW + AGES[0], "webhook")
        await record_answered(store, routes=[MACHINE], now=NOW + AGES[0] + 1)
        assert [] == await take(store, NOW + AGES[0] + 2, "webhook")
        await store.settle_and_claim(
            "webhook", [Sent(reminder.id, None)], limit=0, now=NOW + AGES[0] + 2, policy=POLICY
        )
        assert [END] == await send(store, NOW + 9 * HOUR, "webhook")
    assert ["sent"] * 3 == [state for _, _, state in outbox(database)]


async def test_a_reminder_that_fails_is_dropped_when_its_request_has_ended(database: Place) -> None:
    """A person is not reminded late of what is over, and still told how it ended."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
        (reminder,) = await take(store, NOW + AGES[0])
        await record_answered(store, routes=[PEOPLE], now=NOW + AGES[0] + 1)
        failed = [Retry(reminder.id, "x", NOW + AGES[0] + 60)]
        settled = await store.settle_and_claim("slack", failed, limit=1, now=NOW + AGES[0] + 2, policy=POLICY)
    assert [REMINDER] == [one.type for one in settled.superseded]
    assert [END] == [delivery.event.type for delivery in settled.deliveries]


async def test_a_notifier_that_was_away_is_not_flooded(database: Place) -> None:
    """After hours without success the news goes out and of the reminders only those to come."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await take(store, NOW)
        await store.settle_and_claim("slack", [Retry(news.id, "x", NOW + 3 * HOUR)], limit=0, now=NOW)
        assert [NEWS] == await send(store, NOW + 3 * HOUR)
        assert ["3 of 3"] == await send(store, NOW + 8 * HOUR)


async def test_a_reminder_just_missed_is_made_up_for(database: Place) -> None:
    """A message that is seconds late, by the pace of a channel say, costs no reminder."""
    policy = NotifierPolicy(remind_after=(1.0, 2.0))
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        told = await send(store, NOW + 4, policy=policy)
    assert [NEWS, "1 of 2", "2 of 2"] == told


async def test_a_reminder_that_is_given_up_is_followed_by_the_next(database: Place) -> None:
    """A dead reminder ends nothing; a dead one that is put back brings no second one of any age."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
        (reminder,) = await take(store, NOW + AGES[0])
        dead = [Dead(reminder.id, "x")]
        await store.settle_and_claim("slack", dead, limit=0, now=NOW + AGES[0] + 9, policy=POLICY)
        late = [Sent(reminder.id, None)]
        await store.settle_and_claim("slack", late, limit=0, now=NOW + AGES[0] + 10, policy=POLICY)
        assert ["2 of 3"] == await send(store, NOW + AGES[1])


async def test_who_only_got_a_reminder_hears_of_the_end(database: Place) -> None:
    """The news was given up, a reminder came through: that is how people know of the request."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await take(store, NOW)
        await store.settle_and_claim("slack", [Dead(news.id, "x")], limit=0, now=NOW + 5, policy=POLICY)
        assert ["1 of 3"] == await send(store, NOW + AGES[0])
        await record_answered(store, routes=[PEOPLE], now=NOW + HOUR)
        assert [END] == await send(store, NOW + HOUR)


async def test_a_webhook_that_gave_up_the_news_hears_the_end(database: Place) -> None:
    """A webhook gets the end of a request whose news is dead, though its next reminder is not due."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await take(store, NOW, "webhook")
        dead = [Dead(news.id, "no")]
        await store.settle_and_claim("webhook", dead, limit=0, now=NOW, policy=POLICY)
        await record_answered(store, routes=[MACHINE], now=NOW + 60)
    assert [("webhook", NEWS, "dead"), ("webhook", END, "pending")] == outbox(database)


async def test_each_notifier_has_its_own_reminders(database: Place) -> None:
    """One that is never reminded gets none."""
    async with open_store(database) as store:
        await record_new(store)
        await send(store, NOW + 5)
        await send(store, NOW + 5, "webhook", NotifierPolicy())
        assert [] == await send(store, NOW + 9 * HOUR, "webhook", NotifierPolicy())
        assert ["1 of 3"] == (await send(store, NOW + 31 * MINUTE))


async def plan(
    store: Store, now: float, ages: Sequence[float], *, notifiers: Sequence[str] = ("slack",)
) -> list[str]:
    """Starts anew with other ages and returns the types of what is not wanted any more."""
    dropped = await store.plan_reminders({"slack": ages}, {APP.name: notifiers}, now=now)
    return [record.type for record in dropped]


async def test_a_changed_configuration_holds_for_what_waits(database: Place) -> None:
    """At the next start reminders of old ages go, those of new ages come, and no age is told twice."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
        assert [] == await plan(store, NOW + 10, (HOUR,))
        new = NotifierPolicy(remind_after=(HOUR,))
        assert [[], ["1 of 1"]] == [await send(store, NOW + at, policy=new) for at in (AGES[0], HOUR)]
        assert [] == await plan(store, NOW + HOUR + 1, (HOUR,))
        assert [] == await send(store, NOW + 9 * HOUR, policy=new)
        assert [] == await plan(store, NOW + 9 * HOUR, ())


async def test_a_reminder_that_was_due_and_is_not_wanted_any_more_is_superseded(
    database: Place,
) -> None:
    """What should have been sent while nothing ran, and is wanted no longer, leaves a record.

    That does not count as a reminder, so its age is reminded at if it is wanted again.
    """
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
        assert [REMINDER] == await plan(store, NOW + AGES[0] + 1, ())
        assert "superseded" == records(database)[-1].state
        assert [] == await plan(store, NOW + AGES[0] + 2, AGES)
        assert ["1 of 3"] == await send(store, NOW + AGES[0] + 3)


async def test_a_reminder_that_failed_and_is_not_wanted_any_more_is_superseded(database: Place) -> None:
    """A reminder that is to be tried again ends when a start finds it no longer configured."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
        (reminder,) = await take(store, NOW + AGES[0])
        failed = [Retry(reminder.id, "x", NOW + 2 * HOUR)]
        await store.settle_and_claim("slack", failed, limit=0, now=NOW + AGES[0])
        assert [REMINDER] == await plan(store, NOW + HOUR, ())


async def test_each_request_is_reminded_of_by_its_own_age(database: Place) -> None:
    """After a start too, a reminder counts from when its request was first seen; the order is theirs."""
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-1"), routes=[PEOPLE])
        await record_new(
            store, make_new_request("run-2"), make_new_request("run-3"), routes=[PEOPLE], now=NOW + 60
        )
        await send(store, NOW + 60, policy=NotifierPolicy())
        await plan(store, NOW + 61, AGES)
        due = [await take(store, NOW + AGES[0] + later) for later in (0, 60)]
    assert [["run-1"], ["run-2", "run-3"]] == [run_ids(reminders) for reminders in due]


async def test_what_is_planned_is_no_delivery_yet(database: Place) -> None:
    """The list of deliveries shows a reminder once its time has come."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
    with database.reading() as reader:
        shown = [
            [record.type for record in queries.deliveries(reader, "pending", now=NOW + at)]
            for at in (AGES[0] - 1, AGES[0])
        ]
    assert [[], [REMINDER]] == shown


async def test_who_is_no_longer_told_of_an_app_is_not_reminded(database: Place) -> None:
    """An app or notifier that was taken out of the configuration takes its reminders along."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
        assert [] == await plan(store, NOW + 10, AGES, notifiers=())
        assert [] == await send(store, NOW + 9 * HOUR)


async def test_who_is_told_late_of_an_app_that_is_no_longer_theirs_is_not_reminded(
    database: Place,
) -> None:
    """What waited for a notifier while it was taken off an app is told, and no reminder follows."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        assert [] == await plan(store, NOW + 5, AGES, notifiers=())
        elsewhere = replace(POLICY, apps=frozenset({"another"}))
        assert [NEWS] == await send(store, NOW + 10, policy=elsewhere)
    assert [("slack", NEWS, "sent")] == outbox(database)


async def test_reminders_start_where_there_were_none(database: Place) -> None:
    """Who configures reminders gets them for what waits already, but only for what was told."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5, policy=NotifierPolicy())
        await record_new(store, make_new_request("run-2"), routes=[replace(PEOPLE, after=HOUR)])
        assert [] == await plan(store, NOW + 10, AGES)
        assert ["1 of 3"] == await send(store, NOW + AGES[0])


async def test_a_start_plans_no_reminder_beside_one_that_waits(database: Place) -> None:
    """However often it is started meanwhile, a notifier that was away for hours is reminded once."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await send(store, NOW + 5)
        assert [[], []] == [await plan(store, NOW + 10 + again, AGES) for again in range(2)]
        assert [("slack", NEWS, "sent"), ("slack", REMINDER, "pending")] == outbox(database)
        assert ["1 of 3"] == await send(store, NOW + 7 * HOUR)
        assert ["3 of 3"] == await send(store, NOW + 8 * HOUR)


@pytest.mark.parametrize("route", BOTH)
async def test_an_escalation_that_is_not_due_is_reminded_of_by_nobody(database: Place, route: Route) -> None:
    """What was answered before a notifier's turn came is none of its business, later neither."""
    async with open_store(database) as store:
        await record_new(store, routes=[replace(route, after=HOUR)])
        await record_answered(store, routes=[replace(route, after=HOUR)], now=NOW + MINUTE)
        assert [] == await send(store, NOW + 9 * HOUR, route.notifier)


async def test_reminders_of_what_is_not_configured_any_more_are_dropped(database: Place) -> None:
    """All that are planned for a notifier, or about an app, that is gone, and none of the others."""
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=BOTH)
        for notifier in ("slack", "webhook"):
            await send(store, NOW + 5, notifier)
        assert [] == await store.plan_reminders({"webhook": AGES}, {APP.name: ["slack", "webhook"]}, now=NOW)
        assert [NEWS, NEWS] == [record.type for record in records(database) if record.notifier == "slack"]
        assert [] == await store.plan_reminders({"webhook": AGES}, {}, now=NOW + 6)
    assert [NEWS] * 4 == [record.type for record in records(database)]


async def test_no_reminder_is_planned_of_what_was_not_told(database: Place) -> None:
    """While news is tried in vain no reminder waits behind it."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await take(store, NOW)
        await store.settle_and_claim(
            "slack", [Retry(news.id, "no", NOW + 60)], limit=0, now=NOW, policy=POLICY
        )
    assert [("slack", NEWS, "pending")] == outbox(database)
