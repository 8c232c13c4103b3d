"""A delivery worker: claims the due deliveries of one notifier, sends them, settles the results.

The worker sleeps until something is recorded, a send ends, or the next attempt is due. It settles the
results of its sends in the transaction that claims more, so a crash repeats at most the sends under way.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from watcher.delivery.rate_limit import RateLimiter
from watcher.delivery.retry import FIRST_RETRY, RetrySettings, after_failure
from watcher.hooks import DeliveryOutcome, Observer
from watcher.logs import log_superseded
from watcher.messages import format_timestamp
from watcher.models import Delivery, DigestEvent, MessageRef, RequestEvent
from watcher.notifiers.base import DeliveryError, Notifier
from watcher.sanitize.secrets import SecretError
from watcher.store import Claim, Dead, NotifierPolicy, Result, Sent, Store, StoreUnavailable

CLAIM_INTERVAL: Final = 5.0
"""Seconds after which a worker claims again anyway: `watcher retry` changes the database from outside."""
CLAIMS_REFUSED_MAX: Final = 60
"""How often in a row `watcher once` asks a database that is unavailable, every `FIRST_RETRY`."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What all workers share. `wall` returns Unix time, `jitter` random numbers in [0, 1)."""

    store: Store
    settings: RetrySettings
    observer: Observer
    redact: Callable[[str], str]
    wall: Callable[[], float]
    jitter: Callable[[], float]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The results of a send, one for each delivery that it makes, and until when it pauses the notifier."""

    results: tuple[Result, ...]
    pause_until: float | None = None


class DeliveryWorker:
    """Delivers for one notifier."""

    def __init__(
        self, notifier: Notifier, policy: NotifierPolicy, rate_limiter: RateLimiter, context: WorkerContext
    ) -> None:
        """`rate_limiter` is shared by the workers whose notifiers have the same `rate_limit_key`."""
        self.name = notifier.name
        self._notifier = notifier
        self._policy = policy
        self._rate_limiter = rate_limiter
        self._context = context
        self._woken = asyncio.Event()
        self._sends: set[asyncio.Task[_Outcome]] = set()
        self._stopping = False
        self._claims_refused = 0
        self._log = structlog.get_logger().bind(notifier=notifier.name)

    def wake(self) -> None:
        """Makes the worker claim now: deliveries were recorded."""
        self._woken.set()

    def stop(self) -> None:
        """Makes the worker claim nothing more; `run` returns when the sends under way have ended."""
        self._stopping = True
        self._woken.set()

    async def run(self, *, until_idle: bool = False) -> None:
        """Sends what is due until stopped; with `until_idle`, sends all that is due now, each once.

        Raises:
            StoreUnusable: the database can no longer be used.
            StoreUnavailable: with `until_idle`, it stayed unavailable.
        """
        loop = asyncio.get_running_loop()
        due_by = self._context.wall() if until_idle else math.inf
        done: list[_Outcome] = []
        try:
            while True:
                self._woken.clear()
                self._context.observer.set_deadline(f"notifier {self.name}", CLAIM_INTERVAL)
                free = 0 if self._stopping else self._notifier.max_concurrency - len(self._sends)
                may_send = free > 0 and self._rate_limiter.take(loop.time(), self.wake)
                claim = await self._settle_and_claim(done, free if may_send else 0, due_by)
                done = [] if claim is not None else done
                if self._start_sends(claim):
                    self._rate_limiter.started(loop.time())
                elif may_send:
                    self._rate_limiter.give_back()
                if not self._sends and claim is not None and (self._stopping or (until_idle and may_send)):
                    return
                done += await self._wait_for_work(claim, rate_limited=free > 0 and not may_send)
        finally:
            for send in self._sends:
                send.cancel()

    async def _settle_and_claim(self, done: Sequence[_Outcome], limit: int, due_by: float) -> Claim | None:
        """Returns None if the database is unavailable; the same results are settled with the next claim."""
        pauses = [outcome.pause_until for outcome in done if outcome.pause_until is not None]
        results = [result for outcome in done for result in outcome.results]
        try:
            claim = await self._context.store.settle_and_claim(
                self.name,
                results,
                limit=limit,
                now=self._context.wall(),
                pause_until=max(pauses, default=None),
                policy=self._policy,
                due_by=due_by,
            )
        except StoreUnavailable as error:
            self._log.error("outbox.unavailable", error=str(error), unsaved=len(results))
            self._claims_refused += 1
            if due_by < math.inf and self._claims_refused >= CLAIMS_REFUSED_MAX:
                raise
            return None
        self._claims_refused = 0
        log_superseded(claim.superseded)
        if claim.failing is not None:
            self._log.error(
                "notifier.failing",
                error=claim.failing.message,
                since=format_timestamp(claim.failing.since),
                undelivered=claim.failing.undelivered,
            )
        if claim.recovered is not None:
            self._log.info("notifier.recovered", since=format_timestamp(claim.recovered.since))
        if claim.revived:
            self._log.info("notifier.caught_up", announcements=claim.revived)
        self._context.observer.superseded(claim.superseded)
        return claim

    def _start_sends(self, claim: Claim | None) -> bool:
        deliveries = claim.deliveries if claim is not None else ()
        self._sends.update(asyncio.create_task(self._send(delivery)) for delivery in deliveries)
        return bool(deliveries)

    async def _wait_for_work(self, claim: Claim | None, *, rate_limited: bool) -> list[_Outcome]:
        """Waits for the first reason to go on, and returns the outcomes of the sends that have ended.

        `rate_limited` says that only the rate limiter kept the worker from claiming more.
        """
        waits = [CLAIM_INTERVAL if claim is not None else FIRST_RETRY]
        if claim is not None and claim.wake_at is not None:
            waits.append(claim.wake_at - self._context.wall())
        if rate_limited and (wait := self._rate_limiter.wait(asyncio.get_running_loop().time())) is not None:
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
        try:
            ref = await self._notifier.send(self._as_of_now(delivery))
        except DeliveryError as error:
            return self._failure(delivery, error)
        except SecretError as error:  # no fix: a file that is replaced is missing for a moment
            return self._failure(delivery, DeliveryError(str(error)))
        except Exception as error:  # noqa: BLE001 - a bug in a notifier must not lose the alert
            self._bound(delivery, delivery.id).exception("delivery.unexpected_error")
            return self._failure(delivery, DeliveryError(f"unexpected {type(error).__name__}"))
        finally:
            self._rate_limiter.give_back()
        redacted = {name: self._context.redact(value) for name, value in ref.values.items()} if ref else {}
        receipt = MessageRef(redacted) if redacted else None
        for number in (delivery.id, *delivery.together_with):
            self._bound(delivery, number).info("delivery.sent")
            self._report(delivery, "sent")
        return _Outcome(tuple(Sent(number, receipt) for number in (delivery.id, *delivery.together_with)))

    def _as_of_now(self, delivery: Delivery) -> Delivery:
        """Returns a delivery for people as of now: with the present age and the time of the next reminder."""
        event, now = delivery.event, self._context.wall()
        if not self._notifier.for_people or not isinstance(event, RequestEvent | DigestEvent):
            return delivery
        since = event.first_seen_at if isinstance(event, RequestEvent) else event.digest.oldest
        ages = self._policy.remind_after if self._policy.covers(event.app.name) else ()
        coming = [since + age for age in ages[event.reminder.number if event.reminder else 0 :]]
        ahead = next((at for at in coming if at > now), None)
        return replace(delivery, event=replace(event, at=now, next_reminder_at=ahead))

    def _failure(self, delivery: Delivery, error: DeliveryError) -> _Outcome:
        now = self._context.wall()
        message = self._context.redact(str(error))
        fix = {"fix": error.fix} if error.fix else {}
        settings, jitter = self._context.settings, self._context.jitter()
        result = after_failure(delivery, error, settings, message=message, now=now, jitter=jitter)
        results = tuple(replace(result, delivery=number) for number in (delivery.id, *delivery.together_with))
        for each in results:
            log = self._bound(delivery, each.delivery)
            if isinstance(each, Dead):
                log.error("delivery.dead", error=message, **fix)
                self._report(delivery, "dead")
            else:
                log.warning("delivery.retry", error=message, next_attempt_in=round(each.at - now, 3), **fix)
                self._report(delivery, "retry")
        if error.retry_after is None or not error.pauses:
            return _Outcome(results)
        self._log.warning("notifier.paused", seconds=round(error.retry_after, 3))
        return _Outcome(results, now + error.retry_after)

    def _bound(self, delivery: Delivery, number: int) -> structlog.typing.FilteringBoundLogger:
        bound: structlog.typing.FilteringBoundLogger = self._log.bind(
            delivery=number, event_type=delivery.event.type, attempt=delivery.attempt
        )
        return bound

    def _report(self, delivery: Delivery, outcome: DeliveryOutcome) -> None:
        event = delivery.event
        latency = self._context.wall() - event.first_seen_at if isinstance(event, RequestEvent) else None
        self._context.observer.delivery_ended(self.name, event.type, outcome, latency)
