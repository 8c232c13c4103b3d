"""What outgoing calls share: the TLS context, the session, and reading within bounds."""

import re
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
from yarl import URL

_ANY_HEADER: Final = 32 + zlib.MAX_WBITS
"""For zlib: gzip or deflate, whichever it is."""


class UnreadableBody(Exception):
    """A body cannot be read: it is larger than allowed, or compressed in a way that is not understood."""


def tls_context() -> ssl.SSLContext:
    """Returns a context that trusts what the system, or `SSL_CERT_FILE` and `SSL_CERT_DIR`, say.

    Building one costs about 40 ms, so all calls share one.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if not any((paths.cafile, paths.capath)):
        import certifi  # noqa: PLC0415 - only a system without certificates of its own needs it

        context.load_verify_locations(certifi.where())
    return context


@asynccontextmanager
async def open_session(tls: ssl.SSLContext, timeout: float) -> AsyncIterator[aiohttp.ClientSession]:  # noqa: ASYNC109 - the client's own
    """Opens the session for outgoing calls; `timeout`, in seconds, bounds each whole call.

    It keeps no cookies. It asks for no compressed body, because a small one can inflate to gigabytes, and
    leaves one that comes all the same as it is: see `read_body`.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, limit=0),
        timeout=aiohttp.ClientTimeout(total=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
    ) as session:
        yield session


def as_configured(url: str) -> URL:
    """Returns the URL so that it is sent byte for byte, unless it has characters that no request may have.

    Raises:
        aiohttp.InvalidURL: it is no URL.
    """
    try:
        return URL(url, encoded=re.fullmatch(r"[!-~]+", url) is not None)
    except ValueError:
        raise aiohttp.InvalidURL(url) from None


async def read_body(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Returns the whole body, of at most so many bytes, inflated within that bound if it is gzip or deflate.

    Raises:
        UnreadableBody: it is larger, or compressed otherwise.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise UnreadableBody(f"it is compressed as {encoding}, which was not asked for")
    inflater = None if encoding in {"", "identity"} else zlib.decompressobj(_ANY_HEADER)
    body, received = bytearray(), 0
    async for chunk in response.content.iter_any():
        received += len(chunk)
        try:
            body += inflater.decompress(chunk, most + 1 - len(body)) if inflater else chunk
        except zlib.error:
            raise UnreadableBody(f"it is not {encoding}") from None
        if max(len(body), received) > most:
            raise UnreadableBody(f"it has more than {most:,} bytes")
    return bytes(body)
