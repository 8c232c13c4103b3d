"""Slack's own client over a session that is careful with any server that answers in Slack's place."""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from watcher.models import Json
from watcher.net import UnreadableBody, as_configured, read_body
from watcher.notifiers.http_post import read_prefix
from watcher.proxies import proxy_for

ANSWER_MAX: Final = 1024 * 1024
"""Bytes: an answer repeats the message, which is a tenth of that."""


def bounded_client(
    token: str | None, *, base_url: str, session: aiohttp.ClientSession, timeout: float
) -> AsyncWebClient:
    """Returns a client that follows no redirect and reads no endless answer; `timeout` is in seconds.

    A redirect would carry messages to another host. The client does not retry either: after a lost answer
    that would post a message twice, and the outbox retries anyway.
    """
    bounded = cast("aiohttp.ClientSession", _BoundedSession(session, aiohttp.ClientTimeout(total=timeout)))
    return AsyncWebClient(token=token, base_url=base_url, session=bounded, retry_handlers=[])


@dataclass(frozen=True, slots=True)
class _Answer:
    """As much of an answer as the client uses; what is not a JSON object counts as an empty one."""

    status: int
    headers: Mapping[str, str]
    document: dict[str, Json]
    content_type: str = "application/json"

    async def json(self) -> dict[str, Json]:
        """Returns the body, which has been read."""
        return self.document


class _BoundedSession:
    """As much of a session as the client uses."""

    closed = False

    def __init__(self, session: aiohttp.ClientSession, timeout: aiohttp.ClientTimeout) -> None:
        self._session = session
        self._timeout = timeout

    @asynccontextmanager
    async def request(self, method: str, url: str, **arguments: Any) -> AsyncIterator[_Answer]:
        """Calls once, and reads the answer within bounds."""
        arguments |= {"proxy": proxy_for(url, os.environ), "timeout": self._timeout}
        async with self._session.request(
            method, as_configured(url), **arguments, allow_redirects=False
        ) as response:
            body: bytes | bytearray = b""
            if response.status != 200:  # noqa: PLR2004 - what Slack answers when it answers
                body = await read_prefix(response, ANSWER_MAX)
            else:
                try:
                    body = await read_body(response, ANSWER_MAX)
                except UnreadableBody:
                    body = b""
            yield _Answer(response.status, response.headers, _document(body))


def _document(body: bytes | bytearray) -> dict[str, Json]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
