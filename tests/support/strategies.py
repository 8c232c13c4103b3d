"""What other people may send, for Hypothesis: texts, JSON, runs, answers in HTTP, events."""

import json
from dataclasses import replace
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.support.events import ALL_EVENTS, FAILURE, NOTIFIER_FAILURE, REQUEST
from watcher.models import (
    App,
    AppEvent,
    AppGroupEvent,
    DigestEntry,
    DigestEvent,
    Event,
    InputRequest,
    Json,
    NotifierEvent,
    Outcome,
    RequestEvent,
    Resolution,
    Run,
    SampleEvent,
)

LONG: Final = settings().max_examples == settings.get_profile("long").max_examples
"""Whether the profile `long` is in use."""
LONGER: Final = 10
"""How many times as many examples the profile `long` makes, new ones at every run."""

PIECES: Final = (
    "<!here>", "&lt;", "https://", "evil.example", ":tada:", "😀", "\u202e", "\u2066", "\x1b[31m", "\x9b2J",
    "\x00", "\r\n", "\u2028", "\ufeff", "\ud83d", "Z\u0351\u036b\u0343", "[red]", "</p>", "<script>",
    "{{7*7}}", '"', "'", "\\", "`", "\u0661", "\N{HANGUL FILLER}", "\U000e0041",
)  # fmt: skip

any_text: Final = st.text(st.characters(codec=None, exclude_categories=()))
"""Lone surrogates too."""
utf8: Final = st.text(st.characters(codec="utf-8"))
markup: Final = st.lists(st.sampled_from([*"<>&!@#|*_~`:\n /.^x", *PIECES]), max_size=40).map("".join)
long_text: Final = st.builds(lambda text, times: text * times, markup, st.sampled_from([1, 10, 500]))
words: Final = any_text | markup | long_text

json_values: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner) | st.dictionaries(any_text, inner),
    max_leaves=20,
)


def nested(levels: int, value: Json = "bottom") -> Json:
    """Returns a value at the bottom of so many lists and objects."""
    for level in range(levels):
        value = {"level": value} if level % 2 else [value]
    return value


deep: Final = st.sampled_from([60, 63, 64, 65, 200]).map(nested)
anything: Final = json_values | deep | long_text

_ASKED: Final = ("id", "type", "editable_params", "questions", "action")
questions: Final = json_values | st.fixed_dictionaries(
    {"prompt": words | anything, "params": st.dictionaries(any_text, anything, max_size=3) | anything},
    optional=dict.fromkeys(_ASKED, anything),
)
run_items: Final = json_values | st.fixed_dictionaries(
    {
        "id": st.sampled_from(["r1", "r2", 3]) | any_text | st.integers(),
        "status": st.sampled_from(["awaiting_input", "paused"]) | any_text,
        "input_requests": st.lists(questions, min_size=1, max_size=4) | json_values,
    },
    optional={
        "started_at": json_values | st.just("2026-06-10T09:15:21.123456789+02:00"),
        "user_id": any_text | json_values,
        "session_id": any_text | json_values,
        "input": anything,
    },
)
_COUNTS: Final = st.none() | st.integers(-1, 3) | json_values | st.just(10**30)
paginations: Final = json_values | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("page", "page_size", "page_count", "total_count"), _COUNTS)
)
pages: Final = st.fixed_dictionaries(
    {"data": st.lists(run_items, min_size=1, max_size=3) | json_values}, optional={"pagination": paginations}
)


@st.composite
def damaged(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Returns bytes in which some are missing, changed, doubled or put in."""
    body = draw(bodies)
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, min(start + 20, len(body))))
    what = draw(
        st.sampled_from([b"", b"\xff", b"\x00", b"[" * 5000, b"9" * 5000, b"NaN", body[start:end] * 2])
    )
    return body[:start] + what + body[end:]


def bodies(documents: st.SearchStrategy[Json]) -> st.SearchStrategy[bytes]:
    """Returns JSON of such documents, whole or damaged, or any bytes."""
    written = documents.map(lambda document: json.dumps(document).encode())
    return written | damaged(written) | st.binary(max_size=100)


_DATES: Final = st.lists(
    st.sampled_from(
        [
            "Wed,",
            "10",
            "Jun",
            "2026",
            "12:00:30",
            "GMT",
            "+9999",
            "-0000",
            "99",
            "12:99:00",
            "0",
            "10-Jun-26",
            ":",
        ]
    ),
    max_size=8,
).map(" ".join)
retry_after_values: Final = (
    st.floats().map(str)
    | st.integers().map(str)
    | st.text("0123456789-+.eE_\u0661\u0967 ", max_size=12)
    | st.sampled_from(["inf", "-inf", "nan", "1e400", "9" * 5000, "\u0661\u0662", "0x10", "1_000"])
    | _DATES
    | st.sampled_from(["Wed, 10 Jun 2026 12:00:30 +99999999999999", "Fri, 31 Dec 9999 23:59:59 -2300"])
    | any_text
)
_SENDABLE: Final = st.characters(codec="latin-1", exclude_characters="\r\n\x00")
header_values: Final = st.text(_SENDABLE, max_size=30)
header_names: Final = st.sampled_from([
    "Content-Type", "Content-Encoding", "Content-Length", "Transfer-Encoding", "Location", "Connection",
    "Retry-After", "Set-Cookie", "X-Other",
])  # fmt: skip
_USUAL_VALUES: Final = st.sampled_from([
    "application/json", "application/json; charset=base64", "text/plain; charset=rot13", "text/html", "gzip",
    "text/plain", "application/gzip", "br", "identity", "chunked", "close", "0", "5", "-1", "9" * 50,
    "/", "//",
])  # fmt: skip
headers: Final = st.dictionaries(header_names, _USUAL_VALUES | header_values, max_size=4)
statuses: Final = st.sampled_from([
    200, 200, 200, 201, 204, 206, 301, 302, 304, 307, 400, 401, 403, 404, 408, 425, 429, 500, 502, 503, 599,
]) | st.integers(100, 999)  # fmt: skip


@st.composite
def http_answers(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """Returns what a server may write: mostly HTTP with these bodies, damaged now and then, or any bytes."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=200))
    body = draw(bodies)
    given = draw(headers)
    if draw(st.booleans()):
        given.setdefault("Content-Length", str(len(body)))
    if draw(st.booleans()):
        given.setdefault("Content-Type", "application/json")
    lines = [
        f"HTTP/1.1 {draw(statuses)} {draw(header_values)}",
        *(f"{name}: {given[name]}" for name in given),
    ]
    answer = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
    return draw(damaged(st.just(answer))) if kind == 1 else answer


_APPS: Final = st.builds(App, words, words)
_LINKS: Final = st.none() | words | words.map("https://x.example/{}".format)
_OUTCOMES: Final[st.SearchStrategy[Outcome]] = st.sampled_from(
    ["answered", "canceled", "failed", "gone", "replaced"]
)
_RUNS: Final = st.builds(
    Run,
    id=words,
    status=words,
    started_at=st.none() | st.floats(-62135596800, 253402300799),
    user_id=words,
    session_id=words,
    input=anything,
)
_ENTRIES: Final = st.builds(
    DigestEntry,
    run_id=words,
    type=words,
    prompt=st.none() | words,
    first_seen_at=st.floats(0, 4e9),
    link=_LINKS,
    outcome=st.none() | _OUTCOMES,
    waited=st.none() | st.floats(-1e9, 1e12),
)


@st.composite
def _requests(draw: st.DrawFn) -> InputRequest:
    params = draw(st.dictionaries(words, anything, max_size=5) | anything)
    named = st.sampled_from([*params, "x"]) if isinstance(params, dict) else words
    return replace(
        REQUEST,
        id=draw(words),
        type=draw(st.sampled_from(["approval_request", "human_feedback", "unknown"]) | words),
        prompt=draw(st.none() | words),
        params=params,
        editable_params=tuple(draw(st.lists(named, max_size=3))),
    )


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Returns an event of any kind, in which all that is other people's is anything."""
    event = draw(st.sampled_from(ALL_EVENTS))
    match event:
        case RequestEvent():
            run, request, link = draw(_RUNS), draw(_requests()), draw(_LINKS)
            changed = replace(event, app=draw(_APPS), run=run, request=request, link=link)
            if event.resolution is not None:
                resolution = Resolution(draw(_OUTCOMES), draw(st.none() | words), event.at)
                changed = replace(changed, resolution=resolution)
            return changed
        case DigestEvent():
            entries = tuple(draw(st.lists(_ENTRIES, min_size=1, max_size=4)) * 3)
            return replace(event, app=draw(_APPS), digest=replace(event.digest, entries=entries))
        case AppEvent():
            status = draw(st.none() | st.integers(100, 999))
            failure = replace(FAILURE, status=status, code=draw(words), message=draw(words))
            return replace(event, app=draw(_APPS), failure=failure)
        case AppGroupEvent():
            failure = replace(FAILURE, code=draw(words), message=draw(words))
            return replace(event, failures=((draw(_APPS), failure),) * draw(st.integers(2, 40)))
        case NotifierEvent():
            return replace(
                event, failure=replace(NOTIFIER_FAILURE, notifier=draw(words), message=draw(words))
            )
        case SampleEvent():
            return event


def fuzz(examples: int) -> settings:
    """Returns the settings of a test: so many examples, always the same, or ever new ones with `long`."""
    if LONG:
        return settings(max_examples=LONGER * examples)
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
