"""What the schedule does when the clock is set, and how it shows that it turns."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tests.support.builders import BOUND
from watcher.config.models import AppConfig
from watcher.monitoring.health import liveness
from watcher.monitoring.liveness import LivenessTracker
from watcher.polling.scheduler import Scheduler

pytestmark = pytest.mark.anyio


class WatchedVitals(LivenessTracker):
    """Tells of what it is told."""

    def __init__(self, wall: Callable[[], float]) -> None:
        super().__init__(monotonic=time.monotonic, wall=wall)
        self.expected: asyncio.Queue[str] = asyncio.Queue()

    def set_deadline(self, part: str, within: float) -> None:
        """Tells which part is to stir."""
        super().set_deadline(part, within)
        self.expected.put_nowait(part)


class ScriptedPoller:
    """Notes each poll; `answer` is what comes of the next."""

    def __init__(self, interval: float = 3600.0) -> None:
        self.config = AppConfig(name="support", base_url="http://app.test", poll_interval=interval)
        self.polls: asyncio.Queue[float] = asyncio.Queue()
        self.moved: list[int] = []
        self.answer: Callable[[], Any] = lambda: None

    def shift_clock(self, seconds: float) -> None:
        """Notes by how much."""
        self.moved.append(round(seconds))

    async def poll(self) -> float | None:
        """Notes the poll."""
        self.polls.put_nowait(time.monotonic())
        return cast("float | None", self.answer())


class Bench:
    """A schedule with one app, a wall clock that can be set, and what it died of."""

    def __init__(self, poller: ScriptedPoller) -> None:
        self.set_by = 0.0
        self.prunes: asyncio.Queue[None] = asyncio.Queue()
        self.shifts: list[int] = []
        self.deaths: asyncio.Queue[BaseException] = asyncio.Queue()
        self.vitals = WatchedVitals(self.wall)
        self.schedule = Scheduler(
            [cast("Any", poller)],
            poll_limit=300.0,
            prune=self.prune,
            shift=self.shift,
            observer=self.vitals,
            die=self.deaths.put_nowait,
            wall=self.wall,
            monotonic=time.monotonic,
        )

    def wall(self) -> float:
        """The Unix time, as somebody set it."""
        return time.time() + self.set_by

    async def prune(self) -> None:
        """Notes it."""
        self.prunes.put_nowait(None)

    async def shift(self, seconds: float) -> None:
        """Notes by how much."""
        self.shifts.append(round(seconds))


@asynccontextmanager
async def scheduling(poller: ScriptedPoller) -> AsyncIterator[Bench]:
    """Starts a schedule, waits for what it does at once, and stops it in the end."""
    bench = Bench(poller)
    bench.schedule.start()
    try:
        async with asyncio.timeout(BOUND):
            await poller.polls.get()
            await bench.prunes.get()
            yield bench
    finally:
        await bench.schedule.stop()


async def test_a_clock_set_back_an_hour() -> None:
    """What would sleep for the hour until the clock is there again is done at once, and booked anew."""
    poller = ScriptedPoller()
    async with scheduling(poller) as bench:
        bench.set_by = -3600.0
        with capture_logs() as logs:
            await bench.schedule.check_clock()
        await poller.polls.get()
        await bench.prunes.get()
        await bench.schedule.check_clock()
    assert [-3600] == bench.shifts == poller.moved
    assert [("clock.stepped", -3600.0)] == [(record["event"], record["seconds"]) for record in logs]
    assert poller.polls.empty()


async def test_a_clock_that_drifts_a_little() -> None:
    """A second more or less is no reason to poll."""
    poller = ScriptedPoller()
    async with scheduling(poller) as bench:
        bench.set_by = -1.0
        await bench.schedule.check_clock()
        await asyncio.sleep(0)
    assert ([], True) == (bench.shifts, poller.polls.empty())


async def test_a_scheduler_that_is_stuck_is_noticed() -> None:
    """Everything is alive as long as it may be; without a turn of the scheduler it is not."""
    poller = ScriptedPoller()
    async with scheduling(poller) as bench:
        now = time.monotonic()
        assert liveness(bench.vitals.deadlines(), now).good
        stuck = liveness(bench.vitals.deadlines(), now + 100.0)
        assert ["scheduler"] == [problem.name for problem in stuck.problems]
        stuck = liveness(bench.vitals.deadlines(), now + 4000.0)
        assert {"scheduler", "app support"} == {problem.name for problem in stuck.problems}


async def test_the_scheduler_shows_that_it_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of the scheduler moves on with its turns."""
    monkeypatch.setattr("watcher.polling.scheduler.TICK_SECONDS", 0.05)
    async with scheduling(ScriptedPoller()) as bench:
        for _ in range(3):  # the start, and two turns
            while await bench.vitals.expected.get() != "scheduler":
                pass


async def test_an_error_in_a_poll_is_the_end() -> None:
    """What a poll cannot survive, the daemon is told of."""
    poller = ScriptedPoller()

    def broken() -> None:
        raise RuntimeError("broken")

    poller.answer = broken
    async with scheduling(poller) as bench:
        assert "broken" == str(await bench.deaths.get())


async def test_an_error_in_pruning_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pruning cannot survive, the daemon is told of too."""

    async def broken(bench: Bench) -> None:
        bench.prunes.put_nowait(None)
        raise RuntimeError("broken")

    monkeypatch.setattr(Bench, "prune", broken)
    async with scheduling(ScriptedPoller()) as bench:
        assert "broken" == str(await bench.deaths.get())
