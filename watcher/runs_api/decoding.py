"""Pure: JSON documents as they come over the wire, however large or odd."""

import json
import re
from typing import Final

from pydantic_core import from_json

from watcher.models import Json

LARGE: Final = 256 * 1024
"""Bytes from which on reading a document takes so long that others notice."""

ITEMS_MAX: Final = 100_000
"""Items of a list directly in a large document: 32 MiB of `{},` would take seconds and gigabytes."""

_SPACE: Final = re.compile(r"[ \t\n\r]*")


def parse_json(body: bytes) -> Json:
    """Returns the JSON document.

    The fast parser refuses lone surrogates, deep nesting and endless numbers, which one run's text must
    not make the whole page unreadable; the patient one then has its turn. A large document is read in
    steps, between which other threads run.

    Raises:
        ValueError: it is no JSON, or its list is too long to be one of runs.
    """
    try:
        if len(body) > LARGE:
            return _in_steps(body.decode(json.detect_encoding(body), "surrogatepass"))
        try:
            return from_json(body)
        except ValueError:
            return json.loads(body, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole_number(digits: str) -> int | str:
    """Python converts no more digits than a limit; what is longer stays text."""
    try:
        return int(digits)
    except ValueError:
        return digits


_QUICK: Final = json.JSONDecoder()
_PATIENT: Final = json.JSONDecoder(parse_int=_whole_number)


def _in_steps(text: str) -> Json:
    """Reads an outermost object, and the lists directly in it, item by item; anything else at once."""
    start = _next(text, 0)
    document, end = _object(text, start) if text.startswith("{", start) else _value(text, start)
    end = _next(text, end)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return document


def _object(text: str, start: int) -> tuple[dict[str, Json], int]:
    members: dict[str, Json] = {}
    index = _next(text, start + 1)
    if text.startswith("}", index):
        return members, index + 1
    while True:
        if not text.startswith('"', index):
            raise json.JSONDecodeError("Expecting a name in double quotes", text, index)
        name, index = _value(text, index)
        index = _next(text, _expect(":", text, index))
        members[name], index = _list(text, index) if text.startswith("[", index) else _value(text, index)
        index = _next(text, index)
        if text.startswith("}", index):
            return members, index + 1
        index = _next(text, _expect(",", text, index))


def _list(text: str, start: int) -> tuple[list[Json], int]:
    items: list[Json] = []
    index = _next(text, start + 1)
    if text.startswith("]", index):
        return items, index + 1
    while True:
        item, index = _value(text, index)
        items.append(item)
        if len(items) > ITEMS_MAX:
            raise ValueError(f"a list of more than {ITEMS_MAX} items")
        index = _next(text, index)
        if text.startswith("]", index):
            return items, index + 1
        index = _next(text, _expect(",", text, index))


def _value(text: str, start: int) -> tuple[Json, int]:
    try:
        return _QUICK.raw_decode(text, start)
    except ValueError:
        return _PATIENT.raw_decode(text, start)


def _expect(character: str, text: str, start: int) -> int:
    index = _next(text, start)
    if not text.startswith(character, index):
        raise json.JSONDecodeError(f"Expecting {character!r}", text, index)
    return index + 1


def _next(text: str, start: int) -> int:
    """Returns where the space that may begin there ends."""
    match = _SPACE.match(text, start)
    assert match is not None
    return match.end()
