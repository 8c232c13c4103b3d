"""Pure: compares the known requests with the list and with single runs, and says what is new and what ended.

A request is identified by run, request id and content. Absence from the list proves nothing, it only says
which runs to fetch. Only what a run itself shows ends a request.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from watcher.models import AWAITING, PAUSED, TERMINAL, InputRequest, Outcome, PendingKey, ResolvedRequest, Run
from watcher.runs_api.parser import unseen_request

INVISIBLE_REQUEST: Final = unseen_request()

_OUTCOMES: Final[Mapping[str, Outcome]] = {"failed": "failed", "canceled": "canceled"}
"""The outcome of the requests of a run that ended so; every other status means that they were answered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which runs to fetch once the whole list was read.

    Of the `missing` runs a known request is not in the list, so it may have ended. The list shows the runs
    with `unlisted_questions` without any request, so they may ask something else by now.
    """

    missing: tuple[str, ...]
    unlisted_questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What one run shows: new requests, requests that ended, and whether it waits for an invisible one."""

    new: tuple[InputRequest, ...]
    ended: tuple[ResolvedRequest, ...]
    invisible: bool


def by_run(known: Iterable[PendingKey]) -> dict[str, list[PendingKey]]:
    """Returns the known requests by the id of their run."""
    runs: dict[str, list[PendingKey]] = {}
    for request in known:
        runs.setdefault(request.run_id, []).append(request)
    return runs


def new_requests(known: Collection[PendingKey], run: Run) -> tuple[InputRequest, ...]:
    """Returns the requests of a run that are not known, each once."""
    seen = {(request.request_id, request.fingerprint) for request in known}
    fresh: dict[tuple[str, str], InputRequest] = {}
    for request in run.requests:
        identity = (request.id, request.fingerprint)
        if identity not in seen:
            fresh.setdefault(identity, request)
    return tuple(fresh.values())


def plan(known: Mapping[str, Sequence[PendingKey]], listed: Mapping[str, Run]) -> Plan:
    """Returns which known runs to fetch after the whole list was read: lists need not carry requests."""
    missing, unlisted_questions = [], []
    for run_id, requests in known.items():
        run = listed.get(run_id)
        if run is None:
            missing.append(run_id)
        elif not run.requests:
            unlisted_questions.append(run_id)
        elif missing_requests(requests, run):
            missing.append(run_id)
    return Plan(tuple(missing), tuple(unlisted_questions))


def compare_run(known: Sequence[PendingKey], run: Run | None, *, paused_waits: bool = False) -> RunDiff:
    """Returns what a run that was just fetched says of its known requests; None is a run that does not exist.

    A run that waits without showing a request ends none. With `paused_waits` a paused run that shows no
    request counts as waiting for an invisible one.
    """
    if run is None:
        return _all_ended(known, "gone", None)
    if run.status in TERMINAL:
        return _all_ended(known, _OUTCOMES.get(run.status, "answered"), run.status)
    if run.requests:
        ended = tuple(
            ResolvedRequest(request, _replaced_or_answered(request, run), run.status)
            for request in missing_requests(known, run)
        )
        return RunDiff(new_requests(known, run), ended, invisible=False)
    if run.status == AWAITING:
        return RunDiff((), (), invisible=not known and not run.informs)
    if run.status == PAUSED and paused_waits:
        visible = [request for request in known if request.fingerprint != INVISIBLE_REQUEST.fingerprint]
        invisible = len(visible) == len(known) and not run.informs
        return replace(_all_ended(visible, "answered", run.status), invisible=invisible)
    return _all_ended(known, "answered", run.status)


def _all_ended(known: Iterable[PendingKey], outcome: Outcome, run_status: str | None) -> RunDiff:
    ended = tuple(ResolvedRequest(request, outcome, run_status) for request in known)
    return RunDiff((), ended, invisible=False)


def missing_requests(known: Iterable[PendingKey], run: Run) -> list[PendingKey]:
    """Returns the known requests that a run no longer shows."""
    current = {(request.id, request.fingerprint) for request in run.requests}
    return [request for request in known if (request.request_id, request.fingerprint) not in current]


def _replaced_or_answered(known: PendingKey, run: Run) -> Outcome:
    same_id = any(request.id == known.request_id for request in run.requests)
    return "replaced" if same_id or known.fingerprint == INVISIBLE_REQUEST.fingerprint else "answered"
