"""The command line: help, usage errors, and what the lists print."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.builders import NOW, make_new_request, open_store, record_new
from tests.support.process import environment
from watcher import __version__
from watcher.cli import output
from watcher.models import DeliveryRecord, Failure, PendingRequest
from watcher.simulator.catalog import DESCRIPTIONS, VERBS
from watcher.store.results import AppStatus

COMMANDS = [
    "run",
    "once",
    "poll",
    "check",
    "pending",
    "deliveries",
    "retry",
    "config",
    "healthcheck",
    "demo",
    "simulate",
]


def watcher(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "watcher", *arguments],
        cwd=directory,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    """`--help` lists the commands and `--version` the version."""
    shown = watcher(tmp_path, "--help")
    assert shown.returncode == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in shown.stdout] == []
    assert __version__ in watcher(tmp_path, "--version").stdout


def test_every_command_takes_a_configuration_file(tmp_path: Path) -> None:
    """`--config` is an option of each command."""
    assert [
        name for name in COMMANDS if "--config FILE" not in watcher(tmp_path, name, "--help").stdout
    ] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["runn"], "runn"),
        (["run", "--port", "1"], "--port"),
        (["deliveries", "--state", "lost"], "lost"),
        (["retry"], "ID"),
        (["retry", "1", "--all-dead"], "ID"),
        (["demo", "--for", "soon"], "--for"),
        (["simulate", "--scenario", "nothing"], "nothing"),
    ],
)
def test_usage_errors(tmp_path: Path, arguments: list[str], named: str) -> None:
    """A wrong call is exit status 2 with words that name what is wrong."""
    ended = watcher(tmp_path, *arguments, WATCHER_BASE_URL="https://app.example")
    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_scenarios_are_listed(tmp_path: Path) -> None:
    """The help of the simulator, and what it says of an unknown name, name every scenario."""
    shown = watcher(tmp_path, "simulate", "--help").stdout
    section = shown.partition("Scenarios:\n")[2].partition("\n\n")[0]
    listed = [line.split()[0] for line in section.splitlines() if line[2] != " "]
    assert list(DESCRIPTIONS) == listed
    wrong = watcher(tmp_path, "simulate", "--scenario", "nothing").stderr
    assert f"is not one of: {', '.join(DESCRIPTIONS)}\n" in wrong


def test_the_help_says_how_to_control_the_simulator(tmp_path: Path) -> None:
    """There is a line to answer with, and every verb with its arguments."""
    shown = watcher(tmp_path, "simulate", "--help").stdout
    assert '  curl -d \'{"run_id": "…", "request_id": "…"}\' URL/_control/answer\n' in shown
    _, _, verbs = shown.partition("as a JSON object:\n")
    assert list(VERBS) == [line.split()[0] for line in verbs.splitlines() if line[2] != " "]
    assert "[type] [feedback] [is_approved] [params]:" in verbs


def test_lists_without_a_database(tmp_path: Path) -> None:
    """Before anything was recorded the lists are empty, and that is no error."""
    for command in ("pending", "deliveries"):
        ended = watcher(tmp_path, command, "--json", WATCHER_BASE_URL="https://app.example")
        assert (ended.returncode, json.loads(ended.stdout)) == (0, [])
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_none(tmp_path: Path) -> None:
    """A file that is no database is one line and exit status 2, and it stays as it is."""
    file = tmp_path / "watcher.db"
    file.write_bytes(b"something else entirely" * 100)
    for command in ("run", "pending"):
        ended = watcher(tmp_path, command, WATCHER_BASE_URL="https://app.example")
        problems = [line for line in ended.stderr.splitlines() if line.startswith("watcher: ")]
        assert (ended.returncode, problems) == (2, ["watcher: database: watcher.db: file is not a database"])
    checked = watcher(tmp_path, "check", WATCHER_BASE_URL="http://127.0.0.1:1")
    assert "\nFAIL  database watcher.db: file is not a database\n" in checked.stdout
    assert file.read_bytes() == b"something else entirely" * 100


def test_the_demo_shows_what_it_promises(tmp_path: Path) -> None:
    """The demo needs nothing, shows what can happen with a caption each, sums it up and ends by itself."""
    ended = watcher(tmp_path, "demo", "--for", "25s")
    assert (0, "") == (ended.returncode, ended.stderr)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    captions = [line["caption"] for line in lines if "caption" in line]
    events = [line for line in lines if "type" in line]
    asked = {event["data"]["request"]["type"] for event in events if "request" in event["data"]}
    assert {"approval_request", "human_feedback"} == asked
    ends = {event["data"]["resolution"]["outcome"] for event in events if "resolution" in event["data"]}
    assert {"answered", "canceled", "replaced"} == ends
    shown = [line.get("caption") or line["type"] for line in lines]
    revoked = "The access key is revoked now; watch what people are told."
    outage = [revoked, "watcher.app_failing", "watcher.app_recovered"]
    assert outage == [line for line in shown if line in outage]
    assert re.match(
        r"Shown: \d+ requests, \d+ reminders?, \d+ resolutions, 1 outage, each once", captions[-1]
    )
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_what_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """A request has its number, who was notified, its prompt as a harmless line, whole ids and its link."""
    request = PendingRequest(
        1,
        "support",
        "run-1",
        "req-1",
        "approval_request",
        "a\nb\x1b[31m\u202e[bold]c[/]",
        0.0,
        "https://x.example",
        ("slack",),
        "customer-7421",
        {"amount": 620, "api_token": "[redacted]", "notes": "n\u202e" * 60},
        ("amount",),
    )
    output.show_pending([request], [SEEN])
    first, *more = capsys.readouterr().out.splitlines()
    marked = "n\ufffd"
    assert first.startswith(f"{request.id} · support · Approval · waiting ")
    assert first.endswith(" · notified: slack")
    assert [
        "  a b\ufffd[31m\ufffd[bold]c[/]",
        f"  amount (editable): 620; api_token: [redacted]; notes: {marked * 8}n… (103 more characters)",
        "  user customer-7421  run run-1  request req-1",
        "  https://x.example",
    ] == more


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_what_waits_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    """No line is wider than the terminal, and no id is broken."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    ids = ["8c2c9a52-61a5-4f0c-9d59-6f0a7f2b3c4d", "7a1b9a52-61a5-4f0c-9d59-6f0a7f2b3c4d"]
    params = {f"name-{number}": "some words " * number for number in range(9)}
    request = PendingRequest(
        1, "support", ids[0], ids[1], "human_feedback", "Which one? " * 30, 0.0, None, (), "u", params
    )
    output.show_pending([request], [SEEN])
    lines = capsys.readouterr().out.splitlines()
    assert [] == [line for line in lines if len(line) > columns]
    assert ids == [word for line in lines for word in line.split() if word in ids]


SEEN = AppStatus("support", 30.0, succeeded_at=NOW - 40.0, worked=True)
STALE = replace(SEEN, name="billing", succeeded_at=NOW - 300.0)
NEVER = AppStatus("legal", 30.0)
UNREACHABLE = (
    "has been unreachable since 2026-06-10T09:15:40Z (HTTP 401, unauthorized); this list may be out of date."
    " The access key is missing, wrong, expired or was rotated: set a valid one."
)
REFUSED = replace(SEEN, name="desk", failure=Failure(401, "unauthorized", "no", 1781082940.0, 2))


@pytest.mark.parametrize(
    ("apps", "lines"),
    [
        ([SEEN], ["Nothing is waiting."]),
        (
            [SEEN, STALE],
            [
                "WARNING: app billing was last polled 5 min ago; is the daemon running?",
                "Nothing is waiting in the other apps.",
            ],
        ),
        ([NEVER], ["WARNING: app legal has not been polled yet", "No known request is waiting."]),
        (
            [REFUSED],
            [
                f"WARNING: app desk {UNREACHABLE}",
                "No known request is waiting.",
            ],
        ),
    ],
)
def test_an_app_that_cannot_be_seen_comes_first(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    apps: list[AppStatus],
    lines: list[str],
) -> None:
    """What cannot be seen stands above the list, and nothing is called empty that was not seen."""
    monkeypatch.setattr(output, "time", SimpleNamespace(time=lambda: NOW))
    output.show_pending([], apps)
    assert lines == capsys.readouterr().out.splitlines()


def test_json_of_an_app_that_cannot_be_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list stays JSON; what cannot be seen stands on standard error."""
    monkeypatch.setattr(output, "time", SimpleNamespace(time=lambda: NOW))
    output.show_pending_json([], [SEEN, NEVER])
    shown = capsys.readouterr()
    assert ("[]\n", "watcher: app legal has not been polled yet\n") == (shown.out, shown.err)


QUERY = "DELETE FROM invoices\n    WHERE paid_at < '2019-01-01'\n      AND customer_id = 7121;"


@pytest.mark.anyio
async def test_one_request_is_shown_whole(tmp_path: Path) -> None:
    """By its number a request is shown with every line and parameter, as text or alone in the JSON list."""
    long = "Which of these is meant? " * 40
    asked = make_new_request("run-7", prompt=f"{long}\nThe second one?")
    asked = replace(asked, request=replace(asked.request, params={"sql": QUERY, "note": "x" * 20_000}))
    async with open_store(tmp_path / "watcher.db") as store:
        await record_new(store, make_new_request("run-6"), asked)
    settings = {"WATCHER_BASE_URL": "https://app.example", "WATCHER_APP_NAME": "support"}
    listed = json.loads(watcher(tmp_path, "pending", "--json", **settings).stdout)
    (number,) = [request["id"] for request in listed if request["run_id"] == "run-7"]
    shown = watcher(tmp_path, "pending", str(number), **settings)
    assert (0, "") == (shown.returncode, shown.stderr)
    assert "WARNING: app support has not been polled yet" == shown.stdout.splitlines()[0]
    assert [] == [
        text
        for text in ("Approval needed", long.strip(), "> The second one?", *QUERY.splitlines(), "x" * 20_000)
        if text not in shown.stdout
    ]
    assert shown.stdout.endswith("\nNotified: nobody yet\n")
    alone = json.loads(watcher(tmp_path, "pending", str(number), "--json", **settings).stdout)
    assert [number] == [request["id"] for request in alone]
    unknown = watcher(tmp_path, "pending", "4711", **settings)
    assert (2, True) == (unknown.returncode, "there is no request 4711" in unknown.stderr)


@pytest.mark.parametrize(("options", "out"), [([], ""), (["--json"], "[]\n")])
@pytest.mark.parametrize("command", ["pending", "deliveries"])
def test_without_a_database_nothing_is_claimed(
    tmp_path: Path, command: str, options: list[str], out: str
) -> None:
    """Where no daemon ever ran nothing is said about what waits, but that there is no database."""
    ended = watcher(tmp_path, command, *options, WATCHER_BASE_URL="https://app.example")
    assert (0, out) == (ended.returncode, ended.stdout)
    assert "there is no database at" in ended.stderr


def test_the_json_of_deliveries(capsys: pytest.CaptureFixture[str]) -> None:
    """A delivery is printed with every documented field."""
    record = DeliveryRecord(
        7,
        "evt_1",
        "run.input_requested",
        "slack",
        "pending",
        2,
        1781082940.5,
        "HTTP 500",
        "a",
        "r",
        "",
        due_at=1781082900.0,
        finished_at=None,
    )
    output.show_deliveries([record], as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {
            "id": 7,
            "event_id": "evt_1",
            "type": "run.input_requested",
            "notifier": "slack",
            "state": "pending",
            "attempts": 2,
            "next_attempt_at": "2026-06-10T09:15:40Z",
            "last_error": "HTTP 500",
            "app": "a",
            "run_id": "r",
            "request_id": None,
            "due_at": "2026-06-10T09:15:00Z",
            "finished_at": None,
        }
    ]


def test_python_m_watcher_is_the_console_script() -> None:
    """Both ways to start give the same help."""
    script = Path(sys.executable).parent / "watcher"
    ended = subprocess.run(
        [script, "--help"], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    module = subprocess.run(
        [sys.executable, "-m", "watcher", "--help"], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split("\n", 1)[1] == module.stdout.split("\n", 1)[1]


def test_any_character_in_any_locale(tmp_path: Path) -> None:
    """What the encoding of the output does not know is written in a way that it does."""
    user = {"WATCHER_BASE_URL": "https://x.example", "WATCHER_USER_ID": "\N{BELL}é"}
    ended = watcher(tmp_path, "config", PYTHONIOENCODING="ascii", **user)
    assert 0 == ended.returncode, ended.stderr
    assert "\\U0001f514\\xe9" in ended.stdout
