"""Pure: how much of other people's data is kept, so that one of them cannot fill database and messages."""

import json
import math
import re
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

DEPTH_MAX: Final = 64
"""What nests deeper than this is cut, so that nothing that reads it needs to fear recursion."""
CUT: Final = "… (nested too deeply)"

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_PLAIN: Final = frozenset({int, bool, type(None)})
_CHANGING: Final = frozenset({str, dict, list})
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def normalize_json(value: Json, depth: int = 0) -> Json:
    """Returns the value as it can be stored and sent: no NUL, lone surrogate, infinity or endless depth.

    What needs no change is passed by without a call, which makes large values twice as quick.
    """
    match value:
        case str():
            return replace_unstorable(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case dict() | list() if depth >= DEPTH_MAX:
            return CUT
        case dict():
            normal = {
                key if key.isascii() and "\0" not in key else normalize_json(key): item
                if type(item) in _PLAIN or (type(item) is str and item.isascii() and "\0" not in item)
                else normalize_json(item, depth + 1)
                for key, item in value.items()
            }
            return normal if len(normal) == len(value) else _with_names_apart(value, depth)
        case list():
            return [
                item
                if type(item) in _PLAIN or (type(item) is str and item.isascii() and "\0" not in item)
                else normalize_json(item, depth + 1)
                for item in value
            ]
        case _:
            return value


def _with_names_apart(value: dict[str, Json], depth: int) -> dict[str, Json]:
    """Normalizes an object in which names become alike: no value may hide another."""
    normal: dict[str, Json] = {}
    for key, item in value.items():
        name = replace_unstorable(key)
        while name in normal:
            name += "'"
        normal[name] = normalize_json(item, depth + 1)
    return normal


def replace_unstorable(text: str) -> str:
    """Returns the text with U+FFFD for NUL and lone surrogates, which databases and encodings refuse."""
    return text if text.isascii() and "\0" not in text else _UNSTORABLE.sub("\ufffd", text)


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
    return f"… ({_size(value):,} bytes of JSON, too large to keep)"


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
