"""One poll of one app: fetch, compare, record. What is new is recorded before the rest is read."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from watcher.backoff import backoff
from watcher.config.models import AppConfig
from watcher.hooks import SUCCESS, Observer
from watcher.logs import log_superseded
from watcher.messages import format_timestamp
from watcher.models import (
    PAUSED,
    App,
    DeliveryRecord,
    InputRequest,
    NewRequest,
    PendingKey,
    ResolvedRequest,
    Route,
    Run,
)
from watcher.polling import diff
from watcher.polling.batching import DigestWindow
from watcher.polling.failure_timer import FailureTimer
from watcher.polling.preparation import RequestPreparation
from watcher.runs_api.client import Page, RunsClient
from watcher.runs_api.errors import ApiError, NotFound, TimedOut
from watcher.sanitize.masking import Masker
from watcher.store import Store, StoreUnavailable

DETAIL_CALLS: Final = 8
"""How many runs of one app are fetched at a time."""
DETAIL_BATCH: Final = 200
"""How many fetched runs are recorded together: a poll that is cut short keeps what it had."""
RECHECK_MAX: Final = 50
"""How many known runs are fetched per poll only because the list does not say what they ask."""
DEADLINE_TIMEOUTS: Final = 30
"""A whole poll may take this many times the timeout of one call."""
PAUSED_INTERVALS: Final = 4
"""For how many poll intervals a run may be paused and show no question before that is told."""

log = structlog.get_logger()


def _kinds(of: type[ApiError]) -> Iterator[str]:
    for kind in of.__subclasses__():
        yield kind.code
        yield from _kinds(kind)


DATABASE_ERROR: Final = "database_error"
OUTCOMES: Final = (SUCCESS, DATABASE_ERROR, *_kinds(ApiError))
"""What a poll can end with: success, or the kind of its failure."""


@dataclass(frozen=True, slots=True)
class PollSettings:
    """What all pollers share; seconds where a duration is meant."""

    page_size: int
    request_timeout: float
    backoff_max: float
    alert_after: float
    baseline: bool
    digest_above: int


@dataclass(slots=True)
class _PollState:
    """What one poll has seen so far."""

    known: dict[str, list[PendingKey]]
    announce: bool
    listed: dict[str, Run]
    invisible: set[str]
    confirmed: set[str] = field(default_factory=set)
    fetched: int = 0
    skipped: dict[str, ApiError] = field(default_factory=dict)
    new: int = 0
    ended: int = 0


class Poller:
    """Polls one app and remembers, between polls, what need not survive a restart.

    `whole` says whether the last poll that succeeded could fetch every run that it asked for.
    """

    def __init__(
        self,
        config: AppConfig,
        settings: PollSettings,
        *,
        client: RunsClient,
        store: Store,
        routes: Sequence[Route],
        masker: Masker,
        wake: Callable[[], None],
        observer: Observer,
        scrub: Callable[[str], str],
        wall: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """`wake` is called when deliveries were recorded; `jitter` gives random numbers in [0, 1)."""
        self.config = config
        self.app = App(config.name, config.base_url)
        self.whole = False
        self.last_success: float | None = None
        self._settings = settings
        self._client = client
        self._store = store
        self._routes = routes
        self._sightings = RequestPreparation(config, masker)
        self._wake = wake
        self._observer = observer
        self._scrub = scrub
        self._wall = wall
        self._jitter = jitter
        self._holding = DigestWindow(
            config.name, digest_above=settings.digest_above, store=store, wake=wake, wall=wall
        )
        self._failures = 0
        self._alert = FailureTimer(
            self.app,
            routes,
            store=store,
            alert_after=settings.alert_after,
            patience=max(settings.alert_after, settings.request_timeout),
            wake=wake,
            scrub=scrub,
            wall=wall,
        )
        self._checked: dict[str, int] = {}
        self._checks = 0
        self._log = log.bind(app=config.name)

    async def poll(self) -> float | None:
        """Polls the app once.

        Returns None if it was polled whole, else the seconds to wait before the next attempt.

        Raises:
            StoreUnusable: the database cannot be used any more.
        """
        began = asyncio.get_running_loop().time()
        error = await self._attempt()
        took = asyncio.get_running_loop().time() - began
        if self._store.mark_polled(self.config.name):
            self._wake()
        self._observer.polled(self.config.name, _outcome(error), took)
        return await self._failed(error) if error else None

    def shift_clock(self, seconds: float) -> None:
        """The wall clock was set by so many seconds."""
        self._alert.shift_clock(seconds)

    async def close(self) -> None:
        """Closes the connections to the app."""
        await self._alert.off()
        await self._client.close()

    async def _attempt(self) -> ApiError | None:
        limit = DEADLINE_TIMEOUTS * self._settings.request_timeout
        self._alert.poll_begins()
        try:
            async with asyncio.timeout(limit):
                async with self._holding.until_the_end():
                    sweep = await self._sweep()
            await self._alert.off()
            health = await self._store.record_success(
                self.app, self._routes, invisible=frozenset(sweep.invisible), now=self._wall()
            )
        except TimeoutError:
            return TimedOut(f"the poll took longer than {limit:g} s")
        except ApiError as error:
            return error.without_traceback()
        except StoreUnavailable as error:
            return ApiError(str(error), code=DATABASE_ERROR)
        self.whole = not sweep.skipped
        news = bool(sweep.new or sweep.ended or self._failures or self.last_success is None)
        self._failures = 0
        self.last_success = self._wall()
        self._alert.succeeded()
        if health.failure is not None:
            self._log.info(
                "app.recovered",
                since=format_timestamp(health.failure.since),
                pending=health.failure.pending_known,
            )
            self._wake()
        self._superseded(health.superseded)
        write = self._log.info if news else self._log.debug
        write("poll.succeeded", runs=len(sweep.listed), new=sweep.new, resolved=sweep.ended)
        return None

    async def _sweep(self) -> _PollState:
        state = await self._store.app_state(self.config.name)
        announce = not (self._settings.baseline and state.first_poll)
        sweep = _PollState(diff.by_run(state.known), announce, {}, set())
        pages = self._pages()
        async with aclosing(pages):
            async for page in pages:
                for skipped in page.skipped:
                    self._log.warning("run.skipped", run=skipped.run_id, reason=skipped.reason)
                runs = [run for run in page.runs if run.id not in sweep.listed]
                sweep.listed.update((run.id, self._strip_payload(run)) for run in runs)
                await self._record_listed(sweep, runs)
        plan = diff.plan(sweep.known, sweep.listed)
        rechecked = sorted(plan.unlisted_questions, key=lambda run_id: self._checked.get(run_id, 0))[
            :RECHECK_MAX
        ]
        confirm = [run_id for run_id in plan.missing if run_id not in sweep.confirmed]
        await self._fetch_runs(sweep, [*confirm, *rechecked])
        for error in sweep.skipped.values():
            if not sweep.fetched:
                raise error
        for run_id, error in sweep.skipped.items():
            self._log.warning("run.skipped", run=run_id, code=error.code, reason=self._scrub(error.message))
        await self._announce_invisible(sweep, state.invisible)
        self._checked = {run_id: self._checked.get(run_id, 0) for run_id in sweep.listed}
        return sweep

    def _pages(self) -> AsyncGenerator[Page, None]:
        return self._client.awaiting(
            page_size=self._settings.page_size,
            user_id=self.config.user_id,
            session_id=self.config.session_id,
            paused=self.config.watch_paused,
        )

    def _strip_payload(self, run: Run) -> Run:
        """Leaves out what the rest of the poll does not need: a long list must not fill the memory."""
        requests = tuple(replace(request, prompt=None, params=None) for request in run.requests)
        needed = self.config.include_input and not requests
        return replace(run, input=run.input if needed else None, requests=requests)

    async def _record_listed(self, sweep: _PollState, runs: Iterable[Run]) -> None:
        new: list[tuple[Run, tuple[InputRequest, ...]]] = []
        changed: dict[str, tuple[Run, tuple[InputRequest, ...]]] = {}
        unread: list[str] = []
        for run in runs:
            known = sweep.known.get(run.id, ())
            found = (run, diff.new_requests(known, run))
            if found[1] and diff.missing_requests(known, run):
                changed[run.id] = found
            elif run.requests:
                new.append(found)
            elif not known:
                unread.append(run.id)
        await self._record(sweep, await self._sightings.prepare_requests(new), [])
        # What a run asked before ends before what it asks now begins, so it is looked at by itself first.
        try:
            await self._fetch_runs(sweep, [*unread, *changed])
        finally:
            left = [found for run_id, found in changed.items() if run_id not in sweep.confirmed]
            await self._record(sweep, await self._sightings.prepare_requests(left), [])

    async def _fetch_runs(self, sweep: _PollState, run_ids: Sequence[str]) -> None:
        """Fetches runs and records what they show; a failure that concerns the whole app ends the poll."""
        gate = asyncio.Semaphore(DETAIL_CALLS)

        async def fetch(run_id: str) -> Run | ApiError | None:
            async with gate:
                try:
                    return await self._client.run(run_id)
                except NotFound as error:
                    return None if error.is_api_error else error.without_traceback()
                except ApiError as error:
                    return error.without_traceback()

        for start in range(0, len(run_ids), DETAIL_BATCH):
            batch = run_ids[start : start + DETAIL_BATCH]
            found = dict(zip(batch, await asyncio.gather(*map(fetch, batch)), strict=True))
            gone = [run_id for run_id, run in found.items() if run is None]
            if gone:
                await self._confirm_app_exists()
            for run_id in gone:
                if run_id in sweep.listed:  # listed a moment ago: the next poll will tell
                    del found[run_id]
                    sweep.fetched += 1
                    sweep.confirmed.add(run_id)
            await self._record_fetched(sweep, found)

    async def _confirm_app_exists(self) -> None:
        """A deleted app answers as a deleted run does: a run is gone only if the list can still be read.

        Raises:
            ApiError: the list cannot be read.
        """
        pages = self._pages()
        async with aclosing(pages):
            await anext(pages)

    async def _record_fetched(self, sweep: _PollState, found: dict[str, Run | ApiError | None]) -> None:
        new: list[tuple[Run, tuple[InputRequest, ...]]] = []
        ended: list[ResolvedRequest] = []
        fatal: ApiError | None = None
        for run_id, run in found.items():
            known = sweep.known.get(run_id, [])
            self._checks += 1
            self._checked[run_id] = self._checks
            if isinstance(run, ApiError):
                fatal = run if run.affects_app else fatal
                sweep.skipped[run_id] = run
                sweep.fetched += run.affects_run_only
                if not known:
                    sweep.invisible.add(run_id)
                continue
            sweep.fetched += 1
            sweep.confirmed.add(run_id)
            verdict = diff.compare_run(known, run, paused_waits=self.config.watch_paused)
            ended += verdict.ended
            if run is not None:
                new.append((run, verdict.new))
            if verdict.invisible:
                sweep.invisible.add(run_id)
        await self._record(sweep, await self._sightings.prepare_requests(new), ended)
        if fatal is not None:
            raise fatal

    async def _announce_invisible(self, sweep: _PollState, hidden_before: Mapping[str, float]) -> None:
        """A run that waits twice in a row without showing what for is told of as such; a paused one later.

        What waits at the first poll and is not to be told of is known from then on.
        """
        parked_since = self._wall() - PAUSED_INTERVALS * self.config.poll_interval
        runs = [
            run
            for run_id in (sweep.invisible & hidden_before.keys() if sweep.announce else sweep.invisible)
            if (run := sweep.listed.get(run_id)) is not None
            and (run.status != PAUSED or not sweep.announce or hidden_before[run_id] <= parked_since)
        ]
        await self._record(
            sweep,
            await self._sightings.prepare_requests([(run, (diff.INVISIBLE_REQUEST,)) for run in runs]),
            [],
        )

    async def _record(
        self, sweep: _PollState, new: Sequence[NewRequest], ended: Sequence[ResolvedRequest]
    ) -> None:
        if not new and not ended:
            return
        now = self._wall()
        if new:  # before it is done: a poll that is cut short here does not learn that it was
            self._holding.add()
        recorded = await self._store.record_changes(
            self.app, self._routes, new=new, ended=ended, announce=sweep.announce, now=now
        )
        sweep.new += len(recorded.new)
        sweep.ended += len(recorded.ended)
        self._wake()
        for sighting in recorded.new:
            request = sighting.request
            self._log.info("request.new", run=sighting.run.id, request=request.id, type=request.type)
            self._observer.request_seen(self.app.name, request.type)
        for change in recorded.ended:
            event = "request.replaced" if change.outcome == "replaced" else "request.resolved"
            known = change.known
            self._log.info(event, run=known.run_id, request=known.request_id, outcome=change.outcome)
            self._observer.request_ended(self.app.name, change.outcome, now - known.first_seen_at)
        self._superseded(recorded.superseded)

    def _superseded(self, deliveries: Sequence[DeliveryRecord]) -> None:
        log_superseded(deliveries)
        self._observer.superseded(deliveries)

    async def _failed(self, error: ApiError) -> float:
        self._failures += 1
        wait = error.retry_after or backoff(
            self._failures,
            base=self.config.poll_interval,
            maximum=self._settings.backoff_max,
            jitter=self._jitter(),
        )
        self._log.warning(
            "poll.failed",
            status=error.status,
            code=self._scrub(error.code),
            error=self._scrub(error.message),
            next_attempt_in=round(wait, 3),
        )
        await self._alert.failed(error)
        return wait


def _outcome(error: ApiError | None) -> str:
    """Returns one of `OUTCOMES`; an error's own code may be any word of the API's."""
    if error is None:
        return SUCCESS
    return error.code if type(error) is ApiError else type(error).code
