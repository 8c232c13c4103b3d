"""Pure: one request that is waiting, a reminder of it, and how it ended."""

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from watcher.messages.formatting import format_elapsed
from watcher.messages.message import Fact, Message, Row, Tone, titled, without_details
from watcher.models import (
    APPROVAL,
    AWAITING,
    FEEDBACK,
    INVISIBLE,
    PAUSED,
    Json,
    Outcome,
    Reminder,
    RequestEvent,
    Resolution,
)
from watcher.sanitize.redactor import MASK
from watcher.sanitize.text import clean_lines, one_line, truncate

INVISIBLE_QUESTION: Final = (
    "This run is waiting for input, but its question isn't visible here. Open the run to see it."
)
PAUSED_WITHOUT_QUESTION: Final = (
    "This run is paused and shows no question. It may be waiting for an answer, or for a set time."
)

_STATES: Final[dict[Outcome, str]] = {
    "answered": "answered",
    "canceled": "closed",
    "failed": "closed",
    "gone": "closed",
    "replaced": "replaced",
}
_REASONS: Final[dict[Outcome, str]] = {
    "canceled": "the run was canceled",
    "failed": "the run failed",
    "gone": "the run no longer exists",
    "replaced": "the run now asks something else",
}
_RUN_STATES: Final = {
    "started": "has resumed",
    "running": "is running again",
    "completed": "has completed",
    "failed": "has failed",
    "canceled": "was canceled",
    AWAITING: "is waiting for more input",
}
_STATUS_SHOWN: Final = 60
_REMINDED: Final = 500
"""Characters of a question that a reminder repeats."""

_KINDS: Final = {APPROVAL: "Approval", FEEDBACK: "Feedback"}


def request_message(event: RequestEvent) -> Message:
    """Returns the message about a request that is new, is still waiting, or has ended."""
    if event.resolution is not None:
        return _resolved(event, event.resolution)
    if event.reminder is not None:
        return _reminder(event, event.reminder)
    return _message(event, "urgent", "needed")


def ended(outcome: Outcome, waited: float | None) -> str:
    """Returns how a request ended and after how many seconds, as a part of a sentence."""
    state = _STATES[outcome] if waited is None else f"{_STATES[outcome]} after {format_elapsed(waited)}"
    return f"{state}: {_REASONS[outcome]}" if outcome in _REASONS else state


def reminder_number(reminder: Reminder) -> str:
    """Returns the sentence that says which reminder this is."""
    return f"Reminder {reminder.number} of {reminder.of}."


def request_label(request_type: str) -> str:
    """Returns what people call a request of this type."""
    return _KINDS.get(request_type, "Input")


def web_link(link: str | None) -> str | None:
    """Returns the link if it leads to the web: no other scheme becomes clickable."""
    if link is None:
        return None
    shown = one_line(link).replace(" ", "%20")
    return shown if shown.startswith(("https://", "http://")) else None


def parameters(params: Json, editable: Collection[str]) -> Iterator[Row]:
    """Yields a row for each parameter of a request, and one for parameters that are no object."""
    if isinstance(params, dict):
        for name, value in params.items():
            yield _row(one_line(name) or "(no name)", value, editable=name in editable)
    elif params:
        yield _row("params", params)


def _reminder(event: RequestEvent, reminder: Reminder) -> Message:
    """Returns a short message, for the question was shown before."""
    whole = _message(event, "reminder", "needed")
    return replace(
        without_details(whole, _REMINDED),
        title=f"Reminder: {whole.title[0].lower()}{whole.title[1:]}",
        lead=f"Waiting for {format_elapsed(event.at - event.first_seen_at)}. {reminder_number(reminder)}",
        facts=whole.facts,
    )


def _resolved(event: RequestEvent, resolution: Resolution) -> Message:
    """Returns the question with how it ended."""
    outcome = resolution.outcome
    tone: Tone = "done" if outcome == "answered" else "closed"
    message = _message(event, tone, _STATES[outcome])
    words = ended(outcome, resolution.resolved_at - event.first_seen_at)
    if outcome == "answered" and resolution.run_status:
        words += f"; {_run_state(resolution.run_status)}"
    lead = f"{words[0].upper()}{words[1:]}."
    return replace(message, lead=lead, rows=tuple(replace(row, editable=False) for row in message.rows))


def _run_state(status: str) -> str:
    """Returns what became of a run whose request was answered."""
    if status in _RUN_STATES:
        return f"the run {_RUN_STATES[status]}"
    return f"the run is now {truncate(one_line(status).replace('_', ' '), _STATUS_SHOWN)}"


def _message(event: RequestEvent, tone: Tone, state: str) -> Message:
    request = event.request
    visible = request.type != INVISIBLE or bool(request.prompt)
    prompt = clean_lines(request.prompt or "") if visible else ""
    unseen = PAUSED_WITHOUT_QUESTION if event.run.status == PAUSED and not visible else INVISIBLE_QUESTION
    place = f" ({event.position[0]} of {event.position[1]})" if event.position else ""
    return Message(
        tone=tone,
        title=titled(f"{request_label(request.type)} {state}{place}", event.app.name),
        body=prompt or unseen,
        quoted=bool(prompt),
        rows=tuple(parameters(request.params, request.editable_params)),
        facts=tuple(_facts(event)),
        link=web_link(event.link),
    )


def _row(name: str, value: Json, *, editable: bool = False) -> Row:
    return Row(
        name, _shown(value), editable, value == MASK, code=bool(value) and isinstance(value, dict | list)
    )


def _shown(value: Json) -> str:
    if value in (None, ""):
        return "none" if value is None else "(empty)"
    if isinstance(value, str):
        return clean_lines(value) or "(nothing visible)"
    try:
        return one_line(json.dumps(value, ensure_ascii=False))
    except (RecursionError, ValueError):
        return "(cannot be shown)"


def _facts(event: RequestEvent) -> Iterator[Fact]:
    run, request = event.run, event.request
    if event.resolution is None:
        yield Fact("Waiting since", event.first_seen_at)
    if request.params is None and request.editable_params:
        yield Fact("Editable", one_line(", ".join(request.editable_params)))
    if run.user_id:
        yield Fact("User", one_line(run.user_id))
    yield Fact("Run", one_line(run.id))
    if run.session_id:
        yield Fact("Session", one_line(run.session_id))
