"""The fake refuses what Slack refuses and keeps what Slack keeps, or the notifier's tests prove nothing."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.support.fakes import FakeSlack, Reply, served
from tests.support.slack_samples import SAMPLES, said
from tests.unit.support.test_slack_rules import GOOD_METADATA, rich, section

CHANNEL = "C0123456789"
OTHER = "C0000000002"


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
    """An edit replaces what it gives, keeps thread and metadata, is remembered, and calls nobody."""
    slack = FakeSlack()
    (first,) = ask(slack, post("<!here>", blocks=[section()], metadata=GOOD_METADATA))
    ts = first.body["ts"]
    ask(slack, update(ts, "<!channel> y", mrkdwn=False))
    assert slack.messages[CHANNEL, ts]["blocks"] == [section()]
    (answer,) = ask(slack, update(ts, "<!channel> y", blocks=[]))
    assert (answer.body["ok"], answer.body["ts"], answer.body["channel"]) == (True, ts, CHANNEL)
    now = slack.messages[CHANNEL, ts]
    assert (now["text"], now["blocks"], now["metadata"], "mrkdwn" in now) == (
        "<!channel> y", [], GOOD_METADATA, False,
    )  # fmt: skip
    assert [version["text"] for version in slack.history[CHANNEL, ts]] == ["<!here>", *["<!channel> y"] * 2]
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
