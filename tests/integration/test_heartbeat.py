"""The ping that says that all is well."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.support.builders import BOUND
from tests.support.fakes import Reply, WebhookReceiver, served
from tests.support.sending import open_test_session
from watcher.monitoring.health import HealthReport, Problem
from watcher.monitoring.heartbeat import Heartbeat
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

pytestmark = pytest.mark.anyio

ILL = HealthReport((Problem("notifier", "slack", "1 delivery is dead"),))


class Bench:
    """A heartbeat of two apps, and who is pinged."""

    def __init__(self, url: Secret, receiver: WebhookReceiver, session: aiohttp.ClientSession) -> None:
        self.receiver = receiver
        self.verdict = HealthReport()
        self.asked: asyncio.Queue[None] = asyncio.Queue()
        self.heartbeat = Heartbeat(
            url, apps=["one", "two"], ready=self._ready, session=session, timeout=BOUND
        )

    async def _ready(self) -> HealthReport:
        self.asked.put_nowait(None)
        return self.verdict

    async def cycle(self) -> None:
        """Polls both apps whole, and waits for what comes of it."""
        self.heartbeat.polled("one", "success", 0.1)
        self.heartbeat.polled("two", "success", 0.1)
        await self.ended()

    async def ended(self) -> None:
        """Waits for the ping."""
        assert self.heartbeat._beat is not None
        await asyncio.wait_for(self.heartbeat._beat, BOUND)


def put(file: Path, url: str) -> None:
    """Writes the secret's file."""
    file.write_text(url)


@asynccontextmanager
async def beating(file: Path | None = None) -> AsyncIterator[Bench]:
    """A heartbeat to a server that takes pings; its URL is fixed, or is put into a file."""
    receiver = WebhookReceiver()
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(receiver))
        session = await stack.enter_async_context(open_test_session())
        value = None if file else f"{url}/ping/0123456789abcdef"
        if file:
            put(file, f"{url}/first")
        bench = Bench(Secret("heartbeat_url", Redactor(), value=value, file=file), receiver, session)
        stack.push_async_callback(bench.heartbeat.close)
        yield bench


async def test_a_whole_cycle_is_pinged_once() -> None:
    """Only when every app was polled since the last ping is there another."""
    async with beating() as bench:
        bench.heartbeat.polled("one", "success", 0.1)
        bench.heartbeat.polled("one", "success", 0.1)
        assert bench.heartbeat._beat is None
        bench.heartbeat.polled("two", "success", 0.1)
        await bench.ended()
        bench.heartbeat.polled("two", "success", 0.1)
        await bench.ended()
        assert ["/ping/0123456789abcdef"] == [ping.path for ping in bench.receiver.received]
        await bench.cycle()
        assert 2 == len(bench.receiver.received)


async def test_a_failed_poll_breaks_the_cycle() -> None:
    """An app that failed must be polled again before the cycle is whole."""
    async with beating() as bench:
        bench.heartbeat.polled("one", "success", 0.1)
        bench.heartbeat.polled("one", "timeout", 0.1)
        bench.heartbeat.polled("two", "success", 0.1)
        assert bench.heartbeat._beat is None
        bench.heartbeat.polled("one", "success", 0.1)
        await bench.ended()
        assert 1 == len(bench.receiver.received)


async def test_no_ping_while_something_is_wrong() -> None:
    """A cycle in which all apps were polled is not pinged while something is overdue or dead."""
    async with beating() as bench:
        bench.verdict = ILL
        await bench.cycle()
        assert [] == bench.receiver.received
        bench.verdict = HealthReport()
        await bench.cycle()
        assert 1 == len(bench.receiver.received)


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ([Reply(500, "sorry")], "HTTP 500"),
        ([Reply(302, headers={"Location": "http://127.0.0.1:1/"})], "HTTP 302"),
        ([Reply(drop=True)], "the connection broke before an answer came"),
    ],
)
async def test_a_ping_that_fails_is_a_warning(replies: list[Reply], words: str) -> None:
    """It is said without the URL, which is a secret, and the next cycle is pinged as ever."""
    async with beating() as bench:
        bench.receiver.replies.extend(replies)
        with capture_logs() as logs:
            await bench.cycle()
            await bench.cycle()
        assert len(replies) + 1 == len(bench.receiver.received)
    assert [{"event": "heartbeat.failed", "error": words, "log_level": "warning"}] == logs


async def test_the_url_is_read_afresh(tmp_path: Path) -> None:
    """A changed file changes where is pinged, and a missing one is a warning."""
    file = tmp_path / "heartbeat"
    async with beating(file) as bench:
        await bench.cycle()
        file.write_text(file.read_text().replace("first", "second"))
        await bench.cycle()
        file.unlink()
        with capture_logs() as logs:
            await bench.cycle()
        assert ["/first", "/second"] == [ping.path for ping in bench.receiver.received]
    assert ["heartbeat.failed"] == [record["event"] for record in logs]


async def test_a_slow_ping_holds_up_nothing() -> None:
    """While a ping hangs, polls go on and no second ping is begun; the end gives it up."""
    async with beating() as bench:
        bench.receiver.replies.append(Reply(silent=True))
        for _ in range(3):
            bench.heartbeat.polled("one", "success", 0.1)
            bench.heartbeat.polled("two", "success", 0.1)
        await asyncio.wait_for(bench.asked.get(), BOUND)
        assert bench.asked.empty()
        await asyncio.wait_for(bench.heartbeat.close(), BOUND)
        beat: Any = bench.heartbeat._beat
        assert beat.cancelled()
