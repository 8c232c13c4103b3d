"""What signals ask of a running daemon, whether it leads or stands by."""

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Final, NoReturn

import structlog

from watcher.bootstrap import config_problems
from watcher.config.models import Config
from watcher.logs import flush

ABORT_SECONDS: Final = 0.5
"""How long the last log line may take after a second signal."""

log = structlog.get_logger()


class Signals:
    """Handles the signals of a daemon: SIGTERM and SIGINT end it, SIGUSR1 polls, SIGHUP reloads."""

    def __init__(self, reload: Callable[[], Config] | None) -> None:
        """`reload` reads the configuration or raises a ValueError with a line for each problem."""
        self.ended_by: signal.Signals | None = None
        self.end = asyncio.Event()
        """Is set when the daemon is to end, by a signal or by anything else."""
        self.poll_now: Callable[[], None] = lambda: None
        self._reload = reload
        self._reload_asked = asyncio.Event()

    def handle(self) -> None:
        """Handles the signals from now on; SIGHUP only if there is something to reload."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGUSR1, self._poll_now)
        if self._reload is not None:
            loop.add_signal_handler(signal.SIGHUP, self._reload_asked.set)
            # A process that executes itself anew blocks the signal until here, so that none is lost.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    async def watch_reload(self) -> None:
        """Ends the daemon when SIGHUP came and the configuration as it is now can be used."""
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            assert self._reload is not None
            try:
                problems = await config_problems(self._reload)
            except asyncio.CancelledError:  # a standby begins to lead, which then reloads
                self._reload_asked.set()
                raise
            if problems:
                log.error("config.reload_failed", problems=problems)
                continue
            log.info("config.reloaded")
            log.info("daemon.stopping", reason=signal.SIGHUP.name)
            self.ended_by = signal.SIGHUP
            self.end.set()
            return

    def _stop(self, number: signal.Signals) -> None:
        log.info("daemon.stopping", reason=number.name)
        for other in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(other, _abort, other)
        self.ended_by = number
        self.end.set()

    def _poll_now(self) -> None:
        log.info("daemon.polling_now", reason=signal.SIGUSR1.name)
        self.poll_now()


def _abort(number: signal.Signals) -> NoReturn:
    """Ends the process at once; what was not sent is in the outbox, as after a crash."""
    log.warning("daemon.aborted", reason=number.name)
    flush(ABORT_SECONDS)
    os._exit(128 + number)
