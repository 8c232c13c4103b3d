"""What the commands print without a daemon: help, usage errors, and the lists beside a database."""

import asyncio
import json
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import (
    corrupt_database,
    lock_database,
    make_new_request,
    open_store,
    record_new,
    records,
)
from tests.support.process import Finished
from tests.unit.cli.conftest import Invoke
from watcher import __version__
from watcher.models import NewRequest
from watcher.simulator.catalog import DESCRIPTIONS, VERBS
from watcher.store import sqlite

COMMANDS = [
    "run",
    "once",
    "poll",
    "check",
    "pending",
    "deliveries",
    "retry",
    "move",
    "config",
    "healthcheck",
    "demo",
    "simulate",
]

APP = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_APP_NAME": "support"}
NOTIFIERS = {"WATCHER_NOTIFIERS__CHAT__TYPE": "console", "WATCHER_NOTIFIERS__AUDIT__TYPE": "console"}


def record(directory: Path, *requests: NewRequest) -> Path:
    """Makes a database with these requests, each for Slack and a webhook, and returns its path."""

    async def make() -> None:
        async with open_store(directory / "watcher.db") as store:
            if requests:
                await record_new(store, *requests)

    asyncio.run(make())
    return directory / "watcher.db"


def test_help_names_every_command(invoke: Invoke) -> None:
    """`--help` lists the commands and `--version` the version."""
    shown = invoke("--help")
    assert shown.status == 0
    assert [name for name in COMMANDS if f"\n  {name} " not in shown.out] == []
    assert __version__ in invoke("--version").out


def test_every_command_takes_a_configuration_file(invoke: Invoke) -> None:
    """`--config` is an option of each command."""
    assert [name for name in COMMANDS if "--config FILE" not in invoke(name, "--help").out] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["runn"], "runn"),
        (["run", "--port", "1"], "--port"),
        (["deliveries", "--state", "lost"], "lost"),
        (["retry"], "ID"),
        (["retry", "1", "--all-dead"], "ID"),
        (["demo", "--for", "soon"], "--for"),
        (["demo", "--for", "soon"], "'soon' is not a duration such as"),
        (["simulate", "--scenario", "nothing"], "nothing"),
        (["--config", "x", "run"], "--config"),
        (["run", "--config"], "--config"),
        (["retry", "one\ntwo"], "is not a valid whole number"),
        (["move"], "FILE"),
        (["move", "."], "is a directory"),
    ],
)
def test_usage_errors(invoke: Invoke, arguments: list[str], named: str) -> None:
    """A wrong call is exit status 2 with one line that names what is wrong."""
    ended = invoke(*arguments, WATCHER_BASE_URL="https://app.example")
    assert (ended.status, ended.out) == (2, "")
    [line] = ended.err.splitlines()
    assert line.startswith("watcher: ")
    assert named in line


def test_no_command_is_answered_with_the_help(invoke: Invoke) -> None:
    """Without a command the help is printed to standard error, with exit status 2."""
    ended = invoke()
    assert (ended.status, ended.out, ended.err) == (2, "", invoke("--help").out)


def test_the_scenarios_are_listed(invoke: Invoke) -> None:
    """The help of the simulator, and what it says of an unknown name, name every scenario."""
    shown = invoke("simulate", "--help").out
    section = shown.partition("Scenarios:\n")[2].partition("\n\n")[0]
    listed = [line.split()[0] for line in section.splitlines() if line[2] != " "]
    assert list(DESCRIPTIONS) == listed
    wrong = invoke("simulate", "--scenario", "nothing").err
    assert f"is not one of: {', '.join(DESCRIPTIONS)}\n" in wrong


def test_the_help_says_how_to_control_the_simulator(invoke: Invoke) -> None:
    """There is a line to answer with, and every verb with its arguments."""
    shown = invoke("simulate", "--help").out
    assert '  curl -d \'{"run_id": "…", "request_id": "…"}\' URL/_control/answer\n' in shown
    _, _, verbs = shown.partition("as a JSON object:\n")
    assert list(VERBS) == [line.split()[0] for line in verbs.splitlines() if line[2] != " "]
    assert "[type] [feedback] [is_approved] [params]:" in verbs


@pytest.mark.parametrize(("options", "out"), [([], ""), (["--json"], "[]\n")])
@pytest.mark.parametrize("command", ["pending", "deliveries"])
def test_without_a_database_nothing_is_claimed(
    invoke: Invoke, tmp_path: Path, command: str, options: list[str], out: str
) -> None:
    """Where no daemon ever ran the lists say only that there is no database, and they make none."""
    ended = invoke(command, *options, **APP)
    assert (0, out) == (ended.status, ended.out)
    assert "there is no database at" in ended.err
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [("pending",), ("deliveries",), ("retry", "--all-dead"), ("check",)])
@pytest.mark.parametrize("is_database", [True, False])
def test_a_damaged_database_is_reported_without_a_traceback(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], *, is_database: bool
) -> None:
    """A database that is damaged, or is none, ends a command with one line, and a check with a result."""
    if is_database:
        corrupt_database(record(tmp_path))
    else:
        (tmp_path / "watcher.db").write_bytes(b"something else entirely" * 100)
    ended = invoke(*arguments, **APP)
    assert ended.status in {1, 2}
    assert re.search("malformed|damaged" if is_database else "file is not a database", ended.out + ended.err)
    assert "Traceback" not in ended.err


def test_retry_without_a_database(invoke: Invoke, tmp_path: Path) -> None:
    """Where no daemon ever ran there is nothing to retry, and none is made."""
    ended = invoke("retry", "--all-dead", **APP)
    assert (2, "watcher: there is no database at watcher.db yet\n") == (ended.status, ended.err)
    assert [] == list(tmp_path.iterdir())


def test_retry_while_the_database_is_locked(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that another process keeps locked is one line, and exit status 1 because it may pass."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with closing(lock_database(record(tmp_path))):
        ended = invoke("retry", "--all-dead", **APP)
    assert (1, ["watcher: database: watcher.db: database is locked"]) == (
        ended.status,
        ended.err.splitlines(),
    )


QUERY = "DELETE FROM invoices\n    WHERE paid_at < '2019-01-01'\n      AND customer_id = 7121;"


def test_one_request_is_shown_whole(invoke: Invoke, tmp_path: Path) -> None:
    """By its number a request is shown with every line and parameter, as text or alone in the JSON list."""
    long = "Which of these is meant? " * 40
    asked = make_new_request("run-7", prompt=f"{long}\nThe second one?")
    asked = replace(asked, request=replace(asked.request, params={"sql": QUERY, "note": "x" * 20_000}))
    record(tmp_path, make_new_request("run-6"), asked)
    listed = json.loads(invoke("pending", "--json", **APP).out)
    (number,) = [request["id"] for request in listed if request["run_id"] == "run-7"]
    shown = invoke("pending", str(number), **APP)
    assert (0, "") == (shown.status, shown.err)
    assert "WARNING: app support has not been polled yet" == shown.out.splitlines()[0]
    assert [] == [
        text
        for text in ("Approval needed", long.strip(), "> The second one?", *QUERY.splitlines(), "x" * 20_000)
        if text not in shown.out
    ]
    assert shown.out.endswith("\nNotified: no one yet\n")
    alone = json.loads(invoke("pending", str(number), "--json", **APP).out)
    assert [number] == [request["id"] for request in alone]
    unknown = invoke("pending", "4711", **APP)
    assert (2, True) == (unknown.status, "there is no request 4711" in unknown.err)


def test_a_request_of_an_app_that_is_no_longer_configured(invoke: Invoke, tmp_path: Path) -> None:
    """Its request is still shown with who was notified, and a warning that no one watches it."""
    with closing(sqlite3.connect(record(tmp_path, make_new_request("run-7")))) as connection:
        connection.execute("UPDATE deliveries SET state = 'sent', finished_at = 1 WHERE notifier = 'slack'")
        connection.commit()
    others = {**APP, "WATCHER_APP_NAME": "other"}
    shown = invoke("pending", "1", **others).out.splitlines()
    warning = "WARNING: app support is no longer configured; this request may have been answered already"
    assert (warning, "Notified: slack") == (shown[0], shown[-1])
    (alone,) = json.loads(invoke("pending", "1", "--json", **others).out)
    assert (1, ["slack"]) == (alone["id"], alone["told"])
    assert "[]\n" == invoke("pending", "--json", **others).out


def numbers(ended: Finished) -> list[int]:
    """Returns the ids in a table or a JSON list."""
    if ended.out.startswith("["):
        return [item["id"] for item in json.loads(ended.out)]
    return [int(line.split()[0]) for line in ended.out.splitlines() if line[0].isdigit()]


@pytest.fixture(name="outbox")
def _outbox(tmp_path: Path) -> Path:
    """A database of 60 deliveries to notifiers that are no longer configured."""
    return record(tmp_path, *(make_new_request(f"run-{number}") for number in range(30)))


@pytest.mark.usefixtures("outbox")
@pytest.mark.parametrize(
    ("options", "shown", "note"),
    [
        ([], range(11, 61), True),
        (["--limit", "0"], range(1, 61), False),
        (["--limit", "3"], range(58, 61), False),
        (["--limit", "100"], range(1, 61), False),
        (["--json"], range(1, 61), False),
        (["--json", "--limit", "2"], range(59, 61), False),
        (["--state", "sent"], (), False),
    ],
)
def test_the_newest_are_listed(invoke: Invoke, options: list[str], shown: Any, *, note: bool) -> None:
    """The table shows the newest 50 and says so, JSON all; with a limit both show so many."""
    ended = invoke("deliveries", *options, **APP, **NOTIFIERS)
    assert (0, list(shown)) == (ended.status, numbers(ended))
    assert note == ("showing the newest 50;" in ended.err)


def test_those_to_one_notifier(invoke: Invoke, outbox: Path) -> None:
    """The newest of one notifier are counted without those of others, also when it was taken out.

    That none of its deliveries has the wanted state makes its name no wrong one.
    """
    ended = invoke("deliveries", "--notifier", "slack", "--limit", "4", **APP, **NOTIFIERS)
    of_slack = [record.id for record in records(outbox) if record.notifier == "slack"]
    assert (of_slack[-4:], "") == (numbers(ended), ended.err)
    none = invoke("deliveries", "--notifier", "slack", "--state", "dead", **APP, **NOTIFIERS)
    assert (0, [], "") == (none.status, numbers(none), none.err)


@pytest.mark.usefixtures("outbox")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_notifier_that_there_is_not(invoke: Invoke, form: list[str]) -> None:
    """A name that no notifier has is a usage error, which says which names there are."""
    ended = invoke("deliveries", "--notifier", "chta", *form, **APP, **NOTIFIERS)
    assert (2, "watcher: no notifier is named 'chta'; configured: audit, chat\n") == (ended.status, ended.err)
    assert ended.out == ""
    known = invoke("deliveries", "--notifier", "chat", *form, **APP, **NOTIFIERS)
    assert (0, "") == (known.status, known.err)
