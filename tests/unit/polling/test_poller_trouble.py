"""Polls that fail: how long the app is left alone, who hears of it, and what is logged."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from tests.support.builders import (
    BOTH,
    NOW,
    claim,
    corrupt_database,
    event_of,
    lock_database,
    outbox,
    record_answered,
    soon,
)
from tests.support.databases import Place
from tests.support.poll_bench import Answer, PollBench, api_run, open_bench, question, refusal
from watcher.models import AppEvent, NewRequest
from watcher.polling import preparation
from watcher.polling.clock import ClockChange
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret
from watcher.store import RecordResult, Sent, StoreUnavailable, StoreUnusable, requests, sqlite

pytestmark = pytest.mark.anyio

FAILING, RECOVERED = "watcher.app_failing", "watcher.app_recovered"


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[PollBench]:
    """A poller's surroundings."""
    async with open_bench(database) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a locked database fail quickly, where the store is opened after it."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)


def entries(logs: list[EventDict], event: str, *names: str) -> list[tuple[object, ...]]:
    """Returns these fields of every log line of an event."""
    return [tuple(entry[name] for name in names) for entry in logs if entry["event"] == event]


# How long


async def test_waits_grow_and_start_anew_after_a_success(bench: PollBench) -> None:
    """Each failure in a row doubles the wait from the interval up to the longest; a success forgets them."""
    poller = bench.poller(poll_interval=15.0)
    bench.api.pages = [refusal(503, "unavailable")]
    waits = [(await poller.poll()).wait for _ in range(7)]
    assert [15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0] == waits
    bench.api.lists()
    assert (await poller.poll()).error is None
    bench.api.pages = [refusal(503, "unavailable")]
    assert 15.0 == (await poller.poll()).wait


async def test_jitter_shortens_a_wait_by_half_at_most(bench: PollBench) -> None:
    """The random number that is passed in decides how much of half the wait is taken away."""
    bench.api.pages = [refusal(503, "unavailable")]
    assert 20.0 / 2 == (await bench.poller(poll_interval=20.0, jitter=lambda: 1.0).poll()).wait
    assert 15.0 == (await bench.poller(poll_interval=20.0, jitter=lambda: 0.5).poll()).wait


@pytest.mark.parametrize(
    ("asked", "wait"), [("7", 7.0), ("Fri, 15 Jan 2027 08:00:40 GMT", 40.0), ("0", 15.0), ("soon", 15.0)]
)
async def test_what_the_api_asks_for_wins(bench: PollBench, asked: str, wait: float) -> None:
    """`Retry-After`, in seconds or as a date, is the wait; without a usable one the backoff is."""
    bench.api.pages = [refusal(429, "rate_limited", Retry_After=asked)]
    assert wait == (await bench.poller(poll_interval=15.0).poll()).wait


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (refusal(400, "bad_request"), 400, "bad_request"),
        (refusal(401, "unauthorized"), 401, "unauthorized"),
        (refusal(403, "forbidden"), 403, "forbidden"),
        (Answer(404, "<h1>no such host</h1>"), 404, "not_found"),
        (refusal(408, "slow"), 408, "slow"),
        (Answer(502, "<h1>bad gateway</h1>"), 502, "server_error"),
        (Answer(200, "<h1>welcome</h1>"), 200, "invalid_response"),
        (Answer(200, {"data": None}), 200, "invalid_response"),
        (Answer(302, "", {"Location": "https://elsewhere.example"}), 302, "redirect"),
    ],
)
async def test_every_refusal_is_a_failed_poll_that_ends_nothing(
    bench: PollBench, answer: Answer, status: int | None, code: str
) -> None:
    """Whatever the list answers but a list, the app is left alone for a while and what waits stays."""
    poller = bench.poller()
    bench.api.lists(api_run("run-1", question()))
    await poller.poll()
    bench.api.pages = [answer]
    with capture_logs() as logs:
        assert 15.0 == (await poller.poll()).wait
    assert [("support", status, code, 15.0, "warning")] == entries(
        logs, "poll.failed", "app", "status", "code", "next_attempt_in", "log_level"
    )
    assert ["run-1"] == [run for run, _, _ in bench.waiting()]


async def test_a_poll_that_takes_too_long_is_cut_short_and_keeps_what_it_had(bench: PollBench) -> None:
    """A whole poll may take 30 times the timeout of a call; the page before the endless one counts."""
    bench.api.pages = [[api_run("run-1", question())], []]

    async def never(call: str) -> None:
        if call == "page 2":
            await asyncio.Event().wait()

    bench.api.before = never
    with capture_logs() as logs:
        assert 15.0 == (await bench.poller(request_timeout=0.01).poll()).wait
    assert [("timeout", "the poll took longer than 0.3 s")] == entries(logs, "poll.failed", "code", "error")
    assert ["run-1"] == [run for run, _, _ in bench.waiting()]


async def test_a_key_file_is_read_at_each_attempt(bench: PollBench, tmp_path: Path) -> None:
    """A key file that goes missing is a failed poll that names it; when it is back the next poll works."""
    file = tmp_path / "key"
    poller = bench.poller(access_key=Secret("apps.support.access_key", Redactor(), file=file))
    with capture_logs() as logs:
        assert (await poller.poll()).error is not None
    assert ["access_key_unreadable"] == [code for (code,) in entries(logs, "poll.failed", "code")]
    assert [f"apps.support.access_key: cannot read {file}: No such file or directory"] == [
        error for (error,) in entries(logs, "poll.failed", "error")
    ]
    file.write_text("dynamiq_acc_1")
    assert (await poller.poll()).error is None


# Who hears of it


async def test_an_app_that_keeps_failing_is_told_and_its_recovery_too(bench: PollBench) -> None:
    """Two minutes after the last success an alert is queued, once; the recovery carries its `since`."""
    poller = bench.poller()
    worked = bench.clock.now = NOW + 50
    bench.api.lists(api_run("run-1", question()))
    await poller.poll()
    bench.wakes.clear()
    bench.api.pages = [refusal(401, "unauthorized", "the key is gone")]
    with capture_logs() as logs:
        for later in (60, 119, 120, 180):
            bench.clock.now = worked + later
            await poller.poll()
    assert [("support", "unauthorized", "the key is gone", "2027-01-15T08:00:50Z", 1, "error")] == entries(
        logs, "app.failing", "app", "code", "error", "since", "pending", "log_level"
    )
    for failing in await claim(bench.store, "webhook", now=bench.clock.now):
        await bench.store.settle_and_claim("webhook", [Sent(failing.id, None)], limit=0, now=bench.clock.now)
    bench.clock.now = worked + 200
    bench.api.lists(api_run("run-1", question()))
    with capture_logs() as logs:
        assert (await poller.poll()).error is None
        assert (await poller.poll()).error is None
    assert [("support", "2027-01-15T08:00:50Z", 1)] == entries(
        logs, "app.recovered", "app", "since", "pending"
    )
    assert [("slack", FAILING)] == entries(logs, "delivery.superseded", "notifier", "event_type")
    assert [worked + 120, worked + 200] == bench.wakes
    assert [
        ("slack", FAILING, "superseded"),
        ("webhook", FAILING, "sent"),
        ("webhook", RECOVERED, "pending"),
    ] == outbox(bench.database)[2:]


async def test_an_app_is_told_of_in_the_middle_of_a_wait(bench: PollBench) -> None:
    """When the API asks for an hour of rest, people are told after two minutes and not after the hour."""
    told = asyncio.Event()
    poller = bench.poller(wake=lambda _: told.set())
    bench.api.pages = [refusal(429, "rate_limited", "slow down", Retry_After="3600")]
    bench.clock.now = NOW + 119.98
    with capture_logs() as logs:
        assert 3600.0 == (await poller.poll()).wait
        assert [] == outbox(bench.database)
        await soon(told.wait())
    assert [("rate_limited", "slow down", "2027-01-15T08:00:00Z")] == entries(
        logs, "app.failing", "code", "error", "since"
    )
    assert [FAILING, FAILING] == [kind for _, kind, _ in outbox(bench.database)]
    await poller.poll()
    assert 2 == len(outbox(bench.database))


@pytest.mark.parametrize("was_well", [False, True])
async def test_a_poll_that_hangs_is_told_of_before_its_end(bench: PollBench, *, was_well: bool) -> None:
    """An app whose poll does not come to an end is told of meanwhile, its recovery after it."""
    told = asyncio.Event()
    poller = bench.poller(alert_after=0.0, request_timeout=0.2, wake=lambda _: told.set())
    if was_well:
        bench.api.pages = [refusal(503, "unavailable")]
        await poller.poll()
        bench.api.lists()
        await poller.poll()
        told.clear()

    async def until_told(_: str) -> None:
        await soon(told.wait())
        bench.clock.now += 1

    bench.api.before = until_told
    with capture_logs() as logs:
        assert (await poller.poll()).error is None
    assert [("timeout", "the poll has not ended yet")] == entries(logs, "app.failing", "code", "error")
    recovered = [notifier for notifier, kind, _ in outbox(bench.database) if kind == RECOVERED]
    assert ["webhook"] * (2 if was_well else 1) == recovered


@pytest.mark.parametrize(("request_timeout", "patience"), [(20.0, 120.0), (300.0, 300.0)])
async def test_a_poll_may_last_as_long_as_an_app_may_fail(
    bench: PollBench, request_timeout: float, patience: float
) -> None:
    """A poll hangs when it takes longer than `app_alert_after`, and than one call may take."""
    timer = bench.poller(request_timeout=request_timeout)._failure_timer
    bench.clock.now = NOW + 500
    timer.poll_begins()
    assert NOW + 500 + patience == timer._due_at
    await timer.cancel()


async def test_a_poll_that_hangs_after_failures_is_told_of_as_they_are(bench: PollBench) -> None:
    """When an app has failed before, the time counts from then on and the reason is the last known."""
    told = asyncio.Event()
    poller = bench.poller(wake=lambda _: told.set())
    bench.clock.now = NOW + 100
    bench.api.pages = [refusal(503, "unavailable")]
    await poller.poll()

    async def until_told(_: str) -> None:
        await soon(told.wait())

    bench.api.before = until_told
    bench.clock.now = NOW + 119.98
    with capture_logs() as logs:
        await poller.poll()
    assert [("unavailable", "2027-01-15T08:00:00Z")] == entries(logs, "app.failing", "code", "since")


async def test_a_machine_that_slept_is_no_outage(bench: PollBench) -> None:
    """When a laptop wakes the network is not there yet: its hours of sleep are no time of failing."""
    poller = bench.poller()
    await poller.poll()
    bench.clock.now = NOW + 28_800
    poller.clock_changed(ClockChange(step=0.0, slept=28_800.0))
    bench.api.pages = [refusal(503, "unavailable")]
    await poller.poll()
    assert [] == outbox(bench.database)
    bench.clock.now += 120
    await poller.poll()
    assert [FAILING, FAILING] == [kind for _, kind, _ in outbox(bench.database)]


async def test_a_clock_that_is_set_makes_no_outage(bench: PollBench) -> None:
    """An hour that was not there is none in which polls failed."""
    poller = bench.poller()
    await poller.poll()
    bench.clock.now = NOW + 3600
    await bench.store.shift_timestamps(3600.0)
    poller.clock_changed(ClockChange(step=3600.0, slept=0.0))
    bench.api.pages = [refusal(503, "unavailable")]
    await poller.poll()
    assert [] == outbox(bench.database)


async def test_an_alert_that_waits_follows_the_clock(bench: PollBench) -> None:
    """An app that fails is told of after two minutes, though the clock is set by an hour meanwhile."""
    told = asyncio.Event()
    poller = bench.poller(wake=lambda _: told.set())
    bench.clock.now = NOW + 60
    bench.api.pages = [refusal(503, "unavailable")]
    await poller.poll()
    bench.clock.now = NOW + 3600 + 119.98
    await bench.store.shift_timestamps(3600.0)
    poller.clock_changed(ClockChange(step=3600.0, slept=0.0))

    async def until_told(_: str) -> None:
        await soon(told.wait())

    bench.api.before = until_told
    with capture_logs() as logs:
        await poller.poll()
    assert [("unavailable", "2027-01-15T09:00:00Z")] == entries(logs, "app.failing", "code", "since")


async def test_an_app_that_recovers_in_time_is_nobodys_business(bench: PollBench) -> None:
    """A success calls the alert off that a failure before it had set up."""
    poller = bench.poller()
    bench.clock.now = NOW + 60
    bench.api.pages = [refusal(503, "unavailable")]
    timers = []
    for _ in range(2):
        await poller.poll()
        timers.append(poller._failure_timer._alarm._timer)
        bench.api.lists()
    assert [True, False] == [timer is not None for timer in timers]
    assert [] == outbox(bench.database)


async def test_a_database_that_is_damaged_before_an_alert_ends_the_next_poll(bench: PollBench) -> None:
    """An alert that cannot be recorded between two polls is logged; the next poll has to tell."""
    poller = bench.poller()
    bench.api.pages = [refusal(503, "unavailable")]
    await poller.poll()
    corrupt_database(bench.database)
    with capture_logs() as logs:
        await poller._failure_timer._announce()
    assert ["poll.record_failed"] == [entry["event"] for entry in logs]
    with pytest.raises(StoreUnusable):
        await poller.poll()


async def test_an_app_that_never_worked_is_told_from_the_start_of_the_process(bench: PollBench) -> None:
    """Without any success the two minutes count from when the poller was made."""
    poller = bench.poller()
    bench.api.pages = [refusal(404, "not_found")]
    bench.clock.now = NOW + 120
    await poller.poll()
    (failing,) = await claim(bench.store, "webhook", now=bench.clock.now)
    failure = event_of(failing, AppEvent).failure
    assert (404, "not_found", NOW) == (
        failure.status,
        failure.code,
        failure.since,
    )


async def test_a_secret_that_the_api_echoes_reaches_nobody(bench: PollBench) -> None:
    """A key in an error's code or message is masked in logs and in what is told."""
    redactor = Redactor()
    key = Secret("apps.support.access_key", redactor, value="dynamiq_acc_0123456789")
    poller = bench.poller(redactor=redactor, access_key=key)
    bench.api.lists(api_run("run-1"))
    bench.api.runs["run-1"] = refusal(403, "bad dynamiq_acc_0123456789", "no dynamiq_acc_0123456789")
    bench.clock.now = NOW + 120
    with capture_logs() as logs:
        await poller.poll()
    (failing,) = await claim(bench.store, "webhook", now=bench.clock.now)
    failure = event_of(failing, AppEvent).failure
    assert ("bad [redacted]", "no [redacted]") == (failure.code, failure.message)
    assert ["poll.failed", "app.failing"] == [entry["event"] for entry in logs]
    assert "0123456789" not in str(logs)


# The database


@pytest.mark.usefixtures("impatient")
async def test_a_locked_database_is_a_failed_poll(database: Place) -> None:
    """While the database is locked polls fail, loudly; that is no outage of the app, and nothing is lost."""
    async with open_bench(database) as bench:
        bench.api.lists(api_run("run-1", question()))
        poller = bench.poller()
        with capture_logs() as logs:
            with closing(lock_database(bench.database)):
                waits = [(await poller.poll()).wait for _ in range(2)]
                bench.clock.now += 1000
            assert (await poller.poll()).error is None
        assert [15.0, 15.0] == waits
        assert [("database_error", "warning")] * 2 == entries(logs, "poll.failed", "code", "log_level")
        assert [] == entries(logs, "app.failing") + entries(logs, "app.recovered")
        assert ["run-1"] == [run for run, _, _ in bench.waiting()]


@pytest.mark.usefixtures("impatient")
async def test_a_locked_database_makes_no_wait_for_the_app_longer(database: Place) -> None:
    """The first failure of an app waits as a first one does, also after polls that the database failed."""
    async with open_bench(database) as bench:
        poller = bench.poller()
        with closing(lock_database(bench.database)):
            waits = [(await poller.poll()).wait for _ in range(2)]
        bench.api.pages = [refusal(500, "database_error")]
        waits.append((await poller.poll()).wait)
        assert [15.0, 15.0, 15.0] == waits


async def test_an_error_that_has_the_name_of_ours(bench: PollBench) -> None:
    """An API whose own database fails is an app that fails, whatever it calls that."""
    poller = bench.poller()
    bench.api.pages = [refusal(500, "database_error")]
    with capture_logs() as logs:
        waits = [(await poller.poll()).wait for _ in range(2)]
        bench.clock.now += 1000
        assert "server_error" == (await poller.poll()).outcome
    assert [15.0, 30.0] == waits
    assert [("database_error",)] == entries(logs, "app.failing", "code")


async def test_a_damaged_database_ends_the_poller(bench: PollBench) -> None:
    """A database that cannot be used any more is no failed poll: whoever runs the poller has to know."""
    corrupt_database(bench.database)
    with pytest.raises(StoreUnusable):
        await bench.poller().poll()


async def test_a_database_damaged_during_a_failed_poll_ends_the_poller(bench: PollBench) -> None:
    """The same holds when only the failure itself cannot be recorded."""

    async def damage_and_refuse(_: str) -> None:
        corrupt_database(bench.database)

    bench.api.before = damage_and_refuse
    bench.api.pages = [refusal(500, "internal")]
    poller = bench.poller()
    bench.clock.now = NOW + 120
    with pytest.raises(StoreUnusable):
        await poller.poll()


# Logs


async def test_a_quiet_poll_is_one_debug_line(bench: PollBench) -> None:
    """Nothing new is worth one line for who debugs; news are at `info`, each with what it is about."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    with capture_logs() as logs:
        await poller.poll()
    assert [
        {
            "event": "request.new",
            "log_level": "info",
            "app": "support",
            "run": "run-1",
            "request": "q1",
            "type": "approval_request",
        },
        {
            "event": "poll.succeeded",
            "log_level": "info",
            "app": "support",
            "runs": 1,
            "new": 1,
            "resolved": 0,
        },
    ] == logs
    with capture_logs() as logs:
        await poller.poll()
    assert [("poll.succeeded", "debug")] == [(entry["event"], entry["log_level"]) for entry in logs]


async def test_a_superseded_delivery_is_logged(bench: PollBench) -> None:
    """What people are no longer told of is logged with the fields of every delivery."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    bench.api.lists()
    with capture_logs() as logs:
        await poller.poll()
    assert [("slack", 1, "run.input_requested", 0, "info")] == entries(
        logs, "delivery.superseded", "notifier", "delivery", "event_type", "attempt", "log_level"
    )


async def test_an_echo_of_an_answered_request_is_silent(bench: PollBench) -> None:
    """A list that shows an answered request once more gives neither a log line nor a wake."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    await record_answered(bench.store, "run-1", routes=BOTH, now=NOW)
    with capture_logs() as logs:
        await poller.poll()
    assert [("debug", 0)] == entries(logs, "poll.succeeded", "log_level", "new")
    assert 1 == len(logs)


@pytest.fixture
def spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives each question "bad" a text that no database takes."""
    prepare = preparation.RequestPreparation._prepare

    def spoil(*arguments: Any) -> NewRequest:
        new = prepare(*arguments)
        if new.request.prompt != "bad":
            return new
        return replace(new, request=replace(new.request, prompt="\ud800"))

    monkeypatch.setattr(preparation.RequestPreparation, "_prepare", spoil)


@pytest.mark.usefixtures("spoiled")
async def test_a_question_that_cannot_be_stored_is_skipped(bench: PollBench) -> None:
    """A question that the database does not take is logged with its run, and the rest of the poll counts."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    bench.api.lists(api_run("run-1", question(prompt="bad")), api_run("run-2", question()))
    with capture_logs() as logs:
        result = await poller.poll()
    assert (None, 1, 1) == (result.error, result.new, result.resolved)
    assert ["run-2"] == [run for run, _, _ in bench.waiting()]
    (skipped,) = [entry for entry in logs if entry["event"] == "run.skipped"]
    assert (1, ["run-1"]) == (skipped["count"], [example["run"] for example in skipped["examples"]])


@pytest.mark.usefixtures("spoiled")
async def test_what_was_recorded_before_the_database_failed_is_reported(
    bench: PollBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of requests that are recorded one by one, those before a failure are logged and wake the workers."""
    record_changes = requests.record_changes

    def fail_at_last(*arguments: Any, new: Sequence[NewRequest], **options: Any) -> RecordResult:
        if ["run-3"] == [each.run.id for each in new]:
            raise StoreUnavailable("database is locked")
        return record_changes(*arguments, new=new, **options)

    monkeypatch.setattr(requests, "record_changes", fail_at_last)
    bench.api.lists(*[api_run(f"run-{n}", question(prompt="bad" if n == 2 else "?")) for n in (1, 2, 3)])
    with capture_logs() as logs:
        assert "database_error" == (await bench.poller().poll()).outcome
    assert [("run-1",)] == entries(logs, "request.new", "run")
