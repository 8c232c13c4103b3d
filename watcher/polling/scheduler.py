"""When what is done: polls of apps, pruning, and the sign that all this turns."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from watcher.hooks import Observer
from watcher.polling.poller import Poller

FEW_APPS: Final = 10
"""Up to this many apps are first polled at once; more are spread over the interval."""
CLOCK_STEP: Final = 2.0
"""Seconds by which the wall clock may drift between two looks before the schedule is made anew."""
CLOCK_CHECK_INTERVAL: Final = 5.0
PRUNE_SECONDS: Final = 60.0
TICK_SECONDS: Final = 5.0
"""How often the scheduler shows that it turns."""

log = structlog.get_logger()


class Scheduler:
    """Has each app polled at its times, one poll of an app at a time."""

    def __init__(
        self,
        pollers: Sequence[Poller],
        *,
        poll_limit: float,
        prune: Callable[[], Awaitable[None]],
        shift: Callable[[float], Awaitable[None]],
        observer: Observer,
        die: Callable[[BaseException], None],
        wall: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """`poll_limit` is the seconds that a poll may take; `die` is told of what nothing survives.

        `shift` moves what waits to be sent by the seconds by which the wall clock was set.
        """
        self._pollers = pollers
        self._poll_limit = poll_limit
        self._prune_now = prune
        self._shift = shift
        self._observer = observer
        self._die = die
        self._wall = wall
        self._monotonic = monotonic
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._polls: set[asyncio.Task[None]] = set()
        self._offset = wall() - monotonic()

    def start(self) -> None:
        """Books everything."""
        for poller in self._pollers:
            self._reschedule(poller)
        self._schedule_all()
        self._observer.set_deadline("scheduler", TICK_SECONDS)
        self._scheduler.start()

    async def watch_clock(self) -> None:
        """Looks at the clock again and again."""
        while True:
            await asyncio.sleep(CLOCK_CHECK_INTERVAL)
            await self.check_clock()

    async def check_clock(self) -> None:
        """The scheduler sleeps by the wall clock: when that was set, everything is booked anew."""
        moved = self._wall() - self._monotonic() - self._offset
        if abs(moved) <= CLOCK_STEP:
            return
        self._offset += moved
        log.warning("clock.stepped", seconds=round(moved, 1))
        await self._shift(moved)
        for poller in self._pollers:
            poller.shift_clock(moved)
            if self._scheduler.get_job(poller.config.name) is not None:
                self._reschedule(poller)
        self._schedule_all()
        self._scheduler.wakeup()

    async def stop(self) -> None:
        """Begins nothing more and gives up the polls under way."""
        self._scheduler.pause()
        polls = list(self._polls)
        for task in polls:
            task.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)

    def _schedule_all(self) -> None:
        for name, work, seconds in (
            ("prune", self._prune, PRUNE_SECONDS),
            ("tick", self._tick, TICK_SECONDS),
        ):
            self._scheduler.add_job(
                work,
                "interval",
                seconds=seconds,
                next_run_time=datetime.now(UTC),
                id=f"every {seconds:g} s: {name}",  # no app can be named like that
                replace_existing=True,
                misfire_grace_time=None,
                coalesce=True,
                max_instances=2,  # one that still runs when the clock is set must not keep off the next
            )

    def _reschedule(self, poller: Poller) -> None:
        """Few apps are polled at once, many at random phases, so that they spread out."""
        few = len(self._pollers) <= FEW_APPS
        phase = 0.0 if few else random.uniform(0.0, poller.config.poll_interval)
        self._schedule_poll(poller, self._wall() + phase)

    def _schedule_poll(self, poller: Poller, at: float) -> None:
        self._observer.set_deadline(f"app {poller.config.name}", max(at - self._wall(), 0.0))
        self._scheduler.add_job(
            self._poll,
            "date",
            run_date=datetime.fromtimestamp(at, UTC),
            args=[poller, at],
            id=poller.config.name,
            replace_existing=True,
            misfire_grace_time=None,
            # The poll that books this one still counts as running; with 1 a due one would be dropped.
            max_instances=2,
        )

    async def _poll(self, poller: Poller, at: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._polls.add(task)
        self._observer.set_deadline(f"app {poller.config.name}", self._poll_limit)
        try:
            wait = await poller.poll()
        except asyncio.CancelledError:  # the end of this task anyway; the scheduler would log a traceback
            return
        except Exception as error:  # noqa: BLE001 - the scheduler would only log it
            self._die(error)
            return
        finally:
            self._polls.discard(task)
        now = self._wall()
        self._schedule_poll(
            poller, next_poll(at, now, poller.config.poll_interval) if wait is None else now + wait
        )

    async def _prune(self) -> None:
        try:
            await self._prune_now()
        except asyncio.CancelledError:  # as in _poll
            return
        except Exception as error:  # noqa: BLE001 - as in _poll
            self._die(error)

    async def _tick(self) -> None:
        self._observer.set_deadline("scheduler", TICK_SECONDS)


def next_poll(scheduled: float, now: float, interval: float) -> float:
    """Returns the first time after now that is a whole number of intervals after the scheduled one."""
    missed = math.floor((now - scheduled) / interval)  # below zero where the clock was set back meanwhile
    return scheduled + (missed + 1) * interval
