"""Decides when apps are polled, and shows that the schedule is kept."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from watcher.hooks import Observer
from watcher.polling.poller import Poller

FEW_APPS: Final = 10
"""Up to this many apps are all polled at once at the start; more are spread over the interval."""
TICK_SECONDS: Final = 5.0
"""How often the scheduler reports that it runs."""
_NO_REPETITION: Final = IntervalTrigger(days=36500)
"""Each poll sets the time of the next. Changing a job costs a third of adding one."""


class Scheduler:
    """Polls each app at its times, one poll of an app at a time.

    Times are Unix seconds by this machine's clock, by which APScheduler goes, also where another clock counts
    for what is recorded.
    """

    def __init__(
        self,
        pollers: Sequence[Poller],
        *,
        poll_limit: float,
        observer: Observer,
        die: Callable[[BaseException], None],
    ) -> None:
        """`poll_limit` is the longest time that a poll takes, in seconds.

        `die` is called with an error after which the daemon cannot go on.
        """
        self._pollers = pollers
        self._poll_limit = poll_limit
        self._observer = observer
        self._die = die
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._scheduled_at: dict[str, float] = {}
        self._poll_again: set[str] = set()

    def start(self) -> None:
        """Schedules everything and starts."""
        for poller in self._pollers:
            self._scheduler.add_job(
                self._poll,
                _NO_REPETITION,
                args=[poller],
                id=poller.config.name,
                misfire_grace_time=None,
                # The poll that schedules this one still counts as running; with 1 a due one would be dropped.
                max_instances=2,
            )
            self._schedule_first_poll(poller)
        self._schedule_tick()
        self._observer.set_deadline("scheduler", TICK_SECONDS)
        self._scheduler.start()

    def restart(self) -> None:
        """Schedules everything anew, after the wall clock was set or the machine slept."""
        for poller in self._pollers:
            if poller.config.name not in self._polls:
                self._schedule_first_poll(poller)
        self._schedule_tick()
        self._scheduler.wakeup()

    def poll_now(self) -> None:
        """Polls every app now, whatever its backoff; an app that is being polled is polled once more.

        Before the start and after the end it does nothing.
        """
        for poller in self._pollers if self._scheduler.running else ():
            if poller.config.name in self._polls:
                self._poll_again.add(poller.config.name)
            else:
                self._schedule_poll(poller, time.time())

    async def stop(self) -> None:
        """Starts nothing more and cancels the polls under way."""
        self._scheduler.pause()
        polls = list(self._polls.values())
        for task in polls:
            task.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)

    def _schedule_tick(self) -> None:
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=TICK_SECONDS,
            next_run_time=datetime.now(UTC),
            id="the tick",  # no app can have such a name
            replace_existing=True,
            misfire_grace_time=None,
            coalesce=True,
        )

    def _schedule_first_poll(self, poller: Poller) -> None:
        few = len(self._pollers) <= FEW_APPS
        phase = 0.0 if few else random.uniform(0.0, poller.config.poll_interval)
        self._schedule_poll(poller, time.time() + phase)

    def _schedule_poll(self, poller: Poller, at: float) -> None:
        self._observer.set_deadline(f"app {poller.config.name}", max(at - time.time(), 0.0))
        self._scheduled_at[poller.config.name] = at
        self._scheduler.modify_job(poller.config.name, next_run_time=datetime.fromtimestamp(at, UTC))

    async def _poll(self, poller: Poller) -> None:
        name, task = poller.config.name, asyncio.current_task()
        assert task is not None
        if name in self._polls:  # it was asked for between the start of a job and that of its task
            self._poll_again.add(name)
            return
        self._polls[name] = task
        self._observer.set_deadline(f"app {name}", self._poll_limit)
        try:
            result = await poller.poll()
        except asyncio.CancelledError:  # the task ends anyway; the scheduler would log a traceback
            return
        except Exception as error:  # noqa: BLE001 - the scheduler would only log it
            self._die(error)
            return
        finally:
            del self._polls[name]
        now = time.time()
        if name in self._poll_again:
            self._poll_again.remove(name)
            following = now
        elif result.wait is not None:
            following = now + result.wait
        else:
            following = next_poll(self._scheduled_at[name], now, poller.config.poll_interval)
        self._schedule_poll(poller, following)

    async def _tick(self) -> None:
        self._observer.set_deadline("scheduler", TICK_SECONDS)


def next_poll(scheduled: float, now: float, interval: float) -> float:
    """Returns the first time after now that is a whole number of intervals after the scheduled one."""
    missed = math.floor((now - scheduled) / interval)  # below zero if the clock was set back meanwhile
    return scheduled + (missed + 1) * interval
