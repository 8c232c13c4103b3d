"""The durable memory: which requests are known, who is to be told of what, how the apps are.

`Store` offers units of work, each one function on one thread and one transaction; a crash at any instant
leaves either all of it or nothing. Nothing of SQLite shows in its interface.
"""

import asyncio
import json
import math
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from watcher.models import App, DeliveryRecord, NewRequest, ResolvedRequest, Route
from watcher.store import digests, incidents, newcomers, outbox, reminders, requests
from watcher.store.connection import (
    DatabaseLock,
    StoreError,
    StoreInUse,
    StoreUnavailable,
    StoreUnusable,
    committed,
    open_writer,
)
from watcher.store.results import (
    AppState,
    Claim,
    Dead,
    IncidentChange,
    NotifierPolicy,
    RecordResult,
    Result,
    Retry,
    Sent,
)

__all__ = [
    "AppState",
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
    "StoreUnavailable",
    "StoreUnusable",
]

PRUNE_BATCH = 5000

T = TypeVar("T")


class Store:
    """The database of one daemon. Every method may raise StoreError, and has then changed nothing."""

    def __init__(self, path: Path, new_id: Callable[[float], str]) -> None:
        """Takes the database for this process; `new_id` makes the id of an event that happens at a time.

        Raises:
            StoreInUse: another process has it.
            StoreUnusable: it is damaged, of a newer version, or cannot be written.
        """
        self._new_id = new_id
        self._lock = DatabaseLock(path)
        try:
            self._connection = open_writer(path)
        except StoreError:
            self._lock.release()
            raise
        # What was given out and not settled yet. It dies with the process, and so do those sends.
        self._in_flight: set[int] = set()
        self._unseen: set[str] = set()
        self._unwatched: set[str] = set()
        self._left_over = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def close(self) -> None:
        """Waits for the unit of work under way and gives the database back."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
        self._thread.shutdown()
        self._lock.release()

    async def app_state(self, app: str) -> AppState:
        """Returns what is known of an app before it is polled."""
        return await self._run(partial(requests.load_app, app=app))

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
        """Records requests that are new and that ended, together with the deliveries that tell of them.

        Without `announce` new requests are recorded and nobody is told. Returns what was really news.
        """
        return await self._run(
            partial(
                requests.record_changes,
                app=app,
                routes=routes,
                new=new,
                ended=ended,
                announce=announce,
                in_flight=self._in_flight,
                now=now,
                new_id=self._new_id,
            )
        )

    async def hold_until_polled(self, apps: Collection[str]) -> None:
        """Gives out nothing of what another process left about these apps until they are said to be seen.

        Much of it may be over by now, which their first poll will tell. What it left about other apps, which
        nobody watches any more, is kept for when they are configured again.
        """
        self._left_over, known = await self._run(outbox.leftover_deliveries)
        self._unwatched = known - set(apps)
        self._unseen = known & set(apps)

    def mark_polled(self, app: str | None = None) -> bool:
        """An app was polled, or (None) no poll is waited for; returns whether that lets anything go."""
        let_go = self._unseen if app is None else self._unseen & {app}
        self._unseen = self._unseen - let_go
        return bool(let_go)

    async def release_held(self, app: str, *, digest_above: int, now: float) -> bool:
        """Lets go what is held for the end of a poll of an app; more than so many as one digest.

        Returns whether there was anything.
        """
        return await self._run(
            partial(digests.release_held, app=app, above=digest_above, now=now, new_id=self._new_id)
        )

    async def backfill_new_notifiers(
        self, audiences: Sequence[tuple[App, Sequence[Route]]], *, now: float
    ) -> dict[str, int]:
        """Lets those be told of what waits who were configured after it was seen.

        `audiences` are the apps, each with how its notifiers are told. Returns of how many requests, by
        notifier.
        """
        return await self._run(
            partial(newcomers.backfill_new_notifiers, audiences=audiences, now=now, new_id=self._new_id)
        )

    async def plan_reminders(
        self, ages: Mapping[str, Sequence[float]], apps: Mapping[str, Collection[str]], *, now: float
    ) -> list[DeliveryRecord]:
        """Brings reminders in line with the configuration: `ages` by notifier, the notifiers of each app.

        Returns the reminders that are not wanted any more.
        """
        return await self._run(
            partial(reminders.replan_reminders, ages=ages, apps=apps, now=now, new_id=self._new_id)
        )

    async def record_success(
        self, app: App, routes: Sequence[Route], *, invisible: frozenset[str], now: float
    ) -> IncidentChange:
        """Records that an app was polled whole; returns the failure that passed, if it was told of."""
        return await self._run(
            partial(
                requests.record_success,
                app=app,
                routes=routes,
                invisible=invisible,
                in_flight=self._in_flight,
                now=now,
                new_id=self._new_id,
            )
        )

    async def record_failure(
        self,
        app: App,
        routes: Sequence[Route],
        *,
        status: int | None,
        code: str,
        message: str,
        since: float,
        alert_after: float,
        now: float,
    ) -> IncidentChange:
        """Records that an app could not be polled; returns the failure if it is to be told of from now on."""
        return await self._run(
            partial(
                requests.record_failure,
                app=app,
                routes=routes,
                status=status,
                code=code,
                message=message,
                since=since,
                alert_after=alert_after,
                now=now,
                new_id=self._new_id,
            )
        )

    async def settle_and_claim(
        self,
        notifier: str,
        results: Sequence[Result],
        *,
        limit: int,
        now: float,
        pause_until: float | None = None,
        terms: NotifierPolicy = NotifierPolicy(),  # noqa: B008 - frozen
        due_by: float = math.inf,
    ) -> Claim:
        """Records what became of sends and gives out up to `limit` more that are due, in one transaction.

        Nothing is given out that became due only after `due_by`; when to ask again is then nobody's question.
        """
        settled = {result.delivery for result in results}
        withheld = outbox.Withheld(self._left_over, json.dumps(list(self._unseen | self._unwatched)))

        def work(connection: sqlite3.Connection) -> Claim:
            in_flight = self._in_flight - settled
            stale = outbox.settle(connection, results, terms, now=now, new_id=self._new_id)
            recovered, over = incidents.record_results(
                connection, notifier, results, terms, in_flight=in_flight, now=now, new_id=self._new_id
            )
            failing = incidents.announce_due(connection, notifier, terms, now=now, new_id=self._new_id)
            claimed = outbox.claim(
                connection,
                notifier=notifier,
                limit=limit,
                pause_until=pause_until,
                in_flight=in_flight,
                withheld=withheld,
                now=min(now, due_by),
            )
            return replace(
                claimed,
                wake_at=claimed.wake_at if math.isinf(due_by) else None,
                superseded=(*stale, *over),
                failing=failing,
                recovered=recovered,
            )

        def remember(claimed: Claim) -> None:
            self._in_flight -= settled
            self._in_flight |= {delivery.id for delivery in claimed.deliveries}

        return await self._run(work, remember)

    async def undelivered(
        self, apps: Sequence[str], notifiers: Sequence[str], *, now: float, untried: bool = False
    ) -> int:
        """Returns how many deliveries about these apps, or none, should have been sent by these notifiers.

        With `untried` only those that were not even tried.
        """
        return await self._run(
            partial(outbox.undelivered, apps=apps, notifiers=notifiers, untried=untried, now=now)
        )

    async def dead_letter_removed(self, notifiers: Sequence[str], *, now: float) -> list[DeliveryRecord]:
        """Gives up, and returns, the deliveries of notifiers that are not among these."""
        return await self._run(partial(outbox.dead_letter_removed, notifiers=notifiers, now=now))

    async def shift_timestamps(self, seconds: float) -> None:
        """Moves everything that is to be sent, and every pause, by as much as the clock was set."""
        await self._run(partial(outbox.shift_timestamps, seconds=seconds))

    async def prune(self, *, before: float) -> int:
        """Deletes what ended before a time, in batches; returns how many rows."""
        total = 0
        while deleted := await self._run(partial(requests.prune, before=before, limit=PRUNE_BATCH)):
            total += deleted
        return total

    async def _run(
        self, work: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None = None
    ) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work, then)

    def _transaction(self, work: Callable[[sqlite3.Connection], T], then: Callable[[T], None] | None) -> T:
        with committed(self._connection):
            result = work(self._connection)
        if then is not None:
            then(result)
        return result
