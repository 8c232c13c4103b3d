"""Checks the settings: every problem is found at once, and is one line in our own words."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from watcher.config.fields import NOTIFIER_TABLES, Settings
from watcher.config.reading import APP_SHORTCUTS, Source, Tree, given

_ALLOWED: Final = {
    "bool": "true or false",
    "dict": "a table",
    "list": "a list",
    "model": "a table",
    "path": "the path of a file",
    "string": "a text",
}
"""By how the kinds of pydantic's errors begin, https://docs.pydantic.dev/latest/errors/validation_errors/."""

_STAND_IN: Final = "https://stand-in.invalid"
"""Instead of a base URL that is missing or wrong, so that the rest of its app can be checked."""


_ROUNDS: Final = 10
"""How often checking goes on after something was taken out; each round finds all that it can see."""


class Problems:
    """What is wrong with the settings, a line each, and which settings that was said of."""

    def __init__(self, environment: Source, file: Source) -> None:
        self.lines = [*file.problems, *environment.problems]
        self._told = environment.told | file.told
        self._variables: Mapping[str, str] = environment.variables

    def add(self, name: str, words: str, *, variable: str | None = None) -> None:
        """Adds a problem of a setting; `variable` is one that it might be set by, where none does."""
        label = f"{name} ({variable})" if variable else self._label(name)
        self.lines.append(f"{label}: {words}")
        self._told.add(name)

    def already_reported(self, *names: str) -> bool:
        """Tells whether something is wrong with one of these settings, or with all of a table it is in."""
        return any(f"{name}.".startswith(f"{told}.") for name in names for told in self._told)

    def told_in(self, table: str) -> list[str]:
        """Returns the names of the apps or notifiers that something is wrong with; "" is the whole table."""
        paths = [name.split(".") for name in sorted(self._told)]
        return ["".join(path[1:2]) for path in paths if path[0] == table]

    def _label(self, name: str) -> str:
        """Names a setting, with its variable if it came from one (a list's items came with the list)."""
        for prefix in (name, name.rpartition(".")[0]):
            if prefix in self._variables:
                return f"{name} ({self._variables[prefix]})"
        return name


def checked(environment: Source, file: Source, problems: Problems) -> Settings:
    """Returns the settings without what is wrong with them, which is added to the problems.

    What is wrong is taken out of both sources. What could not be taken out takes all with it, in the end.
    """
    for _ in range(_ROUNDS):
        try:
            return _validate(environment.tree, file.tree)
        except ValidationError as error:
            found = error.errors(include_url=False)
        for item in found:
            path = _path(item["loc"])
            _add(problems, path, item, environment)
            for tree in (environment.tree, file.tree):
                _take_out(tree, path)
            if path[0] == "apps" and path[2:] == ["base_url"]:
                file.tree.setdefault("apps", {}).setdefault(path[1], {})["base_url"] = _STAND_IN
    return _validate({}, {})


def _validate(environment: Tree, file: Tree) -> Settings:
    class Given(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (InitSettingsSource(settings_cls, environment), InitSettingsSource(settings_cls, file))

    return Given()


def _path(loc: Iterable[str | int]) -> list[str]:
    """Returns where a setting stands in the file; pydantic also names a notifier's type and marks keys."""
    path = [str(step) for step in loc]
    if path[0] == "notifiers" and path[2:3] and path[2] in NOTIFIER_TABLES:
        del path[2]
    return path[:-1] if path[-1] == "[key]" else path


def _take_out(tree: Tree, path: list[str]) -> None:
    """Takes out a setting; a list goes as a whole, because all of it comes from one source."""
    table = tree
    for step in path[:-1]:
        if not isinstance(table.get(step), dict):
            table.pop(step, None)
            return
        table = table[step]
    table.pop(path[-1], None)


def _add(problems: Problems, path: list[str], item: Any, environment: Source) -> None:
    name, kind = ".".join(path), str(item["type"])
    if kind == "missing" and problems.already_reported(name):
        return  # it is misspelt
    if kind == "missing":
        problems.add(name, "is missing", variable=_variable(path, environment))
    elif kind.startswith("union_tag"):
        types = "must be slack, webhook, console or apprise"
        kind_given = item["input"].get("type") if isinstance(item["input"], dict) else item["input"]
        got = "is missing; " if kind_given is None else given(path, kind_given)
        problems.add(f"{name}.type", f"{got}{types}")
    else:
        problems.add(name, f"{given(path, item['input'])}{_allowed(item)}")


def _allowed(item: Any) -> str:
    match str(item["type"]):
        case "value_error":
            return f"must be {item['ctx']['error']}"
        case "literal_error":
            return "must be " + str(item["ctx"]["expected"]).replace("'", "")
        case "extra_forbidden":
            return "is not a setting of this type of notifier"
        case kind:
            return f"must be {_ALLOWED.get(kind.partition('_')[0], 'of another type')}"


def _variable(path: list[str], environment: Source) -> str | None:
    """Names the variable of what an app must have: the short one for an app that short ones make."""
    if path[0] != "apps" or path[-1] not in APP_SHORTCUTS:
        return None
    short = [f"WATCHER_{name.upper()}" for name in APP_SHORTCUTS]
    used = [
        variable for name, variable in environment.variables.items() if name.startswith(f"apps.{path[1]}.")
    ]
    if any(variable in short for variable in used):
        return f"WATCHER_{path[-1].upper()}"
    return "WATCHER_" + "__".join(path).upper()
