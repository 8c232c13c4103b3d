"""The client of the Runs API: runs and pages of runs, out of the bodies that the transport brings.

Its errors are drawn in `errors`.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar
from urllib.parse import quote

import aiohttp

from watcher.models import AWAITING, PAUSED, Json, Run
from watcher.runs_api.decoding import TooMuch, count_values, parse_document
from watcher.runs_api.errors import BadRequest, InvalidResponse, NotFound, ResponseTooLarge
from watcher.runs_api.parser import Skipped, parse_run
from watcher.runs_api.transport import LargeAnswers, Query, Transport
from watcher.sanitize.limits import normalize_json
from watcher.sanitize.secrets import Secret

KEPT_MAX: Final = 1024 * 1024
KEPT_VALUES_MAX: Final = 20_000
"""Bytes and values: what was read out of a larger page is not kept until the next poll."""
PAGES_MAX: Final = 10_000
SMALL_FOR: Final = 3600.0
"""Seconds for which pages stay small after one was too large."""
TOO_LARGE_MAX: Final = 20
"""Runs of one poll that are skipped because they are too large; if there are more, the poll fails."""
SORT: Final = "started_at"
"""Oldest first: a run that starts while pages are read lands behind them and shifts none."""

T = TypeVar("T")


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
        session: aiohttp.ClientSession,
        timeout: float,
        keep_input: bool = False,
        wall: Callable[[], float] = time.time,
        large: LargeAnswers | None = None,
    ) -> None:
        """`timeout` bounds a whole call, in seconds; `wall` gives the Unix time.

        Runs have their input only if it is to be kept. All clients of a process share one `large`.
        """
        self._transport = Transport(
            base_url, access_key, session=session, timeout=timeout, wall=wall, large=large or LargeAnswers()
        )
        self._keep_input = keep_input
        self._read_before: dict[int, tuple[bytes, _Content]] = {}
        self._small_size, self._small_until = 1, 0.0
        self._most_items = 0

    async def awaiting(
        self,
        *,
        page_size: int,
        user_id: str | None = None,
        session_id: str | None = None,
        paused: bool = False,
    ) -> AsyncGenerator[Page, None]:
        """Yields the pages of all runs that wait for input, oldest first (`GET /v1/runs`).

        When a page is too large, the list is read again from its beginning, in pages of half the size, which
        stay so small for an hour; a page of one run that is too large is skipped.

        Raises:
            ApiError: a page could not be read; the pages before it are valid.
        """
        query: list[tuple[str, str | int]] = [("status", AWAITING)]
        query += [("status", PAUSED)] if paused else []
        query += [("user_id", user_id)] if user_id else []
        query += [("session_id", session_id)] if session_id else []
        now = asyncio.get_running_loop().time()
        size = min(page_size, self._small_size) if now < self._small_until else page_size
        self._most_items = 2 * page_size
        while True:
            pages = self._pages([*query, ("sort", SORT), ("page_size", size)], size)
            try:
                async with aclosing(pages):
                    async for page in pages:
                        yield page
                return
            except ResponseTooLarge:
                if size == 1:
                    raise
                size //= 2
                self._small_size, self._small_until = size, now + SMALL_FOR

    async def _pages(self, query: Query, size: int) -> AsyncGenerator[Page, None]:
        """Yields the pages of this size.

        Reads on while the page count or the total count says that there is more. Either may be wrong, so two
        pages in a row that bring nothing new end the list (runs that shifted explain one); without both
        counts, one ends it. A page that the API does not know ends it too: the counts were out of date.

        Raises:
            ResponseTooLarge: a page is, and could be smaller; or too many single runs are.
            ApiError: a page could not be read.
        """
        seen: set[str] = set()
        unreadable = ""
        too_large: list[Skipped] = []
        listed = stale = reported = 0
        for number in range(1, PAGES_MAX + 1):
            try:
                page = await self._transport.get(
                    "/v1/runs", [*query, ("page", number)], partial(self._page, number)
                )
            except ResponseTooLarge as error:
                if size > 1 or len(too_large) == TOO_LARGE_MAX:
                    raise
                too_large.append(Skipped(None, error.message))
                listed += 1
                continue
            except (BadRequest, NotFound) as error:
                if number == 1 or not error.is_api_error:
                    raise
                yield Page((), tuple(too_large[reported:]), last=True)
                return
            listed += page.items
            fresh = any(run.id not in seen for run in page.runs) or page.unreadable not in {"", unreadable}
            seen.update(run.id for run in page.runs)
            unreadable = page.unreadable
            stale = 0 if fresh else stale + 1
            patience = 1 if isinstance(page.pagination, dict) and page.items else 0
            last = stale > patience or not _more(page.pagination, number, listed)
            yield Page(page.runs, (*too_large[reported:], *page.skipped), last)
            reported = len(too_large)
            if last:
                self._forget_behind(number)
                return
        raise InvalidResponse(f"the list of runs has no end after {PAGES_MAX} pages")

    async def run(self, run_id: str) -> Run:
        """Returns one run with its unresolved requests (`GET /v1/runs/{run_id}`).

        Raises:
            NotFound: the run does not exist, if `is_api_error`.
            ApiError: the call failed, or its answer cannot be read.
        """
        run = await self._transport.get(f"/v1/runs/{quote(run_id, safe='')}", [], self._run)
        if run.id != run_id:
            raise InvalidResponse("the answer is about another run", status=200)
        return run

    def _run(self, body: bytes | bytearray) -> Run:
        return _read_run(body, keep_input=self._keep_input)

    def _page(self, number: int, body: bytes | bytearray) -> "_Content":
        """Reads a page, unless it is the same, byte for byte, as at the last poll: mostly nothing changes."""
        digest = hashlib.sha256(body).digest()
        before = self._read_before.get(number)
        if before is not None and before[0] == digest:
            return before[1]
        content = _read_page(body, self._most_items, keep_input=self._keep_input)
        self._read_before.pop(number, None)
        if len(body) <= KEPT_MAX and count_values(body) <= KEPT_VALUES_MAX:
            self._read_before[number] = (digest, content)
        return content

    def _forget_behind(self, last: int) -> None:
        self._read_before = {number: page for number, page in self._read_before.items() if number <= last}


@dataclass(frozen=True, slots=True)
class _Content:
    """What a page of the list holds: of how many items, and a digest of those that are no runs."""

    runs: tuple[Run, ...]
    skipped: tuple[Skipped, ...]
    items: int
    unreadable: str
    pagination: Json


def _document(body: bytes | bytearray, *, keep_input: bool) -> dict[str, Json]:
    try:
        document = parse_document(body, keep_input=keep_input)
    except TooMuch as error:
        raise ResponseTooLarge(f"the answer is too large: {error}", status=200) from None
    except ValueError as error:
        raise InvalidResponse(f"the answer is not JSON: {error}", status=200) from None
    if not isinstance(document, dict):
        raise InvalidResponse("the answer is not a JSON object", status=200)
    return document


def _read_page(body: bytes | bytearray, most: int, *, keep_input: bool) -> _Content:
    document = _document(body, keep_input=keep_input)
    items = document.get("data")
    if not isinstance(items, list):
        raise InvalidResponse("the answer has no list of runs in `data`", status=200)
    if len(items) > most:
        words = f"a page has {len(items):,} items, more than twice as many as were asked for"
        raise InvalidResponse(words, status=200)
    parsed = [parse_run(item, keep_input=keep_input) for item in items]
    skipped = tuple(item for item in parsed if isinstance(item, Skipped))
    return _Content(
        runs=tuple(run for run in parsed if isinstance(run, Run)),
        skipped=skipped,
        items=len(items),
        unreadable=_digest(items, parsed) if skipped else "",
        pagination=document.get("pagination"),
    )


def _read_run(body: bytes | bytearray, *, keep_input: bool) -> Run:
    run = parse_run(_document(body, keep_input=keep_input).get("data"), keep_input=keep_input)
    if isinstance(run, Skipped):
        raise InvalidResponse(f"the run cannot be read: {run.reason}", status=200)
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
