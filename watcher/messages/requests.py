"""One request: that it waits, a reminder of it, and how it ended."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from watcher.messages.model import Fact, Message, Row, Tone
from watcher.messages.times import duration
from watcher.models import APPROVAL, FEEDBACK, PAUSED, UNKNOWN, Event, InputRequest, Json, Outcome
from watcher.secrets import MASK
from watcher.text import cut, multiline, printable

NOT_VISIBLE: Final = "The run waits, but its question is not visible here: look at the run itself."
PARKED: Final = "The run is paused and shows no question: it may wait for an answer that nobody is asked for."

_REMINDED: Final = 500
"""Characters of a question that a reminder repeats."""

ENDED: Final[dict[Outcome, str]] = {
    "answered": "answered",
    "canceled": "closed, the run was canceled",
    "failed": "closed, the run failed",
    "gone": "closed, the run no longer exists",
    "replaced": "replaced, it was asked anew",
}
_KINDS: Final = {APPROVAL: "Approval", FEEDBACK: "Feedback"}


def requested(event: Event) -> Message:
    """Returns the message about a request that waits."""
    return _about_request(event, "urgent", "needed")


def reminder(event: Event) -> Message:
    """Returns the message about a request that still waits; short, for the question was shown before."""
    whole = _about_request(event, "reminder", "needed")
    waited = duration(event.at - event.first_seen_at) if event.first_seen_at is not None else "long"
    number = f" This is reminder {event.reminder.number} of {event.reminder.of}." if event.reminder else ""
    return replace(
        whole,
        title=f"Reminder: {whole.title[0].lower()}{whole.title[1:]}",
        lead=f"It has waited for {waited}.{number}",
        body=cut(whole.body, _REMINDED),
        rows=(),
    )


def resolved(event: Event) -> Message:
    """Returns the message about a request that ended: the question is kept, with how it ended."""
    outcome = event.resolution.outcome if event.resolution else "gone"
    tone: Tone = "done" if outcome == "answered" else "closed"
    message = _about_request(event, tone, ENDED[outcome].partition(",")[0])
    return replace(message, lead=_ending(event, outcome), rows=tuple(_unmarked(message.rows)))


def kind(request_type: str) -> str:
    """Returns the word for a type of request."""
    return _KINDS.get(request_type, "Input")


def web_link(link: str | None) -> str | None:
    """Returns the link if it is one to follow in a browser, so that no other scheme ever gets clickable."""
    shown = printable(link or "")
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
    words = ENDED[outcome]
    if event.resolution and event.first_seen_at is not None:
        words += f" after {duration(event.resolution.resolved_at - event.first_seen_at)}"
    if event.resolution and event.resolution.run_status and outcome in {"answered", "replaced"}:
        words += f"; the run is now {printable(event.resolution.run_status)}"
    return f"{words[0].upper()}{words[1:]}."


def _unmarked(rows: Iterable[Row]) -> Iterator[Row]:
    """Nothing of what is over can be edited."""
    return (replace(row, editable=False) for row in rows)


def _rows(request: InputRequest) -> Iterator[Row]:
    params = request.params
    if isinstance(params, dict):
        for name, value in params.items():
            yield Row(
                printable(name) or "(no name)", _shown(value), name in request.editable_params, value == MASK
            )
    elif params:
        yield Row("params", _shown(params), masked=params == MASK)


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
