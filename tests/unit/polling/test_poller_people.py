"""When people are told of what a poll found: at its end, soon enough, and whatever happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.support.builders import (
    MACHINE,
    PEOPLE,
    claim,
    lock_database,
    make_new_request,
    outbox,
    record_new,
    run_ids,
    soon,
)
from tests.support.databases import Place
from tests.support.poll_bench import PollBench, api_run, open_bench, question, refusal
from watcher.models import Delivery, DigestEvent
from watcher.polling import batching as holding
from watcher.polling.poller import Poller

pytestmark = pytest.mark.anyio

GATHERED = replace(PEOPLE, digests=True)


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[PollBench]:
    """A poller's surroundings."""
    async with open_bench(database) as opened:
        yield opened


def poller_of(bench: PollBench) -> Poller:
    """Returns a poller whose people get a digest of more than two new requests."""
    return bench.poller(routes=(GATHERED, MACHINE), digest_above=2)


def runs(*numbers: int) -> list[object]:
    """Returns runs that ask something, as the API lists them."""
    return [api_run(f"run-{number}", question()) for number in numbers]


def told(deliveries: tuple[Delivery, ...]) -> list[str | int]:
    """Returns the run of each delivery, of a digest the number of its requests."""
    digests = [
        delivery.event.digest.total for delivery in deliveries if isinstance(delivery.event, DigestEvent)
    ]
    return digests + run_ids(deliveries)


async def test_two_pages_make_one_digest(bench: PollBench) -> None:
    """All that one poll found is told together, and workers are woken for it."""
    bench.api.pages = [runs(1, 2), runs(3)]
    assert (await poller_of(bench).poll()).error is None
    assert [3] == told(await claim(bench.store, "slack"))
    assert 3 == len(bench.wakes)


async def test_few_are_told_one_by_one(bench: PollBench) -> None:
    """Up to the limit each request has a message of its own."""
    bench.api.pages = [runs(1, 2)]
    await poller_of(bench).poll()
    assert ["run-1", "run-2"] == told(await claim(bench.store, "slack"))


async def test_a_poll_that_fails_still_tells_what_it_found(bench: PollBench) -> None:
    """What was read before a page failed is told at once."""
    bench.api.pages = [runs(1, 2, 3), refusal(500, "internal")]
    assert (await poller_of(bench).poll()).error is not None
    assert [3] == told(await claim(bench.store, "slack"))


async def test_a_long_poll_tells_people_meanwhile(bench: PollBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """People wait a few seconds at most, however long the rest of the list takes."""
    monkeypatch.setattr(holding, "HOLD_SECONDS", 0.01)
    reached, go_on, released = asyncio.Event(), asyncio.Event(), asyncio.Event()
    release = bench.store.release_held

    async def noted(app: str, *, digest_above: int, now: float) -> bool:
        if await release(app, digest_above=digest_above, now=now):
            released.set()
            return True
        return False

    async def slow_page(call: str) -> None:
        if call == "page 2":
            reached.set()
            await go_on.wait()

    monkeypatch.setattr(bench.store, "release_held", noted)
    bench.api.before = slow_page
    bench.api.pages = [runs(1), runs(2)]
    polling = asyncio.create_task(poller_of(bench).poll())
    await soon(reached.wait())
    await soon(released.wait())
    first = await claim(bench.store, "slack")
    go_on.set()
    await soon(polling)
    assert (["run-1"], ["run-2"]) == (told(first), told(await claim(bench.store, "slack")))


async def test_a_poll_that_ends_during_a_release_wakes_the_workers(
    bench: PollBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was released before the end of a poll is claimed at once, also if the poll ends meanwhile."""
    monkeypatch.setattr(holding, "HOLD_SECONDS", 0.01)
    released, last_page, answer = asyncio.Event(), asyncio.Event(), asyncio.Event()
    release = bench.store.release_held
    woken: list[Collection[str] | None] = []

    async def slow(app: str, *, digest_above: int, now: float) -> frozenset[str]:
        if found := await release(app, digest_above=digest_above, now=now):
            released.set()
            await answer.wait()
        return found

    async def slow_page(call: str) -> None:
        if call == "page 2":
            await last_page.wait()

    monkeypatch.setattr(bench.store, "release_held", slow)
    bench.api.before = slow_page
    bench.api.pages = [runs(1), []]
    poller = bench.poller(routes=(GATHERED,), digest_above=2, wake=woken.append)
    polling = asyncio.create_task(poller.poll())
    await soon(released.wait())
    last_page.set()
    for _ in range(20):  # of the loop, in which the poll comes to its end
        await asyncio.sleep(0)
    answer.set()
    await soon(polling)
    assert {"slack"} in woken


async def test_what_a_killed_process_left_is_told_with_the_first_poll(bench: PollBench) -> None:
    """Requests that another process recorded and did not get to tell are part of this poll's news."""
    await record_new(bench.store, make_new_request("run-1", prompt="Approve?"), routes=[GATHERED])
    bench.api.pages = [runs(1, 2, 3)]
    await poller_of(bench).poll()
    assert 3 in told(await claim(bench.store, "slack"))


async def test_what_a_killed_process_left_is_told_though_the_app_fails(bench: PollBench) -> None:
    """An app that cannot be polled keeps nothing back."""
    await record_new(bench.store, routes=[GATHERED])
    bench.api.pages = [refusal(401, "unauthorized")]
    await poller_of(bench).poll()
    assert ["run-1"] == told(await claim(bench.store, "slack"))


async def test_a_poll_that_is_cut_short_while_it_records_tells_what_it_recorded(
    bench: PollBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of a poll may pass between a commit and its answer; what was committed is not held on."""
    poller = poller_of(bench)
    await poller.poll()
    bench.api.pages = [runs(1)]
    record, recorded = bench.store.record_changes, asyncio.Event()

    async def unanswered(*args: Any, **options: Any) -> None:
        await record(*args, **options)
        recorded.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.store, "record_changes", unanswered)
    polling = asyncio.create_task(poller.poll())
    await soon(recorded.wait())
    polling.cancel()
    await asyncio.wait({polling})
    assert ["run-1"] == told(await claim(bench.store, "slack"))


async def test_news_stays_held_until_the_database_takes_its_release(
    bench: PollBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is locked at the end of a poll delays people's news to the next one, and loses none."""
    poller = poller_of(bench)
    await poller.poll()
    bench.api.pages = [runs(1)]
    release = bench.store.release_held

    async def locked(app: str, *, digest_above: int, now: float) -> frozenset[str]:
        with closing(lock_database(bench.database)):
            return await release(app, digest_above=digest_above, now=now)

    monkeypatch.setattr(bench.store, "release_held", locked)
    assert (await poller.poll()).error is not None
    assert () == await claim(bench.store, "slack")
    monkeypatch.setattr(bench.store, "release_held", release)
    assert (await poller.poll()).error is None
    assert ["run-1"] == told(await claim(bench.store, "slack"))
    assert {"pending"} == {state for _, _, state in outbox(bench.database)}
