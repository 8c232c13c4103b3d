"""The configuration as the parts of the watcher see it: resolved, checked, frozen.

How it comes together from command line, environment, secret files and TOML is `config_sources`'.
Durations are seconds. The meaning of every setting is in README.md and config.example.toml.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from watcher.sanitize.secrets import Redactor, Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class AppConfig:
    """One watched app, with the global settings filled in where it has none of its own."""

    name: str
    base_url: str
    access_key: Secret | None = None
    user_id: str | None = None
    session_id: str | None = None
    poll_interval: float = 15.0
    link_template: str | None = None
    include_params: bool = True
    include_input: bool = False
    notify: tuple[str, ...] = ()
    watch_paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifierConfig:
    """What all kinds of notifier share. `remind_after` holds ages, ascending."""

    name: str
    after: float = 0.0
    remind_after: tuple[float, ...] = (1800.0, 7200.0, 28800.0)
    resolved: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleConfig(NotifierConfig):
    """Writes to standard output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig(NotifierConfig):
    """Posts signed JSON to one URL."""

    url: Secret
    secret: Secret | None = None
    headers: Mapping[str, Secret] = field(default_factory=dict)
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackConfig(NotifierConfig):
    """Posts to Slack: `bot_token` with `channel`, or `webhook_url` alone."""

    bot_token: Secret | None = None
    channel: str | None = None
    webhook_url: Secret | None = None
    mention: tuple[str, ...] = ()
    api_url: str = "https://slack.com/api/"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseConfig(NotifierConfig):
    """Sends through an Apprise URL."""

    url: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was configured."""

    database: Path = Path("watcher.db")
    poll_interval: float = 15.0
    page_size: int = 100
    request_timeout: float = 10.0
    backoff_max: float = 300.0
    app_alert_after: float = 120.0
    give_up_after: float = 86400.0
    retention: float = 30 * 86400.0
    backlog: Literal["notify", "baseline"] = "notify"
    digest_above: int = 20
    redact: tuple[str, ...] = ()
    heartbeat_url: Secret | None = None
    http_host: str = "127.0.0.1"
    http_port: int = 8080
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    apps: tuple[AppConfig, ...] = ()
    notifiers: tuple[NotifierConfig, ...] = ()
    warnings: tuple[str, ...] = ()
    shown: tuple[tuple[str, str, str], ...] = ()
    """Every setting in effect: its name, its value with secrets masked, and where it came from."""
    redactor: Redactor = field(default_factory=Redactor)
