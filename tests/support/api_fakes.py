"""Runs APIs to test the client against, without a network, and a client that is closed in the end."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import aiohttp
import httpx
import pytest
from multidict import CIMultiDict
from yarl import URL

from watcher.models import Json, Run
from watcher.runs_api.client import Page, RunsClient
from watcher.runs_api.errors import ApiError
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret

T = TypeVar("T")
Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]

KEY: Final = "dynamiq_acc_" + "Zx9" * 20
NOON: Final = 1781092800.0
"""2026-06-10 12:00:00 UTC."""
RUN: Final = {"data": {"id": "r1", "status": "started"}}


class Body(httpx.AsyncByteStream):
    """A body that comes in pieces, and knows how many were taken."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.taken = 0
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.taken += 1
            yield piece


def response(body: Json, status: int = 200, **headers: str) -> httpx.Response:
    """An answer as a server sends it; what is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(
        status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        stream=Body(iter([content])),
    )


def refusal(status: int, **error: Json) -> httpx.Response:
    """An error in the API's envelope."""
    return response({"error": error}, status)


class FakeAnswer:
    """An answer as aiohttp has it, whose body comes in these pieces."""

    def __init__(
        self,
        status: int,
        reason: str,
        headers: Mapping[str, str] | list[tuple[str, str]],
        body: AsyncIterable[bytes],
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = CIMultiDict(headers)
        self.content = self
        self._body = body

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        """The body in pieces, each of which is a chunk of HTTP's."""
        async for piece in self._body:
            yield piece, True


class FakeSession:
    """As much of an aiohttp session as the client uses: a function answers what it is asked."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    @asynccontextmanager
    async def get(self, url: URL, *, headers: Mapping[str, str], **_: Any) -> AsyncIterator[FakeAnswer]:
        """Asks the function."""
        handled = self._handler(httpx.Request("GET", str(url), headers=headers))
        answer = await handled if inspect.isawaitable(handled) else handled
        theirs = answer.headers.multi_items()
        yield FakeAnswer(answer.status_code, answer.reason_phrase, theirs, answer.aiter_raw())


def session_of(handler: Handler) -> aiohttp.ClientSession:
    """A session whose calls that function answers."""
    return cast("aiohttp.ClientSession", FakeSession(handler))


class FakeApi:
    """Answers in turn, the last one again and again, and keeps what it was asked."""

    def __init__(self, *answers: Callable[[], httpx.Response]) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answers one request."""
        self.requests.append(request)
        return self._answers.pop(0)() if len(self._answers) > 1 else self._answers[0]()


class FakeList:
    """Lists runs by pages; `pagination` says what it claims of them, `ignore_page` gives the first only."""

    def __init__(
        self,
        runs: list[Json],
        *,
        pagination: Callable[[int, int], Json] | None = None,
        ignore_page: bool = False,
        between: Callable[[list[Json]], None] | None = None,
    ) -> None:
        self.runs = runs
        self.pages: list[int] = []
        self._pagination = pagination
        self._ignore_page = ignore_page
        self._between = between

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answers with the page that was asked for."""
        page, size = int(request.url.params["page"]), int(request.url.params["page_size"])
        self.pages.append(page)
        shown = 1 if self._ignore_page else page
        data = self.runs[(shown - 1) * size : shown * size]
        total, count = len(self.runs), -(-len(self.runs) // size)
        numbers = {"page": shown, "page_size": size, "page_count": count, "total_count": total}
        claimed = self._pagination(count, total) if self._pagination else numbers
        if self._between:
            self._between(self.runs)
        return response({"data": data, "pagination": claimed})


def key_of(value: str) -> Secret:
    """An access key with that value."""
    return Secret("apps.support.access_key", Redactor(), value=value)


def with_client(
    handler: Handler,
    call: Callable[[RunsClient], Awaitable[T]],
    *,
    base_url: str = "https://app.test",
    key: Secret | None = None,
    keep_input: bool = True,
) -> T:
    """Makes a client of that API, calls it, and closes it."""

    async def run() -> T:
        client = RunsClient(
            base_url,
            key,
            session=session_of(handler),
            timeout=5,
            keep_input=keep_input,
            wall=lambda: NOON,
        )
        return await call(client)

    return run_bounded(run())


def run_bounded(work: Coroutine[None, None, T]) -> T:
    """What the work returns, unless it hangs."""

    async def run() -> T:
        async with asyncio.timeout(30):
            return await work

    return asyncio.run(run())


def fetch_run(handler: Handler, run_id: str = "r1", **options: Json) -> Run:
    """What the client makes of one run."""
    return with_client(handler, lambda client: client.run(run_id), **options)


def api_error(handler: Handler, run_id: str = "r1", **options: Json) -> ApiError:
    """The error that fetching one run ends with."""
    with pytest.raises(ApiError) as raised:
        fetch_run(handler, run_id, **options)
    return raised.value


def fetch_pages(handler: Handler, page_size: int = 2, **filters: Json) -> list[Page]:
    """All pages of the list of runs that wait."""

    async def read(client: RunsClient) -> list[Page]:
        return [page async for page in client.awaiting(page_size=page_size, **filters)]

    return with_client(handler, read)


def fetch_ids(handler: Handler, page_size: int = 2) -> list[str]:
    """The ids of all runs that wait, as they were read."""
    return [run.id for page in fetch_pages(handler, page_size) for run in page.runs]


def waiting_items(*ids: str) -> list[Json]:
    """Items of a list."""
    return [{"id": run_id, "status": "awaiting_input"} for run_id in ids]
