"""Dead is not final: what was given up and is still pending is announced when a notifier accepts again."""

from dataclasses import replace

import pytest

from tests.support.builders import (
    APP,
    NOW,
    PEOPLE,
    event_of,
    make_new_request,
    open_store,
    outbox,
    record_answered,
    record_new,
)
from tests.support.databases import Place
from watcher.models import App, AppEvent, DigestEvent, RequestEvent, Route
from watcher.store import AppFailure, Claim, Dead, NotifierPolicy, Result, Retry, Sent, Store, queries
from watcher.store import outbox as outbox_work

pytestmark = pytest.mark.anyio

LATER = NOW + 172_800.0
SLACK = NotifierPolicy(for_people=True, digest_above=20, remind_after=(1800.0, 604_800.0))
CONSOLE = replace(SLACK, digest_above=0)
WEBHOOK = NotifierPolicy()


async def settle(
    store: Store, *results: Result, now: float = NOW, limit: int = 0, policy: NotifierPolicy = SLACK
) -> Claim:
    """Settles sends of Slack, and claims."""
    return await store.settle_and_claim("slack", results, limit=limit, now=now, policy=policy)


async def give_up(store: Store, *run_ids: str, route: Route = PEOPLE, policy: NotifierPolicy = SLACK) -> None:
    """Records requests, whose announcements are given up."""
    await record_new(store, *[make_new_request(run_id) for run_id in run_ids], routes=[route])
    claimed = (await settle(store, limit=99, policy=policy)).deliveries
    await settle(store, *[Dead(each.id, "invalid_auth") for each in claimed], policy=policy)


async def accept_again(store: Store, policy: NotifierPolicy = SLACK) -> Claim:
    """Records a request two days later, which Slack accepts; returns what is claimed then."""
    await record_new(store, make_new_request("fresh"), routes=[PEOPLE], now=LATER)
    (fresh,) = (await settle(store, limit=1, now=LATER, policy=policy)).deliveries
    assert "fresh" == event_of(fresh, RequestEvent).run.id
    return await settle(store, Sent(fresh.id, None), limit=99, now=LATER, policy=policy)


async def test_what_was_given_up_is_one_digest_when_slack_accepts_again(database: Place) -> None:
    """After a weekend with a revoked token people get what is still pending, in one message, and its end."""
    async with open_store(database) as store:
        await give_up(store, "run-1", "run-2", "run-3")
        await record_answered(store, "run-3", routes=[PEOPLE])
        claimed = await accept_again(store)
        (digest,) = claimed.deliveries
        assert (2, 1, LATER) == (claimed.revived, digest.attempt, digest.due_at)
        assert ["run-1", "run-2"] == [entry.run_id for entry in event_of(digest, DigestEvent).digest.entries]
        await settle(store, Sent(digest.id, None), now=LATER)
        await record_answered(store, "run-1", routes=[PEOPLE], now=LATER + 60)
        await record_answered(store, "run-2", routes=[PEOPLE], now=LATER + 60)
        (end,) = (await settle(store, limit=9, now=LATER + 60)).deliveries
    assert (2, 0) == (event_of(end, DigestEvent).digest.total, event_of(end, DigestEvent).digest.waiting)
    assert 1 == [state for _, _, state in outbox(database)].count("dead")


async def test_nothing_of_a_digest_that_became_part_of_another_is_sent_again(database: Place) -> None:
    """`watcher retry` brings back no follow-up of a digest that was given up and is part of another one."""
    gathered = replace(PEOPLE, digests=True)
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[gathered])
        await store.release_held(APP.name, digest_above=1, now=NOW)
        (digest,) = (await settle(store, limit=1)).deliveries
        await settle(store, Dead(digest.id, "no answer", possibly_delivered=True))
        await record_answered(store, "run-1", routes=[gathered])
        (update,) = (await settle(store, limit=1, now=NOW + 60)).deliveries
        await settle(store, Dead(update.id, "invalid_auth"))
        await give_up(store, "run-3")
        (merged,) = (await accept_again(store)).deliveries
        assert 3 == event_of(merged, DigestEvent).digest.total
        with database.changing(LATER) as tx:
            outbox_work.requeue(tx, None)
        assert () == (await settle(store, limit=9, now=LATER)).deliveries


async def test_the_dead_come_back_after_an_outage_that_was_announced(database: Place) -> None:
    """What was given up is announced after all, whether or not the others were told of the outage."""
    alarmed = replace(SLACK, alert_after=60.0)
    async with open_store(database) as store:
        await give_up(store, "run-1", policy=alarmed)
        await record_new(store, make_new_request("run-2"), routes=[PEOPLE])
        (other,) = (await settle(store, limit=1, policy=alarmed)).deliveries
        await settle(store, Retry(other.id, "invalid_auth", NOW + 60), policy=alarmed)
        assert (await settle(store, now=NOW + 60, policy=alarmed)).failing
        assert 1 == (await settle(store, Sent(other.id, None), now=NOW + 90, policy=alarmed)).revived


async def test_one_that_was_given_up_is_told_by_itself(database: Place) -> None:
    """A single request needs no digest; it is due at once, and counts as never tried."""
    async with open_store(database) as store:
        await give_up(store, "run-1")
        claimed = await accept_again(store)
    (again,) = claimed.deliveries
    assert ("run-1", 1, 0.0) == (event_of(again, RequestEvent).run.id, again.attempt, again.tried_for)


async def test_a_notifier_without_digests_gets_each(database: Place) -> None:
    """The console has no digests, so each request is told by itself."""
    async with open_store(database) as store:
        await give_up(store, "run-1", "run-2", policy=CONSOLE)
        claimed = await accept_again(store, CONSOLE)
    assert ["run-1", "run-2"] == [event_of(each, RequestEvent).run.id for each in claimed.deliveries]


async def test_what_people_know_is_not_repeated(database: Place) -> None:
    """A request of which a reminder got through is known, so its announcement stays dead."""
    async with open_store(database) as store:
        await give_up(store, "run-1")
        (reminder,) = (await settle(store, limit=9, now=NOW + 1800)).deliveries
        assert "run.input_reminder" == reminder.event.type
        claimed = await settle(store, Sent(reminder.id, None), limit=9, now=NOW + 1800)
    assert (0, ()) == (claimed.revived, claimed.deliveries)


async def test_a_planned_reminder_does_not_remind_twice(database: Place) -> None:
    """A digest in place of dead announcements is reminded of, the requests in it are not by themselves."""
    async with open_store(database) as store:
        await give_up(store, "run-1", "run-2")
        for each in (await settle(store, limit=9, now=NOW + 1800)).deliveries:
            await settle(store, Retry(each.id, "invalid_auth", NOW + 2000), now=NOW + 1800)
        (digest,) = (await accept_again(store)).deliveries
        await settle(store, Sent(digest.id, None), now=LATER)
        reminders = (await settle(store, limit=9, now=NOW + 604_800)).deliveries
    totals = [each.event.digest.total for each in reminders if isinstance(each.event, DigestEvent)]
    assert ([2], 2) == (totals, len(reminders))


async def test_an_outage_that_lasts_is_told_late_too(database: Place) -> None:
    """An alert about an app that still fails is made after all; one that is over is not."""
    failure = AppFailure(503, "unavailable", "no", NOW - 120)
    sales = App("sales", "https://sales.example")
    async with open_store(database) as store:
        for app in (APP, sales):
            await store.record_failure(app, [PEOPLE], failure, alert_after=120.0, now=NOW)
        claimed = (await settle(store, limit=9)).deliveries
        numbers = [number for each in claimed for number in (each.id, *each.together_with)]
        await settle(store, *[Dead(number, "invalid_auth") for number in numbers])
        await store.record_success(sales, [PEOPLE], invisible=(), now=NOW + 60)
        claimed = (await accept_again(store)).deliveries
    assert [APP] == [event_of(each, AppEvent).app for each in claimed]


async def test_the_dead_of_a_machine_stay(database: Place) -> None:
    """A program decides by `watcher retry` what it wants to have again."""
    async with open_store(database) as store:
        await give_up(store, "run-1", "run-2", policy=WEBHOOK)
        assert 0 == (await accept_again(store, WEBHOOK)).revived
        assert {} == await store.revive_dead({"slack": WEBHOOK}, now=LATER)
    assert 2 == [state for _, _, state in outbox(database)].count("dead")


async def test_the_dead_come_back_at_the_start(database: Place) -> None:
    """A start with a new token tells at once what was given up; the status shows that for a day."""
    async with open_store(database) as store:
        await give_up(store, "run-1", "run-2")
        assert {"slack": 2} == await store.revive_dead({"slack": SLACK, "other": SLACK}, now=LATER)
        with database.reading() as reader:
            shown = queries.notifiers(reader, [APP.name], now=LATER + 60)["slack"]
            later = queries.notifiers(reader, [APP.name], now=LATER + 90_000)["slack"]
        assert [(2, 60.0), (0, None)] == [(each.revived, each.revived_ago) for each in (shown, later)]
        (digest,) = (await settle(store, limit=9, now=LATER)).deliveries
    assert 2 == event_of(digest, DigestEvent).digest.total


async def test_what_is_not_due_yet_is_not_told_early(database: Place) -> None:
    """An escalation whose notifier was taken out and put back comes when it would have come."""
    async with open_store(database) as store:
        await record_new(store, routes=[replace(PEOPLE, after=900.0)])
        await store.dead_letter_removed(["other"], now=NOW + 60)
        assert {"slack": 1} == await store.revive_dead({"slack": SLACK}, now=NOW + 120)
        assert () == (await settle(store, limit=9, now=NOW + 899)).deliveries
        assert 1 == len((await settle(store, limit=9, now=NOW + 900)).deliveries)
