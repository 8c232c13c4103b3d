"""Options for what the Runs API's documentation leaves open, and how the simulator refuses a call."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Literal

from pydantic import Field

Json = Any
"""Anything that a JSON document can hold."""

_STATUSES = frozenset(HTTPStatus)
Blank = Literal["absent", "null", "empty"]
TimeFormat = Literal["seconds", "milliseconds", "microseconds", "nanoseconds", "offset"]
Count = Annotated[int, Field(ge=0, le=100_000)]
Moment = Annotated[float, Field(ge=0, le=253402300799)]
"""Unix time up to the year 9999: later times cannot be written as RFC 3339."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One option per undocumented behaviour, with the likeliest behaviour as its default.

    All are assumed except `over_limit` with its limit of 500 and `request_ids`, which the vendor's public
    notes and command-line client suggest. Those whose names do not explain them:

    - `wrong_params`: a wrong number, status, sort field or session id is refused, ignored, or finds nothing.
    - `past_the_end`: a page after the last one is empty or a 404.
    - `awaiting_matches_base`: `status=started` and `status=paused` also find runs shown as awaiting input.
    - `list_requests`: the `input_requests` of list items.
    - `hidden_requests`, `no_params`: the `input_requests` of a run whose question is hidden, and the `params`
      and `editable_params` of a request without parameters.
    - `time_format`: the fraction digits of times; `offset` writes `+00:00` instead of `Z`.
    - `request_ids`: `stable` gives every request of one node of one run the same id.
    - `swallow_second_ask`: a request whose id was answered before is never shown; the run ends up paused.
    - `input_window`: seconds for which a run waits in memory before `after_window` happens; None is forever.
    - `seen_once_more`: an answered request is shown once more, in one list and in one reading of the run.
    - `approval_body`: `lenient` accepts the decision by several names, `strict` needs `is_approved` or text.
    """

    default_page_size: Annotated[int, Field(ge=1)] = 25
    page_size_limit: Annotated[int, Field(ge=1)] = 500
    over_limit: Literal["reject", "clamp"] = "reject"
    wrong_params: Literal["reject", "ignore", "empty"] = "reject"
    past_the_end: Literal["empty", "not_found"] = "empty"
    empty_page_count: Literal[0, 1] = 0
    awaiting_matches_base: bool = True
    list_requests: Literal["absent", "present", "null", "empty"] = "absent"
    hidden_requests: Blank = "absent"
    no_params: Blank = "absent"
    unfinished: Literal["omit", "null"] = "omit"
    time_format: TimeFormat = "seconds"
    error_details: Literal["object", "text", "absent"] = "object"
    request_ids: Literal["stable", "fresh"] = "stable"
    swallow_second_ask: bool = False
    input_window: float | None = 600.0
    after_window: Literal["pause", "fail"] = "pause"
    seen_once_more: bool = False
    wrong_input_status: Literal[400, 404, 409] = 400
    approval_body: Literal["lenient", "strict"] = "lenient"


class Refusal(Exception):
    """A call that the simulated API refuses with an HTTP status and its error envelope.

    Code and message follow from the status, as in the documented samples (`bad_request`, `unauthorized`,
    `not_found`); the others, such as `forbidden`, are assumed to be formed the same way.
    """

    def __init__(self, status: int, details: dict[str, str] | None = None) -> None:
        super().__init__(f"{status}: {details}" if details else str(status))
        self.status = status
        self.details = details


def error_body(status: int, details: Json = None, *, message: str | None = None) -> dict[str, Json]:
    """Returns the API's error envelope for an HTTP status; without details that field is absent."""
    phrase = HTTPStatus(status).phrase if status in _STATUSES else f"Status {status}"
    error: dict[str, Json] = {"code": phrase.lower().replace(" ", "_"), "message": message or phrase}
    if details is not None:
        error["details"] = details
    return {"error": error}
