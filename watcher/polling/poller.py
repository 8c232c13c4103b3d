"""One poll of one app: how long it may take, how it ended, and when the next one is due."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from watcher.backoff import backoff
from watcher.config.models import AppConfig
from watcher.hooks import SUCCESS
from watcher.messages import format_timestamp
from watcher.models import App, Failure, Route
from watcher.polling.clock import ClockChange
from watcher.polling.context import PollContext
from watcher.polling.failure_timer import FailureTimer
from watcher.polling.recorder import ChangeRecorder
from watcher.polling.sync import AppSync, PollState
from watcher.runs_api.client import RunsClient
from watcher.runs_api.errors import ApiError, TimedOut
from watcher.store import IncidentChange, StoreUnavailable

DEADLINE_TIMEOUTS: Final = 30
"""A whole poll may take this many times the timeout of one call."""


def _codes(of: type[ApiError]) -> Iterator[str]:
    for kind in of.__subclasses__():
        yield kind.code
        yield from _codes(kind)


DATABASE_ERROR: Final = "database_error"
OUTCOMES: Final = (SUCCESS, DATABASE_ERROR, *_codes(ApiError))
"""What a poll can end with: success, or the kind of its failure."""


@dataclass(frozen=True, slots=True)
class PollResult:
    """How a poll ended.

    `error` is None if the list was read whole and everything was recorded; a StoreUnavailable says nothing
    about the app. `complete` says that, besides, every run that was fetched by itself could be read. `wait`
    is the seconds until the next attempt, None for the usual interval. The counts are of runs in the list, of
    new and of resolved requests.
    """

    error: ApiError | StoreUnavailable | None = None
    complete: bool = False
    wait: float | None = None
    runs: int = 0
    new: int = 0
    resolved: int = 0

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`: the kind of the error, because its own code may be any word of the API's."""
        if self.error is None:
            return SUCCESS
        return DATABASE_ERROR if isinstance(self.error, StoreUnavailable) else type(self.error).code


class Poller:
    """Polls one app. Between polls it remembers only what need not survive a restart."""

    def __init__(
        self, config: AppConfig, routes: Sequence[Route], client: RunsClient, context: PollContext
    ) -> None:
        self.config = config
        self._app = App(config.name, config.base_url)
        self._routes = routes
        self._client = client
        self._context = context
        self._recorder = ChangeRecorder(self._app, routes, context)
        self._sync = AppSync(config, client, self._recorder, context)
        self._failure_timer = FailureTimer(self._app, routes, context)
        self._failures = 0
        """How many polls in a row the API failed, without regard to those that our database failed."""
        self._last_succeeded = False
        self._log = structlog.get_logger().bind(app=config.name)

    async def poll(self) -> PollResult:
        """Polls the app once.

        Raises:
            StoreUnusable: the database can no longer be used.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        result = await self._attempt()
        took = loop.time() - began
        if self._context.store.mark_polled(self.config.name):
            self._context.wake(None)
        self._context.observer.polled(self.config.name, result.outcome, took)
        if result.error is None:
            return result
        return replace(result, wait=await self._failed(result.error))

    def clock_changed(self, change: ClockChange) -> None:
        """Follows the wall clock, and leaves out the time for which the machine slept."""
        self._failure_timer.shift_clock(change.step)
        self._failure_timer.slept(change.slept)

    async def close(self) -> None:
        """Cancels what is still to come."""
        await self._failure_timer.cancel()

    async def _attempt(self) -> PollResult:
        limit = DEADLINE_TIMEOUTS * self._context.settings.request_timeout
        self._failure_timer.poll_begins()
        try:
            async with asyncio.timeout(limit):
                async with self._recorder.digest_window.open():
                    state = await self._sync.run()
            await self._failure_timer.cancel()
            return await self._succeeded(state)
        except TimeoutError:
            return PollResult(TimedOut(f"the poll took longer than {limit:g} s"))
        except ApiError as error:
            return PollResult(error.without_traceback())
        except StoreUnavailable as error:
            return PollResult(error.with_traceback(None))

    async def _succeeded(self, state: PollState) -> PollResult:
        now, invisible = self._context.wall(), frozenset(state.invisible)
        change: IncidentChange[Failure] = IncidentChange(None)
        if self._failure_timer.recorded or state.known.success_is_news(invisible, now):
            change = await self._context.store.record_success(
                self._app, self._routes, invisible=invisible, now=now
            )
        new, resolved = self._recorder.new, self._recorder.resolved
        quiet = self._last_succeeded and not (new or resolved)
        self._last_succeeded = True
        self._failures = 0
        self._failure_timer.succeeded()
        if change.failure is not None:
            since = format_timestamp(change.failure.since)
            self._log.info("app.recovered", since=since, pending=change.failure.pending_known)
            self._context.wake(change.notifiers)
        self._recorder.report_superseded(change.superseded)
        write = self._log.debug if quiet else self._log.info
        write("poll.succeeded", runs=len(state.listed), new=new, resolved=resolved)
        return PollResult(complete=not state.failed, runs=len(state.listed), new=new, resolved=resolved)

    async def _failed(self, error: ApiError | StoreUnavailable) -> float:
        """Records and logs the failure, and returns the seconds until the next attempt.

        A failure of our own database is no outage of the app, and makes no wait longer.
        """
        self._last_succeeded = False
        if isinstance(error, StoreUnavailable):
            await self._failure_timer.cancel()
            wait = self._backoff(1)
            self._log_failure(None, DATABASE_ERROR, str(error), wait)
            return wait
        self._failures += 1
        wait = error.retry_after or self._backoff(self._failures)
        self._log_failure(error.status, error.code, error.message, wait)
        await self._failure_timer.failed(error)
        return wait

    def _backoff(self, failures: int) -> float:
        interval, most = self.config.poll_interval, self._context.settings.backoff_max
        return backoff(failures, base=interval, maximum=most, jitter=self._context.jitter())

    def _log_failure(self, status: int | None, code: str, message: str, wait: float) -> None:
        self._log.warning(
            "poll.failed",
            status=status,
            code=self._context.redact(code),
            error=self._context.redact(message),
            next_attempt_in=round(wait, 3),
        )
