"""The HTTP endpoints: read-only, for probes, Prometheus and a browser."""

import asyncio
import ipaddress
import json
import re
import socket
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from textwrap import indent
from typing import Final

from aiohttp import web

from watcher.monitoring.connections import ANSWER_SECONDS, WRITE_SECONDS, BoundedServer, Connection
from watcher.monitoring.health import HealthReport, Problem, as_json
from watcher.monitoring.snapshot import Monitor, StatusQuery, pending_json
from watcher.monitoring.work_queue import QueueFullError, WorkQueue
from watcher.store import StoreError

CLOSING_SECONDS: Final = 0.5
"""How long answers that are under way may take at shutdown."""
WORK_WAITING: Final = 4
BODIES_MAX: Final = 32 << 20
"""Bytes of answers that may be held at a time for clients that read them."""
PIECE: Final = 1 << 16
"""Bytes that are written at a time."""
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "watcher",
    "X-Content-Type-Options": "nosniff",
}
"""On every answer, unless it sets another value."""
METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HTML_TYPE: Final = "text/html; charset=utf-8"
JSON_TYPE: Final = "application/json; charset=utf-8"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
_REQUEST_PATH: Final = re.compile("/requests/([0-9]{1,18})")
_HOST: Final = re.compile(r"(\[(?P<address>[^]]*)\]|(?P<name>[^:]*))(:\d*)?")

Place = tuple[float, int]
"""A place in the list of pending requests: when the last one before it was first seen, and its id."""


@dataclass(frozen=True, slots=True)
class Page:
    """An HTML page, the content security policy that it needs, and seconds until a browser reloads it."""

    html: str
    policy: str
    refresh: int | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What the endpoints answer, computed for each request.

    `alive` is called on the event loop, the others on a thread. `pending` returns the pending requests that
    follow a place in the list, as JSON, and the next place unless that was the end; it may return only some.
    `page` and `request` return None for what does not exist. These three may raise StoreError.
    """

    alive: Callable[[], HealthReport]
    ready: Callable[[], HealthReport]
    metrics: Callable[[], bytes]
    pending: Callable[[Place | None], tuple[Sequence[bytes], Place | None]]
    page: Callable[[StatusQuery], Page | None]
    request: Callable[[int], Page | None]


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response that was not sent yet; `more` are further pieces of its body."""

    body: bytes
    content_type: str = TEXT_TYPE
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    more: AsyncIterable[bytes] | None = None


def answers_of(monitor: Monitor, metrics: Callable[[], bytes]) -> Answers:
    """Returns the answers of a running daemon; `metrics` returns Prometheus' text."""

    def pending(after: Place | None) -> tuple[Sequence[bytes], Place | None]:
        requests, now = monitor.pending(after), monitor.wall()
        items = [json.dumps(pending_json(request, now), indent=2) for request in requests]
        following = (requests[-1].first_seen_at, requests[-1].id) if requests else None
        return [indent(item, "  ").encode() for item in items], following

    def page(query: StatusQuery) -> Page | None:
        from watcher.monitoring import status_page  # noqa: PLC0415 - templates cost 3 MiB; many daemons need none

        data = monitor.view(query)
        return status_page.render(data) if data is not None else None

    def request(number: int) -> Page | None:
        from watcher.monitoring import request_page  # noqa: PLC0415 - as above

        data = monitor.request(number)
        return request_page.render(data) if data is not None else None

    return Answers(monitor.alive, monitor.ready, metrics, pending, page, request)


@asynccontextmanager
async def serving(
    answers: Answers,
    host: str,
    port: int,
    *,
    allowed_hosts: Collection[str] = (),
    listening: socket.socket | None = None,
) -> AsyncIterator[Callable[[Answers], None]]:
    """Serves the endpoints on host and port, or on the socket `listening` instead.

    Yields a function that replaces the answers: those of a standby differ from a leader's.

    `allowed_hosts` are the names under which clients may ask for them, besides those of `host_is_allowed`.

    Raises:
        OSError: it cannot listen there.
    """
    endpoints = _Endpoints(answers, frozenset(map(_host_name, (host, *allowed_hosts))))
    server = BoundedServer(endpoints.handle, _invalid)
    loop = asyncio.get_running_loop()
    if listening is None:
        listener = await loop.create_server(server, host, port)
    else:
        listener = await loop.create_server(server, sock=listening)
    try:
        yield endpoints.show
    finally:
        listener.close()
        await server.close(CLOSING_SECONDS)


def host_is_allowed(header: str, allowed: Collection[str]) -> bool:
    """Returns whether a request with this `Host` header may be answered; `allowed` are lower-case names.

    A foreign web page can make a browser ask here under a name of its own (DNS rebinding), and then read the
    answer. It cannot do so under an IP address, a loopback name or the `allowed` names.
    """
    name = _host_name(header)
    if name in allowed or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Endpoints:
    """Answers requests. Probes have a queue of their own, so that pages do not delay them."""

    def __init__(self, answers: Answers, allowed_hosts: Collection[str]) -> None:
        self._answers = answers
        self._allowed_hosts = allowed_hosts
        self._probes = WorkQueue(waiting=WORK_WAITING)
        self._pages = WorkQueue(waiting=WORK_WAITING)
        self._held = 0

    def show(self, answers: Answers) -> None:
        """Gives these answers from now on."""
        self._answers = answers

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request.

        Raises:
            ConnectionError: the client is gone, or was too slow.
        """
        connection = request.protocol
        assert isinstance(connection, Connection)
        with connection.answering():
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    return await self._send(request, connection, await self._answer(request))
            except TimeoutError:
                connection.abort()
                raise ConnectionAbortedError from None

    async def _answer(self, request: web.BaseRequest) -> _Answer:
        # A program that sends no Host is no browser. `host` is that of the target if this is a whole URL.
        named = request.headers.getall("Host", ())
        hosts = [*named, request.host] if named else []
        if not all(host_is_allowed(host, self._allowed_hosts) for host in hosts):
            return _refusal(HTTPStatus.MISDIRECTED_REQUEST)
        handler = self._handler(request)
        if handler is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        if request.method not in {"GET", "HEAD"}:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, Allow="GET,HEAD")
        try:
            answer = await handler()
        except QueueFullError:
            answer = _busy()
        except StoreError as error:
            text = f"watcher cannot read its database: {error}\n"
            answer = _Answer(text.encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)
        return answer

    def _handler(self, request: web.BaseRequest) -> Callable[[], Awaitable[_Answer]] | None:
        if number := _REQUEST_PATH.fullmatch(request.path):
            return partial(self._request, int(number[1]))
        handlers: dict[str, Callable[[], Awaitable[_Answer]]] = {
            "/": partial(self._page, request),
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/api/pending": self._pending,
        }
        return handlers.get(request.path)

    async def _healthz(self) -> _Answer:
        return _report(self._answers.alive(), "healthy")

    async def _readyz(self) -> _Answer:
        return _report(await self._probes.do("ready", self._answers.ready), "ready")

    async def _metrics(self) -> _Answer:
        return _Answer(await self._probes.do("metrics", self._answers.metrics), METRICS_TYPE)

    async def _pending(self) -> _Answer:
        try:
            items, following = await self._pages.do(None, partial(self._answers.pending, None))
        except StoreError as error:
            return _report(HealthReport((Problem("part", "database", str(error)),)), "ready")
        if following is None:
            return _Answer(b"[]\n", JSON_TYPE)
        return _Answer(b"[\n" + b",\n".join(items), JSON_TYPE, more=self._further(following))

    async def _further(self, place: Place | None) -> AsyncIterator[bytes]:
        """Yields the rest of the pending requests as JSON, from a place in the list on."""
        while place is not None:
            work = partial(self._answers.pending, place)
            items, place = await self._pages.do(place, work, admitted=True)
            for item in items:
                yield b",\n" + item
        yield b"\n]\n"

    async def _page(self, request: web.BaseRequest) -> _Answer:
        query = StatusQuery.parse(request.query)
        page = await self._pages.do(query, partial(self._answers.page, query))
        return _shown(page)

    async def _request(self, number: int) -> _Answer:
        return _shown(await self._pages.do(number, partial(self._answers.request, number)))

    async def _send(
        self, request: web.BaseRequest, connection: Connection, answer: _Answer
    ) -> web.StreamResponse:
        size = len(answer.body)
        if self._held and self._held + size > BODIES_MAX:
            answer, size = _busy(), 0
        response = _response(answer)
        self._held += size
        try:
            connection.limit(WRITE_SECONDS)
            await response.prepare(request)
            if request.method != "HEAD":
                await _write(response, connection, answer)
            await response.write_eof()
        except StoreError:  # the client sees that the answer does not end as it should
            connection.abort()
            raise ConnectionAbortedError from None
        finally:
            self._held -= size
        return response


def _host_name(header: str) -> str:
    """Returns the host of a `Host` header, without port and brackets, in the form to compare."""
    name = header.strip().lower()
    if found := _HOST.fullmatch(name):
        name = found["address"] or found["name"] or ""
    return name.rstrip(".")


async def _write(response: web.StreamResponse, connection: Connection, answer: _Answer) -> None:
    async def write(body: bytes) -> None:
        for start in range(0, len(body), PIECE):
            connection.limit(WRITE_SECONDS)
            await response.write(body[start : start + PIECE])
        connection.limit(ANSWER_SECONDS)

    await write(answer.body)
    if answer.more is not None:
        async for piece in answer.more:
            await write(piece)


def _response(answer: _Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers={**HEADERS, **answer.headers})
    response.headers["Content-Type"] = answer.content_type
    if answer.more is None:
        response.content_length = len(answer.body)
    return response


def _shown(page: Page | None) -> _Answer:
    if page is None:
        return _refusal(HTTPStatus.NOT_FOUND)
    refresh = {"Refresh": str(page.refresh)} if page.refresh else {}
    headers = {"Content-Security-Policy": page.policy, **refresh}
    return _Answer(page.html.encode(), HTML_TYPE, headers=headers)


def _invalid(status: int) -> web.Response:
    answer = _refusal(HTTPStatus(status))
    headers = {**HEADERS, "Content-Type": answer.content_type}
    return web.Response(status=status, body=answer.body, headers=headers)


def _refusal(status: HTTPStatus, **headers: str) -> _Answer:
    return _Answer(f"{status.value} {status.phrase}\n".encode(), status=status, headers=headers)


def _busy() -> _Answer:
    return _Answer(
        b"Too many clients are waiting. Ask again in a second.\n",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={"Retry-After": "1"},
    )


def _report(report: HealthReport, word: str) -> _Answer:
    body = f"{json.dumps(as_json(report, word), indent=2)}\n".encode()
    return _Answer(body, JSON_TYPE, HTTPStatus.OK if report.good else HTTPStatus.SERVICE_UNAVAILABLE)
