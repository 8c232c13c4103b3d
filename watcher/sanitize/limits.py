"""Pure: how much of other people's data is kept, so that one of them cannot fill database and messages."""

import json
from typing import Final

from watcher.models import Json
from watcher.sanitize.text import truncate

JSON_MAX: Final = 256 * 1024
"""Bytes of JSON that the parameters of one request, or the input of its run, may have."""
VALUES_MAX: Final = JSON_MAX // 2
"""More values than this have too many bytes however they are cut: each takes one and a comma."""
PROMPT_MAX: Final = 256 * 1024
"""Characters of one prompt."""
STRING_MAX: Final = 1000
"""Characters of one string within JSON that would have too many bytes otherwise."""

_CHANGING: Final = frozenset({str, dict, list})
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def limit_size(value: Json) -> Json:
    """Returns a JSON value that is small enough to be kept.

    Of one that is not, long strings are cut; when that does not suffice, it is replaced by words that say
    how large it was.
    """
    if _size(value) <= JSON_MAX:
        return value
    shorter = _with_short_strings(value)
    return shorter if _size(shorter) <= JSON_MAX else size_notice(value)


def size_notice(value: Json) -> str:
    """Returns the words for a value that is not kept."""
    return f"… ({_size(value):,} bytes of JSON, too many to be kept)"


def _size(value: Json) -> int:
    return len(_ENCODER.encode(value).encode(errors="replace"))


def _with_short_strings(value: Json) -> Json:
    match value:
        case str():
            return truncate(value, STRING_MAX)
        case dict():
            return {
                key: _with_short_strings(item) if type(item) in _CHANGING else item
                for key, item in value.items()
            }
        case list():
            return [_with_short_strings(item) if type(item) in _CHANGING else item for item in value]
        case _:
            return value
