"""Pure: the Runs API's JSON to facts. A tolerant reader.

Unknown fields, types and statuses pass; optional fields may be missing, null, empty or of another type.
Only what has no usable id is no run.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic_core import from_json

from watcher.models import UNKNOWN, InputRequest, Json, Run

DEPTH_MAX: Final = 64
"""What other people's data nests deeper than this is cut, so that nothing behind needs to fear recursion."""
CUT: Final = "… (nested too deeply)"

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A list item that is no run, and why."""

    run_id: str | None
    reason: str


def parse_json(body: bytes) -> Json:
    """Returns the JSON document.

    The fast parser refuses lone surrogates, deep nesting and endless numbers, which one run's text must
    not make the whole page unreadable; the patient one then has its turn.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return from_json(body)
    except ValueError:
        try:
            return json.loads(body, parse_int=_whole_number)
        except RecursionError:
            raise ValueError("nested too deeply") from None


def parse_run(item: Json) -> Run | Skipped:
    """Returns the run in a list item or in the `data` of a single run."""
    if not isinstance(item, dict):
        return Skipped(None, "it is not an object")
    run_id = _identifier(item.get("id"))
    if not run_id:
        return Skipped(None, "it has no id")
    status = item.get("status")
    if not isinstance(status, str):
        return Skipped(run_id, "it has no status")
    return Run(
        id=run_id,
        status=tidy(status),
        started_at=parse_time(item.get("started_at")),
        user_id=_identifier(item.get("user_id")) or None,
        session_id=_identifier(item.get("session_id")) or None,
        input=item.get("input"),
        requests=_requests(item.get("input_requests")),
    )


def parse_time(value: Json) -> float | None:
    """Returns the Unix time of an RFC 3339 time with any fraction and any offset, else None."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset in {None, 'Z', 'z'} else offset}")
        return moment.astimezone(UTC).timestamp() + float(f"0.{fraction or 0}")
    except (ValueError, OverflowError):
        return None


def fingerprint(item: dict[str, Json]) -> str:
    """Returns what identifies the content of a request: a hash over what a human would be asked.

    The order of keys, and whether something empty is missing, null or empty, make no difference. Fields that
    are not part of the question (times, say) do not count.
    """
    editable = item.get("editable_params")
    content = {
        "type": item.get("type"),
        "prompt": item.get("prompt"),
        "params": item.get("params"),
        "questions": item.get("questions"),
        "editable_params": sorted(editable, key=repr) if isinstance(editable, list) else editable,
    }
    canonical = json.dumps(_without_empty(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def tidy(value: Json, depth: int = 0) -> Json:
    """Returns the value as it can be stored and sent: no lone surrogates, no infinities, no endless depth."""
    match value:
        case str():
            return _SURROGATES.sub("\ufffd", value)
        case float() if not math.isfinite(value):
            return str(value)
        case dict() | list() if depth >= DEPTH_MAX:
            return CUT
        case dict():
            return {tidy(key): tidy(item, depth + 1) for key, item in value.items()}
        case list():
            return [tidy(item, depth + 1) for item in value]
        case _:
            return value


def unseen_request() -> InputRequest:
    """Returns the request of a run that waits without showing what for."""
    return InputRequest("", UNKNOWN, None, None, (), fingerprint({"type": UNKNOWN}))


def _whole_number(digits: str) -> int | str:
    """Python converts no more digits than a limit; what is longer stays text."""
    try:
        return int(digits)
    except ValueError:
        return digits


def _requests(items: Json) -> tuple[InputRequest, ...]:
    if not isinstance(items, list):
        return ()
    return tuple(_request(tidy(item)) for item in items if isinstance(item, dict) and not _is_notice(item))


def _is_notice(item: dict[str, Json]) -> bool:
    """A message of the feedback tool that informs and asks nothing."""
    return item.get("action") == "info"


def _request(item: dict[str, Json]) -> InputRequest:
    prompt = item.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        prompt = json.dumps(prompt, ensure_ascii=False)
    editable = item.get("editable_params")
    kind = item.get("type")
    params = item.get("params")
    return InputRequest(
        id=_identifier(item.get("id")),
        type=kind if isinstance(kind, str) and kind else UNKNOWN,
        prompt=prompt.strip() if prompt else None,
        params={} if params is None else params,
        editable_params=tuple(str(name) for name in editable) if isinstance(editable, list) else (),
        fingerprint=fingerprint(item),
    )


def _identifier(value: Json) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return _SURROGATES.sub("\ufffd", str(value))


def _without_empty(value: Json) -> Json:
    match value:
        case dict():
            kept = {key: _without_empty(item) for key, item in value.items()}
            return {key: item for key, item in kept.items() if item is not None} or None
        case list():
            return [_without_empty(item) for item in value] or None
        case "":
            return None
        case _:
            return value
