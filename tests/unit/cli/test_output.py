"""How the lists of requests and deliveries look, on a terminal and for a program."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.builders import NOW, claim, open_store, record_new, records
from watcher.cli import output
from watcher.models import DeliveryRecord, DeliveryState, Failure, Json, PendingRequest
from watcher.store import Sent
from watcher.store.results import AppStatus

RUN = "8c2c9a52-61a5-4f0c-9d59-6f0a7f2b3c4d"


SEEN = AppStatus("support", 30.0, succeeded_at=NOW - 40.0, worked=True)
STALE = replace(SEEN, name="billing", succeeded_at=NOW - 300.0)
NEVER = AppStatus("legal", 30.0)
UNREACHABLE = (
    "has been unreachable since 2026-06-10T09:15:40Z (HTTP 401, unauthorized); this list may be out of date."
    " The access key is missing, wrong, expired or was rotated: set a valid one."
)
REFUSED = replace(SEEN, name="desk", failure=Failure(401, "unauthorized", "no", 1781082940.0, 2))


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
    output.show_pending([request], [SEEN], NOW)
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


@pytest.mark.parametrize(
    ("kind", "questions", "words"),
    [
        ("unknown", None, "  (question not visible)"),
        ("approval_request", None, "  (no prompt)"),
        (
            "human_feedback",
            [{"question": "Which size?"}, {"question": "Which\ncolour?"}],
            "  Which size? Which colour?",
        ),
    ],
)
def test_a_request_without_a_prompt(
    capsys: pytest.CaptureFixture[str], kind: str, questions: Json, words: str
) -> None:
    """Its questions stand in place of the prompt; without any the list says what is missing."""
    request = PendingRequest(1, "support", "run-1", "q", kind, None, 0.0, None, (), questions=questions)
    output.show_pending([request], [SEEN], NOW)
    assert words == capsys.readouterr().out.splitlines()[1]


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
    output.show_pending([request], [SEEN], NOW)
    lines = capsys.readouterr().out.splitlines()
    assert [] == [line for line in lines if len(line) > columns]
    assert ids == [word for line in lines for word in line.split() if word in ids]


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
    capsys: pytest.CaptureFixture[str],
    apps: list[AppStatus],
    lines: list[str],
) -> None:
    """What cannot be seen stands above the list, and nothing is called empty that was not seen."""
    output.show_pending([], apps, NOW)
    assert lines == capsys.readouterr().out.splitlines()


def test_json_of_an_app_that_cannot_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    """The list stays JSON; what cannot be seen stands on standard error."""
    output.show_pending_json([], [SEEN, NEVER], NOW)
    shown = capsys.readouterr()
    assert ("[]\n", "watcher: app legal has not been polled yet\n") == (shown.out, shown.err)


def test_json_without_standard_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose standard error is closed still prints the list."""
    monkeypatch.setattr("sys.stderr", None)
    output.show_pending_json([], [NEVER], NOW)
    assert "[]\n" == capsys.readouterr().out


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
    output.show_deliveries(EACH, NOW, as_json=False)
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert [] == [line for line in lines if len(line) > columns]
    assert [run] * 4 == [line.split()[-1] for line in lines if line[0].isdigit()]


def test_a_table_that_is_read_by_a_program_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal is, a run's id is whole however wide the rest is."""
    output.show_deliveries([record(app="a" * 300)], NOW, as_json=False)
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
    output.show_deliveries([shown], NOW, as_json=False)
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
    output.show_deliveries([shown], NOW, as_json=False)
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
    output.show_deliveries([record], NOW, as_json=True)
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
