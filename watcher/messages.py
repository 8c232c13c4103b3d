"""Pure: an event as a message for people, independent of where it is shown.

Everything here is free of characters that act (see `text`), but nothing is escaped: each notifier does that
for its own markup. No word here says how to answer: in Dynamiq an empty reply approves and any text, "yes"
included, rejects, so that every short instruction would be a wrong one.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from textwrap import indent
from typing import Final, Literal

from watcher.models import APPROVAL, FEEDBACK, UNKNOWN, Event, Failure, InputRequest, Json, Outcome
from watcher.secrets import MASK
from watcher.text import cut, multiline, printable

Tone = Literal["urgent", "reminder", "done", "trouble", "good", "info"]

NOT_VISIBLE: Final = "The run waits, but its question is not visible."

_ERROR_SHOWN, _CODE_SHOWN = 500, 100
_KINDS: Final = {APPROVAL: "Approval", FEEDBACK: "Feedback"}
_ENDED: Final[dict[Outcome, str]] = {
    "answered": "answered",
    "canceled": "closed: the run was canceled",
    "failed": "closed: the run failed",
    "gone": "closed: the run no longer exists",
    "replaced": "replaced: it was asked anew",
}
ADVICE: Final = {
    401: "The access key is missing, wrong, expired or was rotated: give the app a valid one.",
    403: (
        "The access key belongs to another project or organization, or is a Personal Access Token: "
        "give the app an Access Key (dynamiq_acc_…) of its own project."
    ),
    404: "The app was deleted, or its base_url is wrong: correct base_url or remove the app.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter of a request. `masked` says that the value was taken out."""

    name: str
    value: str
    editable: bool = False
    masked: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """Something to know beside the question. A float is a moment in Unix time, a text is shown as it is."""

    label: str
    value: str | float


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be shown.

    `quoted` says that the body is another side's words, not ours. `dropped_rows` is how many rows a shorter
    version leaves out.
    """

    tone: Tone
    title: str
    body: str
    quoted: bool = False
    rows: tuple[Row, ...] = ()
    dropped_rows: int = 0
    advice: str | None = None
    facts: tuple[Fact, ...] = ()
    link: str | None = None


def render(event: Event) -> Message:
    """Returns the message for an event."""
    match event.type:
        case "run.input_requested" | "run.input_reminder":
            return _waiting(event)
        case "run.input_resolved":
            return _resolved(event)
        case "watcher.app_failing":
            return _failing(event)
        case "watcher.app_recovered":
            return _recovered(event)
        case "watcher.test":
            return Message("info", "Test message", "If you can read this, watcher can reach you here.")


def summary(message: Message) -> str:
    """Returns the message as plain text of several lines, whole and without any markup.

    Other people's words are indented, so that no line of theirs can pass for one of ours.
    """
    return "\n".join(_lines(message))


def shortened(
    message: Message, *, body: int, value: int, rows: int, size: Callable[[str], int] = len
) -> Message:
    """Returns the message with its body and values cut to these sizes, and with at most `rows`.

    `size` measures a text, see `text.cut`.
    """
    kept = tuple(
        replace(row, name=cut(row.name, value, size=size), value=cut(row.value, value, size=size))
        for row in message.rows[:rows]
    )
    shown = tuple(
        replace(fact, value=cut(fact.value, value, size=size)) if isinstance(fact.value, str) else fact
        for fact in message.facts
    )
    dropped = message.dropped_rows + len(message.rows) - len(kept)
    short = cut(message.body, body, size=size)
    return replace(message, body=short, rows=kept, dropped_rows=dropped, facts=shown)


def facts(message: Message) -> Iterator[tuple[str, str]]:
    """Yields label and value of each fact as plain text."""
    for fact in message.facts:
        yield fact.label, fact.value if isinstance(fact.value, str) else moment(fact.value)


def more_rows(message: Message) -> str:
    """Returns the words for the rows that were left out."""
    return f"… {message.dropped_rows} more parameters"


def moment(time: float) -> str:
    """Returns a Unix time as ISO 8601 in UTC, whole seconds: `2026-06-10T09:15:40Z`."""
    return f"{datetime.fromtimestamp(int(time), UTC).replace(tzinfo=None).isoformat()}Z"


def duration(seconds: float) -> str:
    """Returns a duration in its two largest units: `12 s`, `5 min 12 s`, `2 h 5 min`, `3 d 4 h`."""
    left = max(0, int(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts.append((count, unit))
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{count} {unit}" for count, unit in parts[:2])


def _waiting(event: Event) -> Message:
    title = f"{_kind(event)} needed"
    if event.reminder:
        title = f"Reminder: {title[0].lower()}{title[1:]}"
    return _about_request(event, "reminder" if event.reminder else "urgent", title)


def _resolved(event: Event) -> Message:
    outcome = _ENDED[event.resolution.outcome] if event.resolution else "closed"
    return _about_request(event, "done", f"{_kind(event)} request {outcome}")


def _about_request(event: Event, tone: Tone, title: str) -> Message:
    request = event.request
    visible = request is not None and request.type != UNKNOWN
    prompt = multiline(request.prompt or "") if request and visible else ""
    return Message(
        tone=tone,
        title=_titled(title, event),
        body=prompt or NOT_VISIBLE,
        quoted=bool(prompt),
        rows=tuple(_rows(request)) if request else (),
        facts=tuple(_request_facts(event)),
        link=_link(event),
    )


def _kind(event: Event) -> str:
    return _KINDS.get(event.request.type if event.request else UNKNOWN, "Input")


def _titled(title: str, event: Event) -> str:
    return f"{title} · {printable(event.app.name)}" if event.app else title


def _link(event: Event) -> str | None:
    """Returns the link if it is one to follow in a browser, so that no other scheme ever gets clickable."""
    link = printable(event.link or "")
    return link if link.startswith(("https://", "http://")) else None


def _rows(request: InputRequest) -> Iterator[Row]:
    params = request.params
    if isinstance(params, dict):
        for name, value in params.items():
            yield Row(printable(name) or '""', _shown(value), name in request.editable_params, value == MASK)
    elif params:
        yield Row("params", _shown(params), masked=params == MASK)


def _shown(value: Json) -> str:
    if isinstance(value, str):
        return multiline(value) or '""'
    try:
        return printable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    except (RecursionError, ValueError):
        return "(cannot be shown)"


def _request_facts(event: Event) -> Iterator[Fact]:
    if event.reminder:
        yield Fact("Reminder", f"{event.reminder.number} of {event.reminder.of}")
    if event.position:
        yield Fact("Request", f"{event.position[0]} of {event.position[1]} that wait in this run")
    if event.first_seen_at is not None:
        until = event.resolution.resolved_at if event.resolution else event.at
        waited = Fact("Waited", duration(until - event.first_seen_at))
        yield waited if event.resolution else Fact("Waiting since", event.first_seen_at)
        if event.reminder:
            yield replace(waited, label="Waiting for")
    if event.request and event.request.params is None and event.request.editable_params:
        yield Fact("Editable", printable(", ".join(event.request.editable_params)))
    yield from _run_facts(event)


def _run_facts(event: Event) -> Iterator[Fact]:
    if event.run is None:
        return
    yield Fact("Run", printable(event.run.id))
    if event.resolution and event.resolution.run_status:
        yield Fact("Run is now", printable(event.resolution.run_status))
    if event.run.user_id:
        yield Fact("User", printable(event.run.user_id))
    if event.run.session_id:
        yield Fact("Session", printable(event.run.session_id))


def _failing(event: Event) -> Message:
    failure = event.failure
    return Message(
        tone="trouble",
        title=_titled("App failing", event),
        body=f"New requests of this app cannot be seen. {_what_failed(failure)}",
        advice=ADVICE.get(failure.status or 0) if failure else None,
        facts=tuple(_failure_facts("Failing since", failure)),
    )


def _recovered(event: Event) -> Message:
    failed_for = duration(event.at - event.failure.since) if event.failure else "some time"
    return Message(
        tone="good",
        title=_titled("App recovered", event),
        body=f"It can be polled again, after {failed_for}.",
        facts=tuple(_failure_facts("Failed since", event.failure)),
    )


def _failure_facts(since: str, failure: Failure | None) -> Iterator[Fact]:
    if failure:
        yield Fact(since, failure.since)
        yield Fact("Known requests that wait", str(failure.pending_known))


def _what_failed(failure: Failure | None) -> str:
    if failure is None:
        return ""
    words = (f"HTTP {failure.status}" if failure.status else "", cut(printable(failure.code), _CODE_SHOWN))
    what = " ".join(word for word in words if word)
    return f"The last error: {what}: {cut(printable(failure.message), _ERROR_SHOWN)}"


def _lines(message: Message) -> Iterator[str]:
    yield message.title
    yield indent(message.body, "  ") if message.quoted else message.body
    for row in message.rows:
        note = " (editable)" if row.editable else ""
        yield f"  {row.name}{note}: {indent(row.value, '    ').lstrip()}"
    if message.dropped_rows:
        yield f"  {more_rows(message)}"
    if message.advice:
        yield f"What to do: {message.advice}"
    for label, value in facts(message):
        yield f"{label}: {value}"
    if message.link:
        yield message.link
