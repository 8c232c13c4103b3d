"""What single settings allow. A `ValueError` says what is allowed, in words that follow "must be"."""

import math
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from watcher.sanitize.files import UnreadableFileError, read_regular_file
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret, SecretError

SECRETS: Final = frozenset(
    {"access_key", "bot_token", "database_password", "heartbeat_url", "secret", "url", "webhook_url"}
)
"""Settings that are secret in every table; each can also be given as the path of a file, in `…_file`."""
CA_FILE_MAX: Final = 1024 * 1024
"""Bytes of the largest file of certificates; that of a system has some 200 KiB."""
LOOPBACK: Final = re.compile(r"localhost|127(\.\d+){3}|::1", re.IGNORECASE)

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECONDS_MAX: Final = 1e15
_WHOLE_MAX: Final = 10**18
"""More than any setting can mean; an integer may even be too large for a float."""
_MENTIONS: Final = '"here", "channel", "everyone", a user id (U… or W…) or a user group id (S…)'
_UUID: Final = "a UUID, such as 3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d"
_OWN_HEADERS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive", "te"}
    | {"trailer", "transfer-encoding", "upgrade"}
)
"""Headers that describe the body or the connection."""
_PLACEHOLDER: Final = re.compile(r"\{(?:app|run_id|request_id)\}")


@dataclass(frozen=True, slots=True)
class Loading:
    """What the validation of loaded settings knows and collects: pydantic's `context`."""

    redactor: Redactor
    need_secrets: bool = True
    notifiers: Collection[str] | None = None
    """The names that `notify` may hold; None where the file's other problems hide them."""
    warnings: list[str] = field(default_factory=list)


class WrittenSecret(NamedTuple):
    """A secret as it is written: the dotted name of the setting, and its value, a file, or both."""

    name: str
    value: Any = None
    file: Any = None


def sentence(kind: str, words: str) -> PydanticCustomError:
    """Returns an error with these words, which do not follow "must be"."""
    return PydanticCustomError(kind, "{words}", {"words": words})


def parse_duration(value: object) -> float:
    """Returns the seconds.

    Raises:
        ValueError: it is no duration; the message says what is one.
    """
    seconds = math.inf
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _SECONDS_MAX:
        seconds = float(value)
    elif isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", value.strip(), re.ASCII)
        seconds = float(match[1]) * _UNITS[match[2] or "s"] if match else math.inf
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("a duration such as 500ms, 15s, 5m, 2h, 7d or a number of seconds")
    return seconds


def format_duration(seconds: float) -> str:
    """Returns the shortest way to write a duration that is exact."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{round(seconds * 1000)}ms" if seconds and seconds < 1 else f"{seconds:.15g}s"


def _between(least: str, most: str) -> AfterValidator:
    """A duration within bounds: a typing error must not silence an app for centuries."""

    def check(seconds: float) -> float:
        if not parse_duration(least) <= seconds <= parse_duration(most):
            raise ValueError(f"from {least} to {most}")
        return seconds

    return AfterValidator(check)


def _whole(least: int, most: int = _WHOLE_MAX) -> BeforeValidator:
    bounds = f", {least} or more" if most == _WHOLE_MAX else f" from {least} to {most}"

    def check(value: Any) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,18}", value.strip(), re.ASCII):
            value = int(value)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most or value != int(value):
            raise ValueError(f"a whole number{bounds}")
        return int(value)

    return BeforeValidator(check)


def matching(pattern: str, allowed: str) -> Callable[[str], str]:
    """A text that matches once the blanks around it are gone."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value.strip(), re.DOTALL | re.ASCII):
            raise ValueError(allowed)
        return value.strip()

    return check


def _text(pattern: str, allowed: str) -> AfterValidator:
    return AfterValidator(matching(pattern, allowed))


_not_blank = matching(r".+", "a text that is not blank")
_header_value = matching(r"[ -~]+", "printable ASCII text that is not blank")


def _split_url(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[\s\x00-\x1f\x7f]", value):
        raise ValueError("an http:// or https:// URL with a host")
    return parts


def _url(value: str) -> str:
    _split_url(_not_blank(value))
    return value.strip()


def _plain_url(value: str) -> str:
    parts = _split_url(_not_blank(value))
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("an http:// or https:// URL without user, query and fragment")
    return value.strip().rstrip("/")


def _app_url(value: str) -> str:
    url = _plain_url(value)
    if re.search(r"/v1(?:/runs)?/*$", url):
        raise ValueError("the app's URL without /v1 at its end; the watcher adds it")
    return url


def _slack_api_url(value: str) -> str:
    return f"{_url(value).rstrip('/').removesuffix('/api')}/api/"


def _template(value: str) -> str:
    _split_url(_PLACEHOLDER.sub("x", value))
    if re.search(r"[{}]", _PLACEHOLDER.sub("", value)):
        raise ValueError("a URL whose only placeholders are {app}, {run_id} and {request_id}")
    return value


def _custom_header(name: str) -> str:
    if name.lower() in _OWN_HEADERS or name.lower().startswith(("webhook-", "proxy-")):
        raise sentence("own_header", "cannot be configured, because the watcher sets this header itself")
    return name


def _bare(value: str) -> str:
    quotes = "[\"'`\N{LEFT SINGLE QUOTATION MARK}-\N{DOUBLE HIGH-REVERSED-9 QUOTATION MARK}\xab\xbb\\s]"
    return re.sub(rf"^(?:(?:authorization:|bearer)\s+|{quotes})+|{quotes}+$", "", value, flags=re.IGNORECASE)


def _token(value: str) -> str:
    if _bare(value) != value.strip() or re.search(r"\s", value.strip()):
        raise ValueError('the token alone, without quotes and without "Bearer" before it')
    return _header_value(value)


def _access_key(value: str) -> str:
    if _bare(value).startswith(("dyn_pat_", "uak_")):
        raise ValueError(
            "an Access Key (dynamiq_acc_…); this is a Personal Access Token, which the Runs API refuses"
        )
    return _token(value)


def _signing_secret(value: str) -> str:
    secret = _not_blank(value)
    if _bare(secret) != secret:
        raise ValueError("the secret alone, without quotes around it")
    return secret


def _secret_text(value: str) -> str:
    """Takes a text that may begin or end with a quote, as passwords may."""
    secret = _not_blank(value)
    bare = _bare(secret)
    in_quotes = secret[0] != bare[:1] and secret[-1] != bare[-1:]
    if in_quotes or re.match(r"bearer\s", secret, re.IGNORECASE):
        raise ValueError('the secret alone, without quotes around it and without "Bearer" before it')
    return secret


def _unless(usual: str, words: str) -> Callable[[str], str]:
    """A doubt about every value that does not begin as is usual."""
    return lambda value: "" if re.match(usual, value) else words


def _doubt_signing_secret(secret: str) -> str:
    if secret.startswith("v1,"):
        return "begins with v1, as signatures do; it is used as it is"
    encoded = re.fullmatch(r"whsec_([\w+/-]+={0,2})", secret, re.ASCII)
    if secret.startswith("whsec_") and (not encoded or len(encoded[1].rstrip("=")) % 4 == 1):
        return "has no base64 after whsec_, so it is used as plain text"
    # Padded, or of 24 bytes or more, as is recommended, and neither words nor hexadecimal digits.
    alike = r"[\w+/-]{6,}={1,2}|(?=.*[A-Z])(?=.*[a-z])(?=.*\d)[\w+/-]{30,}"
    if re.fullmatch(alike, secret, re.ASCII) and len(secret) % 4 == 0:
        return "looks like base64 and is used as plain text; if its bytes are meant, put whsec_ before it"
    return ""


def check_path(value: Path) -> Path:
    """Returns the path if it can be one of a file, else raises a ValueError."""
    if not value.name or "\0" in str(value):
        raise ValueError("the path of a file")
    return value


def _certificates(file: Path) -> Path:
    try:
        read_regular_file(file, CA_FILE_MAX)
    except UnreadableFileError as error:
        raise sentence("unreadable", str(error)) from None
    return file


def _known_notifier(name: str, info: ValidationInfo) -> str:
    known = None if info.context is None else info.context.notifiers
    if known is not None and name not in known:
        raise ValueError(f"one of: {', '.join(known)}")
    return name


def _secret(check: Callable[[str], str], doubt: Callable[[str], str] = lambda _: "") -> PlainValidator:
    """A secret as a value, or in a file that is read here once, to see whether its content is allowed.

    `doubt` returns a warning about a value that is allowed and unlikely to be meant.
    """

    def validate(given: WrittenSecret, info: ValidationInfo) -> Secret:
        loading = info.context or Loading(Redactor())
        name, value, file = given
        if isinstance(value, Secret):
            return value
        if value is not None and file is not None:
            raise sentence("both", "give either {0} or {0}_file".format(name.rpartition(".")[2]))
        if not isinstance(value if file is None else file, str):
            allowed = "a text" if file is None else "the path of a file"
            raise ValueError(allowed)  # noqa: TRY004 - pydantic collects ValueErrors only
        if file is None:
            header = name.partition(".headers.")[2] or None
            secret = Secret(name, loading.redactor, value=check(value), header=header)
        else:
            secret = Secret(name, loading.redactor, file=check_path(Path(file)))
        try:
            if words := doubt(check(secret.read())):
                loading.warnings.append(f"{name}: {words}")
        except SecretError as error:
            if loading.need_secrets:
                raise sentence("unreadable", str(error).removeprefix(f"{name}: ")) from None
        return secret

    return PlainValidator(validate)


_Duration = Annotated[float, BeforeValidator(parse_duration)]
Delay = Annotated[_Duration, _between("0s", "30d")]
SomeTime = Annotated[_Duration, _between("1ms", "30d")]
PollInterval = Annotated[_Duration, _between("100ms", "30d")]
Timeout = Annotated[_Duration, _between("1ms", "1h")]
Retention = Annotated[_Duration, _between("1ms", "3650d")]
Ages = Annotated[tuple[SomeTime, ...], AfterValidator(lambda ages: tuple(sorted(set(ages))))]

PageSize = Annotated[int, _whole(1, 500)]
Count = Annotated[int, _whole(0)]
Port = Annotated[int, _whole(0, 65535)]

NotBlank = Annotated[str, AfterValidator(_not_blank)]
TableName = Annotated[
    str, _text(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a name of letters, digits, '.', '_' and '-'")
]
Word = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
KnownNotifier = Annotated[str, AfterValidator(_known_notifier)]
HostName = Annotated[str, _text(r"[A-Za-z0-9._-]+", "a host name, without scheme and port")]
PublicUrl = Annotated[str, AfterValidator(_plain_url)]
AppUrl = Annotated[str, AfterValidator(_app_url)]
SlackApiUrl = Annotated[str, AfterValidator(_slack_api_url)]
Template = Annotated[str, AfterValidator(_template)]
SessionId = Annotated[str, _text(r"[\da-fA-F]{8}(-[\da-fA-F]{4}){3}-[\da-fA-F]{12}", _UUID)]
Mention = Annotated[str, _text(r"here|channel|everyone|[UWS][A-Z0-9]+", _MENTIONS)]
HeaderName = Annotated[
    str,
    _text(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", "a header name of letters, digits and -"),
    AfterValidator(_custom_header),
]
File = Annotated[Path, AfterValidator(check_path)]
CertificateFile = Annotated[File, AfterValidator(_certificates)]

AccessKey = Annotated[
    Secret,
    _secret(_access_key, _unless("dynamiq_acc_", "does not begin with dynamiq_acc_, as Access Keys do")),
]
BotToken = Annotated[Secret, _secret(_token, _unless("xoxb-", "does not begin with xoxb-, as bot tokens do"))]
SlackWebhookUrl = Annotated[
    Secret,
    _secret(
        _url,
        _unless(
            r"https://hooks\.slack(-gov)?\.com/services/|https?://(localhost|127(\.\d+){3}|\[::1\])[:/]",
            "is not the URL of an incoming webhook (https://hooks.slack.com/services/…)",
        ),
    ),
]
SigningSecret = Annotated[Secret, _secret(_signing_secret, _doubt_signing_secret)]
SecretHeader = Annotated[Secret, _secret(_header_value)]
SecretUrl = Annotated[Secret, _secret(_url)]
SecretText = Annotated[Secret, _secret(_secret_text)]
