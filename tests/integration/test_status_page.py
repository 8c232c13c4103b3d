"""The status page: what it shows, and that other people's text is only text on it."""

import asyncio
import base64
import hashlib
import re
import shutil
import socket
from collections.abc import Sequence
from contextlib import closing
from html.parser import HTMLParser
from typing import Any, Final

import pytest

from watcher.messages import INVISIBLE_QUESTION
from watcher.models import Failure, PendingRequest
from watcher.monitoring import status_page
from watcher.monitoring.health import AppStatus, HealthReport, NotifierStatus, Status, readiness
from watcher.monitoring.server import Answers, serving
from watcher.monitoring.snapshot import StatusPageData
from watcher.store.results import RecentResolution

NOW: Final = 1_800_000_000.0
HOSTILE: Final = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
    "</style></title><style>body{display:none}</style><a href='javascript:alert(1)'>here</a>"
    "<meta http-equiv=refresh content='0;url=http://evil.example/'>{{ 7 * 7 }}{% raw %}&lt;"
    "\N{RIGHT-TO-LEFT OVERRIDE}lived\x1b[31m\x07" + "W" * 400
)


def an_app(name: str = "support", **fields: Any) -> AppStatus:
    """An app that is up, but for what is said of it."""
    up: dict[str, Any] = {
        "interval": 15.0,
        "polled_ago": 3.0,
        "took": 0.142,
        "succeeded_ago": 3.0,
        "succeeded_at": NOW - 3,
        "worked": True,
        "failure": None,
        "pending": 0,
        "oldest_pending": None,
    }
    return AppStatus(name, **{**up, **fields})


def a_request(prompt: str | None = "Approve?", **fields: Any) -> PendingRequest:
    """A request that has waited for two hours."""
    usual: dict[str, Any] = {
        "app": "support",
        "run_id": "run-1",
        "request_id": "q1",
        "type": "approval_request",
        "first_seen_at": NOW - 7425,
        "link": None,
        "told": (),
    }
    return PendingRequest(prompt=prompt, **{**usual, **fields})


def a_view(
    apps: Sequence[AppStatus] = (an_app(),),
    notifiers: Sequence[NotifierStatus] = (),
    waiting: Sequence[PendingRequest] = (),
    ended: Sequence[RecentResolution] = (),
) -> StatusPageData:
    """What there is to show."""
    now = Status(tuple(apps), tuple(notifiers))
    return StatusPageData(NOW, now, readiness(now), waiting, ended)


HOSTILE_VIEW: Final = a_view(
    apps=[an_app(pending=2, failure=Failure(500, HOSTILE, HOSTILE, NOW - 60, 2), succeeded_ago=60.0)],
    notifiers=[NotifierStatus("slack", 1, 400.0, HOSTILE, 0, None, 12.0)],
    waiting=[
        a_request(
            HOSTILE,
            run_id=HOSTILE,
            link=f"javascript:{HOSTILE}",
            user_id=HOSTILE,
            params={HOSTILE: HOSTILE, "deep": [{HOSTILE: HOSTILE}]},
            editable_params=(HOSTILE,),
        ),
        a_request(None, link=f"https://approvals.example/'\"><script>{HOSTILE}"),
    ],
    ended=[RecentResolution("support", "run-1", "approval_request", HOSTILE, "answered", NOW - 60, NOW)],
)


class Page(HTMLParser):
    """A page as a browser takes it: its elements, and its words."""

    def __init__(self, view: StatusPageData) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.html = status_page.render(view).html
        self._words: list[str] = []
        self.feed(self.html)

    @property
    def words(self) -> str:
        """All text, in which every run of blanks is one."""
        return " ".join(" ".join(self._words).split())

    def attributes(self, element: str) -> list[dict[str, str | None]]:
        """The attributes of each element with this name."""
        return [attributes for name, attributes in self.elements if name == element]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps it."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keeps it."""
        self._words.append(data)


def test_nothing_to_do() -> None:
    """An idle watcher says that nothing waits and that all is well."""
    words = Page(a_view(notifiers=[NotifierStatus("slack", 0, None, None, 0, None, None)])).words
    for expected in (
        "Nothing is waiting",
        "Watcher is working normally.",
        "support up",
        "last check 3 s ago",
    ):
        assert expected in words
    assert "slack nothing queued" in words
    assert "Problems" not in words


def test_what_waits() -> None:
    """Of each request there is its app, kind, prompt and link, how long it waits, and who was told."""
    link = "https://approvals.example/support/run-1?a=1&b=2"
    page = Page(
        a_view(
            apps=[an_app(pending=2)],
            waiting=[a_request("First\n  second", told=("slack", "audit"), link=link), a_request(None)],
        )
    )
    for expected in (
        "2 requests waiting",
        "Approval support 2 h 3 min",
        "Notified: slack, audit",
        "run run-1",
    ):
        assert expected in page.words
    assert "First\n  second" in page.html
    assert INVISIBLE_QUESTION in page.words
    assert "Nobody notified yet" in page.words
    (anchor,) = [attributes for attributes in page.attributes("a") if "rel" in attributes]
    assert (link, "noopener noreferrer", "_blank") == (anchor["href"], anchor["rel"], anchor["target"])


def test_what_is_wrong() -> None:
    """Failing apps come first and say since when and why; notifiers say what they owe."""
    failure = Failure(401, "unauthorized", "the key is not valid", NOW - 800, 0)
    page = Page(
        a_view(
            apps=[an_app("a-good-one"), an_app("failing", failure=failure, succeeded_ago=800.0)],
            notifiers=[
                NotifierStatus("slack", 3, 421.0, "HTTP 429", 0, None, 12.0),
                NotifierStatus("audit", 0, None, None, 2, "HTTP 400: no", None),
            ],
        )
    )
    assert "There are 3 problems." in page.words
    assert "failing for 13 min 20 s: HTTP 401 unauthorized: the key is not valid" in page.words
    assert "slack 3 messages undelivered, the oldest for 7 min 1 s (HTTP 429) paused for 12 s" in page.words
    assert (
        "audit 2 messages were given up (HTTP 400: no). Fix the destination, then run `watcher retry"
        in page.words
    )
    apps = page.words.partition("Apps")[2]
    assert apps.index("failing") < apps.index("a-good-one")


def test_one_problem_is_said_at_the_top() -> None:
    """The only problem is the sentence below the headline, with what to do about it."""
    words = Page(a_view(notifiers=[NotifierStatus("audit", 0, None, None, 1, "HTTP 400: no", None)])).words
    assert (
        "Notifier audit: 1 message was given up (HTTP 400: no). "
        "Fix the destination, then run `watcher retry --all-dead`." in words
    )
    assert "Watcher is working normally." not in words


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
    page = Page(a_view(apps=[an_app(pending=1)], notifiers=[late], waiting=[a_request()]))
    idle = Page(a_view(notifiers=[late])).attributes("header")[0]
    assert f"top {'good' if summary == 'Watcher is working normally.' else 'waits'}" == idle["class"]
    assert summary == page.html.partition('<p class="sum">')[2].partition("</p>")[0]


def test_what_is_late_beside_a_problem() -> None:
    """A problem does not hide that something else is late, and nothing is said twice."""
    late, overdue = (
        NotifierStatus(name, 1, age, "HTTP 500", 0, None, None) for name, age in (("a", 9.0), ("b", 400.0))
    )
    words = Page(a_view(notifiers=[late, overdue])).words
    assert "the oldest for 6 min 40 s (HTTP 500). 1 message is late: a (HTTP 500)." in words


def test_what_a_request_is_about() -> None:
    """Parameters are named with their values, short, as stored, and those that can be edited are marked."""
    params = {"amount": 620, "api_token": "[redacted]", "notes": "n" * 500, "empty": ""}
    asked = a_request(params=params, editable_params=("amount",), user_id="customer-7421")
    page = Page(a_view(waiting=[asked]))
    assert "amount editable 620 api_token [redacted] notes " + "n" * 50 in page.words
    assert "n" * 161 not in page.words
    assert "empty (empty)" in page.words
    assert "user customer-7421 run run-1" in page.words
    many = a_request(params={f"p{number}": number for number in range(40)})
    words = Page(a_view(waiting=[many])).words
    assert "p11 11 … 28 more parameters" in words
    assert "p12" not in words
    assert "editable: amount" in Page(a_view(waiting=[a_request(editable_params=("amount",))])).words


def test_a_thousand_apps() -> None:
    """A long list is cut, and what is in trouble is in the part that is shown."""
    failure = Failure(None, "timeout", "too slow", NOW - 800, 0)
    apps = [an_app(f"app-{number}") for number in range(1000)]
    words = Page(a_view([*apps, an_app("zzz", failure=failure, succeeded_ago=800.0)])).words
    assert "zzz failing for" in words
    assert "… and 801 more" in words


def test_what_was_resolved() -> None:
    """The last answers are listed with how long they took."""
    ended = RecentResolution(
        "support", "run-1", "approval_request", "Refund?", "answered", NOW - 900, NOW - 400
    )
    assert "support Refund? answered after 8 min 20 s 6 min 40 s ago" in Page(a_view(ended=[ended])).words


def test_other_peoples_text_is_only_text() -> None:
    """No element, attribute, script or link comes of it, and nothing in it turns or hides the rest."""
    page = Page(HOSTILE_VIEW)
    plain = Page(a_view(notifiers=[NotifierStatus("slack", 0, None, None, 0, None, None)]))
    known = {name for name, _ in plain.elements} | {"article", "b", "time", "dl", "dt", "dd", "small"}
    assert set() == {name for name, _ in page.elements} - known
    assert 1 == len(page.attributes("style"))
    assert 1 == len([meta for meta in page.attributes("meta") if "http-equiv" in meta])
    names = {attribute for _, attributes in page.elements for attribute in attributes}
    assert set() == {name for name in names if name.startswith("on") or name in {"style", "src", "srcdoc"}}
    assert 1 == len([anchor for anchor in page.attributes("a") if "rel" in anchor])
    links = [anchor["href"] or "" for anchor in page.attributes("a")]
    assert [] == [link for link in links if not re.match(r"https://approvals\.example/|[a-z/]+$", link)]
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


CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.anyio
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
async def test_in_a_real_browser() -> None:
    """On a phone hostile text runs nothing, asks nobody for anything, and does not widen the page."""
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    answers = Answers(
        alive=HealthReport,
        ready=HealthReport,
        metrics=lambda: b"",
        pending=list,
        page=lambda: status_page.render(HOSTILE_VIEW),
    )
    quiet = [f"--disable-{what}" for what in ("gpu", "background-networking", "component-update", "sync")]
    asked: list[str] = []
    said: list[str] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        async with (
            asyncio.timeout(60),
            serving(answers, "unused", 0, listening=listening),
            playwright.async_playwright() as driver,
            await driver.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--no-first-run", *quiet]
            ) as browser,
        ):
            page = await browser.new_page(viewport={"width": 375, "height": 800})
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            await page.goto(url)
            title = await page.title()
            width = await page.evaluate("document.documentElement.scrollWidth")
            clipped = await page.evaluate(
                "[...document.querySelectorAll('article, li, dd')].filter(e => e.scrollWidth > e.clientWidth)"
                ".length"
            )
            colour = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ([url], []) == ([address for address in asked if not address.startswith("data:")], said)
    assert ("(2) watcher", 375, 0) == (title, width, clipped)
    assert colour != "rgba(0, 0, 0, 0)"  # the style is in effect
