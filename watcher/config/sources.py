"""How the configuration comes together: command line > environment > secret file > TOML file > default.

Every problem is found at once and is one line that names the setting; no line shows a secret.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import from_json
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from watcher.config import errors
from watcher.config import file as config_file
from watcher.config.errors import Place
from watcher.config.fields import LOOPBACK, Loading, format_duration
from watcher.config.models import NOTIFIERS, AppConfig, AppDefaults, Config, GlobalSettings, Settings, Table
from watcher.proxies import proxies_with_credentials, proxy_problems
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

PREFIX: Final = "WATCHER_"
SHORT_VARIABLES: Final[Mapping[str, Place]] = {
    f"WATCHER_{short}": (table, name, key)
    for table, name, prefix, keys in (
        ("apps", "default", "", "BASE_URL ACCESS_KEY ACCESS_KEY_FILE USER_ID SESSION_ID"),
        ("notifiers", "slack", "SLACK_", "BOT_TOKEN BOT_TOKEN_FILE CHANNEL WEBHOOK_URL WEBHOOK_URL_FILE"),
        ("notifiers", "webhook", "WEBHOOK_", "URL URL_FILE SECRET SECRET_FILE"),
    )
    for short, key in ((prefix + key, key.lower()) for key in keys.split())
}
"""What one app and the common notifiers need; `WATCHER_APP_NAME` gives the app another name."""
COMMON_KEY: Final = "DYNAMIQ_ACCESS_KEY"
"""The access key of that app if it has no other."""
TABLE_STEPS: Final = 2
"""Steps to the table of an app or a notifier: what it is, and its name."""
OTHER_VARIABLES: Final = ("WATCHER_CONFIG", "WATCHER_APP_NAME")
"""Variables that are no settings."""

Tree = dict[str, Any]


class _Fields(BaseSettings, Settings):
    """The settings as pydantic-settings looks for them in the environment."""

    model_config = SettingsConfigDict(env_nested_delimiter="__", case_sensitive=True)


class _Environment(EnvSettingsSource):
    """Reads variables that are named in lower case without prefix; what is no JSON is left to validation."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        super().__init__(_Fields)
        self.env_vars = variables

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Returns a list or table from JSON."""
        del field_name, field
        try:
            return from_json(value)
        except ValueError:
            return value


@dataclass(slots=True)
class _Sources:
    """What the sources give, and what is wrong with it apart from values."""

    file: Tree = field(default_factory=dict)
    variables: dict[Place, str] = field(default_factory=dict)
    """The variable that a setting comes from."""
    app: str = "default"
    """The app of the short variables."""
    problems: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """A warning for each variable that sets nothing."""
    warnings: list[str] = field(default_factory=list)
    excused: set[Place] = field(default_factory=set)
    """Settings and tables that may be absent because of another problem, a misspelling for example."""

    def excuses(self, where: Place) -> bool:
        """Tells whether a setting, or all of a table, may be absent because of another problem."""
        return any(place[: len(where)] == where or not place for place in self.excused)

    def origin(self, where: Place) -> str:
        """Says where a setting comes from."""
        value: Any = self.file
        for step in where:
            value = value.get(step) if isinstance(value, dict) else None
        return "env" if where in self.variables else "default" if value is None else "file"

    def variable_within(self, where: Place) -> str | None:
        """Returns a variable that a setting, or a part of a table, comes from."""
        return next((name for place, name in self.variables.items() if place[: len(where)] == where), None)

    def label(self, where: Place, *, absent: bool) -> str:
        """Names a setting as it is written, with its variable; for one that is absent, the one to set."""
        twin = (*where[:-1], f"{where[-1]}_file")
        if self.origin(where) == "default" and self.origin(twin) != "default":
            where = twin
        variable = self.variables.get(where) or self.variables.get(where[:-1])
        if len(where) == TABLE_STEPS:
            renamed = where == ("apps", self.app) != ("apps", "default")
            variable = "WATCHER_APP_NAME" if renamed else self.variable_within(where)
        elif absent and variable is None:
            usual = ("apps", "default", *where[2:]) if where[:2] == ("apps", self.app) else where
            short = (name for name, place in SHORT_VARIABLES.items() if place == usual)
            variable = next(short, PREFIX + "__".join(where).upper())
        return ".".join(where) + (f" ({variable})" if variable else "")


def load(
    config_file: Path | None, *, environ: Mapping[str, str], directory: Path, need_secrets: bool = True
) -> Config:
    """Returns the configuration. `directory` is where `config.toml` is looked for.

    Unless there is `need_secrets`, a secret's file that cannot be read now is no problem.

    Raises:
        ConfigError: it has problems.
    """
    sources = _Sources()
    tree = _read(config_file, environ, directory, sources)
    if tree.get("notifiers", {}) == {} and not sources.excuses(("notifiers",)):
        tree["notifiers"] = {"console": {"type": "console"}}
        sources.warnings.append("no notifier is configured: requests are only shown on the console")
    tables = tree.get("notifiers")
    known = [place[1] for place in sources.excused if place[:1] == ("notifiers",) != place]
    names = None if () in sources.excused or not isinstance(tables, dict) else [*tables, *known]
    loading = Loading(Redactor(), need_secrets, names, sources.warnings)
    for proxy in proxies_with_credentials(environ):
        loading.redactor.add_secret(proxy)
    try:
        settings = Settings.model_validate(tree, context=loading)
    except ValidationError as error:
        sources.problems += _explained(error, sources)
    if tree.get("apps", {}) == {} and not sources.excuses(("apps",)):
        sources.problems.append("no app is configured; set WATCHER_BASE_URL, or [apps.NAME] in the file")
    sources.problems += proxy_problems(environ)
    if sources.problems:
        raise errors.ConfigError([*sources.problems, *sources.unknown])
    for app in settings.apps.values():
        sources.warnings += _app_warnings(app)
    used = {name for app in settings.apps.values() for name in app.notify}
    sources.warnings += [
        f"notifiers.{name}: no app uses it" for name in settings.notifiers if name not in used
    ]
    values = dict(settings) | {name: tuple(dict(settings)[name].values()) for name in ("apps", "notifiers")}
    return Config.model_construct(
        **values,
        warnings=(*sources.unknown, *sources.warnings),
        shown=tuple(_rows(settings, sources)),
        redactor=loading.redactor,
    )


def _explained(error: ValidationError, sources: _Sources) -> Iterator[str]:
    for item in error.errors(include_url=False):
        where, absent = errors.place_of(item), item["type"] in errors.ABSENT
        if not (absent and sources.excuses(where)):
            yield f"{sources.label(where, absent=absent)}: {errors.explain(item, where, sources.variables)}"


def _read(named: Path | None, environ: Mapping[str, str], directory: Path, sources: _Sources) -> Tree:
    """Returns file and environment merged, without what is unknown."""
    found = config_file.find(named, environ, directory)
    try:
        sources.file = config_file.read(found) if found else {}
    except config_file.ConfigFileError as error:
        sources.problems.append(str(error))
        sources.excused.add(())
    tree = _merged(_read_environment(environ, sources), sources.file)
    for where, table in _tables(tree):
        allowed = [*_keys(where, table.get("type")), *(() if where else ("apps", "notifiers"))]
        for key in [key for key in table if key not in allowed]:
            if variable := sources.variable_within((*where, key)):
                sources.unknown.append(f"{variable}: a notifier of this type has no {key}")
            else:
                meant, name = errors.closest(key, allowed), ".".join((*where, key))
                more = _elsewhere(key, where) or errors.hint(meant)
                sources.problems.append(f"{name}: unknown setting in {found and found.path}{more}")
                sources.excused.add((*where, meant or key))
            del table[key]
    return tree


def _read_environment(environ: Mapping[str, str], sources: _Sources) -> Tree:
    """Reads the variables. Empty ones count as not set, unknown ones are a warning."""
    app = environ.get("WATCHER_APP_NAME", "").strip().lower() or "default"
    if "__" in f"_{app}_":
        sources.problems.append("WATCHER_APP_NAME: must be a name without __, and without _ at either end")
        app = "default"
    sources.app = app
    given: dict[str, str] = {}
    for name in sorted(environ):
        value = environ[name].strip()
        if not name.startswith(PREFIX) or name in OTHER_VARIABLES or not value:
            continue
        if config_file.is_from_kubernetes(name, value):
            continue
        where = SHORT_VARIABLES.get(name) or tuple(name.removeprefix(PREFIX).lower().split("__"))
        if name in SHORT_VARIABLES and where[0] == "apps":
            where = ("apps", app, where[2])
        elif name in SHORT_VARIABLES:
            given.setdefault(f"notifiers__{where[1]}__type", where[1])
        if re.search("[\ud800-\udfff]", f"{where}{value}"):
            sources.problems.append(f"{name}: must be UTF-8 text")
            sources.excused.add(where)
        elif where[-1] in _keys(where[:-1]) or _is_header(where):
            sources.variables[where] = name
            given["__".join(where)] = value
        else:
            meant = errors.closest(name, _candidates(where))
            sources.unknown.append(f"{name}: unknown setting{errors.hint(meant)}")
    key, common = ("apps", app, "access_key"), environ.get(COMMON_KEY, "").strip()
    others = {key, (*key[:2], "access_key_file")} & sources.variables.keys()
    if common and ("apps", app, "base_url") in sources.variables and not others:
        sources.variables[key] = COMMON_KEY
        given["__".join(key)] = common
    own = set(GlobalSettings.setting_names()) - set(GlobalSettings.model_fields)  # pydantic knows no twins
    return _Environment(given)() | {key: given[key] for key in own & given.keys()}


def _candidates(where: Place) -> Iterator[str]:
    """Yields the variables that an unknown one may have been meant to be."""
    yield from (*SHORT_VARIABLES, *OTHER_VARIABLES)
    for table in {(), where[:-1]}:
        yield from (PREFIX + "__".join((*table, key)).upper() for key in _keys(table))


def _keys(table: Place, notifier_type: object = None) -> list[str]:
    """Returns what can be set in a table; for a notifier of unknown type what can be set for any."""
    match table:
        case ():
            return GlobalSettings.setting_names()
        case ("apps", name) if name:
            return AppConfig.setting_names()
        case ("notifiers", name) if name:
            model = NOTIFIERS.get(notifier_type) if isinstance(notifier_type, str) else None
            return [
                key for each in ([model] if model else NOTIFIERS.values()) for key in each.setting_names()
            ]
    return []


def _is_header(where: Place) -> bool:
    match where:
        case ("notifiers", name, "headers", header):
            return bool(name and header)
    return False


def _elsewhere(key: str, where: Place) -> str:
    """Says where a setting belongs that stands in the wrong table."""
    if where and key in GlobalSettings.setting_names():
        return f"; {key} belongs above the first [table]"
    for kind in {"apps", "notifiers"} - {*where[:1]}:
        if key in _keys((kind, "NAME")):
            return f"; {key} belongs in [{kind}.NAME]"
    return ""


def _tables(tree: Tree) -> Iterator[tuple[Place, Tree]]:
    """Yields every table with its place; validation refuses what stands where a table belongs."""
    yield (), tree
    for kind in ("apps", "notifiers"):
        entries = tree.get(kind)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if isinstance(entry, dict):
                yield (kind, name), entry


def _merged(stronger: Tree, weaker: Tree) -> Tree:
    """Merges tables; a secret in either form takes the place of both forms in the weaker source."""
    merged = dict(weaker)
    for key, value in stronger.items():
        if not isinstance(value, dict):
            merged.pop(key.removesuffix("_file") if key.endswith("_file") else f"{key}_file", None)
    for key, value in stronger.items():
        below = merged.get(key, {})
        if not isinstance(value, dict):
            merged[key] = value
        elif isinstance(below, dict):
            merged[key] = _merged(value, below)
    return merged


def _app_warnings(app: AppConfig) -> Iterator[str]:
    url = urlsplit(app.base_url)
    if url.scheme == "http" and not LOOPBACK.fullmatch(url.hostname or ""):
        yield f"apps.{app.name}.base_url: http:// sends the access key unencrypted"
    if not app.notify:
        yield f"apps.{app.name}.notify: is empty, so no one is notified about this app"


def _rows(settings: Settings, sources: _Sources) -> Iterator[tuple[str, str, str]]:
    """Yields what `watcher config` shows of every setting: name, value, and where the value comes from."""
    tables: dict[Place, Table] = {(): settings}
    tables |= {("notifiers", name): notifier for name, notifier in settings.notifiers.items()}
    tables |= {("apps", name): app for name, app in settings.apps.items()}
    for place, table in tables.items():
        for key in type(table).setting_names() if place else GlobalSettings.setting_names():
            where, value = (*place, key), getattr(table, key, None)
            origin = sources.origin(where)
            inherited = origin == "default" and key in AppDefaults.model_fields and bool(place)
            if key not in type(table).model_fields or inherited:
                continue
            if isinstance(value, Secret) and value.file:
                origin = f"secret file {value.file}"
            yield ".".join(where), _formatted(value), origin


def _formatted(value: Any) -> str:
    match value:
        case Secret():
            return "********"
        case bool():
            return str(value).lower()
        case float():  # only durations are
            return format_duration(value)
        case tuple():
            value = ", ".join(map(_formatted, value))
        case dict():
            value = ", ".join(f"{key}: {_formatted(item)}" for key, item in value.items())
    return str(value) if value not in {None, ""} else "-"
