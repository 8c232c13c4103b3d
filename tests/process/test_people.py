"""What people get from the real daemon: reminders, escalation, digests, edits, across restarts."""

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.fakes import FakeSlack, Reply, WebhookReceiver, served
from tests.support.slack_markup import seen
from tests.support.world import World, open_world, wait_for_polls, wait_for_sent

pytestmark = pytest.mark.anyio

NEWS, REMINDER, END = "run.input_requested", "run.input_reminder", "run.input_resolved"
FAST = {"WATCHER_NOTIFIERS__SLACK__REMIND_AFTER": '["1500ms", "4s"]'}


def calls(slack: FakeSlack) -> list[tuple[str, str]]:
    """Returns method and title of everything that was asked of Slack, in order."""
    asked = [(received.path.rpartition("/")[2], received.json()) for received in slack.received]
    return [(method, title(body)) for method, body in asked]


def shown(slack: FakeSlack) -> list[str]:
    """Returns the titles of the messages that stand in the channel now."""
    return [title(message) for message in slack.messages.values()]


def title(message: dict[str, Any]) -> str:
    """Returns what a message is titled, without its sign and what follows."""
    return re.split(" — |\n", seen(message))[0].split(" ", 1)[1]


class HangingReceiver(WebhookReceiver):
    """Takes everything, and answers only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keeps the request and holds back the answer."""
        answer = await super().handle(request)
        await self.answer.wait()
        return answer


async def told_by_restarts(world: World, steps: Sequence[tuple[str, int]], **settings: str) -> None:
    """Starts a daemon anew for each step, waits until people got that many of a kind more, and ends it."""
    for kind, count in steps:
        async with world.running(**settings) as daemon:
            await wait_for_sent(daemon, "slack", kind, count=count)
            await wait_for_polls(world)
            assert await daemon.stop() == 0


def finish(world: World, run_id: str) -> None:
    """Answers what a run asks, and lets it complete."""
    request_id = world.app.get_run(run_id)["data"]["input_requests"][0]["id"]
    world.app.answer(run_id, request_id)
    world.app.complete(run_id)


async def test_reminders_and_the_end_across_restarts(tmp_path: Path) -> None:
    """Each reminder comes once, in thread and channel, whichever process sends it; all show the end."""
    async with open_world(tmp_path) as world:
        run_id = world.ask()
        await told_by_restarts(world, [(NEWS, 1), (REMINDER, 1), (REMINDER, 1)], **FAST)
        finish(world, run_id)
        await told_by_restarts(world, [(END, 1)], **FAST)
    first, *reminders = [
        received.json() for received in world.slack.received if received.path.endswith("postMessage")
    ]
    assert [True, True] == [message["reply_broadcast"] for message in reminders]
    assert len({message["thread_ts"] for message in reminders}) == 1
    assert "thread_ts" not in first
    assert [("chat.update", "Approval answered · support")] * 3 == calls(world.slack)[3:]
    assert ["Approval answered · support"] * 3 == shown(world.slack)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("WATCHER_PUBLIC_URL", "https://watcher.example", "https://watcher.example/requests/1"),
        ("WATCHER_APPS__SUPPORT__ANSWER_HINT", "Open our inbox.", "Open our inbox."),
    ],
)
async def test_where_to_answer_is_as_configured(
    tmp_path: Path, setting: str, value: str, expected: str
) -> None:
    """A message leads to the daemon's own page of the request, or says what the app's hint says."""
    async with open_world(tmp_path) as world:
        world.ask()
        async with world.running(**{setting: value}) as daemon:
            await wait_for_sent(daemon, "slack", NEWS)
        shown = await world.command("pending", "1", **{setting: value})
    (message,) = world.slack.messages.values()
    assert expected in json.dumps(message["blocks"])
    assert expected in shown.out
    assert "Next reminder" in json.dumps(message["blocks"])


async def test_reminders_reach_a_webhook_in_order(tmp_path: Path) -> None:
    """A program gets news, reminders with their numbers, and the end, each once and in that order."""
    settings = {"WATCHER_NOTIFIERS__WEBHOOK__REMIND_AFTER": '["500ms", "1s"]'}
    async with open_world(tmp_path) as world:
        run_id = world.ask()
        async with world.running(**settings) as daemon:
            await wait_for_sent(daemon, "webhook", REMINDER, count=2)
            finish(world, run_id)
            await wait_for_sent(daemon, "webhook", END)
    events = world.events()
    assert [NEWS, REMINDER, REMINDER, END] == [event["type"] for event in events]
    numbers = [event["data"]["reminder"] for event in events[1:3]]
    assert [{"number": 1, "of": 2}, {"number": 2, "of": 2}] == numbers
    assert ["reminder" in event["data"] for event in (events[0], events[3])] == [False, False]
    assert len({event["id"] for event in events}) == 4


async def test_escalation_is_for_what_still_waits(tmp_path: Path) -> None:
    """A notifier with `after` hears once of what waits that long, and nothing of what was answered before."""
    settings = {"WATCHER_NOTIFIERS__SLACK__AFTER": "3s"}
    async with open_world(tmp_path) as world:
        answered, waiting = world.ask("soon answered?"), world.ask("waiting?")
        async with world.running(**settings) as daemon:
            await wait_for_sent(daemon, "webhook", NEWS, count=2)
            assert await daemon.stop() == 0
        assert [] == world.slack.received
        finish(world, answered)
        await told_by_restarts(world, [(NEWS, 1)], **settings)
        finish(world, waiting)
        async with world.running(**settings) as daemon:
            await wait_for_sent(daemon, "slack", END)
    assert ["chat.postMessage", "chat.update"] == [method for method, _ in calls(world.slack)]
    assert "waiting?" in json.dumps(next(iter(world.slack.messages.values())))


async def test_a_backlog_is_one_digest_for_people(tmp_path: Path) -> None:
    """Thirty requests at the first start are one message in Slack, edited as they end, across restarts."""
    async with open_world(tmp_path) as world:
        runs = [world.ask(f"number {number}?") for number in range(30)]
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", NEWS, count=30)
            await wait_for_sent(daemon, "slack", NEWS)
            await wait_for_polls(world)
            assert await daemon.stop() == 0
        assert [("chat.postMessage", "30 requests need input · support")] == calls(world.slack)
        for run_id in runs[:10]:
            finish(world, run_id)
        await told_by_restarts(world, [(END, 1)])
        assert ["20 of 30 requests still waiting · support"] == shown(world.slack)
        pending = json.loads((await world.command("pending", "--json")).out)
        assert [["slack", "webhook"]] * 20 == [request["told"] for request in pending]
        for run_id in runs[10:]:
            finish(world, run_id)
        async with world.running() as daemon:
            await daemon.wait_for_log("request.resolved", count=20)
            await wait_for_sent(daemon, "slack", END)
            await wait_for_polls(world)
            assert await daemon.stop() == 0
    assert ["All 30 requests are closed · support"] == shown(world.slack)
    assert {"chat.update"} == {method for method, _ in calls(world.slack)[1:]}


async def test_a_baseline_announces_nothing(tmp_path: Path) -> None:
    """With `backlog = baseline` what waits at first is listed and told to nobody; what comes later is."""
    async with open_world(tmp_path) as world:
        for number in range(30):
            world.ask(f"old {number}?")
        async with world.running(WATCHER_BACKLOG="baseline") as daemon:
            await daemon.wait_for_log("poll.succeeded")
            world.ask("new?")
            await wait_for_sent(daemon, "webhook", NEWS)
            await wait_for_sent(daemon, "slack", NEWS)
            await wait_for_polls(world)
        listed = json.loads((await world.command("pending", "--json")).out)
    assert ["new?"] == [event["data"]["request"]["prompt"] for event in world.events()]
    assert (31, 1) == (len(listed), len(world.slack.messages))


async def test_a_deleted_message_is_posted_afresh(tmp_path: Path) -> None:
    """Where the first message is gone, the end of its request is told in a new one, without a mention."""
    async with open_world(tmp_path) as world:
        run_id = world.ask()
        async with world.running(WATCHER_NOTIFIERS__SLACK__MENTION='["here"]') as daemon:
            await wait_for_sent(daemon, "slack", NEWS)
            ((channel, ts),) = world.slack.messages
            world.slack.delete(channel, ts)
            finish(world, run_id)
            await wait_for_sent(daemon, "slack", END)
            await wait_for_polls(world)
    assert ["chat.postMessage", "chat.update", "chat.postMessage"] == [
        method for method, _ in calls(world.slack)
    ]
    (message,) = world.slack.messages.values()
    assert ("thread_ts" in message, "!here" in json.dumps(message)) == (False, False)
    assert "Approve refund?" in json.dumps(message)


async def test_an_incoming_webhook_gets_follow_ups(tmp_path: Path) -> None:
    """Through an incoming webhook, which can edit nothing, the end is a message of its own."""
    async with open_world(tmp_path) as world:
        address = world.settings["WATCHER_SLACK_API_URL"].removesuffix("/api/")
        settings = {
            "WATCHER_SLACK_BOT_TOKEN": "",
            "WATCHER_SLACK_CHANNEL": "",
            "WATCHER_SLACK_WEBHOOK_URL": f"{address}/services/T0/B0/x1y2z3a4",
        }
        run_id = world.ask()
        async with world.running(**settings) as daemon:
            await wait_for_sent(daemon, "slack", NEWS)
            finish(world, run_id)
            await wait_for_sent(daemon, "slack", END)
    assert ["Approval needed · support", "Approval answered · support"] == shown(world.slack)


async def test_a_silent_notifier_is_said_through_the_others(tmp_path: Path) -> None:
    """When Slack takes nothing for long the webhook hears of it once, across restarts, and of the end."""
    alert = {"WATCHER_APP_ALERT_AFTER": "500ms"}
    async with open_world(tmp_path) as world:
        world.ask()
        world.slack.replies.extend([Reply(503, "broken")] * 1000)
        async with world.running(**alert) as daemon:
            await daemon.wait_for_log("notifier.failing", notifier="slack")
            await wait_for_sent(daemon, "webhook", "watcher.notifier_failing")
            assert await daemon.stop() == 0
        async with world.running(**alert) as daemon:
            await daemon.wait_for_log("delivery.retry", notifier="slack", count=2)
            world.slack.replies.clear()
            await wait_for_sent(daemon, "webhook", "watcher.notifier_recovered")
            await wait_for_sent(daemon, "slack", NEWS)
    failing, recovered = world.events()[1:]
    assert ["watcher.notifier_failing", "watcher.notifier_recovered"] == [failing["type"], recovered["type"]]
    assert {"notifier", "failure"} == set(failing["data"])
    assert {"name": "slack"} == failing["data"]["notifier"] == recovered["data"]["notifier"]
    assert failing["data"]["failure"]["since"] == recovered["data"]["failure"]["since"]
    assert (1, "HTTP 503" in failing["data"]["failure"]["message"]) == (
        failing["data"]["failure"]["undelivered"],
        True,
    )


async def test_a_hanging_notifier_holds_up_no_other(tmp_path: Path) -> None:
    """While one webhook does not answer at all everything reaches Slack and the other webhook."""
    async with open_world(tmp_path) as world:
        hanging = HangingReceiver()
        async with served(hanging) as url:
            settings = {
                "WATCHER_NOTIFIERS__SLOW__TYPE": "webhook",
                "WATCHER_NOTIFIERS__SLOW__URL": f"{url}/slow",
                "WATCHER_REQUEST_TIMEOUT": "60s",
            }
            async with world.running(**settings) as daemon:
                for number in range(3):
                    world.ask(f"number {number}?")
                    await wait_for_sent(daemon, "webhook", NEWS, count=number + 1)
                    await wait_for_sent(daemon, "slack", NEWS, count=number + 1)
                assert [] == daemon.logged("delivery.sent", notifier="slow")
                assert 3 == len(hanging.received)
                hanging.answer.set()
                await wait_for_sent(daemon, "slow", NEWS, count=3)


async def test_requests_of_an_app_that_is_gone_from_the_configuration(tmp_path: Path) -> None:
    """What nobody watches any more is not listed and nobody is reminded of it; nothing is called resolved."""
    async with open_world(tmp_path) as world:
        world.ask()
        async with world.running(**FAST) as daemon:
            await wait_for_sent(daemon, "slack", NEWS)
            assert await daemon.stop() == 0
        async with world.running(WATCHER_APP_NAME="other", **FAST) as daemon:
            await wait_for_sent(daemon, "slack", REMINDER)
        listed = json.loads((await world.command("pending", "--json", WATCHER_APP_NAME="other")).out)
    assert ["other"] == [request["app"] for request in listed]
    told = ["Approval needed · support", "Approval needed · other", "Reminder: approval needed · other"]
    assert told == [header for _, header in calls(world.slack)][:3]
    assert END not in {event["type"] for event in world.events()}


async def test_what_was_answered_while_nothing_ran_is_told_to_nobody(tmp_path: Path) -> None:
    """News that a process could not deliver is dropped by the next if its first poll says that it is over."""
    async with open_world(tmp_path) as world:
        run_id = world.ask()
        world.slack.replies.extend([Reply(503, "broken")] * 1000)
        async with world.running() as daemon:
            await daemon.wait_for_log("delivery.retry", notifier="slack")
            await wait_for_sent(daemon, "webhook", NEWS)
            assert await daemon.stop() == 0
        finish(world, run_id)
        world.slack.replies.clear()
        world.slack.received.clear()
        async with world.running() as daemon:
            await daemon.wait_for_log("delivery.superseded", notifier="slack")
            await wait_for_sent(daemon, "webhook", END)
            await wait_for_polls(world)
    assert [] == world.slack.received


async def test_once_tells_one_notifier_of_another(tmp_path: Path) -> None:
    """From cron, too, a webhook hears that Slack is silent and that it is well again, before `once` exits."""
    alert = {"WATCHER_APP_ALERT_AFTER": "1ms"}
    async with open_world(tmp_path) as world:
        world.ask()
        world.slack.replies.extend([Reply(503, "broken")] * 1000)
        silent = [(await world.command("once", **alert)).status for _ in range(2)]
        world.slack.replies.clear()
        well = await world.command("once", **alert)
    assert ([1, 1], 0) == (silent, well.status)
    told = [NEWS, "watcher.notifier_failing", "watcher.notifier_recovered"]
    assert told == [event["type"] for event in world.events()]
