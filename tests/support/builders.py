"""What tests of store, poller and dispatcher build on: facts, a clock, a store, a scripted notifier."""

import asyncio
import math
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.support.databases import Lock, OnSqlite, Place
from watcher.delivery.rate_limit import RateLimiter
from watcher.delivery.retry import RetrySettings
from watcher.delivery.worker import DeliveryWorker, WorkerContext
from watcher.hooks import Observer
from watcher.models import (
    APPROVAL,
    AWAITING,
    App,
    AppEvent,
    AppGroupEvent,
    Delivery,
    DeliveryRecord,
    DigestEvent,
    Event,
    InputRequest,
    Json,
    MessageRef,
    NewRequest,
    NotifierEvent,
    PendingKey,
    PendingRequest,
    Reminder,
    RequestEvent,
    ResolvedRequest,
    Route,
    Run,
)
from watcher.store import Claim, NotifierPolicy, Result, Store, StoreError, queries
from watcher.store.sql import Database
from watcher.store.sqlite import SqliteConnection, SqliteDatabase

NOW: Final = 1_800_000_000.0
BOUND: Final = 20.0
"""Seconds after which a test that waits for something gives up."""

APP: Final = App("support", "https://runs.example")
PEOPLE: Final = Route("slack", for_people=True)
MACHINE: Final = Route("webhook", for_people=False)
BOTH: Final = (PEOPLE, MACHINE)

_numbers = count(1)


async def soon(happening: Awaitable[Any]) -> Any:
    """Returns what is awaited, and fails rather than waits for ever."""
    return await asyncio.wait_for(happening, BOUND)


class Clock:
    """A wall clock that only the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def time(self) -> float:
        """Returns the Unix time."""
        return self.now


def make_request(request_id: str = "q1", prompt: str = "Approve?", *, params: Json = None) -> InputRequest:
    """Returns an approval request whose fingerprint is its prompt."""
    return InputRequest(request_id, APPROVAL, prompt, {} if params is None else params, (), prompt)


def make_run(run_id: str = "run-1", *requests: InputRequest, status: str = AWAITING) -> Run:
    """Returns a run that waits."""
    return Run(id=run_id, status=status, started_at=NOW - 60, requests=requests)


def make_new_request(run_id: str = "run-1", request_id: str = "q1", prompt: str = "Approve?") -> NewRequest:
    """Returns a request seen for the first time."""
    return NewRequest(make_run(run_id), make_request(request_id, prompt))


def new_id(at: float) -> str:
    """Returns an id of an event that no other has, with its time in it as real ones have."""
    return f"evt_{at:.0f}_{next(_numbers)}"


def at(place: Path | Database) -> Database:
    """Returns the database in a file, or the one that is given."""
    return SqliteDatabase(place) if isinstance(place, Path) else place


def sqlite_of(store: Store) -> sqlite3.Connection:
    """Returns the connection of a store to SQLite."""
    assert isinstance(store._connection, SqliteConnection)
    return store._connection.sqlite


def take_database(place: Path | Place, make_id: Callable[[float], str] = new_id) -> Store:
    """Takes the database in a file, or this one, as a daemon does."""
    database = SqliteDatabase(place) if isinstance(place, Path) else place
    return Store(database.open(), make_id)


@asynccontextmanager
async def open_store(
    place: Path | Place, make_id: Callable[[float], str] = new_id, *, prepared: bool = True
) -> AsyncIterator[Store]:
    """A store in a real database, which it makes itself unless it may be `prepared`."""
    store = take_database(OnSqlite(place) if isinstance(place, Path) and prepared else place, make_id)
    try:
        yield store
    finally:
        await store.close()


async def record_new(
    store: Store,
    *sightings: NewRequest,
    routes: Iterable[Route] = BOTH,
    now: float = NOW,
    announce: bool = True,
) -> None:
    """Records new requests; without any named, `run-1` asks `q1`."""
    new = sightings or (make_new_request(),)
    await store.record_changes(APP, tuple(routes), new=new, announce=announce, now=now)


async def pending_key(store: Store, run_id: str = "run-1") -> PendingKey:
    """Returns the one request that is known to wait in a run."""
    (found,) = [request for request in (await store.app_state(APP.name)).known if request.run_id == run_id]
    return found


async def record_answered(
    store: Store, run_id: str = "run-1", *, routes: Iterable[Route] = BOTH, now: float = NOW + 10
) -> tuple[DeliveryRecord, ...]:
    """Records that the one request of a run was answered; returns what became stale by it."""
    change = ResolvedRequest(await pending_key(store, run_id), "answered", "completed")
    return (await store.record_changes(APP, tuple(routes), ended=[change], now=now)).superseded


async def claim(store: Store, notifier: str, *, limit: int = 100, now: float = NOW) -> tuple[Delivery, ...]:
    """Takes what a notifier is to send now."""
    return (await store.settle_and_claim(notifier, (), limit=limit, now=now)).deliveries


def outbox(place: Path | Database) -> list[tuple[str, str, str]]:
    """Returns notifier, type and state of every delivery, the oldest first."""
    return [(record.notifier, record.type, record.state) for record in records(place)]


def records(place: Path | Database) -> list[DeliveryRecord]:
    """Returns every delivery, planned ones too, the oldest first, as a second process would read it.

    Of what is finished, and of nothing else, it is known since when: without that it would never be pruned.
    Of what was sent no attempt is open.
    """
    with at(place).reading() as database:
        odd = (
            "SELECT id FROM deliveries WHERE (finished_at IS NULL) <> (state = 'pending')"
            " OR (state = 'sent' AND attempt_open <> 0)"
        )
        assert not database.execute(odd)
        return queries.deliveries(database, now=math.inf)


def pending(place: Path | Database, *apps: str) -> list[PendingRequest]:
    """Returns the requests of an app, or of these, that wait, as a second process would read them."""
    with at(place).reading() as database:
        return queries.pending_requests(database, apps or [APP.name])


def lock_database(place: Path | Place) -> Lock:
    """Locks a database against writing, as another process would, until what is returned is closed."""
    return (OnSqlite(place) if isinstance(place, Path) else place).lock()


def corrupt_database(place: Path | Place) -> None:
    """Damages a database, so that it cannot be used any more, under whoever has it open."""
    (OnSqlite(place) if isinstance(place, Path) else place).corrupt()


class ScriptedNotifier:
    """Accepts every delivery but those that the script has something else for, in the order of attempts.

    A send takes as long as `gate` is closed; `started` tells of each that begins.
    """

    def __init__(
        self,
        name: str = "slack",
        *,
        max_concurrency: int = 1,
        min_interval: float = 0.0,
        for_people: bool = True,
        digests: bool = False,
        script: Iterable[MessageRef | Exception | None] = (),
    ) -> None:
        self.name = self.rate_limit_key = name
        self.max_concurrency = max_concurrency
        self.min_interval = min_interval
        self.for_people = for_people
        self.digests = digests
        self.attempts: list[Delivery] = []
        self.accepted: list[Delivery] = []
        self.started: asyncio.Queue[Delivery] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.in_flight = 0
        self.max_in_flight = 0
        self._script = iter(script)

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Does what the script says."""
        self.attempts.append(delivery)
        answer = next(self._script, None)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.started.put_nowait(delivery)
        try:
            await self.gate.wait()
        finally:
            self.in_flight -= 1
        if isinstance(answer, Exception):
            raise answer
        self.accepted.append(delivery)
        return answer

    async def check(self) -> str:
        """Finds nothing wrong."""
        return "scripted"


class WatchedStore(Store):
    """Records what workers ask of it: how many deliveries at most, and how many results they bring."""

    def __init__(self, database: Place) -> None:
        super().__init__(database.open(), new_id)
        self.database = database
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
        policy: NotifierPolicy = NotifierPolicy(),  # noqa: B008 - frozen
        due_by: float = math.inf,
    ) -> Claim:
        """Does as the store does."""
        try:
            claim = await super().settle_and_claim(
                notifier, results, limit=limit, now=now, pause_until=pause_until, policy=policy, due_by=due_by
            )
        except StoreError as error:
            self.refused.put_nowait(error)
            raise
        self.asked.put_nowait((limit, len(results)))
        return claim


def make_worker(
    notifier: ScriptedNotifier,
    store: Store,
    clock: Clock,
    *,
    wall: Callable[[], float] | None = None,
    redact: Callable[[str], str] = str,
    policy: NotifierPolicy = NotifierPolicy(),  # noqa: B008 - frozen
    rate_limiter: RateLimiter | None = None,
    observer: Observer | None = None,
    give_up_after: float = 86_400.0,
) -> DeliveryWorker:
    """Returns a worker without jitter that gives up after a day and waits 5 minutes at most."""
    context = WorkerContext(
        store=store,
        settings=RetrySettings(backoff_max=300.0, give_up_after=give_up_after),
        observer=observer or Observer(),
        redact=redact,
        wall=wall or clock.time,
        jitter=lambda: 0.0,
    )
    return DeliveryWorker(notifier, policy, rate_limiter or RateLimiter(notifier.min_interval), context)


E = TypeVar("E", RequestEvent, DigestEvent, AppEvent, AppGroupEvent, NotifierEvent)


def event_of(delivery: Delivery, kind: type[E]) -> E:
    """Returns the event of a delivery, which is of this kind."""
    assert isinstance(delivery.event, kind)
    return delivery.event


def reminder_of(event: Event) -> Reminder | None:
    """Returns which reminder an event is, if it is one."""
    return event.reminder if isinstance(event, RequestEvent | DigestEvent) else None


def run_ids(deliveries: Sequence[Delivery]) -> list[str]:
    """Returns the runs that deliveries are about."""
    return [delivery.event.run.id for delivery in deliveries if isinstance(delivery.event, RequestEvent)]
