"""The durable memory: the known requests, the outbox, and the incidents of apps and notifiers.

`Store` offers units of work, each one function on one thread and one transaction; a crash at any instant
leaves either all of it or nothing. No kind of database shows in its interface.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from watcher.models import (
    App,
    AppEvent,
    AppGroupEvent,
    DeliveryRecord,
    DigestEvent,
    Event,
    Failure,
    NewRequest,
    RequestEvent,
    ResolvedRequest,
    Route,
)
from watcher.store import backfill, clock, digests, outbox, pruning, reminders, requests, revival
from watcher.store.clock import Boot
from watcher.store.errors import (
    StoreError,
    StoreInUse,
    StoreLost,
    StoreRejected,
    StoreUnavailable,
    StoreUnusable,
)
from watcher.store.results import (
    AppFailure,
    AppState,
    Claim,
    ClaimRequest,
    Dead,
    IncidentChange,
    NotifierPolicy,
    RecordResult,
    Result,
    Retry,
    Sent,
)
from watcher.store.sql import Connection, Transaction

__all__ = [
    "AppFailure",
    "AppState",
    "Boot",
    "Claim",
    "Dead",
    "IncidentChange",
    "NotifierPolicy",
    "RecordResult",
    "Result",
    "Retry",
    "Sent",
    "Store",
    "StoreError",
    "StoreInUse",
    "StoreLost",
    "StoreRejected",
    "StoreUnavailable",
    "StoreUnusable",
]

PRUNE_BATCH = 5000

T = TypeVar("T")


class Store:
    """The database of one daemon. Every method may raise StoreError, and has then changed nothing."""

    def __init__(self, connection: Connection, new_event_id: Callable[[float], str]) -> None:
        """`new_event_id` makes the id of an event that happens at a time."""
        self._connection = connection
        self._new_event_id = new_event_id
        # They die with the process, and so do the sends under way.
        self._claimed_ids: frozenset[int] = frozenset()
        self._unpolled: set[str] = set()
        self._unwatched: set[str] = set()
        self._leftover = 0
        self._recorded_before = clock.ALL
        self._served: dict[str, dict[str, None]] = {}  # by notifier the apps, the one served last is last
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def close(self) -> None:
        """Waits for the unit of work under way and gives the database back."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()

    def displaced(self) -> str | None:
        """Returns why the database is not where a new process looks for it, None if it is; on any thread."""
        return self._connection.displaced()

    async def app_state(self, app: str) -> AppState:
        """Returns what is known of an app before it is polled."""
        return await self._run(lambda tx: requests.load_app(tx, app), reading=True)

    async def ended_among(self, app: str, questions: Collection[requests.Question]) -> set[requests.Question]:
        """Returns those of an app's questions that were asked before and have ended."""
        return await self._run(lambda tx: requests.ended_among(tx, app, questions), reading=True)

    async def record_changes(
        self,
        app: App,
        routes: Sequence[Route],
        *,
        now: float,
        new: Iterable[NewRequest] = (),
        ended: Iterable[ResolvedRequest] = (),
        announce: bool = True,
    ) -> RecordResult:
        """Records requests that are new and requests that ended, each with its deliveries.

        Without `announce` new requests are recorded and not announced. Returns what was really news.
        """
        return await self._run(
            lambda tx: requests.record_changes(tx, app, routes, new=new, ended=ended, announce=announce), now
        )

    async def hold_until_polled(self, apps: Collection[str]) -> None:
        """Holds what another process left about these apps until each was polled.

        Much of it may be over by now, which their first poll shows. What it left about other apps, which are
        no longer watched, is kept until they are configured again.
        """
        self._leftover, known = await self._run(outbox.leftover_deliveries, reading=True)
        self._unwatched = known - set(apps)
        self._unpolled = known & set(apps)

    def mark_polled(self, app: str | None = None) -> bool:
        """Ends the hold for an app that was polled, or (None) for all; returns whether anything was held."""
        polled = self._unpolled if app is None else self._unpolled & {app}
        self._unpolled = self._unpolled - polled
        return bool(polled)

    async def release_held(self, app: str, *, digest_above: int, now: float) -> frozenset[str]:
        """Releases what is held for the end of a poll of an app; more than so many become one digest.

        Returns the notifiers that have something new to claim.
        """
        return await self._run(lambda tx: digests.release_held(tx, app, above=digest_above), now)

    async def backfill_new_notifiers(
        self, audiences: Sequence[tuple[App, Sequence[Route]]], *, now: float
    ) -> dict[str, int]:
        """Announces pending requests to the notifiers that were configured after they were seen.

        `audiences` are the apps, each with its routes. Returns counts by notifier.
        """
        return await self._run(lambda tx: backfill.backfill_new_notifiers(tx, audiences), now)

    async def reschedule_announcements(
        self, audiences: Sequence[tuple[App, Sequence[Route]]], *, now: float
    ) -> None:
        """Brings the times of announcements that were not tried in line with the configuration."""
        await self._run(lambda tx: backfill.reschedule_announcements(tx, audiences), now)

    async def plan_reminders(
        self, ages: Mapping[str, Sequence[float]], apps: Mapping[str, Collection[str]], *, now: float
    ) -> list[DeliveryRecord]:
        """Brings reminders in line with the configuration: `ages` by notifier, the notifiers of each app.

        Returns the reminders that are not wanted any more.
        """
        return await self._run(lambda tx: reminders.replan_reminders(tx, ages, apps), now)

    async def record_success(
        self, app: App, routes: Sequence[Route], *, invisible: Collection[str], now: float
    ) -> IncidentChange[Failure]:
        """Records that an app was polled whole; returns the failure that passed, if it was announced.

        Not needed where `AppState.success_is_news` says so and no failure was recorded meanwhile.
        """
        return await self._run(lambda tx: requests.record_success(tx, app, routes, invisible=invisible), now)

    async def record_failure(
        self, app: App, routes: Sequence[Route], failure: AppFailure, *, alert_after: float, now: float
    ) -> IncidentChange[Failure]:
        """Records that an app could not be polled; returns the failure if that announced it."""
        return await self._run(
            lambda tx: requests.record_failure(tx, app, routes, failure, alert_after=alert_after), now
        )

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
        """Records what became of sends and claims up to `limit` more that are due, in one transaction.

        With `due_by` none is claimed that becomes due later, and the claim does not say when to ask again.
        """
        withheld = self._unpolled | self._unwatched
        served = self._served.setdefault(notifier, {})
        wanted = ClaimRequest(limit, pause_until, due_by, self._leftover, withheld, tuple(served))
        claim = await self._run(
            lambda tx: outbox.settle_and_claim(tx, notifier, results, policy, wanted), now
        )
        for app in (app for delivery in claim.deliveries for app in _apps_of(delivery.event)):
            served.pop(app, None)
            served[app] = None
        return claim

    async def undelivered(
        self, apps: Sequence[str], notifiers: Sequence[str], *, now: float, untried: bool = False
    ) -> int:
        """Returns how many deliveries, about these apps or about no app, are due for these notifiers.

        With `untried` only those that were not even tried.
        """
        return await self._run(lambda tx: outbox.undelivered(tx, apps, notifiers, untried=untried), now)

    async def dead_letter_removed(self, notifiers: Sequence[str], *, now: float) -> list[DeliveryRecord]:
        """Gives up, and returns, the deliveries of notifiers that are not among these."""
        return await self._run(lambda tx: outbox.dead_letter_removed(tx, notifiers), now)

    async def check_clock(self, boot: Boot | None, *, longest_wait: float, now: float) -> float:
        """Corrects what an earlier process recorded by a wrong clock; returns by how much it was set.

        `boot` is None if the times are not this machine's.
        """
        step, self._recorded_before = await self._run(lambda tx: clock.check(tx, boot, longest_wait), now)
        return step

    async def shift_timestamps(self, seconds: float) -> None:
        """Moves everything that waits by as much as the clock was set, so that each wait stays as long.

        The first time after the machine started that corrects a clock that was wrong from the start: what an
        earlier boot recorded stays.
        """
        await self._run(lambda tx: clock.shift(tx, seconds, self._recorded_before))
        self._recorded_before = clock.ALL

    async def revive_dead(self, policies: Mapping[str, NotifierPolicy], *, now: float) -> dict[str, int]:
        """Announces to people what was given up and is still pending; returns the number by notifier."""

        def work(tx: Transaction) -> dict[str, int]:
            return {name: revival.revive_dead(tx, name, policy) for name, policy in policies.items()}

        return {name: number for name, number in (await self._run(work, now)).items() if number}

    async def prune(self, *, before: float) -> int:
        """Deletes what ended before a time, in batches; returns how many rows."""
        total = 0
        while deleted := await self._run(lambda tx: pruning.prune(tx, before, PRUNE_BATCH)):
            total += deleted
        return total

    async def _run(
        self, work: Callable[[Transaction], T], now: float = math.nan, *, reading: bool = False
    ) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._transact, work, now, reading)

    def _transact(self, work: Callable[[Transaction], T], now: float, reading: bool) -> T:  # noqa: FBT001
        connection, claimed_ids = self._connection, self._claimed_ids
        with connection.reading() if reading else connection.transaction() as sql:
            tx = Transaction(sql, now=now, new_event_id=self._new_event_id, claimed_ids=claimed_ids)
            result = work(tx)
        self._claimed_ids = tx.claimed_ids
        return result


def _apps_of(event: Event) -> list[str]:
    """Returns the apps that an event is about."""
    match event:
        case RequestEvent() | DigestEvent() | AppEvent():
            return [event.app.name]
        case AppGroupEvent():
            return [app.name for app, _ in event.failures]
        case _:
            return []
