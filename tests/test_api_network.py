"""The client of the Runs API on real sockets: connections that break, stall, or lead through a proxy."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from typing import Final, TypeVar

import certifi
import pytest

from tests.api_fakes import KEY, bounded, key_of
from watcher.api import RunsClient, tls_context
from watcher.api_errors import ApiError, ConnectionFailed, TimedOut
from watcher.models import Run

T = TypeVar("T")
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BODY: Final = b'{"data": {"id": "r1", "status": "started"}}'
HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go where they are sent, whatever the environment of the tests says."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def exchange(peer: Peer, *, timeout: float = 5, calls: int = 1) -> tuple[list[Run | ApiError], list[bytes]]:
    """What becomes of calls to a server that treats each connection like that, and the heads it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await _head(reader):
                heads.append(head)
                await peer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def run() -> list[Run | ApiError]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await _outcomes(f"http://127.0.0.1:{port}", timeout, calls)

    return bounded(run()), heads


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _outcomes(base_url: str, timeout: float, calls: int) -> list[Run | ApiError]:  # noqa: ASYNC109 - the client's
    client = RunsClient(base_url, key_of(KEY), timeout=timeout, keepalive=5)
    outcomes: list[Run | ApiError] = []
    try:
        for _ in range(calls):
            try:
                outcomes.append(await client.run("r1"))
            except ApiError as error:
                outcomes.append(error)
    finally:
        await client.close()
    return outcomes


async def answers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers as it should."""
    writer.write(HEAD + BODY)
    await writer.drain()


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Resets the connection instead of answering."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes the connection instead of answering."""
    writer.close()


async def truncates(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Closes the connection in the middle of the body."""
    writer.write(HEAD + BODY[:10])
    await writer.drain()
    writer.close()


async def babbles(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks something that is not HTTP."""
    writer.write(b"220 mail.example ESMTP\r\n\r\n")
    await writer.drain()
    writer.close()


async def stalls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stops in the middle of the body, until the other side gives up."""
    writer.write(HEAD + BODY[:10])
    await writer.drain()
    await reader.read(1)


async def says_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Takes the request and answers nothing, until the other side gives up."""
    await reader.read(1)


def test_a_call_on_the_wire() -> None:
    """A call is one GET that carries the key, and the next one uses the same connection."""
    outcomes, heads = exchange(answers, calls=2)
    assert [Run("r1", "started")] * 2 == outcomes
    assert [head.split(b"\r\n")[0] for head in heads] == [b"GET /v1/runs/r1 HTTP/1.1"] * 2
    assert f"Authorization: Bearer {KEY}\r\n".encode() in heads[0]


@pytest.mark.parametrize("peer", [resets, hangs_up, truncates, babbles])
def test_connections_that_break(peer: Peer) -> None:
    """A connection that breaks before the whole answer is a failed call, and the key is not in its words."""
    (error,), _ = exchange(peer)
    assert isinstance(error, ConnectionFailed)
    assert (ConnectionFailed, False) == (type(error), KEY in str(error))


async def drips(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends a body without an end, each piece in time, until the other side gives up."""
    writer.write(HEAD.replace(b"%d" % len(BODY), b"1000000"))
    with suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("peer", [stalls, says_nothing, drips])
def test_connections_that_stall(peer: Peer) -> None:
    """A server that does not begin, stops in the middle, or never ends is given up after the timeout."""
    (error,), _ = exchange(peer, timeout=0.1)
    assert TimedOut is type(error)


def test_a_client_recovers() -> None:
    """After a connection that broke the next call makes a new one and succeeds."""
    turns = iter([hangs_up, answers])

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(turns)(reader, writer)

    (failed, succeeded), _ = exchange(peer, calls=2)
    assert (ConnectionFailed, Run("r1", "started")) == (type(failed), succeeded)


def test_a_port_where_nobody_listens() -> None:
    """A refused connection is a failed call."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        (error,) = bounded(_outcomes(f"http://127.0.0.1:{taken.getsockname()[1]}", 5, 1))
    assert type(error) is ConnectionFailed


@pytest.mark.parametrize(
    "base_url", ["http://[bad", "http://app.test:port", "ftp://app.test", "app.test", ""]
)
def test_a_base_url_that_cannot_be_called(base_url: str) -> None:
    """An address that is none is a failed call as well."""
    (error,) = bounded(_outcomes(base_url, 5, 1))
    assert type(error) is ConnectionFailed


def test_a_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard variable for a proxy sends the call there."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await _head(reader))
        await answers(reader, writer)
        writer.close()

    async def run() -> list[Run | ApiError]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
            return await _outcomes("http://app.test", 5, 1)

    assert [Run("r1", "started")] == bounded(run())
    assert [head.split(b"\r\n")[0] for head in heads] == [b"GET http://app.test/v1/runs/r1 HTTP/1.1"]


def test_certificates_are_checked() -> None:
    """The context that all clients share verifies certificates and names."""
    context = tls_context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_certificates_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard variable for certificates says what is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert tls_context().cert_store_stats()["x509_ca"] > 50


def test_a_system_without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no certificates, the bundled ones are trusted."""
    nothing = ssl.get_default_verify_paths()._replace(cafile="", capath="")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    assert tls_context().cert_store_stats()["x509_ca"] > 50
