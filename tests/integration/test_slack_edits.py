"""What has ended is edited in Slack where a bot token allows it, and told afresh where it does not."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.events import (
    DIGEST,
    DIGEST_ENDED,
    DIGEST_PARTLY_ENDED,
    DIGEST_REMINDED,
    REMINDED,
    RESOLVED,
    request_event,
)
from tests.support.fakes import FakeSlack, Reply
from tests.support.sending import (
    CHANNEL,
    JSON_TYPE,
    MENTION,
    last_message,
    send_event,
    slack_error,
    with_slack,
)
from tests.support.slack_markup import acting, mentions_fired, seen
from watcher.models import Event, MessageRef, Resolution

ASKED_WORDS = "Approve the refund?"
ASKED = request_event(ASKED_WORDS, {"amount": 620, "note": "twice"}, editable=("amount",))
ENDED = replace(RESOLVED, request=ASKED.request)
POSTED, UPDATED = "/api/chat.postMessage", "/api/chat.update"


def told(
    slack: FakeSlack, opening: Event = ASKED, reminding: Event = REMINDED
) -> tuple[MessageRef, MessageRef]:
    """Lets the notifier ask and remind, and returns the receipts of both."""
    first = with_slack(slack, send_event(opening), mention=MENTION)
    return first, with_slack(slack, send_event(reminding, first), mention=MENTION)


def now(slack: FakeSlack, receipt: MessageRef) -> dict[str, Any]:
    """Returns the message of a receipt as it is now."""
    return slack.messages[receipt.values["channel"], receipt.values["ts"]]


def paths(slack: FakeSlack) -> list[str]:
    """Returns what was called, in order."""
    return [call.path for call in slack.received]


def test_the_first_message_is_edited() -> None:
    """Question and first parameters stay in a line, how it ended and how long it took in one before it."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(ASKED), mention=MENTION)
    called = list(slack.notified)
    assert with_slack(slack, send_event(ENDED, first), mention=MENTION) == first
    message = now(slack, first)
    assert seen(message) == (
        "💬 Approval answered · support — after 5 min 12 s; the run has completed.\n"
        "Approve the refund? · amount: 620, note: twice"
    )
    assert mentions_fired(message) == []
    assert called == slack.notified
    assert paths(slack) == [POSTED, UPDATED]
    assert "mrkdwn" not in slack.received[1].json()


def test_reminders_are_edited_too() -> None:
    """A reminder of what has ended says so in short, in its thread and in the channel, and calls nobody."""
    slack = FakeSlack()
    first, reminder = told(slack)
    with_slack(slack, send_event(ENDED, first, (reminder,)), mention=MENTION)
    message = now(slack, reminder)
    assert seen(message) == ("💬 Approval answered · support — after 5 min 12 s; the run has completed.")
    assert (message["thread_ts"], message["reply_broadcast"]) == (first.values["ts"], True)
    assert mentions_fired(message) == []
    assert seen(now(slack, first)).startswith("💬 Approval answered · support")
    assert paths(slack) == [POSTED, POSTED, UPDATED, UPDATED]


@pytest.mark.parametrize(
    "code",
    [
        "message_not_found",
        "cant_update_message",
        "edit_window_closed",
        "is_inactive",
        "cant_broadcast_message",
        "update_failed",
        "channel_not_found",
        "not_in_channel",
        "is_archived",
        "channel_is_archived",
    ],
)
def test_what_cannot_be_edited_is_told_afresh(code: str) -> None:
    """Whatever keeps the first message from being edited, a new one tells how it ended, and calls nobody."""
    slack = FakeSlack()
    first, reminder = told(slack)
    slack.uneditable[CHANNEL, first.values["ts"]] = code
    called = list(slack.notified)
    receipt = with_slack(slack, send_event(ENDED, first, (reminder,)), mention=MENTION)
    assert receipt.values["ts"] not in {first.values["ts"], reminder.values["ts"]}
    message = now(slack, receipt)
    assert "thread_ts" not in message
    assert seen(message).startswith("💬 Approval answered · support — after 5 min 12 s")
    assert called == slack.notified
    assert seen(now(slack, reminder)).startswith("💬")


@pytest.mark.parametrize(
    "code", ["restricted_action", "access_denied", "team_access_not_granted", "no_permission", "a_new_code"]
)
def test_what_cannot_be_edited_in_the_former_channel(code: str) -> None:
    """After a change of channel the end is told in the new one, though the old one allows no edit."""
    slack = FakeSlack(channels=(CHANNEL, "C0000000002"))
    first, reminder = told(slack)
    for receipt in (first, reminder):
        slack.uneditable[CHANNEL, receipt.values["ts"]] = code
    ended = with_slack(slack, send_event(ENDED, first, (reminder,)), channel="C0000000002")
    assert ("C0000000002", None) == (ended.values["channel"], now(slack, ended).get("thread_ts"))
    assert seen(now(slack, ended)).startswith("💬 Approval answered · support — after 5 min 12 s")


def test_a_first_message_that_was_deleted() -> None:
    """When a person has deleted the first message, the end is told in a new one."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(ASKED))
    slack.delete(CHANNEL, first.values["ts"])
    receipt = with_slack(slack, send_event(ENDED, first), mention=MENTION)
    assert receipt != first
    assert seen(now(slack, receipt)).startswith("💬 Approval answered · support")
    assert mentions_fired(now(slack, receipt)) == []


def test_a_message_that_is_too_old() -> None:
    """Where a workspace allows edits for a while only, the end is told in a new message."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(ASKED))
    slack.edit_window = 60
    slack.now += 61
    assert with_slack(slack, send_event(ENDED, first)) != first


def test_a_reminder_that_was_deleted() -> None:
    """A reminder that is gone keeps nothing from being told, and is not told anew."""
    slack = FakeSlack()
    first, reminder = told(slack)
    slack.delete(CHANNEL, reminder.values["ts"])
    assert with_slack(slack, send_event(ENDED, first, (reminder,))) == first
    assert len(slack.messages) == 1


@pytest.mark.parametrize("first", [None, MessageRef({}), MessageRef({"channel": CHANNEL})])
def test_a_first_message_that_is_not_known(first: MessageRef | None) -> None:
    """Without knowing where the first message is the end is told afresh, although a reminder is known."""
    slack = FakeSlack()
    _, reminder = told(slack)
    receipt = with_slack(slack, send_event(ENDED, first, (reminder,)))
    assert "thread_ts" not in now(slack, receipt)
    assert seen(now(slack, reminder)).startswith("💬")


@pytest.mark.parametrize("code", ["internal_error", "fatal_error", "invalid_auth", "ratelimited"])
@pytest.mark.parametrize("number", [0, 1])
def test_an_edit_that_fails_for_now(code: str, number: int) -> None:
    """A failure that may pass is no reason to post afresh: the delivery fails and is tried again whole."""
    slack = FakeSlack()
    first, reminder = told(slack)
    slack.replies.extend([Reply()] * number)
    slack.replies.append(Reply(203, json.dumps({"ok": False, "error": code}), JSON_TYPE))
    use = send_event(ENDED, first, (reminder,))
    assert str(slack_error(slack, use=use)) == f"Slack: {code}"
    assert len(slack.messages) == 2
    with_slack(slack, use)
    assert len(slack.messages) == 2
    assert all(seen(message).startswith("💬") for message in slack.messages.values())


def test_too_many_edits() -> None:
    """The wait that Slack asks for before the next edit is passed on."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(ASKED))
    body = json.dumps({"ok": False, "error": "ratelimited"})
    slack.replies.append(Reply(429, body, {**JSON_TYPE, "Retry-After": "7"}))
    error = slack_error(slack, use=send_event(ENDED, first))
    assert (error.retry_after, error.fix) == (7.0, None)


def test_a_lost_answer_to_an_edit() -> None:
    """An edit whose answer is lost fails, and the next attempt changes nothing more."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(ASKED))
    slack.replies.append(Reply(drop=True))
    slack_error(slack, use=send_event(ENDED, first))
    before = seen(now(slack, first))
    with_slack(slack, send_event(ENDED, first))
    assert (before, 1) == (seen(now(slack, first)), len(slack.messages))


@pytest.mark.parametrize("code", ["invalid_blocks", "msg_blocks_too_long", "msg_too_long"])
def test_an_edit_of_which_the_blocks_are_refused(code: str) -> None:
    """The edit is made as inert text, and the blocks that still asked are gone."""
    slack = FakeSlack()
    hostile = request_event("<!channel> *bold*")
    first = with_slack(slack, send_event(hostile), mention=MENTION)
    slack.failures.append(code)
    with_slack(slack, send_event(replace(ENDED, request=hostile.request), first), mention=MENTION)
    message = now(slack, first)
    assert message["blocks"] == []
    assert acting(message) == []
    assert seen(message).startswith("Approval answered · support\nAfter 5 min 12 s")
    assert "<!channel> \u2217bold\u2217" in seen(message)
    assert len(slack.messages) == 1


def test_an_edit_of_which_the_metadata_is_refused() -> None:
    """Where only an app may add metadata, the edit goes without and keeps its blocks."""
    slack = FakeSlack()
    slack.metadata_allowed = False
    first = with_slack(slack, send_event(ASKED))
    assert with_slack(slack, send_event(ENDED, first)) == first
    assert seen(now(slack, first)).startswith("💬 Approval answered")


def test_an_edit_that_is_refused_in_every_form() -> None:
    """When Slack takes the edit in no form the delivery fails after a few tries, and nothing is posted."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(ASKED))
    slack.failures.extend(["invalid_blocks"] * 10)
    assert "invalid_blocks" in str(slack_error(slack, use=send_event(ENDED, first)))
    assert (len(slack.messages), len(slack.received)) == (1, 4)


def test_an_edit_that_says_what_was_edited() -> None:
    """The metadata of an edited message is that of the delivery that edited it."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(ASKED))
    with_slack(slack, send_event(ENDED, first))
    assert now(slack, first)["metadata"]["event_payload"] == {"delivery_id": "17", "event_id": "evt_3"}


@pytest.mark.parametrize("event", [ENDED, DIGEST_PARTLY_ENDED])
def test_a_webhook_follows_up(event: Event) -> None:
    """An incoming webhook cannot edit: the end is a message of its own, which calls nobody."""
    slack = FakeSlack()
    with_slack(slack, send_event(ASKED), "webhook", mention=MENTION)
    called = list(slack.notified)
    assert with_slack(slack, send_event(event, MessageRef({})), "webhook", mention=MENTION) is None
    assert len(slack.messages) == 2
    assert called == slack.notified
    assert "blocks" in last_message(slack)


@pytest.mark.parametrize(
    ("event", "title"),
    [
        (
            DIGEST_PARTLY_ENDED,
            "🔵 1 of 25 requests still waiting · support\nSo far: 20 answered, 4 canceled.",
        ),
        (DIGEST_ENDED, "⚪ All 25 requests are closed · support\n21 answered, 4 canceled."),
    ],
)
def test_a_digest_is_edited(event: Event, title: str) -> None:
    """The digest shows what still waits or how each ended, its reminder only how many; nobody is called."""
    slack = FakeSlack()
    first, reminder = told(slack, DIGEST, DIGEST_REMINDED)
    called = list(slack.notified)
    assert with_slack(slack, send_event(event, first, (reminder,)), mention=MENTION) == first
    whole = seen(now(slack, first))
    assert whole.startswith(title)
    assert "Approval" in whole
    head, _, rest = title.partition("\n")
    assert seen(now(slack, reminder)) == f"{head} — {rest[0].lower()}{rest[1:]}"
    assert called == slack.notified
    assert mentions_fired(now(slack, first)) == []


def test_a_deleted_digest_is_told_afresh_and_then_edited() -> None:
    """After the digest was deleted, what is left of it is a new message, and the next edit goes to that."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(DIGEST))
    slack.delete(CHANNEL, first.values["ts"])
    afresh = with_slack(slack, send_event(DIGEST_PARTLY_ENDED, first))
    assert with_slack(slack, send_event(DIGEST_ENDED, afresh)) == afresh
    (message,) = slack.messages.values()
    assert seen(message).startswith("⚪ All 25 requests are closed")


@pytest.mark.parametrize("outcome", ["canceled", "failed", "gone", "replaced"])
def test_what_was_not_answered_looks_closed(outcome: Any) -> None:
    """A request that ended without an answer is edited too, with another sign."""
    slack = FakeSlack()
    first = with_slack(slack, send_event(ASKED))
    with_slack(slack, send_event(replace(ENDED, resolution=Resolution(outcome, None, ENDED.at)), first))
    assert seen(now(slack, first)).startswith("⚪ Approval ")
