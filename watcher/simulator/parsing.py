"""Reads what callers send: the query parameters of a list, and the body of an input."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from watcher.simulator.options import Json, Options, Refusal
from watcher.simulator.runs import STATUSES

SORT_FIELDS: Final = frozenset({"started_at", "ended_at", "status"})
"""Assumed: the documentation names only `started_at`, in a sample."""
_NUMBER: Final = re.compile(r"[0-9]{1,1000}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DEEPEST: Final = 300
"""Levels of nesting that can still be copied and serialized inside a response."""
_DECISIONS: Final = ("is_approved", "approved", "approve", "decision", "confirmed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """The parameters of `GET /v1/runs`. `sort` holds pairs of a field and whether it descends.

    `nothing` is set where a wrong parameter should find no run.
    """

    statuses: frozenset[str] = frozenset()
    user_id: str | None = None
    session_id: str | None = None
    page: int = 1
    page_size: int = 25
    sort: tuple[tuple[str, bool], ...] = (("started_at", True),)
    nothing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InputBody:
    """The body of `POST /v1/runs/{id}/input`."""

    type: str
    request_id: str
    feedback: str | None
    is_approved: bool | None
    params: Json


def parse_query(pairs: Iterable[tuple[str, str]], options: Options) -> ListQuery:
    """Reads the parameters of `GET /v1/runs`; of a repeated parameter the first one counts (assumed).

    Raises:
        Refusal: 400 for a wrong parameter, if the options say so.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    first = {name: values[0] for name, values in given.items()}
    wrong: dict[str, str] = {}
    statuses = frozenset(given.get("status", ()))
    if not statuses <= STATUSES:
        wrong["status"] = "must be a valid status"
    session_id = first.get("session_id")
    if session_id is not None and not _UUID.fullmatch(session_id):
        wrong["session_id"] = "must be a valid UUID"
        session_id = None
    page = _number(first, "page", 1, wrong)
    page_size = _number(first, "page_size", options.default_page_size, wrong)
    if page_size > options.page_size_limit:
        page_size = options.page_size_limit
        if options.over_limit == "reject":
            wrong["page_size"] = f"must be no greater than {options.page_size_limit}"
    sort = _sort(first.get("sort", "-started_at"), wrong)
    if wrong and options.wrong_params == "reject":
        raise Refusal(400, wrong)
    return ListQuery(
        statuses=statuses & STATUSES,
        user_id=first.get("user_id"),
        session_id=session_id,
        page=page,
        page_size=page_size,
        sort=sort,
        nothing=bool(wrong) and options.wrong_params == "empty",
    )


def parse_json(content_type: str, text: str) -> Json:
    """Reads a JSON body.

    Raises:
        Refusal: 400 for an empty body, invalid JSON or too deep nesting, 415 for another content type.
    """
    if not text:
        raise Refusal(400, {"body": "cannot be blank"})
    if content_type != "application/json":
        raise Refusal(415)
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, {"body": "must be valid JSON"}) from None
    if _depth(document) > _DEEPEST:
        raise Refusal(400, {"body": f"must not be nested deeper than {_DEEPEST} levels"})
    return document


def parse_input(body: Json, options: Options) -> InputBody:
    """Reads an input's body; the shape for approvals is assumed, the one for feedback is documented.

    Raises:
        Refusal: 400 for a field that is missing or of the wrong type.
    """
    if not isinstance(body, dict):
        raise Refusal(400, {"body": "must be an object"})
    data = body.get("data")
    if not isinstance(data, dict):
        raise Refusal(400, {"data": "must be an object"})
    names = _DECISIONS if options.approval_body == "lenient" else ("is_approved",)
    decision = next((data[name] for name in names if data.get(name) is not None), None)
    checks = {
        "type": isinstance(body.get("type"), str) and bool(body["type"]),
        "request_id": isinstance(data.get("request_id"), str),
        "feedback": isinstance(data.get("feedback", ""), str),
        "is_approved": decision is None or isinstance(decision, bool),
        "params": isinstance(data.get("params", {}), dict),
    }
    wrong = {name: "is missing or not valid" for name, right in checks.items() if not right}
    needs_decision = options.approval_body == "strict" and body.get("type") == "approval_request"
    if needs_decision and decision is None and not data.get("feedback"):
        wrong["is_approved"] = "cannot be blank"
    if wrong:
        raise Refusal(400, wrong)
    return InputBody(
        type=body["type"],
        request_id=data["request_id"],
        feedback=data.get("feedback"),
        is_approved=decision,
        params=data.get("params"),
    )


def _number(given: dict[str, str], name: str, default: int, wrong: dict[str, str]) -> int:
    text = given.get(name)
    if text is None:
        return default
    if _NUMBER.fullmatch(text) and int(text) >= 1:
        return int(text)
    wrong[name] = "must be a positive integer"
    return default


def _sort(text: str, wrong: dict[str, str]) -> tuple[tuple[str, bool], ...]:
    parts = [(part.removeprefix("-"), part.startswith("-")) for part in text.split(",")]
    if all(name in SORT_FIELDS for name, _ in parts):
        return tuple(parts)
    wrong["sort"] = f"must name one of {', '.join(sorted(SORT_FIELDS))}"
    return ListQuery().sort


def _depth(document: Json) -> int:
    depth, level = 0, [document]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer)]
    return depth


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
