"""What the commands print: tables for people, JSON for programs. Other people's text is made harmless."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from watcher.messages import duration, moment
from watcher.models import DeliveryRecord, Failure, Json, PendingRequest
from watcher.pending import pending_json
from watcher.text import cut, printable

NO_TERMINAL_WIDTH = 200
PROMPT_SHOWN = 120
ERROR_SHOWN = 200
RUN_SHOWN = 9
"""Characters of a run's id on a narrow terminal, with the sign that it is cut: enough to tell runs apart."""
GAP = "  "
INDENT = "    "


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
    now = time.time()
    titles = ["id", "type", "notifier", "state", "app", "run"]
    rows = [
        [str(record.id), record.type, record.notifier, record.state, record.app or "-", record.run_id or "-"]
        for record in records
    ]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    console = Console(width=None if sys.stdout.isatty() else NO_TERMINAL_WIDTH)
    if sys.stdout.isatty():  # whoever reads on has the runs whole
        room = console.width - sum(widths[:-1]) - len(GAP) * len(widths[:-1])
        widths[-1] = max(min(widths[-1], room), RUN_SHOWN)
    console.print(Text(_aligned(titles, widths), style="bold"), soft_wrap=True)
    for record, row in zip(records, rows, strict=True):
        console.print(Text(_aligned(row, widths)), soft_wrap=True)
        if told := _attempts(record, now):
            lines = wrap(told, console.width, initial_indent=INDENT, subsequent_indent=INDENT)
            console.print(Text("\n".join(lines)), soft_wrap=True)


def show_settings(settings: Iterable[tuple[str, str, str]]) -> None:
    """Prints settings with their values and origins."""
    _print_table(["setting", "value", "from"], [[printable(cell) for cell in row] for row in settings])


def _aligned(cells: Iterable[str], widths: Iterable[int]) -> str:
    return GAP.join(
        set_cell_size(cell, width) if cell_len(cell) <= width else set_cell_size(cell, width - 1) + "…"
        for cell, width in zip(cells, widths, strict=True)
    ).rstrip()


def _attempts(record: DeliveryRecord, now: float) -> str:
    """Says what is left to be said of a delivery that was not accepted at the first attempt."""
    left = 0.0 if record.next_attempt_at is None else max(record.next_attempt_at - now, 0.0)
    if record.state == "pending" and not record.attempts:
        return f"first attempt in {duration(left)}" if left else ""
    if record.last_error is None and record.attempts <= 1:
        return ""
    count = f"{record.attempts} attempt{'s' * (record.attempts != 1)}"
    coming = "" if record.next_attempt_at is None else f", next in {duration(left)}" if left else ", next now"
    error = f": {cut(printable(record.last_error), ERROR_SHOWN)}" if record.last_error else ""
    return f"{count}{coming}{error}"


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
