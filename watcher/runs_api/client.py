"""The client of the Runs API: the only module that speaks to it, and to httpx.

Its errors are drawn in `api_errors`.
"""

import asyncio
import hashlib
import json
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar
from urllib.parse import quote

import httpx

from watcher import __version__
from watcher.backoff import retry_after
from watcher.concurrency import run_cpu_bound
from watcher.models import AWAITING, PAUSED, Json, Run
from watcher.net import tls_context
from watcher.proxies import proxy_for
from watcher.runs_api.decoding import LARGE, TooMuch, parse_document, parse_json
from watcher.runs_api.errors import (
    BadRequest,
    ConnectionFailed,
    Forbidden,
    InvalidResponse,
    KeyUnreadable,
    NotFound,
    RateLimited,
    Redirected,
    Refused,
    ResponseTooLarge,
    ServerError,
    TimedOut,
    Unauthorized,
)
from watcher.runs_api.parser import Skipped, parse_run
from watcher.sanitize.limits import normalize_json
from watcher.sanitize.secrets import Secret, SecretError

RESPONSE_MAX: Final = 16 * 1024 * 1024
"""Bytes: a larger answer is refused before it fills the memory."""
KEPT_MAX: Final = 1024 * 1024
"""Bytes: what was read out of a larger page is not kept until the next poll."""
PAGES_MAX: Final = 10_000
MESSAGE_MAX: Final = 500
"""Characters kept of a message that the API, or whatever answers instead, sends with an error."""
SORT: Final = "started_at"
"""Oldest first: a run that starts while pages are read lands behind them and shifts none."""

T = TypeVar("T")

_Query = list[tuple[str, str | int | float | bool | None]]
_BY_STATUS: Final[dict[int, type[Refused]]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: RateLimited,
}


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list: the runs that could be read, why others could not, and whether it is the last."""

    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]
    last: bool


class RunsClient:
    """The Runs API of one app."""

    def __init__(
        self,
        base_url: str,
        access_key: Secret | None,
        *,
        timeout: float,
        keepalive: float,
        keep_input: bool = False,
        tls: ssl.SSLContext | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`timeout` bounds a whole call, `keepalive` how long an idle connection is kept; both in seconds.

        Without `keep_input` the input of runs is passed over where it would take long to read.
        """
        self._base_url = base_url.rstrip("/")
        self._access_key = access_key
        self._timeout = timeout
        self._keep_input = keep_input
        self._wall = wall
        self._read_before: dict[int, tuple[bytes, _Content]] = {}
        self._http = httpx.AsyncClient(
            headers={
                "User-Agent": f"dynamiq-watcher/{__version__}",
                "Accept": "application/json",
                # A few kilobytes of gzip can unpack to gigabytes in one chunk.
                "Accept-Encoding": "identity",
            },
            timeout=httpx.Timeout(timeout),
            limits=httpx.Limits(max_connections=10, max_keepalive_connections=10, keepalive_expiry=keepalive),
            verify=tls if tls is not None else tls_context(),
            transport=transport,
            proxy=None if transport else proxy_for(base_url, os.environ),
            trust_env=False,
            follow_redirects=False,
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def awaiting(
        self,
        *,
        page_size: int,
        user_id: str | None = None,
        session_id: str | None = None,
        paused: bool = False,
    ) -> AsyncGenerator[Page, None]:
        """Yields the pages of all runs that wait for input, oldest first (`GET /v1/runs`).

        Reads on as long as either the page count or the total count says that there is more, past one page
        that brings nothing new (runs may have shifted) and not past two, because either may be wrong; without
        both until a page brings nothing new. That the API knows of no such page ends the list too: runs were
        answered since its counts were taken.

        Raises:
            ApiError: a page could not be had; what came before it is all there is to know.
        """
        query: _Query = [("status", AWAITING)]
        query += [("status", PAUSED)] if paused else []
        query += [("page_size", page_size), ("sort", SORT)]
        query += [("user_id", user_id)] if user_id else []
        query += [("session_id", session_id)] if session_id else []
        seen: set[str] = set()
        unreadable = ""
        listed = stale = 0
        for number in range(1, PAGES_MAX + 1):
            try:
                page = await self._get("/v1/runs", [*query, ("page", number)], partial(self._page, number))
            except (BadRequest, NotFound) as error:
                if number == 1 or not error.is_api_error:
                    raise
                yield Page((), (), last=True)
                return
            listed += page.items
            fresh = any(run.id not in seen for run in page.runs) or page.unreadable not in {"", unreadable}
            seen.update(run.id for run in page.runs)
            unreadable = page.unreadable
            stale = 0 if fresh else stale + 1
            patience = 1 if isinstance(page.pagination, dict) and page.items else 0
            last = stale > patience or not _more(page.pagination, number, listed)
            yield Page(page.runs, page.skipped, last)
            if last:
                self._forget_behind(number)
                return
        raise InvalidResponse(f"the list of runs has no end after {PAGES_MAX} pages")

    async def run(self, run_id: str) -> Run:
        """Returns one run with its unresolved requests (`GET /v1/runs/{run_id}`).

        Raises:
            NotFound: the run does not exist, if `is_api_error`.
            ApiError: it could not be had.
        """
        run = await self._get(f"/v1/runs/{quote(run_id, safe='')}", [], self._run)
        if run.id != run_id:
            raise InvalidResponse("the answer is about another run")
        return run

    def _run(self, body: bytes) -> Run:
        return _read_run(body, keep_input=self._keep_input)

    def _page(self, number: int, body: bytes) -> "_Content":
        """Reads a page, unless it is the same, byte for byte, as at the last poll: mostly nothing changes."""
        digest = hashlib.sha256(body).digest()
        before = self._read_before.get(number)
        if before is not None and before[0] == digest:
            return before[1]
        content = _read_page(body, keep_input=self._keep_input)
        self._read_before.pop(number, None)
        if len(body) <= KEPT_MAX:
            self._read_before[number] = (digest, content)
        return content

    def _forget_behind(self, last: int) -> None:
        self._read_before = {number: page for number, page in self._read_before.items() if number <= last}

    async def _get(self, path: str, query: _Query, read: Callable[[bytes], T]) -> T:
        try:
            # The client bounds only the wait for each piece, and one that drips would hold up all others.
            async with asyncio.timeout(self._timeout), self._answer(path, query) as response:
                if response.is_redirect:
                    raise Redirected("a redirect, which is not followed", status=response.status_code)
                if response.status_code != httpx.codes.OK:
                    raise self._refusal(response, await _read_refusal(response, self._timeout / 2))
                body = await _read(response, RESPONSE_MAX)
        except TimeoutError:
            raise TimedOut(f"no whole answer within {self._timeout:g} s") from None
        return await run_cpu_bound(partial(read, body)) if len(body) > LARGE else read(body)

    @asynccontextmanager
    async def _answer(self, path: str, query: _Query) -> AsyncIterator[httpx.Response]:
        headers = self._authorization()
        try:
            url = self._base_url + path
            async with self._http.stream("GET", url, params=query, headers=headers) as response:
                yield response
        except httpx.TimeoutException as error:
            raise TimedOut(f"no answer in time ({_words(error)})") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
            # A ValueError is what the rules for international host names raise.
            host = self._base_url.partition("://")[2].partition("/")[0]
            # What is no HTTP is quoted whole by the library.
            words = self._text(_words(error))
            raise ConnectionFailed(f"cannot connect to {host}: {words}") from None

    def _authorization(self) -> dict[str, str]:
        if self._access_key is None:
            return {}
        try:
            key = self._access_key.read()
        except SecretError as error:
            raise KeyUnreadable(str(error)) from None
        if not (key.isascii() and key.isprintable()):  # the error of a library that sends it would quote it
            raise KeyUnreadable(f"{self._access_key.name}: holds characters that no HTTP header can carry")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _refusal(self, response: httpx.Response, body: bytes) -> Refused:
        status = response.status_code
        kind = ServerError if status >= httpx.codes.INTERNAL_SERVER_ERROR else _BY_STATUS.get(status, Refused)
        error = _error_object(body)
        refusal = kind(
            self._text(error.get("message")) or self._text(response.reason_phrase) or "no reason given",
            status=status,
            code=self._text(error.get("code")) or None,
            details=error.get("details"),
            retry_after=retry_after(response.headers.get("Retry-After"), now=self._wall()),
        )
        refusal.is_api_error = bool(error)
        return refusal

    def _text(self, value: Json) -> str:
        if not isinstance(value, str):
            return ""
        text = str(normalize_json(value))
        # Before the cut, behind which the rest of a key would not be known as one.
        return (self._access_key.scrub(text) if self._access_key else text)[:MESSAGE_MAX]


@dataclass(frozen=True, slots=True)
class _Content:
    """What a page of the list holds: of how many items, and a digest of those that are no runs."""

    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]
    items: int
    unreadable: str
    pagination: Json


def _document(body: bytes, *, keep_input: bool) -> dict[str, Json]:
    try:
        document = parse_document(body, keep_input=keep_input)
    except TooMuch as error:
        raise ResponseTooLarge(f"the answer is too large: {error}", status=httpx.codes.OK) from None
    except ValueError as error:
        raise InvalidResponse(f"the answer is not JSON: {error}", status=httpx.codes.OK) from None
    if not isinstance(document, dict):
        raise InvalidResponse("the answer is not a JSON object", status=httpx.codes.OK)
    return document


def _read_page(body: bytes, *, keep_input: bool) -> _Content:
    document = _document(body, keep_input=keep_input)
    items = document.get("data")
    if not isinstance(items, list):
        raise InvalidResponse("the list of runs has no list in `data`")
    parsed = [parse_run(item) for item in items]
    skipped = tuple(item for item in parsed if isinstance(item, Skipped))
    return _Content(
        runs=tuple(run for run in parsed if isinstance(run, Run)),
        skipped=skipped,
        items=len(items),
        unreadable=_digest(items, parsed) if skipped else "",
        pagination=document.get("pagination"),
    )


def _read_run(body: bytes, *, keep_input: bool) -> Run:
    run = parse_run(_document(body, keep_input=keep_input).get("data"))
    if isinstance(run, Skipped):
        raise InvalidResponse(f"the run cannot be read: {run.reason}")
    return run


def _digest(items: Sequence[Json], parsed: Sequence[Run | Skipped]) -> str:
    """Tells the items that are no runs from others, so that a page which comes again is known as such."""
    unreadable = [
        normalize_json(item) for item, run in zip(items, parsed, strict=True) if isinstance(run, Skipped)
    ]
    return hashlib.sha256(json.dumps(unreadable).encode()).hexdigest()


def _more(pagination: Json, page: int, listed: int) -> bool:
    if not isinstance(pagination, dict):
        return True
    page_count, total_count = pagination.get("page_count"), pagination.get("total_count")
    claims = []
    if isinstance(page_count, int):
        claims.append(page < page_count)
    if isinstance(total_count, int):
        claims.append(listed < total_count)
    return any(claims) if claims else True


async def _read(response: httpx.Response, most: int) -> bytes:
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        message = "the answer is compressed, which was not asked for"
        raise InvalidResponse(message, status=response.status_code)
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > most:
            raise ResponseTooLarge(
                f"the answer has more than {most // 1024**2} MiB", status=response.status_code
            )
    return bytes(body)


async def _read_refusal(response: httpx.Response, patience: float) -> bytes:
    """A refusal is told by its status, whether or not its body can be read; `patience` is in seconds."""
    try:
        async with asyncio.timeout(patience):
            return await _read(response, LARGE)
    except (InvalidResponse, httpx.HTTPError, TimeoutError):
        return b""


def _error_object(body: bytes) -> dict[str, Json]:
    try:
        document = parse_json(body)
    except ValueError:
        return {}
    error = document.get("error") if isinstance(document, dict) else None
    return error if isinstance(error, dict) else {}


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
