"""Announces that an app cannot be polled, on time: also during a wait or in the middle of a poll."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from watcher.messages import format_timestamp
from watcher.models import App, Route
from watcher.polling.context import PollContext
from watcher.runs_api.errors import ApiError, TimedOut
from watcher.store import AppFailure, StoreUnavailable, StoreUnusable


class FailureTimer:
    """Records the failures of one app, and announces them when they have lasted `alert_after`."""

    def __init__(self, app: App, routes: Sequence[Route], context: PollContext) -> None:
        """A poll that alone lasts longer than `alert_after` and than one call may take counts as failing.

        `recorded` says that a failure was recorded since the last success.
        """
        self._app = app
        self._routes = routes
        self._context = context
        self._poll_patience = max(context.settings.alert_after, context.settings.request_timeout)
        self.recorded = False
        self._since = context.wall()
        self._failure: ApiError | None = None
        self._due_at: float | None = None
        self._alarm = _Alarm(self._announce)
        self._log = structlog.get_logger().bind(app=app.name)

    def poll_begins(self) -> None:
        """Starts the timer: a poll is under way."""
        if self._failure is None:
            self._due_at = self._context.wall() + self._poll_patience
        self._set_alarm()

    def shift_clock(self, seconds: float) -> None:
        """Follows the wall clock, which was set by so many seconds: the failure lasts as long as before."""
        self._since += seconds
        if self._due_at is not None:
            self._due_at += seconds

    def slept(self, seconds: float) -> None:
        """Leaves out the time for which the machine slept: nothing could be polled, and nothing failed."""
        if self._failure is None:
            self._since += seconds

    async def cancel(self) -> None:
        """Stops the timer, and waits for an announcement that is being recorded."""
        await self._alarm.cancel()

    def succeeded(self) -> None:
        """Forgets the failure: the app was polled, and the store has recorded it."""
        self._since = self._context.wall()
        self._failure = None
        self.recorded = False

    async def failed(self, error: ApiError) -> None:
        """Records a failed poll, and announces it now or as soon as the failure has lasted long enough.

        Raises:
            StoreUnusable: the database can no longer be used.
        """
        await self._alarm.cancel()
        self._failure = error
        await self._record(error, self._context.wall())
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._due_at is not None:
            self._alarm.set(max(self._due_at - self._context.wall(), 0.0))

    async def _announce(self) -> None:
        if self._due_at is None:  # another call announced it while this one waited for its turn
            return
        error = self._failure or TimedOut("the poll has not ended yet")
        try:
            await self._record(error, max(self._context.wall(), self._due_at))
        except StoreUnusable as unusable:  # the poll ends with the same error
            self._log.error("poll.record_failed", error=str(unusable))

    async def _record(self, error: ApiError, now: float) -> None:
        code, message = self._context.redact(error.code), self._context.redact(error.message)
        failure = AppFailure(error.status, code, message, self._since)
        alert_after = self._context.settings.alert_after
        self.recorded = True
        try:
            change = await self._context.store.record_failure(
                self._app, self._routes, failure, alert_after=alert_after, now=now
            )
        except StoreUnavailable as unavailable:
            self._log.error("poll.record_failed", error=str(unavailable))
            return
        self._due_at = change.alert_at
        if change.failure is not None:
            self._log.error(
                "app.failing",
                code=code,
                error=message,
                since=format_timestamp(change.failure.since),
                pending=change.failure.pending_known,
            )
            self._context.wake(change.notifiers)


class _Alarm:
    """Calls a function at a later time, unless it is cancelled, or set to another time, before."""

    def __init__(self, act: Callable[[], Awaitable[None]]) -> None:
        self._act = act
        self._timer: asyncio.TimerHandle | None = None
        self._acting: asyncio.Future[None] | None = None

    def set(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start)

    async def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._acting is not None:
            await asyncio.shield(self._acting)
            self._acting = None

    def _start(self) -> None:
        self._timer = None
        self._acting = asyncio.ensure_future(self._act_after(self._acting))

    async def _act_after(self, before: asyncio.Future[None] | None) -> None:
        if before is not None:
            await before
        await self._act()
