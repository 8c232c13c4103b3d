"""Databases of older versions: each is upgraded when it is opened, and keeps what it knows.

Each database is made by the steps of its own version, and holds rows as that version wrote them.
"""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import (
    APP,
    BOTH,
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
    reminder_of,
)
from watcher.models import (
    App,
    AppEvent,
    Delivery,
    DigestEvent,
    Failure,
    MessageRef,
    NotifierEvent,
    NotifierFailure,
    Reminder,
    ResolvedRequest,
    Route,
)
from watcher.store import AppFailure, Claim, NotifierPolicy, Retry, Sent, Store, queries
from watcher.store.migrations import MIGRATIONS
from watcher.store.sqlite import SqliteDatabase

pytestmark = pytest.mark.anyio

NEWS, REMINDER, END = "run.input_requested", "run.input_reminder", "run.input_resolved"
APP_FAILING, NOTIFIER_FAILING = "watcher.app_failing", "watcher.notifier_failing"
RECEIPT = MessageRef({"channel": "C1", "ts": "1.5"})
POLICY = NotifierPolicy(remind_after=(60.0, 120.0))
OLDER = range(1, 4)
WITH_DIGESTS = range(2, 4)


def make_database(path: Path, version: int, *rows: tuple[str, Mapping[str, Any]]) -> None:
    """Makes a database of an older version that holds these rows, each with the table that it is in."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for step in MIGRATIONS[:version]:
            connection.executescript(step)
        connection.execute(f"PRAGMA user_version = {version}")
        for table, row in rows:
            marks = ", ".join("?" * len(row))
            insert = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
            connection.execute(insert, tuple(row.values()))
        connection.commit()


def request(key: int, **more: Any) -> tuple[str, Mapping[str, Any]]:
    """Returns the row of a request of the run with this number."""
    new = make_new_request(f"run-{key}")
    row = {
        "key": key,
        "app": APP.name,
        "base_url": APP.base_url,
        "run_id": new.run.id,
        "request_id": new.request.id,
        "fingerprint": new.request.fingerprint,
        "type": new.request.type,
        "prompt": new.request.prompt,
        "params": json.dumps(new.request.params),
        "editable_params": "[]",
        "run_status": new.run.status,
        "started_at": new.run.started_at,
        "run_input": "null",
        "position": "null",
        "first_seen_at": NOW,
    }
    return "requests", row | more


def event(name: str, kind: str, *, key: int | None = None, **detail: Any) -> tuple[str, Mapping[str, Any]]:
    """Returns the row of an event; about no request it is about the app."""
    row = {"id": name, "type": kind, "at": NOW, "app": APP.name, "base_url": APP.base_url, "request": key}
    return "events", row | {"detail": json.dumps(detail)}


def delivery(number: int, of: str, subject: str, **more: Any) -> tuple[str, Mapping[str, Any]]:
    """Returns the row of a delivery to a person."""
    row = {
        "id": number,
        "event": of,
        "notifier": "slack",
        "for_people": 1,
        "subject": subject,
        "due_at": NOW,
        "next_attempt_at": NOW,
    }
    return "deliveries", row | more


def sent(**more: Any) -> dict[str, Any]:
    """Returns what tells that a delivery was sent."""
    return {"state": "sent", "attempts": 1, "finished_at": NOW} | more


def failing(name: str, *, told: str | None) -> tuple[str, Mapping[str, Any]]:
    """Returns the row of an app that worked, and has failed since."""
    reason = {"status": 503, "code": "unavailable", "message": "no"}
    return "apps", {
        "name": name,
        "first_success_at": NOW - 900,
        "failing_since": NOW - 600,
        "failure": json.dumps(reason),
        "alert_event": told,
    }


def app_failure(pending_known: int) -> dict[str, Any]:
    """Returns the detail of the event that an app fails."""
    reason = {"status": 503, "code": "unavailable", "message": "no"}
    return {"failure": reason | {"since": NOW - 600, "pending_known": pending_known}}


async def settle(store: Store, sends: tuple[Delivery, ...], *, now: float) -> Claim:
    """Records that people accepted these, and claims nothing."""
    results = [Sent(each.id, RECEIPT) for each in sends]
    return await store.settle_and_claim("slack", results, limit=0, now=now, policy=POLICY)


@pytest.mark.parametrize("version", OLDER)
async def test_requests_and_who_was_told_are_kept(path: Path, version: int) -> None:
    """Pending requests stay known and told, resolved ones stay resolved, and an end finds its message."""
    make_database(
        path,
        version,
        request(1),
        request(2, resolved_at=NOW + 5, outcome="answered", resolved_status="completed"),
        ("hidden_runs", {"app": APP.name, "run_id": "run-8"}),
        ("apps", {"name": APP.name, "first_success_at": NOW}),
        event("evt_1", NEWS, key=1),
        event("evt_2", NEWS, key=2),
        delivery(1, "evt_1", "request:1", **sent(receipt=json.dumps(dict(RECEIPT.values)))),
        delivery(2, "evt_2", "request:2", state="superseded", finished_at=NOW + 5),
        delivery(3, "evt_1", "request:1", notifier="webhook", for_people=0, next_attempt_at=NOW + 9),
    )
    async with open_store(path) as store:
        state = await store.app_state(APP.name)
        again = await store.record_changes(
            APP, BOTH, new=[make_new_request("run-1"), make_new_request("run-2")], now=NOW + 7
        )
        assert (["run-8"], False, ()) == (list(state.invisible), state.first_poll, again.new)
        assert [("run-1", ("slack",))] == [(each.run_id, each.told) for each in pending(path)]
        await record_new(store, make_new_request("run-2"), now=NOW + 60)
        await record_answered(store, "run-1", now=NOW + 61)
        (ended,) = [each for each in await claim(store, "slack", now=NOW + 61) if each.event.type == END]
        (news, _) = await claim(store, "webhook", now=NOW + 61)
    assert (RECEIPT, 3, "evt_1") == (ended.first_message, news.id, news.event.id)
    with closing(sqlite3.connect(path)) as connection:
        assert (len(MIGRATIONS),) == connection.execute("PRAGMA user_version").fetchone()
        assert [] == connection.execute("PRAGMA foreign_key_check").fetchall()


@pytest.mark.parametrize("version", OLDER)
async def test_a_failing_app_that_was_told_of_is_not_told_of_again(path: Path, version: int) -> None:
    """Its end is told to those who heard of it, with the same beginning."""
    make_database(
        path,
        version,
        failing(APP.name, told="evt_1"),
        event("evt_1", APP_FAILING, **app_failure(3)),
        delivery(1, "evt_1", "app:evt_1", **sent()),
        delivery(2, "evt_1", "app:evt_1", notifier="leads"),
    )
    failure = AppFailure(503, "unavailable", "no", NOW)
    routes = (PEOPLE, Route("leads", for_people=True))
    async with open_store(path) as store:
        (told,) = await claim(store, "leads")
        assert Failure(503, "unavailable", "no", NOW - 600, 3) == event_of(told, AppEvent).failure
        again = await store.record_failure(APP, routes, failure, alert_after=1.0, now=NOW + 60)
        recovered = await store.record_success(APP, routes, invisible=(), now=NOW + 70)
        (delivered,) = await claim(store, "slack", now=NOW + 70)
    assert (None, Failure(503, "unavailable", "no", NOW - 600, 0)) == (again.failure, recovered.failure)
    assert ("watcher.app_recovered", APP) == (delivered.event.type, event_of(delivered, AppEvent).app)


@pytest.mark.parametrize("version", OLDER)
async def test_a_failing_app_that_was_not_told_of_keeps_its_beginning(path: Path, version: int) -> None:
    """How long it has failed counts on, and it is shown as failing before it is polled."""
    make_database(path, version, failing(APP.name, told=None))
    async with open_store(path) as store:
        with SqliteDatabase(path).reading() as reader:
            (shown,) = queries.apps(reader, {APP.name: 15.0}, now=NOW)
        told = await store.record_failure(
            APP, BOTH, AppFailure(None, "timeout", "slow", NOW), alert_after=600.0, now=NOW
        )
    assert Failure(503, "unavailable", "no", NOW - 600, 0) == shown.failure
    assert Failure(None, "timeout", "slow", NOW - 600, 0) == told.failure


@pytest.mark.parametrize("version", WITH_DIGESTS)
async def test_digests_and_reminders_are_kept(path: Path, version: int) -> None:
    """A digest that was told is resolved as one, a planned reminder is sent once, and the next follows."""
    make_database(
        path,
        version,
        *(request(key) for key in (1, 2, 3)),
        event("evt_d", NEWS, digest="evt_d"),
        event("evt_r", REMINDER, digest="evt_d", age=60.0, reminder={"number": 1, "of": 2}),
        delivery(1, "evt_d", "digest:evt_d", **sent()),
        delivery(2, "evt_r", "digest:evt_d", due_at=NOW + 60, next_attempt_at=NOW + 60),
        *(("digest_members", {"digest": "evt_d", "request": key}) for key in (1, 2, 3)),
    )
    digests = (Route("slack", for_people=True, digests=True),)
    async with open_store(path) as store:
        assert [] == await store.plan_reminders({"slack": (60.0, 120.0)}, {APP.name: ["slack"]}, now=NOW)
        first = await claim(store, "slack", now=NOW + 60)
        await settle(store, first, now=NOW + 60)
        second = await claim(store, "slack", now=NOW + 120)
        await settle(store, second, now=NOW + 120)
        ended = [
            ResolvedRequest(await pending_key(store, f"run-{key}"), "answered", "x") for key in (1, 2, 3)
        ]
        await store.record_changes(APP, digests, ended=ended, now=NOW + 130)
        last = await claim(store, "slack", now=NOW + 130)
    assert [Reminder(1, 2), Reminder(2, 2)] == [reminder_of(each.event) for each in (*first, *second)]
    assert [(END, 0)] == [(each.event.type, event_of(each, DigestEvent).digest.waiting) for each in last]


@pytest.mark.parametrize("version", WITH_DIGESTS)
@pytest.mark.parametrize(("doubtful", "told"), [(0, []), (1, [END]), (2, [END]), (3, [END])])
async def test_sends_of_unknown_outcome_are_kept(
    path: Path, version: int, doubtful: int, told: list[str]
) -> None:
    """What may have been accepted, by an earlier attempt or by the one that a crash cut short, is ended."""
    make_database(
        path,
        version,
        request(1),
        event("evt_1", NEWS, key=1),
        delivery(1, "evt_1", "request:1", doubtful=doubtful),
    )
    async with open_store(path) as store:
        await record_answered(store, "run-1", routes=[PEOPLE])
        assert told == [each.event.type for each in await claim(store, "slack", now=NOW + 60)]


@pytest.mark.parametrize("version", WITH_DIGESTS)
async def test_a_doubt_of_before_outlives_a_later_refusal(path: Path, version: int) -> None:
    """An attempt that a crash cut short stays in doubt when the next one is refused."""
    make_database(
        path, version, request(1), event("evt_1", NEWS, key=1), delivery(1, "evt_1", "request:1", doubtful=2)
    )
    async with open_store(path) as store:
        (news,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Retry(news.id, "no", NOW + 30)], limit=0, now=NOW)
        await record_answered(store, "run-1", routes=[PEOPLE])
    assert [("slack", NEWS, "superseded"), ("slack", END, "pending")] == outbox(path)


@pytest.mark.parametrize("version", WITH_DIGESTS)
async def test_what_is_held_or_paused_stays_so(path: Path, version: int) -> None:
    """News that a poll held is released by the next, and a pause lasts."""
    make_database(
        path,
        version,
        request(1),
        event("evt_1", NEWS, key=1),
        delivery(1, "evt_1", "request:1", held=1),
        ("notifiers", {"name": "slack", "paused_until": NOW + 30}),
    )
    async with open_store(path) as store:
        assert () == await claim(store, "slack", now=NOW + 30)
        await store.release_held(APP.name, digest_above=0, now=NOW + 30)
        assert () == await claim(store, "slack", now=NOW + 29)
        assert 1 == len(await claim(store, "slack", now=NOW + 30))


@pytest.mark.parametrize("version", WITH_DIGESTS)
async def test_a_failing_notifier_that_was_told_of_is_not_told_of_again(path: Path, version: int) -> None:
    """Its recovery is told to those who heard of its failing, with the same beginning."""
    failure = NotifierFailure("webhook", 'HTTP 500 "no"', NOW - 600, undelivered=1)
    detail = {
        "notifier": "webhook",
        "message": failure.message,
        "since": failure.since,
        "undelivered": failure.undelivered,
    }
    silent = {"name": "webhook", "paused_until": 0, "failing_since": NOW - 600, "failure": failure.message}
    make_database(
        path,
        version,
        request(1),
        event("evt_1", NEWS, key=1),
        event("evt_2", NOTIFIER_FAILING, notifier_failure=detail),
        delivery(1, "evt_1", "request:1", notifier="webhook", for_people=0, attempts=3, due_at=NOW - 600),
        delivery(2, "evt_2", "notifier:evt_2"),
        ("notifiers", silent | {"alert_event": "evt_2"}),
    )
    policy = NotifierPolicy(alert_after=60.0, others=(PEOPLE,))
    async with open_store(path) as store:
        (told,) = await claim(store, "slack")
        await settle(store, (told,), now=NOW)
        again = await store.settle_and_claim("webhook", (), limit=1, now=NOW, policy=policy)
        accepted = [Sent(each.id, None) for each in again.deliveries]
        recovered = await store.settle_and_claim("webhook", accepted, limit=0, now=NOW + 1, policy=policy)
    assert (failure, None) == (event_of(told, NotifierEvent).failure, again.failing)
    assert NotifierFailure("webhook", 'HTTP 500 "no"', NOW - 600, undelivered=0) == recovered.recovered
    assert [("slack", "watcher.notifier_recovered", "pending")] == outbox(path)[-1:]


@pytest.mark.parametrize("version", OLDER)
async def test_the_same_question_of_another_app_or_run_stays_another(path: Path, version: int) -> None:
    """The identities of old requests tell apps, runs, ids and contents apart, as those of new ones do."""
    make_database(path, version, request(1), request(2, run_id="run-1", request_id="q2"))
    new = [make_new_request("run-1"), make_new_request("run-1", "q2"), make_new_request("run-1", "q3")]
    async with open_store(path) as store:
        here = await store.record_changes(APP, BOTH, new=new, now=NOW)
        there = await store.record_changes(App("sales", "https://x.example"), BOTH, new=new, now=NOW)
    assert (1, 3) == (len(here.new), len(there.new))
