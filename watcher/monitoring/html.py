"""The templates of all pages: HTML without scripts, in which other people's text stays text."""

import base64
import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

import jinja2

from watcher import __version__
from watcher.messages import format_elapsed, format_timestamp, has_columns, more_rows, show_name
from watcher.monitoring.server import Page
from watcher.sanitize.text import is_blank, one_line, truncate, truncate_middle

OLD: Final = 3600.0
VERY_OLD: Final = 4 * 3600.0
"""Seconds after which the age of a request is shown in another colour; the dashboard's thresholds."""
_LINE_SHOWN: Final = 160
TEXT_SHOWN: Final = 1 << 20
"""Characters of the prompt and of each parameter that are shown: more than a person reads."""

_FILES: Final = files("watcher.monitoring") / "templates"
_STYLE: Final = (_FILES / "style.css").read_text(encoding="utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Allows this one style and nothing else, whatever the page may hold."""


def line(text: str | None) -> str:
    """Returns other people's text as one line of limited length, empty where nothing of it would show."""
    return "" if is_blank(text or "") else truncate(one_line(text or ""), _LINE_SHOWN)


def cut(text: str) -> str:
    """Returns a text that is short enough for a page."""
    return truncate_middle(text, TEXT_SHOWN)


def age_class(since: float, now: float) -> str:
    """Returns the style class for the age of what is waiting since a time."""
    age = now - since
    return "very-old" if age >= VERY_OLD else "old" if age >= OLD else "young"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%-d %b, %H:%M UTC")


ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.FunctionLoader(lambda name: (_FILES / name).read_text(encoding="utf-8")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
ENVIRONMENT.globals.update(style=_STYLE, version=__version__)
ENVIRONMENT.filters.update(
    age_class=age_class,
    clock=_clock,
    cut=cut,
    day=_day,
    duration=format_elapsed,
    has_columns=has_columns,
    line=line,
    more_rows=more_rows,
    show_name=show_name,
    timestamp=format_timestamp,
)


def page(template: str, *, refresh: int | None = None, **values: Any) -> Page:
    """Returns a page from a template; a browser reloads it after `refresh` seconds."""
    return Page(ENVIRONMENT.get_template(template).render(**values), POLICY, refresh)
