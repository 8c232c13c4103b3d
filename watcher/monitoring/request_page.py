"""One request on a page of its own: the whole question, who was notified, what follows, how it ended."""

from dataclasses import dataclass, replace
from typing import Final

from watcher.messages import (
    MessageSettings,
    count,
    format_elapsed,
    outcome_sentence,
    request_message,
)
from watcher.models import DeliveryRecord, EventType
from watcher.monitoring import html
from watcher.monitoring.health import failure_line
from watcher.monitoring.server import Page
from watcher.monitoring.snapshot import RequestPageData
from watcher.sanitize.text import one_line, truncate

PARAMETERS_SHOWN: Final = 1000
_ERROR_SHOWN: Final = 300

_EVENTS: Final[dict[EventType, str]] = {
    "run.input_requested": "announcement",
    "run.input_reminder": "reminder",
    "run.input_resolved": "resolution",
}


@dataclass(frozen=True, slots=True)
class _Step:
    """A message to a notifier, and what became of it."""

    at: float
    notifier: str
    text: str


def render(data: RequestPageData) -> Page:
    """Returns the page."""
    event, resolution = data.event, data.event.resolution
    settings = MessageSettings({event.app.name: data.answer_hint} if data.answer_hint else {})
    asked = request_message(replace(event, type="run.input_requested", resolution=None, at=data.at), settings)
    shown = asked.rows[:PARAMETERS_SHOWN]
    return html.page(
        "request.html",
        asked=replace(asked, rows=shown, dropped_rows=len(asked.rows) - len(shown)),
        blind=_blindness(data) if resolution is None else "",
        data=data,
        event=event,
        mood="new" if resolution else "waits",
        now=data.at,
        outcome=outcome_sentence(event),
        root="../",
        steps=sorted(map(_step, filter(_happened, data.deliveries)), key=lambda step: step.at),
        title=request_message(event, settings).title,
        waited=data.at - event.first_seen_at,
    )


def _blindness(data: RequestPageData) -> str:
    """Returns why a pending request may have been answered unnoticed; empty if the app is visible."""
    if data.app is None:
        return "This app is no longer configured, so the request may have been answered already."
    if data.app.visible:
        return ""
    why = f" ({failure_line(data.app.failure)})" if data.app.failure else ""
    name = data.app.name
    return f"Watcher can't see the requests of {name} now{why}. This one may have been answered meanwhile."


def _happened(record: DeliveryRecord) -> bool:
    """Returns whether a delivery was attempted or finished; the page shows planned ones elsewhere."""
    return record.state != "pending" or record.attempts > 0


def _step(record: DeliveryRecord) -> _Step:
    what = _EVENTS.get(record.type, record.type)
    if record.app is not None and record.run_id is None:
        what = f"{what} in a digest"
    error = f": {truncate(one_line(record.last_error), _ERROR_SHOWN)}" if record.last_error else ""
    match record.state:
        case "sent":
            became = "sent" if record.attempts <= 1 else f"sent at attempt {record.attempts}"
        case "dead":
            became = f"given up after {count(record.attempts, 'attempt')}{error}"
        case "superseded":
            became = "not sent, because it became unnecessary"
        case _:
            became = f"attempt {record.attempts} failed{error}"
    return _Step(record.finished_at or record.due_at, record.notifier, f"{what} {became}")


html.ENVIRONMENT.filters.update(elapsed=format_elapsed)
