"""The daemon: runs the parts, handles signals, drains; or polls and delivers once."""

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NoReturn

import structlog

from watcher import __version__
from watcher.bootstrap import Services, notifier_policies, open_services, routes
from watcher.config.models import Config
from watcher.logs import flush, log_superseded
from watcher.models import App
from watcher.polling.batching import HOLD_SECONDS
from watcher.polling.poller import DEADLINE_TIMEOUTS, OUTCOMES
from watcher.polling.scheduler import Scheduler
from watcher.store import StoreUnavailable

DRAIN_SECONDS: Final = 10.0
"""How long sends under way may take after a signal."""

ABORT_SECONDS: Final = 0.5
"""How long the last line may take after a second one."""

log = structlog.get_logger()


class DaemonDiedError(Exception):
    """A part of the daemon died, and the daemon with it."""


class CannotListenError(Exception):
    """The HTTP endpoints cannot be served where the settings say."""


async def run(
    config: Config, *, seconds: float | None = None, listening: socket.socket | None = None
) -> None:
    """The daemon: polls, delivers, until SIGTERM or SIGINT, or for so many seconds.

    `listening` is a socket for the HTTP endpoints, instead of what the configuration says.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
        CannotListenError: the HTTP endpoints cannot be served.
        DaemonDiedError: a part died, or the database can no longer be used.
    """
    _raise_descriptor_limit()
    end = _end_by_signal()
    async with _open_with_endpoints(config, listening) as parts:
        log.info(
            "daemon.started",
            version=__version__,
            pid=os.getpid(),
            apps=[app.name for app in config.apps],
            notifiers=[notifier.name for notifier in parts.notifiers],
        )
        _log_warnings(config)
        await _sync_outbox_with_config(parts)
        await _Daemon(parts, end).run(seconds)
    log.info("daemon.stopped")


async def once(config: Config) -> bool:
    """Polls every app once and delivers what is due; returns whether all of that succeeded.

    Raises:
        StoreUnusable: the database cannot be used, or another process has it.
    """
    _raise_descriptor_limit()
    async with open_services(config) as parts:
        _log_warnings(config)
        await _sync_outbox_with_config(parts)
        parts.store.mark_polled()  # nothing is given out before the polls have ended
        await parts.store.prune(before=time.time() - config.retention)
        waits = await asyncio.gather(*(poller.poll() for poller in parts.pollers))
        names = [notifier.name for notifier in parts.notifiers]
        apps = [app.name for app in config.apps]
        await parts.dispatcher.run(until_idle=True)
        if await parts.store.undelivered(apps, names, now=time.time(), untried=True):
            # What happened to one notifier was news for another, which had nothing to do any more.
            await parts.dispatcher.run(until_idle=True)
        left = await parts.store.undelivered(apps, names, now=time.time())
        if left:
            log.error("once.undelivered", deliveries=left, hint="see `watcher deliveries --state pending`")
        whole = all(wait is None for wait in waits) and all(poller.whole for poller in parts.pollers)
        good = left == 0 and whole
        if good and parts.heartbeat is not None:
            await parts.heartbeat.beat()
        return good


@asynccontextmanager
async def _open_with_endpoints(config: Config, listening: socket.socket | None) -> AsyncIterator[Services]:
    if not config.http_port and listening is None:
        async with open_services(config) as parts:
            yield parts
        return
    # What only the endpoints need is slow to import.
    from watcher.monitoring.metrics import Metrics  # noqa: PLC0415
    from watcher.monitoring.server import serve  # noqa: PLC0415

    metrics = Metrics(
        apps=[app.name for app in config.apps],
        notifiers=[notifier.name for notifier in config.notifiers],
        outcomes=OUTCOMES,
        version=__version__,
    )
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(open_services(config))
        parts.hooks.subscribe(metrics)
        host, port = config.http_host, config.http_port
        try:
            await stack.enter_async_context(serve(parts.monitor, metrics, host, port, listening))
        except (OSError, ValueError) as error:  # ValueError: a host that is no name at all
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number and number > 0 else str(error)
            raise CannotListenError(
                f"http_host, http_port: cannot listen on {host} port {port}: {reason}"
            ) from None
        host, port = listening.getsockname()[:2] if listening else (host, port)
        log.info("http.listening", host=host, port=port)
        yield parts


class _Daemon:
    def __init__(self, parts: Services, end: asyncio.Event) -> None:
        self._parts = parts
        self._end = end
        self._reason: Exception | None = None
        if parts.heartbeat is not None:
            parts.hooks.subscribe(parts.heartbeat)
        self._schedule = Scheduler(
            parts.pollers,
            poll_limit=DEADLINE_TIMEOUTS * parts.config.request_timeout,
            prune=self._prune,
            shift=self._shift_deliveries,
            observer=parts.hooks,
            die=self._die,
            wall=time.time,
            monotonic=time.monotonic,
        )

    async def run(self, seconds: float | None) -> None:
        """Runs until a signal, the time is over, or something dies; then drains."""
        patience = asyncio.get_running_loop().call_later(HOLD_SECONDS, self._stop_withholding)
        delivering = asyncio.create_task(self._parts.dispatcher.run())
        delivering.add_done_callback(self._on_death)
        clock = asyncio.create_task(self._schedule.watch_clock())
        clock.add_done_callback(self._on_death)
        self._schedule.start()
        try:
            async with asyncio.timeout(seconds):
                await self._end.wait()
        except TimeoutError:
            log.info("daemon.stopping", reason="time is over")
        clock.cancel()
        patience.cancel()
        await self._schedule.stop()
        self._parts.dispatcher.stop()
        done, _ = await asyncio.wait({delivering}, timeout=DRAIN_SECONDS)
        if not done:
            delivering.cancel()
            await asyncio.wait({delivering})
        if self._reason is not None:
            raise DaemonDiedError(f"{type(self._reason).__name__}: {self._reason}") from self._reason

    def _stop_withholding(self) -> None:
        if self._parts.store.mark_polled():
            self._parts.dispatcher.wake()

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

    async def _prune(self) -> None:
        try:
            await self._parts.store.prune(before=time.time() - self._parts.config.retention)
        except StoreUnavailable as error:
            log.warning("database.prune_failed", error=str(error))

    async def _shift_deliveries(self, moved: float) -> None:
        """What was to be sent in a minute by the old clock is to be sent in a minute by the new one."""
        try:
            await self._parts.store.shift_timestamps(moved)
        except StoreUnavailable as error:
            log.warning("clock.shift_failed", error=str(error))


def _end_by_signal() -> asyncio.Event:
    """Returns what SIGTERM or SIGINT sets from now on; a second one ends the process at once."""
    loop, end = asyncio.get_running_loop(), asyncio.Event()

    def stop(number: signal.Signals) -> None:
        log.info("daemon.stopping", reason=number.name)
        for other in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(other, _abort, other)
        end.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return end


def _abort(number: signal.Signals) -> NoReturn:
    """Ends the process without waiting for anything: what was not sent is in the outbox, as after a crash."""
    log.warning("daemon.aborted", reason=number.name)
    flush(ABORT_SECONDS)
    os._exit(128 + number)


def _log_warnings(config: Config) -> None:
    for warning in config.warnings:
        log.warning("config.warning", message=warning)


async def _sync_outbox_with_config(parts: Services) -> None:
    """Brings the outbox in line with a configuration that may have changed since the last start."""
    names = [notifier.name for notifier in parts.notifiers]
    ages = {
        name: kept.remind_after for name, kept in notifier_policies(parts.config, parts.notifiers).items()
    }
    apps = {app.name: app.notify for app in parts.config.apps}
    log_superseded(await parts.store.plan_reminders(ages, apps, now=time.time()))
    audiences = [
        (App(app.name, app.base_url), routes(parts.config, app, parts.notifiers)) for app in parts.config.apps
    ]
    for notifier, requests in (await parts.store.backfill_new_notifiers(audiences, now=time.time())).items():
        log.info("notifier.backfilled", notifier=notifier, requests=requests)
    await parts.store.hold_until_polled(list(apps))
    for delivery in await parts.store.dead_letter_removed(names, now=time.time()):
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
