"""Whatever stands in files and in the environment, it is a configuration, or problems of a line each."""

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from tests.support.harmless import assert_one_line
from tests.support.strategies import LONG, any_text, damaged, fuzz, json_values, utf8
from watcher.cli import healthcheck
from watcher.config.errors import ConfigError
from watcher.config.fields import SECRETS, format_duration, parse_duration
from watcher.config.models import NOTIFIERS, AppConfig, GlobalSettings, Settings
from watcher.config.sources import OTHER_VARIABLES, PREFIX, SHORT_VARIABLES, load
from watcher.proxies import proxy_for, proxy_problems

pytestmark = pytest.mark.timeout(0 if LONG else 120)

MARK: Final = "Zx7Qw9Kp3"
"""Stands in every secret."""
_KEYS: Final = sorted(
    {"apps", "notifiers", *Settings.setting_names(), *AppConfig.setting_names()}
    | {key for model in NOTIFIERS.values() for key in model.setting_names()}
)
_NAMES: Final = st.sampled_from(["support", "slack", "webhook", "a.b", "slack", "support", "é", ""])
_ENORMOUS: Final = st.builds(
    lambda sign, digits: sign * 16**digits, st.sampled_from([1, -1]), st.sampled_from([16, 400, 4000])
)
_PLAIN: Final = (
    utf8
    | st.integers()
    | _ENORMOUS
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.times()
    | st.datetimes()
    | st.sampled_from(
        [
            "15s",
            "1e9",
            "5m",
            "slack",
            "webhook",
            "console",
            "apprise",
            "here",
            "debug",
            "notify",
            "https://x.example",
        ]
    )
)
_VALUES: Final = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(utf8, inner, max_size=3), max_leaves=4
)
_SECRETS: Final = st.builds(
    f"{{}}{MARK}{{}}".format,
    st.sampled_from(["", "dyn_pat_", "https://x.example/", "whsec_", " "]),
    utf8 | st.just(""),
)
_SECRET_VALUES: Final = (
    _SECRETS | st.lists(_SECRETS, max_size=2) | st.dictionaries(utf8, _SECRETS, max_size=2)
)


_WORKING: Final[dict[str, st.SearchStrategy[Any]]] = {
    **dict.fromkeys(
        [
            *("poll_interval", "request_timeout", "backoff_max", "app_alert_after", "give_up_after"),
            *("retention", "after"),
        ],
        st.sampled_from(["15s", "500ms", "2h", 1, 0.5]),
    ),
    **dict.fromkeys(["include_params", "include_input", "watch_paused", "resolved"], st.booleans()),
    "remind_after": st.sampled_from([[], ["30m", 7200]]),
    "page_size": st.integers(1, 500),
    "backlog": st.sampled_from(["notify", "baseline"]),
    "digest_above": st.integers(0, 100),
    "redact": st.lists(utf8, max_size=3),
    "link_template": st.just("https://x.example/{app}/{run_id}"),
    "http_port": st.integers(0, 65535),
    "log_level": st.just("INFO"),
    "log_format": st.just("json"),
    "notify": st.sampled_from([["slack"], [], ["webhook", "slack"]]),
    "channel": utf8,
    "mention": st.sampled_from([[], ["here", "U0123"]]),
    "user_id": utf8,
    "headers": st.dictionaries(st.sampled_from(["X-One", "X-Two"]), st.just(f"Bearer {MARK}"), max_size=2),
    **dict.fromkeys(["access_key", "bot_token", "secret"], st.just(f"dynamiq_acc_{MARK}")),
    **dict.fromkeys(["webhook_url", "url", "heartbeat_url"], st.just(f"https://x.example/{MARK}")),
}
"""Values that are allowed, for most settings."""


@st.composite
def tables(draw: st.DrawFn, /, keys: list[str], **given: Any) -> dict[str, Any]:
    """Returns a table, mostly of keys that belong there with allowed values; in secrets is the mark."""
    table = dict(given)
    working = [key for key in keys if key in _WORKING]
    for _ in range(draw(st.integers(0, 4))):
        right = draw(st.integers(0, 29))
        key = draw(st.sampled_from(working if right > 3 else keys if right > 1 else _KEYS))
        hidden = key in {*SECRETS, "headers"}
        anything = _SECRET_VALUES if hidden else _VALUES
        table[key] = draw(_WORKING[key] if right > (15 if hidden else 4) else anything)
    if draw(st.integers(0, 29)) == 7:
        table[draw(utf8.filter(lambda key: key not in _KEYS))] = draw(_PLAIN)
    return table


_APPS: Final = tables(AppConfig.setting_names(), base_url="https://x.example")
_NOTIFIERS: Final = st.sampled_from(list(NOTIFIERS.items())).flatmap(
    lambda kind: tables(kind[1].setting_names(), type=kind[0])
)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    """Returns settings as they stand in a file."""
    tree = draw(tables(GlobalSettings.setting_names()))
    for table, entries in (("apps", _APPS), ("notifiers", _NOTIFIERS)):
        tree[table] = draw(
            st.dictionaries(_NAMES, entries, max_size=2) if draw(st.integers(0, 29)) != 7 else _VALUES
        )
    return tree


def as_toml(value: Any) -> str:  # noqa: PLR0911 - one for each type
    """Returns a value of TOML as it is written within a line."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return f"0x{value:x}" if value > 0 else f"-1{'0' * min(-value, 9)}" if value < 0 else "0"
        case float():
            return (
                "nan"
                if math.isnan(value)
                else repr(value).replace("e", ".0e" if "." not in repr(value) else "e")
            )
        case datetime() | date() | time():
            return value.isoformat()
        case str():
            return '"' + "".join(f"\\U{ord(character):08X}" for character in value) + '"'
        case list():
            return f"[{', '.join(map(as_toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{as_toml(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    raise TypeError(type(value))


def document(tree: Mapping[str, Any]) -> bytes:
    """Returns a TOML file."""
    return "".join(f"{as_toml(key)} = {as_toml(value)}\n" for key, value in tree.items()).encode()


_FILES: Final = trees().map(document) | damaged(trees().map(document)) | st.binary(max_size=50)

_VARIABLES: Final = st.sampled_from([*SHORT_VARIABLES, *OTHER_VARIABLES]) | st.builds(
    "WATCHER_{}".format,
    st.sampled_from(_KEYS).map(str.upper)
    | st.builds(
        lambda *parts: "__".join(parts).upper(),
        st.sampled_from(["apps", "notifiers", "x"]),
        st.sampled_from(["a", "slack", "webhook", "", "\udc80"]),
        st.sampled_from(_KEYS),
    )
    | any_text,
)
_SETTINGS: Final = (
    any_text.filter(lambda text: "\0" not in text)
    | json_values.map(json.dumps)
    | st.sampled_from(
        ["https://x.example", "15s", "1e400", "9" * 5000, "[" * 9999, "slack", "webhook", '["here"]']
    )
)


@st.composite
def environments(draw: st.DrawFn) -> dict[str, str]:
    """Returns variables; where a secret belongs there is one with the mark."""
    names = draw(st.lists(_VARIABLES, max_size=6))
    return {name: draw(_SECRETS if is_secret(name) else _SETTINGS) for name in names}


def is_secret(variable: str) -> bool:
    """Tells whether a variable is one of those that hold secrets."""
    nested = tuple(variable.removeprefix(PREFIX).lower().split("__"))
    last = SHORT_VARIABLES.get(variable, nested)[-1]
    return last in SECRETS or last == "headers"


def assert_loads(file: Path | None, environ: Mapping[str, str], directory: Path) -> None:
    """Loads a configuration, and checks what it says of problems, settings and itself."""
    problems: tuple[str, ...] = ()
    try:
        config = load(file, environ=environ, directory=directory)
    except ConfigError as error:
        problems = error.problems
    else:
        assert MARK not in f"{config}{config.shown}{config.warnings}"
        assert all(app.poll_interval >= 0.1 for app in config.apps)
        problems = ("none",)
    assert problems
    for problem in problems:
        assert_one_line(problem)
        assert MARK not in problem
    assert_probed(file, environ, directory)


def assert_probed(file: Path | None, environ: Mapping[str, str], directory: Path) -> None:
    """Reads what the probe of a container needs of the same settings."""
    problem = ""
    try:
        host, port = healthcheck.address(file, environ=environ, directory=directory)
    except healthcheck.UnusableError as error:
        problem = str(error)
    else:
        assert isinstance(host, str)
        assert 0 <= port < 65536
    assert MARK not in problem


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for files of settings."""
    return tmp_path_factory.mktemp("settings")


@fuzz(60)
@given(_FILES)
@example(f'[apps.a]\nbase_url = "https://x.example"\naccess_key = "dyn_pat_{MARK}"'.encode())
@example(b"redact = " + b"[" * 5000)
@example(b"page_size = 0x" + b"f" * 5000)
@example(b"digest_above = 0x" + b"f" * 5000 + b'\n[apps.a]\nbase_url = "https://x.example"')
@example(b"poll_interval = 0x" + b"f" * 300)
@example(b"[notifiers.a]\ntype = 0x" + b"f" * 5000)
def test_any_file(directory: Path, content: bytes) -> None:
    """Whatever a file holds, it makes a configuration or problems, and shows no secret."""
    file = directory / "config.toml"
    file.write_bytes(content)
    assert_loads(file, {}, directory)


@fuzz(40)
@given(environments())
@example({"WATCHER_HTTP_PORT": "9" * 5000})
@example({"WATCHER_NOTIFIERS__\udc80__AFTER": "x"})
@example({"WATCHER_APPS__\udc80__USER_ID": "x"})
@example({"WATCHER_APP_NAME": "\udc80"})
@example(
    {"WATCHER_NOTIFIERS__WEBHOOK__HEADERS": '{"\\ud800": "x"}', "WATCHER_WEBHOOK_URL": "https://x.example"}
)
def test_any_environment(directory: Path, environ: dict[str, str]) -> None:
    """Whatever variables are set, they make a configuration or problems, and show no secret."""
    (directory / "config.toml").unlink(missing_ok=True)
    assert_loads(None, {"WATCHER_BASE_URL": "https://x.example", **environ}, directory)


_PROXIES: Final = any_text | st.lists(
    st.sampled_from(
        [*"http://:@.[]-_%1٣x?#\\ ", "https://", "user:pass@", "127.0.0.1", "[::1]", ":8080", "xn--", "é"]
    ),
    max_size=8,
).map("".join)


@fuzz(200)
@given(_PROXIES, any_text | st.lists(_PROXIES, max_size=4).map(",".join))
@example("http://\udc80@127.0.0.1:1", "")
@example("http://127.0.0.1:1", "x.example" + ":443" * 3000)
@example("http://127.0.0.1:1", "x.example:" + "9" * 5000)
def test_any_proxy(value: str, exempt: str) -> None:
    """Whatever is set as a proxy, it is a problem, or every client of ours takes it."""
    environ = {"https_proxy": value, "no_proxy": exempt}
    problems = [*proxy_problems(environ)]
    proxy = proxy_for("https://x.example/y", environ)
    if proxy is not None:
        assert [] == problems
        assert httpx.Proxy(proxy).url.host
        assert URL(proxy).host
    for problem in problems:
        assert_one_line(problem)
        assert "https_proxy: must be http://HOST:PORT or https://HOST:PORT; SOCKS is not supported" == problem


@fuzz(100)
@given(json_values | _ENORMOUS | st.from_regex(r"[0-9.]{1,400} ?(ms|s|m|h|d)?", fullmatch=True))
@example(10**400)
def test_any_duration(value: Any) -> None:
    """Whatever is given as a duration, it is one, or it is said what would be."""
    try:
        seconds = parse_duration(value)
    except ValueError:
        return
    assert math.isfinite(seconds)
    assert seconds >= 0


@fuzz(100)
@given(st.floats(0, 1e9))
def test_a_duration_is_read_as_it_is_written(seconds: float) -> None:
    """What is shown of a duration is one, and near it."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-4, abs=1e-3)
