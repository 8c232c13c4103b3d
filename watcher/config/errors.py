"""The problems of a configuration that cannot be used, each as one line in our own words.

A line names the setting as its user writes it, what was given (but no secret), and what is allowed.
"""

import re
from collections.abc import Container, Iterable
from difflib import get_close_matches
from typing import Any, Final

from watcher.config.fields import SECRETS
from watcher.config.models import NOTIFIERS
from watcher.sanitize.text import one_line, truncate

Place = tuple[str, ...]
"""Where a setting stands: its table, the name of the app or notifier, and its key."""

ABSENT: Final = frozenset({"missing", "one_of", "required", "union_tag_not_found"})
"""Types of errors about a setting that was not given."""

_GIVEN_MAX: Final = 100
"""Characters that are shown of a value: enough to recognize it."""
_SENTENCES: Final = frozenset({"both", "one_of", "own_header", "required", "unreadable"})
"""Types of errors that come from `fields.sentence`."""
_ALLOWED: Final = {
    "bool": "true or false", "dict": "a table", "model": "a table", "path": "the path of a file",
    "string": "a text", "tuple": "a list",
}  # fmt: skip
"""By how the types of pydantic's errors begin, https://docs.pydantic.dev/latest/errors/validation_errors/."""
_JSON: Final = {"dict_type": '{"a": "b"}', "tuple_type": '["a", "b"]'}


class ConfigError(Exception):
    """The configuration cannot be used; each of `problems` is one line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(one_line(problem) for problem in problems)
        super().__init__("\n".join(self.problems))


def place_of(item: Any) -> Place:
    """Returns where the setting stands that one of pydantic's errors is about.

    Pydantic also names the type of a notifier, and marks keys.
    """
    steps = tuple(str(step) for step in item["loc"])
    if steps[0] == "notifiers" and steps[2:3] and steps[2] in NOTIFIERS:
        steps = steps[:2] + steps[3:]
    if str(item["type"]).startswith("union_tag"):
        return (*steps, "type")
    return steps[:-1] if steps[-1] == "[key]" or item["type"] == "one_of" else steps


def explain(item: Any, where: Place, variables: Container[Place]) -> str:
    """Returns in words what one of pydantic's errors says; `variables` holds what comes from variables."""
    kind, value = str(item["type"]), item["input"]
    if kind in _SENTENCES or kind == "missing":
        return "is required" if kind == "missing" else str(item["msg"])
    if kind.startswith("union_tag"):
        value, allowed = value.get("type"), f"one of: {', '.join(NOTIFIERS)}"
        if value is None:
            return f"is required; must be {allowed}"
    elif kind == "value_error":
        allowed = str(item["ctx"]["error"])
    elif kind == "literal_error":
        allowed = "one of: " + str(item["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
    elif kind in _JSON and where in variables and isinstance(value, str):
        allowed = f"JSON, such as {_JSON[kind]}"
    elif kind == "dict_type" and len(where) == 1:
        allowed = f"tables by name, [{where[0]}.NAME]"
    else:
        allowed = _ALLOWED.get(kind.partition("_")[0], "of another type")
    return f"{_given(where, value)}must be {allowed}"


def _given(where: Place, value: Any) -> str:
    """Says what was given, unless a secret may stand in it: by its name, or in a URL."""
    if not SECRETS.isdisjoint(step.removesuffix("_file") for step in where) or "headers" in where:
        return ""
    if isinstance(value, dict | list | tuple):
        return f"got a {'table' if isinstance(value, dict) else 'list'}; "
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    # The match takes time that is linear in the length of what was given.
    may_be_secret = re.match("['\"]*[^'\"].*@", shown) or "password=" in shown
    return "" if may_be_secret else f"got {truncate(shown, _GIVEN_MAX)}; "


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """Returns the allowed name that was probably meant, if there is one."""
    return next(iter(get_close_matches(name, list(allowed), n=1)), None)


def hint(meant: str | None) -> str:
    """Returns the end of a line about an unknown name."""
    return f"; did you mean {meant}?" if meant else ""
