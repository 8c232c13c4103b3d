"""The page of one request: all that it shows, and that other people's text is only text on it."""

import re
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.support.pages import ShownPage
from watcher.models import (
    App,
    DeliveryRecord,
    Failure,
    InputRequest,
    RequestEvent,
    Resolution,
    Run,
)
from watcher.monitoring import request_page
from watcher.monitoring.html import POLICY
from watcher.monitoring.notifications import Notification
from watcher.monitoring.snapshot import RequestPageData
from watcher.sanitize.redactor import MASK
from watcher.store.results import AppStatus

NOW: Final = 1_800_000_000.0
UP: Final = AppStatus(
    "support", 15.0, polled_ago=3.0, took=0.1, succeeded_ago=3.0, succeeded_at=NOW, worked=True
)
ANSWERED: Final = Resolution("answered", "completed", NOW - 60)
SENT: Final = DeliveryRecord(
    id=1,
    event_id="evt_1",
    type="run.input_requested",
    notifier="slack",
    state="sent",
    attempts=1,
    next_attempt_at=None,
    last_error=None,
    app="support",
    run_id="run-1",
    request_id="q1",
    due_at=NOW - 7425,
    finished_at=NOW - 7420,
)
HOSTILE: Final = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    "</style></title></textarea><a href='javascript:alert(1)'>here</a>{{ 7 * 7 }}"
    "\N{RIGHT-TO-LEFT OVERRIDE}lived\x1b[31m\x07"
)


_ASKED = ("id", "prompt", "params", "editable_params", "masked", "questions", "is_browser_takeover")
"""Fields of a request that a test may set."""


def data(*, resolution: Resolution | None = None, **fields: Any) -> RequestPageData:
    """All about a request that has waited for two hours; fields of the request, its run and the page."""
    request = InputRequest("q1", "approval_request", "Refund?", {"amount": 620}, ("amount",), "f")
    asked = {name: fields.pop(name) for name in _ASKED if name in fields}
    event = RequestEvent(
        id="",
        type="run.input_resolved" if resolution else "run.input_requested",
        at=NOW,
        app=App("support", "https://runs.example"),
        run=Run("run-1", "awaiting_input", started_at=NOW - 7430, user_id="customer-7421", session_id="s-1"),
        request=replace(request, **asked),
        first_seen_at=NOW - 7425,
        link=fields.pop("link", None),
        resolution=resolution,
    )
    usual: dict[str, Any] = {
        "at": NOW,
        "event": event,
        "app": UP,
        "deliveries": (),
        "notifications": (),
        "reminders": (),
    }
    return RequestPageData(**{**usual, **fields})


def shown(**fields: Any) -> ShownPage:
    """The page."""
    return ShownPage(request_page.render(data(**fields)))


def test_a_pending_request() -> None:
    """There is the whole question, how long it waits, where to answer, and of which run it is."""
    link = "https://approvals.example/run-1"
    page = shown(prompt="Refund\n  620?", link=link)
    assert "Approval needed · support" == page.headline == page.title
    assert "Waiting for 2 h 3 min , since 15 Jan, 05:56 UTC ." in page.words
    assert "Refund\n  620?" in page.html
    assert "amount editable 620" in page.words
    assert link in page.links
    assert "App support Run run-1 Request q1 User customer-7421 Session s-1" in page.words
    assert {"../", "../?app=support", "../api/pending"} <= page.links
    blocked = "The run stays blocked until it is answered."
    default = "Answer in the Dynamiq console: app support → History → the run with the id below."
    assert f"{default} {blocked}" in shown().words
    assert f"Open our inbox. {blocked}" in shown(answer_hint="Open our inbox.").words
    assert f"Open to answer {blocked}" in page.words


def test_only_what_is_known_to_be_good_is_green() -> None:
    """A request that ended has a neutral sign, for nobody knows whether it was approved."""
    assert ['class="new"', 'class="waits"'] == [
        re.findall("<body (.*)>", request_page.render(data(**fields)).html)[0]
        for fields in ({"resolution": ANSWERED}, {})
    ]


def test_everything_is_shown() -> None:
    """Long texts, deep values, lines and spaces stay as they are; nothing is cut that a person would read."""
    sql = "DELETE FROM customers\n  WHERE id IN (\n" + ",\n".join(str(number) for number in range(900)) + ")"
    page = shown(prompt="p" * 20_000, params={"sql": sql, "deep": {"a": [{"b": {"c": 1}}]}, "empty": ""})
    for expected in ("p" * 20_000, sql, '"c": 1', "(empty)"):
        assert expected in page.text
    many = shown(params={f"p{number}": number for number in range(1002)}, editable_params=())
    assert "p999 999 … 2 more parameters" in many.words


def test_lines_can_be_told_apart() -> None:
    """A text with columns is set in equal widths, and each of its lines is an element of its own."""
    table = "item   price\ndesk     580"
    lines = "<span>item   price\n</span><span>desk     580\n</span>"
    page = shown(prompt=table, params={"table": table})
    classes = [attributes.get("class") or "" for _, attributes in page.elements]
    assert ["prompt block", "block"] == [name for name in classes if "block" in name]
    assert 2 == page.html.count(lines)


def test_questions_and_takeover() -> None:
    """Each question has its options and how it can be answered, and a takeover is said first."""
    asked = {"question": "Which size?", "options": [{"label": "S"}, {"label": "L"}], "multi_select": True}
    page = shown(prompt="Tell me more.", questions=[asked], is_browser_takeover=True)
    assert "take over its browser" in page.words
    expected = "Question 1 of 1. Choose any number, or give your own answer. Which size? S L"
    assert expected in page.words


def test_what_is_masked_is_said() -> None:
    """Masked values are counted and named by their paths, and so are parameters that are not shown at all."""
    page = shown(params={"api_key": MASK, "llm": {"token": MASK}}, masked=("api_key", "llm.token"))
    assert "2 values are masked: api_key, llm.token" in page.words
    page = shown(params=None, masked=("amount",))
    assert "1 parameter is not shown here (include_params is off): amount" in page.words


def test_who_was_notified_and_what_follows() -> None:
    """Each notifier has its time or the reason why not, and each coming reminder its time."""
    page = shown(
        notifications=(Notification("slack", NOW - 7420), Notification("phone", reason="queued")),
        reminders=((NOW + 1800, "slack"),),
        deliveries=(
            SENT,
            replace(SENT, id=2, type="run.input_reminder", attempts=3, finished_at=NOW - 5000),
            replace(
                SENT, id=3, notifier="audit", state="dead", attempts=9, last_error="HTTP 404", run_id=None
            ),
            replace(SENT, id=4, notifier="phone", state="pending", attempts=0, due_at=NOW + 900),
            replace(SENT, id=5, notifier="old", state="superseded"),
            replace(SENT, id=6, notifier="sms", state="pending", attempts=2, last_error="HTTP 503"),
            replace(SENT, id=7, notifier="pager", state="dead", attempts=1, last_error="HTTP 410"),
        ),
    )
    assert "slack notified 15 Jan, 05:56 UTC phone not notified: queued" in page.words
    assert "slack in 30 min, if it is still waiting then 15 Jan, 08:30 UTC" in page.words
    for expected in (
        "slack announcement sent 15 Jan, 05:56 UTC",
        "slack reminder sent at attempt 3 15 Jan, 06:36 UTC",
        "audit announcement in a digest given up after 9 attempts: HTTP 404",
        "old announcement not sent, because it became unnecessary",
        "sms announcement attempt 2 failed: HTTP 503",
        "pager announcement given up after 1 attempt: HTTP 410",
    ):
        assert expected in page.words
    assert "phone announcement" not in page.words
    assert "No further reminder is planned." in shown().words


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("answered", "Answered after 2 h 2 min; the run has completed."),
        ("gone", "Closed after 2 h 2 min: the run no longer exists."),
        ("replaced", "Replaced after 2 h 2 min: the run now asks something else."),
    ],
)
def test_how_it_ended(outcome: Any, words: str) -> None:
    """A request that ended says how and when, and not that it is waiting or can be answered."""
    ended = replace(ANSWERED, outcome=outcome)
    page = shown(resolution=ended, link="https://x.example/", deliveries=(SENT,))
    assert words in page.words
    assert "needed" not in page.headline == page.title
    assert "ended on 15 Jan, 07:59 UTC ." in page.words
    for wrong in ("Waiting for", "blocked", "Open to answer", "Reminders to come", "Not notified"):
        assert wrong not in page.words
    assert "slack announcement sent" in page.words


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (
            replace(UP, succeeded_ago=800.0, failure=Failure(401, "unauthorized", "bad key", NOW, 0)),
            "Watcher can't see the requests of support now (HTTP 401 unauthorized: bad key). This one",
        ),
        (None, "This app is no longer configured, so the request may have been answered already."),
    ],
)
def test_what_may_have_ended_unnoticed(app: AppStatus | None, words: str) -> None:
    """Where the app cannot be seen now, the page says that the request may have been answered meanwhile."""
    page = shown(app=app)
    assert words in page.words
    assert ("../?app=support" in page.links) == (app is not None)
    assert words not in shown(app=app, resolution=ANSWERED).words


def test_other_peoples_text_is_only_text() -> None:
    """No element, attribute, script or link comes of it, and no character of it acts."""
    page = shown(
        id=HOSTILE,
        prompt=HOSTILE,
        params={HOSTILE: HOSTILE, "deep": [{HOSTILE: HOSTILE}]},
        editable_params=(HOSTILE, "deep"),
        link=f"javascript:{HOSTILE}",
        deliveries=(replace(SENT, state="dead", last_error=HOSTILE),),
    )
    plain = shown(
        params={"a": "b", "deep": {"a": "b"}},
        editable_params=("a",),
        notifications=(Notification("slack"),),
        deliveries=(SENT,),
        reminders=((NOW, "slack"),),
    )
    assert set() == {name for name, _ in page.elements} - {name for name, _ in plain.elements}
    names = {attribute for _, attributes in page.elements for attribute in attributes}
    assert set() == {name for name in names if name.startswith("on") or name in {"style", "src", "srcdoc"}}
    assert page.links == plain.links
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page.html)
    assert "{{ 7 * 7 }}" in page.words


def test_the_page_is_guarded_as_the_status_page_is() -> None:
    """The same policy allows the one style, nothing runs, and nothing is reloaded under a reader."""
    page = request_page.render(data())
    assert (POLICY, None) == (page.policy, page.refresh)
    assert "<script" not in page.html
