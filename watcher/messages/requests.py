"""One request: that it waits, a reminder of it, and how it ended."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from watcher.messages.model import Fact, Message, Row, Tone, briefly
from watcher.messages.times import duration
from watcher.models import APPROVAL, FEEDBACK, PAUSED, UNKNOWN, Event, InputRequest, Json, Outcome
from watcher.secrets import MASK
from watcher.text import cut, multiline, printable

NOT_VISIBLE: Final = "The run waits, but its question is not visible here: look at the run itself."
PARKED: Final = "The run is paused and shows no question: it may wait for an answer that nobody is asked for."

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
    "replaced": "it was asked anew",
}
_STATUS_SHOWN: Final = 60
_REMINDED: Final = 500
"""Characters of a question that a reminder repeats."""

_KINDS: Final = {APPROVAL: "Approval", FEEDBACK: "Feedback"}


def requested(event: Event) -> Message:
    """Returns the message about a request that waits."""
    return _about_request(event, "urgent", "needed")


def reminder(event: Event) -> Message:
    """Returns the message about a request that still waits; short, for the question was shown before."""
    whole = _about_request(event, "reminder", "needed")
    short = briefly(whole, _REMINDED)
    waited = duration(event.at - event.first_seen_at) if event.first_seen_at is not None else "long"
    number = f" This is reminder {event.reminder.number} of {event.reminder.of}." if event.reminder else ""
    return replace(
        short,
        title=f"Reminder: {whole.title[0].lower()}{whole.title[1:]}",
        lead=f"It has waited for {waited}.{number}",
        facts=whole.facts,
    )


def resolved(event: Event) -> Message:
    """Returns the message about a request that ended: the question is kept, with how it ended."""
    outcome = event.resolution.outcome if event.resolution else "gone"
    tone: Tone = "done" if outcome == "answered" else "closed"
    message = _about_request(event, tone, _STATES[outcome])
    return replace(message, lead=_ending(event, outcome), rows=tuple(_unmarked(message.rows)))


def ended(outcome: Outcome, waited: float | None) -> str:
    """Returns how a request ended and after how many seconds, as a part of a sentence."""
    state = _STATES[outcome] if waited is None else f"{_STATES[outcome]} after {duration(waited)}"
    return f"{state}: {_REASONS[outcome]}" if outcome in _REASONS else state


def kind(request_type: str) -> str:
    """Returns the word for a type of request."""
    return _KINDS.get(request_type, "Input")


def web_link(link: str | None) -> str | None:
    """Returns the link if it is one to follow in a browser, so that no other scheme ever gets clickable."""
    shown = printable(link or "").replace(" ", "%20")
    return shown if shown.startswith(("https://", "http://")) else None


def _about_request(event: Event, tone: Tone, state: str) -> Message:
    request = event.request
    visible = request is not None and request.type != UNKNOWN
    prompt = multiline(request.prompt or "") if request and visible else ""
    unseen = PARKED if event.run and event.run.status == PAUSED and not visible else NOT_VISIBLE
    place = f" ({event.position[0]} of {event.position[1]})" if event.position else ""
    title = f"{kind(request.type if request else UNKNOWN)} {state}{place}"
    return Message(
        tone=tone,
        title=f"{title} · {printable(event.app.name)}" if event.app else title,
        body=prompt or unseen,
        quoted=bool(prompt),
        rows=tuple(_rows(request)) if request else (),
        facts=tuple(_request_facts(event)),
        link=web_link(event.link),
    )


def _ending(event: Event, outcome: Outcome) -> str:
    waited = status = None
    if event.resolution:
        status = event.resolution.run_status
        if event.first_seen_at is not None:
            waited = event.resolution.resolved_at - event.first_seen_at
    words = ended(outcome, waited)
    if outcome == "answered" and status:
        words += f"; the run is now {cut(printable(status).replace('_', ' '), _STATUS_SHOWN)}"
    return f"{words[0].upper()}{words[1:]}."


def _unmarked(rows: Iterable[Row]) -> Iterator[Row]:
    """Nothing of what is over can be edited."""
    return (replace(row, editable=False) for row in rows)


def _rows(request: InputRequest) -> Iterator[Row]:
    params = request.params
    if isinstance(params, dict):
        for name, value in params.items():
            yield _row(printable(name) or "(no name)", value, editable=name in request.editable_params)
    elif params:
        yield _row("params", params)


def _row(name: str, value: Json, *, editable: bool = False) -> Row:
    return Row(
        name, _shown(value), editable, value == MASK, code=bool(value) and isinstance(value, dict | list)
    )


def _shown(value: Json) -> str:
    if value in (None, ""):
        return "none" if value is None else "(empty)"
    if isinstance(value, str):
        return multiline(value) or "(nothing visible)"
    try:
        return printable(json.dumps(value, ensure_ascii=False))
    except (RecursionError, ValueError):
        return "(cannot be shown)"


def _request_facts(event: Event) -> Iterator[Fact]:
    if event.first_seen_at is not None and event.resolution is None:
        yield Fact("Waiting since", event.first_seen_at)
    if event.request and event.request.params is None and event.request.editable_params:
        yield Fact("Editable", printable(", ".join(event.request.editable_params)))
    if event.run is None:
        return
    if event.run.user_id:
        yield Fact("User", printable(event.run.user_id))
    yield Fact("Run", printable(event.run.id))
    if event.run.session_id:
        yield Fact("Session", printable(event.run.session_id))
