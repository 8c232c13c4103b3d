"""The configuration as it lies about: the TOML file and the environment, as nested tables."""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from watcher.config import file as config_file
from watcher.config.fields import NOTIFIER_TABLES, SECRET_TYPES, AppTable, Settings
from watcher.sanitize.text import truncate

PREFIX: Final = "WATCHER_"
APP_SHORTCUTS: Final = ("base_url", "access_key", "access_key_file", "user_id", "session_id")
NOTIFIER_SHORTCUTS: Final = {
    "slack_bot_token": ("slack", "bot_token"),
    "slack_bot_token_file": ("slack", "bot_token_file"),
    "slack_channel": ("slack", "channel"),
    "slack_webhook_url": ("slack", "webhook_url"),
    "slack_webhook_url_file": ("slack", "webhook_url_file"),
    "webhook_url": ("webhook", "url"),
    "webhook_url_file": ("webhook", "url_file"),
    "webhook_secret": ("webhook", "secret"),
    "webhook_secret_file": ("webhook", "secret_file"),
}
OTHER_VARIABLES: Final = ("config", "app_name")

_LONGEST_GIVEN: Final = 100
"""Characters of a value in a problem: enough to recognize it."""

_KUBERNETES: Final = re.compile(
    r"WATCHER_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""What Kubernetes puts into every container beside a Service named `watcher`."""

Tree = dict[str, Any]


@dataclass(slots=True)
class Source:
    """One source: nested tables, and the variable of each value, by dotted name, if it has one.

    `told` are the settings that a problem is about, so that their absence is not another one.
    """

    tree: Tree = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


def read_toml(named: Path | None, environ: Mapping[str, str], directory: Path) -> Source:
    """Reads the file that was named, else `config.toml` if there is one."""
    source = Source()
    found = config_file.find(named, environ, directory)
    if found is None:
        return source
    path, origin = found.path, found.origin
    try:
        source.tree = config_file.read(path)
    except OSError as error:
        source.problems.append(f"{origin}: cannot read {path}: {error.strerror}")
    except tomllib.TOMLDecodeError as error:
        source.problems.append(f"{path}: it is not TOML: {error}")
    except UnicodeDecodeError:
        source.problems.append(f"{path}: it is not UTF-8 text")
    except ValueError as error:  # what it holds is too much, or a NUL is in the path
        source.problems.append(f"{origin}: cannot read {path}: {error}")
    if source.problems:
        source.told |= {"apps", "notifiers"}  # nobody knows which there are
    _refuse_unknown(source, path)
    return source


def read_environment(environ: Mapping[str, str]) -> Source:
    """Reads the WATCHER_ variables. Empty ones count as not set, unknown ones are a warning."""
    source = Source()
    app = environ.get("WATCHER_APP_NAME", "").strip().lower() or "default"
    for variable in sorted(environ):
        value = environ[variable]
        if not variable.startswith(PREFIX) or not value.strip() or _is_from_kubernetes(variable, value):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in OTHER_VARIABLES:
            continue
        path = _path(name, app)
        known = _annotation(path) if _is_text("".join(path)) else None
        if known is None:
            hint = _hint(_closest(variable, _variables(path)))
            source.warnings.append(f"{variable}: unknown setting{hint}")
            continue
        try:
            found = json.loads(value) if _is_structure(known) else value.strip()
            if _is_text(found):
                _put(source, path, variable, found)
            else:
                _refuse_value(source, path, variable, "must be UTF-8 text")
        except (ValueError, RecursionError):
            example = '{"a": "b"}' if path[-1] == "headers" else '["a", "b"]'
            _refuse_value(source, path, variable, f"{given(path, value)}must be JSON, such as {example}")
    _add_common_key(source, app, environ)
    return source


def _is_text(value: Any) -> bool:
    """Tells whether no lone surrogate is in a value: pydantic would not call a key with one by its name."""
    try:
        return bool(json.dumps(value, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


def given(path: Iterable[str], value: Any) -> str:
    """Says what was given, unless a secret may stand in it: by its name, or before the @ of a URL."""
    if any(step in SECRET_TYPES or step == "headers" for step in path):
        return ""
    match value:
        case dict():
            return "got a table; "
        case list():
            return "got a list; "
        case bool():
            return f"got {str(value).lower()}; "
        case _:
            return "" if "@" in str(value) else f"got {truncate(repr(value), _LONGEST_GIVEN)}; "


def drop_twins(stronger: Tree, weaker: Tree) -> None:
    """Drops from one source what a stronger one gives in the other of the two forms of a secret."""
    for name, value in stronger.items():
        if isinstance(value, dict):  # one app may be named like another with `_file`
            if isinstance(weaker.get(name), dict):
                drop_twins(value, weaker[name])
        elif name.endswith("_file") and name != "ca_file":
            weaker.pop(name.removesuffix("_file"), None)
        else:
            weaker.pop(f"{name}_file", None)


def set_aside_misplaced(environment: Source, file: Source) -> None:
    """Turns variables for what another type of notifier has into warnings, as all unknown ones are."""
    for name, table in environment.tree.get("notifiers", {}).items():
        kinds = {"notifiers": {name: {**file.tree.get("notifiers", {}).get(name, {}), **table}}}
        allowed = list(fields_of(kinds, "notifiers", name))
        for key in [key for key in table if key not in allowed]:
            variable = environment.variables.pop(f"notifiers.{name}.{key}")
            environment.warnings.append(f"{variable}: a notifier of this type has no {key}")
            del table[key]


def fields_of(tree: Tree, table: str, name: str) -> Iterable[str]:
    """Returns the settings that one app or notifier can have."""
    if table == "apps":
        return AppTable.model_fields
    kind = str(tree.get("notifiers", {}).get(name, {}).get("type"))
    models = [NOTIFIER_TABLES[kind]] if kind in NOTIFIER_TABLES else list(NOTIFIER_TABLES.values())
    return dict.fromkeys(key for model in models for key in model.model_fields)


def _is_from_kubernetes(variable: str, value: str) -> bool:
    """Tells what a Service named `watcher`, or `watcher-http`, leaves in every environment."""
    return bool(_KUBERNETES.fullmatch(variable) or re.fullmatch(r"(tcp|udp|sctp)://\S+:\d+", value))


def _add_common_key(source: Source, app: str, environ: Mapping[str, str]) -> None:
    key = environ.get("DYNAMIQ_ACCESS_KEY", "")
    table = source.tree.get("apps", {}).get(app, {})
    if key.strip() and "base_url" in table and not {"access_key", "access_key_file"} & table.keys():
        _put(source, ("apps", app, "access_key"), "DYNAMIQ_ACCESS_KEY", key)


def _path(name: str, app: str) -> tuple[str, ...]:
    if name in APP_SHORTCUTS:
        return ("apps", app, name)
    if name in NOTIFIER_SHORTCUTS:
        return ("notifiers", *NOTIFIER_SHORTCUTS[name])
    return tuple(name.split("__"))


def _annotation(path: tuple[str, ...]) -> Any:
    """Returns the type of a setting, None if there is no such setting."""
    match path:
        case (name,) if name in Settings.model_fields and name not in {"apps", "notifiers"}:
            return Settings.model_fields[name].annotation
        case ("apps", app, name) if app and name in AppTable.model_fields:
            return AppTable.model_fields[name].annotation
        case ("notifiers", notifier, name) if notifier:
            for model in NOTIFIER_TABLES.values():
                if name in model.model_fields:
                    return model.model_fields[name].annotation
    return None


def _variables(path: tuple[str, ...]) -> Iterator[str]:
    for name in [*Settings.model_fields, *APP_SHORTCUTS, *NOTIFIER_SHORTCUTS, *OTHER_VARIABLES]:
        yield PREFIX + name.upper()
    if len(path) == 3 and path[0] in {"apps", "notifiers"}:  # noqa: PLR2004 - table, name, setting
        for name in fields_of({}, path[0], path[1]):
            yield PREFIX + "__".join((*path[:2], name)).upper()


def _is_structure(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return any(_is_structure(part) for part in get_args(annotation))
    if origin is Literal:
        return False
    return origin in {list, dict}


def _put(source: Source, path: tuple[str, ...], variable: str, value: Any) -> None:
    table = source.tree
    for step in path[:-1]:
        table = table.setdefault(step, {})
    table[path[-1]] = value
    source.variables[".".join(path)] = variable
    if path[:2] in {("notifiers", "slack"), ("notifiers", "webhook")} and not variable.startswith(
        "WATCHER_NOTIFIERS__"
    ):
        table.setdefault("type", path[1])


def _refuse_value(source: Source, path: tuple[str, ...], variable: str, words: str) -> None:
    name = ".".join(path)
    source.problems.append(f"{name} ({variable}): {words}")
    source.told.add(name)


def _refuse_unknown(source: Source, path: Path) -> None:
    """Unknown keys are taken out, so that each is one problem."""

    def refuse(table: Tree, prefix: str, allowed: Iterable[str]) -> None:
        for name in [key for key in table if key not in allowed]:
            close = _closest(name, allowed)
            source.problems.append(f"{prefix}{name}: unknown setting in {path}{_hint(close)}")
            source.told.update(f"{prefix}{meant}" for meant in close)
            del table[name]

    refuse(source.tree, "", Settings.model_fields)
    for table in ("apps", "notifiers"):
        if not _holds_tables(source.tree.get(table, {})):
            source.problems.append(f"{table}: must be tables by name, [{table}.NAME], in {path}")
            source.told.add(table)
            del source.tree[table]
        for entry, values in source.tree.get(table, {}).items():
            refuse(values, f"{table}.{entry}.", list(fields_of(source.tree, table, entry)))


def _holds_tables(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())


def _closest(name: str, allowed: Iterable[str]) -> list[str]:
    return get_close_matches(name, list(allowed), n=1, cutoff=0.6)


def _hint(close: Iterable[str]) -> str:
    return "".join(f"; did you mean {meant}?" for meant in close)
