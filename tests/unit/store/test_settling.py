"""Settling and claiming in one transaction: what a claim says, and who may have been told."""

import math
import sqlite3

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
from watcher.models import RequestEvent
from watcher.store import Dead, Retry, StoreUnavailable
from watcher.store import outbox as outbox_work
from watcher.store.sqlite import translate

pytestmark = pytest.mark.anyio

NEWS = "run.input_requested"


async def test_every_delivery_that_became_stale_is_said(database: Place) -> None:
    """Failures and last failures of one call, of requests that ended meanwhile, are all superseded."""
    async with open_store(database) as store:
        await record_new(store, *(make_new_request(f"run-{number}") for number in range(4)), routes=[PEOPLE])
        first, second, third, fourth = await claim(store, "slack")
        for number in range(4):
            await record_answered(store, f"run-{number}", routes=[])
        results: list[Retry | Dead] = [
            Retry(first.id, "no", NOW + 60),
            Retry(second.id, "no", NOW + 60),
            Dead(third.id, "no"),
            Dead(fourth.id, "no"),
        ]
        claimed = await store.settle_and_claim("slack", results, limit=0, now=NOW + 20)
    stale = [(record.event_id, record.request_id, record.state) for record in claimed.superseded]
    assert [(each.event.id, "q1", "superseded") for each in (first, second, third, fourth)] == stale
    assert {("superseded", 1)} == {(record.state, record.attempts) for record in records(database)}


async def test_a_delivery_knows_whose_it_is(database: Place) -> None:
    """What is given out names its notifier and the event that the outbox shows."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
    assert [(news.notifier, news.event.id)] == [
        (record.notifier, record.event_id) for record in records(database)
    ]


@pytest.mark.parametrize(("due_by", "wake_at"), [(math.inf, NOW + 60), (NOW, None)])
async def test_when_to_ask_again(database: Place, due_by: float, wake_at: float | None) -> None:
    """A claim says when something comes due next, but for whoever wants nothing that comes later."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        claimed = await store.settle_and_claim(
            "webhook", [Retry(news.id, "no", NOW + 60)], limit=1, now=NOW, due_by=due_by
        )
    assert wake_at == claimed.wake_at


async def test_what_was_tried_is_undelivered_too(database: Place) -> None:
    """Unless only what was not even tried is asked for, a delivery that failed counts."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        await store.settle_and_claim("webhook", [Retry(news.id, "no", NOW + 60)], limit=0, now=NOW)
        tried = await store.undelivered([APP.name], ["webhook"], now=NOW)
        untried = await store.undelivered([APP.name], ["webhook"], now=NOW, untried=True)
    assert (1, 0) == (tried, untried)


async def test_who_was_being_told_in_a_crash_hears_the_end(database: Place) -> None:
    """What was given out when the process died may stand in the channel; what was refused before does not."""
    async with open_store(database) as store:
        await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[PEOPLE])
        refused, _ = await claim(store, "slack")
        await store.settle_and_claim("slack", [Retry(refused.id, "no", NOW + 60)], limit=0, now=NOW)
    async with open_store(database) as store:
        for run_id in ("run-1", "run-2"):
            await record_answered(store, run_id, routes=[PEOPLE])
        told = await claim(store, "slack", now=NOW + 60)
    assert [("run.input_resolved", "run-2")] == [
        (delivery.event.type, event_of(delivery, RequestEvent).run.id) for delivery in told
    ]


async def test_a_doubt_of_before_a_crash_stays(database: Place) -> None:
    """That a later attempt is refused does not tell what became of the one that the crash cut short."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        await claim(store, "slack")
    async with open_store(database) as store:
        (news,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Retry(news.id, "no", NOW + 60)], limit=0, now=NOW)
        await record_answered(store, routes=[PEOPLE])
        told = await claim(store, "slack", now=NOW + 60)
    assert ["run.input_resolved"] == [delivery.event.type for delivery in told]


async def test_an_end_is_told_though_the_news_was_put_back(database: Place) -> None:
    """News that was being sent in a crash, then given up and put back, takes no resolution along."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await claim(store, "slack")
    async with open_store(database) as store:
        await store.dead_letter_removed([], now=NOW)
        await record_answered(store, routes=[PEOPLE])
        with database.changing(NOW + 60) as tx:
            outbox_work.requeue(tx, [news.id])
    assert [("slack", NEWS, "superseded"), ("slack", "run.input_resolved", "pending")] == outbox(database)


@pytest.mark.parametrize("ended_first", [True, False])
@pytest.mark.parametrize("last", [True, False])
async def test_who_may_have_been_told_hears_the_end(
    database: Place, *, ended_first: bool, last: bool
) -> None:
    """A message whose answer was lost may stand in the channel: it is not repeated, and its end is told."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await claim(store, "slack")
        lost: list[Retry | Dead] = [Retry(news.id, "no answer", NOW + 60, possibly_delivered=True)]
        if last:
            lost = [Dead(news.id, "no answer", possibly_delivered=True)]
        if ended_first:
            await record_answered(store, routes=[PEOPLE])
        await store.settle_and_claim("slack", lost, limit=0, now=NOW + 10)
        if not ended_first:
            await record_answered(store, routes=[PEOPLE])
        told = await claim(store, "slack", now=NOW + 60)
    assert ["run.input_resolved"] == [delivery.event.type for delivery in told]
    state = "dead" if last and not ended_first else "superseded"
    assert [("slack", NEWS, state), ("slack", "run.input_resolved", "pending")] == outbox(database)


def test_an_error_without_a_code_may_pass() -> None:
    """What SQLite's own module raises carries no code, and is no proof that the database cannot be used."""
    error = translate(sqlite3.ProgrammingError("Cannot operate on a closed database."))
    assert (StoreUnavailable, "Cannot operate on a closed database.") == (type(error), str(error))


@pytest.mark.parametrize(
    ("code", "hint"), [(sqlite3.SQLITE_IOERR, " (the disk may be full)"), (sqlite3.SQLITE_BUSY, "")]
)
def test_what_may_be_a_full_disk(code: int, hint: str) -> None:
    """Of a full disk SQLite says no more than that reading or writing failed, while it opens a database."""
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    assert f"it failed{hint}" == str(translate(error))
