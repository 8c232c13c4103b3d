"""The Apprise notifier against a real receiver, by URLs of the services that speak plain HTTP."""

import asyncio
import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import (
    ALL_EVENTS,
    DIGEST,
    FAILING,
    RECOVERED,
    REMINDED,
    REQUESTED,
    RESOLVED,
    SEEN_AT,
    TEST,
    make_delivery,
    request_event,
)
from tests.support.fakes import Reply, WebhookReceiver, served
from tests.support.sending import hanging_reads, make_secret, notifier_context
from watcher.config.models import AppriseConfig
from watcher.messages import render
from watcher.models import Digest, DigestEntry, Event
from watcher.notifiers.apprise import AppriseNotifier, text
from watcher.notifiers.base import DeliveryError, NotifierUnusable
from watcher.sanitize import secrets
from watcher.sanitize.files import READS_MAX
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret, SecretError

PASSWORD = "hunter2-of-ours"


@pytest.fixture(autouse=True)
def _environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NETRC", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, "")


def notifier(url: str | Secret, within: float = 5.0) -> AppriseNotifier:
    """Returns a notifier for an Apprise URL."""
    config = AppriseConfig(name="phone", url=make_secret(url) if isinstance(url, str) else url)
    return AppriseNotifier(config, notifier_context(within=within))


def service(url: str, *, kind: str = "json", rest: str = "") -> str:
    """Returns the Apprise URL for a receiver."""
    return f"{kind}://me:{PASSWORD}@{url.removeprefix('http://')}/{rest}"


def told(event: Event = REQUESTED, *, kind: str = "json", rest: str = "") -> dict[str, Any]:
    """Returns what the receiver gets of an event."""
    receiver = WebhookReceiver()

    async def scenario() -> None:
        async with served(receiver) as url:
            assert await notifier(service(url, kind=kind, rest=rest)).send(make_delivery(event)) is None

    asyncio.run(scenario())
    (received,) = receiver.received
    body: dict[str, Any] = received.json()
    return body


def failure(*replies: Reply, within: float = 5.0, rest: str = "") -> tuple[DeliveryError, int]:
    """Returns the error that a send ends with after these answers, and how often the receiver was asked."""
    receiver = WebhookReceiver()
    receiver.replies.extend(replies)

    async def scenario() -> None:
        async with served(receiver) as url:
            await notifier(service(url, rest=rest), within).send(make_delivery())

    with pytest.raises(DeliveryError) as caught:
        asyncio.run(scenario())
    return caught.value, len(receiver.received)


def test_what_arrives() -> None:
    """Title, plain text and kind of an event reach the service."""
    body = told()
    assert ("Approval needed · support", "warning") == (body["title"], body["type"])
    assert body["message"].splitlines() == [
        "> Approve the refund?",
        "  amount (editable): 620",
        "  customer: Ada",
        "Answer in the Dynamiq console: app support → History → the run with the id below.",
        "The run stays blocked until it is answered.",
        "Waiting since: 2026-06-10T09:15:39Z",
        "User: customer-7421",
        "Run: 8c2c",
        "Session: 3d3e",
    ]


def test_by_another_service() -> None:
    """What works with one service works with another one that has limits of its own."""
    body = told(kind="ntfy", rest="approvals?mode=private")
    assert ("approvals", "Approval needed · support") == (body["topic"], body["title"])
    assert "Approve the refund?" in body["message"]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        *((REQUESTED, "warning"), (REMINDED, "warning"), (RESOLVED, "info")),
        *((FAILING, "failure"), (RECOVERED, "success"), (TEST, "info")),
    ],
)
def test_every_event_has_its_kind(event: Event, kind: str) -> None:
    """Services show by the kind how serious an event is."""
    assert event in ALL_EVENTS
    assert kind == told(event)["type"]


@pytest.mark.parametrize("rest", ["", "?format=markdown", "?format=html", "?emojis=yes&overflow=split"])
def test_no_markup_of_others_takes_effect(rest: str) -> None:
    """Mentions, links, tags, formatting and emoji of other people's text act in no service."""
    hostile = (
        "@everyone <@123> <!channel> [x](https://evil.example) **b** `c` ||d|| _e_ <b>f</b> :smile: a@here"
    )
    body = told(request_event(hostile, {hostile: hostile}), rest=rest)
    shown = body["title"] + body["message"]
    acting = ("@", "<@", "<!", "](", "*", "`", "||", "_e_", "<b>", "</b>", "\N{SMILING FACE WITH OPEN MOUTH}")
    assert [markup for markup in acting if markup in shown] == []
    assert "\N{FULLWIDTH COMMERCIAL AT}everyone" in shown
    assert ":smile:" in shown


def test_no_markup_of_others_takes_effect_in_a_digest() -> None:
    """The requests that a digest names are made harmless as one by itself is."""
    entry = DigestEntry("@run", "approval_request", "@everyone **b**", SEEN_AT, None, None, None)
    event = replace(DIGEST, digest=Digest(30, 30, (), oldest=SEEN_AT, entries=(entry,)))
    shown = told(event)["message"]
    assert ("@" in shown, "*" in shown) == (False, False)
    assert "\N{FULLWIDTH COMMERCIAL AT}everyone" in shown


def test_what_is_harmless_stays_as_it_is() -> None:
    """Addresses, comparisons and names are not changed, nor is the link of our own."""
    event = replace(request_event("ada@x.example 1 < 2 (a_b) [c]"), link="https://console.example/@me/_x_/*")
    message = told(event)["message"]
    assert "> ada@x.example 1 < 2 (a_b) [c]\n" in message
    assert "\nOpen the request: https://console.example/@me/_x_/*\n" in message


@pytest.mark.parametrize("room", [32768, 2000, 1000, 160])
@pytest.mark.parametrize("words", ["p", "&", "é\n", "\N{SMILING FACE WITH OPEN MOUTH}"])
def test_long_content_fits(room: int, words: str) -> None:
    """However long a request is, it fits into what a service takes in one piece, and says that it was cut."""
    message = render(request_event(words * 5000, {f"key{number}": words * 5000 for number in range(50)}))
    shown = text(message, room=room)
    assert len(shown) + len(message.title) < min(room, 16_001)
    assert ("more characters)" in shown, words[0] in shown) == (True, True)


@pytest.mark.parametrize(
    ("status", "fixable"),
    [
        *((status, True) for status in (400, 401, 403, 404, 410, 413)),
        *((status, False) for status in (408, 425, 429, 500, 502, 503)),
    ],
)
def test_every_status(status: int, *, fixable: bool) -> None:
    """A refusal is told by its status, with a fix where waiting does not help."""
    error, _ = failure(Reply(status, PASSWORD))
    assert (f"HTTP {status}", fixable) == (str(error), error.fix is not None)


def test_nothing_is_repeated_or_hidden() -> None:
    """The URL can make Apprise neither try again by itself nor pass a failure for a success."""
    error, asked = failure(*[Reply(500)] * 3, rest="?retry=2&wait=0&optional=yes")
    assert ("HTTP 500", 1) == (str(error), asked)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """A message goes nowhere else, even if the URL asks for that."""
    error, asked = failure(Reply(status, "", {"Location": "/elsewhere"}), rest="?redirect=yes")
    assert (f"HTTP {status}", True, 1) == (str(error), error.fix is not None, asked)


def test_no_connection() -> None:
    """A service that cannot be reached is a failure that may pass."""
    with pytest.raises(DeliveryError, match="could not be reached") as caught:
        asyncio.run(notifier(service("http://127.0.0.1:1")).send(make_delivery()))
    assert caught.value.fix is None


def test_a_service_that_does_not_answer() -> None:
    """Silence is a failure."""
    error, asked = failure(Reply(silent=True), within=0.2)
    assert (None, 1) == (error.fix, asked)


def test_a_service_that_drips() -> None:
    """The time limit holds for the whole send, whatever Apprise itself would wait for."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            writer.transport.abort()

    async def scenario() -> None:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            await notifier(service(f"http://127.0.0.1:{port}"), 0.2).send(make_delivery())
        finally:
            server.close()

    with pytest.raises(DeliveryError, match=r"no answer within 0\.2 s"):
        asyncio.run(scenario())


def test_a_url_on_a_file_system_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt fails after a while, and they do not take more and more threads."""
    (tmp_path / "url").write_text("json://127.0.0.1:1")
    url = Secret("notifiers.phone.url", Redactor(), file=tmp_path / "url")

    async def scenario() -> None:
        with hanging_reads(monkeypatch, secrets):
            for _ in range(READS_MAX + 2):
                with pytest.raises(SecretError, match="its file system hangs"):
                    await phone.send(make_delivery())

    phone = notifier(url)
    asyncio.run(scenario())


def test_a_rotated_url(tmp_path: Path) -> None:
    """A URL in a file is read afresh before each use; one that is none then is a failure with a fix."""
    file = tmp_path / "url"
    receivers = WebhookReceiver(), WebhookReceiver()

    async def scenario() -> None:
        async with served(receivers[0]) as first, served(receivers[1]) as second:
            file.write_text(service(first))
            phone = notifier(Secret("notifiers.phone.url", Redactor(), file=file))
            await phone.send(make_delivery())
            file.write_text(service(second))
            await phone.send(make_delivery())
            file.write_text(f"nothing://{PASSWORD}")
            with pytest.raises(DeliveryError, match="must be one URL") as caught:
                await phone.check()
            assert (caught.value.fix is not None, PASSWORD in str(caught.value)) == (True, False)
            file.unlink()
            with pytest.raises(SecretError, match=r"notifiers\.phone\.url"):
                await phone.send(make_delivery())

    asyncio.run(scenario())
    assert [1, 1] == [len(receiver.received) for receiver in receivers]


@pytest.mark.parametrize(
    "url",
    [
        f"nothing://{PASSWORD}",
        PASSWORD,
        f"https://{PASSWORD}",
        "json://",
        f"slack://{PASSWORD}",
        f"json://127.0.0.1/{PASSWORD}, json://127.0.0.2/",
    ],
)
def test_what_is_no_url(url: str) -> None:
    """What Apprise does not take is refused at the start by the setting's name, and told to no log."""
    logged = io.StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(logged)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with pytest.raises(NotifierUnusable) as caught:
            notifier(Secret("notifiers.phone.url", Redactor(), value=url))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert str(caught.value).startswith("notifiers.phone.url: must be one URL")
    assert PASSWORD not in str(caught.value) + logged.getvalue()


def test_targets_of_one_url_keep_within_the_time_limit() -> None:
    """A URL with many targets is not slowed so much that each send would be cut off and repeated."""
    targets = "/".join(f"to{number}" for number in range(10))
    receiver = WebhookReceiver()

    async def scenario() -> None:
        async with served(receiver) as url:
            await notifier(service(url, kind="ntfy", rest=f"{targets}?mode=private"), 5.0).send(
                make_delivery()
            )

    asyncio.run(scenario())
    assert [f"to{number}" for number in range(10)] == sorted(
        item.json()["topic"] for item in receiver.received
    )


def test_pace_and_check() -> None:
    """One message at a time and per second, for people; the check sends nothing."""
    phone = notifier("json://127.0.0.1:1/")
    assert (1, 1.0, True) == (phone.max_concurrency, phone.min_interval, phone.for_people)
    assert asyncio.run(phone.check()) == "configured; use --send to test it"


def test_a_netrc_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password in a `.netrc` for the service's host is not sent to it."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password of-somebody-else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    receiver = WebhookReceiver()

    async def scenario() -> None:
        async with served(receiver) as url:
            await notifier(url.replace("http://", "json://")).send(make_delivery())

    asyncio.run(scenario())
    assert [False] == ["Authorization" in received.headers for received in receiver.received]
