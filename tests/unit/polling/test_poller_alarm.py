"""What happens when an app is to be told of as failing while that is being done already."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.builders import NOW, outbox, soon
from tests.support.databases import Place
from tests.support.poll_bench import PollBench, open_bench, refusal
from watcher.models import Failure
from watcher.store import IncidentChange

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[PollBench]:
    """A poller's surroundings."""
    async with open_bench(database) as opened:
        yield opened


async def test_a_poll_that_begins_while_an_app_is_told_of_finds_it_told(
    bench: PollBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own alarm waits for the one under way, sees that nothing is left to tell, and the poll goes on."""
    poller, begun, fired, go_on = bench.poller(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    record, asked = bench.store.record_failure, []

    async def slow(*arguments: Any, now: float, **more: Any) -> IncidentChange[Failure]:
        asked.append(now)
        if now > NOW + 119.99:
            begun.set()
            await soon(go_on.wait())
        return await record(*arguments, now=now, **more)

    monkeypatch.setattr(bench.store, "record_failure", slow)
    bench.api.pages = [refusal(503, "unavailable")]
    bench.clock.now = NOW + 119.98
    await poller.poll()
    bench.clock.now = NOW + 120
    await soon(begun.wait())
    poller._failure_timer.poll_begins()
    asyncio.get_running_loop().call_later(0, fired.set)
    await soon(fired.wait())
    go_on.set()
    await soon(poller._failure_timer.cancel())
    assert [NOW + 119.98, NOW + 120] == asked
    assert 2 == len(outbox(bench.database))
    assert (await poller.poll()).error is not None
