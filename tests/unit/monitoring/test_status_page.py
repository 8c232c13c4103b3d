"""The status page: what it shows, and that other people's text is only text on it."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.support.pages import ShownPage
from tests.support.status_views import HOSTILE_VIEW, NOW, a_request, a_view, an_app
from watcher.messages import ADVICE
from watcher.messages.requests import INVISIBLE_QUESTION
from watcher.models import Failure
from watcher.monitoring import status_page
from watcher.monitoring.health import RETRY_DEAD
from watcher.monitoring.notifications import Notification
from watcher.monitoring.snapshot import StatusPageData, StatusQuery
from watcher.store.results import AppStatus, NotifierStatus, RecentResolution


class Page(ShownPage):
    """The status page."""

    def __init__(self, view: StatusPageData) -> None:
        super().__init__(status_page.render(view))


IDLE: Final = NotifierStatus("slack", 0, None, None, 0, None, None)
REFUSED: Final = Failure(401, "unauthorized", "the key is not valid", NOW - 800, 0)
TIMEOUT: Final = Failure(None, "timeout", "too slow", NOW - 800, 0)


def blind(name: str, failure: Failure = REFUSED, **fields: Any) -> AppStatus:
    """An app that cannot be polled for longer than it may."""
    return an_app(name, failure=failure, succeeded_ago=800.0, **fields)


def test_nothing_to_do() -> None:
    """An idle watcher says that nothing is waiting and that it works."""
    page = Page(a_view(notifiers=[IDLE]))
    for expected in ("Nothing is waiting", "Watcher is working normally.", "No run is waiting for a human."):
        assert expected in page.words
    assert "support up last check 3 s ago, took 142 ms, every 15 s" in page.words
    assert "slack nothing queued" in page.words
    assert ("watcher", "good") == (page.title, page.mood)
    assert [] == page.attributes("section", "banner")


def test_what_waits() -> None:
    """Of each request there is its app, kind, prompt and link, how long it waits, and who was notified."""
    link = "https://approvals.example/support/run-1?a=1&b=2"
    page = Page(
        a_view(
            apps=[an_app(pending=2, oldest_pending=7425.0)],
            waiting=[
                a_request("First\n  second", id=17, link=link),
                a_request(None, id=18),
            ],
            told={
                17: (
                    Notification("slack", NOW),
                    Notification("audit", NOW),
                    Notification("phone", reason="queued"),
                ),
                18: (Notification("slack", reason="1 attempt failed: HTTP 500; next attempt in 8 s"),),
            },
        )
    )
    for expected in ("2 requests waiting", "The oldest has been waiting for 2 h 3 min.", "run-1"):
        assert expected in page.words
    assert "Approval support 2 h 3 min" in page.words
    assert "Notified: slack, audit Not notified: phone (queued)" in page.words
    assert "Not notified: slack (1 attempt failed: HTTP 500; next attempt in 8 s)" in page.words
    assert "First\n  second" in page.html
    assert INVISIBLE_QUESTION in page.words
    assert "Notified: no one yet" in page.words
    assert "working normally" not in page.words
    (anchor,) = [attributes for attributes in page.attributes("a") if "rel" in attributes]
    assert (link, "noopener noreferrer", "_blank") == (anchor["href"], anchor["rel"], anchor["target"])
    assert {"requests/17", "requests/18"} <= {anchor["href"] for anchor in page.attributes("a")}
    assert ("(2) watcher", "waits") == (page.title, page.mood)


@pytest.mark.parametrize(
    ("apps", "headline", "title", "nothing"),
    [
        (
            [blind("a"), blind("b")],
            "What is waiting is unknown",
            "(?) watcher",
            "Requests of a, b can't be seen.",
        ),
        (
            [an_app("a"), blind("b")],
            "Nothing is known to be waiting",
            "(?) watcher",
            "Requests of b can't be",
        ),
        (
            [blind(name) for name in "abcd"],
            "What is waiting is unknown",
            "(?) watcher",
            "Requests of a, b, c and 1 more app can't be seen.",
        ),
        ([an_app("a", pending=2), blind("b")], "At least 2 requests waiting", "(2+) watcher", ""),
        ([blind("a", pending=1)], "At least 1 request waiting", "(1+) watcher", ""),
        (
            [an_app("a", polled_ago=None, succeeded_ago=None, took=None, worked=False)],
            "What is waiting is unknown",
            "(?) watcher",
            "No request is known.",
        ),
    ],
)
def test_nothing_is_called_empty_that_was_not_seen(
    apps: Sequence[AppStatus], headline: str, title: str, nothing: str
) -> None:
    """While an app is not visible, the page says so first, and claims nothing about what is waiting there."""
    waiting = [a_request()] if any(app.pending for app in apps) else []
    page = Page(a_view(apps=apps, notifiers=[IDLE], waiting=waiting))
    assert (headline, title) == (page.headline, page.title)
    assert nothing in page.words
    for reassuring in ("working normally", "Nothing is waiting", "No run is waiting"):
        assert reassuring not in page.words
    assert page.html.index('id="problems"') < page.html.index("<h1>")


def test_a_poll_of_another_process() -> None:
    """A standby says when the leader checked an app; how long that took is only known to the leader."""
    page = Page(a_view(apps=[an_app("support", took=None)]))
    assert "support up last check 3 s ago, every 15 s" in page.words


def test_a_sentence_of_the_api_ends_once() -> None:
    """A message of the API that ends as a sentence gets no second period before our advice."""
    failure = replace(REFUSED, message="The key was revoked.")
    assert f": The key was revoked. {ADVICE[401]}" in Page(a_view(apps=[blind("a", failure=failure)])).words


def test_a_start_is_no_alarm() -> None:
    """Before the first poll the page knows nothing yet, says so calmly, and looks again soon."""
    view = a_view(apps=[an_app(polled_ago=None, succeeded_ago=None, took=None, worked=False)])
    page = Page(view)
    assert "has not checked every app yet App support : not checked yet." in page.words
    assert ("new", 5) == (page.mood, status_page.render(view).refresh)


def test_what_is_wrong() -> None:
    """What is wrong comes first with the likely fix; failing apps come first, notifiers say what they owe."""
    page = Page(
        a_view(
            apps=[an_app("a-good-one"), blind("failing")],
            notifiers=[
                NotifierStatus("slack", 3, 421.0, "HTTP 429", 0, None, 12.0),
                NotifierStatus("audit", 0, None, None, 2, "HTTP 400: no", None),
                NotifierStatus("phone", revived=3, revived_ago=240.0),
            ],
        )
    )
    banner = (
        "Watcher can't see what is waiting in failing, and messages to 2 of 3 notifiers are not being"
        " delivered App failing : last successful check 13 min 20 s ago, expected every 15 s: HTTP 401"
        f" unauthorized: the key is not valid. {ADVICE[401]} Notifier slack : 3 messages undelivered,"
        f" the oldest for 7 min 1 s (HTTP 429). Notifier audit : 2 messages were given up (HTTP 400:"
        f" no). {RETRY_DEAD}"
    )
    assert banner in page.words
    assert "failing for 13 min 20 s: HTTP 401 unauthorized: the key is not valid last attempt" in page.words
    assert "slack 3 messages undelivered, the oldest for 7 min 1 s (HTTP 429) paused for 12 s" in page.words
    assert "phone nothing queued caught up 4 min ago with 3 dead deliveries of pending requests" in page.words
    apps = page.words.partition("Apps")[2]
    assert apps.index("failing") < apps.index("a-good-one")
    assert "bad" == page.mood


@pytest.mark.parametrize(
    ("undelivered", "age", "error", "summary"),
    [
        (1, 4.0, "HTTP 500", "1 message is late: webhook (HTTP 500)."),
        (2, 40.0, None, "2 messages are late: webhook."),
        (2, 4.0, None, "Watcher is working normally."),
    ],
)
def test_what_is_late_is_not_well(undelivered: int, age: float, error: str | None, summary: str) -> None:
    """What was refused, or is due for longer than a send takes, is said long before it is overdue."""
    late = NotifierStatus("webhook", undelivered, age, error, 0, None, None)
    page = Page(a_view(notifiers=[late]))
    assert summary == page.html.partition('<p class="sum">')[2].partition("</p>")[0]
    assert ("good" if summary == "Watcher is working normally." else "waits") == page.mood


def test_what_is_late_beside_a_problem() -> None:
    """A problem does not hide that something else is late, and nothing is said twice."""
    late, overdue = (
        NotifierStatus(name, 1, age, "HTTP 500", 0, None, None) for name, age in (("a", 9.0), ("b", 400.0))
    )
    words = Page(a_view(notifiers=[late, overdue])).words
    assert "Messages to b are not being delivered" in words
    assert "1 message is late: a (HTTP 500)." in words


def test_what_a_request_is_about() -> None:
    """Parameters are named with their values, as stored; which can be edited and which are masked is said."""
    params = {
        "amount": 620,
        "api_token": "[redacted]",
        "notes": "n" * 500,
        "code": "if x:\n    y()",
        "empty": "",
    }
    asked = a_request(
        params=params, editable_params=("amount",), user_id="customer-7421", masked=("api_token",)
    )
    page = Page(a_view(waiting=[asked]))
    assert (
        f"amount editable 620 api_token [redacted] notes {'n' * 500} code if x: y() empty (empty)"
        in page.words
    )
    assert "    y()" in page.text
    assert "1 value is masked: api_token" in page.words
    assert "User customer-7421 Run run-1" in page.words
    withheld = a_request(params=None, masked=("amount",))
    hidden = "1 parameter is not shown here (include_params is off): amount"
    assert hidden in Page(a_view(waiting=[withheld])).words


def test_a_large_request_does_not_fill_the_list() -> None:
    """Of long texts the middle is missing, of many parameters the last ones, and both are counted."""
    params = {f"p{number}": "v" * 60 for number in range(1000)}
    prompt = f"{'p' * 50_000} Shall I?"
    page = Page(a_view(waiting=[a_request(prompt=prompt, params=params)]))
    assert len(page.words) < len(Page(a_view(waiting=[a_request()])).words) + 2600
    assert re.search(r"p… \(\d+ more characters\) …p+ Shall I\?", page.words)
    assert re.search(r"p9 v+… \(44 more characters\) …v+ p10 .* … 9\d\d more parameters ", page.words)


def test_what_a_request_with_questions_asks() -> None:
    """Questions are shown with all options and how to answer, and the prompt does not list them again."""
    asked = {"question": "Which size?", "options": [{"label": "S"}, {"label": "L"}], "multi_select": True}
    listed = "1. Which size?\n   - S\n   - L\n   - Other (free text)"
    request = a_request(prompt=f"I need more.\n{listed}", questions=[asked], is_browser_takeover=True)
    words = Page(a_view(waiting=[request])).words
    takeover = "The run asks a person to take over its browser. A text answer alone may not be enough."
    rule = "Question 1 of 1. Choose any number, or give your own answer."
    assert f"{takeover} I need more. {rule} Which size? S L Details" in words
    assert "Other (free text)" not in words


@pytest.mark.parametrize(
    ("age", "style"), [(60.0, "young"), (3599.0, "young"), (3600.0, "old"), (4 * 3600.0, "very-old")]
)
def test_age_is_told_by_colour(age: float, style: str) -> None:
    """What has been waiting for an hour stands out, and for four hours more so."""
    page = Page(a_view(apps=[an_app(pending=1)], waiting=[a_request(first_seen_at=NOW - age)]))
    assert [f"age {style}"] == [span["class"] for span in page.attributes("span", "age")]


def test_a_thousand_apps() -> None:
    """A long list has pages, and what is in trouble comes first."""
    apps = [*(an_app(f"app-{number}") for number in range(1000)), blind("zzz")]
    first = Page(a_view(apps))
    assert "Page 1 of 11 Next" in first.words
    assert "zzz failing for" in first.words
    assert "?apps=2#apps" in first.links
    last = Page(a_view(apps, query=StatusQuery(apps=11)))
    assert "Previous Page 11 of 11" in last.words
    assert "app-999 up" in last.words


def test_further_requests_are_on_further_pages() -> None:
    """Requests have pages that keep to the chosen app; apps and notifiers are one jump away on each."""
    apps = [an_app("support", pending=120), an_app("sales", pending=7)]
    page = Page(a_view(apps, [IDLE], [a_request()], query=StatusQuery(app="support", page=2)))
    assert "120 requests waiting" in page.words
    assert "Only app support is shown. Show all apps" in page.words
    assert "Previous Page 2 of 3 Next" in page.words
    assert {"?app=support", "?app=support&page=3", "?", "?app=sales", "#apps", "#notifiers"} <= page.links
    assert {"waiting", "apps", "notifiers"} <= page.ids


def test_the_refresh_can_be_paused() -> None:
    """A browser reloads the page every minute, unless somebody who reads it has paused that."""
    running, paused = a_view(), a_view(query=StatusQuery(app="support", refresh=False))
    assert (60, None) == (status_page.render(running).refresh, status_page.render(paused).refresh)
    assert "Refreshes every 60 s · Pause" in Page(running).words
    assert "?refresh=off" in Page(running).links
    assert "Refresh is paused · Resume" in Page(paused).words
    assert "?app=support" in Page(paused).links


def test_what_was_resolved() -> None:
    """The last answers are listed with how long they took."""
    ended = RecentResolution(
        3, "support", "run-1", "approval_request", "Refund?", "answered", NOW - 900, NOW - 400
    )
    assert "support Refund? answered after 8 min 20 s 6 min 40 s ago" in Page(a_view(ended=[ended])).words


@pytest.mark.parametrize(
    ("kind", "prompt", "words"),
    [
        ("unknown", None, "(question not visible)"),
        ("approval_request", None, "(no prompt)"),
        ("approval_request", " \u200b", "(no prompt)"),
    ],
)
def test_what_was_resolved_without_a_prompt_that_shows(kind: str, prompt: str | None, words: str) -> None:
    """The link to such a request has words that a person can see, and calls no question unseen that was."""
    ended = RecentResolution(3, "support", "run-1", kind, prompt, "answered", NOW - 900, NOW - 400)
    assert f"support {words} answered after" in Page(a_view(ended=[ended])).words


def test_a_request_without_a_prompt() -> None:
    """A request whose parameters were seen is not called invisible in the list either."""
    words = Page(a_view(waiting=[a_request(None, params={"amount": 620})])).words
    assert "This request has no prompt. amount 620" in words
    assert INVISIBLE_QUESTION not in words


def test_other_peoples_text_is_only_text() -> None:
    """No element, attribute, script or link comes of it, and nothing in it turns or hides the rest."""
    page = Page(HOSTILE_VIEW)
    plain = Page(a_view(notifiers=[NotifierStatus("slack", 0, None, None, 0, None, None)]))
    known = {name for name, _ in plain.elements} | {"article", "b", "h3", "time", "dl", "dt", "dd", "small"}
    assert set() == {name for name, _ in page.elements} - known
    assert 1 == len(page.attributes("style"))
    assert [] == [meta for meta in page.attributes("meta") if "http-equiv" in meta]
    names = {attribute for _, attributes in page.elements for attribute in attributes}
    assert set() == {name for name in names if name.startswith("on") or name in {"style", "src", "srcdoc"}}
    assert 1 == len([anchor for anchor in page.attributes("a") if "rel" in anchor])
    links = [anchor["href"] or "" for anchor in page.attributes("a")]
    assert [] == [
        link
        for link in links
        if not re.match(r"https://approvals\.example/|[a-z/]+[0-9]*$|#[a-z]+$|\?[a-z=]*$", link)
    ]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page.html)
    assert "{{ 7 * 7 }}{% raw %}&lt;" in page.words


def test_the_policy_allows_the_style_and_nothing_else() -> None:
    """The hash in the policy is that of the one style on the page; no script can run at all."""
    page = status_page.render(a_view())
    (style,) = re.findall(r"<style>(.*?)</style>", page.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ) == page.policy
    assert "<script" not in page.html
