"""Pure: the Runs API's JSON to facts. A tolerant reader.

Unknown fields, types and statuses pass; optional fields may be missing, null, empty or of another type.
Only what has no usable id is no run.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from watcher.models import INVISIBLE, InputRequest, Json, Run
from watcher.sanitize.limits import DEPTH_MAX, normalize_json, replace_unstorable

ID_MAX: Final = 1000
"""Characters that an id may have."""
_ID_SHOWN: Final = 100
_NO_SEGMENT: Final = frozenset({".", ".."})
"""As a segment of a path these name another resource, however they are quoted."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d+))?\s*([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_NESTED: Final = frozenset({dict, list})
_NOTHING: Final = (None, "")
_ASKED: Final = ("type", "prompt", "params", "questions", "editable_params")
_TAKEOVER: Final = "is_browser_takeover"
_UNTIDY: Final = ("\\u0000", "\\ud", "Infinity", "NaN")
_EMPTY: Final = ('""', "null", "[]", "{}")
_LAST: Final = 253402300799.0
"""9999-12-31T23:59:59Z: its fraction would round up to a year that nothing can show."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A list item that is no run, and why."""

    run_id: str | None
    reason: str


def parse_run(item: Json, *, keep_input: bool = True) -> Run | Skipped:
    """Returns the run in a list item or in the `data` of a single run; with `keep_input` also its input."""
    if not isinstance(item, dict):
        return Skipped(None, "it is not an object")
    run_id = _identifier(item.get("id"))
    if not run_id:
        return Skipped(None, "it has no id")
    if run_id in _NO_SEGMENT or len(run_id) > ID_MAX:
        return Skipped(run_id[:_ID_SHOWN], "its id cannot stand in a URL")
    status = item.get("status")
    if not isinstance(status, str):
        return Skipped(run_id, "it has no status")
    items = _asked_items(item.get("input_requests"))
    requests = tuple(_request(each) for each in items if not _is_notice(each))
    return Run(
        id=run_id,
        status=normalize_json(status),
        started_at=parse_time(item.get("started_at")),
        user_id=_short(_identifier(item.get("user_id"))) or None,
        session_id=_short(_identifier(item.get("session_id"))) or None,
        input=item.get("input") if keep_input else None,
        requests=requests,
        informs=bool(items) and not requests,
    )


def parse_time(value: Json) -> float | None:
    """Returns the Unix time of an RFC 3339 time with any fraction and any offset, else None."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if offset in {None, 'Z', 'z'} else offset}")
        return min(moment.astimezone(UTC).timestamp() + float(f"0.{fraction or 0}"), _LAST)
    except (ValueError, OverflowError):
        return None


def fingerprint(item: dict[str, Json]) -> str:
    """Returns what identifies the content of a request: a hash over what a human would be asked.

    The order of keys, and whether something empty is missing, null or empty, make no difference. Fields that
    are not part of the question (times, say) do not count.
    """
    return _content(item)[1]


def unseen_request() -> InputRequest:
    """Returns the request of a run that waits without showing what for."""
    return InputRequest("", INVISIBLE, None, None, (), fingerprint({"type": INVISIBLE}))


def _asked_items(items: Json) -> list[dict[str, Json]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _is_notice(item: dict[str, Json]) -> bool:
    """A message of the feedback tool that informs and asks nothing."""
    return item.get("action") == "info"


def _request(item: dict[str, Json]) -> InputRequest:
    content, identity = _content(item)
    prompt = content.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        prompt = json.dumps(prompt, ensure_ascii=False)
    editable = content.get("editable_params")
    kind = content.get("type")
    params = content.get("params")
    takeover = item.get(_TAKEOVER)
    return InputRequest(
        id=_short(_identifier(item.get("id"))),
        type=kind if isinstance(kind, str) and kind else INVISIBLE,
        prompt=prompt or None,
        params={} if params is None else params,
        editable_params=tuple(str(name) for name in editable) if isinstance(editable, list) else (),
        fingerprint=identity,
        questions=content.get("questions") or None,
        is_browser_takeover=takeover if isinstance(takeover, bool) else None,
    )


def _content(item: dict[str, Json]) -> tuple[dict[str, Json], str]:
    """Returns what a human would be asked, tidied, and its fingerprint.

    Whether large content needs to be tidied, or rid of what is empty, shows in its JSON, which takes a tenth
    of the time of looking at every value. Words in a text that look like it only cost that time.
    """
    content: dict[str, Json] = {name: item[name] for name in _ASKED if name in item}
    if item.get(_TAKEOVER) is True:  # a flag that is not set asks for nothing
        content[_TAKEOVER] = True
    if _too_deep(content):
        content = normalize_json(content)
    written = _canonical(content)
    if any(sign in written for sign in _UNTIDY):
        content = normalize_json(content)
        written = _canonical(content)
    if any(sign in written for sign in _EMPTY):
        written = _canonical(_without_empty(content))
    return content, hashlib.sha256(written.encode()).hexdigest()[:32]


def _canonical(content: Json) -> str:
    if isinstance(content, dict) and isinstance(editable := content.get("editable_params"), list):
        content = {**content, "editable_params": sorted(editable, key=repr)}
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _too_deep(value: Json) -> bool:
    level = [value]
    for _ in range(DEPTH_MAX):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if type(item) in _NESTED
        ]
        if not level:
            return False
    return True


def _identifier(value: Json) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return replace_unstorable(str(value))


def _short(identifier: str) -> str:
    """Returns an id that would fill logs and messages as its beginning and a digest, so that it stays one."""
    if len(identifier) <= ID_MAX:
        return identifier
    return f"{identifier[:_ID_SHOWN]}…{hashlib.sha256(identifier.encode()).hexdigest()[:16]}"


def _without_empty(value: Json) -> Json:
    match value:
        case dict():
            kept = {
                key: left
                for key, item in value.items()
                if (left := _without_empty(item) if type(item) in _NESTED else item) not in _NOTHING
            }
            return kept or None
        case list():
            return [
                None if item == "" else _without_empty(item) if type(item) in _NESTED else item
                for item in value
            ] or None
        case "":
            return None
        case _:
            return value
