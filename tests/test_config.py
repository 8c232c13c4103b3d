"""The configuration: where values come from, what is refused, and how that is said."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from watcher.config import Config, ConsoleConfig, SlackConfig, WebhookConfig
from watcher.config_sources import ConfigError, effective, load
from watcher.durations import format_duration, parse_duration

APP = {"WATCHER_BASE_URL": "https://app.example"}


def loaded(directory: Path, toml: str = "", **environ: str) -> Config:
    """Loads a file's text, if there is any, with an environment."""
    if toml:
        (directory / "config.toml").write_text(toml, encoding="utf-8")
    return load(None, environ=environ, directory=directory)


def problems(directory: Path, toml: str = "", **environ: str) -> tuple[str, ...]:
    """Returns the problems of a configuration that has some."""
    with pytest.raises(ConfigError) as caught:
        loaded(directory, toml, **environ)
    return caught.value.problems


def test_two_variables_are_enough(tmp_path: Path) -> None:
    """A base URL and a key make the app `default`, told of on the console with a warning."""
    config = loaded(tmp_path, **APP, WATCHER_ACCESS_KEY="dynamiq_acc_k")
    (app,) = config.apps
    assert (app.name, app.base_url, app.notify) == ("default", "https://app.example", ("console",))
    assert app.access_key is not None
    assert app.access_key.read() == "dynamiq_acc_k"
    assert config.notifiers == (ConsoleConfig(name="console"),)
    assert len(config.warnings) == 1


def test_the_shortcuts_for_notifiers(tmp_path: Path) -> None:
    """The variables for Slack and for a webhook make notifiers of those names."""
    config = loaded(
        tmp_path,
        **APP,
        WATCHER_SLACK_BOT_TOKEN="xoxb-token",
        WATCHER_SLACK_CHANNEL="#ops",
        WATCHER_WEBHOOK_URL="https://hook.example/x",
        WATCHER_WEBHOOK_SECRET="any text",
    )
    slack, webhook = config.notifiers
    assert isinstance(slack, SlackConfig)
    assert isinstance(webhook, WebhookConfig)
    assert (slack.name, slack.channel, webhook.name) == ("slack", "#ops", "webhook")
    assert config.apps[0].notify == ("slack", "webhook")


def test_the_environment_beats_the_file(tmp_path: Path) -> None:
    """A variable overrides the file value by value, in tables too."""
    toml = 'poll_interval = "1m"\n[apps.a]\nbase_url = "https://a.example/"\nuser_id = "u"\n'
    config = loaded(tmp_path, toml, WATCHER_POLL_INTERVAL="30s", WATCHER_APPS__A__USER_ID="v")
    assert (config.poll_interval, config.apps[0].user_id, config.apps[0].base_url) == (
        30.0,
        "v",
        "https://a.example",
    )


def test_apps_take_the_global_settings(tmp_path: Path) -> None:
    """An app without a setting of its own has the global one."""
    toml = '[apps.a]\nbase_url = "https://a.example"\n'
    toml += '[apps.b]\nbase_url = "https://b.example"\npoll_interval = 5\n'
    config = loaded(tmp_path, toml, WATCHER_POLL_INTERVAL="30s", WATCHER_INCLUDE_INPUT="true")
    assert [(app.poll_interval, app.include_input) for app in config.apps] == [(30.0, True), (5.0, True)]


def test_a_secret_file_is_read_afresh(tmp_path: Path) -> None:
    """A secret from a file follows the file, stripped."""
    file = tmp_path / "key"
    file.write_text("dynamiq_acc_one\n")
    key = loaded(tmp_path, **APP, WATCHER_ACCESS_KEY_FILE=str(file)).apps[0].access_key
    assert key is not None
    file.write_text(" dynamiq_acc_two \n")
    assert key.read() == "dynamiq_acc_two"


def test_a_stronger_source_gives_a_secret_in_the_other_form(tmp_path: Path) -> None:
    """A value in the environment replaces a file that the TOML names, and a file there a value in TOML."""
    file = tmp_path / "key"
    file.write_text("dynamiq_acc_file")
    app = '[apps.default]\nbase_url = "https://a.example"\n'
    by_value = loaded(tmp_path, f'{app}access_key_file = "/nowhere"\n', WATCHER_ACCESS_KEY="dynamiq_acc_env")
    by_file = loaded(tmp_path, f'{app}access_key = "dynamiq_acc_toml"\n', WATCHER_ACCESS_KEY_FILE=str(file))
    keys = [config.apps[0].access_key for config in (by_value, by_file)]
    assert [key.read() for key in keys if key] == ["dynamiq_acc_env", "dynamiq_acc_file"]


def test_the_common_key_is_the_last_resort(tmp_path: Path) -> None:
    """DYNAMIQ_ACCESS_KEY is used where WATCHER_ACCESS_KEY is not set, and refused like it."""
    config = loaded(tmp_path, **APP, DYNAMIQ_ACCESS_KEY="dynamiq_acc_common")
    key = config.apps[0].access_key
    assert key is not None
    assert key.read() == "dynamiq_acc_common"
    (problem,) = problems(tmp_path, **APP, DYNAMIQ_ACCESS_KEY="uak_old")
    assert "DYNAMIQ_ACCESS_KEY" in problem
    assert "uak_old" not in problem


REFUSED: list[tuple[str, Mapping[str, str], list[str]]] = [
    ("", {}, ["WATCHER_BASE_URL"]),
    ("", {"WATCHER_ACCESS_KEY": "dynamiq_acc_k"}, ["WATCHER_BASE_URL"]),
    ("", {"WATCHER_BASE_URL": "ftp://app.example"}, ["WATCHER_BASE_URL", "ftp://app.example", "http"]),
    ("", {"WATCHER_BASE_URL": "https://user@app.example"}, ["WATCHER_BASE_URL"]),
    ("", {**APP, "WATCHER_ACCESS_KEY": "dyn_pat_x"}, ["WATCHER_ACCESS_KEY", "dynamiq_acc_"]),
    ("", {**APP, "WATCHER_ACCESS_KEY": "naïve"}, ["WATCHER_ACCESS_KEY", "ASCII"]),
    ("", {**APP, "WATCHER_ACCESS_KEY": "dynamiq_acc_k", "WATCHER_ACCESS_KEY_FILE": "/x"}, ["either"]),
    ("", {**APP, "WATCHER_ACCESS_KEY_FILE": "/nowhere"}, ["WATCHER_ACCESS_KEY_FILE", "/nowhere"]),
    ("", {**APP, "WATCHER_POLL_INTERVAL": "50ms"}, ["WATCHER_POLL_INTERVAL", "'50ms'", "100ms"]),
    ("", {**APP, "WATCHER_POLL_INTERVAL": "soon"}, ["WATCHER_POLL_INTERVAL", "'soon'", "500ms"]),
    ("", {**APP, "WATCHER_PAGE_SIZE": "501"}, ["WATCHER_PAGE_SIZE", "500"]),
    ("", {**APP, "WATCHER_HTTP_PORT": "65536"}, ["WATCHER_HTTP_PORT", "65535"]),
    ("", {**APP, "WATCHER_BACKLOG": "ignore"}, ["WATCHER_BACKLOG", "notify", "baseline"]),
    ("", {**APP, "WATCHER_REDACT": "*token*"}, ["WATCHER_REDACT", "JSON"]),
    ("", {**APP, "WATCHER_LINK_TEMPLATE": "https://x.example/{run}"}, ["WATCHER_LINK_TEMPLATE", "{run_id}"]),
    ("", {**APP, "WATCHER_SLACK_BOT_TOKEN": "xoxb-x"}, ["WATCHER_SLACK_CHANNEL"]),
    ("", {**APP, "WATCHER_SLACK_CHANNEL": "#ops"}, ["notifiers.slack", "bot_token"]),
    ("", {**APP, "WATCHER_WEBHOOK_SECRET": "x"}, ["notifiers.webhook.url"]),
    ("", {**APP, "WATCHER_WEBHOOK_URL": "nonsense"}, ["WATCHER_WEBHOOK_URL"]),
    ("", {**APP, "WATCHER_NOTIFIERS__X__AFTER": "1m"}, ["notifiers.x.type", "slack"]),
    ("", {**APP, "WATCHER_NOTIFIERS__X__TYPE": "pager"}, ["notifiers.x.type", "'pager'", "slack"]),
    ("", {**APP, "WATCHER_APPS__DEFAULT__NOTIFY": '["x"]'}, ["notify", "'x'", "console"]),
    ("pol_interval = 5\n", APP, ["pol_interval", "did you mean poll_interval"]),
    ('[apps.a]\nbase_url = "https://a"\nkey = "k"\n', {}, ["apps.a.key"]),
    ('[notifiers.s]\ntype = "slack"\nwebhook_url = "https://s"\nurl = "x"\n', APP, ["notifiers.s.url"]),
    (
        '[notifiers.w]\ntype = "webhook"\nurl = "https://w"\nheaders = {"webhook-id" = "x"}\n',
        APP,
        ["headers"],
    ),
    (
        '[notifiers.w]\ntype = "webhook"\nurl = "https://w"\nca_file = "/nowhere"\n',
        APP,
        ["ca_file", "/nowhere"],
    ),
    ('[notifiers.p]\ntype = "apprise"\nurl = "ntfy://x"\n', APP, ["notifiers.p.type"]),
    ('["apps"."a b"]\nbase_url = "https://a"\n', {}, ["apps.a b"]),
]


@pytest.mark.parametrize(("toml", "environ", "words"), REFUSED)
def test_what_is_refused(tmp_path: Path, toml: str, environ: Mapping[str, str], words: list[str]) -> None:
    """A wrong value is one problem that names the setting and what is allowed."""
    (problem,) = problems(tmp_path, toml, **environ)
    assert [word for word in words if word not in problem] == []
    assert "\n" not in problem


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Several wrong settings are several lines, not one after the other."""
    found = problems(tmp_path, "colour = 1\n", **APP, WATCHER_PAGE_SIZE="0", WATCHER_LOG_LEVEL="loud")
    assert len(found) == 3


@pytest.mark.parametrize(
    ("environ", "secret"),
    [
        ({"WATCHER_ACCESS_KEY": "dyn_pat_s3cr3t"}, "dyn_pat_s3cr3t"),
        ({"WATCHER_WEBHOOK_URL": "not-a-url-s3cr3t"}, "s3cr3t"),
        ({"WATCHER_HEARTBEAT_URL": "not-a-url-s3cr3t"}, "s3cr3t"),
        ({"WATCHER_SLACK_BOT_TOKEN": "xoxb-s3cr3t\u00e9", "WATCHER_SLACK_CHANNEL": "C1"}, "s3cr3t"),
        ({"WATCHER_NOTIFIERS__W__TYPE": "webhook", "WATCHER_NOTIFIERS__W__HEADERS": '{"X": 53}'}, "53"),
    ],
)
def test_a_refused_secret_is_not_shown(tmp_path: Path, environ: Mapping[str, str], secret: str) -> None:
    """The line about a wrong secret does not quote it."""
    assert secret not in "\n".join(problems(tmp_path, **{**APP, **environ}))


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """A missing file is an error if it was named, by either way."""
    with pytest.raises(ConfigError, match="--config"):
        load(tmp_path / "x.toml", environ=APP, directory=tmp_path)
    assert "WATCHER_CONFIG" in problems(tmp_path, **APP, WATCHER_CONFIG=str(tmp_path / "x.toml"))[0]


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    """A syntax error says in which file."""
    assert "config.toml" in problems(tmp_path, "poll_interval = \n", **APP)[0]


def test_unknown_variables_are_a_warning(tmp_path: Path) -> None:
    """A misspelt variable is a warning with a suggestion; what Kubernetes puts there is passed over."""
    config = loaded(
        tmp_path,
        **APP,
        WATCHER_POL_INTERVAL="5s",
        WATCHER_APPS__DEFAULT__USERID="x",
        WATCHER_SERVICE_HOST="10.0.0.1",
        WATCHER_SERVICE_PORT_HTTP="80",
        WATCHER_PORT="tcp://10.0.0.1:80",
        WATCHER_PORT_80_TCP_ADDR="10.0.0.1",
    )
    unknown = [warning for warning in config.warnings if "unknown" in warning]
    assert unknown == [
        "WATCHER_APPS__DEFAULT__USERID: unknown setting; did you mean WATCHER_APPS__DEFAULT__USER_ID?",
        "WATCHER_POL_INTERVAL: unknown setting; did you mean WATCHER_POLL_INTERVAL?",
    ]


def test_empty_variables_are_not_set(tmp_path: Path) -> None:
    """An empty variable, as compose files pass them, counts as absent."""
    config = loaded(tmp_path, **APP, WATCHER_SLACK_BOT_TOKEN="", WATCHER_POLL_INTERVAL=" ")
    assert (config.poll_interval, config.notifiers[0].name) == (15.0, "console")


def test_http_in_clear_is_a_warning(tmp_path: Path) -> None:
    """http:// is warned of, except to this machine."""
    there = loaded(tmp_path, WATCHER_BASE_URL="http://app.example", WATCHER_WEBHOOK_URL="https://h.example")
    here = loaded(tmp_path, WATCHER_BASE_URL="http://127.0.0.1:1", WATCHER_WEBHOOK_URL="https://h.example")
    assert (len(there.warnings), len(here.warnings)) == (1, 0)


def test_where_values_come_from(tmp_path: Path) -> None:
    """Every setting is shown with its origin, secrets masked."""
    file = tmp_path / "key"
    file.write_text("dynamiq_acc_file")
    toml = 'page_size = 7\n[notifiers.w]\ntype = "webhook"\nurl = "https://w.example/s3cr3t"\n'
    toml += 'headers = {"X-Team" = "s3cr3t"}\n'
    config = loaded(tmp_path, toml, **APP, WATCHER_ACCESS_KEY_FILE=str(file), WATCHER_POLL_INTERVAL="90s")
    shown = {name: (value, origin) for name, value, origin in effective(config)}
    assert shown["page_size"] == ("7", "file")
    assert shown["poll_interval"] == ("90s", "env")
    assert shown["give_up_after"] == ("1d", "default")
    assert shown["apps.default.access_key"] == ("********", f"secret file {file}")
    assert shown["notifiers.w.url"] == ("********", "file")
    assert shown["notifiers.w.headers"] == ("X-Team: ********", "file")
    assert "s3cr3t" not in repr(config)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("15s", 15.0), ("5m", 300.0), ("2h", 7200.0), ("7d", 604800.0), ("12", 12.0), (3, 3.0)],
)
def test_durations(written: object, seconds: float) -> None:
    """A duration is read in every unit, and written back to be read as the same."""
    assert parse_duration(written) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "written", ["", "-1s", "1w", "nan", "inf", "1e9", True, None, float("nan"), -1, "1 0s"]
)
def test_no_durations(written: object) -> None:
    """What is no duration is refused with examples of what is."""
    with pytest.raises(ValueError, match="500ms"):
        parse_duration(written)
