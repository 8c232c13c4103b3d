"""How the configuration comes together, and what is said when it cannot be used."""

import re
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from watcher.config import Config, ConsoleConfig, SlackConfig, WebhookConfig
from watcher.config_sources import ConfigError, effective, load
from watcher.secrets import Redactor, SecretError

APP = {"WATCHER_BASE_URL": "https://app.example.com"}
NEEDED_APP = '[apps.a]\nbase_url = "https://app.example.com"\n'
CONSOLE = '[notifiers.c]\ntype = "console"\n'
HIDDEN = "LEAKED-0123456789"
SESSION = "3D3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d"

Load = Callable[..., Config]


@pytest.fixture(name="loaded")
def _loaded(tmp_path: Path) -> Load:
    """Loads from a TOML text and variables, in a directory of its own."""

    def loaded(toml: str | None = None, /, **environ: str) -> Config:
        if toml is not None:
            (tmp_path / "config.toml").write_text(toml, encoding="utf-8")
        return load(None, environ=environ, directory=tmp_path)

    return loaded


@pytest.fixture(name="problems")
def _problems(loaded: Load) -> Callable[..., tuple[str, ...]]:
    """Loads what cannot be used and returns the problems."""

    def problems(toml: str | None = None, /, **environ: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as raised:
            loaded(toml, **environ)
        return raised.value.problems

    return problems


Problems = Callable[..., tuple[str, ...]]


def origins(config: Config) -> Mapping[str, tuple[str, str]]:
    """Returns value and origin of each setting, as `watcher config` shows them."""
    return {setting: (value, origin) for setting, value, origin in effective(config)}


def test_one_variable_is_enough(loaded: Load) -> None:
    """A base URL makes the app `default`, told to the console with a warning."""
    config = loaded(**APP)
    [app] = config.apps
    assert (app.name, app.base_url, app.access_key) == ("default", APP["WATCHER_BASE_URL"], None)
    assert (config.notifiers, app.notify) == ((ConsoleConfig(name="console"),), ("console",))
    assert [warning for warning in config.warnings if "no notifier" in warning] == list(config.warnings)


def test_no_app_is_a_problem(problems: Problems) -> None:
    """Without an app there is nothing to do, and the problem says what to set."""
    [problem] = problems()
    assert "WATCHER_BASE_URL" in problem


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("15s", 15.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("20", 20.0),
        ("1.5", 1.5),
    ],
)
def test_durations(loaded: Load, written: str, seconds: float) -> None:
    """Durations have units, or are seconds."""
    assert loaded(**APP, WATCHER_POLL_INTERVAL=written).poll_interval == seconds


@pytest.mark.parametrize("written", ["50ms", "-1", "nan", "inf", "1e400", "9" * 400, "1h30m", "soon"])
def test_what_is_no_interval(problems: Problems, written: str) -> None:
    """An interval that cannot be is refused in a line that names setting and variable."""
    [problem] = problems(**APP, WATCHER_POLL_INTERVAL=written)
    assert problem.startswith("poll_interval (WATCHER_POLL_INTERVAL): ")


@pytest.mark.parametrize(
    ("setting", "longest", "too_long"),
    [
        ("POLL_INTERVAL", "30d", "31d"),
        ("REQUEST_TIMEOUT", "1h", "3601"),
        ("BACKOFF_MAX", "30d", "99999999999d"),
        ("APP_ALERT_AFTER", "30d", "99999999999d"),
        ("GIVE_UP_AFTER", "30d", "720.1h"),
        ("RETENTION", "3650d", "3651d"),
        ("NOTIFIERS__SLACK__AFTER", "30d", "31d"),
        ("NOTIFIERS__SLACK__REMIND_AFTER", '["1m", "30d"]', '["1m", "31d"]'),
    ],
)
def test_a_duration_that_no_one_can_mean(
    loaded: Load, problems: Problems, setting: str, longest: str, too_long: str
) -> None:
    """Every duration has an upper bound that it may reach, and the problem names it."""
    slack = {"WATCHER_SLACK_WEBHOOK_URL": "https://hooks.example.com/x"}
    loaded(**APP, **slack, **{f"WATCHER_{setting}": longest})
    [problem] = problems(**APP, **slack, **{f"WATCHER_{setting}": too_long})
    assert f"WATCHER_{setting}" in problem
    assert re.search(r"must be from \d+(ms|s) to (1h|30d|3650d)$", problem)


@pytest.mark.parametrize("written", ["true", "nan", "inf", "-1", '"soon"', "[]"])
def test_what_is_no_interval_in_toml(problems: Problems, written: str) -> None:
    """A number in the file is checked as a text is."""
    [problem] = problems(f"poll_interval = {written}\n", **APP)
    assert problem.startswith("poll_interval: ")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PAGE_SIZE", "0"),
        ("PAGE_SIZE", "501"),
        ("HTTP_PORT", "65536"),
        ("HTTP_PORT", "-1"),
        ("REQUEST_TIMEOUT", "0"),
        ("BACKOFF_MAX", "0s"),
        ("DIGEST_ABOVE", "-1"),
        ("BACKLOG", "maybe"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("INCLUDE_INPUT", "maybe"),
        ("REDACT", "*a*,*b*"),
        ("REDACT", '"*a*"'),
        ("LINK_TEMPLATE", "https://example.com/{run}"),
        ("LINK_TEMPLATE", "https://example.com/{run_id!r}"),
        ("LINK_TEMPLATE", "https://example.com/{run_id"),
        ("HEARTBEAT_URL", "no-url"),
        ("SLACK_API_URL", "no-url"),
    ],
)
def test_a_bad_value_is_one_problem(problems: Problems, variable: str, value: str) -> None:
    """Each bad value is one line that names the variable."""
    [problem] = problems(**APP, **{f"WATCHER_{variable}": value})
    assert f"WATCHER_{variable}" in problem


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com",
        "https://",
        "example.com",
        "https://example.com?a=b",
        "https://example.com#a",
        "https://example.com:99999",
        "https://exam ple.com",
        "https://user@example.com",
        "https://example.com/v1",
        "https://example.com/v1/",
        "https://example.com/apps/a/v1/runs",
    ],
)
def test_what_is_no_base_url(problems: Problems, url: str) -> None:
    """A base URL is of http or https, has a host and neither user, query nor fragment."""
    [problem] = problems(WATCHER_BASE_URL=url)
    assert "WATCHER_BASE_URL" in problem


@pytest.mark.parametrize("path", ["/apps/a", "/v1/apps", "/apps/v10", "/apps/runs"])
def test_a_base_url_may_have_a_path(loaded: Load, path: str) -> None:
    """A path is kept, the slash at its end is not."""
    [app] = loaded(WATCHER_BASE_URL=f"https://example.com{path}/").apps
    assert app.base_url == f"https://example.com{path}"


def test_a_slip_in_a_base_url_is_explained(problems: Problems) -> None:
    """Who copies the URL of the endpoint is told to leave its path out."""
    [problem] = problems(WATCHER_BASE_URL="https://example.com/v1/runs")
    assert problem.endswith("must be the app's URL without /v1 at its end, which is added to it")


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://example.com", True),
        ("http://localhost:4010", False),
        ("http://127.0.0.2", False),
        ("http://[::1]:80", False),
        ("https://example.com", False),
    ],
)
def test_plain_http_is_a_warning(loaded: Load, url: str, *, warns: bool) -> None:
    """A key sent in clear to another machine is warned of."""
    warnings = loaded(CONSOLE, WATCHER_BASE_URL=url).warnings
    assert [("http://" in warning) for warning in warnings] == [True] * warns


def test_all_problems_are_told_at_once(problems: Problems) -> None:
    """Problems of several settings and sources come together."""
    found = problems(
        NEEDED_APP + "page_sise = 1\n",
        WATCHER_POLL_INTERVAL="x",
        WATCHER_PAGE_SIZE="900",
        WATCHER_REDACT="[",
        WATCHER_APPS__A__ACCESS_KEY="uak_0123",
    )
    named = ("WATCHER_REDACT", "page_sise", "WATCHER_POLL_INTERVAL", "WATCHER_PAGE_SIZE", "ACCESS_KEY")
    assert sorted(name for name in named if any(name in problem for problem in found)) == sorted(named)
    assert len(found) == len(named)


@pytest.mark.parametrize("variable", ["WATCHER_ACCESS_KEY", "DYNAMIQ_ACCESS_KEY"])
@pytest.mark.parametrize("prefix", ["dyn_pat_", "uak_"])
def test_personal_access_tokens_are_refused(problems: Problems, variable: str, prefix: str) -> None:
    """A token that the Runs API does not take is refused, not shown, and the right kind is named."""
    [problem] = problems(**APP, **{variable: prefix + HIDDEN})
    assert (HIDDEN in problem, variable in problem, "dynamiq_acc_" in problem) == (False, True, True)


def test_personal_access_tokens_in_files_are_refused(problems: Problems, tmp_path: Path) -> None:
    """A file is looked into at start."""
    (tmp_path / "key").write_text(f"dyn_pat_{HIDDEN}\n")
    [problem] = problems(**APP, WATCHER_ACCESS_KEY_FILE=str(tmp_path / "key"))
    assert (HIDDEN in problem, "dynamiq_acc_" in problem) == (False, True)


@pytest.mark.parametrize("key", [f"{HIDDEN}\nX-Other: y", f"{HIDDEN}é"])
def test_a_key_must_fit_into_a_header(problems: Problems, key: str) -> None:
    """A key with a line break or a letter that a header cannot hold is refused and not shown."""
    [problem] = problems(**APP, WATCHER_ACCESS_KEY=key)
    assert (HIDDEN in problem, "WATCHER_ACCESS_KEY" in problem) == (False, True)


@pytest.mark.parametrize(
    "content", [None, b"", b" \n", b"\xff\xfe"], ids=["missing", "empty", "blank", "no text"]
)
def test_a_bad_secret_file_is_a_problem(problems: Problems, tmp_path: Path, content: bytes | None) -> None:
    """A secret's file that cannot be used is named with its variable."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    [problem] = problems(**APP, WATCHER_ACCESS_KEY_FILE=str(file))
    assert ("WATCHER_ACCESS_KEY_FILE" in problem, str(file) in problem) == (True, True)


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
    value = f"https://secret.example.com/{HIDDEN}"
    (tmp_path / "secret").write_text(f" {value}\n")
    given = f"{table}\n{secret}_file = '{tmp_path}/secret'\n"
    toml = given + NEEDED_APP if table == "" else NEEDED_APP + given
    config = loaded(toml)
    assert HIDDEN not in config.redactor.scrub(f"said {value}")
    row = next(
        row for row in effective(config) if row[0].rpartition(".")[2] == secret and row[2] != "default"
    )
    assert row[1:] == ("********", f"secret file {tmp_path}/secret")
    found = problems(toml.replace(given, f"{given}{secret} = '{value}'\n"))
    assert [f"give either {secret} or {secret}_file" in problem for problem in found].count(True) == 1
    assert [HIDDEN in problem for problem in found].count(True) == 0


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


@pytest.mark.parametrize("written", ["s", "3d3e", f"{{{SESSION}}}", SESSION.replace("-", ""), f"x{SESSION}"])
def test_what_is_no_session(problems: Problems, written: str) -> None:
    """The API's sessions are UUIDs; anything else would be refused at every poll."""
    [problem] = problems(**APP, WATCHER_SESSION_ID=written)
    assert problem.startswith("apps.default.session_id (WATCHER_SESSION_ID): ")
    assert "must be a UUID" in problem


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


@pytest.mark.parametrize(
    "given",
    [
        {"WATCHER_SLACK_BOT_TOKEN": HIDDEN},
        {"WATCHER_SLACK_CHANNEL": "c"},
        {
            "WATCHER_SLACK_BOT_TOKEN": HIDDEN,
            "WATCHER_SLACK_CHANNEL": "c",
            "WATCHER_SLACK_WEBHOOK_URL": f"https://{HIDDEN}",
        },
        {"WATCHER_WEBHOOK_SECRET": HIDDEN},
        {"WATCHER_WEBHOOK_URL": HIDDEN},
        {"WATCHER_SLACK_WEBHOOK_URL": HIDDEN},
    ],
)
def test_an_incomplete_notifier_is_a_problem(problems: Problems, given: dict[str, str]) -> None:
    """A notifier that could never send is refused at start, without a secret in the words."""
    [problem] = problems(**APP, **given)
    assert HIDDEN not in problem


def test_a_key_without_a_url_is_a_problem(problems: Problems) -> None:
    """An access key alone makes no app, and the problem names what is missing."""
    [problem] = problems(WATCHER_ACCESS_KEY="dynamiq_acc_0")
    assert ("WATCHER_BASE_URL" in problem, "missing" in problem) == (True, True)


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


@pytest.mark.parametrize(
    ("toml", "hint"),
    [
        ("pol_interval = '1s'\n" + NEEDED_APP, "poll_interval"),
        (NEEDED_APP + "acces_key = 'x'\n", "access_key"),
        (NEEDED_APP + CONSOLE + "remind_afterr = []\n", "remind_after"),
        (NEEDED_APP + "[app.b]\n", "apps"),
    ],
)
def test_an_unknown_key_is_a_problem_with_a_hint(problems: Problems, toml: str, hint: str) -> None:
    """A misspelt key of the file is refused, with what was probably meant."""
    [problem] = problems(toml)
    assert f"did you mean {hint}?" in problem


def test_a_key_of_another_type_is_a_problem(problems: Problems) -> None:
    """What belongs to another type of notifier is unknown in this one."""
    [problem] = problems(NEEDED_APP + CONSOLE + "channel = 'c'\n")
    assert problem.startswith("notifiers.c.channel: ")


def test_an_unknown_variable_is_a_warning_with_a_hint(loaded: Load) -> None:
    """A misspelt variable is no error, and its value is not shown."""
    config = loaded(CONSOLE, **APP, WATCHER_POL_INTERVAL=HIDDEN, WATCHER_APPS__DEFAULT__USERID=HIDDEN)
    shown = "\n".join(config.warnings)
    assert ("did you mean WATCHER_POLL_INTERVAL?" in shown, HIDDEN in shown) == (True, False)
    assert "did you mean WATCHER_APPS__DEFAULT__USER_ID?" in shown


def test_what_kubernetes_sets_is_passed_over(loaded: Load) -> None:
    """The variables that stand for a Service named `watcher` are no warnings."""
    names = (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_HTTP",
        "PORT",
        "PORT_8080_TCP",
        "PORT_8080_TCP_ADDR",
    )
    links = {f"WATCHER_{name}": "tcp://10.0.0.1:8080" for name in names}
    assert loaded(CONSOLE, **APP, **links).warnings == ()


def test_empty_variables_are_not_set(loaded: Load) -> None:
    """What a compose file passes on empty counts as not given."""
    config = loaded(CONSOLE, **APP, WATCHER_POLL_INTERVAL="", WATCHER_ACCESS_KEY_FILE="", WATCHER_CONFIG="")
    assert (config.poll_interval, config.apps[0].access_key, config.warnings) == (15.0, None, ())


def test_an_unknown_notifier_is_a_problem(problems: Problems) -> None:
    """An app that tells a notifier there is not is refused, with those there are."""
    [problem] = problems(f"{NEEDED_APP}notify = ['d']\n{CONSOLE}")
    assert problem.startswith("apps.a.notify: got 'd'")
    assert problem.endswith(" c")


@pytest.mark.parametrize("kind", ["", "type = 'slak'\n"])
def test_an_unknown_type_is_a_problem(problems: Problems, kind: str) -> None:
    """A notifier without a known type is refused, with the types there are, and nothing secret shows."""
    [problem] = problems(f"{NEEDED_APP}[notifiers.n]\n{kind}bot_token = '{HIDDEN}'\n")
    assert ("slack, webhook, console or apprise" in problem, HIDDEN in problem) == (True, False)


@pytest.mark.parametrize("mention", ["@here", "bob", "u0123", ""])
def test_what_is_no_mention(problems: Problems, mention: str) -> None:
    """Only the three words and ids of users and groups are mentions."""
    toml = f"{NEEDED_APP}[notifiers.s]\ntype = 'slack'\nwebhook_url = 'https://h.example.com/x'\n"
    [problem] = problems(f"{toml}mention = ['here', 'U0123', 'W1', 'S0456', '{mention}']\n")
    assert "mention" in problem


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "x"},
        {"webhook-id": "x"},
        {"X Team": "x"},
        {"X-Team": f"{HIDDEN}\\nX: y"},
        {"X-Team": " "},
    ],
)
def test_what_is_no_header(problems: Problems, headers: dict[str, str]) -> None:
    """A header has a name and a value that a header can have, and is none that the webhook sets."""
    toml = f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://h.example.com/x'\n[notifiers.w.headers]\n"
    [problem] = problems(toml + "".join(f'"{name}" = "{value}"\n' for name, value in headers.items()))
    assert (problem.startswith("notifiers.w.headers"), HIDDEN in problem) == (True, False)


def test_a_ca_file_is_looked_at(problems: Problems, loaded: Load, tmp_path: Path) -> None:
    """A file of certificates that is not there is a problem at start."""
    toml = f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://h.example.com/x'\nca_file = '%s'\n"
    [problem] = problems(toml % (tmp_path / "gone.pem"))
    assert problem.startswith("notifiers.w.ca_file: ")
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is not None:
        [webhook] = loaded(toml % bundle).notifiers
        assert isinstance(webhook, WebhookConfig)
        assert webhook.ca_file == Path(bundle)


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_named_file_must_be_there(tmp_path: Path, *, by_variable: bool) -> None:
    """A file that was named and is missing, or is a directory, is a problem that names it."""
    for file in (tmp_path / "gone.toml", tmp_path):
        environ = {**APP, "WATCHER_CONFIG": str(file)} if by_variable else APP
        with pytest.raises(ConfigError) as raised:
            load(None if by_variable else file, environ=environ, directory=tmp_path)
        assert [str(file) in problem for problem in raised.value.problems] == [True]


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


@pytest.mark.parametrize("content", [b"a = \n", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """What cannot be read as TOML is a problem that names the file."""
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(None, environ=APP, directory=tmp_path)
    assert [str(tmp_path / "config.toml") in problem for problem in raised.value.problems] == [True]


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
    assert "0123456789" not in config.redactor.scrub(
        "dynamiq_acc_0123456789 https://h.example.com/abcdef0123456789 header-0123456789"
    )


@pytest.mark.parametrize(
    "toml",
    [
        f"[[notifiers]]\ntype = 'slack'\nbot_token = '{HIDDEN}'\n",
        f"[[apps]]\nbase_url = 'https://a.example.com'\naccess_key = '{HIDDEN}'\n",
        f"[apps.a]\nbase_url = 'https://bob:{HIDDEN}@a.example.com'\n",
        f"{NEEDED_APP}[apps.a.user_id]\naccess_key = '{HIDDEN}'\n",
        f"{NEEDED_APP}[[notifiers.n]]\ntype = 'slack'\nbot_token = '{HIDDEN}'\n",
    ],
)
def test_a_secret_in_the_wrong_place_does_not_show(problems: Problems, toml: str) -> None:
    """Where a table was written in the wrong way, what it holds stays hidden."""
    found = problems(toml)
    assert [HIDDEN in problem for problem in found] == [False] * len(found)


@pytest.mark.parametrize(
    "toml",
    ["apps = 3\n", "notifiers = [1]\n", "[apps]\na = 1\n", f"{NEEDED_APP}[notifiers.n]\ntype = ['slack']\n"],
)
def test_a_wrong_shape_is_a_problem(problems: Problems, toml: str) -> None:
    """Tables that are none are problems, whatever the environment adds, and nothing worse."""
    assert problems(toml, **APP) != ()


def test_endless_json_is_a_problem(problems: Problems) -> None:
    """A variable that no parser gets to the end of is one problem."""
    [problem] = problems(**APP, WATCHER_REDACT="[" * 100_000)
    assert "WATCHER_REDACT" in problem


def test_an_impossible_path_is_a_problem(tmp_path: Path) -> None:
    """A path that no file can have is a problem like one that no file has."""
    with pytest.raises(ConfigError):
        load(Path("a\0b"), environ=APP, directory=tmp_path)


def test_a_problem_is_one_line(problems: Problems) -> None:
    """Line breaks and escape sequences in names take no effect."""
    [problem] = problems(f'{NEEDED_APP}[notifiers."x\\n\\u001b[31my"]\ntype = "console"\n')
    assert problem.isprintable()


def test_a_long_value_is_cut(problems: Problems) -> None:
    """What was given is shown as far as one needs it to recognize it."""
    [problem] = problems(**APP, WATCHER_POLL_INTERVAL="9" * 10_000)
    assert len(problem) < 300


def test_a_variable_of_another_type_is_a_warning(loaded: Load) -> None:
    """A variable for what this type of notifier does not have is as harmless as any unknown one."""
    config = loaded(CONSOLE, **APP, WATCHER_NOTIFIERS__C__CHANNEL="c")
    assert [warning.partition(":")[0] for warning in config.warnings] == ["WATCHER_NOTIFIERS__C__CHANNEL"]
