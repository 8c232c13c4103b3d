"""The store's record of notifiers: when one accepts nothing for long, the others hear of it."""

from dataclasses import replace

import pytest

from tests.support.builders import (
    APP,
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
from watcher.models import NotifierEvent, NotifierFailure
from watcher.store import Claim, NotifierPolicy, Result, Retry, Sent, Store

pytestmark = pytest.mark.anyio

FAILING, RECOVERED = "watcher.notifier_failing", "watcher.notifier_recovered"
POLICY = NotifierPolicy(alert_after=120.0, others=(PEOPLE,))


async def settle(store: Store, *results: Result, now: float) -> Claim:
    """Records results of the webhook and gives out nothing."""
    return await store.settle_and_claim("webhook", results, limit=0, now=now, policy=POLICY)


async def fail(store: Store, now: float = NOW) -> int:
    """Records news that the webhook does not accept, and returns the delivery."""
    await record_new(store, routes=[MACHINE], now=now)
    (news,) = await claim(store, "webhook", now=now)
    await settle(store, Retry(news.id, "HTTP 500", now + 300), now=now)
    return news.id


async def test_a_notifier_that_accepts_nothing_is_told_of_once(database: Place) -> None:
    """After `alert_after` seconds without success the others hear why, since when and how much waits."""
    async with open_store(database) as store:
        number = await fail(store)
        await settle(store, Retry(number, "HTTP 500", NOW + 300), now=NOW + 60)
        claims = [await settle(store, now=NOW + later) for later in (61, 119.9, 120, 500)]
        (delivery,) = await claim(store, "slack", now=NOW + 120)
    failure = NotifierFailure("webhook", "HTTP 500", NOW, undelivered=1)
    assert [None, None, failure, None] == [one.failing for one in claims]
    assert (FAILING, failure) == (delivery.event.type, event_of(delivery, NotifierEvent).failure)
    assert [None] == [record.app for record in records(database) if record.type == FAILING]


async def test_recovery_is_told_once_to_those_who_were_told_across_restarts(database: Place) -> None:
    """Neither failing nor recovery is repeated by another process, and both carry one beginning."""
    async with open_store(database) as store:
        number = await fail(store)
        await settle(store, now=NOW + 200)
        (failing,) = await claim(store, "slack", now=NOW + 200)
        await store.settle_and_claim("slack", [Sent(failing.id, None)], limit=0, now=NOW + 201)
    async with open_store(database) as store:
        assert None is (await settle(store, now=NOW + 300)).failing
        recovered = (await settle(store, Sent(number, None), now=NOW + 400)).recovered
        assert recovered is not None
        assert (NOW, 0) == (recovered.since, recovered.undelivered)
        (delivery,) = await claim(store, "slack", now=NOW + 400)
        assert (RECOVERED, recovered) == (delivery.event.type, event_of(delivery, NotifierEvent).failure)
        assert None is (await settle(store, now=NOW + 500)).recovered


async def test_recovery_is_told_after_however_long(database: Place) -> None:
    """What was told of a silence that lasts is not pruned, for who got it is to hear of its end."""
    async with open_store(database) as store:
        number = await fail(store)
        await settle(store, now=NOW + 200)
        (failing,) = await claim(store, "slack", now=NOW + 200)
        await store.settle_and_claim("slack", [Sent(failing.id, None)], limit=0, now=NOW + 201)
        assert 0 == await store.prune(before=NOW + 300)
        await settle(store, Sent(number, None), now=NOW + 400)
        assert [RECOVERED] == [delivery.event.type for delivery in await claim(store, "slack", now=NOW + 400)]


async def test_a_short_failure_is_told_to_nobody(database: Place) -> None:
    """A notifier that accepts again in time made no news, and the next failure counts anew."""
    async with open_store(database) as store:
        number = await fail(store)
        claimed = await settle(store, Sent(number, None), now=NOW + 60)
        await record_new(store, make_new_request("run-2"), routes=[MACHINE], now=NOW + 61)
        (news,) = await claim(store, "webhook", now=NOW + 61)
        await settle(store, Retry(news.id, "x", NOW + 900), now=NOW + 62)
        later = [(await settle(store, now=NOW + at)).failing is not None for at in (150, 181.9, 182)]
    assert (None, None) == (claimed.failing, claimed.recovered)
    assert [False, False, True] == later


async def test_one_poisoned_event_among_others_is_no_silence(database: Place) -> None:
    """As long as a notifier accepts something it is not silent."""
    async with open_store(database) as store:
        await fail(store)
        await record_new(store, make_new_request("run-2"), routes=[MACHINE], now=NOW + 100)
        (news,) = await claim(store, "webhook", now=NOW + 100)
        await settle(store, Sent(news.id, None), now=NOW + 100)
        assert None is (await settle(store, now=NOW + 121)).failing


async def fail_once(store: Store) -> NotifierPolicy:
    """Records a message that Slack refuses and whose request ends; returns the policy of Slack."""
    policy = NotifierPolicy(alert_after=120.0, others=(MACHINE,))
    await record_new(store, routes=[PEOPLE])
    (news,) = await claim(store, "slack")
    await store.settle_and_claim("slack", [Retry(news.id, "x", NOW + 1)], limit=0, now=NOW, policy=policy)
    await record_answered(store, routes=[PEOPLE], now=NOW + 2)
    return policy


async def test_a_failure_of_long_ago_is_none_of_today(database: Place) -> None:
    """Something must have been tried in vain for the whole time, or nobody cries wolf."""
    async with open_store(database) as store:
        policy = await fail_once(store)
        await record_new(store, make_new_request("run-2"), routes=[PEOPLE], now=NOW + 5000)
        (news,) = await claim(store, "slack", now=NOW + 5000)
        retry = [Retry(news.id, "x", NOW + 5900)]
        at_once = await store.settle_and_claim("slack", retry, limit=0, now=NOW + 5001, policy=policy)
        later = await store.settle_and_claim("slack", (), limit=0, now=NOW + 5121, policy=policy)
    assert (None, True) == (at_once.failing, later.failing is not None)


async def test_what_was_not_tried_is_no_failure(database: Place) -> None:
    """A message that was never tried is no reason for an alert, however long ago another one failed."""
    async with open_store(database) as store:
        policy = await fail_once(store)
        await record_new(store, make_new_request("run-2"), routes=[PEOPLE], now=NOW + 3)
        later = await store.settle_and_claim("slack", (), limit=0, now=NOW + 200, policy=policy)
    assert later.failing is None


async def test_what_people_were_not_told_in_time_is_dropped(database: Place) -> None:
    """Who had not yet heard of the failure hears nothing of its end."""
    async with open_store(database) as store:
        number = await fail(store)
        await settle(store, now=NOW + 200)
        claimed = await settle(store, Sent(number, None), now=NOW + 210)
    assert [FAILING] == [stale.type for stale in claimed.superseded]
    assert [("slack", FAILING, "superseded")] == [row for row in outbox(database) if row[0] == "slack"]


async def test_news_of_a_silence_that_fails_itself_is_dropped_after_it(database: Place) -> None:
    """News of a silent notifier that was under way at its recovery and not accepted is not tried again."""
    async with open_store(database) as store:
        number = await fail(store)
        await settle(store, now=NOW + 200)
        (failing,) = await claim(store, "slack", now=NOW + 200)
        await settle(store, Sent(number, None), now=NOW + 210)
        failed = [Retry(failing.id, "x", NOW + 300)]
        settled = await store.settle_and_claim("slack", failed, limit=1, now=NOW + 211)
    assert [FAILING, RECOVERED] == [record.type for record in settled.superseded]


async def test_an_alert_about_a_notifier_waits_for_no_poll(database: Place) -> None:
    """After a restart an alert about a notifier is sent at once, for no app has to be polled for it."""
    async with open_store(database) as store:
        await fail(store)
        await settle(store, now=NOW + 200)
    async with open_store(database) as store:
        await store.hold_until_polled([APP.name])
        assert [FAILING] == [delivery.event.type for delivery in await claim(store, "slack", now=NOW + 200)]


async def test_alone_there_is_nobody_to_tell(database: Place) -> None:
    """A notifier without others is recorded as failing all the same, once, for the log."""
    alone = NotifierPolicy(alert_after=120.0)
    async with open_store(database) as store:
        await fail(store)
        told = [
            (await store.settle_and_claim("webhook", (), limit=0, now=NOW + at, policy=alone)).failing
            for at in (120, 121)
        ]
    assert [True, False] == [failure is not None for failure in told]


async def test_a_recovery_says_what_still_waits(database: Place) -> None:
    """The others learn how many deliveries the notifier has still to be sent by now, and none of later."""
    async with open_store(database) as store:
        number = await fail(store)
        await settle(store, now=NOW + 200)
        await record_new(store, make_new_request("run-2"), routes=[MACHINE], now=NOW + 201)
        await record_new(
            store, make_new_request("run-3"), routes=[replace(MACHINE, after=900.0)], now=NOW + 202
        )
        recovered = (await settle(store, Sent(number, None), now=NOW + 203)).recovered
    assert recovered is not None
    assert 1 == recovered.undelivered
