"""How the Slack notifier fails, and that no notifier's failure tells a secret."""

import asyncio
import json

import pytest

from tests.support.fakes import FakeSlack, Reply, WebhookReceiver, served
from tests.support.hostile_peers import (
    Behaviour,
    Call,
    Peer,
    explodes,
    floods,
    is_another_site,
    is_busy_and_drips,
    is_busy_and_floods,
    listening,
    names_no_charset,
    nests,
    redirects_to,
    sends_noise,
)
from tests.support.sending import (
    JSON_TYPE,
    KINDS,
    make_secret,
    send_event,
    slack_config,
    slack_error,
    use_notifier,
    with_slack,
)
from watcher.config.models import NotifierConfig, SlackConfig, WebhookConfig
from watcher.notifiers.base import DeliveryError


@pytest.mark.parametrize(
    "code",
    [
        "channel_not_found",
        "not_in_channel",
        "is_archived",
        "channel_is_archived",
        "invalid_auth",
        "not_authed",
        "token_revoked",
        "token_expired",
        "account_inactive",
        "missing_scope",
        "no_permission",
        "restricted_action",
        "an_error_of_tomorrow",
        "enterprise_is_restricted",
    ],
)
def test_configuration_errors(code: str) -> None:
    """What a person has to mend is told as such."""
    slack = FakeSlack()
    slack.failures.append(code)
    error = slack_error(slack)
    assert str(error) == f"Slack: {code}"
    assert error.fix is not None


@pytest.mark.parametrize(
    "code",
    [
        "ratelimited",
        "rate_limited",
        "message_limit_exceeded",
        "fatal_error",
        "internal_error",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
    ],
)
def test_passing_errors(code: str) -> None:
    """What passes by itself needs no fix."""
    slack = FakeSlack()
    slack.failures.append(code)
    assert (f"Slack: {code}", None) == (str(error := slack_error(slack)), error.fix)


def test_a_missing_scope_is_named() -> None:
    """Slack says which scope is needed, and so do we."""
    slack = FakeSlack()
    body = json.dumps({"ok": False, "error": "missing_scope", "needed": "chat:write", "provided": "x"})
    slack.replies.append(Reply(203, body, JSON_TYPE))
    assert str(slack_error(slack)) == "Slack: missing_scope (needed: chat:write)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "fixable"),
    [
        *((status, True) for status in (302, 400, 401, 403, 404, 405, 410, 422)),
        *((status, False) for status in (408, 425, 429, 500, 502, 503, 504)),
    ],
)
def test_every_status(kind: str, status: int, *, fixable: bool) -> None:
    """Each class of HTTP status is a failure, with a fix where waiting does not help."""
    slack = FakeSlack()
    slack.replies.extend([Reply(status, "<html>words</html>", {"Content-Type": "text/html"})] * 3)
    error = slack_error(slack, kind)
    assert f"HTTP {status}" in str(error)
    assert fixable == (error.fix is not None)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "action_prohibited"),
        (404, "channel_not_found"),
        (404, "no_service"),
        (403, "invalid_token"),
        (410, "channel_is_archived"),
    ],
)
def test_webhook_configuration_errors(status: int, code: str) -> None:
    """An incoming webhook's own words lead to their fix."""
    slack = FakeSlack()
    slack.replies.append(Reply(status, code))
    error = slack_error(slack, "webhook")
    assert str(error) == f"HTTP {status}: {code}"
    assert error.fix is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("headers", "expected"), [({"Retry-After": "7"}, 7.0), ({"Retry-After": "x"}, None), ({}, None)]
)
def test_rate_limits(kind: str, headers: dict[str, str], expected: float | None) -> None:
    """The wait that Slack asks for is passed on."""
    slack = FakeSlack()
    body = json.dumps({"ok": False, "error": "ratelimited"})
    slack.replies.append(Reply(429, body, {**headers, **JSON_TYPE}))
    error = slack_error(slack, kind)
    assert (expected, None) == (error.retry_after, error.fix)


def test_a_rate_limit_pauses_the_channel() -> None:
    """Slack's word for it counts, whatever the status: no other message goes to the channel meanwhile."""
    slack = FakeSlack()
    slack.failures.append("ratelimited")
    assert slack_error(slack).pauses


@pytest.mark.parametrize("kind", KINDS)
def test_too_fast(kind: str) -> None:
    """What is more than Slack takes in a second fails with the wait until it takes the next."""
    slack = FakeSlack(pace=1.0, clock=lambda: 0.0)
    for _ in range(3):
        with_slack(slack, send_event(), kind)
    error = slack_error(slack, kind)
    assert (1.0, None) == (error.retry_after, error.fix)
    assert len(slack.messages) == 3


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "text/html"])
@pytest.mark.parametrize("body", ["{", "[]", "ok", '"x"', "null"])
def test_answers_that_are_not_slacks(content_type: str, body: str) -> None:
    """A 200 that is no answer of Slack's is no acceptance."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(200, body, {"Content-Type": content_type}))

    async def scenario() -> None:
        async with served(receiver) as url:
            await use_notifier(slack_config(url), send_event())

    with pytest.raises(DeliveryError):
        asyncio.run(scenario())


@pytest.mark.parametrize("page", ["<!DOCTYPE html><title>Log in</title>", "\n  <html></html>"])
def test_a_page_is_no_acceptance_of_an_incoming_webhook(page: str) -> None:
    """A proxy's or a login's page with status 200 is a failure: Slack got nothing."""
    receiver = WebhookReceiver()
    receiver.replies.append(Reply(200, page, {"Content-Type": "text/html"}))

    async def scenario() -> None:
        async with served(receiver) as url:
            await use_notifier(slack_config(url, "webhook"), send_event())

    with pytest.raises(DeliveryError, match="the answer is not from Slack"):
        asyncio.run(scenario())


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_answer_is_a_failure_and_one_post(kind: str) -> None:
    """When the answer is lost nobody knows, so the send fails, and it did not post again by itself."""
    slack = FakeSlack()
    slack.replies.append(Reply(drop=True))
    assert str(slack_error(slack, kind)) == "the connection broke before an answer came"
    assert len(slack.messages) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_answer(kind: str) -> None:
    """Silence is a failure after the timeout."""
    slack = FakeSlack()
    slack.replies.append(Reply(silent=True))
    assert str(slack_error(slack, kind, within=0.05)) == "no answer within 0.05 s"


SECRETS = {
    "token": "xoxb-111-very-secret-token",
    "signing": "whsec_c2VjcmV0LXNpZ25pbmcta2V5LW9mLW91cnM=",
    "header": "Bearer header-secret-value",
    "path": "hook-path-secret-8c2c",
}


ECHO = " ".join([*SECRETS.values(), "x" * 150, *SECRETS.values()])


LONG_ECHO = "y" * 190 + SECRETS["path"]


FAILURES = (
    *(Reply(status, ECHO, {"Retry-After": "5"}) for status in (301, 400, 401, 403, 404, 429, 500, 503)),
    Reply(500, LONG_ECHO),
    Reply(403, json.dumps({"ok": False, "error": ECHO, "needed": ECHO}), JSON_TYPE),
    Reply(500, "{" + ECHO, JSON_TYPE),
    Reply(drop=True),
    Reply(silent=True),
)


@pytest.mark.parametrize("kind", ["bot", "slack webhook", "webhook"])
@pytest.mark.parametrize("reply", FAILURES, ids=range(len(FAILURES)))
def test_no_failure_leaks_a_secret(kind: str, reply: Reply) -> None:
    """Whatever a destination answers or echoes, the error holds none of our secrets, whole or in part."""
    receiver = WebhookReceiver()
    receiver.replies.extend([reply] * 3)

    async def scenario() -> None:
        async with served(receiver) as url:
            full = f"{url}/services/{SECRETS['path']}"
            sections: dict[str, NotifierConfig] = {
                "bot": slack_config(url, token=SECRETS["token"]),
                "slack webhook": SlackConfig(name="n", webhook_url=make_secret(full)),
                "webhook": WebhookConfig(
                    name="n",
                    url=make_secret(full),
                    secret=make_secret(SECRETS["signing"]),
                    headers={"Authorization": make_secret(SECRETS["header"])},
                ),
            }
            await use_notifier(sections[kind], send_event(), within=0.3)

    with pytest.raises(DeliveryError) as caught:
        asyncio.run(scenario())
    ours = {
        "bot": ["very-secret"],
        "slack webhook": ["hook-path", "127.0.0.1"],
        "webhook": ["hook-path", "c2VjcmV0", "header-secret", "127.0.0.1"],
    }[kind]
    said = f"{caught.value} {caught.value.fix} {caught.value!r}"
    assert [part for part in ours if part in said] == []


def misbehaving(behaviour: Behaviour, within: float = 5.0) -> tuple[DeliveryError, Peer]:
    """Returns the error that a post with a bot token ends with at a server that behaves like that."""
    peer = Peer(behaviour)

    async def scenario() -> None:
        async with listening([peer]):
            await use_notifier(slack_config(peer.url), send_event(), within)

    with pytest.raises(DeliveryError) as caught:
        asyncio.run(scenario())
    return caught.value, peer


@pytest.mark.parametrize(
    "behaviour", [is_another_site, sends_noise, names_no_charset, nests, explodes, floods, is_busy_and_floods]
)
def test_answers_that_slack_would_not_give(behaviour: Behaviour) -> None:
    """No page, noise, or body that would fill the memory is more than a failure that says what it is."""
    error, peer = misbehaving(behaviour)
    busy = behaviour is is_busy_and_floods
    expected = ("Slack: HTTP 503", False) if busy else ("the answer is not from Slack", True)
    assert expected == (str(error), error.fix is not None)
    assert 1 == len(peer.calls)


def test_a_refusal_whose_words_never_end() -> None:
    """A refusal is told by its status although the timeout comes before the end of its body."""
    error, _ = misbehaving(is_busy_and_drips, within=0.5)
    assert "Slack: HTTP 503" == str(error)


@pytest.mark.parametrize("elsewhere", ["/elsewhere", "http://127.0.0.1:{port}/elsewhere"])
def test_a_message_does_not_follow_a_redirect(elsewhere: str) -> None:
    """A redirect, which would take token or message along, is a failure with a fix, and one call."""

    async def redirects(call: Call) -> None:
        port = call.writer.get_extra_info("sockname")[1]
        await redirects_to(elsewhere.format(port=port))(call)

    error, peer = misbehaving(redirects)
    assert ("Slack: HTTP 307", True) == (str(error), error.fix is not None)
    assert ["/api/chat.postMessage"] == [call.path for call in peer.calls]


@pytest.mark.parametrize(("code", "possibly_delivered"), [("internal_error", True), ("ratelimited", False)])
def test_what_may_have_been_done(code: str, *, possibly_delivered: bool) -> None:
    """Of some errors Slack says that a part may have been done: then the message may stand in the channel."""
    slack = FakeSlack()
    slack.failures.append(code)
    assert possibly_delivered == slack_error(slack).possibly_delivered
