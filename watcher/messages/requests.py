"""Pure: one request that is waiting, a reminder of it, and how it ended."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from watcher.messages.formatting import count, format_elapsed
from watcher.messages.message import Fact, Message, Note, Row, titled
from watcher.messages.questions import read_questions, without_questions
from watcher.messages.values import brief_parameters, show_name, show_prompt
from watcher.models import (
    APPROVAL,
    AWAITING,
    FEEDBACK,
    INVISIBLE,
    PAUSED,
    App,
    InputRequest,
    Json,
    Outcome,
    PendingRequest,
    Reminder,
    RequestEvent,
    Resolution,
)
from watcher.sanitize.text import is_blank, one_line, truncate, truncate_middle

INVISIBLE_QUESTION: Final = (
    "This run is waiting for input, but its question isn't visible here. Open the run to see it."
)
PAUSED_WITHOUT_QUESTION: Final = (
    "This run is paused and shows no question. It may be waiting for an answer, or for a set time."
)
_NO_PROMPT: Final = "This request has no prompt."
_BLANK_PROMPT: Final = "The prompt of this request holds nothing but invisible characters."
TAKEOVER: Final = "The run asks a person to take over its browser. A text answer alone may not be enough."
_BLOCKED: Final = "The run stays blocked until it is answered."

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
    AWAITING: "asks for more input",
}
_STATUS_SHOWN: Final = 60
_REST: Final = re.compile(r"… \((\d{1,9}) more\)")
"""How the masker counts masked values that it does not list."""
_REMINDED, _RESOLVED, _DETAILS = 500, 300, 150
"""Characters of the question in a reminder and after its end, and of the parameters in one line."""

_NAMES_SHOWN, _NAME_SHOWN, _ID_SHOWN = 10, 80, 200
"""How many names of parameters a note has, and characters of such a name and of an id."""

_KINDS: Final = {APPROVAL: "Approval", FEEDBACK: "Feedback"}
_APPROVED_BY_SILENCE: Final = re.compile(r"send\s+nothing\s+for\s+approval", re.IGNORECASE)
"""The platform's default template asks for it; a reply to a message does not reach the run."""


@dataclass(frozen=True, slots=True)
class MessageSettings:
    """What the configuration says in messages.

    `answer_hints` tell by app where to answer what has no link; `public_url` is where the daemon's own pages
    are reached.
    """

    answer_hints: Mapping[str, str] = field(default_factory=dict)
    public_url: str | None = None

    def page(self, key: int | None) -> str | None:
        """Returns the address of a request's own page, if there is one."""
        return (
            f"{self.public_url.rstrip('/')}/requests/{key}" if self.public_url and key is not None else None
        )


def request_message(event: RequestEvent, settings: MessageSettings) -> Message:
    """Returns the message about a request that is new, is still waiting, or has ended."""
    if event.resolution is not None:
        return _resolved(event, event.resolution)
    if event.reminder is not None:
        return _reminder(event, event.reminder, settings)
    return _asked(event, settings)


def ended(outcome: Outcome, waited: float | None) -> str:
    """Returns how a request ended and after how many seconds, as a part of a sentence."""
    state = _STATES[outcome] if waited is None else f"{_STATES[outcome]} after {format_elapsed(waited)}"
    return f"{state}: {_REASONS[outcome]}" if outcome in _REASONS else state


def outcome_sentence(event: RequestEvent) -> str:
    """Returns how the request of an event ended, empty while it is pending."""
    if event.resolution is None:
        return ""
    return f"{_STATES[event.resolution.outcome].capitalize()} {_after(event, event.resolution)}."


def reminder_number(reminder: Reminder) -> str:
    """Returns the sentence that says which reminder this is."""
    return f"Reminder {reminder.number} of {reminder.of}."


def request_label(request_type: str) -> str:
    """Returns what people call a request of this type."""
    return _KINDS.get(request_type, "Input")


def question_text(request: InputRequest | PendingRequest) -> str:
    """Returns the prompt, which may list the questions, or without one the questions; empty without any."""
    questions = (question.text for question in read_questions(request.questions))
    return show_prompt(request.prompt) or "\n".join(questions)


def no_prompt(request_type: str) -> str:
    """Returns what stands in a list, or in a line, for a request without a prompt."""
    return "(question not visible)" if request_type == INVISIBLE else "(no prompt)"


def web_link(link: str | None) -> str | None:
    """Returns the link if it leads to the web: no other scheme becomes clickable."""
    if link is None:
        return None
    shown = one_line(link).replace(" ", "%20")
    return shown if shown.startswith(("https://", "http://")) else None


def parameters(params: Json, editable: Collection[str]) -> Iterator[Row]:
    """Yields a row for each parameter of a request, the editable ones that are absent last.

    Parameters that are no object are one row.
    """
    if isinstance(params, dict):
        names = frozenset(editable)
        yield from (Row(name, value, editable=name in names) for name, value in params.items())
        yield from (Row(name, editable=True, given=False) for name in editable if name not in params)
    elif params:
        yield Row("params", params)


def where_to_answer(app: App, settings: MessageSettings, run: str) -> str:
    """Returns where to answer what has no link; `run` says which run to open in the platform's console."""
    name = truncate(one_line(app.name), _NAME_SHOWN)
    default = f"Answer in the Dynamiq console: app {name} → History → {run}."
    return settings.answer_hints.get(app.name) or default


def first_details(params: Json) -> str:
    """Returns the first parameters in a line, which tell requests with the same prompt apart."""
    return brief_parameters(params, _DETAILS)


def _asked(event: RequestEvent, settings: MessageSettings) -> Message:
    request = event.request
    text = show_prompt(without_questions(request.prompt or "", request.questions))
    place = f" ({event.position[0]} of {event.position[1]})" if event.position else ""
    unseen = "" if text else missing_prompt(request, event.run.status)
    link, page = web_link(event.link), settings.page(event.key)
    return Message(
        tone="urgent",
        title=titled(f"{request_label(request.type)} needed{place}", event.app.name),
        lead=" ".join(_leads(event)) or None,
        body=text or unseen,
        quoted=bool(text),
        questions=read_questions(request.questions),
        details=first_details(request.params),
        rows=tuple(parameters(request.params, request.editable_params)),
        notes=tuple(parameter_notes(request)),
        link=link or page,
        page=page if link else None,
        hint=None if link or page else where_to_answer(event.app, settings, "the run with the id below"),
        reply_is_lost=_APPROVED_BY_SILENCE.search(text) is not None,
        outlook=None if unseen == PAUSED_WITHOUT_QUESTION else _BLOCKED,
        facts=tuple(_facts(event)),
    )


def _reminder(event: RequestEvent, reminder: Reminder, settings: MessageSettings) -> Message:
    """Returns a short message: the question was shown before, and may stand far above."""
    whole, text = _asked(event, settings), question_text(event.request)
    return replace(
        whole,
        tone="reminder",
        title=f"Reminder: {whole.title[0].lower()}{whole.title[1:]}",
        lead=f"Waiting for {format_elapsed(event.at - event.first_seen_at)}. {reminder_number(reminder)}",
        body=truncate_middle(text or whole.body, _REMINDED),
        quoted=bool(text),
        questions=(),
        rows=(),
        notes=(),
    )


def _resolved(event: RequestEvent, resolution: Resolution) -> Message:
    """Returns a brief message: how the request ended, its question in a line, and its first parameters."""
    outcome = resolution.outcome
    words = _after(event, resolution)
    text = one_line(question_text(event.request))
    return Message(
        tone="answered" if outcome == "answered" else "closed",
        title=titled(f"{request_label(event.request.type)} {_STATES[outcome]}", event.app.name),
        lead=f"{words[0].upper()}{words[1:]}.",
        body=truncate_middle(text, _RESOLVED) or no_prompt(event.request.type),
        quoted=bool(text),
        details=first_details(event.request.params),
        facts=tuple(_facts(event)),
        brief=True,
    )


def _after(event: RequestEvent, resolution: Resolution) -> str:
    words = f"after {format_elapsed(resolution.resolved_at - event.first_seen_at)}"
    if resolution.outcome in _REASONS:
        return f"{words}: {_REASONS[resolution.outcome]}"
    return f"{words}; {_run_state(resolution.run_status)}" if resolution.run_status else words


def _run_state(status: str) -> str:
    """Returns the state of a run after its request was answered, as a part of a sentence."""
    if status in _RUN_STATES:
        return f"the run {_RUN_STATES[status]}"
    return f"the run is now “{truncate(one_line(status).replace('_', ' '), _STATUS_SHOWN)}”"


def _leads(event: RequestEvent) -> Iterator[str]:
    if event.asked_before is not None:
        ago = format_elapsed(event.at - event.asked_before)
        yield f"Asked before, {ago} ago: it was answered, and the run asks again."
    if event.request.is_browser_takeover:
        yield TAKEOVER


def missing_prompt(request: InputRequest | PendingRequest, run_status: str = AWAITING) -> str:
    """Returns what a message says where it has no prompt to show; nothing where the questions say all."""
    prompt = request.prompt or ""
    if not is_blank(prompt):
        return ""
    if prompt.strip():
        return _BLANK_PROMPT
    if request.params or request.questions:
        return _NO_PROMPT
    return PAUSED_WITHOUT_QUESTION if run_status == PAUSED else INVISIBLE_QUESTION


def parameter_notes(request: InputRequest | PendingRequest) -> Iterator[Note]:
    """Yields what is masked or withheld: how many parameters, and their names."""
    total = _total(request.masked)
    verb = "is" if total == 1 else "are"
    if request.params is not None:
        if total:
            yield Note(f"{count(total, 'value')} {verb} masked", _few(map(one_line, request.masked), total))
        return
    if total:
        words = f"{count(total, 'parameter')} {verb} not shown here (include_params is off)"
        yield Note(words, _few(map(show_name, request.masked), total))
    if request.editable_params:
        names = map(show_name, request.editable_params)
        yield Note("Editable", _few(names, len(request.editable_params)))


def _total(masked: Sequence[str]) -> int:
    """Returns how many values are masked; of very many the last entry only counts the rest."""
    rest = _REST.fullmatch(masked[-1]) if masked else None
    return len(masked) - 1 + int(rest[1]) if rest else len(masked)


def _few(names: Iterable[str], total: int) -> tuple[str, ...]:
    """Returns the names, each cut where it is long, and of very many the first ones and how many more."""
    shown = [truncate(name, _NAME_SHOWN) for name in islice(names, _NAMES_SHOWN)]
    return (*shown, f"{total - len(shown)} more") if total > len(shown) else tuple(shown)


def _facts(event: RequestEvent) -> Iterator[Fact]:
    run = event.run
    if event.resolution is None:
        if event.next_reminder_at is not None:
            yield Fact("Next reminder", event.next_reminder_at)
        yield Fact("Waiting since", event.first_seen_at)
    if run.user_id:
        yield Fact("User", _short_id(run.user_id))
    yield Fact("Run", _short_id(run.id))
    if run.session_id:
        yield Fact("Session", _short_id(run.session_id))


def _short_id(text: str) -> str:
    return truncate_middle(one_line(text), _ID_SHOWN)
