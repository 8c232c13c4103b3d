"""The store's digests: many requests held, told of, reminded of and ended together."""

from collections.abc import Iterable, Sequence
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
    make_request,
    make_run,
    open_store,
    outbox,
    pending,
    pending_key,
    record_new,
    records,
    run_ids,
)
from tests.support.databases import Place, rows
from watcher.models import (
    APPROVAL,
    Delivery,
    Digest,
    DigestEntry,
    DigestEvent,
    MessageRef,
    NewRequest,
    Outcome,
    Reminder,
    ResolvedRequest,
    Route,
)
from watcher.store import Dead, NotifierPolicy, Retry, Sent, Store

pytestmark = pytest.mark.anyio

DAY = 86_400.0
POLICY = NotifierPolicy(remind_after=(1800.0,))
GATHERED = replace(PEOPLE, digests=True)
TABLES = ("requests", "events", "deliveries", "digest_members")
NEWS, REMINDER, END = "run.input_requested", "run.input_reminder", "run.input_resolved"


async def many(store: Store, count: int, *, routes: Iterable[Route] = (GATHERED, MACHINE)) -> None:
    """Records requests of `run-1`, `run-2`, …, as one poll does."""
    sightings = [make_new_request(f"run-{number}", prompt=f"No. {number}?") for number in range(1, count + 1)]
    await record_new(store, *sightings, routes=routes)


async def gathered(store: Store, count: int = 4) -> Delivery:
    """Records a digest of so many requests, sends it, and returns it as it was sent."""
    await many(store, count)
    await store.release_held(APP.name, digest_above=2, now=NOW + 1)
    (digest,) = await claim(store, "slack", now=NOW + 1)
    await settle(store, Sent(digest.id, MessageRef({"channel": "C1", "ts": "1"})), now=NOW + 2)
    return digest


async def settle(store: Store, *results: Sent | Retry | Dead, now: float) -> list[Delivery]:
    """Records results for people and gives out what is due."""
    claimed = await store.settle_and_claim("slack", results, limit=9, now=now, policy=POLICY)
    return list(claimed.deliveries)


async def finish(
    store: Store, *numbers: int, outcome: Outcome = "answered", now: float = NOW + 60
) -> list[str]:
    """Records that requests ended and returns the types of what became stale."""
    changes = [
        ResolvedRequest(await pending_key(store, f"run-{number}"), outcome, "completed") for number in numbers
    ]
    recorded = await store.record_changes(APP, (GATHERED, MACHINE), ended=changes, now=now)
    return [stale.type for stale in recorded.superseded if stale.notifier == "slack"]


async def accept_all(store: Store, *, now: float) -> None:
    """Lets both notifiers accept everything that is due."""
    for notifier in ("slack", "webhook"):
        while due := await claim(store, notifier, now=now):
            accepted = [Sent(delivery.id, None) for delivery in due]
            await store.settle_and_claim(notifier, accepted, limit=0, now=now)


def digest_of(delivery: Delivery) -> Digest:
    """Returns what a delivery tells of many requests."""
    return event_of(delivery, DigestEvent).digest


def counts(deliveries: Sequence[Delivery]) -> list[tuple[str, int, int]]:
    """Returns type, total and waiting of each digest."""
    return [
        (delivery.event.type, digest_of(delivery).total, digest_of(delivery).waiting)
        for delivery in deliveries
    ]


async def test_people_wait_for_the_end_of_the_poll_and_programs_do_not(database: Place) -> None:
    """What may become a digest is given out once it is released; webhooks get theirs before."""
    async with open_store(database) as store:
        await many(store, 2)
        held = await claim(store, "slack")
        at_once = await claim(store, "webhook")
        assert await store.release_held(APP.name, digest_above=2, now=NOW + 1)
        released = await claim(store, "slack", now=NOW + 1)
        assert not await store.release_held(APP.name, digest_above=2, now=NOW + 2)
    assert ([], ["run-1", "run-2"]) == (list(held), run_ids(at_once))
    assert ["run-1", "run-2"] == run_ids(released)


async def test_more_than_the_limit_are_one_digest(database: Place) -> None:
    """People get one message for all, programs still one for each."""
    async with open_store(database) as store:
        await many(store, 3)
        await store.release_held(APP.name, digest_above=2, now=NOW + 1)
        (delivery,) = await claim(store, "slack", now=NOW + 1)
        assert 3 == len(await claim(store, "webhook", now=NOW + 1))
    digest = digest_of(delivery)
    assert (NEWS, APP) == (delivery.event.type, event_of(delivery, DigestEvent).app)
    assert (3, 3, (), NOW) == (digest.total, digest.waiting, digest.outcomes, digest.oldest)
    assert ["No. 1?", "No. 2?", "No. 3?"] == [entry.prompt for entry in digest.entries]
    assert ("support", None, None) == next(
        (record.app, record.run_id, record.request_id)
        for record in records(database)
        if record.notifier == "slack"
    )


@pytest.mark.parametrize(("above", "expected"), [(0, 3), (3, 3), (2, 1)])
async def test_the_limit(database: Place, above: int, expected: int) -> None:
    """So many as the limit are told one by one, and with 0 always."""
    async with open_store(database) as store:
        await many(store, 3)
        await store.release_held(APP.name, digest_above=above, now=NOW + 1)
        assert expected == len(await claim(store, "slack", now=NOW + 1))


async def test_what_a_killed_process_held_is_released_by_the_next(database: Place) -> None:
    """Held news is neither lost nor sent one by one after a crash in the middle of a poll."""
    async with open_store(database) as store:
        await many(store, 3)
    async with open_store(database) as store:
        assert [] == list(await claim(store, "slack", now=NOW + 60))
        await store.release_held(APP.name, digest_above=2, now=NOW + 60)
        assert [(NEWS, 3, 3)] == counts(await claim(store, "slack", now=NOW + 60))


async def test_an_escalation_to_a_digest_waits_as_long(database: Place) -> None:
    """With `after` a digest is due that long after the requests were seen, and names who still waits then."""
    late = replace(GATHERED, after=600.0)
    async with open_store(database) as store:
        await many(store, 3, routes=(late,))
        await store.release_held(APP.name, digest_above=2, now=NOW + 1)
        assert [] == list(await claim(store, "slack", now=NOW + 599))
        change = ResolvedRequest(await pending_key(store, "run-2"), "answered", "completed")
        await store.record_changes(APP, (late,), ended=[change], now=NOW + 60)
        due = await claim(store, "slack", now=NOW + 600)
    assert [(NEWS, 3, 2)] == counts(due)
    assert ["run-1", "run-3"] == [entry.run_id for entry in digest_of(due[0]).entries]


async def test_an_escalation_that_is_due_takes_no_other_along(database: Place) -> None:
    """What a killed process held long ago is told now; what is new waits for its time, the last of it."""
    late = replace(GATHERED, after=600.0)
    async with open_store(database) as store:
        await many(store, 3, routes=(late,))
        for number in range(4, 7):
            await record_new(
                store, make_new_request(f"run-{number}"), routes=(late,), now=NOW + 3600 + number
            )
        await store.release_held(APP.name, digest_above=2, now=NOW + 3610)
        told = [await claim(store, "slack", now=NOW + at) for at in (3610, 4205, 4206)]
    assert [[(NEWS, 3, 3)], [], [(NEWS, 3, 3)]] == [counts(due) for due in told]


async def test_a_digest_names_a_dozen(database: Place) -> None:
    """However many there are, the first twelve are named and all are counted."""
    async with open_store(database) as store:
        delivery = await gathered(store, 30)
    assert (30, 12) == (digest_of(delivery).total, len(digest_of(delivery).entries))


async def test_a_digest_names_the_oldest_that_waits_first(database: Place) -> None:
    """What is pending is named before what ended, the oldest first; the most frequent outcome is first."""
    async with open_store(database) as store:
        await many(store, 13)
        started_before = NewRequest(replace(make_run("run-14"), started_at=NOW - 90), make_request())
        await record_new(store, started_before, routes=[GATHERED])
        await record_new(store, make_new_request("run-15"), routes=[GATHERED], now=NOW - 5)
        await store.release_held(APP.name, digest_above=2, now=NOW + 1)
        await finish(store, 1, 2, 3, outcome="canceled")
        await finish(store, 4, 5, 6)
        await finish(store, 7, 8, 9, 10, 11, 12, outcome="failed")
        (digest,) = await claim(store, "slack", now=NOW + 60)
    assert ["run-15", "run-14", "run-13"] == [entry.run_id for entry in digest_of(digest).entries]
    assert (("failed", 6), ("answered", 3), ("canceled", 3)) == digest_of(digest).outcomes


async def test_what_a_digest_told_counts_as_told(database: Place) -> None:
    """The list of what waits says who was told by a digest."""
    async with open_store(database) as store:
        await gathered(store)
    assert {("slack",)} == {request.told for request in pending(database)}


async def test_a_digest_is_followed_as_its_requests_end(database: Place) -> None:
    """When some have ended one message says how things are now, and knows the first one's receipt."""
    async with open_store(database) as store:
        await gathered(store)
        await finish(store, 1, 2)
        (first,) = await settle(store, now=NOW + 61)
        assert [(END, 4, 2)] == counts([first])
        assert MessageRef({"channel": "C1", "ts": "1"}) == first.first_message
        await settle(store, Sent(first.id, None), now=NOW + 62)
        await finish(store, 3, outcome="canceled", now=NOW + 70)
        await finish(store, 4, outcome="failed", now=NOW + 80)
        (second,) = await settle(store, now=NOW + 81)
    assert [(END, 4, 0)] == counts([second])
    assert {("answered", 2), ("canceled", 1), ("failed", 1)} == set(digest_of(second).outcomes)
    assert [("answered", 60.0), ("answered", 60.0), ("canceled", 70.0), ("failed", 80.0)] == [
        (entry.outcome, entry.waited) for entry in digest_of(second).entries
    ]


async def test_who_has_an_update_of_a_digest_to_claim_is_said(database: Place) -> None:
    """The worker of a notifier is woken for the update of a digest too."""
    async with open_store(database) as store:
        await gathered(store)
        change = ResolvedRequest(await pending_key(store, "run-1"), "answered", "completed")
        recorded = await store.record_changes(APP, (GATHERED,), ended=[change], now=NOW + 60)
    assert {"slack"} == recorded.notifiers


async def test_what_ends_while_a_follow_up_is_sent_is_followed_too(database: Place) -> None:
    """A message under way says how things were; another one comes after it."""
    async with open_store(database) as store:
        await gathered(store)
        await finish(store, 1)
        (under_way,) = await settle(store, now=NOW + 61)
        await finish(store, 2, now=NOW + 62)
        assert [] == await settle(store, now=NOW + 63)
        after = await settle(store, Sent(under_way.id, None), now=NOW + 64)
    assert [(END, 4, 2)] == counts(after)


async def test_later_edits_go_to_the_message_that_is_there(database: Place) -> None:
    """Where a follow-up was posted afresh, the next one finds that message and not the one that is gone."""
    anew = MessageRef({"channel": "C1", "ts": "2"})
    async with open_store(database) as store:
        await gathered(store)
        await finish(store, 1)
        (first,) = await settle(store, now=NOW + 61)
        await settle(store, Sent(first.id, anew), now=NOW + 62)
        await finish(store, 2, now=NOW + 70)
        (second,) = await settle(store, now=NOW + 71)
    assert anew == second.first_message


async def test_a_digest_that_is_already_out_of_date_is_reminded_of(database: Place) -> None:
    """An update that waits while a digest is sent keeps it from no reminder, which counts from the oldest."""
    async with open_store(database) as store:
        await many(store, 3)
        await record_new(store, make_new_request("run-4"), routes=[GATHERED], now=NOW - 300)
        await record_new(store, make_new_request("run-5"), routes=[GATHERED], now=NOW - 600)
        await store.release_held(APP.name, digest_above=2, now=NOW + 1)
        (digest,) = await claim(store, "slack", now=NOW + 1)
        await finish(store, 5)
        await settle(store, Sent(digest.id, None), now=NOW + 61)
    planned = [record.due_at for record in records(database) if record.type == REMINDER]
    assert [NOW - 300 + 1800] == planned


async def test_a_digest_is_reminded_of_after_a_start(database: Place) -> None:
    """Where reminders are configured only now, a digest that was updated since gets one."""
    async with open_store(database) as store:
        await many(store, 3)
        await store.release_held(APP.name, digest_above=2, now=NOW + 1)
        await accept_all(store, now=NOW + 1)
        await finish(store, 1)
        await accept_all(store, now=NOW + 60)
        await store.plan_reminders({"slack": (1800.0,)}, {APP.name: ["slack"]}, now=NOW + 61)
    assert [("slack", REMINDER)] == [
        (name, kind) for name, kind, state in outbox(database) if state == "pending"
    ]


async def test_a_digest_is_reminded_of_while_some_wait(database: Place) -> None:
    """One reminder for all, which counts who still waits and holds up no follow-up."""
    async with open_store(database) as store:
        await gathered(store)
        await finish(store, 1)
        (update,) = await settle(store, now=NOW + 61)
        await settle(store, Sent(update.id, None), now=NOW + 62)
        (reminder,) = await settle(store, now=NOW + 1800)
        assert [(REMINDER, 4, 3)] == counts([reminder])
        assert Reminder(1, 1) == event_of(reminder, DigestEvent).reminder
        await settle(store, Sent(reminder.id, MessageRef({"channel": "C1", "ts": "3"})), now=NOW + 1801)
        await finish(store, 2, 3, 4, now=NOW + 1900)
        (last,) = await settle(store, now=NOW + 1901)
    assert [(END, 4, 0)] == counts([last])
    assert (MessageRef({"channel": "C1", "ts": "3"}),) == last.reminders


async def test_who_only_got_a_reminder_of_a_digest_hears_of_its_end(database: Place) -> None:
    """The digest was given up, a reminder of it came through: that is how people know of the requests."""
    async with open_store(database) as store:
        await many(store, 3)
        await store.release_held(APP.name, digest_above=2, now=NOW)
        (digest,) = await claim(store, "slack", now=NOW)
        await settle(store, Dead(digest.id, "x"), now=NOW + 5)
        (reminder,) = await claim(store, "slack", now=NOW + 1800)
        await settle(store, Sent(reminder.id, None), now=NOW + 1800)
        await finish(store, 1, 2, 3, now=NOW + 2000)
        assert [(END, 3, 0)] == counts(await claim(store, "slack", now=NOW + 2000))


async def test_all_over_takes_the_reminder_along(database: Place) -> None:
    """When the last request of a digest has ended its reminder is planned no longer."""
    async with open_store(database) as store:
        await gathered(store)
        assert [] == await finish(store, 1, 2, 3, 4)
        assert REMINDER not in {record.type for record in records(database)}


async def two_digests(store: Store) -> None:
    """Releases the requests 1 to 3 as a digest, and 4 to 6 as another."""
    await many(store, 3)
    await store.release_held(APP.name, digest_above=2, now=NOW + 1)
    others = [make_new_request(f"run-{number}") for number in (4, 5, 6)]
    await record_new(store, *others, routes=[GATHERED])
    await store.release_held(APP.name, digest_above=2, now=NOW + 1)


async def test_a_digest_that_was_not_sent_is_dropped_when_all_is_over(database: Place) -> None:
    """People hear nothing of what came and went while they could not be told."""
    async with open_store(database) as store:
        await two_digests(store)
        assert [] == await finish(store, 1, 2)
        assert [NEWS, NEWS] == await finish(store, 3, 4, 5, 6)
    assert [("slack", NEWS, "superseded")] * 2 == [row for row in outbox(database) if row[0] == "slack"]


async def test_a_digest_that_fails_is_dropped_when_all_is_over(database: Place) -> None:
    """A digest that was under way when the last request ended and was not accepted is not tried again."""
    async with open_store(database) as store:
        await many(store, 3)
        await store.release_held(APP.name, digest_above=2, now=NOW + 1)
        (digest,) = await claim(store, "slack", now=NOW + 1)
        await finish(store, 1, 2, 3)
        assert [] == await settle(store, Retry(digest.id, "x", NOW + 90), now=NOW + 61)
    assert {"superseded"} == {state for name, _, state in outbox(database) if name == "slack"}


async def test_a_digest_that_fails_is_tried_again_while_one_of_it_waits(database: Place) -> None:
    """Of two digests that fail, one is dropped, and the one with a request that is pending is tried again."""
    async with open_store(database) as store:
        await two_digests(store)
        failed = [Retry(digest.id, "x", NOW + 90) for digest in await claim(store, "slack", now=NOW + 1)]
        await finish(store, 1, 2, 3, 4, 5)
        await settle(store, *failed, now=NOW + 61)
    assert [("slack", NEWS, "superseded"), ("slack", NEWS, "pending")] == [
        row for row in outbox(database) if row[:2] == ("slack", NEWS)
    ]


async def test_a_notifier_that_wants_no_resolutions_gets_none_of_a_digest(database: Place) -> None:
    """`resolved = false` holds for digests too."""
    quiet = replace(GATHERED, resolved=False)
    async with open_store(database) as store:
        await gathered(store)
        change = ResolvedRequest(await pending_key(store, "run-1"), "answered", "completed")
        await store.record_changes(APP, (quiet,), ended=[change], now=NOW + 60)
        assert [] == await settle(store, now=NOW + 61)


async def test_a_request_of_a_digest_that_ended_while_held_is_not_in_it(database: Place) -> None:
    """What ended before the poll did is told to nobody."""
    async with open_store(database) as store:
        await many(store, 4)
        await finish(store, 1, now=NOW + 1)
        await store.release_held(APP.name, digest_above=2, now=NOW + 2)
        assert [(NEWS, 3, 3)] == counts(await claim(store, "slack", now=NOW + 2))


async def test_a_digest_is_kept_as_long_as_one_of_it_waits(database: Place) -> None:
    """Pruning leaves what is still needed to follow a digest, and leaves nothing once all is long over."""
    async with open_store(database) as store:
        await gathered(store, 3)
        await finish(store, 1, 2)
        await accept_all(store, now=NOW + 61)
        await store.prune(before=NOW + DAY)
        await finish(store, 3, now=NOW + DAY)
        (last,) = await settle(store, now=NOW + DAY)
        assert MessageRef({"channel": "C1", "ts": "1"}) == last.first_message
        await settle(store, Sent(last.id, None), now=NOW + DAY)
        await accept_all(store, now=NOW + DAY)
        await store.prune(before=NOW + 3 * DAY)
        assert ([], []) == (records(database), pending(database))
    assert [[]] * len(TABLES) == [rows(database, f"SELECT 1 FROM {table}") for table in TABLES]


async def test_a_digest_that_may_have_been_told_is_followed(database: Place) -> None:
    """A digest whose answer was lost may stand in the channel, so how its requests ended is told."""
    async with open_store(database) as store:
        await many(store, 3)
        await store.release_held(APP.name, digest_above=2, now=NOW + 1)
        (digest,) = await claim(store, "slack", now=NOW + 1)
        await settle(store, Retry(digest.id, "no answer", NOW + 500, possibly_delivered=True), now=NOW + 2)
        await finish(store, 1, 2, 3)
        assert [(END, 3, 0)] == counts(await settle(store, now=NOW + 61))


async def test_one_message_that_waits_tells_of_all_ends(database: Place) -> None:
    """Two that end one after the other are one update, and a third after that was sent is another."""
    async with open_store(database) as store:
        await gathered(store)
        await finish(store, 1)
        await finish(store, 2, now=NOW + 61)
        (update,) = await settle(store, now=NOW + 62)
        await settle(store, Sent(update.id, None), now=NOW + 63)
        await finish(store, 3, now=NOW + 64)
        (another,) = await settle(store, now=NOW + 65)
    assert [(END, 4, 2), (END, 4, 1)] == counts([update, another])


async def test_what_an_earlier_process_held_is_in_one_digest_with_what_is_new(database: Place) -> None:
    """All that is due now goes together, whenever it became due, and leaves nothing of its own behind."""
    async with open_store(database) as store:
        await many(store, 2, routes=[GATHERED])
        await record_new(store, make_new_request("run-3"), routes=[GATHERED], now=NOW + 9)
        await store.release_held(APP.name, digest_above=2, now=NOW + 9)
        (digest,) = await claim(store, "slack", now=NOW + 9)
    alone = "SELECT 1 FROM events WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE event = events.id)"
    assert [] == rows(database, alone)
    assert [(NEWS, 3, 3)] == counts([digest])


async def test_what_a_digest_says_of_a_request(database: Place) -> None:
    """Each is named with its run, type, question, parameters, link and id, since when, and how it ended."""
    sightings = [
        NewRequest(make_run(f"run-{number}"), make_request(params={"amount": number}), f"https://x/{number}")
        for number in (1, 2, 3)
    ]
    async with open_store(database) as store:
        await record_new(store, *sightings, routes=[GATHERED])
        await store.release_held(APP.name, digest_above=2, now=NOW)
        (digest,) = await claim(store, "slack")
        await settle(store, Sent(digest.id, None), now=NOW)
        await finish(store, 1, 2, 3)
        (ended,) = await settle(store, now=NOW + 61)
    waiting = DigestEntry("run-1", APPROVAL, "Approve?", NOW, "https://x/1", None, None, {"amount": 1}, 1)
    assert waiting == digest_of(digest).entries[0]
    assert replace(waiting, outcome="answered", waited=60.0) == digest_of(ended).entries[0]


async def test_nobody_is_reminded_of_a_digest_that_is_over(database: Place) -> None:
    """A digest that was under way when all of it ended is followed by its end and by no reminder."""
    async with open_store(database) as store:
        await many(store, 3, routes=[GATHERED])
        await store.release_held(APP.name, digest_above=2, now=NOW)
        (digest,) = await settle(store, now=NOW)
        await finish(store, 1, 2, 3)
        (ended,) = await settle(store, Sent(digest.id, None), now=NOW + 61)
        await settle(store, Sent(ended.id, None), now=NOW + 62)
    assert [("slack", NEWS, "sent"), ("slack", END, "sent")] == outbox(database)
