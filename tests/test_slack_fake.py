"""The fake refuses what Slack refuses and keeps what Slack keeps, or the notifier's tests prove nothing."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.fakes import FakeSlack, Reply, served
from tests.slack_rules import refused
from tests.slack_samples import SAMPLES, said

CHANNEL = "C0123456789"
OTHER = "C0000000002"


def plain(words: str) -> dict[str, Any]:
    """Returns a text object that parses nothing."""
    return {"type": "plain_text", "text": words, "emoji": False}


def section(words: str = "x", **more: Any) -> dict[str, Any]:
    """Returns a section of plain text."""
    return {"type": "section", "text": plain(words), **more}


def button(**more: Any) -> dict[str, Any]:
    """Returns a button that leads somewhere."""
    return {"type": "button", "text": plain("Open"), "url": "https://x.example", **more}


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    """Returns a row of buttons."""
    return {"type": "actions", "elements": list(elements)}


def rich(*elements: dict[str, Any], kind: str = "rich_text_section", **more: Any) -> dict[str, Any]:
    """Returns a rich text of one part."""
    return {"type": "rich_text", "elements": [{"type": kind, "elements": list(elements), **more}]}


def text(words: str = "x", **more: Any) -> dict[str, Any]:
    """Returns a text of a rich text."""
    return {"type": "text", "text": words, **more}


TAKEN: dict[str, list[dict[str, Any]]] = {
    "a section": [section()],
    "the most blocks": [section()] * 50,
    "the longest texts": [section("x" * 3000), {"type": "header", "text": plain("x" * 150)}],
    "fields": [{"type": "section", "fields": [plain("x" * 100)] * 10}],
    "an accessory": [section(accessory=button())],
    "a context": [{"type": "context", "elements": [plain("x")] * 10}],
    "a divider": [{"type": "divider"}],
    "buttons": [actions(button(action_id="a"), button(action_id="b", style="danger"))],
    "the longest URL": [rich({"type": "link", "url": "https://" + "x" * 2992})],
    "an empty section of rich text": [rich()],
    "every element": [
        rich(
            text(style={"bold": True, "code": False}),
            {"type": "link", "url": "https://x.example", "text": "x", "style": {"italic": True}},
            {"type": "emoji", "name": "bell"},
            {"type": "user", "user_id": "U1"},
            {"type": "usergroup", "usergroup_id": "S1"},
            {"type": "channel", "channel_id": "C1"},
            {"type": "broadcast", "range": "here"},
            {"type": "date", "timestamp": 1, "format": "{date}", "fallback": "x"},
        )
    ],
    "a quote": [rich(text(), kind="rich_text_quote", border=1)],
    "preformatted": [rich(text(), kind="rich_text_preformatted")],
    "a list": [
        rich(
            {"type": "rich_text_section", "elements": [text()]},
            kind="rich_text_list",
            style="bullet",
            indent=1,
        )
    ],
    "two ids": [section(block_id="a"), section(block_id="b")],
}

REFUSED: dict[str, list[Any]] = {
    "too many blocks": [section()] * 51,
    "a long text": [section("x" * 3001)],
    "a long text in UTF-16": [section("😀" * 1501)],
    "an empty text": [section("")],
    "no text": [{"type": "section"}],
    "a bare string": [{"type": "section", "text": "x"}],
    "an unknown block": [{"type": "table"}],
    "no type": [{"text": plain("x")}],
    "an unknown field": [section(color="red")],
    "null": [{"type": "section", "text": plain("x"), "accessory": None}],
    "a long header": [{"type": "header", "text": plain("x" * 151)}],
    "markup in a header": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}],
    "verbatim plain text": [{"type": "header", "text": {**plain("x"), "verbatim": True}}],
    "too many fields": [{"type": "section", "fields": [plain("x")] * 11}],
    "a long field": [{"type": "section", "fields": [plain("x" * 2001)]}],
    "no fields": [{"type": "section", "fields": []}],
    "too many in a context": [{"type": "context", "elements": [plain("x")] * 11}],
    "an empty context": [{"type": "context", "elements": []}],
    "rich text in a context": [{"type": "context", "elements": [text()]}],
    "the same block_id": [section(block_id="a"), section(block_id="a")],
    "a long block_id": [section(block_id="a" * 256)],
    "the same action_id": [actions(button(action_id="a")), actions(button(action_id="a"))],
    "too many buttons": [actions(*[button()] * 26)],
    "a long button": [actions({"type": "button", "text": plain("x" * 76)})],
    "a long URL of a button": [actions(button(url="https://" + "x" * 2993))],
    "an unknown style of a button": [actions(button(style="green"))],
    "an unknown action": [actions({"type": "datepicker"})],
    "an empty rich text": [{"type": "rich_text", "elements": []}],
    "an unknown part": [rich(text(), kind="rich_text_heading")],
    "an unknown element": [rich({"type": "bold", "text": "x"})],
    "an empty element": [rich(text(""))],
    "a long element": [rich(text("x" * 3001))],
    "an unknown text style": [rich(text(style={"red": True}))],
    "a style that is no yes or no": [rich(text(style={"bold": "yes"}))],
    "a style that is a word": [rich(text(style="bold"))],
    "markup in preformatted": [rich({"type": "user", "user_id": "U1"}, kind="rich_text_preformatted")],
    "a list of texts": [rich(text(), kind="rich_text_list", style="bullet")],
    "a list without a style": [rich(kind="rich_text_list")],
    "a list too deep": [rich(kind="rich_text_list", style="bullet", indent=9)],
    "a link without a URL": [rich({"type": "link", "text": "x"})],
    "a link to nowhere": [rich({"type": "link", "url": "here", "text": "x"})],
    "a long link": [rich({"type": "link", "url": "https://" + "x" * 2993})],
    "an unknown broadcast": [rich({"type": "broadcast", "range": "all"})],
    "half a second": [rich({"type": "date", "timestamp": 1.5, "format": "{date}"})],
}

GOOD_METADATA: dict[str, Any] = {"event_type": "delivery_sent", "event_payload": {"id": "1", "list": ["a"]}}


@pytest.mark.parametrize("blocks", TAKEN.values(), ids=TAKEN)
def test_what_slack_takes(blocks: list[dict[str, Any]]) -> None:
    """What Slack's reference allows is not refused."""
    assert refused({"text": "x", "blocks": blocks}) == ""


@pytest.mark.parametrize("blocks", REFUSED.values(), ids=REFUSED)
def test_what_slack_refuses(blocks: list[dict[str, Any]]) -> None:
    """Each limit and each rule of form of Slack's reference is kept."""
    assert refused({"text": "x", "blocks": blocks}) == "invalid_blocks"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, "no_text"),
        ({"text": "", "blocks": []}, "no_text"),
        ({"text": "x" * 4000}, ""),
        ({"text": "x" * 4001}, "msg_too_long"),
        ({"text": "x", "blocks": {"type": "divider"}}, "invalid_blocks_format"),
        ({"text": "x", "blocks": ["x"]}, "invalid_blocks_format"),
        ({"text": "x", "blocks": [section("x" * 2900)] * 5}, "msg_blocks_too_long"),
        ({"text": "x" * 11_000, "blocks": [section("x" * 2900)]}, "msg_blocks_too_long"),
        ({"attachments": [{"color": "#f00", "blocks": [section()]}]}, ""),
        ({"attachments": [{"blocks": [section("")]}]}, "invalid_attachments"),
        ({"attachments": [{"blocks": [section()]}] * 101}, "too_many_attachments"),
    ],
)
def test_messages_as_a_whole(payload: dict[str, Any], expected: str) -> None:
    """Text, blocks and attachments together have limits of their own."""
    assert expected == refused(payload)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (GOOD_METADATA, ""),
        (None, "invalid_metadata_format"),
        ({"event_type": "x"}, "invalid_metadata_format"),
        ({**GOOD_METADATA, "more": 1}, "invalid_metadata_format"),
        ({**GOOD_METADATA, "event_type": "two words"}, "invalid_metadata_format"),
        ({**GOOD_METADATA, "event_payload": []}, "invalid_metadata_schema"),
        ({**GOOD_METADATA, "event_payload": {"id": None}}, "invalid_metadata_schema"),
        ({**GOOD_METADATA, "event_payload": {"id": "x" * 8000}}, "metadata_too_large"),
    ],
)
def test_metadata(metadata: object, expected: str) -> None:
    """Metadata has a form and a size."""
    assert expected == refused({"text": "x", "metadata": metadata})


@dataclass(frozen=True, slots=True)
class Answered:
    """What the fake answered."""

    status: int
    headers: dict[str, str]
    body: Any


def ask(slack: FakeSlack, *calls: tuple[str, object], token: str | None = None) -> list[Answered]:
    """Makes calls one after the other, each a method, or a path that begins with a slash, and a body."""

    async def scenario() -> list[Answered]:
        answers = []
        async with served(slack) as url, aiohttp.ClientSession() as session:
            for path, body in calls:
                address = f"{url}{path}" if path.startswith("/") else f"{url}/api/{path}"
                headers = {"Authorization": f"Bearer {token or slack.token}"} if token != "" else {}
                data = body if isinstance(body, str) else json.dumps(body)
                async with session.post(address, data=data, headers=headers) as response:
                    said = await response.text()
                    is_json = response.content_type == "application/json"
                    answers.append(
                        Answered(
                            response.status, dict(response.headers), json.loads(said) if is_json else said
                        )
                    )
        return answers

    return asyncio.run(scenario())


def post(words: str = "x", **more: Any) -> tuple[str, dict[str, Any]]:
    """Returns the call that posts a message."""
    return "chat.postMessage", {"channel": CHANNEL, "text": words, **more}


def update(ts: str, words: str = "y", **more: Any) -> tuple[str, dict[str, Any]]:
    """Returns the call that edits one."""
    return "chat.update", {"channel": CHANNEL, "ts": ts, "text": words, **more}


def error(answer: Answered) -> str:
    """Returns the error code of an answer of the Web API, empty if all was well."""
    assert answer.body["ok"] == ("error" not in answer.body)
    return str(answer.body.get("error", ""))


def test_posting() -> None:
    """A message is kept by channel and a ts that never repeats; names are found, other channels are not."""
    slack = FakeSlack(names={"approvals": CHANNEL})
    answers = ask(
        slack,
        post(),
        post(channel="#approvals"),
        post(channel="elsewhere"),
        post("", blocks=[section("")]),
    )
    assert ["", "", "channel_not_found", "invalid_blocks"] == [error(answer) for answer in answers]
    assert [answer.body["channel"] for answer in answers[:2]] == [CHANNEL, CHANNEL]
    assert len(slack.messages) == len({answer.body["ts"] for answer in answers[:2]}) == 2
    assert answers[3].body["response_metadata"]["messages"] == [
        "[ERROR] must be more than 0 characters [/blocks/0]"
    ]


def test_who_may_not_post() -> None:
    """No token, a wrong one, an archived channel, and metadata from something that is no app are errors."""
    slack = FakeSlack()
    assert error(ask(slack, post(), token="")[0]) == "not_authed"
    assert error(ask(slack, post(), token="xoxb-other")[0]) == "invalid_auth"
    slack.metadata_allowed = False
    assert error(ask(slack, post(metadata=GOOD_METADATA))[0]) == "metadata_must_be_sent_from_app"
    slack.archived.add(CHANNEL)
    assert error(ask(slack, post())[0]) == "is_archived"
    assert error(ask(slack, ("chat.postMessage", "{"))[0]) == "invalid_json"
    assert error(ask(slack, ("chat.shout", {}))[0]) == "unknown_method"
    assert slack.messages == {}


def test_editing() -> None:
    """An edit replaces text and blocks, keeps thread and metadata, is remembered, and calls nobody."""
    slack = FakeSlack()
    (first,) = ask(slack, post("<!here>", blocks=[section()], metadata=GOOD_METADATA))
    ts = first.body["ts"]
    (answer,) = ask(slack, update(ts, "<!channel> y", mrkdwn=False))
    assert (answer.body["ok"], answer.body["ts"], answer.body["channel"]) == (True, ts, CHANNEL)
    now = slack.messages[CHANNEL, ts]
    assert (now["text"], "blocks" in now, now["metadata"], "mrkdwn" in now) == (
        "<!channel> y", False, GOOD_METADATA, False,
    )  # fmt: skip
    assert [version["text"] for version in slack.history[CHANNEL, ts]] == ["<!here>", "<!channel> y"]
    assert slack.notified == []


def test_posting_calls_people() -> None:
    """Whom a message calls is noted when it is posted; with blocks the text calls nobody."""
    slack = FakeSlack()
    answers = ask(
        slack, post("<!here> <@U1>"), post("<!here>", blocks=[rich({"type": "user", "user_id": "U2"})])
    )
    first, second = (answer.body["ts"] for answer in answers)
    assert slack.notified == [(CHANNEL, first, "!here"), (CHANNEL, first, "@U1"), (CHANNEL, second, "@U2")]


def test_edits_that_are_refused() -> None:
    """What is gone, too old, somebody else's or not alone cannot be edited, and an edit has limits too."""
    slack = FakeSlack(channels=(CHANNEL, OTHER), names={"approvals": CHANNEL})
    ts = ask(slack, post())[0].body["ts"]
    calls = (
        update("1.5"),
        update(ts, channel=OTHER),
        update(ts, channel="approvals"),
        update(ts, "x" * 4001),
        update(ts, blocks=[section("")]),
        update(ts, reply_broadcast=True),
    )
    assert [
        "message_not_found",
        "message_not_found",
        "channel_not_found",
        "msg_too_long",
        "invalid_blocks",
        "no_dual_broadcast_content_update",
    ] == [error(answer) for answer in ask(slack, *calls)]
    for code in ("cant_update_message", "is_inactive"):
        slack.uneditable[CHANNEL, ts] = code
        assert error(ask(slack, update(ts))[0]) == code
    slack.uneditable.clear()
    slack.edit_window = 60
    slack.now += 61
    assert error(ask(slack, update(ts))[0]) == "edit_window_closed"
    slack.delete(CHANNEL, ts)
    assert error(ask(slack, update(ts))[0]) == "message_not_found"
    assert len(slack.history[CHANNEL, ts]) == 1


def test_threads() -> None:
    """A reply needs a message above it that is there and is no reply itself."""
    slack = FakeSlack()
    ts = ask(slack, post())[0].body["ts"]
    reply, unknown = ask(slack, post(thread_ts=ts, reply_broadcast=True), post(thread_ts="1.5"))
    assert (error(reply), error(unknown)) == ("", "thread_not_found")
    assert error(ask(slack, post(thread_ts=reply.body["ts"]))[0]) == "cannot_reply_to_message"
    slack.delete(CHANNEL, ts)
    assert error(ask(slack, post(thread_ts=ts))[0]) == "thread_not_found"


def test_pace() -> None:
    """More than the pace after a burst is 429 with the wait, per channel; after the wait it is taken."""
    now = [0.0]
    slack = FakeSlack(channels=(CHANNEL, OTHER), pace=1.0, clock=lambda: now[0])
    answers = ask(slack, *[post()] * 4, post(channel=OTHER))
    assert [200, 200, 200, 429, 200] == [answer.status for answer in answers]
    assert (answers[3].headers["Retry-After"], answers[3].body) == (
        "1",
        {"ok": False, "error": "ratelimited"},
    )
    now[0] = 1.0
    assert [200, 429] == [answer.status for answer in ask(slack, post(), post())]
    assert len(slack.messages) == 5


def test_pace_of_edits_and_webhooks() -> None:
    """Edits have a tier of their own, and a webhook says in its own words that it was too fast."""
    slack = FakeSlack(pace=1.0, clock=lambda: 0.0)
    ts = ask(slack, post())[0].body["ts"]
    answers = ask(slack, *[update(ts)] * 51)
    assert [200] * 50 + [429] == [answer.status for answer in answers]
    answers = ask(slack, *[("/services/T0/B0/x", {"text": "x"})] * 4)
    assert [(200, "ok")] * 3 + [(429, "rate_limited")] == [(answer.status, answer.body) for answer in answers]
    assert answers[3].headers["Retry-After"] == "1"


def test_webhooks() -> None:
    """An incoming webhook answers in plain words, and passes over what it does not know."""
    slack = FakeSlack()
    hook = "/services/T0/B0/x"
    bodies: list[object] = [
        {"text": "x", "channel": "elsewhere"},
        {},
        {"text": "x", "blocks": [{}]},
        "{",
        "[]",
    ]
    assert [
        (200, "ok"),
        (400, "no_text"),
        (400, "invalid_blocks"),
        (400, "invalid_payload"),
        (400, "invalid_payload"),
    ] == [(answer.status, answer.body) for answer in ask(slack, *[(hook, body) for body in bodies], token="")]
    assert [channel for channel, _ in slack.messages] == ["webhook"]


def test_answers_that_are_told_before() -> None:
    """A prepared answer or code comes once, before anything is looked at, and then all is as always."""
    slack = FakeSlack()
    slack.failures.append("fatal_error")
    slack.replies.append(Reply(500, "broken"))
    answers = ask(slack, post(), post(), post())
    assert (answers[0].status, error(answers[1]), error(answers[2])) == (500, "fatal_error", "")
    assert len(slack.messages) == 1


def test_a_lost_answer() -> None:
    """A dropped answer is lost after the message was taken."""
    slack = FakeSlack()
    slack.replies.append(Reply(drop=True))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        ask(slack, post())
    assert len(slack.messages) == 1


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_every_sample_is_taken_at_the_first_try(sample: Any) -> None:
    """Nothing that the watcher says on the occasions that we know is refused."""
    slack = asyncio.run(said(sample))
    assert len(slack.received) == sum(map(len, slack.history.values()))
