"""One request: that it waits, a reminder of it, and how it ended."""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final

from watcher.messages.formatting import format_elapsed
from watcher.messages.message import Fact, Message, Row, Tone, titled, without_details
from watcher.models import (
    APPROVAL,
    FEEDBACK,
    INVISIBLE,
    PAUSED,
    Json,
    Outcome,
    Reminder,
    RequestEvent,
    Resolution,
)
from watcher.sanitize.secrets import MASK
from watcher.sanitize.text import clean_lines, one_line, truncate

INVISIBLE_QUESTION: Final = "The run waits, but its question is not visible here: look at the run itself."
PAUSED_WITHOUT_QUESTION: Final = (
    "The run is paused and shows no question: it may wait for an answer that nobody is asked for."
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
_STATUS_SHOWN: Final = 60
_REMINDED: Final = 500
"""Characters of a question that a reminder repeats."""

_KINDS: Final = {APPROVAL: "Approval", FEEDBACK: "Feedback"}


def request_message(event: RequestEvent) -> Message:
    """Returns the message about a request that waits, still waits, or has ended."""
    if event.resolution is not None:
        return _resolved(event, event.resolution)
    if event.reminder is not None:
        return _reminder(event, event.reminder)
    return _message(event, "urgent", "needed")


def ended(outcome: Outcome, waited: float | None) -> str:
    """Returns how a request ended and after how many seconds, as a part of a sentence."""
    state = _STATES[outcome] if waited is None else f"{_STATES[outcome]} after {format_elapsed(waited)}"
    return f"{state}: {_REASONS[outcome]}" if outcome in _REASONS else state


def which(reminder: Reminder) -> str:
    """Returns the sentence that says which of how many reminders this is."""
    return f"This is reminder {reminder.number} of {reminder.of}."


def request_label(request_type: str) -> str:
    """Returns the word for a type of request."""
    return _KINDS.get(request_type, "Input")


def web_link(link: str | None) -> str | None:
    """Returns the link if it is one to follow in a browser, so that no other scheme ever gets clickable."""
    if link is None:
        return None
    shown = one_line(link).replace(" ", "%20")
    return shown if shown.startswith(("https://", "http://")) else None


def parameters(params: Json, editable: Collection[str]) -> Iterator[Row]:
    """Yields a row for each parameter of a request; what is no object is one row."""
    if isinstance(params, dict):
        for name, value in params.items():
            yield _row(one_line(name) or "(no name)", value, editable=name in editable)
    elif params:
        yield _row("params", params)


def _reminder(event: RequestEvent, reminder: Reminder) -> Message:
    """It is short, for the question was shown before."""
    whole = _message(event, "reminder", "needed")
    return replace(
        without_details(whole, _REMINDED),
        title=f"Reminder: {whole.title[0].lower()}{whole.title[1:]}",
        lead=f"It has waited for {format_elapsed(event.at - event.first_seen_at)}. {which(reminder)}",
        facts=whole.facts,
    )


def _resolved(event: RequestEvent, resolution: Resolution) -> Message:
    """The question is kept, with how it ended."""
    outcome = resolution.outcome
    tone: Tone = "done" if outcome == "answered" else "closed"
    message = _message(event, tone, _STATES[outcome])
    words = ended(outcome, resolution.resolved_at - event.first_seen_at)
    if outcome == "answered" and resolution.run_status:
        status = truncate(one_line(resolution.run_status).replace("_", " "), _STATUS_SHOWN)
        words += f"; the run is now {status}"
    lead = f"{words[0].upper()}{words[1:]}."
    return replace(message, lead=lead, rows=tuple(_unmarked(message.rows)))


def _message(event: RequestEvent, tone: Tone, state: str) -> Message:
    request = event.request
    visible = request.type != INVISIBLE
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


def _unmarked(rows: Iterable[Row]) -> Iterator[Row]:
    """Nothing of what is over can be edited."""
    return (replace(row, editable=False) for row in rows)


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
