"""What is said of a configuration that cannot be used, or that may not be meant."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.support.settings import APP, CONSOLE, NEEDED_APP, SECRET_VALUE, Load, Problems
from watcher.cli import healthcheck
from watcher.config.errors import ConfigError
from watcher.config.fields import SECRETS
from watcher.config.models import NOTIFIERS, AppConfig, Settings, Table
from watcher.config.sources import load


def test_no_app_is_a_problem(problems: Problems) -> None:
    """Without an app there is nothing to do, and the problem says what to set."""
    [problem] = problems()
    assert "WATCHER_BASE_URL" in problem


EVERYTHING_WRONG = """
page_sise = 1
page_size = 900
include_params = "maybe"
redact = "password"
database = 3
log_level = "loud"

[apps.a]
base_url = "ftp://a.example"
acces_key = "x"
notify = ["audit", "nobody"]

[apps.b]
user_id = 7
session_id = "s"

[apps."c d"]
base_url = "https://c.example"
access_key_file = "/not/there"

[notifiers.audit]
type = "webhook"
ca_file = "/not/there.pem"
remind_after = ["1h", "soon"]
[notifiers.audit.headers]
"X Team" = "x"
"Host" = "x"
"X-Key" = " "

[notifiers.chat]
type = "slak"

[notifiers."e f"]
type = "webhook"

[notifiers.people]
type = "slack"
bot_token = "xoxb-0123456789"
mention = ["here", "bob", "eve"]
"""

ALL_THAT_IS_WRONG = """
page_sise: unknown setting in config.toml; did you mean page_size?
apps.a.acces_key: unknown setting in config.toml; did you mean access_key?
digest_above (WATCHER_DIGEST_ABOVE): got '-1'; must be a whole number, 0 or more
heartbeat_url (WATCHER_HEARTBEAT_URL): must be an http:// or https:// URL with a host
notifiers.audit.url (WATCHER_NOTIFIERS__AUDIT__URL): is required
page_size: got 900; must be a whole number from 1 to 500
include_params: got 'maybe'; must be true or false
redact: got 'password'; must be a list
database: got 3; must be the path of a file, or postgresql://USER@HOST/NAME
log_level: got 'loud'; must be one of: debug, info, warning, error
apps.a.base_url: got 'ftp://a.example'; must be an http:// or https:// URL with a host
apps.a.notify.1: got 'nobody'; must be one of: audit, chat, e f, people
apps.b.base_url (WATCHER_APPS__B__BASE_URL): is required
apps.b.user_id: got 7; must be a text
apps.b.session_id: got 's'; must be a UUID, such as 3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d
apps.c d: got 'c d'; must be a name of letters, digits, '.', '_' and '-'
apps.c d.access_key_file: cannot read /not/there: No such file or directory
notifiers.audit.ca_file: cannot read /not/there.pem: No such file or directory
notifiers.audit.remind_after.1: got 'soon'; must be a duration such as 500ms, 15s, 5m, 2h, 7d or a number of seconds
notifiers.audit.headers.X Team: must be a header name of letters, digits and -
notifiers.audit.headers.Host: cannot be configured, because the watcher sets this header itself
notifiers.audit.headers.X-Key: must be printable ASCII text that is not blank
notifiers.chat.type: got 'slak'; must be one of: slack, webhook, console, apprise
notifiers.e f: got 'e f'; must be a name of letters, digits, '.', '_' and '-'
notifiers.e f.url (WATCHER_NOTIFIERS__E F__URL): is required
notifiers.people.channel (WATCHER_NOTIFIERS__PEOPLE__CHANNEL): is required with bot_token
notifiers.people.mention.1: got 'bob'; must be "here", "channel", "everyone", a user id (U… or W…) or a user group id (S…)
notifiers.people.mention.2: got 'eve'; must be "here", "channel", "everyone", a user id (U… or W…) or a user group id (S…)
HTTP_PROXY: must be http://HOST:PORT or https://HOST:PORT; SOCKS is not supported
"""  # noqa: E501 - each is one line


def test_all_problems_are_told_at_once(problems: Problems, tmp_path: Path) -> None:
    """What is wrong in all sources comes in one go and in our own words, whichever check finds it."""
    found = problems(
        EVERYTHING_WRONG,
        WATCHER_DIGEST_ABOVE="-1",
        WATCHER_HEARTBEAT_URL="no-url",
        HTTP_PROXY="socks5://me:secret@127.0.0.1:1",
    )
    said = [problem.replace(f"{tmp_path}/", "") for problem in found]
    assert sorted(ALL_THAT_IS_WRONG.strip().splitlines()) == sorted(said)


@pytest.mark.parametrize(
    "name",
    [
        ":memory:",
        ":Memory:",
        "file:x.db?mode=memory",
        "FILE::memory:",
        "sqlite:///x.db",
        "mysql://h/x",
        " ",
        ".",
    ],
)
def test_a_database_that_would_not_last_is_refused(problems: Problems, name: str) -> None:
    """A database in memory, a URL and a blank name are refused in one line that says what is allowed."""
    (problem,) = problems(f"database = {json.dumps(name)}\n", **APP)
    assert problem.startswith("database: got ")
    assert "must be the path of a file" in problem


@pytest.mark.parametrize(
    ("toml", "environ"),
    [
        (
            "not TOML",
            {"WATCHER_APPS__A__NOTIFY": '["audit"]', "WATCHER_APPS__A__BASE_URL": "https://a.example"},
        ),
        ("not TOML", {**APP, "WATCHER_SLACK_BOT_TOKEN": "xoxb-0", "WATCHER_SLACK_CHANNEL": "c"}),
        ("not TOML", {**APP, "WATCHER_SLACK_BOT_TOKEN": "xoxb-0", "WATCHER_WEBHOOK_SECRET": "x"}),
        ("[app.a]\n", {}),
        ("[apps.a]\nbase_ur = 'https://a.example'\n", {}),
        (f"{NEEDED_APP}notify = ['b']\n[notifier.b]\ntype = 'console'\n", {}),
        (f"{NEEDED_APP}[notifiers.s]\ntype = 'slack'\nbot_token = 'xoxb-0'\nchanel = 'c'\n", {}),
        (f"{NEEDED_APP}[notifiers.s]\ntype = 'slack'\nbot_token = 'xoxb-0'\nchannel = ' '\n", {}),
        (f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'no-url'\n", {}),
        (f"{NEEDED_APP}[notifiers.w]\ntype = 'webhook'\nurl = 'https://w'\nurl_file = '/w'\n", {}),
        (f"{NEEDED_APP}notify = ['n']\n[notifiers.n]\ntype = 'slak'\n", {}),
        ("page_size = 0\n", {**APP, "WATCHER_PAGE_SIZE": "0"}),
        (None, {"WATCHER_BASE_URL": "https://a\udcff.example"}),
    ],
)
def test_what_follows_from_a_problem_is_no_other(
    problems: Problems, toml: str | None, environ: dict[str, str]
) -> None:
    """A setting that is misspelt, wrong or unreadable is one problem, and not also said to be missing."""
    assert 1 == len(problems(toml, **environ))


TABLES: dict[str, type[Table]] = {
    "": Settings,
    "apps.a": AppConfig,
    **{f"notifiers.{kind}": model for kind, model in NOTIFIERS.items()},
}
JUNK = ["true", "-3", "0.5", "nan", "''", "'x'", "'a@b'", "[]", "[1]", "[[]]", "{}", "{a = 1}", "1979-05-27"]
TWINS = {f"{name}_file" for name in SECRETS}
"""Kept apart, because beside its secret each one is only one too many."""
OUR_WORDS = r"[\w.]+( \(\w+\))?: (got .+; )?(must be|is required|give|cannot read|unknown setting).*"


@pytest.mark.parametrize("value", JUNK)
def test_no_problem_is_in_the_words_of_a_library(tmp_path: Path, value: str) -> None:
    """Whatever stands for a setting, what is wrong is said in our own words and says what is allowed."""
    found: list[str] = []
    for table, model in TABLES.items():
        names = model.setting_names()
        kind = f"type = '{table.removeprefix('notifiers.')}'\n" if table.startswith("notifiers") else ""
        for settings, rest in (
            ([name for name in names if name not in {"type", *TWINS}], kind),
            ([name for name in names if name in TWINS], kind),
            ([name for name in names if name == "type"], ""),
        ):
            wrong = "".join(f"{name} = {value}\n" for name in settings)
            (tmp_path / "config.toml").write_text((f"[{table}]\n" if table else "") + rest + wrong)
            try:
                load(None, environ=APP, directory=tmp_path)
            except ConfigError as error:
                found += error.problems
    assert found
    assert [] == [problem for problem in found if not re.fullmatch(OUR_WORDS, problem)]


@pytest.mark.parametrize(
    "given",
    [
        {"WATCHER_SLACK_BOT_TOKEN": SECRET_VALUE},
        {"WATCHER_SLACK_CHANNEL": "c"},
        {
            "WATCHER_SLACK_BOT_TOKEN": SECRET_VALUE,
            "WATCHER_SLACK_CHANNEL": "c",
            "WATCHER_SLACK_WEBHOOK_URL": f"https://{SECRET_VALUE}",
        },
        {"WATCHER_WEBHOOK_SECRET": SECRET_VALUE},
        {"WATCHER_WEBHOOK_URL": SECRET_VALUE},
        {"WATCHER_SLACK_WEBHOOK_URL": SECRET_VALUE},
    ],
)
def test_an_incomplete_notifier_is_a_problem(problems: Problems, given: dict[str, str]) -> None:
    """A notifier that could never send is refused at start, without a secret in the words."""
    [problem] = problems(**APP, **given)
    assert SECRET_VALUE not in problem


def test_a_key_without_a_url_is_a_problem(problems: Problems) -> None:
    """An access key alone makes no app, and the problem names what is missing."""
    [problem] = problems(WATCHER_ACCESS_KEY="dynamiq_acc_0")
    assert problem == "apps.default.base_url (WATCHER_BASE_URL): is required"
    [problem] = problems(WATCHER_ACCESS_KEY="dynamiq_acc_0", WATCHER_APP_NAME="support")
    assert problem == "apps.support.base_url (WATCHER_BASE_URL): is required"


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
    config = loaded(
        CONSOLE, **APP, WATCHER_POL_INTERVAL=SECRET_VALUE, WATCHER_APPS__DEFAULT__USERID=SECRET_VALUE
    )
    shown = "\n".join(config.warnings)
    assert ("did you mean WATCHER_POLL_INTERVAL?" in shown, SECRET_VALUE in shown) == (True, False)
    assert "did you mean WATCHER_APPS__DEFAULT__USER_ID?" in shown


KUBERNETES = {
    "WATCHER_SERVICE_HOST": "10.0.0.1",
    "WATCHER_SERVICE_PORT": "80",
    "WATCHER_SERVICE_PORT_HTTP": "80",
    "WATCHER_PORT": "tcp://10.0.0.1:80",
    "WATCHER_PORT_80_TCP_ADDR": "10.0.0.1",
    "WATCHER_HTTP_SERVICE_HOST": "10.0.0.1",
    "WATCHER_HTTP_PORT": "tcp://10.0.0.1:80",
    "WATCHER_DATABASE_PORT_5432_TCP_PROTO": "tcp",
}
"""What stands in every container beside Services named `watcher`, `watcher-http` and `watcher-database`."""


def test_what_kubernetes_sets_is_passed_over(loaded: Load, tmp_path: Path) -> None:
    """Variables of Services are no settings, and no warnings, for the daemon and for its probe."""
    config = loaded(CONSOLE, **APP, **KUBERNETES)
    assert (8080, ()) == (config.http_port, config.warnings)
    assert ("127.0.0.1", 8080) == healthcheck.address(None, environ=KUBERNETES, directory=tmp_path)


def test_a_mark_of_an_editor_in_the_file_is_passed_over(tmp_path: Path) -> None:
    """A TOML file with a byte order mark is read."""
    (tmp_path / "config.toml").write_bytes(b"\xef\xbb\xbfpage_size = 7\n")
    assert 7 == load(None, environ=APP, directory=tmp_path).page_size


def test_an_unknown_notifier_is_a_problem(problems: Problems) -> None:
    """An app that tells a notifier there is not is refused, with those there are."""
    [problem] = problems(f"{NEEDED_APP}notify = ['d']\n{CONSOLE}")
    assert problem.startswith("apps.a.notify.0: got 'd'")
    assert problem.endswith(" c")


@pytest.mark.parametrize("kind", ["", "type = 'slak'\n"])
def test_an_unknown_type_is_a_problem(problems: Problems, kind: str) -> None:
    """A notifier without a known type is refused, with the types there are, and nothing secret shows."""
    [problem] = problems(f"{NEEDED_APP}[notifiers.n]\n{kind}bot_token = '{SECRET_VALUE}'\n")
    assert ("slack, webhook, console, apprise" in problem, SECRET_VALUE in problem) == (True, False)


@pytest.mark.parametrize("by_variable", [True, False])
def test_a_named_file_must_be_there(tmp_path: Path, *, by_variable: bool) -> None:
    """A file that was named and is missing, or is a directory, pipe or device, is a problem that names it."""
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "gone.toml", tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        environ = {**APP, "WATCHER_CONFIG": str(file)} if by_variable else APP
        with pytest.raises(ConfigError) as raised:
            load(None if by_variable else file, environ=environ, directory=tmp_path)
        assert [str(file) in problem for problem in raised.value.problems] == [True]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a = \n", "invalid TOML: "),
        (b"\xff\xfe", "it is not UTF-8 text"),
        (b"a = [" + b"[" * 5000, "it is nested too deeply"),
        (b"a = [{b = 0xffffffffffffffff}]", "a whole number has more than 64 bits"),
        (b"a = 1" + b"0" * 5000, "Exceeds the limit"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else None,
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    """What cannot be read as TOML is a problem that names the file and the reason."""
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(None, environ=APP, directory=tmp_path)
    [problem] = raised.value.problems
    assert problem.startswith(f"config.toml: cannot read {tmp_path / 'config.toml'}: {why}")


def test_unknown_variables_stand_beside_the_problems(problems: Problems) -> None:
    """A misspelt variable is named even if the configuration cannot be used, since it may be the reason."""
    missing, misspelt = problems(WATCHER_BASEURL="https://app.example.com")
    assert "no app is configured" in missing
    assert misspelt == "WATCHER_BASEURL: unknown setting; did you mean WATCHER_BASE_URL?"


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ({**APP, "WATCHER_APP_NAME": "bad name"}, "apps.bad name (WATCHER_APP_NAME)"),
        ({**APP, "WATCHER_SLACK_CHANNEL": "C1"}, "notifiers.slack (WATCHER_SLACK_CHANNEL)"),
        ({**APP, "WATCHER_NOTIFIERS__N__TYPE": "slack"}, "notifiers.n (WATCHER_NOTIFIERS__N__TYPE)"),
    ],
)
def test_a_table_is_named_by_a_variable_that_was_given(
    problems: Problems, given: dict[str, str], label: str
) -> None:
    """A problem of a whole table names a variable that exists, not one that would do nothing."""
    [problem] = problems(**given)
    assert problem.startswith(f"{label}: ")


@pytest.mark.parametrize(
    ("given", "shown"),
    [("@channel", True), ("bob@example.com", False), ("u:p@host", False), ("https://t@host", False)],
)
def test_a_value_is_hidden_where_something_stands_before_an_at_sign(
    problems: Problems, given: str, *, shown: bool
) -> None:
    """A mention is shown as it was given, what may be credentials is not."""
    slack = "[notifiers.s]\ntype = 'slack'\nbot_token = 'xoxb-1'\nchannel = 'c'\n"
    [problem] = problems(f"{NEEDED_APP}{slack}mention = ['{given}']")
    assert (f"got '{given}'; must be" in problem) == shown


@pytest.mark.parametrize("name", ["a__b", "_a", "a_"])
def test_a_name_of_an_app_that_no_variable_can_have(problems: Problems, name: str) -> None:
    """The name must fit between the parts of a variable."""
    assert ("WATCHER_APP_NAME: must be a name without __, and without _ at either end",) == problems(
        **APP, WATCHER_APP_NAME=name
    )


@pytest.mark.parametrize(
    "toml",
    [
        f"[[notifiers]]\ntype = 'slack'\nbot_token = '{SECRET_VALUE}'\n",
        f"[[apps]]\nbase_url = 'https://a.example.com'\naccess_key = '{SECRET_VALUE}'\n",
        f"[apps.a]\nbase_url = 'https://bob:{SECRET_VALUE}@a.example.com'\n",
        f"{NEEDED_APP}[apps.a.user_id]\naccess_key = '{SECRET_VALUE}'\n",
        f"{NEEDED_APP}[[notifiers.n]]\ntype = 'slack'\nbot_token = '{SECRET_VALUE}'\n",
    ],
)
def test_a_secret_in_the_wrong_place_does_not_show(problems: Problems, toml: str) -> None:
    """Where a table was written in the wrong way, what it holds stays hidden."""
    found = problems(toml)
    assert [SECRET_VALUE in problem for problem in found] == [False] * len(found)


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


@pytest.mark.parametrize(
    ("toml", "belongs"),
    [
        (f"{NEEDED_APP}digest_above = 5\n", "digest_above belongs above the first [table]"),
        (f"user_id = 'x'\n{NEEDED_APP}", "user_id belongs in [apps.NAME]"),
        (f"{NEEDED_APP}channel = 'x'\n", "channel belongs in [notifiers.NAME]"),
        (f"{NEEDED_APP}{CONSOLE}session_id = 'x'\n", "session_id belongs in [apps.NAME]"),
    ],
)
def test_a_setting_in_the_wrong_table_is_sent_to_the_right_one(
    problems: Problems, toml: str, belongs: str
) -> None:
    """A known setting in a table that does not have it is a problem that says where it belongs."""
    [problem] = problems(toml)
    assert problem.endswith(belongs)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WATCHER_DATABASE": "."}, "WATCHER_DATABASE"),
        ({"WATCHER_USER_ID": "a\udcff"}, "WATCHER_USER_ID"),
        ({"WATCHER_LINK_TEMPLATE": "https://x/\udcff"}, "WATCHER_LINK_TEMPLATE"),
        ({"WATCHER_ACCESS_KEY_FILE": "/"}, "WATCHER_ACCESS_KEY_FILE"),
    ],
)
def test_variables_that_cannot_be_used(problems: Problems, variables: dict[str, str], named: str) -> None:
    """A path that is none, and bytes that are no text, are problems that name their variable."""
    [problem] = problems(**APP, **variables)
    assert named in problem
