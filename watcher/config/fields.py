"""The settings as they are written, and what values each allows. README.md says what they mean."""

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from watcher.config.durations import parse_duration

PLACEHOLDERS: Final = ("{app}", "{run_id}", "{request_id}")
DEFAULT_REDACT: Final = (
    "*password*",
    "*passwd*",
    "*secret*",
    "*token*",
    "*api_key*",
    "*apikey*",
    "*authorization*",
    "*credential*",
)
LOOPBACK: Final = re.compile(r"localhost|127(\.\d+){3}|::1", re.IGNORECASE)


def _between(least: str, most: str) -> AfterValidator:
    """Bounds a duration: a slip of the keyboard must not silence an app for centuries."""
    shortest, longest = parse_duration(least), parse_duration(most)

    def check(seconds: float) -> float:
        if not shortest <= seconds <= longest:
            raise ValueError(f"from {least} to {most}")
        return seconds

    return AfterValidator(check)


def _whole(least: int, most: int | None = None) -> BeforeValidator:
    """A whole number; one that no setting can mean is none."""
    allowed = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"

    def check(value: Any) -> int:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(value, bool) or not re.fullmatch(r"[+-]?\d{1,18}", str(whole).strip(), re.ASCII):
            raise ValueError(allowed)
        if int(whole) < least or (most is not None and int(whole) > most):
            raise ValueError(allowed)
        return int(whole)

    return BeforeValidator(check)


def _app_url(value: str) -> str:
    parts = _split_url(value)
    if parts.query or parts.fragment or parts.username is not None or parts.password is not None:
        raise ValueError("an http:// or https:// URL without user, query and fragment")
    if re.search(r"/v1(?:/runs)?/*$", parts.path):
        raise ValueError("the app's URL without /v1 at its end, which is added to it")
    return value.rstrip("/")


def _url(value: str) -> str:
    _split_url(value)
    return value


def _split_url(value: str) -> Any:
    allowed = "an http:// or https:// URL with a host"
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError(allowed)
    return parts


def _template(value: str) -> str:
    _url(re.sub(r"\{(?:app|run_id|request_id)\}", "x", value))
    if re.search(r"[{}]", re.sub(r"\{(?:app|run_id|request_id)\}", "", value)):
        raise ValueError(f"a URL with no placeholders but {', '.join(PLACEHOLDERS)}")
    return value


def _header_value(value: str) -> str:
    if not value.strip() or not value.isascii() or not value.isprintable():
        raise ValueError("printable ASCII text that is not blank")
    return value.strip()


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("a text that is not blank")
    return value.strip()


def _access_key(value: str) -> str:
    key = _header_value(value)
    if key.startswith(("dyn_pat_", "uak_")):
        raise ValueError(
            "an Access Key (dynamiq_acc_…); this is a Personal Access Token, which the Runs API refuses"
        )
    return key


def _session_id(value: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value.strip(), re.IGNORECASE):
        raise ValueError("a UUID, such as 3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d")
    return value.strip()


def _mention(value: str) -> str:
    if not re.fullmatch(r"here|channel|everyone|[UWS][A-Z0-9]+", value):
        raise ValueError('"here", "channel", "everyone", a user id (U… or W…) or a user group id (S…)')
    return value


def _file(value: Path) -> Path:
    if not value.name or "\0" in str(value):
        raise ValueError("the path of a file")
    return value


def _ages(values: list[float]) -> list[float]:
    return sorted(set(values))


def _header_name(name: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ValueError("header names of letters, digits and -")
    if name.lower() in {"content-type", "content-length", "host"} or name.lower().startswith("webhook-"):
        raise ValueError(f"headers that the watcher does not set itself, which {name} is")
    return name


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_Duration = Annotated[float, BeforeValidator(parse_duration)]
Delay = Annotated[_Duration, _between("0s", "30d")]
SomeTime = Annotated[_Duration, _between("1ms", "30d")]
PollInterval = Annotated[_Duration, _between("100ms", "30d")]
Timeout = Annotated[_Duration, _between("1ms", "1h")]
Retention = Annotated[_Duration, _between("1ms", "3650d")]
SessionId = Annotated[str, AfterValidator(_session_id)]
AccessKey = Annotated[str, AfterValidator(_access_key)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderSafe = Annotated[str, AfterValidator(_header_value)]
NotBlank = Annotated[str, AfterValidator(_not_blank)]
AppUrl = Annotated[str, AfterValidator(_not_blank), AfterValidator(_app_url)]
Url = Annotated[str, AfterValidator(_not_blank), AfterValidator(_url)]
File = Annotated[Path, AfterValidator(_file)]
Template = Annotated[str, AfterValidator(_template)]

SECRET_TYPES: Final[dict[str, Any]] = {
    "access_key": AccessKey,
    "bot_token": HeaderSafe,
    "webhook_url": Url,
    "url": NotBlank,
    "secret": NotBlank,
    "heartbeat_url": Url,
}
"""What the settings allow that may come from a file; an Apprise `url` is not one of http."""


class Table(BaseModel):
    """A table in which every key is known."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class AppTable(Table):
    """`[apps.NAME]`."""

    base_url: AppUrl
    access_key: AccessKey | None = None
    access_key_file: File | None = None
    user_id: str | None = None
    session_id: SessionId | None = None
    poll_interval: PollInterval | None = None
    link_template: Template | None = None
    include_params: bool | None = None
    include_input: bool | None = None
    notify: list[str] | None = None
    watch_paused: bool = False


class NotifierTable(Table):
    """What all of `[notifiers.NAME]` share."""

    after: Delay = 0.0
    remind_after: Annotated[list[SomeTime], AfterValidator(_ages)] = [1800.0, 7200.0, 28800.0]
    resolved: bool = True


class SlackTable(NotifierTable):
    """`type = "slack"`."""

    type: Literal["slack"]
    bot_token: HeaderSafe | None = None
    bot_token_file: File | None = None
    channel: NotBlank | None = None
    webhook_url: Url | None = None
    webhook_url_file: File | None = None
    mention: list[Annotated[str, AfterValidator(_mention)]] = []


class WebhookTable(NotifierTable):
    """`type = "webhook"`."""

    type: Literal["webhook"]
    url: Url | None = None
    url_file: File | None = None
    secret: NotBlank | None = None
    secret_file: File | None = None
    headers: dict[HeaderName, HeaderSafe] = {}
    ca_file: File | None = None


class ConsoleTable(NotifierTable):
    """`type = "console"`."""

    type: Literal["console"]


class AppriseTable(NotifierTable):
    """`type = "apprise"`."""

    type: Literal["apprise"]
    url: NotBlank | None = None
    url_file: File | None = None


AnyNotifier = Annotated[SlackTable | WebhookTable | ConsoleTable | AppriseTable, Field(discriminator="type")]


class Settings(BaseSettings):
    """The top level."""

    model_config = SettingsConfigDict(extra="forbid", hide_input_in_errors=True, validate_default=False)

    database: File = Path("watcher.db")
    poll_interval: PollInterval = 15.0
    page_size: Annotated[int, _whole(1, 500)] = 100
    request_timeout: Timeout = 10.0
    backoff_max: SomeTime = 300.0
    app_alert_after: Delay = 120.0
    give_up_after: SomeTime = 86400.0
    retention: Retention = 30 * 86400.0
    backlog: Literal["notify", "baseline"] = "notify"
    digest_above: Annotated[int, _whole(0)] = 20
    include_params: bool = True
    include_input: bool = False
    redact: list[str] = list(DEFAULT_REDACT)
    link_template: Template | None = None
    heartbeat_url: Url | None = None
    heartbeat_url_file: File | None = None
    http_host: NotBlank = "127.0.0.1"
    http_port: Annotated[int, _whole(0, 65535)] = 8080
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    log_format: Annotated[Literal["auto", "console", "json"], BeforeValidator(_lower)] = "auto"
    slack_api_url: Url = "https://slack.com/api/"
    apps: dict[str, AppTable] = {}
    notifiers: dict[str, AnyNotifier] = {}


NOTIFIER_TABLES: Final[dict[str, type[NotifierTable]]] = {
    "slack": SlackTable,
    "webhook": WebhookTable,
    "console": ConsoleTable,
    "apprise": AppriseTable,
}
