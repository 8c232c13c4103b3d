"""The configuration as the program sees it: one frozen model per table, each default said once.

The meaning of every setting is in `deploy/settings.md` and `config.example.toml`. Durations are seconds.
"""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from watcher.config import fields
from watcher.config.database import DEFAULT_SCHEMA, Database, Schema
from watcher.config.file import HTTP_HOST, HTTP_PORT
from watcher.sanitize.masking import DEFAULT_REDACT
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret, SecretError

_FILLED_IN: Final = "filled in"
"""Marks what no source can set: it is filled in when the configuration is loaded."""


class Table(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    table: ClassVar[str] = ""
    """Where tables of this kind stand by name."""

    @classmethod
    def setting_names(cls) -> list[str]:
        """Returns what can be set in the table, secrets in both forms."""
        names = [name for name, field in cls.model_fields.items() if _FILLED_IN not in field.metadata]
        return names + [f"{name}_file" for name in names if name in fields.SECRETS]

    @model_validator(mode="before")
    @classmethod
    def _join_secrets(cls, given: Any) -> Any:
        """Joins the two forms of each secret, and gives secrets the name of their setting."""
        if not isinstance(given, dict):
            return given
        joined, prefix = dict(given), f"{cls.table}.{given.get('name')}." if cls.table else ""
        for key in fields.SECRETS & cls.model_fields.keys():
            value, file = joined.pop(key, None), joined.pop(f"{key}_file", None)
            if value is not None or file is not None:
                joined[key] = fields.WrittenSecret(f"{prefix}{key}", value, file)
        if isinstance(headers := joined.get("headers"), dict):
            joined["headers"] = {
                key: fields.WrittenSecret(f"{prefix}headers.{key}", value) for key, value in headers.items()
            }
        return joined


class AppDefaults(Table):
    """What an app takes from the top level where it has none of its own."""

    poll_interval: fields.PollInterval = 15.0
    link_template: fields.Template | None = None
    include_params: bool = True
    include_input: bool = False


class AppConfig(AppDefaults):
    """`[apps.NAME]`: one watched app."""

    table: ClassVar[str] = "apps"

    name: Annotated[str, _FILLED_IN]
    base_url: fields.AppUrl
    access_key: fields.AccessKey | None = None
    user_id: fields.NotBlank | None = None
    session_id: fields.SessionId | None = None
    notify: tuple[fields.KnownNotifier, ...] = ()
    """Names of notifiers; when loaded, every notifier unless the app says otherwise."""
    watch_paused: bool = False
    answer_hint: fields.NotBlank | None = None
    """Where to answer, for messages without a link."""


class NotifierConfig(Table):
    """What all kinds of `[notifiers.NAME]` share. `remind_after` holds ages, ascending."""

    table: ClassVar[str] = "notifiers"

    name: Annotated[str, _FILLED_IN]
    after: fields.Delay = 0.0
    remind_after: fields.Ages = (1800.0, 7200.0, 28800.0)
    resolved: bool = True


class ConsoleConfig(NotifierConfig):
    """Writes to standard output."""

    type: Literal["console"] = "console"


class WebhookConfig(NotifierConfig):
    """Posts signed JSON to one URL."""

    type: Literal["webhook"] = "webhook"
    url: fields.SecretUrl
    secret: fields.SigningSecret | None = None
    headers: dict[fields.HeaderName, fields.SecretHeader] = {}
    ca_file: fields.CertificateFile | None = None

    @field_validator("headers")
    @classmethod
    def _one_authorization(cls, headers: dict[str, Secret], info: ValidationInfo) -> dict[str, Secret]:
        with suppress(KeyError, SecretError):  # the URL is wrong, or its file is missing
            in_url = "@" in info.data["url"].read().partition("//")[2].partition("/")[0]
            if in_url and "authorization" in map(str.lower, headers):
                raise ValueError("without Authorization, because the URL has credentials")
        return headers


class SlackConfig(NotifierConfig):
    """Posts to Slack: `bot_token` with `channel`, or `webhook_url` alone."""

    type: Literal["slack"] = "slack"
    bot_token: fields.BotToken | None = None
    channel: Annotated[fields.NotBlank | None, Field(validate_default=True)] = None
    webhook_url: Annotated[fields.SlackWebhookUrl | None, Field(validate_default=True)] = None
    mention: tuple[fields.Mention, ...] = ()
    api_url: Annotated[str, _FILLED_IN] = "https://slack.com/api/"

    # A validator of the model would not be asked while any field is wrong: its problem would come later.

    @field_validator("channel")
    @classmethod
    def _goes_with_token(cls, channel: str | None, info: ValidationInfo) -> str | None:
        if channel is None and info.data.get("bot_token") is not None:
            raise fields.sentence("required", "is required with bot_token")
        return channel

    @field_validator("webhook_url")
    @classmethod
    def _one_way_to_post(cls, webhook_url: Secret | None, info: ValidationInfo) -> Secret | None:
        if "bot_token" in info.data and (info.data["bot_token"] is None) == (webhook_url is None):
            both = "" if webhook_url is None else ", not both"
            raise fields.sentence("one_of", f"give bot_token with channel, or webhook_url{both}")
        return webhook_url


class AppriseConfig(NotifierConfig):
    """Sends through an Apprise URL."""

    type: Literal["apprise"] = "apprise"
    url: fields.SecretText


class GlobalSettings(AppDefaults):
    """The settings of the top level, without the tables of apps and notifiers."""

    database_schema: Schema = DEFAULT_SCHEMA
    database_password: fields.SecretText | None = None
    database: Annotated[Database, Field(validate_default=True)] = Path("watcher.db")
    """After the two settings that become part of it."""
    page_size: fields.PageSize = 100
    request_timeout: fields.Timeout = 10.0
    backoff_max: fields.SomeTime = 300.0
    app_alert_after: fields.Delay = 120.0
    give_up_after: fields.SomeTime = 86400.0
    retention: fields.Retention = 30 * 86400.0
    backlog: Literal["notify", "baseline"] = "notify"
    digest_above: fields.Count = 20
    redact: tuple[str, ...] = DEFAULT_REDACT
    heartbeat_url: fields.SecretUrl | None = None
    http_host: fields.NotBlank = HTTP_HOST
    http_port: fields.Port = HTTP_PORT
    http_allowed_hosts: tuple[fields.HostName, ...] = ()
    public_url: fields.PublicUrl | None = None
    log_level: Annotated[Literal["debug", "info", "warning", "error"], fields.Word] = "info"
    log_format: Annotated[Literal["auto", "console", "json"], fields.Word] = "auto"
    slack_api_url: fields.SlackApiUrl = "https://slack.com/api/"


class Settings(GlobalSettings):
    """All settings as they are written: apps and notifiers by name."""

    notifiers: dict[
        fields.TableName,
        Annotated[SlackConfig | WebhookConfig | ConsoleConfig | AppriseConfig, Field(discriminator="type")],
    ] = {}
    apps: dict[fields.TableName, AppConfig] = {}

    @field_validator("notifiers", "apps", mode="before")
    @classmethod
    def _fill_in(cls, tables: Any, info: ValidationInfo) -> Any:
        """Gives each table its name, and what it takes from the top level."""
        if not isinstance(tables, dict):
            return tables
        names = tuple(info.data.get("notifiers", ()))
        inherited = {key: info.data[key] for key in AppDefaults.model_fields if key in info.data}
        shared = {"notify": names, **inherited} if info.field_name == "apps" else {}
        slack = {"api_url": info.data["slack_api_url"]} if "slack_api_url" in info.data else {}
        return {
            name: {**shared, **(slack if table.get("type") == "slack" else {}), **table, "name": name}
            if isinstance(table, dict)
            else table
            for name, table in tables.items()
        }


class Config(GlobalSettings):
    """Everything that was configured, as the rest of the program uses it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    apps: tuple[AppConfig, ...] = ()
    notifiers: tuple[NotifierConfig, ...] = ()
    warnings: tuple[str, ...] = ()
    shown: tuple[tuple[str, str, str], ...] = ()
    """Every setting in effect: its name, its value with secrets masked, and where it came from."""
    redactor: Redactor = Field(default_factory=Redactor)

    @property
    def answer_hints(self) -> dict[str, str]:
        """By app where to answer, for the apps that say so."""
        return {app.name: app.answer_hint for app in self.apps if app.answer_hint}


NOTIFIERS: Final[dict[str, type[NotifierConfig]]] = {
    model.model_fields["type"].default: model
    for model in (SlackConfig, WebhookConfig, ConsoleConfig, AppriseConfig)
}
