"""What the commands print: tables for people, JSON for programs. Untrusted text is made harmless."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from io import StringIO
from textwrap import wrap
from typing import TextIO

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from watcher.messages import (
    ADVICE,
    MessageSettings,
    Row,
    count,
    format_elapsed,
    format_timestamp,
    no_prompt,
    parameters,
    plain_text,
    question_text,
    render,
    request_label,
    show_name,
)
from watcher.models import DeliveryRecord, Json, PendingRequest, RequestEvent
from watcher.monitoring.snapshot import pending_json
from watcher.sanitize.text import one_line, truncate
from watcher.store.results import MISSED_INTERVALS, SUCCESS_SECONDS, AppStatus

NO_TERMINAL_WIDTH = 200
PROMPT_SHOWN = 120
PARAMS_SHOWN = 240
VALUE_SHOWN = 40
ERROR_SHOWN = 200
RUN_SHOWN = 9
"""Characters of a run's id on a narrow terminal, ellipsis included: enough to tell runs apart."""
GAP = "  "
INDENT = "    "
SMALL_INDENT = "  "


def blind_spots(apps: Iterable[AppStatus], now: float) -> list[str]:
    """Returns a line for each app whose requests may be missing from a list, or out of date in it."""
    return [f"app {app.name} {line}" for app in apps if (line := _blind_spot(app, now))]


def show_pending(requests: Sequence[PendingRequest], apps: Sequence[AppStatus], now: float) -> None:
    """Prints what cannot be seen, and then the pending requests."""
    blind = blind_spots(apps, now)
    lines = [f"WARNING: {line}" for line in blind]
    if not requests and not blind:
        lines.append("Nothing is waiting.")
    elif not requests:
        all_blind = len(blind) == len(apps)
        lines.append("No known request is waiting." if all_blind else "Nothing is waiting in the other apps.")
    width = Console().width if _output().isatty() else NO_TERMINAL_WIDTH
    for request in requests:
        lines += _pending_lines(request, now, width)
    _output().write("".join(f"{line}\n" for line in lines))


def show_request(
    event: RequestEvent,
    told: Sequence[str],
    apps: Sequence[AppStatus],
    settings: MessageSettings,
    now: float,
) -> None:
    """Prints one request whole, after a warning if its app, the only one in `apps`, cannot be seen."""
    blind = blind_spots(apps, now)
    if not apps and event.resolution is None:
        name = one_line(event.app.name)
        blind = [f"app {name} is no longer configured; this request may have been answered already"]
    lines = [f"WARNING: {line}" for line in blind]
    lines.append(plain_text(render(replace(event, at=now), settings)))
    if event.resolution is None:
        lines.append(f"Notified: {one_line(', '.join(told)) or 'no one yet'}")
    _output().write("".join(f"{line}\n" for line in lines))


def show_pending_json(requests: Iterable[PendingRequest], apps: Iterable[AppStatus], now: float) -> None:
    """Prints the pending requests as JSON, and on standard error what cannot be seen."""
    for line in blind_spots(apps, now):
        click.echo(f"watcher: {line}", err=True)
    _print_json([pending_json(request, now) for request in requests])


def show_deliveries(records: Sequence[DeliveryRecord], now: float, *, as_json: bool) -> None:
    """Prints deliveries."""
    if as_json:
        _print_json([_delivery_json(record) for record in records])
        return
    if not records:
        _output().write("No deliveries.\n")
        return
    titles = ["id", "when", "type", "notifier", "state", "app", "run"]
    rows = [
        [
            str(record.id),
            _when(record, now),
            record.type,
            record.notifier,
            record.state,
            record.app or "-",
            record.run_id or "-",
        ]
        for record in records
    ]
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(titles, *rows, strict=True)]
    output = _output()
    console = Console(file=output, width=None if output.isatty() else NO_TERMINAL_WIDTH)
    if output.isatty():  # a program gets whole run ids
        room = console.width - sum(widths[:-1]) - len(GAP) * len(widths[:-1])
        widths[-1] = max(min(widths[-1], room), RUN_SHOWN)
    console.print(Text(_aligned(titles, widths), style="bold"), soft_wrap=True)
    for record, row in zip(records, rows, strict=True):
        console.print(Text(_aligned(row, widths)), soft_wrap=True)
        if attempts := _attempts(record, now):
            lines = wrap(attempts, console.width, initial_indent=INDENT, subsequent_indent=INDENT)
            console.print(Text("\n".join(lines)), soft_wrap=True)


def _blind_spot(app: AppStatus, now: float) -> str:
    failure, age = app.failure, None if app.succeeded_at is None else now - app.succeeded_at
    if failure is not None:
        what = f"HTTP {failure.status}, {failure.code}" if failure.status else failure.code
        advice = f". {ADVICE[failure.status]}" if failure.status in ADVICE else ""
        return (
            f"has been unreachable since {format_timestamp(failure.since)}"
            f" ({truncate(one_line(what), PROMPT_SHOWN)}); this list may be out of date{advice}"
        )
    if age is None:
        return "has not been polled yet"
    if age > MISSED_INTERVALS * app.interval + SUCCESS_SECONDS:
        return f"was last polled {format_elapsed(age)} ago; is the daemon running?"
    return ""


def _pending_lines(request: PendingRequest, now: float, width: int) -> Iterator[str]:
    notified = f"notified: {', '.join(request.told) or 'no one yet'}"
    waited = format_elapsed(max(now - request.first_seen_at, 0.0))
    head = [f"{request.id} · {request.app}", request_label(request.type), f"waiting {waited}", notified]
    yield from _side_by_side([one_line(part) for part in head], width, indent="", gap=" · ")
    prompt = truncate(one_line(question_text(request)), PROMPT_SHOWN)
    yield from _wrapped(prompt or no_prompt(request.type), width)
    params = "; ".join(_param(row) for row in parameters(request.params, request.editable_params))
    yield from _wrapped(truncate(params, PARAMS_SHOWN), width)
    ids = {"user": request.user_id, "run": request.run_id, "request": request.request_id}
    parts = [f"{name} {one_line(value)}" for name, value in ids.items() if value]
    yield from _side_by_side(parts, width)
    if request.link:
        yield SMALL_INDENT + one_line(request.link)


def _param(row: Row) -> str:
    value = truncate(one_line(row.shown.text), VALUE_SHOWN)
    return f"{truncate(show_name(row.name), VALUE_SHOWN)}{' (editable)' * row.editable}: {value}"


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(
        text,
        width,
        initial_indent=SMALL_INDENT,
        subsequent_indent=SMALL_INDENT,
        break_on_hyphens=False,
    )


def _side_by_side(
    parts: Iterable[str], width: int, *, indent: str = SMALL_INDENT, gap: str = GAP
) -> Iterator[str]:
    """Yields lines with as many parts as fit; no part is broken."""
    line = ""
    for part in parts:
        longer = f"{line}{gap}{part}" if line else indent + part
        if line and cell_len(longer) > width:
            yield line
            longer = SMALL_INDENT + part
        line = longer
    if line:
        yield line


def show_settings(settings: Iterable[tuple[str, str, str]]) -> None:
    """Prints settings with their values and origins."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("setting", "value", "from"):
        table.add_column(title, overflow="fold")
    for row in settings:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    output = _output()
    Console(file=output, width=None if output.isatty() else NO_TERMINAL_WIDTH).print(table)


def _aligned(cells: Iterable[str], widths: Iterable[int]) -> str:
    return GAP.join(
        set_cell_size(cell, width) if cell_len(cell) <= width else set_cell_size(cell, width - 1) + "…"
        for cell, width in zip(cells, widths, strict=True)
    ).rstrip()


def _when(record: DeliveryRecord, now: float) -> str:
    """Returns roughly how long ago a delivery was finished or became due, or when it will be due."""
    ago = now - (record.due_at if record.finished_at is None else record.finished_at)
    rough = " ".join(format_elapsed(abs(ago)).split()[:2])
    return f"{rough} ago" if ago >= 0 else f"in {rough}"


def _attempts(record: DeliveryRecord, now: float) -> str:
    """Returns attempts, next attempt and last error of a delivery that its first attempt did not settle."""
    left = 0.0 if record.next_attempt_at is None else max(record.next_attempt_at - now, 0.0)
    if record.state == "pending" and not record.attempts:
        if left:
            return f"first attempt in {format_elapsed(left)}"
        return f"due for {format_elapsed(max(now - record.due_at, 0.0))}, not attempted yet"
    if record.last_error is None and record.attempts <= 1:
        return ""
    coming = (
        ""
        if record.next_attempt_at is None
        else f", next in {format_elapsed(left)}"
        if left
        else ", next now"
    )
    error = f": {truncate(one_line(record.last_error), ERROR_SHOWN)}" if record.last_error else ""
    return f"{count(record.attempts, 'attempt')}{coming}{error}"


def _delivery_json(record: DeliveryRecord) -> dict[str, Json]:
    times = {name: getattr(record, name) for name in ("next_attempt_at", "due_at", "finished_at")}
    return {
        **asdict(record),
        **{name: None if at is None else format_timestamp(at) for name, at in times.items()},
        "request_id": record.request_id or None,
    }


def _output() -> TextIO:
    """Returns standard output. What is printed without one is lost, as with `click.echo`."""
    return sys.stdout or StringIO()


def _print_json(document: Json) -> None:
    _output().write(json.dumps(document, indent=2) + "\n")
