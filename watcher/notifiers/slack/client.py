"""Slack's own client, made wary of whatever answers in Slack's place."""

import zlib
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from slack_sdk.web.async_client import AsyncWebClient

from watcher.models import Json
from watcher.notifiers.http_post import read_prefix
from watcher.runs_api.decoding import parse_json

ANSWER_MAX: Final = 1024 * 1024
"""Bytes: an answer repeats the message, which is a tenth of that."""
_ANY_FORMAT: Final = 32 + zlib.MAX_WBITS
"""For zlib: gzip or deflate, whichever it is."""


class BoundedSlackClient(AsyncWebClient):
    """Follows no redirect, which would carry messages to another host, and reads no answer without end."""

    def __init__(
        self, token: str | None, *, base_url: str, session: aiohttp.ClientSession, timeout: float
    ) -> None:
        """No retries of its own: a lost answer would become a second message, and the outbox retries anyway.

        The session knows the proxy variables, NO_PROXY among them, which the base reads without it.
        """
        super().__init__(token=token, base_url=base_url, session=session, retry_handlers=[])
        self.proxy = None
        self._session = session
        self._within = aiohttp.ClientTimeout(total=timeout)

    async def _request(self, *, http_verb: str, api_url: str, req_args: Mapping[str, Any]) -> dict[str, Any]:
        """Calls once; an answer that is no JSON object counts as an empty one. Replaces that of the base."""
        async with self._session.request(
            http_verb,
            api_url,
            **req_args,
            allow_redirects=False,
            timeout=self._within,
        ) as response:
            good = response.status == 200  # noqa: PLR2004 - what Slack answers when it answers
            body = await _whole(response) if good else await read_prefix(response, ANSWER_MAX)
            return {"data": _document(body), "headers": response.headers, "status_code": response.status}


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Returns the whole body, or nothing if it is too large."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > ANSWER_MAX:
            return b""
    if "Content-Encoding" not in response.headers:
        return bytes(body)
    # It was not asked for, but what is not understood would be posted again and again.
    try:
        return zlib.decompressobj(_ANY_FORMAT).decompress(body, ANSWER_MAX)
    except zlib.error:
        return b""


def _document(body: bytes) -> dict[str, Json]:
    try:
        document = parse_json(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
