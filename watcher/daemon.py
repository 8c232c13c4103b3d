"""The daemon: runs the services until a signal, then drains; or polls and delivers once."""

import asyncio
import errno
import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog

from watcher import __version__
from watcher.bootstrap import Services, check_clock, open_services, sync_outbox_with_config
from watcher.concurrency import run_blocking, run_together
from watcher.config.database import PostgresqlAddress
from watcher.config.models import Config
from watcher.monitoring.snapshot import Monitor
from watcher.polling.batching import HOLD_SECONDS
from watcher.polling.clock import ClockChange, ClockWatch, boottime
from watcher.polling.poller import DEADLINE_TIMEOUTS, OUTCOMES
from watcher.polling.scheduler import Scheduler
from watcher.signals import Signals
from watcher.standby import holding_lease, standing_by
from watcher.store import StoreLost, StoreUnavailable

if TYPE_CHECKING:
    from watcher.monitoring.server import Answers

DRAIN_SECONDS: Final = 8.0
"""How long the sends under way may take after a signal: less than the 10 s of `docker stop`."""

CLOCK_CHECK_INTERVAL: Final = 5.0

DATABASE_CHECK_INTERVAL: Final = 5.0

PRUNE_INTERVAL: Final = 60.0

log = structlog.get_logger()


class DaemonDiedError(Exception):
    """A task of the daemon failed, which ends the daemon."""


class CannotListenError(Exception):
    """The HTTP endpoints cannot be served at the configured address."""


async def run(
    config: Config,
    *,
    reload: Callable[[], Config] | None = None,
    seconds: float | None = None,
    listening: socket.socket | None = None,
) -> signal.Signals | None:
    """Polls and delivers until SIGTERM or SIGINT, or for so many seconds, and returns the signal.

    On PostgreSQL it stands by first, until it has the lease. `reload` reads the configuration, or raises a
    ValueError with a line for each problem; SIGHUP ends the daemon only if there is none, and the caller then
    executes the process anew. `listening` is a socket for the HTTP endpoints, in place of the configured
    address.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
        CannotListenError: the HTTP endpoints cannot be served.
        DaemonDiedError: a task failed, the database can no longer be used, or another replica took over.
    """
    _raise_descriptor_limit()
    signals = Signals(reload)
    async with AsyncExitStack() as stack:
        try:
            if isinstance(config.database, PostgresqlAddress):
                await _stand_by(config, signals, seconds, listening)
            else:
                services = await stack.enter_async_context(open_services(config))
                await stack.enter_async_context(_serve(config, listening, services))
                signals.handle()
                await _lead(services, signals, seconds)
        except StoreLost as error:
            log.error("daemon.lost", error=str(error))  # noqa: TRY400 - an expected end
            raise DaemonDiedError(str(error)) from None
    log.info("daemon.stopped")
    return signals.ended_by


async def _stand_by(
    config: Config, signals: Signals, seconds: float | None, listening: socket.socket | None
) -> None:
    """Waits for the lease, while the endpoints show who leads; then leads, and gives the lease back."""
    signals.handle()
    async with standing_by(config) as standby, _serve(config, listening, standby.monitor) as show:
        _log_warnings(config)
        if await standby.wait(signals):
            async with open_services(config, standby.keeper) as services:
                show(services)
                await _lead(services, signals, seconds, standby.lost)


async def _lead(
    services: Services,
    signals: Signals,
    seconds: float | None,
    lost: Callable[[], Coroutine[None, None, None]] | None = None,
) -> None:
    """Polls and delivers; `lost` raises an error when another replica took over."""
    daemon = _Daemon(services, signals)
    log.info(
        "daemon.started",
        version=__version__,
        pid=os.getpid(),
        apps=[app.name for app in services.config.apps],
        notifiers=[notifier.name for notifier in services.notifiers],
    )
    if lost is None:
        _log_warnings(services.config)
    await check_clock(services)
    await sync_outbox_with_config(services)
    await daemon.run(seconds, lost)


async def once(config: Config) -> bool:
    """Polls every app once and delivers what is due; returns whether all of that succeeded.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
    """
    _raise_descriptor_limit()
    async with AsyncExitStack() as stack:
        keeper = None
        if isinstance(config.database, PostgresqlAddress):
            keeper = await stack.enter_async_context(holding_lease(config.database))
        services = await stack.enter_async_context(open_services(config, keeper))
        store, wall = services.store, services.wall
        _log_warnings(config)
        await check_clock(services)
        await sync_outbox_with_config(services)
        store.mark_polled()  # no worker claims anything before the polls have ended
        await store.prune(before=wall() - config.retention)
        results = await run_together(poller.poll() for poller in services.pollers)
        names = [notifier.name for notifier in services.notifiers]
        apps = [app.name for app in config.apps]
        await services.dispatcher.run(until_idle=True)
        if await store.undelivered(apps, names, now=wall(), untried=True):
            # The trouble of one notifier is an event for the others, which may already have been idle.
            await services.dispatcher.run(until_idle=True)
        left = await store.undelivered(apps, names, now=wall())
        if left:
            log.error("once.undelivered", deliveries=left, hint="see `watcher deliveries --state pending`")
        good = left == 0 and all(result.complete for result in results)
        if good and services.heartbeat is not None:
            await services.heartbeat.beat()
        return good


@asynccontextmanager
async def _serve(
    config: Config, listening: socket.socket | None, shown: Services | Monitor
) -> AsyncIterator[Callable[[Services], None]]:
    """Serves the endpoints of a leader, or of a standby, which has no more than a monitor.

    Yields a function that makes them a leader's.
    """
    if not config.http_port and listening is None:
        yield lambda _: None
        return
    # What only the endpoints need is slow to import.
    from watcher.monitoring.server import serving  # noqa: PLC0415

    host, port = config.http_host, config.http_port
    names = (*config.http_allowed_hosts, urlsplit(config.public_url or "").hostname or host)
    async with AsyncExitStack() as stack:
        try:
            server = serving(_answers(shown), host, port, allowed_hosts=names, listening=listening)
            show = await stack.enter_async_context(server)
        except (OSError, ValueError) as error:  # ValueError: a host that is no name at all
            raise CannotListenError(describe_listen_error(host, port, error)) from None
        host, port = listening.getsockname()[:2] if listening else (host, port)
        log.info("http.listening", host=host, port=port, url=f"http://{_authority(host, port)}/")
        yield lambda services: show(_answers(services))


def _answers(shown: Services | Monitor) -> "Answers":
    from watcher.monitoring.metrics import Metrics, standby_metrics  # noqa: PLC0415
    from watcher.monitoring.server import answers_of  # noqa: PLC0415

    if not isinstance(shown, Services):
        return answers_of(shown, partial(standby_metrics, __version__))
    metrics = Metrics(
        apps=[app.name for app in shown.config.apps],
        notifiers=[notifier.name for notifier in shown.config.notifiers],
        outcomes=OUTCOMES,
        version=__version__,
    )
    shown.hooks.subscribe(metrics)
    metrics.show(shown.monitor.snapshot)
    return answers_of(shown.monitor, metrics.text)


def describe_listen_error(host: str, port: int, error: Exception) -> str:
    """Returns a line that names the setting and its variable, the address, and why it cannot be used."""
    number = getattr(error, "errno", None)
    reason = os.strerror(number) if number and number > 0 else str(error)
    setting = "http_port" if number in {errno.EADDRINUSE, errno.EACCES} else "http_host"
    return f"{setting} (WATCHER_{setting.upper()}): cannot listen on {_authority(host, port)}: {reason}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Daemon:
    def __init__(self, services: Services, signals: Signals) -> None:
        self._services = services
        self._signals = signals
        self._reason: BaseException | None = None
        if services.heartbeat is not None:
            services.hooks.subscribe(services.heartbeat)
        self._scheduler = Scheduler(
            services.pollers,
            poll_limit=DEADLINE_TIMEOUTS * services.config.request_timeout,
            observer=services.hooks,
            die=self._die,
        )
        signals.poll_now = self._scheduler.poll_now

    async def run(
        self, seconds: float | None, lost: Callable[[], Coroutine[None, None, None]] | None
    ) -> None:
        """Runs until a signal, the end of the time, or a failure; then drains."""
        release = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release_unpolled)
        delivering = self._start(self._services.dispatcher.run())
        others = [self._prune(), self._watch_clocks(), self._watch_database(), self._signals.watch_reload()]
        beside = [self._start(work) for work in [*others, *([lost()] if lost else [])]]
        self._scheduler.start()
        try:
            async with asyncio.timeout(seconds):
                await self._signals.end.wait()
        except TimeoutError:
            log.info("daemon.stopping", reason="time is over")
        release.cancel()
        for task in beside:
            task.cancel()
        await self._scheduler.stop()
        self._services.dispatcher.stop()
        # What a leader that was replaced still sends, its successor sends too; it cannot be recorded.
        limit = 0.0 if isinstance(self._reason, StoreLost) else DRAIN_SECONDS
        done, _ = await asyncio.wait({delivering}, timeout=limit)
        if not done:
            delivering.cancel()
            await asyncio.wait({delivering})
        if isinstance(self._reason, StoreLost):
            raise self._reason
        if self._reason is not None:
            raise DaemonDiedError(f"{type(self._reason).__name__}: {self._reason}") from self._reason

    def _release_unpolled(self) -> None:
        """Lets the workers claim what an earlier process left, also for apps that were not polled yet."""
        if self._services.store.mark_polled():
            self._services.dispatcher.wake()

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._on_death)
        return task

    def _on_death(self, task: asyncio.Task[None]) -> None:
        """Ends the daemon when a task fails, so that its supervisor starts it again."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._die(error)

    def _die(self, error: BaseException) -> None:
        self._reason = error
        log.error("daemon.stopping", reason=f"{type(error).__name__}: {error}")
        self._signals.end.set()

    async def _prune(self) -> None:
        services = self._services
        while True:
            try:
                await services.store.prune(before=services.wall() - services.config.retention)
            except StoreUnavailable as error:
                log.warning("database.prune_failed", error=str(error))
            await asyncio.sleep(PRUNE_INTERVAL)

    async def _watch_clocks(self) -> None:
        """Follows the clock of what is recorded, and this machine's, by which polls are scheduled."""
        recorded = ClockWatch(self._services.wall, time.monotonic, boottime)
        scheduled = ClockWatch(time.time, time.monotonic, boottime)
        while True:
            await asyncio.sleep(CLOCK_CHECK_INTERVAL)
            change, rescheduled = recorded.check(), scheduled.check() is not None
            if change is not None:
                await self._follow_clock(change)
            elif rescheduled:
                self._scheduler.restart()

    async def _watch_database(self) -> None:
        """Logs once when the database can no longer be read, and once when it can again."""
        before: str | None = None
        while True:
            await asyncio.sleep(DATABASE_CHECK_INTERVAL)
            problem = await run_blocking(self._services.monitor.database_problem)
            if problem and not before:
                log.error("database.unreadable", error=problem)
            elif before and not problem:
                log.info("database.readable")
            before = problem

    async def _follow_clock(self, change: ClockChange) -> None:
        """Keeps every wait as long as it was if the clock was set; polls and claims at once in any case."""
        if change.slept:
            log.info("clock.slept", seconds=round(change.slept, 1))
        for poller in self._services.pollers:
            poller.clock_changed(change)
        if change.step:
            log.warning("clock.stepped", seconds=round(change.step, 1))
            try:
                await self._services.store.shift_timestamps(change.step)
            except StoreUnavailable as error:
                log.warning("clock.shift_failed", error=str(error))
        self._scheduler.restart()
        self._services.dispatcher.wake()


def _log_warnings(config: Config) -> None:
    for warning in config.warnings:
        log.warning("config.warning", message=warning)


def _raise_descriptor_limit() -> None:
    """A thousand apps need a thousand connections; the soft limit is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # macOS refuses a soft limit that is infinite; a sandbox refuses any
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
