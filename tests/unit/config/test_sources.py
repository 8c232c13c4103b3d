"""How the configuration comes together."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.settings import APP, CONSOLE, NEEDED_APP, SECRET_VALUE, SESSION, Load, Problems
from watcher.config.models import Config, ConsoleConfig, SlackConfig, WebhookConfig
from watcher.config.sources import load
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import SecretError


def origins(config: Config) -> Mapping[str, tuple[str, str]]:
    """Returns value and origin of each setting, as `watcher config` shows them."""
    return {setting: (value, origin) for setting, value, origin in config.shown}


def test_one_variable_is_enough(loaded: Load) -> None:
    """A base URL makes the app `default`, told to the console with a warning."""
    config = loaded(**APP)
    [app] = config.apps
    assert (app.name, app.base_url, app.access_key) == ("default", APP["WATCHER_BASE_URL"], None)
    assert (config.notifiers, app.notify) == ((ConsoleConfig(name="console"),), ("console",))
    assert [warning for warning in config.warnings if "no notifier" in warning] == list(config.warnings)


@pytest.mark.parametrize(
    ("table", "secret"),
    [
        ("[apps.b]\nbase_url = 'https://b.example.com'", "access_key"),
        ("[notifiers.s]\ntype = 'slack'\nchannel = 'c'", "bot_token"),
        ("[notifiers.s]\ntype = 'slack'", "webhook_url"),
        ("[notifiers.w]\ntype = 'webhook'", "url"),
        ("[notifiers.w]\ntype = 'webhook'\nurl = 'https://w.example.com'", "secret"),
        ("", "heartbeat_url"),
    ],
)
def test_every_secret_can_stand_in_a_file(
    loaded: Load, problems: Problems, tmp_path: Path, table: str, secret: str
) -> None:
    """A secret's twin names its file; the content is known from then on; both at once is a problem."""
    value = f"https://secret.example.com/{SECRET_VALUE}"
    (tmp_path / "secret").write_text(f" {value}\n")
    given = f"{table}\n{secret}_file = '{tmp_path}/secret'\n"
    toml = given + NEEDED_APP if table == "" else NEEDED_APP + given
    config = loaded(toml)
    assert SECRET_VALUE not in config.redactor.redact(f"said {value}")
    row = next(row for row in config.shown if row[0].rpartition(".")[2] == secret and row[2] != "default")
    assert row[1:] == ("********", f"secret file {tmp_path}/secret")
    found = problems(toml.replace(given, f"{given}{secret} = '{value}'\n"))
    assert [f"give either {secret} or {secret}_file" in problem for problem in found].count(True) == 1
    assert [SECRET_VALUE in problem for problem in found].count(True) == 0


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("ACCESS_KEY", "apps.default.access_key"),
        ("DATABASE_PASSWORD", "database_password"),
        ("HEARTBEAT_URL", "heartbeat_url"),
        ("SLACK_WEBHOOK_URL", "notifiers.slack.webhook_url"),
        ("WEBHOOK_URL", "notifiers.webhook.url"),
        ("APPS__DEFAULT__ACCESS_KEY", "apps.default.access_key"),
        ("NOTIFIERS__S__BOT_TOKEN", "notifiers.s.bot_token"),
        ("NOTIFIERS__W__SECRET", "notifiers.w.secret"),
    ],
)
def test_every_secret_file_has_a_variable(
    loaded: Load, problems: Problems, tmp_path: Path, variable: str, setting: str
) -> None:
    """A variable ending in _FILE names the file of each secret, and a missing one is a problem."""
    file = tmp_path / "secret"
    database = {"WATCHER_DATABASE": "postgresql://u@h/d"}
    slack, webhook = "type = 'slack'\nchannel = 'c'\n", "type = 'webhook'\nurl = 'https://w.example'\n"
    toml = {"S": f"[notifiers.s]\n{slack}", "W": f"[notifiers.w]\n{webhook}"}.get(
        variable.rpartition("__")[0].removeprefix("NOTIFIERS__"), ""
    )
    given = APP | database | {f"WATCHER_{variable}_FILE": str(file)}
    [problem] = problems(toml, **given)
    assert (f"WATCHER_{variable}_FILE" in problem, str(file) in problem) == (True, True)
    file.write_text("https://secret.example.com/x")
    config = loaded(toml, **given)
    assert origins(config)[setting] == ("********", f"secret file {file}")


def test_a_secret_is_read_afresh(loaded: Load, tmp_path: Path) -> None:
    """A rotated key is used without a restart, and one that goes missing is an error only when used."""
    file = tmp_path / "key"
    file.write_text("dynamiq_acc_first")
    [app] = loaded(**APP, WATCHER_ACCESS_KEY_FILE=str(file)).apps
    assert app.access_key is not None
    file.write_text("dynamiq_acc_second")
    assert app.access_key.read() == "dynamiq_acc_second"
    file.unlink()
    with pytest.raises(SecretError, match=r"^apps\.default\.access_key: "):
        app.access_key.read()


def test_the_environment_is_stronger_than_the_file(loaded: Load, tmp_path: Path) -> None:
    """Single settings of the environment replace those of the file, the others stay."""
    (tmp_path / "key").write_text("dynamiq_acc_of_the_file")
    top = "page_size = 7\npoll_interval = '7s'\n"
    toml = f"{top}{NEEDED_APP}access_key_file = '{tmp_path}/gone'\nuser_id = 'u'\n"
    config = loaded(toml, WATCHER_PAGE_SIZE="8", WATCHER_APPS__A__ACCESS_KEY="dynamiq_acc_env")
    [app] = config.apps
    assert app.access_key is not None
    assert (config.page_size, config.poll_interval) == (8, 7.0)
    assert (app.access_key.read(), app.user_id) == ("dynamiq_acc_env", "u")


def test_a_file_of_the_environment_is_stronger_than_a_value_of_toml(loaded: Load, tmp_path: Path) -> None:
    """The stronger source decides, in whichever form it gives the secret."""
    (tmp_path / "key").write_text("dynamiq_acc_of_the_file")
    toml = f"{NEEDED_APP}access_key = 'dynamiq_acc_toml'\n"
    [app] = loaded(toml, WATCHER_APPS__A__ACCESS_KEY_FILE=str(tmp_path / "key")).apps
    assert app.access_key is not None
    assert app.access_key.read() == "dynamiq_acc_of_the_file"


@pytest.mark.parametrize("toml", ["", f"{NEEDED_APP}access_key = 'dynamiq_acc_toml'\n"])
def test_both_forms_in_the_environment_are_a_problem(problems: Problems, tmp_path: Path, toml: str) -> None:
    """A secret and its file, both in variables, are a problem whatever the TOML file holds."""
    (tmp_path / "key").write_text("dynamiq_acc_of_the_file")
    prefix = "WATCHER_APPS__A__" if toml else "WATCHER_"
    given = {f"{prefix}ACCESS_KEY": "dynamiq_acc_env", f"{prefix}ACCESS_KEY_FILE": str(tmp_path / "key")}
    [problem] = problems(toml, **({} if toml else APP), **given)
    assert f"({prefix}ACCESS_KEY): give either access_key or access_key_file" in problem


def test_the_common_key_is_the_weaker_one(loaded: Load) -> None:
    """DYNAMIQ_ACCESS_KEY counts where WATCHER_ACCESS_KEY is not set."""
    keys = []
    for given in ({}, {"WATCHER_ACCESS_KEY": "dynamiq_acc_own"}):
        [app] = loaded(**APP, **given, DYNAMIQ_ACCESS_KEY="dynamiq_acc_common").apps
        keys.append(app.access_key and app.access_key.read())
    assert keys == ["dynamiq_acc_common", "dynamiq_acc_own"]


def test_the_app_of_the_environment_can_be_renamed(loaded: Load) -> None:
    """WATCHER_APP_NAME names the app, WATCHER_USER_ID and WATCHER_SESSION_ID filter its runs."""
    filters = {"WATCHER_USER_ID": "u", "WATCHER_SESSION_ID": SESSION}
    [app] = loaded(**APP, WATCHER_APP_NAME="support", **filters).apps
    assert (app.name, app.user_id, app.session_id) == ("support", "u", SESSION)


def test_notifiers_of_the_environment(loaded: Load) -> None:
    """Token and channel make `slack`, a URL makes `webhook`; WATCHER_SLACK_API_URL leads elsewhere."""
    config = loaded(
        **APP,
        WATCHER_SLACK_BOT_TOKEN="xoxb-0123456789",
        WATCHER_SLACK_CHANNEL="C0123",
        WATCHER_SLACK_API_URL="http://127.0.0.1:1/api",
        WATCHER_WEBHOOK_URL="https://hook.example.com",
        WATCHER_WEBHOOK_SECRET="whsec_0123456789",
    )
    slack, webhook = config.notifiers
    assert isinstance(slack, SlackConfig)
    assert isinstance(webhook, WebhookConfig)
    assert (slack.name, slack.channel, slack.api_url) == ("slack", "C0123", "http://127.0.0.1:1/api/")
    assert webhook.secret is not None
    assert (webhook.name, webhook.url.read(), webhook.secret.read()) == (
        "webhook",
        "https://hook.example.com",
        "whsec_0123456789",
    )
    assert config.apps[0].notify == ("slack", "webhook")


def test_a_header_has_a_variable_of_its_own(loaded: Load) -> None:
    """A header can be given in a variable, beside those of the file."""
    toml = (
        f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://w.example'\nheaders = {{ 'X-A' = 'a' }}"
    )
    [webhook] = loaded(toml, WATCHER_NOTIFIERS__W__HEADERS__X_TEAM="ops").notifiers
    assert isinstance(webhook, WebhookConfig)
    assert {name: value.read() for name, value in webhook.headers.items()} == {"X-A": "a", "x_team": "ops"}


def test_a_header_of_a_notifier_without_headers_is_a_warning(loaded: Load) -> None:
    """A variable that a notifier of this type has no use for is a warning, a part of a table too."""
    [warning] = loaded(NEEDED_APP + CONSOLE, WATCHER_NOTIFIERS__C__HEADERS__X_TEAM="ops").warnings
    assert warning == "WATCHER_NOTIFIERS__C__HEADERS__X_TEAM: a notifier of this type has no headers"


def test_names_of_the_environment_are_lower_case(loaded: Load) -> None:
    """Variables name apps and notifiers in capitals; lists and tables are JSON."""
    config = loaded(
        WATCHER_APPS__SUPPORT__BASE_URL="https://example.com",
        WATCHER_APPS__SUPPORT__NOTIFY='["audit"]',
        WATCHER_NOTIFIERS__AUDIT__TYPE="webhook",
        WATCHER_NOTIFIERS__AUDIT__URL="https://example.com",
        WATCHER_NOTIFIERS__AUDIT__HEADERS='{"X-Team": "operations"}',
        WATCHER_NOTIFIERS__AUDIT__REMIND_AFTER='["2h", "30m", "2h"]',
    )
    [audit] = config.notifiers
    assert isinstance(audit, WebhookConfig)
    assert (config.apps[0].name, config.apps[0].notify, audit.name) == ("support", ("audit",), "audit")
    assert audit.headers["X-Team"].read() == "operations"
    assert audit.remind_after == (1800.0, 7200.0)


def test_apps_take_the_common_settings(loaded: Load) -> None:
    """What an app does not say itself is as at the top, and is shown with where that came from."""
    config = loaded(
        f"poll_interval = '7s'\ninclude_params = false\n{NEEDED_APP}include_params = true\n"
        "[apps.b]\nbase_url = 'https://b.example.com'\npoll_interval = '9s'\n"
    )
    assert [(app.poll_interval, app.include_params) for app in config.apps] == [(7.0, True), (9.0, False)]


def test_empty_variables_are_not_set(loaded: Load) -> None:
    """What a compose file passes on empty counts as not given."""
    config = loaded(CONSOLE, **APP, WATCHER_POLL_INTERVAL="", WATCHER_ACCESS_KEY_FILE="", WATCHER_CONFIG="")
    assert (config.poll_interval, config.apps[0].access_key, config.warnings) == (15.0, None, ())


def test_the_command_line_names_the_file_first(tmp_path: Path) -> None:
    """--config is stronger than WATCHER_CONFIG, which is stronger than ./config.toml."""
    for number, name in enumerate(("config.toml", "variable.toml", "option.toml"), start=1):
        (tmp_path / name).write_text(f"page_size = {number}\n{NEEDED_APP}")
    environ = {"WATCHER_CONFIG": str(tmp_path / "variable.toml")}
    sizes = [
        load(None, environ={}, directory=tmp_path).page_size,
        load(None, environ=environ, directory=tmp_path).page_size,
        load(tmp_path / "option.toml", environ=environ, directory=tmp_path).page_size,
    ]
    assert sizes == [1, 2, 3]


def test_where_values_come_from(loaded: Load, tmp_path: Path) -> None:
    """Every setting is shown with its value and origin, and no secret is."""
    (tmp_path / "key").write_text("dynamiq_acc_0123456789")
    config = loaded(
        f"page_size = 7\n{CONSOLE}",
        **APP,
        WATCHER_POLL_INTERVAL="20",
        WATCHER_ACCESS_KEY_FILE=str(tmp_path / "key"),
        WATCHER_HEARTBEAT_URL="https://h.example.com/0123456789",
    )
    shown = origins(config)
    assert shown["page_size"] == ("7", "file")
    assert shown["poll_interval"] == ("20s", "env")
    assert shown["backoff_max"] == ("5m", "default")
    assert shown["heartbeat_url"] == ("********", "env")
    assert shown["apps.default.access_key"] == ("********", f"secret file {tmp_path / 'key'}")
    assert "0123456789" not in str(shown)


def test_the_redactor_knows_every_secret(loaded: Load) -> None:
    """All secrets are known from the start, also those that nothing has used yet."""
    config = loaded(
        **APP,
        WATCHER_ACCESS_KEY="dynamiq_acc_0123456789",
        WATCHER_WEBHOOK_URL="https://h.example.com/abcdef0123456789",
        WATCHER_NOTIFIERS__WEBHOOK__HEADERS='{"X-Key": "header-0123456789"}',
    )
    assert isinstance(config.redactor, Redactor)
    assert "0123456789" not in config.redactor.redact(
        "dynamiq_acc_0123456789 https://h.example.com/abcdef0123456789 header-0123456789"
    )


def test_a_notifier_named_like_another_with_file(loaded: Load) -> None:
    """A variable for a notifier leaves alone one in the file that merely has `_file` after its name."""
    config = loaded(
        '[notifiers.audit_file]\ntype = "console"\n', **APP, WATCHER_NOTIFIERS__AUDIT__TYPE="console"
    )
    assert {"audit", "audit_file"} == {notifier.name for notifier in config.notifiers}


def test_an_app_that_notifies_no_one_is_a_warning(loaded: Load) -> None:
    """An app may have no notifier, which is hardly meant."""
    config = loaded(f"{NEEDED_APP}notify = []\n{CONSOLE}")
    assert "apps.a.notify: is empty, so no one is notified about this app" in config.warnings
