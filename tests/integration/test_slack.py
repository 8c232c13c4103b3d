"""The Slack notifier against a fake that refuses what Slack refuses."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.events import (
    ALL_EVENTS,
    APPS_FAILING,
    DIGEST,
    DIGEST_REMINDED,
    FAILING,
    FAILURE,
    RECOVERED,
    REMINDED,
    REQUESTED,
    RESOLVED,
    TEST,
    make_delivery,
    request_event,
)
from tests.support.fakes import FakeSlack, served
from tests.support.sending import (
    CHANNEL,
    KINDS,
    MENTION,
    NOW,
    last_message,
    make_secret,
    notifier_context,
    open_test_session,
    send_event,
    slack_config,
    slack_error,
    use_notifier,
    with_slack,
)
from tests.support.slack_markup import acting, mentions_fired, seen, shown
from watcher.config.models import ConsoleConfig, NotifierConfig, WebhookConfig
from watcher.messages import render
from watcher.models import App, Event, MessageRef, Resolution
from watcher.notifiers.base import DeliveryError, Notifier
from watcher.notifiers.console import ConsoleNotifier
from watcher.notifiers.slack.notifier import SlackNotifier
from watcher.notifiers.webhook import WebhookNotifier
from watcher.sanitize.redactor import MASK, Redactor
from watcher.sanitize.secrets import Secret, SecretError


def text(words: str, **style: bool) -> dict[str, Any]:
    """Returns a text of a rich text block."""
    return {"type": "text", "text": words, **({"style": style} if style else {})}


def plain_text(words: str) -> dict[str, Any]:
    """Returns a text object that parses nothing."""
    return {"type": "plain_text", "text": words, "emoji": False}


def _elements(message: dict[str, Any]) -> list[Any]:
    """Returns all elements of the sections and lists of a message."""
    lists = [part for block in message["blocks"] for part in block.get("elements", [])]
    return [
        element
        for part in lists
        for item in part.get("elements", [])
        for element in item.get("elements", [item])
    ]


def test_an_approval_in_blocks() -> None:
    """The message for an approval, whole."""
    slack = FakeSlack()
    event = replace(
        request_event("Approve?", {"amount": 620, "token": MASK}, editable=("amount",)),
        link="https://console.example/r/8c2c?a=1&b=2",
    )
    receipt = with_slack(slack, send_event(event), mention=MENTION)
    waiting = "Waiting since: <!date^1781082939^{date_short_pretty} {time}|2026-06-10T09:15:39Z>"
    link = {
        "type": "link",
        "url": "https://console.example/r/8c2c?a=1&b=2",
        "text": "Open the request",
        "style": {"bold": True},
    }
    amount = [text("amount", bold=True), text(": "), text("620", code=True), text(" ✎ editable", italic=True)]
    token = [text("token", bold=True), text(": "), text(MASK, italic=True)]
    rows = [{"type": "rich_text_section", "elements": row} for row in (amount, token)]
    ids = [
        *(text("User: "), text("customer-7421", code=True)),
        *(text(" · Run: "), text("8c2c", code=True)),
        *(text(" · Session: "), text("3d3e", code=True)),
    ]
    expected = [
        {"type": "header", "text": plain_text("🔔 Approval needed · support")},
        {"type": "section", "text": {"type": "mrkdwn", "text": "<!here> <@U0123> <!subteam^S0456>"}},
        {"type": "rich_text", "elements": [{"type": "rich_text_quote", "elements": [text("Approve?")]}]},
        {
            "type": "rich_text",
            "elements": [{"type": "rich_text_list", "style": "bullet", "elements": rows}],
        },
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [link]}]},
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": ids}]},
        {
            "type": "context",
            "elements": [
                {"type": "mrkdwn", "text": "The run stays blocked until it is answered. ·"},
                {"type": "mrkdwn", "text": waiting},
            ],
        },
    ]
    message = last_message(slack)
    assert expected == message["blocks"]
    assert message["text"].startswith(
        "Approval needed · support: Approve? · amount: 620\n  amount (editable): 620\n"
    )
    assert message["metadata"] == {
        "event_type": "watcher_delivery",
        "event_payload": {"delivery_id": "17", "event_id": "evt_1"},
    }
    assert [message[name] for name in ("mrkdwn", "unfurl_links", "unfurl_media", "link_names")] == [False] * 4
    assert receipt == MessageRef({"channel": CHANNEL, "ts": "1781082940.000001", "configured": CHANNEL})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("event", ALL_EVENTS)
def test_every_event_is_taken(kind: str, event: Event) -> None:
    """No kind of event breaks a limit, through a bot token or a webhook."""
    slack = FakeSlack()
    with_slack(slack, send_event(event), kind)
    assert len(slack.messages) == len(slack.received) == 1


@pytest.mark.parametrize("event", ALL_EVENTS)
def test_who_is_called(event: Event) -> None:
    """What waits and what is broken calls people, what is over does not."""
    slack = FakeSlack()
    with_slack(slack, send_event(event), mention=MENTION)
    loud = {"run.input_requested", "run.input_reminder", "watcher.app_failing", "watcher.notifier_failing"}
    expected = ["!here", "@U0123", "!subteam^S0456"] if event.type in loud else []
    assert expected == mentions_fired(last_message(slack))


def test_a_webhook_gets_what_it_knows() -> None:
    """An incoming webhook gets no channel, thread or metadata, and gives no receipt."""
    slack = FakeSlack()
    assert with_slack(slack, send_event(REMINDED), "webhook") is None
    assert set(last_message(slack)) == {"text", "blocks", "mrkdwn", "unfurl_links", "unfurl_media"}


@pytest.mark.parametrize("event", [REMINDED, DIGEST_REMINDED])
def test_reminders_go_to_the_thread(event: Event) -> None:
    """A reminder goes below the first message, and shows in the channel too."""
    slack = FakeSlack()
    first = with_slack(slack, send_event())
    with_slack(slack, send_event(event, first))
    message = last_message(slack)
    assert (CHANNEL, first.values["ts"], True) == tuple(
        message[key] for key in ("channel", "thread_ts", "reply_broadcast")
    )


@pytest.mark.parametrize(
    ("before", "after", "stays"),
    [
        (CHANNEL, "C0000000002", False),
        (CHANNEL, "general", False),
        ("general", "general", True),
        ("general", CHANNEL, True),
        ("general", "random", False),
    ],
)
def test_another_channel_gets_what_follows(before: str, after: str, *, stays: bool) -> None:
    """After a change of channel reminders and ends go to the new one, and nothing is left open in the old."""
    slack = FakeSlack(channels=(CHANNEL, "C0000000002"), names={"general": CHANNEL, "random": "C0000000002"})
    if after == "general" and before == CHANNEL:
        slack.names["general"] = "C0000000002"
    first = with_slack(slack, send_event(), channel=before)
    reminder = with_slack(slack, send_event(REMINDED, first), channel=after)
    where = CHANNEL if stays else "C0000000002"
    assert (where, stays) == (reminder.values["channel"], "thread_ts" in last_message(slack))
    ended = with_slack(slack, send_event(RESOLVED, first, (reminder,)), channel=after)
    assert ended.values["channel"] == where
    assert [] == [text for text in map(seen, slack.messages.values()) if not text.startswith("💬")]


@pytest.mark.parametrize("code", ["is_archived", "channel_not_found", "not_in_channel"])
def test_a_channel_that_was_left(code: str) -> None:
    """When a thread's channel can no longer be used, the reminder goes to the configured one."""
    slack = FakeSlack(channels=("x",))
    slack.failures.append(code)
    with_slack(slack, send_event(REMINDED, MessageRef({"channel": "C0000000009", "ts": "1.5"})), channel="x")
    assert ("x", False) == (slack.received[-1].json()["channel"], "thread_ts" in slack.received[-1].json())


def test_a_channel_is_mentioned_at_most_once_in_30_seconds() -> None:
    """Messages that follow soon call nobody, whatever notifier sends them, and later ones do."""
    slack = FakeSlack()
    clock = [NOW]

    async def scenario() -> None:
        async with served(slack) as url, open_test_session() as session:
            context = notifier_context(session, clock=lambda: clock[0])
            notifiers = [SlackNotifier(slack_config(url, mention=MENTION), context) for _ in range(2)]
            for at, notifier in ((0, 0), (0, 1), (29.9, 0), (30, 1), (31, 0), (10, 0)):
                clock[0] = NOW + at
                await notifiers[notifier].send(make_delivery())

    asyncio.run(scenario())
    called = [len(mentions_fired(message)) for message in slack.messages.values()]
    assert called == [3, 0, 0, 3, 0, 0]


def test_a_mention_that_was_refused_does_not_count() -> None:
    """A message that Slack did not take called nobody, so that the next attempt does."""
    slack = FakeSlack()
    slack.failures.append("internal_error")

    async def scenario() -> None:
        async with served(slack) as url, open_test_session() as session:
            notifier = SlackNotifier(slack_config(url, mention=MENTION), notifier_context(session))
            with pytest.raises(DeliveryError):
                await notifier.send(make_delivery())
            await notifier.send(make_delivery())

    asyncio.run(scenario())
    assert len(mentions_fired(last_message(slack))) == 3


def test_only_reminders_go_to_a_thread() -> None:
    """What is no reminder stands by itself, whatever was posted before it."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(FAILING))
    with_slack(slack, send_event(RECOVERED, first))
    assert "thread_ts" not in last_message(slack)


def test_json_values_in_code_style() -> None:
    """A parameter of one line stands in code, one of several lines or of parts is preformatted."""
    slack = FakeSlack()
    with_slack(slack, send_event(request_event(params={"lines": [1], "note": "[1]", "code": "a\n  b"})))
    assert text("[1]", code=True) in _elements(last_message(slack))
    blocks = [
        part["elements"]
        for block in last_message(slack)["blocks"]
        for part in block.get("elements", [])
        if part["type"] == "rich_text_preformatted"
    ]
    assert blocks == [[text("[\n  1\n]")], [text("a\n  b")]]


def test_a_digest_in_blocks() -> None:
    """Each request of a digest is a link or names its run, with its kind; the rest is counted."""
    slack = FakeSlack()
    with_slack(slack, send_event(DIGEST))
    link = {"type": "link", "url": "https://console.example/r/8c2c", "text": "“Approve the refund?”"}
    items = [
        [link, text(" — Approval", italic=True)],
        [text("“Which clause?”"), text(" — Feedback, run ", italic=True), text("9d3d", code=True)],
        [text("… 23 more requests", italic=True)],
    ]
    _, lead, listed, hint, context = last_message(slack)["blocks"]
    assert lead["elements"][0]["elements"] == [text("Waiting longest:")]
    (where,) = hint["elements"][0]["elements"]
    assert "the run with the id beside a request." in where["text"]
    assert items == [item["elements"] for item in listed["elements"][0]["elements"]]
    date = "<!date^1781082939^{date_short_pretty} {time}|2026-06-10T09:15:39Z>"
    assert context["elements"][1:] == [{"type": "mrkdwn", "text": f"Oldest waiting since: {date}"}]


def test_apps_that_fail_together_in_blocks() -> None:
    """As many apps are named as fit into a message, each with its failure, and the others are counted."""
    slack = FakeSlack()
    failures = tuple((App(f"app-{number}", "https://x.example"), FAILURE) for number in range(500))
    with_slack(slack, send_event(replace(APPS_FAILING, failures=failures)))
    _, _, _, listed, _ = last_message(slack)["blocks"]
    *named, more = [item["elements"] for item in listed["elements"][0]["elements"]]
    assert [text(f"“app-{len(named) - 1} - HTTP 401 unauthorized: invalid key”")] == named[-1]
    assert [text(f"… {500 - len(named)} more apps", italic=True)] == more
    assert 60 < len(named) < 500


def test_signs() -> None:
    """The header of every tone begins with a sign of its own, so that what is over looks so in a list."""
    gone = replace(RESOLVED, resolution=Resolution("gone", None, RESOLVED.at))
    shown = {}
    for event in (REQUESTED, REMINDED, RESOLVED, gone, FAILING, RECOVERED, TEST):
        slack = FakeSlack()
        with_slack(slack, send_event(event))
        shown[render(event).tone] = seen(last_message(slack))[0]
    assert shown == {
        "urgent": "🔔",
        "reminder": "⏰",
        "answered": "💬",
        "closed": "⚪",
        "trouble": "🔴",
        "good": "🟢",
        "info": "🔵",
    }


@pytest.mark.parametrize("code", ["thread_not_found", "cannot_reply_to_message", "message_not_found"])
def test_a_thread_that_is_gone(code: str) -> None:
    """Without the thread the message goes to the channel."""
    slack = FakeSlack()
    slack.failures.append(code)
    with_slack(slack, send_event(REMINDED, MessageRef({"channel": CHANNEL, "ts": "1.5"})))
    assert "thread_ts" not in last_message(slack)


def test_a_first_message_that_was_deleted() -> None:
    """When a person has deleted the first message, the reminder goes to the channel and calls anew."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(), mention=MENTION)
    slack.delete(CHANNEL, first.values["ts"])
    receipt = with_slack(slack, send_event(REMINDED, first), mention=MENTION)
    assert "thread_ts" not in last_message(slack)
    called = [(ts, who) for _, ts, who in slack.notified]
    assert called == [
        (sent.values["ts"], who) for sent in (first, receipt) for who in ("!here", "@U0123", "!subteam^S0456")
    ]


def test_metadata_that_is_not_allowed() -> None:
    """Where only an app may add metadata, the message goes out without."""
    slack = FakeSlack()
    slack.metadata_allowed = False
    with_slack(slack, send_event())
    assert ("metadata" in last_message(slack), "blocks" in last_message(slack)) == (False, True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "code",
    [
        "invalid_blocks",
        "invalid_blocks_format",
        "msg_blocks_too_long",
        "msg_too_long",
        "no_text",
        "invalid_attachments",
        "invalid_payload",
        "invalid_arguments",
        "too_many_attachments",
    ],
)
def test_blocks_that_are_refused(kind: str, code: str) -> None:
    """An alert that Slack takes in no blocks goes out as inert text in the same send, mentions kept."""
    slack = FakeSlack()
    slack.failures.append(code)
    event = request_event("<!channel> *bold*\n> quote https://evil.example")
    with_slack(slack, send_event(event), kind, mention=MENTION)
    message = last_message(slack)
    assert "blocks" not in message
    assert acting(message) == ["!here", "@U0123", "!subteam^S0456"]
    assert (
        "\n\u203a &lt;!channel&gt; \u2217bold\u2217\n\u203a &gt; quote https\ua789//evil\u2024example\n"
        in message["text"]
    )
    assert len(slack.received) == 2


@pytest.mark.parametrize("code", ["metadata_too_large", "invalid_metadata_format"])
def test_metadata_that_is_refused(code: str) -> None:
    """Without the metadata the blocks stay."""
    slack = FakeSlack()
    slack.failures.append(code)
    with_slack(slack, send_event())
    assert ("metadata" in last_message(slack), "blocks" in last_message(slack)) == (False, True)


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_refused(kind: str) -> None:
    """When no form is taken, the send fails after a few tries instead of going round."""
    slack = FakeSlack()
    slack.failures.extend(["invalid_blocks"] * 10)
    assert "invalid_blocks" in str(slack_error(slack, kind))
    assert len(slack.received) == (3 if kind == "bot" else 2)


def test_check() -> None:
    """The check says whose token it is, and what a webhook needs to be tried."""
    assert with_slack(FakeSlack(), lambda notifier: notifier.check()) == "bot watcher in team Acme"
    expected = "configured; use --send to test it"
    assert expected == with_slack(FakeSlack(), lambda notifier: notifier.check(), "webhook")
    with pytest.raises(DeliveryError, match="invalid_auth"):
        with_slack(FakeSlack(), lambda notifier: notifier.check(), token="wrong-token")


def test_a_rotated_token(tmp_path: Path) -> None:
    """The token is read afresh at each send, and a missing file fails it."""
    slack = FakeSlack()
    file = tmp_path / "token"

    async def scenario() -> None:
        async with served(slack) as url, open_test_session() as session:
            token = Secret("notifiers.approvals.bot_token", Redactor(), file=file)
            config = slack_config(url).model_copy(update={"bot_token": token})
            notifier = SlackNotifier(config, notifier_context(session))
            for slack.token in ("xoxb-first", "xoxb-second"):
                file.write_text(slack.token)
                await notifier.send(make_delivery())
            file.unlink()
            with pytest.raises(SecretError, match="bot_token"):
                await notifier.send(make_delivery())

    asyncio.run(scenario())
    assert len(slack.messages) == 2


def test_proxy_variables_are_the_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not take a proxy from the environment past NO_PROXY, which only the session knows."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    slack = FakeSlack()
    with_slack(slack, send_event())
    assert len(slack.messages) == 1


def test_pace() -> None:
    """One message at a time and per second, for people."""

    async def look(notifier: Notifier) -> tuple[int, float, bool]:
        return notifier.max_concurrency, notifier.min_interval, notifier.for_people

    assert with_slack(FakeSlack(), look) == (1, 1.0, True)


def test_each_kind_is_built() -> None:
    """Each section of the configuration makes its own kind of notifier, and an unknown one none."""

    async def kind(notifier: Notifier) -> type:
        return type(notifier)

    sections = (
        slack_config("http://127.0.0.1:1"),
        ConsoleConfig(name="console"),
        WebhookConfig(name="audit", url=make_secret("http://127.0.0.1:1/")),
    )
    built = [asyncio.run(use_notifier(config, kind)) for config in sections]
    assert built == [SlackNotifier, ConsoleNotifier, WebhookNotifier]
    with pytest.raises(TypeError, match="NotifierConfig"):
        asyncio.run(use_notifier(NotifierConfig(name="x"), kind))


def test_slack_sdk_is_imported_for_slack_only() -> None:
    """Who configures no Slack does not pay for its client, nor for rich."""
    code = "import sys, watcher.notifiers as n; sys.exit('slack_sdk' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_to_do_is_shown() -> None:
    """An app that fails lastingly comes with what to mend."""
    slack = FakeSlack()
    with_slack(slack, send_event(FAILING))
    assert "What to do: \nThe access key is missing" in shown(last_message(slack))


def test_an_answer_that_is_compressed_unasked() -> None:
    """A proxy that compresses all the same is understood: else the message would be posted anew for ever."""

    class Compressing(FakeSlack):
        async def handle(self, request: web.Request) -> web.StreamResponse:
            answer = await super().handle(request)
            answer.enable_compression(web.ContentCoding.gzip)
            return answer

    slack = Compressing()
    assert with_slack(slack, send_event()) is not None
    assert len(slack.messages) == 1
