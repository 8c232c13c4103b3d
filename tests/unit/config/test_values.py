"""What each setting allows."""

import os
import re
import ssl
from pathlib import Path

import pytest

from tests.support.settings import APP, CONSOLE, NEEDED_APP, SECRET_VALUE, SESSION, Load, Problems
from watcher.config.database import PostgresqlAddress
from watcher.config.models import WebhookConfig


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
    assert problem.endswith("must be the app's URL without /v1 at its end; the watcher adds it")


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


@pytest.mark.parametrize("variable", ["WATCHER_ACCESS_KEY", "DYNAMIQ_ACCESS_KEY"])
@pytest.mark.parametrize("prefix", ["dyn_pat_", "uak_"])
def test_personal_access_tokens_are_refused(problems: Problems, variable: str, prefix: str) -> None:
    """A token that the Runs API does not take is refused, not shown, and the right kind is named."""
    [problem] = problems(**APP, **{variable: prefix + SECRET_VALUE})
    assert (SECRET_VALUE in problem, variable in problem, "dynamiq_acc_" in problem) == (False, True, True)


def test_personal_access_tokens_in_files_are_refused(problems: Problems, tmp_path: Path) -> None:
    """A file is looked into at start."""
    (tmp_path / "key").write_text(f"dyn_pat_{SECRET_VALUE}\n")
    [problem] = problems(**APP, WATCHER_ACCESS_KEY_FILE=str(tmp_path / "key"))
    assert (SECRET_VALUE in problem, "dynamiq_acc_" in problem) == (False, True)


@pytest.mark.parametrize("key", [f"{SECRET_VALUE}\nX-Other: y", f"{SECRET_VALUE}é"])
def test_a_key_must_fit_into_a_header(problems: Problems, key: str) -> None:
    """A key with a line break or a letter that a header cannot hold is refused and not shown."""
    [problem] = problems(**APP, WATCHER_ACCESS_KEY=key)
    assert (SECRET_VALUE in problem, "WATCHER_ACCESS_KEY" in problem) == (False, True)


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


@pytest.mark.parametrize("written", ["s", "3d3e", f"{{{SESSION}}}", SESSION.replace("-", ""), f"x{SESSION}"])
def test_what_is_no_session(problems: Problems, written: str) -> None:
    """The API's sessions are UUIDs; anything else would be refused at every poll."""
    [problem] = problems(**APP, WATCHER_SESSION_ID=written)
    assert problem.startswith("apps.default.session_id (WATCHER_SESSION_ID): ")
    assert "must be a UUID" in problem


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
        {"X-Team": f"{SECRET_VALUE}\\nX: y"},
        {"X-Team": " "},
    ],
)
def test_what_is_no_header(problems: Problems, headers: dict[str, str]) -> None:
    """A header has a name and a value that a header can have, and is none that the webhook sets."""
    toml = f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://h.example.com/x'\n[notifiers.w.headers]\n"
    [problem] = problems(toml + "".join(f'"{name}" = "{value}"\n' for name, value in headers.items()))
    assert (problem.startswith("notifiers.w.headers"), SECRET_VALUE in problem) == (True, False)


def test_a_ca_file_is_looked_at(problems: Problems, loaded: Load, tmp_path: Path) -> None:
    """A file of certificates that is not there, or is a pipe, is a problem at start."""
    os.mkfifo(tmp_path / "pipe")
    toml = f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://h.example.com/x'\nca_file = '%s'\n"
    for name in ("gone.pem", "pipe"):
        [problem] = problems(toml % (tmp_path / name))
        assert problem.startswith("notifiers.w.ca_file: cannot read ")
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is not None:
        [webhook] = loaded(toml % bundle).notifiers
        assert isinstance(webhook, WebhookConfig)
        assert webhook.ca_file == Path(bundle)


@pytest.mark.parametrize(
    "given",
    [
        *(
            '"{}"',
            "'{}'",
            "Bearer {}",
            "bearer  {}",
            '"Bearer {}"',
            "`{}`",
            "\N{LEFT DOUBLE QUOTATION MARK}{}",
        ),
        *("Authorization: Bearer {}", "\xab{}\xbb", "{} second", '{}"'),
    ],
)
@pytest.mark.parametrize(
    ("variables", "key", "allowed"),
    [
        ({}, "WATCHER_ACCESS_KEY", "must be the token alone, without quotes"),
        (
            {"WATCHER_SLACK_CHANNEL": "c"},
            "WATCHER_SLACK_BOT_TOKEN",
            "must be the token alone, without quotes",
        ),
    ],
)
def test_a_token_in_quotes_is_refused(
    problems: Problems, given: str, variables: dict[str, str], key: str, allowed: str
) -> None:
    """What an env file or a header leaves around a token is refused in one line that does not show it."""
    [problem] = problems(**APP, **variables, **{key: given.format(SECRET_VALUE)})
    assert (SECRET_VALUE in problem, key in problem, allowed in problem) == (False, True, True)


@pytest.mark.parametrize(
    "given",
    [
        *("'dyn_pat_{}'", "Bearer dyn_pat_{}", '"uak_{}"', "authorization: bearer uak_{}"),
        "\N{LEFT DOUBLE QUOTATION MARK}dyn_pat_{}\N{RIGHT DOUBLE QUOTATION MARK}",
    ],
)
def test_a_quoted_personal_access_token_is_named_as_one(problems: Problems, given: str) -> None:
    """The first thing to mend about a quoted Personal Access Token is not the quotes."""
    [problem] = problems(**APP, WATCHER_ACCESS_KEY=given.format(SECRET_VALUE))
    assert (SECRET_VALUE in problem, "Personal Access Token" in problem) == (False, True)


def test_a_quoted_signing_secret_is_refused(problems: Problems) -> None:
    """Quotes around a signing secret would make every signature wrong."""
    hook = {"WATCHER_WEBHOOK_URL": "https://h.example.com/x"}
    [problem] = problems(**APP, **hook, WATCHER_WEBHOOK_SECRET=f'"{SECRET_VALUE}"')
    assert (SECRET_VALUE in problem, "without quotes" in problem) == (False, True)


@pytest.mark.parametrize("given", ['"{}"', "'{}'", "`{}`", "\xab{}\xbb", "Bearer {}", '"bearer {}"'])
@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"WATCHER_DATABASE": "postgresql://u@h/d"}, "WATCHER_DATABASE_PASSWORD"),
        ({"WATCHER_NOTIFIERS__A__TYPE": "apprise"}, "WATCHER_NOTIFIERS__A__URL"),
    ],
)
def test_any_quoted_secret_is_refused(
    problems: Problems, given: str, variables: dict[str, str], key: str
) -> None:
    """A password or an Apprise URL in quotes or with Bearer before it is refused and not shown."""
    [problem] = problems(**APP, **variables, **{key: given.format(SECRET_VALUE)})
    assert (SECRET_VALUE in problem, key in problem, "without quotes" in problem) == (False, True, True)


@pytest.mark.parametrize("password", ["'abc", 'abc"', "a'b", "Bearer"])
def test_a_password_may_hold_a_quote(loaded: Load, password: str) -> None:
    """A password that begins or ends with a quote, but is not in quotes, is taken as it is."""
    loaded(**APP, WATCHER_DATABASE="postgresql://u@h/d", WATCHER_DATABASE_PASSWORD=password)


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "keep-alive", "Proxy-Connection", "Proxy-Authorization", "TE", "Trailer", "HOST"),
        *("Transfer-Encoding", "UPGRADE", "expect", "content-length", "Content-Encoding"),
    ],
)
def test_a_header_of_the_connection_is_refused(problems: Problems, name: str) -> None:
    """A header that is the client's own business cannot be configured."""
    hook = f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://h.example.com/x'\n"
    [problem] = problems(f"{hook}headers = {{ '{name}' = 'x' }}\n")
    assert problem.startswith(f"notifiers.w.headers.{name}: ")


def test_two_kinds_of_credentials_are_refused(problems: Problems, loaded: Load) -> None:
    """A webhook has credentials in its URL or in a header, because a client sends one of them only."""
    hook = f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://a:{SECRET_VALUE}@h.example.com/x'\n"
    loaded(hook)
    [problem] = problems(f"{hook}headers = {{ authorization = 'Bearer {SECRET_VALUE}' }}\n")
    assert (SECRET_VALUE in problem, problem.startswith("notifiers.w.headers: ")) == (False, True)


SLACK_URL = "https://hooks.slack.com/services/T0/B0/x"


@pytest.mark.parametrize(
    ("variables", "warning"),
    [
        ({"WATCHER_ACCESS_KEY": SECRET_VALUE}, "apps.default.access_key: does not begin with dynamiq_acc_"),
        ({"WATCHER_ACCESS_KEY": "dynamiq_acc_1"}, ""),
        (
            {"WATCHER_SLACK_BOT_TOKEN": SECRET_VALUE, "WATCHER_SLACK_CHANNEL": "c"},
            "notifiers.slack.bot_token: does not begin with xoxb-",
        ),
        ({"WATCHER_SLACK_BOT_TOKEN": "xoxb-1", "WATCHER_SLACK_CHANNEL": "c"}, ""),
        (
            {"WATCHER_SLACK_WEBHOOK_URL": f"https://app.slack.com/{SECRET_VALUE}"},
            "notifiers.slack.webhook_url: is not the URL of an incoming webhook",
        ),
        ({"WATCHER_SLACK_WEBHOOK_URL": SLACK_URL}, ""),
        (
            {"WATCHER_SLACK_WEBHOOK_URL": SLACK_URL, "WATCHER_APPS__DEFAULT__NOTIFY": '["c"]'},
            "notifiers.slack: no app",
        ),
        ({"WATCHER_WEBHOOK_SECRET": "v1,c2VjcmV0"}, "notifiers.webhook.secret: begins with v1"),
        (
            {"WATCHER_WEBHOOK_SECRET": f"whsec_{SECRET_VALUE}!"},
            "notifiers.webhook.secret: has no base64 after whsec_",
        ),
        ({"WATCHER_WEBHOOK_SECRET": "whsec_-_-_c2VjcmV0"}, ""),
        ({"WATCHER_WEBHOOK_SECRET": "TWFkZVVwU2VjcmV0T2YyNEJ5dGVz"}, ""),
        (
            {"WATCHER_WEBHOOK_SECRET": "TWFkZS11cC1zZWNyZXQtb2YtMjQtYnl0ZXM="},
            "notifiers.webhook.secret: looks like base64 and is used as plain text",
        ),
        ({"WATCHER_WEBHOOK_SECRET": "YS1zZWNyZXQ="}, "notifiers.webhook.secret: looks like base64"),
        ({"WATCHER_WEBHOOK_SECRET": "a secret="}, ""),
        ({"WATCHER_WEBHOOK_SECRET": "00112233445566778899aabbccddeeff"}, ""),
        ({"WATCHER_WEBHOOK_SECRET": "correct-horse-battery-staple-and-more-words4"}, ""),
        ({"WATCHER_WEBHOOK_SECRET": "any text"}, ""),
    ],
)
def test_what_is_allowed_and_unlikely_is_a_warning(
    loaded: Load, variables: dict[str, str], warning: str
) -> None:
    """A value that can hardly be meant is used, with a warning that does not show it."""
    hook = {"WATCHER_WEBHOOK_URL": "https://h.example.com/x"} if "WATCHER_WEBHOOK_SECRET" in variables else {}
    warnings = loaded(CONSOLE, **APP, **hook, **variables).warnings
    assert [True] * bool(warning) == [given.startswith(warning) for given in warnings]
    assert SECRET_VALUE not in str(warnings)


@pytest.mark.parametrize("user_id", ["", " "])
def test_a_blank_filter_is_refused(problems: Problems, user_id: str) -> None:
    """A filter that matches no run would hide every request."""
    [problem] = problems(f"{NEEDED_APP}user_id = '{user_id}'")
    assert problem == f"apps.a.user_id: got '{user_id}'; must be a text that is not blank"


def test_settings_of_the_pages_and_of_messages(loaded: Load) -> None:
    """Where the pages are, under which names, and where to answer can be said."""
    config = loaded(
        f"public_url = 'https://watcher.example/x/'\nhttp_allowed_hosts = ['watcher.example']\n{NEEDED_APP}"
        "answer_hint = 'Console'\n"
    )
    assert ("https://watcher.example/x", ("watcher.example",)) == (
        config.public_url,
        config.http_allowed_hosts,
    )
    assert "Console" == config.apps[0].answer_hint


@pytest.mark.parametrize(
    "setting", ["public_url = 'https://x.example?a=b'", "http_allowed_hosts = ['https://x']"]
)
def test_what_is_no_address_of_the_pages(problems: Problems, setting: str) -> None:
    """An address has no query, and a host name no scheme."""
    assert 1 == len(problems(f"{setting}\n{NEEDED_APP}"))


def test_a_postgresql_database(loaded: Load) -> None:
    """A URL of PostgreSQL becomes a database with schema and password; hosts and parameters stay."""
    url = "postgresql://watcher@db1:5432,[::1]/watcher?sslmode=verify-full"
    config = loaded(**APP, WATCHER_DATABASE=url, WATCHER_DATABASE_PASSWORD=SECRET_VALUE)
    assert isinstance(config.database, PostgresqlAddress)
    assert (url, "watcher") == (config.database.url, config.database.schema)
    assert config.database.password is not None
    assert config.database.password.read() == SECRET_VALUE
    assert config.warnings == loaded(**APP).warnings


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://watcher:{SECRET_VALUE}@db/watcher",
        f"postgres://watcher@db/watcher?password={SECRET_VALUE}&sslmode=require",
        f"postgresql://db/watcher?sslpassword={SECRET_VALUE}",
    ],
)
def test_a_password_in_the_url_is_masked(loaded: Load, url: str) -> None:
    """A password in the URL is shown nowhere, and is taken out of what others say."""
    config = loaded(**APP, WATCHER_DATABASE=url)
    assert isinstance(config.database, PostgresqlAddress)
    assert config.database.url == url
    shown = [str(config.database), repr(config.database), str(config.shown)]
    shown.append(config.redactor.redact(f"auth failed: {SECRET_VALUE}"))
    assert [text for text in shown if SECRET_VALUE in text] == []
    assert str(config.database) == url.replace(SECRET_VALUE, "********")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u@db/watcher",
        "postgresql://u@db",
        "postgresql://u@db/",
        "postgresql://u@d b/watcher",
        "postgresql://u@db/watcher#x",
        "file:///tmp/x",
    ],
)
def test_what_is_no_database(problems: Problems, url: str) -> None:
    """A URL of another kind, or without the name of a database, is refused in one line."""
    [problem] = problems(**APP, WATCHER_DATABASE=url)
    assert problem.startswith("database (WATCHER_DATABASE): ")
    assert problem.endswith("must be the path of a file, or postgresql://USER@HOST/NAME")


def test_a_password_given_twice(problems: Problems) -> None:
    """A password in the URL and one beside it are refused, because one of them would be silently ignored."""
    url = f"postgresql://u:{SECRET_VALUE}@db/watcher"
    [problem] = problems(**APP, WATCHER_DATABASE=url, WATCHER_DATABASE_PASSWORD=SECRET_VALUE)
    expected = "has a password, and database_password is given too; give one of them"
    assert problem == f"database (WATCHER_DATABASE): {expected}"


def test_settings_that_sqlite_does_not_use(loaded: Load) -> None:
    """A password or schema without PostgreSQL is a warning: the URL was probably forgotten."""
    config = loaded(**APP, WATCHER_DATABASE_SCHEMA="alerts", WATCHER_DATABASE_PASSWORD=SECRET_VALUE)
    found = [warning for warning in config.warnings if warning.startswith("database_")]
    why = "has no effect, because the database is a SQLite file"
    assert [f"database_password: {why}", f"database_schema: {why}"] == found


@pytest.mark.parametrize("schema", ["pg_own", "Watcher", "1st", "a-b", "x" * 64])
def test_what_is_no_schema(problems: Problems, schema: str) -> None:
    """A schema has a name that PostgreSQL takes without quotes."""
    [problem] = problems(**APP, WATCHER_DATABASE_SCHEMA=schema)
    assert problem.startswith("database_schema (WATCHER_DATABASE_SCHEMA): ")
