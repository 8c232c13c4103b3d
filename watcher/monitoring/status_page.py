"""The status page. What cannot be seen comes first, and nothing is called empty or well that was not seen."""

from collections.abc import Iterator, Sequence
from typing import Final

from watcher.messages import (
    TAKEOVER,
    Message,
    count,
    fit,
    format_elapsed,
    missing_prompt,
    no_prompt,
    parameter_notes,
    parameters,
    plain_text,
    read_questions,
    request_label,
    sentence,
    show_prompt,
    web_link,
    without_questions,
)
from watcher.models import PendingRequest
from watcher.monitoring import html
from watcher.monitoring.health import RETRY_DEAD, Problem, failure_line, given_up, lateness, undelivered
from watcher.monitoring.server import Page
from watcher.monitoring.snapshot import APPS_PER_PAGE, StatusPageData
from watcher.store.results import AppStatus, NotifierStatus

REFRESH_SECONDS: Final = 60
STARTING_SECONDS: Final = 5
"""After a start the first polls end within seconds."""
PROBLEMS_SHOWN: Final = 20
_NAMED: Final = 3
_CARD_SHOWN: Final = 2500
"""Characters of one request in the list; its own page shows all."""

_APP_STATES: Final = ("bad", "new", "good")
"""In the order in which apps are shown."""


def render(data: StatusPageData) -> Page:
    """Returns the page."""
    apps = sorted(data.status.apps, key=lambda app: (_APP_STATES.index(_app_state(app)), app.name))
    start = (data.query.apps - 1) * APPS_PER_PAGE
    mood = _mood(data)
    seconds = STARTING_SECONDS if mood == "new" else REFRESH_SECONDS
    return html.page(
        "status.html",
        refresh=seconds if data.query.refresh else None,
        app_count=len(apps),
        apps=apps[start : start + APPS_PER_PAGE],
        apps_pages=data.apps_pages,
        banner=_banner(data),
        ended=data.ended,
        headline=_headline(data),
        mood=mood,
        nothing=_nothing(data),
        notifiers=data.status.notifiers,
        now=data.at,
        pages=data.pages,
        problems=data.report.problems,
        query=data.query,
        problems_shown=PROBLEMS_SHOWN,
        refresh_seconds=seconds,
        retry_dead=RETRY_DEAD,
        root="",
        summary=_summary(data),
        title=_title(data),
        total=data.total,
        waiting=[(one, _asked(one), data.notifications.get(one.id, ())) for one in data.waiting],
    )


def _banner(data: StatusPageData) -> str:
    """Returns what does not work, as a heading; empty if everything does."""
    problems, status = data.report.problems, data.status
    if _mood(data) == "new":
        return "Watcher has just started and has not checked every app yet"
    blind = sum(problem.kind == "app" for problem in problems)
    deaf = len({problem.name for problem in problems if problem.kind == "notifier"})
    parts = []
    if blind:
        only = _only(problems, "app") if blind == 1 else f"{blind} of {len(status.apps)} apps"
        parts.append(f"Watcher can't see what is waiting in {only}")
    if deaf:
        only = _only(problems, "notifier") if deaf == 1 else f"{deaf} of {len(status.notifiers)} notifiers"
        parts.append(f"messages to {only} are not being delivered")
    text = ", and ".join(parts)
    return _capitalize_first(text)


def _capitalize_first(text: str) -> str:
    """Returns a sentence as it begins; `str.capitalize` would change names in it."""
    return f"{text[:1].upper()}{text[1:]}"


def _only(problems: Sequence[Problem], kind: str) -> str:
    return next(problem.name for problem in problems if problem.kind == kind)


def _headline(data: StatusPageData) -> str:
    blind = len(data.blind)
    if data.total:
        requests = count(data.total, "request")
        return f"At least {requests} waiting" if blind else f"{requests} waiting"
    if not blind:
        return "Nothing is waiting"
    return "What is waiting is unknown" if blind == len(data.apps) else "Nothing is known to be waiting"


def _nothing(data: StatusPageData) -> str:
    """Returns the text that stands in place of the list if no request is pending."""
    if not data.blind:
        return "No run is waiting for a human."
    names = ", ".join(app.name for app in data.blind[:_NAMED])
    if len(data.blind) > _NAMED:
        names += f" and {count(len(data.blind) - _NAMED, 'more app')}"
    return f"No request is known. Requests of {names} can't be seen."


def _summary(data: StatusPageData) -> str:
    return " ".join(_sentences(data))


def _sentences(data: StatusPageData) -> Iterator[str]:
    late = lateness(data.status)
    if data.standing is not None and data.standing.role == "standby":
        yield f"This replica stands by; {data.standing.leader or 'no replica'} leads."
    if data.oldest is not None:
        yield f"The oldest has been waiting for {format_elapsed(data.oldest)}."
    if late:
        yield f"{late}."
    if data.report.good and not late and not data.total:
        yield "Watcher is working normally."


def _title(data: StatusPageData) -> str:
    known = str(data.total) if data.total else ""
    number = f"{known}+" if data.blind and known else "?" if data.blind else known
    return f"({number}) watcher" if number else "watcher"


def _mood(data: StatusPageData) -> str:
    if any(problem.kind != "app" for problem in data.report.problems):
        return "bad"
    if not data.report.good:
        starting = all(app.polled_ago is None for app in data.status.apps if not app.visible)
        return "new" if starting else "bad"
    return "waits" if data.total or lateness(data.status) else "good"


def _asked(request: PendingRequest) -> Message:
    """Returns what a request asks, shortened for the list."""
    prompt = show_prompt(without_questions(request.prompt or "", request.questions))
    asked = Message(
        tone="urgent",
        title="",
        lead=TAKEOVER if request.is_browser_takeover else None,
        body=prompt or missing_prompt(request),
        questions=read_questions(request.questions),
        rows=tuple(parameters(request.params, request.editable_params)),
        notes=tuple(parameter_notes(request)),
    )
    return fit(asked, _CARD_SHOWN, lambda shorter: len(plain_text(shorter)))


def _app_state(app: AppStatus) -> str:
    if app.failure is not None or (not app.visible and app.succeeded_ago is not None):
        return "bad"
    return "good" if app.visible else "new"


def _app_words(app: AppStatus, now: float) -> str:
    if app.failure is not None:
        return f"failing for {format_elapsed(now - app.failure.since)}: {failure_line(app.failure)}"
    if app.visible:
        return "up"
    if app.succeeded_ago is None:
        return "not checked yet"
    return f"not checked for {format_elapsed(app.succeeded_ago)}"


def _notifier_state(notifier: NotifierStatus) -> str:
    if notifier.dead:
        return "bad"
    return "waits" if notifier.undelivered or notifier.paused_for else "good"


html.ENVIRONMENT.filters.update(
    app_state=_app_state,
    app_words=_app_words,
    capitalize_first=_capitalize_first,
    given_up=given_up,
    label=request_label,
    no_prompt=no_prompt,
    notifier_state=_notifier_state,
    sentence=sentence,
    undelivered=undelivered,
    web_link=web_link,
)
