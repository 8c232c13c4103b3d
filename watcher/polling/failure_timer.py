"""When an app that cannot be polled is told of: at its time, be it in the middle of a wait or of a poll."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from watcher.messages import format_timestamp
from watcher.models import App, Route
from watcher.runs_api.errors import ApiError, TimedOut
from watcher.store import Store, StoreUnavailable, StoreUnusable


class FailureTimer:
    """The failing of one app, as far as people are to know of it."""

    def __init__(
        self,
        app: App,
        routes: Sequence[Route],
        *,
        store: Store,
        alert_after: float,
        patience: float,
        wake: Callable[[], None],
        scrub: Callable[[str], str],
        wall: Callable[[], float],
    ) -> None:
        """A poll that alone lasts `patience` seconds counts as failing; `wake` is called after telling."""
        self._app = app
        self._routes = routes
        self._store = store
        self._alert_after = alert_after
        self._patience = patience
        self._wake = wake
        self._scrub = scrub
        self._wall = wall
        self._since = wall()
        self._failure: ApiError | None = None
        self._due_at: float | None = None
        self._alarm = _Alarm(self._tell)
        self._log = structlog.get_logger().bind(app=app.name)

    def poll_begins(self) -> None:
        """From now on a poll is under way."""
        if self._failure is None:
            self._due_at = self._wall() + self._patience
        self._set_alarm()

    def shift_clock(self, seconds: float) -> None:
        """The wall clock was set by so many seconds; how long the app has failed stays what it is."""
        self._since += seconds
        if self._due_at is not None:
            self._due_at += seconds

    async def off(self) -> None:
        """Tells nobody any more; what is under way is waited for."""
        await self._alarm.off()

    def succeeded(self) -> None:
        """The app was polled whole, and the store knows it."""
        self._since = self._wall()
        self._failure = None

    async def failed(self, error: ApiError) -> None:
        """Records a failed poll, and tells of it now or when it has lasted long enough.

        Raises:
            StoreUnusable: the database cannot be used any more.
        """
        await self._alarm.off()
        self._failure = error
        await self._record(error, self._wall())
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._due_at is not None:
            self._alarm.set(max(self._due_at - self._wall(), 0.0))

    async def _tell(self) -> None:
        if self._due_at is None:  # it was told while this waited for its turn
            return
        error = self._failure or TimedOut("the poll has not ended yet")
        try:
            await self._record(error, max(self._wall(), self._due_at))
        except StoreUnusable as trouble:  # the next poll ends for the same reason
            self._log.error("poll.record_failed", error=str(trouble))

    async def _record(self, error: ApiError, now: float) -> None:
        code, message = self._scrub(error.code), self._scrub(error.message)
        try:
            health = await self._store.record_failure(
                self._app,
                self._routes,
                status=error.status,
                code=code,
                message=message,
                since=self._since,
                alert_after=self._alert_after,
                now=now,
            )
        except StoreUnavailable as trouble:
            self._log.error("poll.record_failed", error=str(trouble))
            return
        self._due_at = health.alert_at
        if health.failure is not None:
            known = health.failure.pending_known
            self._log.error(
                "app.failing",
                code=code,
                error=message,
                since=format_timestamp(health.failure.since),
                pending=known,
            )
            self._wake()


class _Alarm:
    """Does one thing at a time to come, unless it is called off, or set anew, before."""

    def __init__(self, act: Callable[[], Awaitable[None]]) -> None:
        self._act = act
        self._timer: asyncio.TimerHandle | None = None
        self._acting: asyncio.Future[None] | None = None

    def set(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._start)

    async def off(self) -> None:
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
