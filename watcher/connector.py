"""The connector of the HTTP client: look-ups that delay only their own hosts, and bounds on a server."""

import asyncio
import socket
import ssl
from functools import partial
from typing import Final, Literal

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from watcher.concurrency import run_blocking

DNS_TTL: Final = 60
"""Seconds for which the addresses of a host are used again without asking for them."""

LOOK_UPS_MAX: Final = 256
"""Hosts that are looked up at a time; further ones wait, because a container has room for so many threads."""

BEFORE_ANSWER_MAX: Final = 1024 * 1024
"""Bytes that a server may send before its answer begins, as interim answers (1xx) or headers."""


class _Resolver(AbstractResolver):
    """Looks up each host in a thread of its own, so that a name server that hangs delays only its own hosts.

    The event loop's pool has a handful of threads, and a look-up keeps its thread though the call gave up.
    The connector asks for a host once at a time, and keeps the answer for `DNS_TTL`.
    """

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(LOOK_UPS_MAX)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Returns the addresses of a host.

        Raises:
            OSError: the name is not known, or cannot be looked up.
        """
        async with self._room:
            found = await run_blocking(
                partial(
                    socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
            )
        return [
            ResolveResult(
                hostname=host,
                host="%".join(str(part) for part in (address[0], *address[3:]) if part),  # with IPv6's scope
                port=int(address[1]),
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Leaves look-ups that hang to their threads, which the end of the process does not wait for."""


class TooMuchBeforeAnswer(aiohttp.ClientConnectionError):
    """A server sends interim answers or headers without end."""


class BoundedConnector(aiohttp.TCPConnector):
    """Opens connections on which no more than `BEFORE_ANSWER_MAX` bytes come before an answer."""

    def __init__(self, *, ssl: ssl.SSLContext | Literal[True], keepalive_timeout: float) -> None:
        super().__init__(
            ssl=ssl,
            limit=0,
            keepalive_timeout=keepalive_timeout,
            resolver=_Resolver(),
            ttl_dns_cache=DNS_TTL,
        )

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the client's own
    ) -> aiohttp.connector.Connection:
        """Returns a connection for a request, on which the count begins anew."""
        connection = await super().connect(req, traces, timeout)
        if connection.transport is not None and connection.protocol is not None:
            guard = connection.transport.get_protocol()
            if not isinstance(guard, _Guard):
                guard = _Guard(connection.transport, connection.protocol)
                connection.transport.set_protocol(guard)
            guard.left = BEFORE_ANSWER_MAX
        return connection


def answer_began(response: aiohttp.ClientResponse) -> None:
    """Ends the count: what comes from now on is the answer, whose readers have bounds of their own."""
    if response.connection is not None and response.connection.transport is not None:
        guard = response.connection.transport.get_protocol()
        if isinstance(guard, _Guard):
            guard.left = None


class _Guard(asyncio.Protocol):
    """Passes everything on to the client's protocol; `left` is how much may come before an answer begins."""

    def __init__(self, transport: asyncio.Transport, protocol: ResponseHandler) -> None:
        self.left: int | None = None
        self._transport = transport
        self._protocol = protocol

    def data_received(self, data: bytes) -> None:
        if self.left is not None:
            self.left -= len(data)
            if self.left < 0:
                self._protocol.set_exception(TooMuchBeforeAnswer())
                self._transport.abort()
                return
        self._protocol.data_received(data)

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
