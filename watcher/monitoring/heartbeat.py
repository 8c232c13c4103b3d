"""Pings a URL while the daemon is ready, so that another service notices when it is not, or is gone."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

import aiohttp
import structlog

from watcher import __version__
from watcher.hooks import SUCCESS, Observer
from watcher.monitoring.health import HealthReport
from watcher.net import as_configured
from watcher.notifiers.http_post import from_client_error
from watcher.proxies import proxy_for
from watcher.sanitize.secrets import Secret, SecretError

log = structlog.get_logger()


class Heartbeat(Observer):
    """Pings once per cycle if the daemon is ready; a cycle ends when every app was polled successfully."""

    def __init__(
        self,
        url: Secret,
        *,
        apps: Iterable[str],
        ready: Callable[[], Awaitable[HealthReport]],
        session: aiohttp.ClientSession,
        timeout: float,
    ) -> None:
        """`ready` returns the readiness; a ping may take `timeout` seconds."""
        self._url = url
        self._apps = frozenset(apps)
        self._ready = ready
        self._session = session
        self._timeout = timeout
        self._succeeded: set[str] = set()
        self._beat: asyncio.Task[None] | None = None

    def polled(self, app: str, outcome: str, seconds: float) -> None:  # noqa: ARG002 - as the hook has it
        """Starts a ping, without waiting for it, if the poll completes a cycle."""
        if outcome != SUCCESS:
            self._succeeded.discard(app)
            return
        self._succeeded.add(app)
        if self._succeeded >= self._apps and (self._beat is None or self._beat.done()):
            self._succeeded.clear()
            self._beat = asyncio.create_task(self.beat())

    async def beat(self) -> None:
        """Pings if the daemon is ready. A failed ping is logged and not repeated."""
        report = await self._ready()
        if not report.good:
            log.debug("heartbeat.skipped", problems=len(report.problems))
            return
        try:
            status = await self._get(await self._url.fetch())
        except SecretError as error:
            log.warning("heartbeat.failed", error=str(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("heartbeat.failed", error=str(from_client_error(error, self._timeout)))
        else:
            if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                log.warning("heartbeat.failed", error=f"HTTP {status}")

    async def close(self) -> None:
        """Cancels a ping that is under way."""
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.wait({self._beat})

    async def _get(self, url: str) -> int:
        async with self._session.get(
            as_configured(url),
            proxy=proxy_for(url, os.environ),
            headers={"User-Agent": f"dynamiq-watcher/{__version__}"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
        ) as response:
            return response.status
