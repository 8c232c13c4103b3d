"""One GET of the Runs API: the only place that knows how a call is made, and translates what goes wrong."""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, TypeVar
from urllib.parse import quote, urlencode

import aiohttp

from watcher import __version__
from watcher.backoff import retry_after
from watcher.concurrency import run_cpu_bound
from watcher.models import Json
from watcher.net import (
    BodyTooLarge,
    BrokenConnection,
    Reuse,
    UnreadableBody,
    as_configured,
    explain,
    read_body,
)
from watcher.proxies import proxy_for
from watcher.runs_api.decoding import LARGE, parse_json
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
from watcher.sanitize.limits import normalize_json
from watcher.sanitize.secrets import Secret, SecretError

RESPONSE_MAX: Final = 16 * 1024 * 1024
"""Bytes: a larger answer is refused before it fills the memory."""
RECEIVED_MAX: Final = 2
"""Large answers that are received at a time; one app that is slow to send leaves room for another."""
REUSED_MAX: Final = 10
"""Idle connections of an app that may all have been dropped; there are as many as calls at a time."""
MESSAGE_MAX: Final = 500
"""Characters kept of a message that the API, or whatever answers instead, sends with an error."""

_READ_TIMES: Final = 8
"""How many times more of a message is searched for the key than is kept: escapes make a key longer."""

Query = Sequence[tuple[str, str | int]]
T = TypeVar("T")

_OK: Final = 200
_BY_STATUS: Final[dict[int, type[Refused]]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    429: RateLimited,
}


class LargeAnswers:
    """Bounds the memory for large answers: over all apps of a process, few are received and one is read."""

    def __init__(self) -> None:
        self.receiving = asyncio.Semaphore(RECEIVED_MAX)
        self.reading = asyncio.Semaphore(1)


class Transport:
    """The API of one app, as GETs."""

    def __init__(
        self,
        base_url: str,
        access_key: Secret | None,
        *,
        session: aiohttp.ClientSession,
        timeout: float,
        wall: Callable[[], float],
        large: LargeAnswers,
    ) -> None:
        """`timeout` bounds a whole call, in seconds; `wall` gives the Unix time."""
        self._large = large
        self._base_url = base_url.rstrip("/")
        self._access_key = access_key
        self._session = session
        self._timeout = timeout
        self._wall = wall

    async def get(self, path: str, query: Query, read: Callable[[bytes | bytearray], T]) -> T:
        """Returns what `read` makes of the body of a 200.

        A connection that was used before may have been dropped on the way; if it breaks, another one is used.

        Raises:
            ApiError: there was no answer, or another one; or `read` raised it.
        """
        for left in range(REUSED_MAX, -1, -1):
            connection = Reuse()
            try:
                async with AsyncExitStack() as held:
                    body = await self._get(path, query, connection, held)
                    if len(body) <= LARGE:
                        return read(body)
                    async with self._large.reading:
                        return await run_cpu_bound(partial(read, body))
            except BrokenConnection as error:
                if not (connection.reused and left):
                    raise self._failed(error) from None
        raise AssertionError("the last try returns or raises")

    async def _get(self, path: str, query: Query, connection: Reuse, held: AsyncExitStack) -> bytearray:
        """Returns the body; a large one waits for its turn, which `held` keeps and the limit leaves out."""

        async def admit() -> None:
            left = (limit.when() or 0.0) - loop.time()
            limit.reschedule(None)
            await held.enter_async_context(self._large.receiving)
            limit.reschedule(loop.time() + left)

        loop = asyncio.get_running_loop()
        headers = {"Accept": "application/json", "User-Agent": f"dynamiq-watcher/{__version__}"}
        headers |= await self._authorization()
        url = self._base_url + path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        try:
            async with (
                asyncio.timeout(self._timeout) as limit,
                self._session.get(
                    as_configured(url),
                    headers=headers,
                    proxy=proxy_for(url, os.environ),
                    allow_redirects=False,
                    trace_request_ctx=connection,
                    timeout=aiohttp.ClientTimeout(total=None),
                ) as response,
            ):
                if response.status != _OK:
                    raise await self._refusal(response)
                return await read_body(response, RESPONSE_MAX, large=LARGE, admit=admit)
        except TimeoutError:
            raise TimedOut(f"no complete answer within {self._timeout:g} s") from None
        except UnreadableBody as error:
            kind = ResponseTooLarge if isinstance(error, BodyTooLarge) else InvalidResponse
            raise kind(f"the answer cannot be read: {error}", status=_OK) from None
        except BrokenConnection:
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> ConnectionFailed:
        host = self._base_url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return ConnectionFailed(self._text(f"{host}: {explain(error, self._timeout)[0]}"))

    async def _authorization(self) -> dict[str, str]:
        if self._access_key is None:
            return {}
        try:
            key = await self._access_key.fetch()
        except SecretError as error:
            raise KeyUnreadable(str(error)) from None
        if not (key.isascii() and key.isprintable()):  # the error of a library that sends it would quote it
            raise KeyUnreadable(f"{self._access_key.name}: holds characters that no HTTP header can carry")
        return {"Authorization": f"Bearer {key}"} if key else {}

    async def _refusal(self, response: aiohttp.ClientResponse) -> Redirected | Refused:
        status = response.status
        if 300 <= status < 400:  # noqa: PLR2004 - HTTP's own classes
            return Redirected("a redirect, which is not followed", status=status)
        error = await self._error_object(response)
        kind = ServerError if status >= 500 else _BY_STATUS.get(status, Refused)  # noqa: PLR2004 - as above
        refusal = kind(
            self._message(error) or self._text(response.reason) or "no reason given",
            status=status,
            code=self._text(error.get("code")) or None,
            retry_after=retry_after(response.headers.get("Retry-After"), now=self._wall()),
        )
        refusal.is_api_error = bool(error)
        return refusal

    async def _error_object(self, response: aiohttp.ClientResponse) -> dict[str, Json]:
        """Returns the error of a refusal by its status, whether or not its body can be read."""
        try:
            async with asyncio.timeout(self._timeout / 2):
                document = parse_json(await read_body(response, LARGE))
        except (TimeoutError, UnreadableBody, aiohttp.ClientError, OSError, ValueError):
            return {}
        error = document.get("error") if isinstance(document, dict) else None
        return error if isinstance(error, dict) else {}

    def _message(self, error: dict[str, Json]) -> str:
        """Returns the API's message, and what it says of single parameters."""
        message, details = self._text(error.get("message")), error.get("details")
        if isinstance(details, dict):
            details = "; ".join(f"{name}: {why}" for name, why in details.items() if isinstance(why, str))
        said = self._text(details)
        return f"{message} ({said})".strip() if said else message

    def _text(self, value: Json) -> str:
        if not isinstance(value, str):
            return ""
        text = str(normalize_json(value[: _READ_TIMES * MESSAGE_MAX]))
        # Before the cut, behind which the rest of a key would not be known as one.
        return (self._access_key.redact(text) if self._access_key else text)[:MESSAGE_MAX]
