"""What outgoing calls share: the TLS context, the session, and reading within bounds."""

import math
import os
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final, Literal
from urllib.parse import quote

import aiohttp
from yarl import URL

from watcher.connector import BoundedConnector, TooMuchBeforeAnswer, answer_began

IDLE_MAX: Final = 60.0
"""Seconds after which an idle connection is not used again: something on its way may have dropped it."""

CHUNK_MIN: Final = 64
CHUNKS_MIN: Final = 10_000
"""Bytes that chunks have on average, once there are many: each costs as much time as a kilobyte."""

_ASCII: Final = bytes(range(0x21, 0x7F)).decode()
"""The characters that may stand in a request."""

_ANY_HEADER: Final = 32 + zlib.MAX_WBITS
"""For zlib: gzip or deflate, whichever it is."""


class BrokenConnection(aiohttp.ClientConnectionError):
    """The connection of a call broke before the whole answer came; `Reuse` says whether it was a new one."""


_TRUST: Final = "use a certificate that this machine trusts, or add its authority to the trust store"
_CHARACTERS: Final = "check both for line breaks and other characters that do not belong there"
_CAUSES: Final[tuple[tuple[tuple[type[Exception], ...], str, str | None], ...]] = (
    ((TimeoutError,), "no answer within {timeout:g} s", None),
    ((aiohttp.InvalidURL,), "the URL is not valid", "check the URL"),
    ((aiohttp.ClientConnectorCertificateError,), "TLS: the certificate was refused: {detail}", _TRUST),
    ((aiohttp.ClientSSLError,), "TLS: the handshake failed; is it http://?", None),
    ((aiohttp.ClientConnectorDNSError,), "the host name cannot be resolved", None),
    ((aiohttp.ClientHttpProxyError,), "the proxy answered HTTP {detail}", None),
    ((aiohttp.ClientProxyConnectionError,), "cannot connect to the proxy", None),
    ((aiohttp.ClientConnectorError,), "cannot connect: {detail}", None),
    ((aiohttp.ClientResponseError,), "the answer is not valid HTTP; is it https://?", None),
    ((aiohttp.ClientPayloadError,), "the connection broke in the middle of the answer", None),
    (
        (aiohttp.ServerDisconnectedError, BrokenConnection, OSError),
        "the connection broke before an answer came",
        None,
    ),
    ((TooMuchBeforeAnswer,), "too much came before an answer", None),
    ((ValueError,), "the URL or a header cannot be sent in HTTP", _CHARACTERS),
)
"""What the HTTP client raises, the special before the general, in words, and what to mend."""


@dataclass(slots=True)
class Reuse:
    """Passed with a call as `trace_request_ctx`, says whether it used the connection of an earlier call."""

    reused: bool = False


async def _note_reuse(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    if isinstance(context.trace_request_ctx, Reuse):
        context.trace_request_ctx.reused = True


async def _without_repeating(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keeps the client from repeating a GET by itself, which it would do on new connections too."""
    try:
        response = await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        if request.method != "GET":
            raise
        raise BrokenConnection from error
    answer_began(response)
    return response


class UnreadableBody(Exception):
    """A body cannot be read: it is too large, or compressed in a way that is not understood."""


class BodyTooLarge(UnreadableBody):
    """It has more bytes than are allowed, as it came or as it would be inflated."""


def trusted_authorities() -> ssl.SSLContext | Literal[True]:
    """Returns whom the session trusts: the bundled authorities where the system has none, else True.

    True stands for what the system, or `SSL_CERT_FILE` and `SSL_CERT_DIR`, say. aiohttp reads these as it is
    imported; reading them once more would take 70 ms and 1 MiB.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        return True
    import certifi  # noqa: PLC0415 - only a system without certificates of its own needs it

    return ssl.create_default_context(cafile=certifi.where())


@asynccontextmanager
async def open_session(timeout: float) -> AsyncIterator[aiohttp.ClientSession]:  # noqa: ASYNC109 - the client's own
    """Opens the session for outgoing calls; `timeout`, in seconds, bounds each whole call.

    It keeps no cookies. It asks for no compressed body, because a small one can inflate to gigabytes, and
    leaves one that comes all the same as it is: see `read_body`.
    """
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    async with aiohttp.ClientSession(
        middlewares=[_without_repeating],
        trace_configs=[trace],
        connector=BoundedConnector(ssl=trusted_authorities(), keepalive_timeout=IDLE_MAX),
        timeout=aiohttp.ClientTimeout(total=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
    ) as session:
        yield session


def as_configured(url: str) -> URL:
    """Returns the URL so that it is sent byte for byte; what is not ASCII is escaped, as UTF-8.

    Raises:
        aiohttp.InvalidURL: it is no URL.
    """
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    try:
        if not authority.isascii():
            authority = URL(f"{scheme}://{authority}").raw_authority
        return URL(f"{scheme}://{authority}{quote(path, safe=_ASCII)}", encoded=True)
    except ValueError:
        raise aiohttp.InvalidURL(url) from None


async def read_body(
    response: aiohttp.ClientResponse,
    most: int,
    *,
    large: float = math.inf,
    admit: Callable[[], Awaitable[object]] | None = None,
) -> bytearray:
    """Returns the whole body, of at most so many bytes, inflated within that bound if it is gzip or deflate.

    `admit` is waited for before more than `large` bytes are held.

    Raises:
        BodyTooLarge: it is larger.
        UnreadableBody: it is compressed otherwise, or comes in very small chunks.
        BrokenConnection: the connection broke.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise UnreadableBody(f"it is compressed as {encoding}, which was not asked for")
    inflater = None if encoding in {"", "identity"} else zlib.decompressobj(_ANY_HEADER)
    body, received, chunks = bytearray(), 0, 0
    try:
        async for chunk, ended in response.content.iter_chunks():
            received += len(chunk)
            chunks += ended
            if chunks > CHUNKS_MIN + received // CHUNK_MIN:
                raise UnreadableBody(f"it comes in chunks of less than {CHUNK_MIN} bytes")
            body += inflater.decompress(chunk, most + 1 - len(body)) if inflater else chunk
            if max(len(body), received) > most:
                raise BodyTooLarge(f"it has more than {most:,} bytes")
            if admit and len(body) > large:
                await admit()
                admit = None
    except zlib.error:
        raise UnreadableBody(f"it is not {encoding}") from None
    except (aiohttp.ClientPayloadError, aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenConnection from error
    return body


def explain(error: Exception, timeout: float) -> tuple[str, str | None]:
    """Returns why a call had no answer, and what to mend if that is known, from what the HTTP client raised.

    The words hold neither host nor URL, which may be a secret. `timeout` is that of the call, in seconds.
    """
    if isinstance(error, BrokenConnection) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    for kinds, reason, fix in _CAUSES:
        if isinstance(error, kinds):
            return reason.format(timeout=timeout, detail=_detail(error)), fix
    return f"the request failed: {type(error).__name__}", None


def _detail(error: Exception) -> str:
    """Returns the part of an error that tells something and names neither host nor URL."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or "it is not trusted"
            return str(reason).partition(",")[0]
        case aiohttp.ClientResponseError():
            return str(error.status)
        case aiohttp.ClientConnectorError() if error.os_error.errno:
            return os.strerror(error.os_error.errno).lower()
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionResetError):
            return "the connection broke during the TLS handshake; is it http://?"
        case _:
            return "it failed"
