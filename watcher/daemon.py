"""The daemon: runs the services until a signal, then drains; or polls and delivers once."""

import asyncio
import errno
import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NoReturn
from urllib.parse import urlsplit

import structlog

from watcher import __version__
from watcher.bootstrap import Services, check_clock, config_problems, open_services, sync_outbox_with_config
from watcher.concurrency import run_blocking
from watcher.config.models import Config
from watcher.logs import flush
from watcher.polling.batching import HOLD_SECONDS
from watcher.polling.clock import ClockChange, ClockWatch, boottime
from watcher.polling.poller import DEADLINE_TIMEOUTS, OUTCOMES
from watcher.polling.scheduler import Scheduler
from watcher.store import StoreUnavailable

DRAIN_SECONDS: Final = 8.0
"""How long the sends under way may take after a signal: less than the 10 s of `docker stop`."""

ABORT_SECONDS: Final = 0.5
"""How long the last log line may take after a second signal."""

CLOCK_CHECK_INTERVAL: Final = 5.0

DATABASE_CHECK_INTERVAL: Final = 5.0

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

    The process is to execute itself anew if that is SIGHUP: then `reload`, which reads the configuration or
    raises a ValueError with a line for each problem, found none. `listening` is a socket for the HTTP
    endpoints, in place of the configured address.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
        CannotListenError: the HTTP endpoints cannot be served.
        DaemonDiedError: a task failed, or the database can no longer be used.
    """
    _raise_descriptor_limit()
    async with _open_with_endpoints(config, listening) as services:
        daemon = _Daemon(services, reload)
        daemon.handle_signals()
        log.info(
            "daemon.started",
            version=__version__,
            pid=os.getpid(),
            apps=[app.name for app in config.apps],
            notifiers=[notifier.name for notifier in services.notifiers],
        )
        _log_warnings(config)
        await check_clock(services)
        await sync_outbox_with_config(services)
        await daemon.run(seconds)
    log.info("daemon.stopped")
    return daemon.ended_by


async def once(config: Config) -> bool:
    """Polls every app once and delivers what is due; returns whether all of that succeeded.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
    """
    _raise_descriptor_limit()
    async with open_services(config) as services:
        _log_warnings(config)
        await check_clock(services)
        await sync_outbox_with_config(services)
        services.store.mark_polled()  # no worker claims anything before the polls have ended
        await services.store.prune(before=time.time() - config.retention)
        results = await asyncio.gather(*(poller.poll() for poller in services.pollers))
        names = [notifier.name for notifier in services.notifiers]
        apps = [app.name for app in config.apps]
        await services.dispatcher.run(until_idle=True)
        if await services.store.undelivered(apps, names, now=time.time(), untried=True):
            # The trouble of one notifier is an event for the others, which may already have been idle.
            await services.dispatcher.run(until_idle=True)
        left = await services.store.undelivered(apps, names, now=time.time())
        if left:
            log.error("once.undelivered", deliveries=left, hint="see `watcher deliveries --state pending`")
        good = left == 0 and all(result.complete for result in results)
        if good and services.heartbeat is not None:
            await services.heartbeat.beat()
        return good


@asynccontextmanager
async def _open_with_endpoints(config: Config, listening: socket.socket | None) -> AsyncIterator[Services]:
    if not config.http_port and listening is None:
        async with open_services(config) as services:
            yield services
        return
    # What only the endpoints need is slow to import.
    from watcher.monitoring.metrics import Metrics  # noqa: PLC0415
    from watcher.monitoring.server import answers_of, serving  # noqa: PLC0415

    metrics = Metrics(
        apps=[app.name for app in config.apps],
        notifiers=[notifier.name for notifier in config.notifiers],
        outcomes=OUTCOMES,
        version=__version__,
    )
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(open_services(config))
        services.hooks.subscribe(metrics)
        host, port = config.http_host, config.http_port
        try:
            answers = answers_of(services.monitor, metrics)
            names = (*config.http_allowed_hosts, urlsplit(config.public_url or "").hostname or host)
            await stack.enter_async_context(
                serving(answers, host, port, allowed_hosts=names, listening=listening)
            )
        except (OSError, ValueError) as error:  # ValueError: a host that is no name at all
            raise CannotListenError(describe_listen_error(host, port, error)) from None
        host, port = listening.getsockname()[:2] if listening else (host, port)
        log.info("http.listening", host=host, port=port, url=f"http://{_authority(host, port)}/")
        yield services


def describe_listen_error(host: str, port: int, error: Exception) -> str:
    """Returns a line that names the setting and its variable, the address, and why it cannot be used."""
    number = getattr(error, "errno", None)
    reason = os.strerror(number) if number and number > 0 else str(error)
    setting = "http_port" if number in {errno.EADDRINUSE, errno.EACCES} else "http_host"
    return f"{setting} (WATCHER_{setting.upper()}): cannot listen on {_authority(host, port)}: {reason}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Daemon:
    def __init__(self, services: Services, reload: Callable[[], Config] | None) -> None:
        self.ended_by: signal.Signals | None = None
        self._services = services
        self._reload = reload
        self._reload_asked = asyncio.Event()
        self._end = asyncio.Event()
        self._reason: Exception | None = None
        if services.heartbeat is not None:
            services.hooks.subscribe(services.heartbeat)
        self._scheduler = Scheduler(
            services.pollers,
            poll_limit=DEADLINE_TIMEOUTS * services.config.request_timeout,
            prune=self._prune,
            observer=services.hooks,
            die=self._die,
            wall=time.time,
        )

    def handle_signals(self) -> None:
        """Stops at SIGTERM and SIGINT, polls at SIGUSR1, and reloads at SIGHUP if that is possible."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGUSR1, self._poll_now)
        if self._reload is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reload_asked.set)
            # A process that executes itself anew blocks the signal until here, so that none is lost.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    async def run(self, seconds: float | None) -> None:
        """Runs until a signal, the end of the time, or a failure; then drains."""
        release = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release_unpolled)
        delivering = self._start(self._services.dispatcher.run())
        watching = [
            self._start(self._watch_clock(ClockWatch(time.time, time.monotonic, boottime))),
            self._start(self._watch_reload()),
            self._start(self._watch_database()),
        ]
        self._scheduler.start()
        try:
            async with asyncio.timeout(seconds):
                await self._end.wait()
        except TimeoutError:
            log.info("daemon.stopping", reason="time is over")
        release.cancel()
        for task in watching:
            task.cancel()
        await self._scheduler.stop()
        self._services.dispatcher.stop()
        done, _ = await asyncio.wait({delivering}, timeout=DRAIN_SECONDS)
        if not done:
            delivering.cancel()
            await asyncio.wait({delivering})
        if self._reason is not None:
            raise DaemonDiedError(f"{type(self._reason).__name__}: {self._reason}") from self._reason

    def _release_unpolled(self) -> None:
        """Lets the workers claim what an earlier process left, also for apps that were not polled yet."""
        if self._services.store.mark_polled():
            self._services.dispatcher.wake()

    def _stop(self, number: signal.Signals) -> None:
        log.info("daemon.stopping", reason=number.name)
        for other in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(other, _abort, other)
        self.ended_by = number
        self._end.set()

    def _poll_now(self) -> None:
        log.info("daemon.polling_now", reason=signal.SIGUSR1.name)
        self._scheduler.poll_now()

    async def _watch_reload(self) -> None:
        """Ends the daemon when SIGHUP came and the configuration as it is now can be used."""
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            assert self._reload is not None
            problems = await config_problems(self._reload)
            if problems:
                log.error("config.reload_failed", problems=problems)
                continue
            log.info("config.reloaded")
            log.info("daemon.stopping", reason=signal.SIGHUP.name)
            self.ended_by = signal.SIGHUP
            self._end.set()
            return

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._on_death)
        return task

    def _on_death(self, task: asyncio.Task[None]) -> None:
        """Ends the daemon when a task fails, so that its supervisor starts it again."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._die(error)

    def _die(self, error: BaseException) -> None:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._reason = error if isinstance(error, Exception) else RuntimeError(repr(error))
        log.error("daemon.stopping", reason=f"{type(error).__name__}: {error}")
        self._end.set()

    async def _prune(self) -> None:
        try:
            await self._services.store.prune(before=time.time() - self._services.config.retention)
        except StoreUnavailable as error:
            log.warning("database.prune_failed", error=str(error))

    async def _watch_clock(self, clock: ClockWatch) -> None:
        while True:
            await asyncio.sleep(CLOCK_CHECK_INTERVAL)
            change = clock.check()
            if change is not None:
                await self._follow_clock(change)

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


def _abort(number: signal.Signals) -> NoReturn:
    """Ends the process at once; what was not sent is in the outbox, as after a crash."""
    log.warning("daemon.aborted", reason=number.name)
    flush(ABORT_SECONDS)
    os._exit(128 + number)


def _log_warnings(config: Config) -> None:
    for warning in config.warnings:
        log.warning("config.warning", message=warning)


def _raise_descriptor_limit() -> None:
    """A thousand apps need a thousand connections; the soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
