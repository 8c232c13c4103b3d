"""What the scheduler does when the clock was set, and how it shows that it runs."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import time_machine

from tests.support.builders import BOUND
from watcher.config.models import AppConfig
from watcher.monitoring.health import liveness
from watcher.monitoring.liveness import LivenessTracker
from watcher.polling.poller import PollResult
from watcher.polling.scheduler import Scheduler

pytestmark = pytest.mark.anyio


class WatchedLiveness(LivenessTracker):
    """Also says which parts got a deadline, one after the other."""

    def __init__(self) -> None:
        super().__init__(monotonic=time.monotonic, wall=time.time)
        self.parts: asyncio.Queue[str] = asyncio.Queue()

    def set_deadline(self, part: str, within: float) -> None:
        """Keeps the part."""
        super().set_deadline(part, within)
        self.parts.put_nowait(part)


class ScriptedPoller:
    """Counts its polls; `answer` makes the result of the next."""

    def __init__(self, interval: float = 3600.0) -> None:
        self.config = AppConfig(name="support", base_url="http://app.test", poll_interval=interval)
        self.polls: asyncio.Queue[float] = asyncio.Queue()
        self.answer: Callable[[], PollResult] = PollResult

    async def poll(self) -> PollResult:
        """Counts the poll."""
        self.polls.put_nowait(time.monotonic())
        return self.answer()


def poller_of(name: str, polls: asyncio.Queue[float]) -> ScriptedPoller:
    """Returns a poller of another app, which counts its polls with those of others."""
    poller = ScriptedPoller()
    poller.config = AppConfig(name=name, base_url="http://app.test", poll_interval=3600.0)
    poller.polls = polls
    return poller


class Bench:
    """A scheduler with some apps, and the errors that ended it."""

    def __init__(self, *pollers: ScriptedPoller) -> None:
        self.deaths: asyncio.Queue[BaseException] = asyncio.Queue()
        self.liveness = WatchedLiveness()
        self.scheduler = Scheduler(
            cast("Any", pollers),
            poll_limit=300.0,
            observer=self.liveness,
            die=self.deaths.put_nowait,
        )


@asynccontextmanager
async def scheduling(poller: ScriptedPoller) -> AsyncIterator[Bench]:
    """Starts a scheduler, waits for its first poll, and stops it in the end."""
    bench = Bench(poller)
    bench.scheduler.start()
    try:
        async with asyncio.timeout(BOUND):
            await poller.polls.get()
            yield bench
    finally:
        await bench.scheduler.stop()


async def test_a_clock_set_back_an_hour() -> None:
    """Without a new schedule the scheduler would sleep for the hour; with one it polls at once."""
    poller = ScriptedPoller()
    async with scheduling(poller) as bench:
        with time_machine.travel(time.time() - 3600.0):
            bench.scheduler.restart()
            await poller.polls.get()
    assert poller.polls.empty()


async def test_an_app_is_polled_now_whatever_its_backoff() -> None:
    """An app that waits is polled at once; one that is being polled is polled again right after that."""
    poller = ScriptedPoller()
    poller.answer = lambda: PollResult(wait=1800.0)
    async with scheduling(poller) as bench:

        def ask_meanwhile() -> PollResult:
            bench.scheduler.poll_now()
            poller.answer = PollResult
            return PollResult()

        poller.answer = ask_meanwhile
        bench.scheduler.poll_now()
        await poller.polls.get()
        await poller.polls.get()
    assert poller.polls.empty()


async def test_a_poll_that_is_asked_for_too_early_or_too_late() -> None:
    """The signal may come before the scheduler starts and after it has stopped; then nothing happens."""
    poller = ScriptedPoller()
    bench = Bench(poller)
    bench.scheduler.poll_now()
    bench.scheduler.start()
    async with asyncio.timeout(BOUND):
        await poller.polls.get()
    await bench.scheduler.stop()
    bench.scheduler.poll_now()
    assert poller.polls.empty()


@pytest.mark.parametrize("turns", range(8))
async def test_one_poll_of_an_app_at_a_time(turns: int) -> None:
    """A poll that is asked for while another one is about to begin comes after it, in whichever turn."""
    gates: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    class SlowPoller(ScriptedPoller):
        async def poll(self) -> PollResult:
            gate = asyncio.Event()
            gates.put_nowait(gate)
            await gate.wait()
            return PollResult()

    bench = Bench(SlowPoller())
    bench.scheduler.start()
    for _ in range(turns):
        await asyncio.sleep(0)
    bench.scheduler.poll_now()
    async with asyncio.timeout(BOUND):
        first = await gates.get()
        for _ in range(20):  # of the loop, in which a second poll would begin
            await asyncio.sleep(0)
        assert gates.empty()
        first.set()
        if turns:
            (await gates.get()).set()
    await bench.scheduler.stop()


async def test_a_scheduler_that_is_stuck_is_noticed() -> None:
    """Everything is alive as long as it may be; without a turn of the scheduler it is not."""
    poller = ScriptedPoller()
    async with scheduling(poller) as bench:
        now = time.monotonic()
        assert liveness(bench.liveness.deadlines(), now).good
        stuck = liveness(bench.liveness.deadlines(), now + 100.0)
        assert ["scheduler"] == [problem.name for problem in stuck.problems]
        stuck = liveness(bench.liveness.deadlines(), now + 4000.0)
        assert {"scheduler", "app support"} == {problem.name for problem in stuck.problems}


async def test_the_scheduler_shows_that_it_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline of the scheduler moves on with its turns."""
    monkeypatch.setattr("watcher.polling.scheduler.TICK_SECONDS", 0.05)
    async with scheduling(ScriptedPoller()) as bench:
        for _ in range(3):  # the start, and two turns
            while await bench.liveness.parts.get() != "scheduler":
                pass


async def test_an_error_in_a_poll_is_the_end() -> None:
    """What a poll cannot survive, the daemon is told of."""
    poller = ScriptedPoller()

    def broken() -> PollResult:
        raise RuntimeError("broken")

    poller.answer = broken
    async with scheduling(poller) as bench:
        assert "broken" == str(await bench.deaths.get())


async def test_a_few_apps_are_polled_at_once() -> None:
    """Up to ten apps need not be spread: all of them are polled at the start."""
    polls: asyncio.Queue[float] = asyncio.Queue()
    bench = Bench(*(poller_of(f"app-{number}", polls) for number in range(10)))
    bench.scheduler.start()
    async with asyncio.timeout(BOUND):
        for _ in range(10):
            await polls.get()
    await bench.scheduler.stop()


async def test_many_apps_are_spread_over_the_interval() -> None:
    """Eleven and more begin at random phases, so that a thousand apps are not polled in one instant."""
    polls: asyncio.Queue[float] = asyncio.Queue()
    names = [f"app-{number}" for number in range(200)]
    bench = Bench(*(poller_of(name, polls) for name in names))
    bench.scheduler.start()
    jobs = [bench.scheduler._scheduler.get_job(name) for name in names]
    quarters = Counter(int((job.next_run_time.timestamp() - time.time()) / 900) for job in jobs if job)
    await bench.scheduler.stop()
    assert {0, 1, 2, 3} == quarters.keys()
    assert min(quarters.values()) > 10
