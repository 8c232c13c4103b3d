"""The simulated runs and requests, and their JSON."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, Literal

from watcher.simulator.options import Blank, Json, Options, TimeFormat

Base = Literal["created", "started", "paused", "completed", "failed", "canceled"]
View = Literal["list", "get"]

AWAITING: Final = "awaiting_input"
OPEN: Final = frozenset({"started", "paused"})
"""The base statuses in which a run accepts input or is shown as awaiting it."""
TERMINAL: Final = frozenset({"completed", "failed", "canceled"})
_REQUEST_IDS: Final = uuid.UUID("6f1a2a52-6a0b-4d5e-9a3b-0c9f5a1d7e42")
STATUSES: Final = frozenset({"created", AWAITING}) | OPEN | TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request: one question that a node of a run asks. `extra` holds further fields of its JSON."""

    id: str
    node: str
    type: str
    prompt: Json
    params: Json
    editable_params: Json
    asked_at: float
    extra: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The input that a caller sent to a run. `is_approved` is None where only text was given."""

    run_id: str
    request_id: str
    type: str
    feedback: str
    is_approved: bool | None
    params: Json
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedRun:
    """One execution of the simulated app.

    `base` is the status beneath the synthetic `awaiting_input`. `number` counts the runs by their
    starts. `answered` holds the ids of answered requests, `swallowed_at` the time at which a request was
    dropped, `override` fields that replace those of the run's JSON, however wrong.
    """

    id: str
    number: int
    base: Base
    started_at: float
    ended_at: float | None = None
    input: Json = None
    output: Json = None
    user_id: str | None = None
    session_id: str | None = None
    pending: tuple[Ask, ...] = ()
    answered: frozenset[str] = frozenset()
    swallowed_at: float | None = None
    hidden: bool = False
    stuck: bool = False
    override: Mapping[str, Json] = field(default_factory=dict)


def ended(run: SimulatedRun, base: Base, at: float, output: Json = None) -> SimulatedRun:
    """Returns the run with a terminal status; one that is finished already stays as it is."""
    if run.base in TERMINAL:
        return run
    return replace(run, base=base, ended_at=at, output=output, pending=(), hidden=False)


def request_id(run_id: str, node: str, asked: int | None = None) -> str:
    """Returns a hash of run and node, as the vendor's notes say, or (assumed) of the count of asks too."""
    name = f"{run_id}:{node}" if asked is None else f"{run_id}:{node}:{asked}"
    return str(uuid.uuid5(_REQUEST_IDS, name))


def is_overdue(run: SimulatedRun, limit: float) -> bool:
    """Returns whether a run has waited in memory since `limit` or earlier, dropped requests included."""
    since = min((ask.asked_at for ask in run.pending), default=run.swallowed_at)
    return run.base == "started" and not run.stuck and since is not None and since <= limit


def shown_status(run: SimulatedRun, asks: tuple[Ask, ...]) -> str:
    """Returns the status that a reader sees: `awaiting_input` for an open run with unresolved requests."""
    return AWAITING if run.base in OPEN and (asks or run.hidden) else run.base


def render(run: SimulatedRun, asks: tuple[Ask, ...], options: Options, view: View) -> dict[str, Json]:
    """Returns a run's JSON as in `GET /v1/runs` or `GET /v1/runs/{id}`."""
    optional = {"user_id": run.user_id, "session_id": run.session_id, "input": run.input}
    item: dict[str, Json] = {
        "id": run.id,
        "status": shown_status(run, asks),
        "started_at": format_time(run.started_at, options.time_format),
        **{name: value for name, value in optional.items() if value is not None},
        **_ending(run, options),
    }
    if view == "get" or options.list_requests == "present":
        item |= _requests_of(run, asks, options)
    else:
        item |= _blank("input_requests", options.list_requests, [])
    return item | dict(run.override)


def format_time(seconds: float, time_format: TimeFormat) -> str:
    """Returns Unix seconds as RFC 3339 in UTC with as many fraction digits as the format asks for."""
    moment = datetime.fromtimestamp(seconds, UTC)
    whole = moment.strftime("%Y-%m-%dT%H:%M:%S")
    match time_format:
        case "seconds":
            return f"{whole}Z"
        case "milliseconds":
            return f"{whole}.{moment.microsecond // 1000:03d}Z"
        case "microseconds":
            return f"{whole}.{moment.microsecond:06d}Z"
        case "nanoseconds":
            return f"{whole}.{moment.microsecond:06d}000Z"
        case "offset":
            return f"{whole}+00:00"


def _ending(run: SimulatedRun, options: Options) -> dict[str, Json]:
    if run.ended_at is not None:
        ended = {"ended_at": format_time(run.ended_at, options.time_format)}
        return ended if run.output is None else {**ended, "output": run.output}
    return {} if options.unfinished == "omit" else {"ended_at": None, "output": None}


def _requests_of(run: SimulatedRun, asks: tuple[Ask, ...], options: Options) -> dict[str, Json]:
    if shown_status(run, asks) != AWAITING:
        return {}
    if run.hidden:
        return _blank("input_requests", options.hidden_requests, [])
    return {"input_requests": [_render_ask(ask, options) for ask in asks]}


def _render_ask(ask: Ask, options: Options) -> dict[str, Json]:
    item: dict[str, Json] = {"id": ask.id, "type": ask.type, "prompt": ask.prompt}
    item |= _blank("params", options.no_params, {}) if ask.params is None else {"params": ask.params}
    if ask.editable_params is None:
        item |= _blank("editable_params", options.no_params, [])
    else:
        item["editable_params"] = ask.editable_params
    return item | dict(ask.extra)


def _blank(name: str, blank: Blank, empty: Json) -> dict[str, Json]:
    if blank == "absent":
        return {}
    return {name: None if blank == "null" else empty}
