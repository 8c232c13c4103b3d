"""The process is killed again and again in the middle of a burst: nothing is lost, little is repeated."""

import asyncio
import random
import signal
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from tests.fakes import WebhookReceiver, served
from tests.process import WITHIN, running
from watcher.simulator import Simulation, serve

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

REQUESTS = 200
KILLS = 50
SLOTS = 8
"""How many sends to one webhook are under way at most."""


class Counting(WebhookReceiver):
    """A receiver that tells of every receipt before it is answered."""

    def __init__(self, news: asyncio.Condition) -> None:
        super().__init__()
        self._news = news

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keeps the request, says so, and answers."""
        response = await super().handle(request)
        async with self._news:
            self._news.notify_all()
        return response


async def test_fifty_kills_in_a_burst_lose_nothing(tmp_path: Path) -> None:
    """Killed at 50 random instants, nothing is lost; each kill repeats at most 8 sends to each webhook."""
    chance = random.Random(20260610)
    app = Simulation(time.time)
    for number in range(REQUESTS):
        app.ask(app.start_run(), prompt=f"Approve number {number}?")
    news = asyncio.Condition()
    first, second = Counting(news), Counting(news)

    def received() -> int:
        return len(first.received) + len(second.received)

    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(serve({"default": app}))
        settings = {
            "WATCHER_BASE_URL": api.url,
            "WATCHER_POLL_INTERVAL": "100ms",
            "COVERAGE_PROCESS_CONFIG": "",  # a killed process measures nothing, but is slowed down by it
            "WATCHER_HTTP_PORT": "0",
            "WATCHER_NOTIFIERS__ONE__TYPE": "webhook",
            "WATCHER_NOTIFIERS__ONE__URL": await stack.enter_async_context(served(first)),
            "WATCHER_NOTIFIERS__TWO__TYPE": "webhook",
            "WATCHER_NOTIFIERS__TWO__URL": await stack.enter_async_context(served(second)),
        }
        kills = 0
        while kills < KILLS:
            left = 2 * REQUESTS - received()
            target = received() + chance.randint(0, max(left // (KILLS - kills), 1))
            async with running(tmp_path, settings) as daemon:
                await daemon.log("daemon.started")
                async with asyncio.timeout(WITHIN), news:
                    await news.wait_for(lambda: received() >= target)  # noqa: B023 - awaited right here
                await daemon.end(signal.SIGKILL)
            kills += 1
        async with running(tmp_path, settings) as daemon:
            await daemon.log("daemon.started")
            async with asyncio.timeout(WITHIN), news:
                await news.wait_for(lambda: all(len(ids(hook)) == REQUESTS for hook in (first, second)))
            await api.wait_for_calls(api.finished() + 2, within=WITHIN)
            assert await daemon.end() == 0
    for hook in (first, second):
        assert len(ids(hook)) == REQUESTS
        assert prompts(hook) == {f"Approve number {number}?": 1 for number in range(REQUESTS)}
        assert len(hook.received) - REQUESTS <= KILLS * SLOTS


def ids(hook: WebhookReceiver) -> set[str]:
    """Returns the webhook ids that a receiver has seen."""
    return {received.headers["webhook-id"] for received in hook.received}


def prompts(hook: WebhookReceiver) -> Counter[str]:
    """Returns under how many different ids each question was received."""
    asked = {
        (received.headers["webhook-id"], received.json()["data"]["request"]["prompt"])
        for received in hook.received
    }
    return Counter(prompt for _, prompt in asked)
