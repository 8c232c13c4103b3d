"""One delivery: that it is sent, marked and logged, and when it is tried again or given up."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from tests.support.builders import (
    MACHINE,
    NOW,
    PEOPLE,
    Clock,
    ScriptedNotifier,
    WatchedStore,
    make_new_request,
    make_worker,
    outbox,
    record_answered,
    record_new,
    records,
    run_ids,
    soon,
)
from tests.support.databases import Place
from watcher.delivery import worker as worker_module
from watcher.delivery.dispatcher import Dispatcher
from watcher.delivery.retry import RetrySettings, after_failure
from watcher.models import Delivery, MessageRef, SampleEvent
from watcher.notifiers.base import DeliveryError
from watcher.sanitize.secrets import SecretError
from watcher.store import Dead, Retry, sqlite
from watcher.store import outbox as outbox_work

pytestmark = pytest.mark.anyio

DAY = 86_400.0
NEWS, END = "run.input_requested", "run.input_resolved"
SETTINGS = RetrySettings(backoff_max=300.0, give_up_after=DAY)


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers go on only for a reason, unless a test wants otherwise; a locked database fails quickly."""
    monkeypatch.setattr(worker_module, "CLAIM_INTERVAL", 3600.0)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)


@pytest.fixture
async def store(database: Place) -> AsyncIterator[WatchedStore]:
    """An empty store."""
    opened = WatchedStore(database)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    """The wall clock."""
    return Clock()


# When it is tried again


def failed(attempt: int, tried_for: float = 0.0, last_attempt_at: float | None = None) -> Delivery:
    """Returns a delivery that was tried for so long."""
    event = SampleEvent("evt", NOW)
    return Delivery(7, "slack", event, attempt, NOW, tried_for=tried_for, last_attempt_at=last_attempt_at)


@pytest.mark.parametrize(
    ("attempt", "error", "jitter", "wait"),
    [
        pytest.param(1, DeliveryError("x"), 0.0, 1.0, id="first"),
        pytest.param(2, DeliveryError("x"), 0.0, 2.0, id="second"),
        pytest.param(9, DeliveryError("x"), 0.0, 256.0, id="ninth"),
        pytest.param(10, DeliveryError("x"), 0.0, 300.0, id="longest"),
        pytest.param(5000, DeliveryError("x"), 0.0, 300.0, id="endless"),
        pytest.param(2, DeliveryError("x"), 0.5, 1.5, id="half the jitter"),
        pytest.param(2, DeliveryError("x"), 1.0, 1.0, id="all the jitter"),
        pytest.param(1, DeliveryError("x", fix="y"), 0.0, 300.0, id="to be fixed"),
        pytest.param(1, DeliveryError("x", fix="y"), 1.0, 150.0, id="to be fixed, with jitter"),
        pytest.param(9, DeliveryError("x", retry_after=7.0), 0.5, 7.0, id="asked for"),
        pytest.param(1, DeliveryError("x", retry_after=600.0), 0.0, 600.0, id="asked for more than longest"),
        pytest.param(
            1, DeliveryError("x", retry_after=7.0, fix="y"), 0.0, 7.0, id="asked for and to be fixed"
        ),
    ],
)
def test_how_long_a_failed_delivery_waits(
    attempt: int, error: DeliveryError, jitter: float, wait: float
) -> None:
    """Waits double, jitter takes half at most, what needs a fix waits longest, and what is asked for wins."""
    result = after_failure(failed(attempt), error, SETTINGS, message="no", now=NOW + 5, jitter=jitter)
    assert Retry(7, "no", NOW + 5 + wait) == result


@pytest.mark.parametrize(
    ("tried_for", "expected"),
    [
        (DAY - 200, Retry(7, "no", NOW + 200, tried_for=DAY - 200)),
        (DAY - 0.5, Retry(7, "no", NOW + 0.5, tried_for=DAY - 0.5)),
        (DAY, Dead(7, "no")),
        (10 * DAY, Dead(7, "no")),
    ],
)
def test_giving_up_comes_with_a_last_attempt(tried_for: float, expected: Retry | Dead) -> None:
    """The wait is cut to end when giving up is due, and only a failure from then on is final."""
    error = DeliveryError("x", retry_after=3600.0)
    delivery = failed(3, tried_for=tried_for)
    result = after_failure(delivery, error, SETTINGS, message="no", now=NOW, jitter=0.0)
    assert expected == result


@pytest.mark.parametrize(
    ("backoff_max", "ago", "counted"),
    [(300.0, 90.0, 90.0), (300.0, 30 * DAY, 3600.0), (7200.0, 30 * DAY, 7200.0), (300.0, -DAY, 0.0)],
)
def test_only_time_in_which_it_was_tried_counts(backoff_max: float, ago: float, counted: float) -> None:
    """Neither a month without a daemon nor a clock that was set makes a delivery older than a long wait."""
    delivery = failed(3, tried_for=1000.0, last_attempt_at=NOW - ago)
    settings = RetrySettings(backoff_max, DAY)
    result = after_failure(delivery, DeliveryError("x"), settings, message="no", now=NOW, jitter=0.0)
    assert Retry(7, "no", NOW + 4, tried_for=1000.0 + counted) == result


@pytest.mark.parametrize("possibly_delivered", [True, False])
@pytest.mark.parametrize("tried_for", [0.0, DAY])
def test_what_may_have_been_accepted_stays_so(tried_for: float, *, possibly_delivered: bool) -> None:
    """That a destination may have taken it all the same is kept, also with the last attempt."""
    error = DeliveryError("x", possibly_delivered=possibly_delivered)
    result = after_failure(failed(3, tried_for), error, SETTINGS, message="no", now=NOW, jitter=0.0)
    assert (tried_for > 0, possibly_delivered) == (isinstance(result, Dead), result.possibly_delivered)


# One delivery


def test_no_wait_is_longer_than_the_longest() -> None:
    """Where the longest wait is below the first, the first is no longer than that either."""
    quick = RetrySettings(backoff_max=0.5, give_up_after=60.0)
    waits = [
        after_failure(failed(attempt), DeliveryError("x"), quick, message="x", now=NOW, jitter=0.0)
        for attempt in (1, 2, 9)
    ]
    assert [Retry(7, "x", NOW + 0.5)] * 3 == waits


async def test_what_is_due_is_sent_and_marked(store: WatchedStore, clock: Clock) -> None:
    """An accepted delivery is marked with its receipt, and logged with what it was."""
    await record_new(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[MessageRef({"ts": "1.5"})])
    with capture_logs() as logs:
        await make_worker(notifier, store, clock).run(until_idle=True)
    assert [("slack", NEWS, "sent")] == outbox(store.database)
    assert [
        {
            "event": "delivery.sent",
            "log_level": "info",
            "notifier": "slack",
            "delivery": 1,
            "event_type": NEWS,
            "attempt": 1,
        }
    ] == logs
    await record_answered(store, routes=[PEOPLE], now=NOW)
    await make_worker(notifier, store, clock).run(until_idle=True)
    assert (END, MessageRef({"ts": "1.5"})) == (
        notifier.accepted[1].event.type,
        notifier.accepted[1].first_message,
    )


async def test_a_failed_delivery_is_tried_again_on_schedule(store: WatchedStore, clock: Clock) -> None:
    """The same event is sent again when its wait is over, not before; the wait doubles."""
    await record_new(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("503"), DeliveryError("503"), DeliveryError("503")])
    worker = make_worker(notifier, store, clock)
    with capture_logs() as logs:
        for seconds, attempts in [(0.0, 1), (0.9, 1), (1.0, 2), (2.9, 2), (3.0, 3), (6.9, 3), (7.0, 4)]:
            clock.now = NOW + seconds
            await worker.run(until_idle=True)
            assert attempts == len(notifier.attempts)
    assert [1, 2, 3, 4] == [delivery.attempt for delivery in notifier.attempts]
    assert 1 == len({delivery.event.id for delivery in notifier.attempts})
    assert [("sent", 4)] == [(record.state, record.attempts) for record in records(store.database)]
    retry = {"event": "delivery.retry", "log_level": "warning", "notifier": "slack", "delivery": 1}
    assert [
        retry | {"event_type": NEWS, "attempt": number, "error": "503", "next_attempt_in": wait}
        for number, wait in [(1, 1.0), (2, 2.0), (3, 4.0)]
    ] == logs[:3]


async def test_what_people_have_to_mend_is_logged_and_waits_longest(
    store: WatchedStore, clock: Clock
) -> None:
    """A failure with a fix is tried again at the longest interval at once, and says what to fix."""
    await record_new(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("not_in_channel", fix="invite the bot")])
    with capture_logs() as logs:
        await make_worker(notifier, store, clock).run(until_idle=True)
    assert [NOW + 300] == [record.next_attempt_at for record in records(store.database)]
    assert [("delivery.retry", "invite the bot")] == [(entry["event"], entry["fix"]) for entry in logs]


async def test_a_requested_pause_holds_that_notifier_only(store: WatchedStore, clock: Clock) -> None:
    """`Retry-After` stops everything to that destination for so long, and nothing to another."""
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"))
    slack = ScriptedNotifier(script=[DeliveryError("429", retry_after=30.0, pauses=True)])
    webhook = ScriptedNotifier("webhook", for_people=False)
    dispatcher = Dispatcher([make_worker(slack, store, clock), make_worker(webhook, store, clock)])
    with capture_logs() as logs:
        await dispatcher.run(until_idle=True)
        clock.now = NOW + 29.9
        await dispatcher.run(until_idle=True)
    assert (["run-1"], ["run-1", "run-2"]) == (run_ids(slack.attempts), run_ids(webhook.accepted))
    assert [{"event": "notifier.paused", "log_level": "warning", "notifier": "slack", "seconds": 30.0}] == [
        entry for entry in logs if entry["event"] == "notifier.paused"
    ]
    clock.now = NOW + 30
    await dispatcher.run(until_idle=True)
    assert ["run-1", "run-2"] == sorted(run_ids(slack.accepted))
    assert ["sent"] * 4 == [state for _, _, state in outbox(store.database)]


async def test_a_wait_that_is_asked_for_with_another_status_delays_one_delivery(
    store: WatchedStore, clock: Clock
) -> None:
    """`Retry-After` on a 413 is about that message: the next one goes out at once."""
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[MACHINE])
    notifier = ScriptedNotifier(
        "webhook", for_people=False, script=[DeliveryError("HTTP 413", retry_after=900.0)]
    )
    with capture_logs() as logs:
        await make_worker(notifier, store, clock).run(until_idle=True)
    assert ["run-2"] == run_ids(notifier.accepted)
    assert [NOW + 900, None] == [record.next_attempt_at for record in records(store.database)]
    assert ["delivery.retry", "delivery.sent"] == sorted(entry["event"] for entry in logs)


async def test_a_pause_that_is_asked_for_at_the_last_attempt_holds(store: WatchedStore, clock: Clock) -> None:
    """That a delivery is given up does not mean that the destination takes the next one at once."""
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("429", retry_after=30.0, pauses=True)])
    worker = make_worker(notifier, store, clock, give_up_after=0.0)
    clock.now = NOW + DAY
    await worker.run(until_idle=True)
    assert (["run-1"], ["dead", "pending"]) == (
        run_ids(notifier.attempts),
        [state for _, _, state in outbox(store.database)],
    )
    clock.now = NOW + DAY + 30
    await worker.run(until_idle=True)
    assert ["run-2"] == run_ids(notifier.accepted)


async def test_what_nobody_accepts_is_dead_in_the_end(store: WatchedStore, clock: Clock) -> None:
    """After `give_up_after`, and a last attempt then, a delivery is dead and logged as an error."""
    await record_new(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("no", fix="mend it")] * 4)
    worker = make_worker(notifier, store, clock, give_up_after=4000.0)
    for later in (0, 3600, 3900):
        clock.now = NOW + later
        await worker.run(until_idle=True)
    assert [("pending", NOW + 4000)] == [
        (record.state, record.next_attempt_at) for record in records(store.database)
    ]
    clock.now = NOW + 4000
    with capture_logs() as logs:
        await worker.run(until_idle=True)
    assert [("dead", 4, "no")] == [
        (record.state, record.attempts, record.last_error) for record in records(store.database)
    ]
    assert [
        {
            "event": "delivery.dead",
            "log_level": "error",
            "notifier": "slack",
            "delivery": 1,
            "event_type": NEWS,
            "attempt": 4,
            "error": "no",
            "fix": "mend it",
        }
    ] == logs


async def test_nothing_is_given_up_before_it_was_tried_for_long(store: WatchedStore, clock: Clock) -> None:
    """A delivery that is older than `give_up_after` when the daemon starts is tried for as long as any."""
    await record_new(store, make_new_request("run-1"), make_new_request("run-2"), routes=[PEOPLE])
    clock.now = NOW + 2 * DAY
    await make_worker(ScriptedNotifier(script=[DeliveryError("no")]), store, clock).run(until_idle=True)
    states = [(record.state, record.attempts, record.next_attempt_at) for record in records(store.database)]
    assert [("pending", 1, clock.now + 1), ("sent", 1, None)] == states


async def test_the_dead_come_back_when_they_are_put_back(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running worker finds, by itself, what another process put back, and sends it."""
    await record_new(store, routes=[PEOPLE])
    clock.now = NOW + DAY
    notifier = ScriptedNotifier(script=[DeliveryError("no")])
    worker = make_worker(notifier, store, clock, give_up_after=0.0)
    await worker.run(until_idle=True)
    assert ["dead"] == [state for _, _, state in outbox(store.database)]
    monkeypatch.setattr(worker_module, "CLAIM_INTERVAL", 0.01)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 5.0)
    running = asyncio.create_task(worker.run())
    with store.database.changing(clock.now) as tx:
        outbox_work.requeue(tx, [1])
    while not notifier.accepted:
        await soon(notifier.started.get())
    worker.stop()
    await soon(running)
    assert [("sent", 1)] == [(record.state, record.attempts) for record in records(store.database)]


@pytest.mark.parametrize(
    ("error", "words", "wait"),
    [
        (RuntimeError("a slip with details"), "unexpected RuntimeError", 1.0),
        (
            SecretError("notifiers.slack.bot_token: /x is empty"),
            "notifiers.slack.bot_token: /x is empty",
            1.0,
        ),
        (DeliveryError("the token xoxb-1 is bad"), "the token [redacted] is bad", 1.0),
    ],
)
async def test_no_error_of_a_notifier_loses_an_alert_or_tells_a_secret(
    store: WatchedStore, clock: Clock, error: Exception, words: str, wait: float
) -> None:
    """Whatever a notifier raises, the delivery is tried again, and its words are masked."""
    await record_new(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[error])
    worker = make_worker(notifier, store, clock, redact=lambda text: text.replace("xoxb-1", "[redacted]"))
    with capture_logs() as logs:
        await worker.run(until_idle=True)
    assert [("pending", words, NOW + wait)] == [
        (record.state, record.last_error, record.next_attempt_at) for record in records(store.database)
    ]
    lines = [entry for entry in logs if entry["event"].startswith("delivery.")]
    unexpected = [entry for entry in lines if entry["event"] == "delivery.unexpected_error"]
    assert bool(unexpected) == isinstance(error, RuntimeError)
    assert [
        entry for entry in lines if not entry.keys() >= {"notifier", "delivery", "event_type", "attempt"}
    ] == []
    clock.now = NOW + wait
    await worker.run(until_idle=True)
    assert ["sent"] == [state for _, _, state in outbox(store.database)]


async def test_a_receipt_is_masked_before_it_is_kept(store: WatchedStore, clock: Clock) -> None:
    """What a destination gave back is kept without secrets."""
    await record_new(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[MessageRef({"ts": "1", "echo": "xoxb-1"})])
    worker = make_worker(notifier, store, clock, redact=lambda text: text.replace("xoxb-1", "[redacted]"))
    await worker.run(until_idle=True)
    await record_answered(store, routes=[PEOPLE], now=NOW)
    await worker.run(until_idle=True)
    assert MessageRef({"ts": "1", "echo": "[redacted]"}) == notifier.accepted[1].first_message


async def test_what_became_stale_under_way_is_dropped_and_logged(store: WatchedStore, clock: Clock) -> None:
    """News whose request ended while it was being sent, in vain, is superseded together with the end."""
    await record_new(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("503")])
    notifier.gate.clear()
    worker = make_worker(notifier, store, clock)
    with capture_logs() as logs:
        running = asyncio.create_task(worker.run(until_idle=True))
        await soon(notifier.started.get())
        await record_answered(store, routes=[PEOPLE], now=NOW)
        notifier.gate.set()
        await soon(running)
    assert ["superseded", "superseded"] == [state for _, _, state in outbox(store.database)]
    assert [NEWS, END] == [entry["event_type"] for entry in logs if entry["event"] == "delivery.superseded"]
