"""The command line as a process of its own: what only shows there."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.process import environment


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


def test_a_database_that_is_none(tmp_path: Path) -> None:
    """A file that is no database is one line and exit status 2, and it stays as it is."""
    file = tmp_path / "watcher.db"
    file.write_bytes(b"something else entirely" * 100)
    ended = watcher(tmp_path, "run", WATCHER_BASE_URL="https://app.example")
    problems = [line for line in ended.stderr.splitlines() if line.startswith("watcher: ")]
    assert (ended.returncode, problems) == (2, ["watcher: database: watcher.db: file is not a database"])
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
    revoked = "The access key is revoked, so people get an alert about the app."
    outage = [revoked, "watcher.app_failing", "watcher.app_recovered"]
    assert outage == [line for line in shown if line in outage]
    assert re.match(
        r"Shown: \d+ requests, \d+ reminders?, \d+ resolutions, 1 outage, each once", captions[-1]
    )
    assert list(tmp_path.iterdir()) == []


def test_the_simulator_where_it_cannot_listen(tmp_path: Path) -> None:
    """One line names the options and the address, and says once why it cannot listen there."""
    nameless = watcher(tmp_path, "simulate", "--host", "a..b")
    line = "watcher: --host, --port: cannot listen on a..b:4010: "
    assert (2, True, 1) == (
        nameless.returncode,
        nameless.stderr.startswith(line),
        nameless.stderr.count("\n"),
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = watcher(tmp_path, "simulate", "--port", str(port))
    line = f"watcher: --host, --port: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert (2, line) == (ended.returncode, ended.stderr)


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
