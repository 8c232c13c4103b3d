"""Pure: what was known, what was listed, what a run shows → what is new and what has ended.

A request is identified by run, request id and content. Absence from a list proves nothing; it only says which
runs to look at. Only what a run itself shows ends a request.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watcher.models import AWAITING, PAUSED, TERMINAL, InputRequest, Outcome, PendingKey, ResolvedRequest, Run
from watcher.runs_api.parser import unseen_request

INVISIBLE_REQUEST: Final = unseen_request()

_OUTCOMES: Final[Mapping[str, Outcome]] = {"failed": "failed", "canceled": "canceled"}
"""How a request ended with its run; every other status means that it was answered."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which runs to look at once the whole list was read.

    `confirm` are those that may have ended, `recheck` those that may ask something else by now.
    """

    missing: tuple[str, ...]
    unlisted_questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What one run shows: new requests, those that ended, and whether it waits without saying what for."""

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
    """Returns the requests of a run that are not among the known ones, each once."""
    seen = {(request.request_id, request.fingerprint) for request in known}
    fresh: dict[tuple[str, str], InputRequest] = {}
    for request in run.requests:
        identity = (request.id, request.fingerprint)
        if identity not in seen:
            fresh.setdefault(identity, request)
    return tuple(fresh.values())


def plan(known: Mapping[str, Sequence[PendingKey]], listed: Mapping[str, Run]) -> Plan:
    """Returns which known runs need a look after a whole list was read.

    Confirmed is a run that is no longer listed, and one that is listed without a request that was known.
    Rechecked is a run that is listed without any request: lists need not carry them.
    """
    confirm, recheck = [], []
    for run_id, requests in known.items():
        run = listed.get(run_id)
        if run is None:
            confirm.append(run_id)
        elif not run.requests:
            recheck.append(run_id)
        elif missing_requests(requests, run):
            confirm.append(run_id)
    return Plan(tuple(confirm), tuple(recheck))


def compare_run(known: Sequence[PendingKey], run: Run | None, *, paused_waits: bool = False) -> RunDiff:
    """Returns what a run, fetched just now, says of its known requests; None is a run that no longer exists.

    A run that waits without showing a request leaves what is known of it as it is. With `paused_waits` a run
    that is paused and shows no request counts as waiting for something that cannot be seen.
    """
    if run is None:
        return RunDiff(
            (), tuple(ResolvedRequest(request, "gone", None) for request in known), invisible=False
        )
    if run.status in TERMINAL:
        outcome = _OUTCOMES.get(run.status, "answered")
        return RunDiff(
            (), tuple(ResolvedRequest(request, outcome, run.status) for request in known), invisible=False
        )
    if run.requests:
        ended = tuple(
            ResolvedRequest(request, _replaced_or_answered(request, run), run.status)
            for request in missing_requests(known, run)
        )
        return RunDiff(new_requests(known, run), ended, invisible=False)
    if run.status == AWAITING:
        return RunDiff((), (), invisible=not known)
    if run.status == PAUSED and paused_waits:
        seen = [request for request in known if request.fingerprint != INVISIBLE_REQUEST.fingerprint]
        ended = tuple(ResolvedRequest(request, "answered", run.status) for request in seen)
        return RunDiff((), ended, invisible=len(seen) == len(known))
    return RunDiff(
        (), tuple(ResolvedRequest(request, "answered", run.status) for request in known), invisible=False
    )


def missing_requests(known: Iterable[PendingKey], run: Run) -> list[PendingKey]:
    """Returns the known requests that a run does not show among those it shows."""
    current = {(request.id, request.fingerprint) for request in run.requests}
    return [request for request in known if (request.request_id, request.fingerprint) not in current]


def _replaced_or_answered(known: PendingKey, run: Run) -> Outcome:
    same_id = any(request.id == known.request_id for request in run.requests)
    return "replaced" if same_id or known.fingerprint == INVISIBLE_REQUEST.fingerprint else "answered"
