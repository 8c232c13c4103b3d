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
    DIGEST,
    DIGEST_REMINDED,
    FAILING,
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
    open_test_session,
    send_event,
    slack_config,
    slack_error,
    use_notifier,
    with_slack,
)
from tests.support.slack_markup import acting, mentions_fired, shown
from watcher.config.models import ConsoleConfig, NotifierConfig, WebhookConfig
from watcher.messages import render
from watcher.models import Event, MessageRef, Resolution
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
    waiting = "Waiting since: <!date^1781082939^{date_short_pretty} {time}|2026-06-10T09:15:39Z> ·"
    link = {
        "type": "link",
        "url": "https://console.example/r/8c2c?a=1&b=2",
        "text": "Open the request",
        "style": {"bold": True},
    }
    amount = [text("amount", bold=True), text(": "), text("620"), text(" ✎ editable", italic=True)]
    token = [text("token", bold=True), text(": "), text(MASK, italic=True)]
    rows = [{"type": "rich_text_section", "elements": row} for row in (amount, token)]
    expected = [
        {"type": "header", "text": plain_text("🔔 Approval needed · support")},
        {"type": "section", "text": {"type": "mrkdwn", "text": "<!here> <@U0123> <!subteam^S0456>"}},
        {"type": "rich_text", "elements": [{"type": "rich_text_quote", "elements": [text("Approve?")]}]},
        {
            "type": "rich_text",
            "elements": [{"type": "rich_text_list", "style": "bullet", "elements": rows}],
        },
        {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [link]}]},
        {
            "type": "context",
            "elements": [
                {"type": "mrkdwn", "text": waiting},
                plain_text("User: customer-7421 ·"),
                plain_text("Run: 8c2c ·"),
                plain_text("Session: 3d3e"),
            ],
        },
    ]
    message = last_message(slack)
    assert expected == message["blocks"]
    assert message["text"].startswith("Approval needed · support: Approve?\n  amount (editable): 620\n")
    assert message["metadata"] == {
        "event_type": "watcher_delivery",
        "event_payload": {"delivery_id": "17", "event_id": "evt_1"},
    }
    assert [message[name] for name in ("mrkdwn", "unfurl_links", "unfurl_media", "link_names")] == [False] * 4
    assert receipt == MessageRef({"channel": CHANNEL, "ts": "1781082940.000001"})


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
    """A reminder goes below the first message, wherever that was posted, and shows in the channel too."""
    slack = FakeSlack()
    first = with_slack(slack, send_event())
    with_slack(slack, send_event(event, first), channel="elsewhere")
    message = last_message(slack)
    assert (CHANNEL, first.values["ts"], True) == tuple(
        message[key] for key in ("channel", "thread_ts", "reply_broadcast")
    )


def test_only_reminders_go_to_a_thread() -> None:
    """What is no reminder stands by itself, whatever was posted before it."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(FAILING))
    with_slack(slack, send_event(RECOVERED, first))
    assert "thread_ts" not in last_message(slack)


def test_json_values_in_code_style() -> None:
    """A parameter that is a list or a map looks like code, and only that."""
    slack = FakeSlack()
    with_slack(slack, send_event(request_event(params={"lines": [1, 2], "note": "[1, 2]"})))
    assert text("[1, 2]", code=True) in _elements(last_message(slack))
    assert text("[1, 2]") in _elements(last_message(slack))


def test_a_digest_in_blocks() -> None:
    """Each request of a digest is a link or names its run, with its kind; the rest is counted."""
    slack = FakeSlack()
    with_slack(slack, send_event(DIGEST))
    link = {"type": "link", "url": "https://console.example/r/8c2c", "text": "Approve the refund?"}
    items = [
        [link, text(" — Approval", italic=True)],
        [text("Which clause?"), text(" — Feedback, run ", italic=True), text("9d3d", code=True)],
        [text("… 23 more requests", italic=True)],
    ]
    _, lead, listed, context = last_message(slack)["blocks"]
    assert lead["elements"][0]["elements"] == [text("Waiting longest:")]
    assert items == [item["elements"] for item in listed["elements"][0]["elements"]]
    date = "<!date^1781082939^{date_short_pretty} {time}|2026-06-10T09:15:39Z>"
    assert context["elements"] == [{"type": "mrkdwn", "text": f"Oldest waiting since: {date}"}]


def test_signs() -> None:
    """The header of every tone begins with a sign of its own, so that what is over looks so in a list."""
    gone = replace(RESOLVED, resolution=Resolution("gone", None, RESOLVED.at))
    shown = {}
    for event in (REQUESTED, REMINDED, RESOLVED, gone, FAILING, RECOVERED, TEST):
        slack = FakeSlack()
        with_slack(slack, send_event(event))
        shown[render(event).tone] = last_message(slack)["blocks"][0]["text"]["text"][0]
    assert shown == {
        "urgent": "🔔",
        "reminder": "⏰",
        "done": "✅",
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
        "\n  &lt;!channel&gt; \u2217bold\u2217\n  \u203a quote https\ua789//evil\u2024example\n"
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
            notifier = SlackNotifier(config, session=session, request_timeout=5, clock=lambda: NOW)
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
