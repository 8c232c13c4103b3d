"""Pings a URL while all is well, so that somebody else notices when it is not, or when there is no daemon."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

import aiohttp
import structlog

from watcher import __version__
from watcher.hooks import SUCCESS, Observer
from watcher.monitoring.health import HealthReport
from watcher.notifiers.http_post import from_client_error
from watcher.sanitize.secrets import Secret, SecretError

log = structlog.get_logger()


class Heartbeat(Observer):
    """Pings at most once per cycle, in which every app was polled whole, and only if all is well then."""

    def __init__(
        self,
        url: Secret,
        *,
        apps: Iterable[str],
        ready: Callable[[], Awaitable[HealthReport]],
        session: aiohttp.ClientSession,
        timeout: float,
    ) -> None:
        """`timeout` is the seconds that a ping may take."""
        self._url = url
        self._apps = frozenset(apps)
        self._ready = ready
        self._session = session
        self._timeout = timeout
        self._whole: set[str] = set()
        self._beat: asyncio.Task[None] | None = None

    def polled(self, app: str, outcome: str, seconds: float) -> None:  # noqa: ARG002 - as the hook has it
        """Takes note of a poll; where it completes a cycle, pings without being waited for."""
        if outcome != SUCCESS:
            self._whole.discard(app)
            return
        self._whole.add(app)
        if self._whole >= self._apps and (self._beat is None or self._beat.done()):
            self._whole.clear()
            self._beat = asyncio.create_task(self.beat())

    async def beat(self) -> None:
        """Pings if all is well. A ping that fails is no more than a warning."""
        verdict = await self._ready()
        if not verdict.good:
            log.debug("heartbeat.skipped", problems=len(verdict.problems))
            return
        try:
            status = await self._get(self._url.read())
        except SecretError as error:
            log.warning("heartbeat.failed", error=str(error))
        except (aiohttp.ClientError, OSError, ValueError) as error:
            log.warning("heartbeat.failed", error=str(from_client_error(error, self._timeout)))
        else:
            if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                log.warning("heartbeat.failed", error=f"HTTP {status}")

    async def close(self) -> None:
        """Gives up the ping that is under way."""
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.wait({self._beat})

    async def _get(self, url: str) -> int:
        async with self._session.get(
            url,
            headers={"User-Agent": f"dynamiq-watcher/{__version__}"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
        ) as response:
            return response.status
