"""Brings what is recorded of one app in line with what the API shows: fetch, compare, record.

New requests are recorded page by page. Only a run that was fetched by itself ends a request.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from watcher.config.models import AppConfig
from watcher.models import PAUSED, TERMINAL, PendingKey, ResolvedRequest, Run
from watcher.polling import diff
from watcher.polling.context import PollContext
from watcher.polling.preparation import RequestPreparation, RequestsOfRun
from watcher.polling.recorder import ChangeRecorder
from watcher.runs_api.client import Page, RunsClient
from watcher.runs_api.errors import ApiError, NotFound
from watcher.sanitize.text import truncate
from watcher.store import AppState
from watcher.store.requests import Question

DETAIL_CALLS: Final = 8
"""How many runs of one app are fetched at a time."""
DETAIL_BATCH: Final = 200
"""How many fetched runs are recorded together: a poll that is cut short keeps what it had."""
RECHECK_MAX: Final = 50
"""How many known runs are fetched per poll only because the list does not say what they ask."""
PAUSED_INTERVALS: Final = 4
"""For how many poll intervals a run may be paused and show no question before that is announced."""
EXAMPLES: Final = 3
ID_SHOWN: Final = 100
"""How many skipped runs a log line names, and how many characters of their ids: they are other people's."""


@dataclass(slots=True)
class PollState:
    """What one poll has seen so far.

    `known` is what the store knew before, `pending` the known requests by run. `listed` are the runs of the
    list without their payload, `confirmed` the runs that were fetched, `invisible` those that wait without
    showing a question. `failed` says why other runs could not be fetched; `answers` counts the fetches to
    which the API had an answer. `skipped` counts the runs that are left out, of which `examples` are some.
    """

    known: AppState
    pending: Mapping[str, Sequence[PendingKey]]
    announce: bool
    listed: dict[str, Run] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)
    invisible: set[str] = field(default_factory=set)
    failed: dict[str, ApiError] = field(default_factory=dict)
    answers: int = 0
    skipped: int = 0
    examples: list[dict[str, str | None]] = field(default_factory=list)

    def mark_unread(self, run_id: str) -> None:
        """Counts a listed run that cannot be fetched as invisible, unless its question is known or listed."""
        if not self.pending.get(run_id) and not self.listed[run_id].requests:
            self.invisible.add(run_id)

    def skip(self, runs: Iterable[tuple[str | None, str]]) -> None:
        """Counts runs that are left out, each with the reason, and keeps the first as examples."""
        for run_id, reason in runs:
            self.skipped += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append({"run": run_id and truncate(run_id, ID_SHOWN), "reason": reason})


class AppSync:
    """Reads the runs of one app. Between polls it remembers only when each run was last fetched."""

    def __init__(
        self, config: AppConfig, client: RunsClient, recorder: ChangeRecorder, context: PollContext
    ) -> None:
        self._config = config
        self._client = client
        self._recorder = recorder
        self._context = context
        self._preparation = RequestPreparation(config, context.masker)
        self._last_fetches: dict[str, int] = {}
        self._fetches = 0
        self._log = structlog.get_logger().bind(app=config.name)

    async def run(self) -> PollState:
        """Reads the list and the runs that the list says too little about, and records what changed.

        Raises:
            ApiError: the list could not be read whole, or no run could be fetched.
            StoreError: something could not be recorded.
        """
        known = await self._context.store.app_state(self._config.name)
        announce = not (self._context.settings.baseline and known.first_poll)
        state = PollState(known, diff.by_run(known.known), announce)
        self._recorder.begin(announce=announce)
        try:
            await self._read_list(state)
            await self._fetch_unclear(state)
        finally:
            state.skip(self._recorder.rejected)
            self._log_skipped(state)
        await self._announce_invisible(state, known.invisible)
        self._last_fetches = {run_id: self._last_fetches.get(run_id, 0) for run_id in state.listed}
        return state

    async def _read_list(self, state: PollState) -> None:
        pages = self._pages()
        async with aclosing(pages):
            async for page in pages:
                state.skip((skipped.run_id, skipped.reason) for skipped in page.skipped)
                # A run that has ended waits for nothing, although an API that ignores the filter lists it.
                runs = [run for run in page.runs if run.id not in state.listed and run.status not in TERMINAL]
                state.listed.update((run.id, self._strip_payload(run)) for run in runs)
                await self._record_listed(state, runs)

    def _pages(self) -> AsyncGenerator[Page, None]:
        return self._client.awaiting(
            page_size=self._context.settings.page_size,
            user_id=self._config.user_id,
            session_id=self._config.session_id,
            paused=self._config.watch_paused,
        )

    def _strip_payload(self, run: Run) -> Run:
        """Leaves out what the rest of the poll does not need: a long list must not fill the memory."""
        requests = tuple(
            replace(request, prompt=None, params=None, questions=None) for request in run.requests
        )
        needed = self._config.include_input and not requests
        return replace(run, input=run.input if needed else None, requests=requests)

    async def _record_listed(self, state: PollState, runs: Sequence[Run]) -> None:
        new: list[RequestsOfRun] = []
        changed: dict[str, RequestsOfRun] = {}
        fetch: list[str] = []
        ended = await self._ended_before(state, runs)
        for run in runs:
            pending = state.pending.get(run.id, ())
            requests = diff.new_requests(pending, run)
            unseen = tuple(each for each in requests if (run.id, each.id, each.fingerprint) not in ended)
            if requests and diff.missing_requests(pending, run):
                changed[run.id] = (run, unseen)
                continue
            new.append((run, unseen))
            if len(unseen) < len(requests) or not (run.requests or pending or run.informs):
                fetch.append(run.id)
        await self._record_new(new)
        # Such a run is fetched first: what it asked before must end before what it asks now begins.
        try:
            await self._fetch_runs(state, [*fetch, *changed])
        finally:
            unconfirmed = [found for run_id, found in changed.items() if run_id not in state.confirmed]
            await self._record_new(unconfirmed)

    async def _ended_before(self, state: PollState, runs: Iterable[Run]) -> set[Question]:
        """Returns the listed questions that have ended: the list may be stale, so only a fetch counts."""
        questions = {
            (run.id, request.id, request.fingerprint)
            for run in runs
            for request in diff.new_requests(state.pending.get(run.id, ()), run)
        }
        return await self._context.store.ended_among(self._config.name, questions) if questions else set()

    async def _record_new(self, found: Iterable[RequestsOfRun]) -> None:
        await self._recorder.record(await self._preparation.prepare_requests(found))

    async def _fetch_unclear(self, state: PollState) -> None:
        """Fetches the known runs that may have ended or may ask something else, once the list was read."""
        plan = diff.plan(state.pending, state.listed)
        missing = [run_id for run_id in plan.missing if run_id not in state.confirmed]
        longest_ago = sorted(plan.unlisted_questions, key=lambda run_id: self._last_fetches.get(run_id, 0))
        await self._fetch_runs(state, [*missing, *longest_ago[:RECHECK_MAX]])
        if state.failed and not state.answers:
            raise next(iter(state.failed.values()))
        state.skip((run_id, f"{error.code}: {error.message}") for run_id, error in state.failed.items())

    async def _fetch_runs(self, state: PollState, run_ids: Sequence[str]) -> None:
        """Fetches runs and records what they show.

        Raises:
            ApiError: a failure that concerns the whole app.
        """
        for start in range(0, len(run_ids), DETAIL_BATCH):
            batch = run_ids[start : start + DETAIL_BATCH]
            gate = asyncio.Semaphore(DETAIL_CALLS)
            found = dict(
                zip(batch, await asyncio.gather(*(self._fetch(run, gate) for run in batch)), strict=True)
            )
            gone = [run_id for run_id, run in found.items() if run is None]
            if gone:
                await self._confirm_app_exists()
            for run_id in gone:
                if run_id in state.listed:  # it was listed a moment ago, so the next poll decides
                    del found[run_id]
                    state.mark_unread(run_id)
                    state.answers += 1
                    state.confirmed.add(run_id)
            await self._record_fetched(state, found)

    async def _fetch(self, run_id: str, gate: asyncio.Semaphore) -> Run | ApiError | None:
        """Returns the run, None if it does not exist, or why it could not be fetched."""
        async with gate:
            try:
                return await self._client.run(run_id)
            except NotFound as error:
                return None if error.is_api_error else error.without_traceback()
            except ApiError as error:
                return error.without_traceback()

    async def _confirm_app_exists(self) -> None:
        """A deleted app answers as a deleted run does: a run is gone only if the list can still be read.

        Raises:
            ApiError: the list cannot be read.
        """
        pages = self._pages()
        async with aclosing(pages):
            await anext(pages)

    async def _record_fetched(self, state: PollState, found: Mapping[str, Run | ApiError | None]) -> None:
        new: list[RequestsOfRun] = []
        resolved: list[ResolvedRequest] = []
        fatal: ApiError | None = None
        for run_id, run in found.items():
            pending = state.pending.get(run_id, ())
            self._fetches += 1
            self._last_fetches[run_id] = self._fetches
            if isinstance(run, ApiError):
                fatal = run if run.affects_app else fatal
                state.failed[run_id] = run
                state.answers += run.affects_run_only
                state.mark_unread(run_id)
                continue
            state.answers += 1
            state.confirmed.add(run_id)
            run_diff = diff.compare_run(pending, run, paused_waits=self._config.watch_paused)
            resolved += run_diff.ended
            if run is not None:
                new.append((run, run_diff.new))
            if run_diff.invisible:
                state.invisible.add(run_id)
        await self._recorder.record(await self._preparation.prepare_requests(new), resolved)
        if fatal is not None:
            raise fatal

    def _log_skipped(self, state: PollState) -> None:
        """Logs one line for all runs that are left out: a hostile answer must not fill the log."""
        if state.skipped:
            examples = [
                {name: value and self._context.redact(value) for name, value in example.items()}
                for example in state.examples
            ]
            self._log.warning("run.skipped", count=state.skipped, examples=examples)

    async def _announce_invisible(self, state: PollState, invisible_since: Mapping[str, float]) -> None:
        """Records a question that is not visible for runs that waited without one at the last poll too.

        A paused run must have waited for some intervals. At a first poll that announces nothing all of them
        are recorded, so that they are known from then on.
        """
        paused_before = self._context.wall() - PAUSED_INTERVALS * self._config.poll_interval
        repeated = state.invisible & invisible_since.keys() if state.announce else state.invisible
        runs = [
            run
            for run_id in repeated
            if (run := state.listed.get(run_id)) is not None
            and (run.status != PAUSED or not state.announce or invisible_since[run_id] <= paused_before)
        ]
        await self._record_new((run, (diff.INVISIBLE_REQUEST,)) for run in runs)
