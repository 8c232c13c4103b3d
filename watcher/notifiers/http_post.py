"""One POST to a destination, and its failures in words that hold no URL: a URL may be a secret."""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

from watcher import backoff
from watcher.net import BrokenConnection, as_configured, explain
from watcher.notifiers.base import PAUSING_STATUSES, DeliveryError
from watcher.proxies import proxy_for
from watcher.sanitize.text import one_line

_READ_AT_MOST: Final = 4096
_SHOWN_AT_MOST: Final = 200
_WAIT_FOR_BODY: Final = 1.0
TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
"""The client errors that may pass by themselves."""

_UNANSWERED: Final = (
    TimeoutError,
    OSError,
    BrokenConnection,
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientPayloadError,
)
"""What may come after the destination has taken the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a destination answered: its status, when it wants to be asked again, and how its body begins."""

    status: int
    retry_after: float | None
    body: str

    @property
    def accepted(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 - the statuses are what this is about


async def post(
    session: aiohttp.ClientSession,
    url: str,
    *,
    body: bytes,
    headers: Mapping[str, str],
    timeout: float,  # noqa: ASYNC109 - the client's own timeout tells its phases apart
    clock: Callable[[], float],
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Posts once, follows no redirect, and returns the answer whatever its status.

    Raises:
        DeliveryError: there was no answer.
    """
    try:
        async with session.post(
            as_configured(url),
            data=body,
            headers=headers,
            proxy=proxy_for(url, os.environ),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout),
            ssl=context or True,
        ) as response:
            # A little of the body, for the error text and so that the connection can be used again.
            text = _words(response, await read_prefix(response, _READ_AT_MOST))
            retry_after = backoff.retry_after(response.headers.get("Retry-After"), now=clock())
            return Answer(response.status, retry_after, text)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise from_client_error(error, timeout) from None


def from_client_error(error: Exception, timeout: float) -> DeliveryError:
    """Returns why no answer came, from what the HTTP client raised; `timeout` is in seconds."""
    reason, fix = explain(error, timeout)
    unanswered = isinstance(error, _UNANSWERED) and not isinstance(error, aiohttp.ClientConnectorError)
    return DeliveryError(reason, fix=fix, possibly_delivered=unanswered)


def from_response(
    answer: Answer, *, fixes: Mapping[int, str], otherwise: str, redact: Callable[[str], str]
) -> DeliveryError:
    """Returns the error for an answer that is not 2xx.

    A redirect and a client error that waiting does not heal get a fix: the one for their status, else
    `otherwise`. The answer is scrubbed, for a destination may echo what it was sent, secrets included.
    """
    # Before the cut, behind which the rest of a secret would not be known as one.
    said = redact(answer.body)
    said = said if len(said) <= _SHOWN_AT_MOST else f"{said[:_SHOWN_AT_MOST]}…"
    words = f"HTTP {answer.status}: {said}" if said else f"HTTP {answer.status}"
    fix = None
    if 300 <= answer.status < 400:  # noqa: PLR2004 - the statuses are what this is about
        fix = "redirects are not followed: configure the address it redirects to"
    elif 400 <= answer.status < 500 and answer.status not in TRANSIENT_STATUSES:  # noqa: PLR2004 - as above
        fix = fixes.get(answer.status, otherwise)
    pauses = answer.status in PAUSING_STATUSES
    return DeliveryError(words, retry_after=answer.retry_after, pauses=pauses, fix=fix)


async def read_prefix(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Returns the beginning of the body, at most `most` bytes, as far as it comes within a second.

    The status is known by then, so a body that is late or broken changes nothing.
    """
    received = b""
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(_WAIT_FOR_BODY):
            while left := most - len(received):
                if not (chunk := await response.content.read(left)):
                    break
                received += chunk
    return received


def _words(response: aiohttp.ClientResponse, body: bytes) -> str:
    """Returns what a body says to a person; a compressed one says nothing."""
    if "Content-Encoding" in response.headers:
        return ""
    return one_line(body.decode("utf-8", "replace"))
