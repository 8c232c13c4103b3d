"""The process is ended again and again in the middle of bursts: nothing is lost, little is repeated.

`--kills N` says how often; `--log-cli-level=info` shows the figures.
"""

import asyncio
import logging
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.bursts import Bursts, Telling, a_scene, ids, repeats
from tests.support.fakes import FakeSlack, Reply, WebhookReceiver, served
from tests.support.process import WITHIN
from tests.support.world import open_world

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]

SLOTS = 8
"""How many sends to one webhook are under way at most; to a Slack channel it is one."""

log = logging.getLogger(__name__)


async def test_kills_in_bursts_lose_nothing(tmp_path: Path, kills: int) -> None:
    """Killed at random instants nothing is lost, and each kill repeats at most what was under way."""
    began = time.monotonic()
    async with a_scene(tmp_path, random.Random(20260610)) as scene:
        for _ in range(kills):
            await scene.live(signal.SIGKILL)
        status = await scene.finish()
    report(scene, kills, began)
    check(scene, status)
    assert SLOTS >= most_at_once(repeats(scene.hooked))
    assert 1 >= most_at_once(repeats(scene.slacked))


async def test_signals_in_bursts_lose_and_repeat_nothing(tmp_path: Path, kills: int) -> None:
    """Asked to end at random instants the exit is clean each time, nothing is lost and nothing repeated."""
    began = time.monotonic()
    async with a_scene(tmp_path, random.Random(20260611)) as scene:
        for number in range(kills):
            assert 0 == await scene.live((signal.SIGTERM, signal.SIGINT)[number % 2])
        status = await scene.finish()
    report(scene, kills, began)
    check(scene, status)
    assert ({}, {}) == (repeats(scene.hooked), repeats(scene.slacked))


async def test_destinations_that_hang_are_not_waited_for_long(tmp_path: Path) -> None:
    """Asked to end while every destination hangs the exit is clean, and what they did not take is kept."""
    calls: asyncio.Queue[str] = asyncio.Queue()

    async def heard(path: str, _: Any) -> None:
        calls.put_nowait(path)

    hook, slack = WebhookReceiver(), FakeSlack()
    hook.replies.append(Reply(silent=True))
    slack.replies.append(Reply(silent=True))
    async with (
        open_world(tmp_path) as world,
        served(Telling(hook, heard)) as hook_url,
        served(Telling(slack, heard)) as slack_url,
    ):
        world.ask()
        settings = {
            "WATCHER_WEBHOOK_URL": f"{hook_url}/hook",
            "WATCHER_SLACK_API_URL": f"{slack_url}/api/",
            "WATCHER_REQUEST_TIMEOUT": f"{10 * WITHIN}s",  # longer than the end is waited for
        }
        async with world.running(**settings) as daemon:
            called = {await asyncio.wait_for(calls.get(), WITHIN) for _ in range(2)}
            assert 0 == await daemon.stop()
        kept = {(item["notifier"], item["state"]) for item in world.deliveries()}
        assert 0 == (await world.command("once", **settings)).status
    assert {"/hook", "/api/chat.postMessage"} == called
    assert {("slack", "pending"), ("webhook", "pending")} == kept
    assert 1 == len({received.headers["webhook-id"] for received in hook.received})
    assert [2, 1] == [len(hook.received), len(slack.messages)]


def check(scene: Bursts, status: int) -> None:
    """What holds however the watcher was ended."""
    assert (0, set()) == (status, scene.lost())
    assert [] == scene.misreported()
    assert set() == scene.disordered()
    assert {1} == set(ids(scene.hooked).values()) | set(ids(scene.slacked).values())


def most_at_once(repeated: Counter[tuple[int, int]]) -> int:
    """Returns how many calls one kill made be repeated, at most."""
    by_kill: Counter[int] = Counter()
    for (life, again), times in repeated.items():
        assert life != again, "repeated without a kill"
        by_kill[life] += times
    return max(by_kill.values(), default=0)


def report(scene: Bursts, kills: int, began: float) -> None:
    """Logs the figures."""
    log.info("ended %d times in %.0f s: %s", kills, time.monotonic() - began, scene.figures())
