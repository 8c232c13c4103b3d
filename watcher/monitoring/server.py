"""The HTTP endpoints: read-only, for probes, Prometheus and a browser."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar

from aiohttp import web

from watcher.models import Json
from watcher.monitoring.health import HealthReport, Problem, as_json
from watcher.monitoring.metrics import Metrics
from watcher.monitoring.snapshot import Monitor
from watcher.store import StoreError

CLOSING_SECONDS: Final = 1.0
"""How long answers that are under way may take at shutdown."""
IDLE_SECONDS: Final = 15.0
"""After which a connection without a request is closed."""
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer, unless it sets another value."""
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML page and the content security policy that it needs."""

    html: str
    policy: str


@dataclass(frozen=True, slots=True)
class Answers:
    """What the endpoints answer, computed for each request.

    `alive` is called on the event loop, the others on a thread. `pending` and `page` may raise StoreError.
    """

    alive: Callable[[], HealthReport]
    ready: Callable[[], HealthReport]
    metrics: Callable[[], bytes]
    pending: Callable[[], Json]
    page: Callable[[], Page]


def serve(
    monitor: Monitor, metrics: Metrics, host: str, port: int, listening: socket.socket | None
) -> AbstractAsyncContextManager[None]:
    """Serves the endpoints as long as the context lasts; see `serving`."""
    metrics.show(monitor.snapshot)

    def page() -> Page:
        from watcher.monitoring import status_page  # noqa: PLC0415 - templates cost 3 MiB, and many pages are never read

        return status_page.render(monitor.view())

    answers = Answers(
        alive=monitor.alive, ready=monitor.ready, metrics=metrics.text, pending=monitor.pending, page=page
    )
    return serving(answers, host, port, listening=listening)


@asynccontextmanager
async def serving(
    answers: Answers, host: str, port: int, *, listening: socket.socket | None = None
) -> AsyncIterator[None]:
    """Serves the endpoints on host and port, or on the socket `listening` instead.

    Raises:
        OSError: it cannot listen there.
    """
    # One thread, so that many questions take no time from polling and delivering.
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="http") as thread:
        runner = web.AppRunner(
            _application(_Endpoints(answers, thread)),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=IDLE_SECONDS,
            shutdown_timeout=CLOSING_SECONDS,
        )
        await runner.setup()
        try:
            site = web.SockSite(runner, listening) if listening else web.TCPSite(runner, host, port)
            await site.start()
            yield
        finally:
            await runner.cleanup()


class _Endpoints:
    def __init__(self, answers: Answers, thread: ThreadPoolExecutor) -> None:
        self._answers = answers
        self._thread = thread

    async def healthz(self, _: web.Request) -> web.Response:
        return _verdict(self._answers.alive(), "healthy")

    async def readyz(self, _: web.Request) -> web.Response:
        return _verdict(await self._find_out(self._answers.ready), "ready")

    async def metrics(self, _: web.Request) -> web.Response:
        text = await self._find_out(self._answers.metrics)
        return web.Response(body=text, headers={"Content-Type": METRICS_TYPE})

    async def pending(self, _: web.Request) -> web.Response:
        try:
            return _json(await self._find_out(self._answers.pending))
        except StoreError as error:
            return _verdict(HealthReport((Problem("part", "database", str(error)),)), "ready")

    async def page(self, _: web.Request) -> web.Response:
        try:
            page = await self._find_out(self._answers.page)
        except StoreError as error:
            return web.Response(text=f"{error}\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return web.Response(
            text=page.html, content_type="text/html", headers={"Content-Security-Policy": page.policy}
        )

    async def _find_out(self, question: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, question)


def _application(endpoints: _Endpoints) -> web.Application:
    application = web.Application()
    application.on_response_prepare.append(_add_headers)
    routes: dict[str, Handler] = {
        "/": endpoints.page,
        "/healthz": endpoints.healthz,
        "/readyz": endpoints.readyz,
        "/metrics": endpoints.metrics,
        "/api/pending": endpoints.pending,
    }
    for path, handler in routes.items():
        application.router.add_get(path, handler)
    return application


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "watcher"
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def _verdict(verdict: HealthReport, word: str) -> web.Response:
    status = HTTPStatus.OK if verdict.good else HTTPStatus.SERVICE_UNAVAILABLE
    return _json(as_json(verdict, word), status)


def _json(document: Json, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(
        text=json.dumps(document, indent=2) + "\n", status=status, content_type="application/json"
    )
