"""The command line: help, usage errors, and what the lists print."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import environment
from watcher import __version__, tables
from watcher.models import DeliveryRecord, PendingRequest
from watcher.scenario_names import DESCRIPTIONS
from watcher.simulator import SCENARIOS

COMMANDS = [
    "run",
    "once",
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
    """The help of the simulator, and what it says of a name that is none, name every scenario."""
    shown = watcher(tmp_path, "simulate", "--help").stdout
    listed = [line.split()[0] for line in shown.partition("Scenarios:\n")[2].splitlines() if line[2] != " "]
    assert list(SCENARIOS) == list(DESCRIPTIONS) == listed
    wrong = watcher(tmp_path, "simulate", "--scenario", "nothing").stderr
    assert f"there are {', '.join(SCENARIOS)}\n" in wrong


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
        assert (ended.returncode, len(problems)) == (2, 1)
        assert "watcher.db" in problems[0]
    assert file.read_bytes() == b"something else entirely" * 100


def test_the_demo_shows_what_it_promises(tmp_path: Path) -> None:
    """The demo needs nothing, shows all that can happen to a request, and an outage, and ends by itself."""
    ended = watcher(tmp_path, "demo", "--for", "25s")
    assert ended.returncode == 0
    for words in ("Approval needed", "Feedback needed", "asked anew", "canceled", "answered"):
        assert words in ended.stdout
    assert ended.stdout.index("App failing") < ended.stdout.index("App recovered")
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_what_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a request there is who was told, its prompt as one harmless line, its ids whole, and its link."""
    request = PendingRequest(
        "support",
        "run-1",
        "req-1",
        "approval_request",
        "a\nb\x1b[31m\u202e[bold]c[/]",
        0.0,
        "https://x.example",
        ("slack",),
    )
    tables.show_pending([request], as_json=False)
    first, *more = capsys.readouterr().out.splitlines()
    assert first.startswith("support · approval_request · waits ")
    assert first.endswith(" · told slack")
    assert ["  a b\ufffd[31m[bold]c[/]", "  run run-1 request req-1", "  https://x.example"] == more


def test_the_json_of_deliveries(capsys: pytest.CaptureFixture[str]) -> None:
    """A delivery is printed with every documented field."""
    record = DeliveryRecord(
        7, "evt_1", "run.input_requested", "slack", "pending", 2, 1781082940.5, "HTTP 500", "a", "r", ""
    )
    tables.show_deliveries([record], as_json=True)
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
