"""The store's outbox: what is given out when, what becomes of it, and what is kept how long."""

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
    pending,
    pending_key,
    record_answered,
    record_new,
    records,
    run_ids,
)
from tests.support.databases import Place, rows
from watcher import store as store_module
from watcher.models import RequestEvent, Route
from watcher.store import Claim, Dead, Retry, Sent
from watcher.store import outbox as outbox_work

pytestmark = pytest.mark.anyio

DAY = 86_400.0
NEWS = "run.input_requested"


# Giving out and taking back


async def test_no_more_is_given_out_than_asked_for_and_nothing_twice(database: Place) -> None:
    """A claim holds at most `limit` deliveries, and what is under way is not given out again."""
    async with open_store(database) as store:
        await record_new(store, *[make_new_request(f"run-{number}") for number in range(5)], routes=[MACHINE])
        claims = [await claim(store, "webhook", limit=limit) for limit in (2, 0, 2, 9, 9)]
    assert [2, 0, 2, 1, 0] == [len(claimed) for claimed in claims]
    assert [1, 2, 3, 4, 5] == [delivery.id for claimed in claims for delivery in claimed]


async def test_the_longest_due_goes_first(database: Place) -> None:
    """Deliveries are given out in the order in which they became due."""
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-late"), routes=[replace(MACHINE, after=60.0)])
        await record_new(store, make_new_request("run-early"), routes=[MACHINE], now=NOW + 1)
        claimed = await claim(store, "webhook", now=NOW + 61)
    assert ["run-early", "run-late"] == run_ids(claimed)


async def test_a_clock_that_is_set_changes_no_wait(database: Place) -> None:
    """When the clock is set by an hour, retries, escalations and pauses last as long as they would have."""
    hour = 3600.0
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-1"), routes=[MACHINE])
        await record_new(store, make_new_request("run-2"), routes=[replace(PEOPLE, after=60.0)])
        (news,) = await claim(store, "webhook")
        await store.settle_and_claim(
            "webhook", [Retry(news.id, "x", NOW + 30)], limit=0, now=NOW, pause_until=NOW + 40
        )
        await store.shift_timestamps(-hour)
        now = NOW - hour
        assert NOW + 40 - hour == (await store.settle_and_claim("webhook", (), limit=9, now=now + 39)).wake_at
        (again,) = await claim(store, "webhook", now=now + 40)
        assert (news.event.id, now) == (again.event.id, again.due_at)
        assert () == await claim(store, "slack", now=now + 59)
        assert 1 == len(await claim(store, "slack", now=now + 60))


async def test_a_clock_that_is_set_does_not_touch_what_is_finished(database: Place) -> None:
    """Only what is still to be sent moves."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        await store.settle_and_claim("webhook", [Sent(news.id, None)], limit=0, now=NOW)
        before = rows(database, "SELECT * FROM deliveries")
        await store.shift_timestamps(1000.0)
        assert before == rows(database, "SELECT * FROM deliveries")


async def test_a_failing_request_holds_up_itself_only(database: Place) -> None:
    """Behind news that is to be tried again its own end waits; other requests go on."""
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-1"), routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        await store.settle_and_claim("webhook", [Retry(news.id, "x", NOW + 60)], limit=0, now=NOW)
        await record_answered(store, routes=[MACHINE])
        await record_new(store, make_new_request("run-2"), routes=[MACHINE], now=NOW + 11)
        meanwhile = await store.settle_and_claim("webhook", (), limit=9, now=NOW + 11)
        later = await claim(store, "webhook", now=NOW + 60)
    assert (["run-2"], NOW + 60) == (
        run_ids(meanwhile.deliveries),
        meanwhile.wake_at,
    )
    assert [(news.event.id, 2)] == [(delivery.event.id, delivery.attempt) for delivery in later]


async def test_the_order_holds_though_the_clock_is_set_back(database: Place) -> None:
    """What is under way, and what failed, goes before the end of its request, whatever time it is now."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        await record_answered(store, routes=[MACHINE], now=NOW - 60)
        assert () == await claim(store, "webhook", now=NOW - 60)
        failed = [Retry(news.id, "x", NOW - 59)]
        await store.settle_and_claim("webhook", failed, limit=0, now=NOW - 60)
        (again,) = await claim(store, "webhook", now=NOW - 59)
    assert news.id == again.id


async def test_a_program_is_told_of_what_was_tried_before_the_clock_was_set_back(
    database: Place,
) -> None:
    """The end of a request whose news failed drops nothing, though the news is due later by that clock."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        await store.settle_and_claim("webhook", [Retry(news.id, "x", NOW + 1)], limit=0, now=NOW)
        await record_answered(store, routes=[MACHINE], now=NOW - 60)
    assert [("webhook", NEWS, "pending"), ("webhook", "run.input_resolved", "pending")] == outbox(database)


async def test_what_was_under_way_at_the_end_of_a_process_is_given_out_again(database: Place) -> None:
    """A delivery that was given out and never settled is repeated after a restart, with the same event."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (before,) = await claim(store, "webhook")
    async with open_store(database) as store:
        assert (before,) == await claim(store, "webhook")


async def test_a_pause_holds_one_notifier_across_a_restart(database: Place) -> None:
    """A paused notifier is given nothing until its time, also by the next process; others go on."""
    async with open_store(database) as store:
        await record_new(store)
        await store.settle_and_claim("slack", (), limit=0, now=NOW, pause_until=NOW + 60)
        await store.settle_and_claim("slack", (), limit=0, now=NOW, pause_until=NOW + 30)
    async with open_store(database) as store:
        assert Claim((), NOW + 60, ()) == await store.settle_and_claim("slack", (), limit=1, now=NOW + 59)
        assert 1 == len(await claim(store, "webhook", now=NOW + 59))
        assert 1 == len(await claim(store, "slack", now=NOW + 60))


async def test_the_schedule_of_a_retry_survives_a_restart(database: Place) -> None:
    """Time, reason and count of the attempts are in the database."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        await store.settle_and_claim("webhook", [Retry(news.id, "503", NOW + 8)], limit=0, now=NOW)
    (record,) = records(database)
    assert ("pending", 1, "503", NOW + 8) == (
        record.state,
        record.attempts,
        record.last_error,
        record.next_attempt_at,
    )
    async with open_store(database) as store:
        assert () == await claim(store, "webhook", now=NOW + 7)
        assert [2] == [delivery.attempt for delivery in await claim(store, "webhook", now=NOW + 8)]


async def test_a_sent_delivery_is_told_and_has_no_error_left(database: Place) -> None:
    """After a failure and a success the record is clean and the request says who was told."""
    async with open_store(database) as store:
        await record_new(store)
        for notifier in ("webhook", "slack"):
            (news,) = await claim(store, notifier)
            await store.settle_and_claim(notifier, [Retry(news.id, "x", NOW)], limit=1, now=NOW)
            await store.settle_and_claim(notifier, [Sent(news.id, None)], limit=1, now=NOW)
    assert [("sent", 2, None, None)] * 2 == [
        (record.state, record.attempts, record.last_error, record.next_attempt_at)
        for record in records(database)
    ]
    assert [("slack", "webhook")] == [request.told for request in pending(database)]


async def test_undelivered_counts_what_was_due(database: Place) -> None:
    """Not counted are what is due later, what is done, and what is another notifier's."""
    async with open_store(database) as store:
        await record_new(store, routes=[*BOTH, Route("late", for_people=True, after=60.0)])
        (news,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Sent(news.id, None)], limit=1, now=NOW)
        counts = [
            await store.undelivered([APP.name], names, now=NOW)
            for names in (["slack", "late"], ["webhook"], [])
        ]
        (failed,) = await claim(store, "webhook")
        untried = [await store.undelivered([APP.name], ["webhook"], now=NOW, untried=True)]
        await store.settle_and_claim("webhook", [Retry(failed.id, "x", NOW)], limit=0, now=NOW)
        untried.append(await store.undelivered([APP.name], ["webhook"], now=NOW, untried=True))
    assert ([0, 1, 0], [1, 0]) == (counts, untried)


# Beside the daemon


async def test_only_the_dead_are_put_back(database: Place) -> None:
    """A dead delivery starts anew from now, beside the daemon; a sent one stays as it is."""
    async with open_store(database) as store:
        await record_new(store)
        for notifier, result in (
            ("slack", Retry(1, "no", NOW + 2 * DAY, tried_for=60.0)),
            ("webhook", Sent(2, None)),
        ):
            await claim(store, notifier)
            await store.settle_and_claim(notifier, [result], limit=0, now=NOW)
        await store.dead_letter_removed([], now=NOW)
        with database.changing(NOW + DAY) as tx:
            outbox_work.requeue(tx, [1, 2])
        (again,) = await claim(store, "slack", now=NOW + DAY)
        assert () == await claim(store, "webhook", now=NOW + DAY)
    assert (1, 1, NOW + DAY) == (again.id, again.attempt, again.due_at)
    assert (0.0, None) == (again.tried_for, again.last_attempt_at)


@pytest.mark.parametrize(("route", "state"), [(PEOPLE, "superseded"), (MACHINE, "pending")])
async def test_people_are_not_told_of_what_is_over_by_putting_it_back(
    database: Place, route: Route, state: str
) -> None:
    """Dead news of a request that has ended since reaches a webhook when put back, and no person."""
    async with open_store(database) as store:
        await record_new(store, routes=[route])
        (news,) = await claim(store, route.notifier)
        await store.settle_and_claim(route.notifier, [Dead(news.id, "no")], limit=0, now=NOW)
        await record_answered(store, routes=[])
        with database.changing(NOW + DAY) as tx:
            outbox_work.requeue(tx, [news.id])
    assert [(route.notifier, NEWS, state)] == outbox(database)


async def test_what_a_removed_notifier_was_to_send_is_given_up(database: Place) -> None:
    """Deliveries of notifiers that are no longer configured end dead, with the reason; others stay."""
    async with open_store(database) as store:
        await record_new(store)
        retired = await store.dead_letter_removed(["webhook"], now=NOW)
        assert [] == await store.dead_letter_removed(["webhook"], now=NOW)
    assert [("slack", "dead", "the notifier is no longer configured")] == [
        (record.notifier, record.state, record.last_error) for record in retired
    ]
    assert [("slack", NEWS, "dead"), ("webhook", NEWS, "pending")] == outbox(database)


# Pruning


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes pruning need several transactions."""
    monkeypatch.setattr(store_module, "PRUNE_BATCH", 2)


async def test_a_key_is_never_given_out_again(database: Place) -> None:
    """A link in a message of long ago leads to no other request, although its own was pruned."""
    async with open_store(database) as store:
        for number in (1, 2, 3):
            run = f"run-{number}"
            await record_new(store, make_new_request(run), routes=[], now=NOW + number)
            assert number == (await pending_key(store, run)).key
            await record_answered(store, run, routes=[], now=NOW + number)
            assert 1 == await store.prune(before=NOW + number + 1)


@pytest.mark.usefixtures("small_batches")
async def test_what_ended_long_ago_is_pruned_whole(database: Place) -> None:
    """Requests, deliveries and events that ended before the time go, in as many batches as it takes."""
    async with open_store(database) as store:
        await record_new(store, *[make_new_request(f"run-{number}") for number in range(3)])
        for number in range(3):
            await record_answered(store, f"run-{number}")
        for news in await claim(store, "webhook", now=NOW + 10):
            await store.settle_and_claim("webhook", [Sent(news.id, None)], limit=0, now=NOW + 10)
        for ended in await claim(store, "webhook", now=NOW + 10):
            await store.settle_and_claim("webhook", [Dead(ended.id, "x")], limit=0, now=NOW + 10)
        assert 0 == await store.prune(before=NOW + 10)
        assert 12 == await store.prune(before=NOW + 11)
    tables = ("requests", "deliveries", "events")
    assert [[]] * 3 == [rows(database, f"SELECT 1 FROM {table}") for table in tables]


async def test_what_waits_and_what_was_told_of_it_stays(database: Place) -> None:
    """Neither a pending request with the record of who was told, nor an unsent delivery, is ever pruned."""
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-waits"), routes=[PEOPLE])
        (told,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Sent(told.id, None)], limit=0, now=NOW)
        await record_new(store, make_new_request("run-over"), routes=[MACHINE])
        await record_answered(store, "run-over", routes=[MACHINE])
        assert 0 == await store.prune(before=NOW + 10 * DAY)
        assert [("slack",)] == [request.told for request in pending(database)]
    assert ["sent", "pending", "pending"] == [state for _, _, state in outbox(database)]


# What another process left


async def test_what_is_left_over_waits_for_the_first_poll_of_its_app(database: Place) -> None:
    """After a restart old news is given out once its app was polled; what is new goes at once."""
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[PEOPLE])
    async with open_store(database) as store:
        await store.hold_until_polled([APP.name, "other"])
        await record_new(store, make_new_request("run-3"), routes=[PEOPLE])
        at_first = await claim(store, "slack")
        assert not store.mark_polled("other")
        of_another = await claim(store, "slack")
        assert [True, False, False] == [
            store.mark_polled(APP.name),
            store.mark_polled(APP.name),
            store.mark_polled(),
        ]
        then = await claim(store, "slack")
    assert [["run-3"], [], ["run-1", "run-2"]] == [
        run_ids(claimed) for claimed in (at_first, of_another, then)
    ]


async def test_an_app_with_nothing_left_over_waits_for_no_poll(database: Place) -> None:
    """What another process has sent already holds nothing back."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Sent(news.id, None)], limit=0, now=NOW)
    async with open_store(database) as store:
        await store.hold_until_polled([APP.name])
        assert not store.mark_polled(APP.name)


async def test_what_is_about_an_app_that_is_not_watched_is_kept_for_when_it_is(database: Place) -> None:
    """Nothing is sent about an app that left the configuration, nothing is overdue, nothing is lost."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
    async with open_store(database) as store:
        await store.hold_until_polled(["other"])
        store.mark_polled()
        assert () == await claim(store, "slack")
        assert 0 == await store.undelivered(["other"], ["slack"], now=NOW)
    async with open_store(database) as store:
        await store.hold_until_polled([APP.name])
        store.mark_polled(APP.name)
        assert ["run-1"] == run_ids(await claim(store, "slack"))


async def test_what_was_given_up_while_held_can_be_put_back(database: Place) -> None:
    """A dead delivery that comes back is given out, whether or not it was held for the end of a poll."""
    async with open_store(database) as store:
        await record_new(store, routes=[replace(PEOPLE, digests=True)])
        (dead,) = await store.dead_letter_removed([], now=NOW)
        with database.changing(NOW) as tx:
            outbox_work.requeue(tx, [dead.id])
        assert ["run-1"] == run_ids(await claim(store, "slack"))


async def test_nobody_waits_for_a_poll_for_ever(database: Place) -> None:
    """Whatever is withheld can be let go at once."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await store.hold_until_polled([APP.name])
        assert () == await claim(store, "slack")
        assert store.mark_polled()
        assert ["run-1"] == run_ids(await claim(store, "slack"))


async def test_an_escalation_is_dated_when_its_time_comes(database: Place) -> None:
    """What is told only after a while says that it has waited for that while."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE, replace(PEOPLE, after=60.0)])
        (at_once,) = await claim(store, "webhook")
        (later,) = await claim(store, "slack", now=NOW + 61)
    assert (NOW, NOW + 60) == (at_once.event.at, later.event.at)
    assert NOW == event_of(later, RequestEvent).first_seen_at
