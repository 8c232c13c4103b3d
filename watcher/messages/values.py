"""Pure: parameters of requests as text: names, values, and a line that tells two requests apart."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from watcher.messages.formatting import count
from watcher.models import Json
from watcher.sanitize.redactor import MASK
from watcher.sanitize.text import clean_lines, dedent, escape_invisible, is_blank, one_line, truncate

_PLAIN_NAME: Final = re.compile(r"[\w.:/-]{1,200}")
_SPACED: Final = re.compile(r"\s(?:\s|(?<=[\t\n])|(?<=^\s)|$)")
_LINE: Final = 160
"""A longer value is shown on lines of its own."""
_BRIEF_VALUES: Final = 20
_BRIEF_NAME, _BRIEF_VALUE, _BRIEF_READ = 60, 40, 1000
"""Characters of each name, and of each value where more than one are to fit into a line; and looked at."""


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A value as text. A `note` is ours and says what is not there; a `block` keeps lines and spaces."""

    text: str
    kind: Literal["note", "line", "block"]


def show_prompt(prompt: str | None) -> str:
    """Returns a prompt without outer blank lines and common indentation; empty where nothing of it shows."""
    return "" if is_blank(prompt or "") else dedent(clean_lines(prompt or ""))


def has_columns(text: str) -> bool:
    """Returns whether spaces or tabs within the lines of a text may align something."""
    return any("  " in line.strip() or "\t" in line for line in text.split("\n"))


def show_name(name: str) -> str:
    """Returns the name of a parameter, in quotes and with escapes where it is not a plain word."""
    return name if _PLAIN_NAME.fullmatch(name) else escape_invisible(json.dumps(name, ensure_ascii=False))


def show_value(value: Json) -> ShownValue:
    """Returns any value of a parameter as text; objects and lists become indented JSON."""
    if isinstance(value, str):
        return _show_text(value)
    if value is None:
        return ShownValue("(none)", "note")
    if isinstance(value, dict | list) and value:
        return ShownValue(_as_json(value, indent=2), "block")
    return ShownValue(_as_json(value), "line")


def brief_parameters(params: Json, room: int) -> str:
    """Returns the first parameters in a line of at most `room` characters: `amount: 620, data.order: A-7`.

    Values inside objects and lists are named by their path.
    """
    leaves = list(islice(_leaves(params), _BRIEF_VALUES))
    parts: list[str] = []
    left = room
    for path, value in leaves:
        text = one_line(value[:_BRIEF_READ]) if isinstance(value, str) else _as_json(value)
        unread = max(len(value) - _BRIEF_READ, 0) if isinstance(value, str) else 0
        most = room - len(path) - 2 if len(leaves) == 1 else _BRIEF_VALUE
        part = f"{path}: {truncate(text, max(most, 0), missing=unread)}"
        if parts and len(part) > left:
            break
        parts.append(truncate(part, left))
        left -= len(part) + 2
    return ", ".join(parts)


def map_leaves(value: Json, change: Callable[[str], str]) -> Json:
    """Returns a JSON value with every text and name in it changed; names that become alike stay apart."""
    match value:
        case str():
            return change(value)
        case dict():
            changed: dict[str, Json] = {}
            for key, item in value.items():
                name = change(key)
                while name in changed:
                    name += "'"
                changed[name] = map_leaves(item, change)
            return changed
        case list():
            return [map_leaves(item, change) for item in value]
        case _:
            return value


def _show_text(value: str) -> ShownValue:
    if value in {"", MASK}:
        return ShownValue(value or "(empty)", "note")
    if is_blank(value):
        return ShownValue(f"(nothing visible, {count(len(value), 'character')})", "note")
    text = clean_lines(value)
    return ShownValue(text, "block" if _SPACED.search(text) or len(text) > _LINE else "line")


def _as_json(value: Json, indent: int | None = None) -> str:
    try:
        return escape_invisible(json.dumps(value, ensure_ascii=False, indent=indent))
    except (RecursionError, ValueError):
        return "(cannot be shown)"


def _leaves(value: Json, path: str = "", depth: int = 0) -> Iterator[tuple[str, Json]]:
    """Yields the values inside a value by their paths, without those that tell nothing apart."""
    match value:
        case dict() if depth < 5:  # noqa: PLR2004 - a longer path would fill the line
            for key, item in value.items():
                yield from _leaves(
                    item, f"{path}.{show_name(truncate(key, _BRIEF_NAME))}".lstrip("."), depth + 1
                )
        case list() if depth < 5:  # noqa: PLR2004 - as above
            for number, item in enumerate(value):
                yield from _leaves(item, f"{path}[{number}]", depth + 1)
        case None | "" | dict() | list():
            pass
        case str() if value == MASK or is_blank(value):
            pass
        case _:
            yield path or "params", value
