"""What the commands print: tables for people, JSON for programs. Other people's text is made harmless."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from watcher.messages import duration, moment
from watcher.models import DeliveryRecord, Failure, Json, PendingRequest
from watcher.pending import pending_json
from watcher.text import cut, printable

NO_TERMINAL_WIDTH = 200
PROMPT_SHOWN = 120


def warn_of_failing(failures: Mapping[str, Failure | None]) -> None:
    """Says on standard error of which apps the list may be old."""
    for app, failure in failures.items():
        if failure is None:
            continue
        what = f"HTTP {failure.status}, {failure.code}" if failure.status else failure.code
        sys.stderr.write(
            f"watcher: app {app} cannot be polled since {moment(failure.since)}"
            f" ({cut(printable(what), PROMPT_SHOWN)}): what it asks now is not known\n"
        )


def show_pending(requests: Sequence[PendingRequest], *, as_json: bool) -> None:
    """Prints the requests that wait."""
    now = time.time()
    if as_json:
        _print_json([pending_json(request, now) for request in requests])
        return
    if not requests:
        sys.stdout.write("Nothing waits.\n")
        return
    for request in requests:
        told = f"told {', '.join(request.told)}" if request.told else "told nobody yet"
        waited = duration(max(now - request.first_seen_at, 0.0))
        lines = [
            f"{request.app} · {request.type} · waits {waited} · {told}",
            f"  {cut(printable(request.prompt or '(question not visible)'), PROMPT_SHOWN)}",
            f"  run {request.run_id}" + (f"  request {request.request_id}" if request.request_id else ""),
            *([f"  {request.link}"] if request.link else []),
        ]
        sys.stdout.write("".join(f"{_one_line(line)}\n" for line in lines))


def show_deliveries(records: Sequence[DeliveryRecord], *, as_json: bool) -> None:
    """Prints deliveries."""
    if as_json:
        _print_json([_delivery_json(record) for record in records])
        return
    if not records:
        sys.stdout.write("No deliveries.\n")
        return
    _print_table(
        ["id", "type", "notifier", "state", "attempts", "next attempt", "app", "run", "last error"],
        [
            [
                str(record.id),
                record.type,
                record.notifier,
                record.state,
                str(record.attempts),
                moment(record.next_attempt_at) if record.next_attempt_at is not None else "-",
                record.app or "-",
                record.run_id or "-",
                cut(printable(record.last_error or "-"), PROMPT_SHOWN),
            ]
            for record in records
        ],
    )


def show_settings(settings: Iterable[tuple[str, str, str]]) -> None:
    """Prints settings with their values and origins."""
    _print_table(["setting", "value", "from"], [[printable(cell) for cell in row] for row in settings])


def _delivery_json(record: DeliveryRecord) -> dict[str, Json]:
    at = record.next_attempt_at
    return {
        **asdict(record),
        "next_attempt_at": None if at is None else moment(at),
        "request_id": record.request_id or None,
    }


def _print_json(document: Json) -> None:
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def _print_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else NO_TERMINAL_WIDTH).print(table)


def _one_line(line: str) -> str:
    """Returns a line of ours with other people's text in it as one line, its indentation kept."""
    return "  " * line.startswith("  ") + printable(line)
