"""Drains the outbox: one lane for each notifier, so that one's trouble is never another's.

A lane sleeps until something was recorded, a send ends, or the next attempt is due. It records what became
of its sends before it takes more, so a crash can repeat only the sends that were under way.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from watcher.backoff import backoff
from watcher.delivery.rate_limit import RateLimiter
from watcher.hooks import DeliveryOutcome, Observer
from watcher.logs import log_superseded
from watcher.messages import format_timestamp
from watcher.models import Delivery, MessageRef, RequestEvent
from watcher.notifiers.base import DeliveryError, Notifier
from watcher.sanitize.secrets import SecretError
from watcher.store import Claim, Dead, NotifierPolicy, Result, Retry, Sent, Store, StoreUnavailable

FIRST_RETRY: Final = 1.0
"""Seconds after the first failure, before jitter."""
CLAIM_INTERVAL: Final = 5.0
"""Seconds after which a lane looks anyway: `watcher retry` writes to the database from another process."""
LONGEST: Final = 64
"""A count of failures that leads to the longest wait at once."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """What all lanes share, in seconds."""

    backoff_max: float
    give_up_after: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    result: Result
    pause_until: float | None = None


def after_failure(
    delivery: Delivery,
    error: DeliveryError,
    settings: DeliverySettings,
    *,
    words: str,
    now: float,
    jitter: float,
) -> Retry | Dead:
    """Returns when a failed delivery is tried again, or that it is given up.

    The last attempt is made when giving up is due, not long before it and never after it alone.
    """
    give_up_at = delivery.due_at + settings.give_up_after
    if now >= give_up_at:
        return Dead(delivery.id, words, error.doubtful)
    failures = LONGEST if error.fix else delivery.attempt
    wait = error.retry_after or backoff(
        failures,
        base=min(FIRST_RETRY, settings.backoff_max),
        maximum=settings.backoff_max,
        jitter=jitter,
    )
    return Retry(delivery.id, words, min(now + wait, give_up_at), error.doubtful)


class DeliveryWorker:
    """The deliveries of one notifier."""

    def __init__(
        self,
        notifier: Notifier,
        store: Store,
        settings: DeliverySettings,
        terms: NotifierPolicy,
        pace: RateLimiter,
        *,
        observer: Observer,
        scrub: Callable[[str], str],
        wall: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """`wall` gives the Unix time, `jitter` random numbers in [0, 1)."""
        self.name = notifier.name
        self._notifier = notifier
        self._store = store
        self._settings = settings
        self._terms = terms
        self._pace = pace
        self._observer = observer
        self._scrub = scrub
        self._wall = wall
        self._jitter = jitter
        self._woken = asyncio.Event()
        self._sends: set[asyncio.Task[_Outcome]] = set()
        self._stopping = False
        self._log = log.bind(notifier=notifier.name)

    def wake(self) -> None:
        """Something was recorded."""
        self._woken.set()

    def stop(self) -> None:
        """Takes no more; `run` returns when the sends under way have ended."""
        self._stopping = True
        self._woken.set()

    async def run(self, *, until_idle: bool = False) -> None:
        """Sends what is due until stopped; with `until_idle`, all that is due now, each once.

        Raises:
            StoreUnusable: the database cannot be used any more.
        """
        loop = asyncio.get_running_loop()
        due_by = self._wall() if until_idle else math.inf
        done: list[_Outcome] = []
        try:
            while True:
                self._woken.clear()
                self._observer.set_deadline(f"notifier {self.name}", CLAIM_INTERVAL)
                free = 0 if self._stopping else self._notifier.max_concurrency - len(self._sends)
                go = free > 0 and self._pace.take(loop.time(), self.wake)
                claim = await self._settle_and_claim(done, free if go else 0, due_by)
                done = [] if claim is not None else done
                started = self._start(claim)
                if started:
                    self._pace.started(loop.time())
                elif go:
                    self._pace.give_back()
                if not self._sends and claim is not None and (self._stopping or (until_idle and go)):
                    return
                done += await self._wait_for_work(claim, paced=free > 0 and not go)
        finally:
            for send in self._sends:
                send.cancel()

    def _start(self, claim: Claim | None) -> bool:
        deliveries = claim.deliveries if claim is not None else ()
        self._sends.update(asyncio.create_task(self._send(delivery)) for delivery in deliveries)
        return bool(deliveries)

    async def _settle_and_claim(self, done: Sequence[_Outcome], limit: int, due_by: float) -> Claim | None:
        """Returns None when the database did not take it now; nothing is lost, it is offered again."""
        pauses = [outcome.pause_until for outcome in done if outcome.pause_until is not None]
        try:
            claim = await self._store.settle_and_claim(
                self._notifier.name,
                [outcome.result for outcome in done],
                limit=limit,
                now=self._wall(),
                pause_until=max(pauses, default=None),
                terms=self._terms,
                due_by=due_by,
            )
        except StoreUnavailable as error:
            self._log.error("delivery.record_failed", error=str(error))
            return None
        log_superseded(claim.superseded)
        if claim.failing is not None:
            since, waiting = format_timestamp(claim.failing.since), claim.failing.undelivered
            self._log.error("notifier.failing", error=claim.failing.message, since=since, undelivered=waiting)
        if claim.recovered is not None:
            self._log.info("notifier.recovered", since=format_timestamp(claim.recovered.since))
        self._observer.superseded(claim.superseded)
        return claim

    async def _wait_for_work(self, claim: Claim | None, *, paced: bool) -> list[_Outcome]:
        """Waits for the first reason to go on, and returns the sends that have ended.

        With `paced` more would have been sent, but for the pace.
        """
        waits = [CLAIM_INTERVAL if claim is not None else FIRST_RETRY]
        if claim is not None and claim.wake_at is not None:
            waits.append(claim.wake_at - self._wall())
        if paced and (wait := self._pace.wait(asyncio.get_running_loop().time())) is not None:
            waits.append(wait)
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait(
                {*self._sends, woken}, timeout=max(min(waits), 0.0), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            woken.cancel()
        ended = {send for send in self._sends if send.done()}
        self._sends -= ended
        return [send.result() for send in ended]

    async def _send(self, delivery: Delivery) -> _Outcome:
        note = self._log.bind(delivery=delivery.id, event_type=delivery.event.type, attempt=delivery.attempt)
        try:
            try:
                receipt = await self._notifier.send(delivery)
            finally:
                self._pace.give_back()
        except DeliveryError as error:
            return self._failure(delivery, error, note)
        except SecretError as error:
            return self._failure(delivery, DeliveryError(str(error), fix="make the file readable"), note)
        except Exception as error:  # noqa: BLE001 - a slip in a notifier must not lose the alert
            note.error("delivery.unexpected_error", exc_info=True)
            return self._failure(delivery, DeliveryError(f"unexpected {type(error).__name__}"), note)
        note.info("delivery.sent")
        self._observe(delivery, "sent")
        safe = {name: self._scrub(value) for name, value in receipt.values.items()} if receipt else None
        return _Outcome(Sent(delivery.id, MessageRef(safe) if safe else None))

    def _failure(
        self, delivery: Delivery, error: DeliveryError, note: structlog.typing.FilteringBoundLogger
    ) -> _Outcome:
        now = self._wall()
        words = self._scrub(str(error))
        fix = {"fix": error.fix} if error.fix else {}
        result = after_failure(delivery, error, self._settings, words=words, now=now, jitter=self._jitter())
        if isinstance(result, Dead):
            note.error("delivery.dead", error=words, **fix)
            self._observe(delivery, "dead")
        else:
            note.warning("delivery.retry", error=words, next_attempt_in=round(result.at - now, 3), **fix)
            self._observe(delivery, "retry")
        if error.retry_after is None:
            return _Outcome(result)
        self._log.warning("notifier.paused", seconds=round(error.retry_after, 3))
        return _Outcome(result, now + error.retry_after)

    def _observe(self, delivery: Delivery, outcome: DeliveryOutcome) -> None:
        event = delivery.event
        latency = self._wall() - event.first_seen_at if isinstance(event, RequestEvent) else None
        self._observer.delivery_ended(self.name, event.type, outcome, latency)


class Dispatcher:
    """All lanes."""

    def __init__(self, lanes: Sequence[DeliveryWorker]) -> None:
        self._lanes = lanes

    def wake(self) -> None:
        """Deliveries were recorded."""
        for lane in self._lanes:
            lane.wake()

    async def run(self, *, until_idle: bool = False) -> None:
        """Runs every lane; see `Lane.run`."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run(until_idle=until_idle))

    def stop(self) -> None:
        """Lets every lane finish the sends that are under way."""
        for lane in self._lanes:
            lane.stop()
