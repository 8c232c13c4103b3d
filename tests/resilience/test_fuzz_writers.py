"""Whatever other people's words are, what is written for people and programs has its form and acts not."""

import io
import json
import logging
import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.support.characters import acting_in
from tests.support.events import REQUEST
from tests.support.harmless import assert_harmless, assert_one_line
from tests.support.status_views import NOW, a_request, a_view, an_app
from tests.support.strategies import LONG, any_text, anything, events, fuzz, utf8, words
from tests.unit.notifiers.test_console import Output, show
from watcher import logs
from watcher.cli import output
from watcher.config.models import AppConfig
from watcher.messages import plain_text, render
from watcher.models import DeliveryRecord, DigestEvent, Event, Failure, Json, PendingRequest
from watcher.monitoring import status_page
from watcher.monitoring.health import Status, as_json, readiness
from watcher.monitoring.metrics import TYPES, Metrics
from watcher.monitoring.snapshot import StatusPageData, pending_json
from watcher.notifiers.webhook import encode, payload, signature
from watcher.polling.poller import OUTCOMES
from watcher.polling.preparation import link
from watcher.sanitize.limits import normalize_json
from watcher.sanitize.masking import Masker
from watcher.sanitize.redactor import MASK, Redactor
from watcher.store.results import NotifierStatus, RecentResolution

pytestmark = [pytest.mark.timeout(0 if LONG else 120), pytest.mark.usefixtures("logging_as_before")]

tidied: Final = words.map(normalize_json)
STYLES: Final = re.compile(r"\x1b\[[0-9;]*m")
"""What rich writes on a terminal."""


@fuzz(50)
@given(events())
def test_any_event_in_slack(event: Event) -> None:
    """Every kind of event with any words is a message that Slack takes, in which only ours acts."""
    assert_harmless(event)


@fuzz(30)
@given(events(), st.booleans())
def test_any_event_on_the_console(event: Event, terminal: bool) -> None:  # noqa: FBT001
    """Every kind of event with any words can be shown, on a terminal or not, and only our own styles act."""
    if not isinstance(event, DigestEvent):  # the console is told of each request
        shown = STYLES.sub("", show(Output(terminal=terminal), event))
        assert set() == acting_in(shown) - {"\n"}
        assert (render(event).title[:20] in shown.replace("\n", " ")) or terminal


@fuzz(40)
@given(events())
def test_any_event_as_text(event: Event) -> None:
    """Every kind of event with any words is a text whose first line is ours."""
    lines = plain_text(render(event)).split("\n")
    for line in lines:
        assert_one_line(line)
    assert lines[0] == render(event).title


@fuzz(40)
@given(events(), utf8.filter(bool))
def test_any_event_to_a_webhook(event: Event, secret: str) -> None:
    """Every kind of event with any words is strict JSON in UTF-8, and signed with any secret."""
    body = encode(payload(event))
    document = json.loads(body.decode("utf-8"), parse_constant=pytest.fail)
    assert event.type == document["type"]
    assert json.dumps(document, ensure_ascii=False).encode("utf-8")
    for key in (secret, f"whsec_{secret}"):
        assert re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", signature(key, event.id, 1, body))


@fuzz(80)
@given(tidied, tidied)
def test_any_link(run_id: str, request_id: str) -> None:
    """Whatever ids are put into a template, the link leads to the same host and has as many parts."""
    template = "https://x.example:8443/{app}/{run_id}/x?a={request_id}&b={run_id}#{request_id}"
    config = AppConfig(name="support", base_url="https://y.example", link_template=template)
    found = str(link(config, run_id, request_id))
    parts = urlsplit(found)
    assert found.isascii()
    assert_one_line(found)
    assert ("https", "x.example:8443") == (parts.scheme, parts.netloc)
    assert ["", "support", run_id, "x"] == [unquote(part) for part in parts.path.split("/")]
    assert [("a", request_id), ("b", run_id)] == parse_qsl(parts.query, keep_blank_values=True)
    assert request_id == unquote(parts.fragment)


class Elements(HTMLParser):
    """The elements of a page, with the names of their attributes, and all text in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[tuple[str, ...]] = set()
        self.links: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps it."""
        self.found.add((tag, *sorted(name for name, _ in attrs)))
        if tag == "a":
            self.links |= {str(value) for name, value in attrs if name == "href"}

    def handle_data(self, data: str) -> None:
        """Keeps it."""
        self.text += data

    def handle_comment(self, data: str) -> None:
        """There is none."""
        pytest.fail(data)

    handle_decl_inside = handle_pi = unknown_decl = handle_comment


names: Final = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True)
"""What apps and notifiers can be named."""


@st.composite
def views(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> StatusPageData:
    """Returns a view in which each place is filled."""
    failure = Failure(draw(st.none() | st.integers(100, 999)), draw(texts), draw(texts), NOW - 60, 2)
    link = draw(texts) if draw(st.booleans()) else f"https://x.example/{draw(texts)}"
    return a_view(
        apps=[an_app(draw(names), pending=3, failure=failure, succeeded_ago=60.0)],
        notifiers=[
            NotifierStatus(draw(names), 1, 400.0, draw(texts), 1, draw(texts), 12.0),
        ],
        waiting=[
            a_request(
                draw(texts),
                app=draw(names),
                run_id=draw(texts),
                type=draw(texts),
                link=link,
                told=(draw(names),),
                user_id=draw(texts),
                params=draw(st.dictionaries(texts, texts, min_size=1, max_size=20)),
                editable_params=(draw(texts),),
            ),
        ],
        ended=[
            RecentResolution(3, draw(names), draw(texts), draw(texts), draw(texts), "answered", NOW - 60, NOW)
        ],
    )


ONLY_FOR_SOME: Final = {
    ("a", "aria-label", "href", "rel", "target"),
    ("dd", "class", "dir", "tabindex"),
    ("div", "aria-label", "class", "dir", "role", "tabindex"),
    ("span",),
}
"""Elements of the page that depend on what is shown: a link, and texts of several lines or with columns."""


@fuzz(40)
@given(views(st.just("x")), views(words))
def test_any_status_page(plain: StatusPageData, view: StatusPageData) -> None:
    """Whatever is shown, the page has our elements and attributes and no others, and no character acts."""
    ours, page = (Elements(status_page.render(one).html) for one in (plain, view))
    assert set() == page.found - ours.found - ONLY_FOR_SOME
    assert set() == acting_in(page.text) - {"\n"}
    fixed = Elements(status_page.render(a_view()).html).links
    ours_too = re.compile(r"https?://.*|requests/\d+|\?app=[A-Za-z0-9._-]+|#ended", re.DOTALL)
    assert [] == [link for link in page.links - fixed if not ours_too.fullmatch(link)]


requests: Final = st.builds(
    PendingRequest,
    app=words,
    run_id=words,
    request_id=words,
    type=words,
    prompt=st.none() | words,
    first_seen_at=st.floats(0, 4e9),
    link=st.none() | words,
    told=st.lists(words, max_size=2).map(tuple),
    user_id=st.none() | words,
    params=anything.map(normalize_json),
    editable_params=st.lists(words, max_size=2).map(tuple),
)
records: Final = st.builds(
    DeliveryRecord,
    id=st.integers(),
    event_id=words,
    type=st.just("run.input_requested"),
    notifier=words,
    state=st.just("dead"),
    attempts=st.integers(),
    next_attempt_at=st.none() | st.floats(0, 4e9),
    last_error=st.none() | words,
    app=st.none() | words,
    run_id=st.none() | words,
    request_id=st.none() | words,
    due_at=st.floats(0, 4e9),
    finished_at=st.none() | st.floats(0, 4e9),
)


@fuzz(25)
@given(
    st.lists(requests, max_size=3), st.lists(records, max_size=3), st.lists(st.tuples(words, words, words))
)
def test_any_list(
    capsys: pytest.CaptureFixture[str],
    waiting: list[PendingRequest],
    deliveries: list[DeliveryRecord],
    settings: list[tuple[str, str, str]],
) -> None:
    """What waits, the outbox and the settings are lists in which no words act, and JSON as strict as any."""
    capsys.readouterr()
    output.show_pending(waiting, [], time.time())
    output.show_deliveries(deliveries, time.time(), as_json=False)
    output.show_settings(settings)
    assert set() == acting_in(capsys.readouterr().out) - {"\n"}
    output.show_pending_json(waiting, [], time.time())
    out = capsys.readouterr().out
    assert len(waiting) == len(json.loads(out, parse_constant=pytest.fail))
    output.show_deliveries(deliveries, time.time(), as_json=True)
    out += capsys.readouterr().out
    assert out.isascii()
    assert json.dumps([pending_json(one, 5e9) for one in waiting]).isascii()


@fuzz(60)
@given(words, words, words, st.sampled_from(["answered", "gone"]))
def test_any_metrics(app: str, kind: str, version: str, outcome: Any) -> None:
    """Whatever names apps have and types requests, Prometheus reads what is counted, by the right name."""
    app, version = (text.encode("utf-8", "replace").decode() for text in (app, version))
    metrics = Metrics(apps=[app], notifiers=[app], outcomes=OUTCOMES, version=version)
    metrics.show(
        lambda: Status((an_app(app, pending=7),), (NotifierStatus(app, 5, 1.0, kind, 0, kind, None),))
    )
    metrics.request_seen(app, kind)
    metrics.request_ended(app, outcome, -1.0)
    metrics.delivery_ended(app, "run.input_requested", "sent", 1e300)
    samples = [
        sample
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    ]
    assert {app} == {sample.labels["app"] for sample in samples if "app" in sample.labels}
    assert {*TYPES} == {sample.labels["type"] for sample in samples if "type" in sample.labels}
    assert [7.0] == [sample.value for sample in samples if sample.name == "watcher_pending_requests"]
    assert 1.0 == sum(sample.value for sample in samples if sample.name == "watcher_requests_total")


KEY: Final = "dynamiq_acc_Zx7Qw9Kp3"


@fuzz(80)
@given(
    words, anything | st.floats() | st.binary() | st.just(KEY), words, st.sampled_from(["json", "console"])
)
@example("a.b", math.nan, "\n", "json")
def test_any_log_line(event: str, value: Json, words: str, form: Literal["json", "console"]) -> None:
    """Whatever we or a library log is one line, of JSON where that is wanted, and without secrets."""
    stream = io.StringIO()
    redactor = Redactor()
    redactor.add_secret(KEY)
    logs.configure(level="info", format=form, redactor=redactor, stream=stream)
    structlog.get_logger().info(event, value=value, words=f"{words}{KEY}", deep={"k": [value]})
    logging.getLogger("library").warning("%s", value)
    logging.getLogger("library").warning(words)
    written = stream.getvalue()
    assert KEY not in written
    lines = written.split("\n")
    assert ["", 4] == [lines.pop(), len(lines) + 1]
    for line in lines:
        assert_one_line(line)
        if form == "json":
            assert {"timestamp", "level", "event"} <= json.loads(line, parse_constant=pytest.fail).keys()


@fuzz(25)
@given(views(words))
def test_any_verdict(view: StatusPageData) -> None:
    """Whatever is wrong with what, the answer of the probe is JSON, and its words are a line."""
    shown = as_json(readiness(view.status), "ready")
    assert not shown["ready"]
    assert json.dumps(shown).isascii()
    for problem in shown["problems"]:
        assert_one_line(problem["reason"])


GLOBS: Final = st.lists(
    st.text("ab*?[]!-^&|~\\.", max_size=12)
    | st.sampled_from(["*a*", "*", "[!b]*", "*a*a*a*a*a*a*a*b", "[[a]*", "[b-a]"]),
    max_size=4,
)
FEW: Final = st.text("a1", min_size=6, max_size=7)
"""So few that the same come again elsewhere."""
NAMES: Final = st.text("abAB-!", max_size=4) | FEW | any_text | st.just("a" * 3000)
DOCUMENTS: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words | FEW,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def leaves(value: Json) -> Iterator[Json]:
    """Yields what is in lists and objects and is neither."""
    match value:
        case dict():
            for item in value.values():
                yield from leaves(item)
        case list():
            for item in value:
                yield from leaves(item)
        case _:
            yield value


def names_in(value: Json) -> set[str]:
    """Returns the names of all values, which stay although a masked value repeats them."""
    match value:
        case dict():
            return set(value).union(*map(names_in, value.values()))
        case list():
            return set().union(*map(names_in, value))
    return set()


@fuzz(150)
@given(GLOBS, DOCUMENTS, words | FEW)
@example(["*secret*"], {"secret": "hunter22", "notes": ["hunter22"]}, "")
def test_any_glob_masks_what_it_matches(globs: list[str], document: Json, prompt: str) -> None:
    """Whatever is to be masked, no value of such a key is left, nor its text in other values."""
    masker = Masker(globs, Redactor())
    hidden = masker.values_to_mask(document) - names_in(document)
    request = replace(REQUEST, params=document, prompt=prompt + "".join(hidden))
    shown = masker.request(request)

    def check(before: Json, after: Json) -> None:
        match before, after:
            case dict(), dict() if len(before) == len(after):
                for (name, old), new in zip(before.items(), after.values(), strict=True):
                    if masker._key is not None and masker._key.match(name.lower()):
                        assert new == (None if old is None else MASK)
                    else:
                        check(old, new)
            case list(), list():
                for old, new in zip(before, after, strict=True):
                    check(old, new)

    check(document, shown.params)
    left = [leaf for leaf in leaves(shown.params) if isinstance(leaf, str) and leaf != MASK]
    for text in hidden:
        if text not in MASK:
            assert [] == [leaf for leaf in left if text in leaf.replace(MASK, "\0")]
            assert text not in (shown.prompt or "").replace(MASK, "\0")
