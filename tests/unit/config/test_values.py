"""What each setting allows."""

import re
import ssl
from pathlib import Path

import pytest

from tests.support.settings import APP, CONSOLE, NEEDED_APP, SECRET_VALUE, SESSION, Load, Problems
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
    """A file of certificates that is not there is a problem at start."""
    toml = f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://h.example.com/x'\nca_file = '%s'\n"
    [problem] = problems(toml % (tmp_path / "gone.pem"))
    assert problem.startswith("notifiers.w.ca_file: ")
    bundle = ssl.get_default_verify_paths().cafile
    if bundle is not None:
        [webhook] = loaded(toml % bundle).notifiers
        assert isinstance(webhook, WebhookConfig)
        assert webhook.ca_file == Path(bundle)
