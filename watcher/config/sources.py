"""How the configuration comes together: command line > environment > secret file > TOML file > default.

Every problem is found at once and is one line that names the setting; no line shows a secret.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from watcher.config.durations import format_duration
from watcher.config.errors import Problems, checked
from watcher.config.fields import (
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
from watcher.config.models import (
    AppConfig,
    AppriseConfig,
    Config,
    ConsoleConfig,
    NotifierConfig,
    SlackConfig,
    WebhookConfig,
)
from watcher.config.reading import Source, drop_twins, read_environment, read_toml, set_aside_misplaced
from watcher.proxies import proxy_problems
from watcher.sanitize.secrets import Redactor, Secret, SecretError
from watcher.sanitize.text import one_line

MASKED: Final = "********"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_WITH_DEFAULTS: Final = ("poll_interval", "link_template", "include_params", "include_input")
"""What an app takes from the top level if it has none of its own."""


class ConfigError(Exception):
    """The configuration cannot be used; each of `problems` is one line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(one_line(problem) for problem in problems)
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
    problems = Problems(environment, file)
    settings = checked(environment, file, problems)
    config = _Loader(settings, environment, file, problems, need_secrets=need_secrets).config(environ)
    problems.lines += proxy_problems(environ)
    if problems.lines:
        raise ConfigError(problems.lines)
    return config


def effective(config: Config) -> list[tuple[str, str, str]]:
    """Returns every setting in effect: its name, its value with secrets masked, and its origin."""
    return list(config.shown)


class _Loader:
    """Resolves validated settings, collecting problems and warnings on the way."""

    def __init__(
        self,
        settings: Settings,
        environment: Source,
        file: Source,
        problems: Problems,
        *,
        need_secrets: bool,
    ) -> None:
        self._need_secrets = need_secrets
        self._settings = settings
        self._environment = environment
        self._file = file
        self._redactor = Redactor()
        self._warnings = list(environment.warnings)
        self._shown: list[tuple[str, str, str]] = []
        self._problems = problems

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
        apps = tuple(
            self._app(name, table, tuple(notifier.name for notifier in notifiers))
            for name, table in settings.apps.items()
        )
        if not apps and not self._problems.told_in("apps"):
            self._no_app(environ)
        self._check_names("apps", settings.apps)  # the last, because it makes the whole table one told of
        self._check_names("notifiers", settings.notifiers)
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
            self._problems.add("WATCHER_BASE_URL", "is missing; WATCHER_ACCESS_KEY alone makes no app")
        else:
            self._problems.add("apps", "there is none; set WATCHER_BASE_URL, or [apps.NAME] in the file")

    def _app(self, name: str, table: AppTable, notifiers: tuple[str, ...]) -> AppConfig:
        prefix = f"apps.{name}"
        known = dict.fromkeys((*self._settings.notifiers, *self._problems.told_in("notifiers"))) or notifiers
        for unknown in [other for other in table.notify or () if other not in known and "" not in known]:
            self._problems.add(f"{prefix}.notify", f"got {unknown!r}; must be of {', '.join(known)}")
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
        self._check_slack(prefix, {"bot_token": token, "webhook_url": url, "channel": table.channel})
        api_url = self._settings.slack_api_url.rstrip("/") + "/"
        return SlackConfig(
            **common,
            bot_token=token,
            channel=table.channel,
            webhook_url=url,
            mention=tuple(table.mention),
            api_url=api_url if api_url.endswith("/api/") else f"{api_url}api/",
        )

    def _check_slack(self, prefix: str, values: Mapping[str, object]) -> None:
        if self._problems.already_reported(prefix):  # the rest of it may stand in a file that cannot be read
            return
        given = {
            key
            for key, value in values.items()
            if value or self._problems.already_reported(f"{prefix}.{key}", f"{prefix}.{key}_file")
        }
        usual = prefix == "notifiers.slack"
        if {"bot_token", "webhook_url"} <= given:
            self._problems.add(prefix, "give bot_token with channel, or webhook_url, not both")
        elif "bot_token" in given and "channel" not in given:
            variable = "WATCHER_SLACK_CHANNEL" if usual else None
            self._problems.add(f"{prefix}.channel", "is missing beside bot_token", variable=variable)
        elif not {"bot_token", "webhook_url"} & given:
            short = " (WATCHER_SLACK_BOT_TOKEN)" if usual else ""
            self._problems.add(prefix, f"give bot_token{short} with channel, or webhook_url")

    def _webhook(self, prefix: str, table: WebhookTable, common: dict[str, Any]) -> WebhookConfig:
        if table.ca_file is not None:
            try:
                table.ca_file.read_bytes()
            except OSError as error:
                self._problems.add(f"{prefix}.ca_file", f"cannot read {table.ca_file}: {error.strerror}")
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
        if secret is None and not self._problems.already_reported(f"{prefix}.{key}", f"{prefix}.{key}_file"):
            variable = "WATCHER_WEBHOOK_URL" if prefix == "notifiers.webhook" else None
            self._problems.add(f"{prefix}.{key}", "is missing", variable=variable)
        return secret or Secret(f"{prefix}.{key}", self._redactor, value="")

    def _secret(self, prefix: str, table: Table | Settings, key: str, allowed: Any = None) -> Secret | None:
        """Returns the secret in one of its two forms, once its value has been seen to be one."""
        value: str | None = getattr(table, key)
        file: Path | None = getattr(table, f"{key}_file")
        name = f"{prefix}.{key}" if prefix else key
        if value is not None and file is not None:
            self._problems.add(name, f"give either {key} or {key}_file")
            return None
        if value is None and file is None:
            return None
        secret = Secret(name, self._redactor, value=value, file=file)
        source = f"{name}_file" if file else name
        try:
            TypeAdapter(allowed or SECRET_TYPES[key]).validate_python(secret.read())
        except SecretError as error:
            if self._need_secrets:
                self._problems.add(source, str(error).removeprefix(f"{name}: "))
        except ValidationError as error:
            self._problems.add(source, f"must be {error.errors()[0]['ctx']['error']}")
        return secret

    def _check_names(self, table: str, names: Iterable[str]) -> None:
        for name in names:
            if not _NAME.fullmatch(name):
                words = f"got {name!r}; must be a name of letters, digits, '.', '_' and '-'"
                self._problems.add(f"{table}.{name}", words)

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
