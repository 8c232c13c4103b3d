"""How the configuration comes together: command line > environment > secret file > TOML file > default.

Every problem is found at once and is one line that names the setting; no line shows a secret.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource

from watcher.config import (
    AppConfig,
    AppriseConfig,
    Config,
    ConsoleConfig,
    NotifierConfig,
    SlackConfig,
    WebhookConfig,
)
from watcher.config_reading import (
    APP_SHORTCUTS,
    Source,
    drop_twins,
    read_environment,
    read_toml,
    set_aside_misplaced,
)
from watcher.config_schema import (
    LOOPBACK,
    SECRET_TYPES,
    AppriseTable,
    AppTable,
    NotifierTable,
    Settings,
    SlackTable,
    Table,
    Url,
    WebhookTable,
)
from watcher.durations import format_duration
from watcher.proxies import proxy_problems
from watcher.secrets import Redactor, Secret, SecretError
from watcher.text import cut, printable

MASKED: Final = "********"
_LONGEST_GIVEN: Final = 100
"""Characters of a value in a problem: enough to recognize it."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WITH_DEFAULTS: Final = ("poll_interval", "link_template", "include_params", "include_input")
"""What an app takes from the top level if it has none of its own."""


class ConfigError(Exception):
    """The configuration cannot be used; each of `problems` is one line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(printable(problem) for problem in problems)
        super().__init__("\n".join(self.problems))


def load(
    config_file: Path | None, *, environ: Mapping[str, str], directory: Path, need_secrets: bool = True
) -> Config:
    """Returns the configuration. `directory` is where `config.toml` is looked for.

    Unless there is `need_secrets`, a secret's file that cannot be read now is no problem.

    Raises:
        ConfigError: it has problems.
    """
    file = read_toml(config_file, environ, directory)
    environment = read_environment(environ)
    set_aside_misplaced(environment, file)
    drop_twins(environment.tree, file.tree)
    problems = [*file.problems, *environment.problems]
    try:
        settings = _validate(environment, file)
    except ValidationError as error:
        raise ConfigError([*problems, *_words(error, environment)]) from None
    loader = _Loader(settings, environment, file, need_secrets=need_secrets)
    config = loader.config(environ)
    problems += [*loader.problems, *proxy_problems(environ)]
    if problems:
        raise ConfigError(problems)
    return config


def effective(config: Config) -> list[tuple[str, str, str]]:
    """Returns every setting in effect: its name, its value with secrets masked, and its origin."""
    return list(config.shown)


def _validate(environment: Source, file: Source) -> Settings:
    class Given(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (
                InitSettingsSource(settings_cls, environment.tree),
                InitSettingsSource(settings_cls, file.tree),
            )

    return Given()


def _words(error: ValidationError, environment: Source) -> Iterator[str]:
    for item in error.errors(include_url=False):
        path = [str(step) for step in item["loc"]]
        if path[0] == "notifiers" and len(path) > 2:  # noqa: PLR2004 - after the name stands the type
            del path[2]
        name = ".".join(path)
        message = str(item["msg"]).removeprefix("Value error, ")
        if item["type"].startswith("union_tag"):
            name += ".type"
            message = "must be slack, webhook, console or apprise"
        elif item["type"] == "value_error":
            message = f"must be {message}"
        label = _label(name, environment)
        if item["type"] == "missing" and path[0] == "apps" and path[-1] in APP_SHORTCUTS:
            label = f"{name} ({_variable(path, environment)})"
        if item["type"] in {"missing", "union_tag_not_found"}:
            yield f"{label}: is missing" + (f"; {message}" if item["type"] != "missing" else "")
        elif _is_secret(path):
            yield f"{label}: {message}"
        else:
            given = item["input"].get("type") if item["type"].startswith("union_tag") else item["input"]
            yield f"{label}: {_given(given)}{message}"


def _label(name: str, environment: Source) -> str:
    """Names a setting, with its variable if it came from one (a list's items came with the list)."""
    for prefix in (name, name.rpartition(".")[0]):
        if prefix in environment.variables:
            return f"{name} ({environment.variables[prefix]})"
    return name


def _variable(path: list[str], environment: Source) -> str:
    """Names the variable of an app's setting: the short one for an app that short ones make."""
    short = [f"WATCHER_{name.upper()}" for name in APP_SHORTCUTS]
    used = [
        variable for name, variable in environment.variables.items() if name.startswith(f"apps.{path[1]}.")
    ]
    if any(variable in short for variable in used):
        return f"WATCHER_{path[-1].upper()}"
    return "WATCHER_" + "__".join(path).upper()


def _given(value: Any) -> str:
    """Says what was given, unless a secret may stand in it: in a table, or before the @ of a URL."""
    if isinstance(value, dict | list) or "@" in str(value):
        return ""
    return f"got {cut(repr(value), _LONGEST_GIVEN)}; "


def _is_secret(path: Iterable[str]) -> bool:
    return any(step in SECRET_TYPES or step == "headers" for step in path)


class _Loader:
    """Resolves validated settings, collecting problems and warnings on the way."""

    def __init__(self, settings: Settings, environment: Source, file: Source, *, need_secrets: bool) -> None:
        self._need_secrets = need_secrets
        self._settings = settings
        self._environment = environment
        self._file = file
        self._redactor = Redactor()
        self._warnings = list(environment.warnings)
        self._shown: list[tuple[str, str, str]] = []
        self.problems: list[str] = []

    def config(self, environ: Mapping[str, str]) -> Config:
        """Returns the configuration, to be used only if there are no problems."""
        settings = self._settings
        heartbeat = self._secret("", settings, "heartbeat_url")
        values = settings.model_dump(
            exclude={"apps", "notifiers", "heartbeat_url", "heartbeat_url_file", "slack_api_url"}
            | {"include_params", "include_input", "link_template"}
        )
        self._show("", settings, skip={"apps", "notifiers"})
        notifiers = tuple(self._notifier(name, table) for name, table in settings.notifiers.items())
        if not notifiers:
            notifiers = (ConsoleConfig(name="console"),)
            self._warnings.append("no notifier is configured: requests are only shown on the console")
        known = tuple(notifier.name for notifier in notifiers)
        apps = tuple(self._app(name, table, known) for name, table in settings.apps.items())
        if not apps and not self._file.problems:
            self._no_app(environ)
        values["redact"] = tuple(settings.redact)
        return Config(
            **values,
            heartbeat_url=heartbeat,
            apps=apps,
            notifiers=notifiers,
            warnings=tuple(self._warnings),
            shown=tuple(self._shown),
            redactor=self._redactor,
        )

    def _no_app(self, environ: Mapping[str, str]) -> None:
        if environ.get("WATCHER_ACCESS_KEY") or environ.get("WATCHER_ACCESS_KEY_FILE"):
            self.problems.append("WATCHER_BASE_URL: is missing; WATCHER_ACCESS_KEY alone makes no app")
        else:
            self.problems.append("apps: there is none; set WATCHER_BASE_URL, or [apps.NAME] in the file")

    def _app(self, name: str, table: AppTable, notifiers: tuple[str, ...]) -> AppConfig:
        prefix = f"apps.{name}"
        self._check_name(prefix, name)
        for unknown in [other for other in table.notify or () if other not in notifiers]:
            label = _label(f"{prefix}.notify", self._environment)
            self.problems.append(f"{label}: got {unknown!r}; must be of {', '.join(notifiers)}")
        host = urlsplit(table.base_url)
        if host.scheme == "http" and not LOOPBACK.fullmatch(host.hostname or ""):
            self._warnings.append(f"{prefix}.base_url: http:// sends the access key in clear")
        own = {key: getattr(table, key) for key in _WITH_DEFAULTS}
        self._show(prefix, table, skip={key for key, value in own.items() if value is None} | {"notify"})
        if table.notify == []:
            self._warnings.append(f"{prefix}.notify: is empty, so nobody is told of this app")
        notify = notifiers if table.notify is None else tuple(dict.fromkeys(table.notify))
        self._shown.append((f"{prefix}.notify", ", ".join(notify), self._origin(f"{prefix}.notify")))
        inherited = {
            key: getattr(self._settings, key) if value is None else value for key, value in own.items()
        }
        return AppConfig(
            name=name,
            base_url=table.base_url,
            access_key=self._secret(prefix, table, "access_key"),
            user_id=table.user_id,
            session_id=table.session_id,
            notify=notify,
            watch_paused=table.watch_paused,
            **inherited,
        )

    def _notifier(self, name: str, table: NotifierTable) -> NotifierConfig:
        prefix = f"notifiers.{name}"
        self._check_name(prefix, name)
        self._show(prefix, table)
        common: dict[str, Any] = {
            "name": name,
            "after": table.after,
            "remind_after": tuple(table.remind_after),
            "resolved": table.resolved,
        }
        match table:
            case SlackTable():
                return self._slack(prefix, table, common)
            case WebhookTable():
                return self._webhook(prefix, table, common)
            case AppriseTable():
                return AppriseConfig(**common, url=self._needed(prefix, table, "url"))
            case _:
                return ConsoleConfig(**common)

    def _slack(self, prefix: str, table: SlackTable, common: dict[str, Any]) -> SlackConfig:
        token = self._secret(prefix, table, "bot_token")
        url = self._secret(prefix, table, "webhook_url")
        if token and url:
            self.problems.append(f"{prefix}: give bot_token with channel, or webhook_url, not both")
        elif token and not table.channel:
            short = " (WATCHER_SLACK_CHANNEL)" if prefix == "notifiers.slack" else ""
            self.problems.append(f"{prefix}.channel{short}: is missing beside bot_token")
        elif not token and not url:
            short = " (WATCHER_SLACK_BOT_TOKEN)" if prefix == "notifiers.slack" else ""
            self.problems.append(f"{prefix}: give bot_token{short} with channel, or webhook_url")
        api_url = self._settings.slack_api_url.rstrip("/") + "/"
        return SlackConfig(
            **common,
            bot_token=token,
            channel=table.channel,
            webhook_url=url,
            mention=tuple(table.mention),
            api_url=api_url if api_url.endswith("/api/") else f"{api_url}api/",
        )

    def _webhook(self, prefix: str, table: WebhookTable, common: dict[str, Any]) -> WebhookConfig:
        if table.ca_file is not None:
            try:
                table.ca_file.read_bytes()
            except OSError as error:
                self.problems.append(f"{prefix}.ca_file: cannot read {table.ca_file}: {error.strerror}")
        return WebhookConfig(
            **common,
            url=self._needed(prefix, table, "url", Url),
            secret=self._secret(prefix, table, "secret"),
            headers={
                name: Secret(f"{prefix}.headers.{name}", self._redactor, value=value)
                for name, value in table.headers.items()
            },
            ca_file=table.ca_file,
        )

    def _needed(self, prefix: str, table: Table, key: str, allowed: Any = None) -> Secret:
        secret = self._secret(prefix, table, key, allowed)
        if secret is None and getattr(table, f"{key}_file") is None:
            short = " (WATCHER_WEBHOOK_URL)" if prefix == "notifiers.webhook" else ""
            self.problems.append(f"{prefix}.{key}{short}: is missing")
        return secret or Secret(f"{prefix}.{key}", self._redactor, value="")

    def _secret(self, prefix: str, table: Table | Settings, key: str, allowed: Any = None) -> Secret | None:
        """Returns the secret in one of its two forms, once its value has been seen to be one."""
        value: str | None = getattr(table, key)
        file: Path | None = getattr(table, f"{key}_file")
        name = f"{prefix}.{key}" if prefix else key
        if value is not None and file is not None:
            self.problems.append(f"{_label(name, self._environment)}: give either {key} or {key}_file")
            return None
        if value is None and file is None:
            return None
        secret = Secret(name, self._redactor, value=value, file=file)
        label = _label(f"{name}_file" if file else name, self._environment)
        try:
            TypeAdapter(allowed or SECRET_TYPES[key]).validate_python(secret.read())
        except SecretError as error:
            if self._need_secrets:
                self.problems.append(f"{label}: {str(error).removeprefix(f'{name}: ')}")
        except ValidationError as error:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            self.problems.append(f"{label}: must be {reason}")
        return secret

    def _check_name(self, prefix: str, name: str) -> None:
        if not _NAME.fullmatch(name):
            self.problems.append(f"{prefix}: got {name!r}; a name has letters, digits, '.', '_' and '-'")

    def _show(self, prefix: str, table: Table | Settings, skip: Iterable[str] = ()) -> None:
        for key in type(table).model_fields:
            value = getattr(table, key)
            name = f"{prefix}.{key}" if prefix else key
            is_twin = key.removesuffix("_file") in SECRET_TYPES and key.endswith("_file")
            if key in skip or is_twin:
                continue
            twin = getattr(table, f"{key}_file", None) if key in SECRET_TYPES else None
            if twin is not None:
                self._shown.append((name, MASKED, f"secret file {twin}"))
            else:
                shown = MASKED if key in SECRET_TYPES and value is not None else _shown(value)
                self._shown.append((name, shown, self._origin(name)))

    def _origin(self, name: str) -> str:
        if name in self._environment.variables:
            return "env"
        place: Any = self._file.tree
        for step in name.split(".", 2):
            place = place.get(step) if isinstance(place, dict) else None
        return "file" if place is not None else "default"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "-"
        case float():  # only durations are
            return format_duration(value)
        case list():
            return ", ".join(_shown(item) for item in value) or "-"
        case dict():
            return ", ".join(f"{key}: {MASKED}" for key in value) or "-"
        case bool():
            return str(value).lower()
        case _:
            return str(value)
