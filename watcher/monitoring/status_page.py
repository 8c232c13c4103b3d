"""The status page: one HTML document without scripts, in which other people's text stays text."""

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final

import jinja2

from watcher import __version__
from watcher.messages import (
    INVISIBLE_QUESTION,
    Row,
    format_elapsed,
    format_timestamp,
    parameters,
    request_label,
    web_link,
)
from watcher.models import PendingRequest
from watcher.monitoring.health import (
    RETRY_DEAD,
    AppStatus,
    NotifierStatus,
    failure_line,
    given_up,
    lateness,
    undelivered,
)
from watcher.monitoring.server import Page
from watcher.monitoring.snapshot import StatusPageData
from watcher.sanitize.text import clean_lines, one_line, truncate

REFRESH_SECONDS: Final = 10
APPS_SHOWN: Final = 200
_PROMPT_SHOWN: Final = 1000
_LINE_SHOWN: Final = 160
_PARAMETERS_SHOWN: Final = 12

_STATES: Final = ("bad", "new", "good")
"""Of apps, in the order in which they are shown."""

_FILES: Final = files("watcher.monitoring") / "templates"
_STYLE: Final = (_FILES / "status.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows this one style and nothing else, whatever the page may hold."""


def _prompt(text: str | None) -> str:
    return truncate(clean_lines(text or ""), _PROMPT_SHOWN) or INVISIBLE_QUESTION


def _line(text: str | None) -> str:
    return truncate(one_line(text or ""), _LINE_SHOWN)


def _rows(request: PendingRequest) -> list[Row]:
    return list(parameters(request.params, request.editable_params))


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b, %H:%M UTC")


_ENVIRONMENT: Final = jinja2.Environment(
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_ENVIRONMENT.filters.update(
    clock=_clock,
    day=_day,
    duration=format_elapsed,
    failure=failure_line,
    given_up=given_up,
    kind=request_label,
    line=_line,
    link=web_link,
    moment=format_timestamp,
    prompt=_prompt,
    rows=_rows,
    undelivered=undelivered,
)
_TEMPLATE: Final = _ENVIRONMENT.from_string((_FILES / "status.html").read_text(encoding="utf-8"))


def render(view: StatusPageData) -> Page:
    """Returns the page."""
    states = {app.name: _app_state(app) for app in view.status.apps}
    apps = sorted(view.status.apps, key=lambda app: (_STATES.index(states[app.name]), app.name))
    html = _TEMPLATE.render(
        apps=apps[:APPS_SHOWN],
        more_apps=max(len(apps) - APPS_SHOWN, 0),
        ended=view.ended,
        mood=_mood(view),
        notifiers=view.status.notifiers,
        now=view.at,
        refresh=REFRESH_SECONDS,
        states=states,
        notifier_states={notifier.name: _notifier_state(notifier) for notifier in view.status.notifiers},
        parameters_shown=_PARAMETERS_SHOWN,
        retry_dead=RETRY_DEAD,
        style=_STYLE,
        summary=_summary(view),
        report=view.report,
        version=__version__,
        waiting=view.waiting,
        waiting_in_all=sum(app.pending for app in view.status.apps),
    )
    return Page(html, POLICY)


def _mood(view: StatusPageData) -> str:
    if not view.report.good:
        return "bad"
    return "waits" if view.waiting or lateness(view.status) else "good"


def _summary(view: StatusPageData) -> str:
    problems, late = view.report.problems, lateness(view.status)
    if len(problems) > 1:
        words = f"There are {len(problems)} problems."
    else:
        words = "".join(f"{str(problem).removesuffix('.')}." for problem in problems)
    sentences = [*([words] if words else []), *([f"{late}."] if late else [])]
    return (
        " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)
        or "Watcher is working normally."
    )


def _app_state(app: AppStatus) -> str:
    if app.failure is not None or (not app.visible and app.succeeded_ago is not None):
        return "bad"
    return "good" if app.visible else "new"


def _notifier_state(notifier: NotifierStatus) -> str:
    if notifier.dead:
        return "bad"
    return "waits" if notifier.undelivered or notifier.paused_for else "good"
