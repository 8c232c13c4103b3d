"""A wall clock that is set, or was wrong, makes no alert early, late or lost."""

from dataclasses import replace

import pytest

from tests.support.builders import (
    MACHINE,
    NOW,
    PEOPLE,
    claim,
    event_of,
    make_new_request,
    open_store,
    record_new,
    records,
)
from tests.support.databases import Place
from watcher.models import RequestEvent
from watcher.store import Boot, NotifierPolicy, Retry, Sent, Store

pytestmark = pytest.mark.anyio

DAY = 86_400.0
HOUR = 3600.0
BOOT = Boot("4f1e", NOW - 5000)
REMINDING = NotifierPolicy(for_people=True, remind_after=(600.0,))


async def check(store: Store, boot: Boot, now: float) -> float:
    """Checks the clock as at a start."""
    return await store.check_clock(boot, longest_wait=HOUR, now=now)


async def first_seen(store: Store) -> dict[str, float]:
    """Returns by run when what is pending was first seen."""
    known = (await store.app_state("support")).known
    return {each.run_id: each.first_seen_at for each in known}


async def tell(store: Store, run_id: str, *, now: float) -> None:
    """Records a request that people are told of at once; a reminder follows after 10 minutes."""
    await record_new(store, make_new_request(run_id), routes=[PEOPLE], now=now)
    (news,) = await claim(store, "slack", now=now)
    await store.settle_and_claim("slack", [Sent(news.id, None)], limit=0, now=now, policy=REMINDING)


@pytest.mark.parametrize("step", [DAY, -DAY])
async def test_a_step_moves_the_age_of_a_request_and_its_reminder(database: Place, step: float) -> None:
    """After a step the reminder comes after as many minutes as before, and gives the true age."""
    async with open_store(database) as store:
        await check(store, BOOT, NOW)
        await tell(store, "run-1", now=NOW)
        await store.shift_timestamps(step)
        assert {"run-1": NOW + step} == await first_seen(store)
        assert () == await claim(store, "slack", now=NOW + step + 599)
        (reminder,) = await claim(store, "slack", now=NOW + step + 600)
    event = event_of(reminder, RequestEvent)
    assert (600.0, NOW + step + 600) == (event.at - event.first_seen_at, event.at)


async def test_a_step_between_two_runs_of_one_boot(database: Place) -> None:
    """A clock that was set while the daemon did not run is noticed by when the machine started."""
    async with open_store(database) as store:
        assert 0.0 == await check(store, BOOT, NOW)
        await tell(store, "run-1", now=NOW)
    async with open_store(database) as store:
        assert 0.0 == await check(store, replace(BOOT, at=BOOT.at + 1), NOW + 60)
        assert -DAY == await check(store, replace(BOOT, at=BOOT.at + 1 - DAY), NOW - DAY + 90)
        assert {"run-1": NOW - DAY} == await first_seen(store)


async def test_a_step_that_was_followed_is_not_followed_again_at_the_next_start(
    database: Place,
) -> None:
    """What moved while the daemon ran stays where it is."""
    async with open_store(database) as store:
        await check(store, BOOT, NOW)
        await tell(store, "run-1", now=NOW)
        await store.shift_timestamps(HOUR)
    async with open_store(database) as store:
        assert 0.0 == await check(store, replace(BOOT, at=BOOT.at + HOUR), NOW + HOUR + 60)
        assert {"run-1": NOW + HOUR} == await first_seen(store)


async def test_a_clock_that_was_a_day_ahead(database: Place) -> None:
    """After a restart nothing waits for the day that is not there yet: alerts, retries, reminders, pauses."""
    ahead = NOW + DAY
    async with open_store(database) as store:
        await check(store, BOOT, ahead)
        await tell(store, "told", now=ahead)
        await record_new(store, make_new_request("new"), routes=[MACHINE], now=ahead)
        await record_new(store, make_new_request("late"), routes=[replace(PEOPLE, after=300.0)], now=ahead)
        await record_new(
            store, make_new_request("tried"), routes=[replace(PEOPLE, notifier="phone")], now=ahead
        )
        (tried,) = await claim(store, "phone", now=ahead)
        await store.settle_and_claim(
            "phone", [Retry(tried.id, "no", ahead + 240)], limit=0, now=ahead, pause_until=ahead + 240
        )
    async with open_store(database) as store:
        await check(store, Boot("another", NOW - 60), NOW)
        assert {"told": NOW, "new": NOW, "late": NOW, "tried": NOW} == await first_seen(store)
        assert ["new"] == [event_of(each, RequestEvent).run.id for each in await claim(store, "webhook")]
        assert () == await claim(store, "slack", now=NOW + 299)
        (late,) = await claim(store, "slack", now=NOW + 300)
        assert ("late", NOW + 300) == (event_of(late, RequestEvent).run.id, late.event.at)
        (reminder,) = await claim(store, "slack", now=NOW + 600)
        assert ("told", NOW + 600) == (event_of(reminder, RequestEvent).run.id, reminder.event.at)
        assert ["tried"] == [
            event_of(each, RequestEvent).run.id for each in await claim(store, "phone", now=NOW + HOUR)
        ]


async def test_no_attempt_is_farther_away_than_the_longest_wait(database: Place) -> None:
    """Whatever an earlier process wrote down, the next attempt comes within the hour."""
    async with open_store(database) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        await store.settle_and_claim("webhook", [Retry(news.id, "no", NOW + 9 * DAY)], limit=0, now=NOW)
        await check(store, BOOT, NOW + 10)
    assert [NOW + 10 + HOUR] == [record.next_attempt_at for record in records(database)]


async def test_a_clock_that_is_corrected_after_the_machine_started(database: Place) -> None:
    """A machine without a battery starts in the past: what an earlier boot recorded was right, and stays."""
    async with open_store(database) as store:
        await check(store, BOOT, NOW)
        await tell(store, "before", now=NOW)
    wrong = NOW + 10
    async with open_store(database) as store:
        await check(store, Boot("second", wrong - 30), wrong)
        await tell(store, "since", now=wrong)
        await store.shift_timestamps(HOUR)
        assert {"before": NOW, "since": wrong + HOUR} == await first_seen(store)
        await store.shift_timestamps(HOUR)
        assert {"before": NOW + HOUR, "since": wrong + 2 * HOUR} == await first_seen(store)
