"""`watcher deliveries`: which are listed, and how they look."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.builders import NOW, claim, make_new_request, open_store, record_new, records
from tests.support.process import Finished, run_command
from watcher.cli import output
from watcher.models import DeliveryRecord, DeliveryState
from watcher.store import Sent

RUN = "8c2c9a52-61a5-4f0c-9d59-6f0a7f2b3c4d"
SETTINGS = {
    "WATCHER_BASE_URL": "http://127.0.0.1:1",
    "WATCHER_NOTIFIERS__CHAT__TYPE": "console",
    "WATCHER_NOTIFIERS__AUDIT__TYPE": "console",
}


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is always the same time."""
    monkeypatch.setattr(output, "time", SimpleNamespace(time=lambda: NOW))


@pytest.fixture(name="outbox")
async def _outbox(tmp_path: Path) -> Path:
    """A directory with a database of 60 deliveries to notifiers that are no longer configured."""
    async with open_store(tmp_path / "watcher.db") as store:
        await record_new(store, *(make_new_request(f"run-{number}") for number in range(30)))
    return tmp_path


def record(
    number: int = 7,
    state: DeliveryState = "sent",
    *,
    attempts: int = 1,
    at: float | None = None,
    error: str | None = None,
    app: str = "support",
    due: float = 0.0,
) -> DeliveryRecord:
    """Returns a delivery of a request of `RUN`; what is finished was due a minute before."""
    return DeliveryRecord(
        number,
        "evt_1",
        "run.input_requested",
        "approvals",
        state,
        attempts,
        at,
        error,
        app,
        RUN,
        "q1",
        due_at=due,
        finished_at=None if state == "pending" else due + 60,
    )


def numbers(ended: Finished) -> list[int]:
    """Returns the ids in a table or a JSON list."""
    if ended.out.startswith("["):
        return [item["id"] for item in json.loads(ended.out)]
    return [int(line.split()[0]) for line in ended.out.splitlines() if line[0].isdigit()]


@pytest.mark.anyio
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
async def test_the_newest_are_listed(outbox: Path, options: list[str], shown: Any, *, note: bool) -> None:
    """The table shows the newest 50 and says so, JSON all; with a limit both show so many."""
    ended = await run_command(outbox, SETTINGS, "deliveries", *options)
    assert (0, list(shown)) == (ended.status, numbers(ended))
    assert note == ("showing the newest 50;" in ended.err)


@pytest.mark.anyio
async def test_those_to_one_notifier(outbox: Path) -> None:
    """The newest of one notifier are counted without those of others, also when it was taken out."""
    ended = await run_command(outbox, SETTINGS, "deliveries", "--notifier", "slack", "--limit", "4")
    of_slack = [record.id for record in records(outbox / "watcher.db") if record.notifier == "slack"]
    assert (of_slack[-4:], "") == (numbers(ended), ended.err)


@pytest.mark.anyio
@pytest.mark.parametrize("form", [[], ["--json"]])
async def test_a_notifier_that_there_is_not(outbox: Path, form: list[str]) -> None:
    """A name that nobody has is no error, and a note says which there are."""
    ended = await run_command(outbox, SETTINGS, "deliveries", "--notifier", "chta", *form)
    assert (0, "watcher: no notifier is named 'chta'; configured: audit, chat\n") == (ended.status, ended.err)
    assert ended.out == ("[]\n" if form else "")
    known = await run_command(outbox, SETTINGS, "deliveries", "--notifier", "chat", *form)
    assert (0, "") == (known.status, known.err)


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """Makes standard output a terminal of a width."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


ERROR = "HTTP 503 from hooks.example: upstream connect error or disconnect before headers. " * 3
EACH = [
    record(1204, due=NOW - 90_000),
    record(1205, "superseded", attempts=0, due=NOW - 3500),
    record(1206, "pending", attempts=3, at=1e11, error=ERROR, due=NOW - 3500),
    record(1207, "dead", attempts=41, error="channel_not_found", due=NOW - 80_000),
]


@pytest.mark.parametrize(
    ("columns", "run"), [(80, "8c2c9a52…"), (100, "8c2c9a52-61a5-4f0c-9d59-6f0a…"), (160, RUN)]
)
def test_the_table_fits_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int, run: str
) -> None:
    """No line is wider than the terminal; a run's id is cut only where it does not fit."""
    on_a_terminal(monkeypatch, columns)
    output.show_deliveries(EACH, as_json=False)
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert [] == [line for line in lines if len(line) > columns]
    assert [run] * 4 == [line.split()[-1] for line in lines if line[0].isdigit()]


def test_a_table_that_is_read_by_a_program_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal is, a run's id is whole however wide the rest is."""
    output.show_deliveries([record(app="a" * 300)], as_json=False)
    assert RUN in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (record(), None),
        (
            record(state="pending", attempts=0, at=0.0, due=NOW - 150),
            "due for 2 min 30 s, not attempted yet",
        ),
        (record(state="pending", attempts=0, at=1e11), "first attempt in "),
        (record(state="pending", attempts=1, at=1e11, error="HTTP 500"), "1 attempt, next in "),
        (record(state="pending", attempts=2, at=0.0, error="HTTP 500"), "2 attempts, next now: HTTP 500"),
        (record(state="dead", attempts=41, error="a\nb\x1b[31m[bold]c"), "41 attempts: a b\ufffd[31m[bold]c"),
        (record(attempts=3), "3 attempts"),
    ],
)
def test_what_is_said_of_attempts(
    capsys: pytest.CaptureFixture[str], shown: DeliveryRecord, words: str | None
) -> None:
    """A delivery that was not accepted at once has a second line: attempts, the next one, the last error."""
    output.show_deliveries([shown], as_json=False)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert [words is not None] * (words is not None) == [line[4:].startswith(words or "") for line in told]


@pytest.mark.parametrize(
    ("shown", "when"),
    [
        (record(due=NOW - 3 * 3600), "2 h ago"),
        (record(state="pending", attempts=2, due=NOW - 150, error="HTTP 500"), "2 min ago"),
        (record(state="pending", attempts=0, due=NOW + 7210), "in 2 h"),
    ],
)
def test_when(capsys: pytest.CaptureFixture[str], shown: DeliveryRecord, when: str) -> None:
    """A delivery says how long ago it was finished, or else when it was or will be due."""
    output.show_deliveries([shown], as_json=False)
    assert f"7   {when}" in capsys.readouterr().out


@pytest.mark.anyio
async def test_the_times_of_the_outbox(tmp_path: Path) -> None:
    """A delivery is listed with when it was due, and when it was finished if it is."""
    async with open_store(tmp_path / "watcher.db") as store:
        await record_new(store)
        (news,) = await claim(store, "slack")
        await store.settle_and_claim("slack", [Sent(news.id, None)], limit=1, now=NOW + 5)
    times = {one.notifier: (one.due_at, one.finished_at) for one in records(tmp_path / "watcher.db")}
    assert {"slack": (NOW, NOW + 5), "webhook": (NOW, None)} == times
