"""The composition root: builds the parts from the configuration, schedules polls, handles signals, drains."""

import asyncio
import math
import os
import random
import resource
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import aiohttp
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from watcher import __version__
from watcher.api import RunsClient, tls_context
from watcher.config import AppConfig, Config
from watcher.dispatcher import DeliverySettings, Dispatcher, Lane
from watcher.ids import event_id
from watcher.logs import log_superseded
from watcher.models import Route
from watcher.notifiers import build
from watcher.notifiers.base import Notifier
from watcher.notifiers.outgoing import ProxiedRequest
from watcher.pace import Pace
from watcher.poller import Poller, PollSettings
from watcher.redaction import Masker
from watcher.store import Store, StoreError, StoreUnusable, Terms

DRAIN_SECONDS: Final = 10.0
"""How long sends under way may take after a signal."""
FEW_APPS: Final = 10
"""Up to this many apps are first polled at once; more are spread over the interval."""
CLOCK_STEP: Final = 2.0
"""Seconds by which the wall clock may drift between two looks before the schedule is made anew."""
LOOK_AT_CLOCK: Final = 5.0
PRUNE_SECONDS: Final = 60.0

log = structlog.get_logger()


class DaemonDiedError(Exception):
    """A part of the daemon died, and the daemon with it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The running parts of one process."""

    config: Config
    store: Store
    notifiers: Sequence[Notifier]
    pollers: Sequence[Poller]
    dispatcher: Dispatcher


@asynccontextmanager
async def open_session(config: Config, tls: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    """The one session that carries everything that goes out to destinations."""
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    timeout = aiohttp.ClientTimeout(total=config.request_timeout)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        request_class=ProxiedRequest,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        yield session


def build_notifiers(config: Config, session: aiohttp.ClientSession) -> list[Notifier]:
    """Returns the configured notifiers."""
    return [
        build(
            section,
            session=session,
            request_timeout=config.request_timeout,
            clock=time.time,
            stream=sys.stdout,
        )
        for section in config.notifiers
    ]


@asynccontextmanager
async def open_parts(config: Config) -> AsyncIterator[Parts]:
    """Builds everything and closes it in the end.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
    """
    async with AsyncExitStack() as stack:
        store = Store(config.database, lambda now: event_id(now, os.urandom(10)))
        stack.push_async_callback(store.close)
        tls = tls_context()
        session = await stack.enter_async_context(open_session(config, tls))
        notifiers = build_notifiers(config, session)
        dispatcher = Dispatcher(_build_lanes(config, store, notifiers))
        pollers = _build_pollers(config, store, notifiers, dispatcher.wake, tls)
        for poller in pollers:
            stack.push_async_callback(poller.close)
        yield Parts(config, store, notifiers, pollers, dispatcher)


async def run(config: Config, *, seconds: float | None = None) -> None:
    """The daemon: polls, delivers, until SIGTERM or SIGINT, or for so many seconds.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
        DaemonDiedError: a part died, or the database can no longer be used.
    """
    _raise_descriptor_limit()
    end = _end_by_signal()
    async with open_parts(config) as parts:
        log.info(
            "daemon.started",
            version=__version__,
            pid=os.getpid(),
            apps=[app.name for app in config.apps],
            notifiers=[notifier.name for notifier in parts.notifiers],
        )
        _log_warnings(config)
        await _adopt(parts)
        await _Daemon(parts, end).run(seconds)
    log.info("daemon.stopped")


async def once(config: Config) -> bool:
    """Polls every app once and delivers what is due; returns whether all of that succeeded.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
    """
    _raise_descriptor_limit()
    async with open_parts(config) as parts:
        _log_warnings(config)
        await _adopt(parts)
        await parts.store.prune(before=time.time() - config.retention)
        waits = await asyncio.gather(*(poller.poll() for poller in parts.pollers))
        await parts.dispatcher.run(until_idle=True)
        names = [notifier.name for notifier in parts.notifiers]
        left = await parts.store.undelivered(names, now=time.time())
        if left:
            log.error("once.undelivered", deliveries=left, hint="see `watcher deliveries --state pending`")
        return left == 0 and all(wait is None for wait in waits)


class _Daemon:
    def __init__(self, parts: Parts, end: asyncio.Event) -> None:
        self._parts = parts
        self._end = end
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._polls: set[asyncio.Task[None]] = set()
        self._reason: Exception | None = None

    async def run(self, seconds: float | None) -> None:
        """Runs until a signal, the time is over, or something dies; then drains."""
        delivering = asyncio.create_task(self._parts.dispatcher.run())
        delivering.add_done_callback(self._on_death)
        clock = asyncio.create_task(self._watch_clock())
        clock.add_done_callback(self._on_death)
        self._start_schedule()
        try:
            async with asyncio.timeout(seconds):
                await self._end.wait()
        except TimeoutError:
            log.info("daemon.stopping", reason="time is over")
        clock.cancel()
        await self._stop_polling()
        self._parts.dispatcher.stop()
        done, _ = await asyncio.wait({delivering}, timeout=DRAIN_SECONDS)
        if not done:
            delivering.cancel()
            await asyncio.wait({delivering})
        if self._reason is not None:
            raise DaemonDiedError(f"{type(self._reason).__name__}: {self._reason}") from self._reason

    def _on_death(self, task: asyncio.Task[None]) -> None:
        """A part that dies takes the daemon with it; whoever supervises the process starts it anew."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._die(error)

    def _die(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._reason = error if isinstance(error, Exception) else RuntimeError(repr(error))
        log.error("daemon.stopping", reason=f"{type(error).__name__}: {error}")
        self._end.set()

    def _start_schedule(self) -> None:
        for poller in self._parts.pollers:
            self._book_anew(poller)
        self._scheduler.add_job(
            self._prune,
            "interval",
            seconds=PRUNE_SECONDS,
            next_run_time=datetime.now(UTC),
            misfire_grace_time=None,
            coalesce=True,
        )
        self._scheduler.start()

    def _book_anew(self, poller: Poller) -> None:
        """Few apps are polled at once, many at random phases, so that they spread out."""
        few = len(self._parts.pollers) <= FEW_APPS
        phase = 0.0 if few else random.uniform(0.0, poller.config.poll_interval)
        self._book(poller, time.time() + phase)

    def _book(self, poller: Poller, at: float) -> None:
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
        try:
            wait = await poller.poll()
        except asyncio.CancelledError:  # the end of this task anyway; the scheduler would log a traceback
            return
        except Exception as error:  # noqa: BLE001 - the scheduler would only log it
            self._die(error)
            return
        finally:
            self._polls.discard(task)
        now = time.time()
        self._book(poller, next_poll(at, now, poller.config.poll_interval) if wait is None else now + wait)

    async def _prune(self) -> None:
        try:
            await self._parts.store.prune(before=time.time() - self._parts.config.retention)
        except asyncio.CancelledError:  # as in _poll
            return
        except StoreUnusable as error:
            self._die(error)
        except StoreError as error:
            log.warning("database.prune_failed", error=str(error))

    async def _watch_clock(self) -> None:
        """The scheduler sleeps by the wall clock: when that is set, everything is booked anew."""
        offset = time.time() - time.monotonic()
        while True:
            await asyncio.sleep(LOOK_AT_CLOCK)
            moved = time.time() - time.monotonic() - offset
            if abs(moved) > CLOCK_STEP:
                offset += moved
                log.warning("daemon.clock_stepped", seconds=round(moved, 1))
                for poller in self._parts.pollers:
                    if self._scheduler.get_job(poller.config.name) is not None:
                        self._book_anew(poller)
                self._scheduler.wakeup()

    async def _stop_polling(self) -> None:
        self._scheduler.pause()
        polls = list(self._polls)
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)


def next_poll(scheduled: float, now: float, interval: float) -> float:
    """Returns the first time after now that is a whole number of intervals after the scheduled one."""
    missed = math.floor((now - scheduled) / interval)  # below zero where the clock was set back meanwhile
    return scheduled + (missed + 1) * interval


def routes(config: Config, app: AppConfig, notifiers: Sequence[Notifier]) -> list[Route]:
    """Returns how the notifiers of an app are to be told."""
    by_name = {notifier.name: notifier for notifier in notifiers}
    return [
        Route(
            section.name,
            by_name[section.name].for_people,
            section.after,
            section.resolved,
            digests=by_name[section.name].digests and config.digest_above > 0,
        )
        for section in config.notifiers
        if section.name in app.notify
    ]


def terms(config: Config, notifiers: Sequence[Notifier]) -> dict[str, Terms]:
    """Returns by name what holds for each notifier; reminders come after the message that they remind of."""
    return {
        section.name: Terms(
            remind_after=tuple(age for age in section.remind_after if age > section.after),
            alert_after=config.app_alert_after,
            others=tuple(
                Route(other.name, other.for_people) for other in notifiers if other.name != section.name
            ),
        )
        for section in config.notifiers
    }


def _end_by_signal() -> asyncio.Event:
    """Returns what SIGTERM or SIGINT sets from now on; a second one ends the process at once."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: signal.Signals) -> None:
        log.info("daemon.stopping", reason=number.name)
        for other in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(other)
        end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return end


def _build_lanes(config: Config, store: Store, notifiers: Sequence[Notifier]) -> list[Lane]:
    settings = DeliverySettings(config.backoff_max, config.give_up_after)
    agreed = terms(config, notifiers)
    paces = {notifier.place: Pace(notifier.spacing) for notifier in notifiers}
    return [
        Lane(
            notifier,
            store,
            settings,
            agreed[notifier.name],
            paces[notifier.place],
            scrub=config.redactor.scrub,
            wall=time.time,
            jitter=random.random,
        )
        for notifier in notifiers
    ]


def _build_pollers(
    config: Config,
    store: Store,
    notifiers: Sequence[Notifier],
    wake: Callable[[], None],
    tls: ssl.SSLContext,
) -> list[Poller]:
    masker = Masker(config.redact, config.redactor)
    settings = PollSettings(
        page_size=config.page_size,
        request_timeout=config.request_timeout,
        backoff_max=config.backoff_max,
        alert_after=config.app_alert_after,
        baseline=config.backlog == "baseline",
        digest_above=config.digest_above,
    )
    return [
        Poller(
            app,
            settings,
            client=RunsClient(
                app.base_url,
                app.access_key,
                timeout=config.request_timeout,
                keepalive=2 * app.poll_interval,
                tls=tls,
            ),
            store=store,
            routes=routes(config, app, notifiers),
            masker=masker,
            wake=wake,
            scrub=config.redactor.scrub,
            wall=time.time,
            jitter=random.random,
        )
        for app in config.apps
    ]


def _log_warnings(config: Config) -> None:
    for warning in config.warnings:
        log.warning("config.warning", message=warning)


async def _adopt(parts: Parts) -> None:
    """Brings the outbox in line with a configuration that may have changed since the last start."""
    names = [notifier.name for notifier in parts.notifiers]
    ages = {name: kept.remind_after for name, kept in terms(parts.config, parts.notifiers).items()}
    apps = {app.name: app.notify for app in parts.config.apps}
    log_superseded(await parts.store.plan_reminders(ages, apps, now=time.time()))
    for delivery in await parts.store.retire(names, now=time.time()):
        log.error(
            "delivery.dead",
            notifier=delivery.notifier,
            delivery=delivery.id,
            event_type=delivery.type,
            attempt=delivery.attempts,
            error=delivery.last_error,
        )


def _raise_descriptor_limit() -> None:
    """A thousand apps need a thousand connections; the soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
