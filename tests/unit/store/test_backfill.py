"""Notifiers that are configured later receive, at the start, the requests that are pending."""

from collections.abc import Sequence
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
    run_ids,
)
from tests.support.databases import Place
from watcher.models import App, DigestEvent, RequestEvent, Route
from watcher.store import Dead, Retry, Store

pytestmark = pytest.mark.anyio

NEWS = "run.input_requested"
OTHER = App("sales", "https://sales.example")


async def backfill(store: Store, *routes: Route, now: float = NOW + 100) -> dict[str, int]:
    """Starts with these notifiers for the app."""
    return await store.backfill_new_notifiers([(APP, routes), (OTHER, routes)], now=now)


async def test_who_is_new_is_told_of_what_waits_once(database: Place) -> None:
    """Each request that waits, whoever else was told of it, is told at once to who is new, and not again."""
    async with open_store(database) as store:
        await record_new(
            store,
            make_new_request("run-1"),
            make_new_request("run-2"),
            make_new_request("run-3"),
            routes=[MACHINE],
        )
        await record_answered(store, "run-2", routes=[MACHINE])
        assert {"slack": 2} == await backfill(store, MACHINE, PEOPLE)
        assert {} == await backfill(store, MACHINE, PEOPLE)
        (told, _) = claimed = await claim(store, "slack", now=NOW + 100)
    event = event_of(told, RequestEvent)
    assert (NEWS, ["run-1", "run-3"]) == (event.type, run_ids(claimed))
    assert (NOW + 100, NOW, NOW + 100, APP) == (event.at, event.first_seen_at, told.due_at, event.app)


@pytest.mark.parametrize(("after", "due_at"), [(60.0, NOW + 100), (900.0, NOW + 900)])
async def test_an_escalation_that_is_new_counts_from_the_beginning(
    database: Place, after: float, due_at: float
) -> None:
    """It is due when the request has waited for so long, and at once if it has already."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        await backfill(store, replace(PEOPLE, after=after))
        (told,) = await claim(store, "slack", now=due_at)
    assert due_at == told.due_at


async def test_a_backlog_that_was_passed_over_stays_so(database: Place) -> None:
    """What nobody was told of is told to nobody who is new either."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE], announce=False)
        assert {} == await backfill(store, PEOPLE)
    assert [] == outbox(database)


async def test_who_was_told_by_a_digest_is_not_new(database: Place) -> None:
    """Who knows of a request by a digest is not told again; many make a digest for who is new, too."""
    people = replace(PEOPLE, digests=True)
    async with open_store(database) as store:
        await record_new(store, *(make_new_request(f"run-{number}") for number in range(3)), routes=[people])
        await store.release_held(APP.name, digest_above=2, now=NOW)
        other = replace(people, notifier="leads")
        assert {"leads": 3} == await backfill(store, people, other)
        assert () == await claim(store, "leads", now=NOW + 100)
        await store.release_held(APP.name, digest_above=2, now=NOW + 101)
        (told,) = await claim(store, "leads", now=NOW + 101)
    assert 3 == event_of(told, DigestEvent).digest.waiting


@pytest.mark.parametrize("gone", [[], [PEOPLE]])
async def test_who_was_given_up_is_not_new(database: Place, gone: Sequence[Route]) -> None:
    """What is dead is for `retry`: who is there again after having been taken out is not told by itself."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Dead(news.id, "no")], limit=0, now=NOW)
        await backfill(store, *gone)
        assert {} == await backfill(store, PEOPLE)
    assert [("slack", NEWS, "dead")] == outbox(database)


@pytest.mark.parametrize(
    ("before", "after", "due_at"),
    [
        (900.0, 0.0, NOW + 100),
        (900.0, 300.0, NOW + 300),
        (300.0, 900.0, NOW + 900),
        (60.0, 900.0, NOW + 900),
        (60.0, 30.0, NOW + 60),
    ],
    ids=["at once", "sooner", "later", "later though due", "due already"],
)
async def test_a_changed_after_holds_for_what_was_not_announced_yet(
    database: Place, before: float, after: float, due_at: float
) -> None:
    """At the start an announcement that was not tried moves to when the `after` of now has passed."""
    async with open_store(database) as store:
        await record_new(store, routes=[replace(PEOPLE, after=before)])
        routes = [replace(PEOPLE, after=after)]
        await store.reschedule_announcements([(APP, routes), (OTHER, routes)], now=NOW + 100)
        (told,) = await claim(store, "slack", now=max(due_at, NOW + 100))
    assert due_at == told.due_at


async def test_what_was_tried_does_not_wait_again(database: Place) -> None:
    """An announcement that was tried keeps its turn, even if `after` is longer now."""
    async with open_store(database) as store:
        await record_new(store, routes=[PEOPLE])
        (news,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Retry(news.id, "no", NOW + 200)], limit=0, now=NOW)
        await store.reschedule_announcements([(APP, [replace(PEOPLE, after=900.0)])], now=NOW + 100)
        (again,) = await claim(store, "slack", now=NOW + 200)
    assert news.id == again.id
