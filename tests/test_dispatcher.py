"""Delivering: when what is tried again, how much at once, and that nothing is lost or sent twice."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.builders import (
    BOTH,
    MACHINE,
    NOW,
    PEOPLE,
    Clock,
    ScriptedNotifier,
    damage,
    end,
    hold,
    make_sighting,
    new_id,
    outbox,
    records,
    sight,
    soon,
)
from watcher import dispatcher
from watcher.dispatcher import DeliverySettings, Dispatcher, Lane
from watcher.models import Delivery, Receipt
from watcher.notifiers.base import DeliveryError
from watcher.secrets import SecretError
from watcher.store import Claim, Result, Store, StoreError, StoreUnusable, schema
from watcher.store import outbox as outbox_work
from watcher.store.schema import open_beside

pytestmark = pytest.mark.anyio

DAY = 86_400.0
NEWS, END = "run.input_requested", "run.input_resolved"


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes go on only for a reason, unless a test wants otherwise; a locked database fails quickly."""
    monkeypatch.setattr(dispatcher, "LOOK_AGAIN", 3600.0)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database of a test is."""
    return tmp_path / "watcher.db"


class WatchedStore(Store):
    """Tells what lanes ask of it: how many deliveries at most, and how many results they bring."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, new_id)
        self.asked: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.refused: asyncio.Queue[StoreError] = asyncio.Queue()

    async def settle_and_claim(
        self,
        notifier: str,
        results: Sequence[Result],
        *,
        limit: int,
        now: float,
        pause_until: float | None = None,
    ) -> Claim:
        """Does as the store does."""
        try:
            claim = await super().settle_and_claim(
                notifier, results, limit=limit, now=now, pause_until=pause_until
            )
        except StoreError as error:
            self.refused.put_nowait(error)
            raise
        self.asked.put_nowait((limit, len(results)))
        return claim


@pytest.fixture
async def store(path: Path) -> AsyncIterator[WatchedStore]:
    """An empty store."""
    opened = WatchedStore(path)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    """The wall clock."""
    return Clock()


def make_lane(
    notifier: ScriptedNotifier,
    store: Store,
    clock: Clock,
    *,
    wall: Callable[[], float] | None = None,
    scrub: Callable[[str], str] = str,
) -> Lane:
    """Returns a lane without jitter that gives up after a day and waits 5 minutes at most."""
    settings = DeliverySettings(backoff_max=300.0, give_up_after=DAY)
    return Lane(notifier, store, settings, scrub=scrub, wall=wall or clock.time, jitter=lambda: 0.0)


def run_ids(deliveries: Sequence[Delivery]) -> list[str]:
    """Returns the runs that deliveries are about."""
    return [delivery.event.run.id for delivery in deliveries if delivery.event.run]


# One delivery


async def test_what_is_due_is_sent_and_marked(store: WatchedStore, clock: Clock, path: Path) -> None:
    """An accepted delivery is marked with its receipt, and logged with what it was."""
    await sight(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[Receipt({"ts": "1.5"})])
    with capture_logs() as logs:
        await make_lane(notifier, store, clock).run(until_idle=True)
    assert [("slack", NEWS, "sent")] == outbox(path)
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
    await end(store, routes=[PEOPLE], now=NOW)
    await make_lane(notifier, store, clock).run(until_idle=True)
    assert (END, Receipt({"ts": "1.5"})) == (notifier.accepted[1].event.type, notifier.accepted[1].first)


async def test_a_failed_delivery_is_tried_again_on_schedule(
    store: WatchedStore, clock: Clock, path: Path
) -> None:
    """The same event is sent again when its wait is over, not before; the wait doubles."""
    await sight(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("503"), DeliveryError("503"), DeliveryError("503")])
    lane = make_lane(notifier, store, clock)
    with capture_logs() as logs:
        for seconds, attempts in [(0.0, 1), (0.9, 1), (1.0, 2), (2.9, 2), (3.0, 3), (6.9, 3), (7.0, 4)]:
            clock.now = NOW + seconds
            await lane.run(until_idle=True)
            assert attempts == len(notifier.attempts)
    assert [1, 2, 3, 4] == [delivery.attempt for delivery in notifier.attempts]
    assert 1 == len({delivery.event.id for delivery in notifier.attempts})
    assert [("sent", 4)] == [(record.state, record.attempts) for record in records(path)]
    retry = {"event": "delivery.retry", "log_level": "warning", "notifier": "slack", "delivery": 1}
    assert [
        retry | {"event_type": NEWS, "attempt": number, "error": "503", "next_attempt_in": wait}
        for number, wait in [(1, 1.0), (2, 2.0), (3, 4.0)]
    ] == logs[:3]


async def test_what_people_have_to_mend_is_logged_and_waits_longest(
    store: WatchedStore, clock: Clock, path: Path
) -> None:
    """A failure with a fix is tried again at the longest interval at once, and says what to fix."""
    await sight(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("not_in_channel", fix="invite the bot")])
    with capture_logs() as logs:
        await make_lane(notifier, store, clock).run(until_idle=True)
    assert [NOW + 300] == [record.next_attempt_at for record in records(path)]
    assert [("delivery.retry", "invite the bot")] == [(entry["event"], entry["fix"]) for entry in logs]


async def test_a_requested_pause_holds_that_notifier_only(
    store: WatchedStore, clock: Clock, path: Path
) -> None:
    """`Retry-After` stops everything to that destination for so long, and nothing to another."""
    await sight(store, make_sighting("run-1"), make_sighting("run-2"))
    slack = ScriptedNotifier(script=[DeliveryError("429", retry_after=30.0)])
    webhook = ScriptedNotifier("webhook", for_people=False)
    lanes = Dispatcher([make_lane(slack, store, clock), make_lane(webhook, store, clock)])
    with capture_logs() as logs:
        await lanes.run(until_idle=True)
        clock.now = NOW + 29.9
        await lanes.run(until_idle=True)
    assert (["run-1"], ["run-1", "run-2"]) == (run_ids(slack.attempts), run_ids(webhook.accepted))
    assert [{"event": "notifier.paused", "log_level": "warning", "notifier": "slack", "seconds": 30.0}] == [
        entry for entry in logs if entry["event"] == "notifier.paused"
    ]
    clock.now = NOW + 30
    await lanes.run(until_idle=True)
    assert ["run-1", "run-2"] == sorted(run_ids(slack.accepted))
    assert ["sent"] * 4 == [state for _, _, state in outbox(path)]


async def test_what_nobody_accepts_is_dead_in_the_end(store: WatchedStore, clock: Clock, path: Path) -> None:
    """After `give_up_after`, and a last attempt then, a delivery is dead and logged as an error."""
    await sight(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("no", fix="mend it")] * 3)
    lane = make_lane(notifier, store, clock)
    await lane.run(until_idle=True)
    clock.now = NOW + DAY - 100
    await lane.run(until_idle=True)
    assert [("pending", NOW + DAY)] == [(record.state, record.next_attempt_at) for record in records(path)]
    clock.now = NOW + DAY
    with capture_logs() as logs:
        await lane.run(until_idle=True)
    assert [("dead", 3, "no")] == [
        (record.state, record.attempts, record.last_error) for record in records(path)
    ]
    assert [
        {
            "event": "delivery.dead",
            "log_level": "error",
            "notifier": "slack",
            "delivery": 1,
            "event_type": NEWS,
            "attempt": 3,
            "error": "no",
            "fix": "mend it",
        }
    ] == logs


async def test_nothing_is_given_up_untried(store: WatchedStore, clock: Clock, path: Path) -> None:
    """A delivery that is older than `give_up_after` when the daemon starts is attempted all the same."""
    await sight(store, make_sighting("run-1"), make_sighting("run-2"), routes=[PEOPLE])
    clock.now = NOW + 2 * DAY
    await make_lane(ScriptedNotifier(script=[DeliveryError("no")]), store, clock).run(until_idle=True)
    assert [("dead", 1), ("sent", 1)] == [(record.state, record.attempts) for record in records(path)]


async def test_the_dead_come_back_when_they_are_put_back(
    store: WatchedStore, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running lane finds, by itself, what another process put back, and sends it."""
    await sight(store, routes=[PEOPLE])
    clock.now = NOW + DAY
    notifier = ScriptedNotifier(script=[DeliveryError("no")])
    lane = make_lane(notifier, store, clock)
    await lane.run(until_idle=True)
    assert ["dead"] == [state for _, _, state in outbox(path)]
    monkeypatch.setattr(dispatcher, "LOOK_AGAIN", 0.01)
    running = asyncio.create_task(lane.run())
    with closing(open_beside(path)) as beside:
        outbox_work.put_back(beside, [1], clock.now)
    while not notifier.accepted:
        await soon(notifier.started.get())
    lane.stop()
    await soon(running)
    assert [("sent", 1)] == [(record.state, record.attempts) for record in records(path)]


@pytest.mark.parametrize(
    ("error", "words", "wait"),
    [
        (RuntimeError("a slip with details"), "unexpected RuntimeError", 1.0),
        (
            SecretError("notifiers.slack.bot_token: /x is empty"),
            "notifiers.slack.bot_token: /x is empty",
            300.0,
        ),
        (DeliveryError("the token xoxb-1 is bad"), "the token [redacted] is bad", 1.0),
    ],
)
async def test_no_error_of_a_notifier_loses_an_alert_or_tells_a_secret(
    store: WatchedStore, clock: Clock, path: Path, error: Exception, words: str, wait: float
) -> None:
    """Whatever a notifier raises, the delivery is tried again, and its words are masked."""
    await sight(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[error])
    lane = make_lane(notifier, store, clock, scrub=lambda text: text.replace("xoxb-1", "[redacted]"))
    with capture_logs() as logs:
        await lane.run(until_idle=True)
    assert [("pending", words, NOW + wait)] == [
        (record.state, record.last_error, record.next_attempt_at) for record in records(path)
    ]
    assert ("delivery.unexpected_error" in {entry["event"] for entry in logs}) == isinstance(
        error, RuntimeError
    )
    clock.now = NOW + wait
    await lane.run(until_idle=True)
    assert ["sent"] == [state for _, _, state in outbox(path)]


async def test_a_receipt_is_masked_before_it_is_kept(store: WatchedStore, clock: Clock) -> None:
    """What a destination gave back is kept without secrets."""
    await sight(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[Receipt({"ts": "1", "echo": "xoxb-1"})])
    lane = make_lane(notifier, store, clock, scrub=lambda text: text.replace("xoxb-1", "[redacted]"))
    await lane.run(until_idle=True)
    await end(store, routes=[PEOPLE], now=NOW)
    await lane.run(until_idle=True)
    assert Receipt({"ts": "1", "echo": "[redacted]"}) == notifier.accepted[1].first


async def test_what_became_stale_under_way_is_dropped_and_logged(
    store: WatchedStore, clock: Clock, path: Path
) -> None:
    """News whose request ended while it was being sent, in vain, is superseded together with the end."""
    await sight(store, routes=[PEOPLE])
    notifier = ScriptedNotifier(script=[DeliveryError("503")])
    notifier.gate.clear()
    lane = make_lane(notifier, store, clock)
    with capture_logs() as logs:
        running = asyncio.create_task(lane.run(until_idle=True))
        await soon(notifier.started.get())
        await end(store, routes=[PEOPLE], now=NOW)
        notifier.gate.set()
        await soon(running)
    assert ["superseded", "superseded"] == [state for _, _, state in outbox(path)]
    assert [NEWS, END] == [entry["event_type"] for entry in logs if entry["event"] == "delivery.superseded"]


# Many at once


async def test_eight_are_sent_at_once_and_never_more(store: WatchedStore, clock: Clock, path: Path) -> None:
    """A notifier with eight slots has eight sends under way, and the rest follow as they end."""
    await sight(store, *[make_sighting(f"run-{number}") for number in range(20)], routes=[MACHINE])
    notifier = ScriptedNotifier("webhook", slots=8, for_people=False)
    notifier.gate.clear()
    running = asyncio.create_task(make_lane(notifier, store, clock).run(until_idle=True))
    for _ in range(8):
        await soon(notifier.started.get())
    assert 8 == notifier.under_way
    notifier.gate.set()
    await soon(running)
    assert (8, 20) == (notifier.most_under_way, len(notifier.accepted))
    assert ["sent"] * 20 == [state for _, _, state in outbox(path)]


async def test_order_holds_for_each_request_and_a_failing_one_holds_up_no_other(
    store: WatchedStore, clock: Clock
) -> None:
    """The end of a request waits behind its news, however many slots are free; other requests pass."""
    await sight(store, make_sighting("run-1"), make_sighting("run-2"), routes=[MACHINE])
    for run_id in ("run-1", "run-2"):
        await end(store, run_id, routes=[MACHINE], now=NOW)
    notifier = ScriptedNotifier("webhook", slots=8, for_people=False, script=[DeliveryError("503")])
    lane = make_lane(notifier, store, clock)
    await lane.run(until_idle=True)
    clock.now = NOW + 1
    await lane.run(until_idle=True)
    attempts = [
        (delivery.event.run.id, delivery.event.type) for delivery in notifier.attempts if delivery.event.run
    ]
    assert [
        ("run-1", NEWS),
        ("run-2", NEWS),
        ("run-2", END),
        ("run-1", NEWS),
        ("run-1", END),
    ] == attempts


async def test_sends_are_spaced(store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the spacing is over nothing more is even asked for; then the next one goes."""
    loop = asyncio.get_running_loop()
    real_time, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real_time() + ahead)
    await sight(store, make_sighting("run-1"), make_sighting("run-2"), routes=[PEOPLE])
    notifier = ScriptedNotifier(spacing=3000.0)
    lane = make_lane(notifier, store, clock)
    running = asyncio.create_task(lane.run())
    assert [(1, 0), (0, 1)] == [await soon(store.asked.get()) for _ in range(2)]
    lane.wake()
    assert ((0, 0), 1) == (await soon(store.asked.get()), len(notifier.attempts))
    ahead = 3000.0
    lane.wake()
    assert (1, 0) == await soon(store.asked.get())
    lane.stop()
    await soon(running)
    assert ["run-1", "run-2"] == run_ids(notifier.accepted)


async def test_idle_is_only_who_has_sent_everything_due(
    store: WatchedStore, clock: Clock, path: Path
) -> None:
    """With `until_idle` a spaced notifier still sends all that is due before it ends."""
    await sight(store, *[make_sighting(f"run-{number}") for number in range(3)], routes=[PEOPLE])
    await soon(make_lane(ScriptedNotifier(spacing=0.01), store, clock).run(until_idle=True))
    assert ["sent"] * 3 == [state for _, _, state in outbox(path)]


async def test_a_hanging_destination_delays_no_other(store: WatchedStore, clock: Clock, path: Path) -> None:
    """While one notifier does not answer at all another delivers everything."""
    await sight(store, *[make_sighting(f"run-{number}") for number in range(10)], routes=BOTH)
    hanging = ScriptedNotifier()
    hanging.gate.clear()
    webhook = ScriptedNotifier("webhook", slots=8, for_people=False)
    running = asyncio.create_task(
        Dispatcher([make_lane(hanging, store, clock), make_lane(webhook, store, clock)]).run(until_idle=True)
    )
    for _ in range(10):
        await soon(webhook.started.get())
    assert (1, 10) == (hanging.under_way, len(webhook.attempts))
    hanging.gate.set()
    await soon(running)
    assert {"sent"} == {state for _, _, state in outbox(path)}


# Going on, and ending


async def test_a_lane_wakes_when_something_was_recorded(store: WatchedStore, clock: Clock) -> None:
    """Waking all lanes is enough for news to go out, without any wait."""
    notifier = ScriptedNotifier()
    lanes = Dispatcher([make_lane(notifier, store, clock)])
    running = asyncio.create_task(lanes.run())
    assert (1, 0) == await soon(store.asked.get())
    await sight(store, routes=[PEOPLE])
    lanes.wake()
    assert ["run-1"] == run_ids([await soon(notifier.started.get())])
    lanes.stop()
    await soon(running)


async def test_a_lane_wakes_when_the_next_attempt_is_due(
    store: WatchedStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry goes out at its time with nobody waking the lane."""
    monkeypatch.setattr(dispatcher, "FIRST_RETRY", 0.01)
    await sight(store, routes=[PEOPLE], now=time.time())
    notifier = ScriptedNotifier(script=[DeliveryError("503")])
    lane = make_lane(notifier, store, clock, wall=time.time)
    running = asyncio.create_task(lane.run())
    assert [1, 2] == [(await soon(notifier.started.get())).attempt for _ in range(2)]
    lane.stop()
    await soon(running)


async def test_stopping_finishes_what_is_under_way_and_begins_nothing(
    store: WatchedStore, clock: Clock, path: Path
) -> None:
    """After `stop` the send under way is finished and marked; what was not begun stays in the outbox."""
    await sight(store, make_sighting("run-1"), make_sighting("run-2"), routes=[PEOPLE])
    notifier = ScriptedNotifier()
    notifier.gate.clear()
    lanes = Dispatcher([make_lane(notifier, store, clock)])
    running = asyncio.create_task(lanes.run())
    await soon(notifier.started.get())
    lanes.stop()
    assert [(1, 0), (0, 0)] == [await soon(store.asked.get()) for _ in range(2)]
    assert not running.done()
    notifier.gate.set()
    await soon(running)
    assert ["sent", "pending"] == [state for _, _, state in outbox(path)]


async def test_a_lane_that_is_cancelled_cancels_its_sends(
    store: WatchedStore, clock: Clock, path: Path
) -> None:
    """Who does not wait any longer leaves no send behind, and the delivery is still in the outbox."""
    await sight(store, routes=[PEOPLE])
    notifier = ScriptedNotifier()
    notifier.gate.clear()
    running = asyncio.create_task(make_lane(notifier, store, clock).run())
    await soon(notifier.started.get())
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert 0 == notifier.under_way
    assert [("slack", NEWS, "pending")] == outbox(path)


# The database


async def test_a_send_that_cannot_be_marked_now_is_marked_later_and_not_repeated(
    store: WatchedStore, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is locked a result is kept; afterwards it is recorded, and nothing is sent twice."""
    monkeypatch.setattr(dispatcher, "FIRST_RETRY", 0.01)
    await sight(store, make_sighting("run-1"), make_sighting("run-2"), routes=[MACHINE])
    notifier = ScriptedNotifier("webhook", slots=2, for_people=False)
    notifier.gate.clear()
    with capture_logs() as logs:
        running = asyncio.create_task(make_lane(notifier, store, clock).run(until_idle=True))
        await soon(notifier.started.get())
        await soon(notifier.started.get())
        with closing(hold(path)):
            notifier.gate.set()
            await soon(store.refused.get())
            await soon(store.refused.get())
        await soon(running)
    assert ["run-1", "run-2"] == sorted(run_ids(notifier.attempts))
    assert [("sent", 1), ("sent", 1)] == [(record.state, record.attempts) for record in records(path)]
    unrecorded = [entry for entry in logs if entry["event"] == "delivery.unrecorded"]
    assert ("error", "webhook") == (unrecorded[0]["log_level"], unrecorded[0]["notifier"])


async def test_what_cannot_be_claimed_now_is_claimed_later(
    store: WatchedStore, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane that starts while the database is locked goes on when it is free."""
    monkeypatch.setattr(dispatcher, "FIRST_RETRY", 0.01)
    await sight(store, routes=[PEOPLE])
    with closing(hold(path)):
        running = asyncio.create_task(make_lane(ScriptedNotifier(), store, clock).run(until_idle=True))
        await soon(store.refused.get())
    await soon(running)
    assert ["sent"] == [state for _, _, state in outbox(path)]


async def test_a_damaged_database_ends_all_lanes(store: WatchedStore, clock: Clock, path: Path) -> None:
    """A database that cannot be used any more is raised, and no send is left under way."""
    await sight(store, routes=BOTH)
    slack, webhook = ScriptedNotifier(), ScriptedNotifier("webhook", for_people=False)
    slack.gate.clear()
    webhook.gate.clear()
    lanes = Dispatcher([make_lane(slack, store, clock), make_lane(webhook, store, clock)])
    running = asyncio.create_task(lanes.run())
    await soon(slack.started.get())
    await soon(webhook.started.get())
    damage(path)
    webhook.gate.set()
    with pytest.raises(ExceptionGroup) as caught:
        await soon(running)
    await asyncio.sleep(0)
    assert ([StoreUnusable], 0) == ([type(error) for error in caught.value.exceptions], slack.under_way)
