"""What clients that are slow, gone, many or hostile can take from the HTTP endpoints: next to nothing."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from typing import Any, Final

import pytest

from tests.integration.test_server import WELL, Reply, ask
from tests.support.builders import BOUND
from watcher.monitoring import connections, server
from watcher.monitoring.server import Answers, Page, serving
from watcher.monitoring.snapshot import StatusQuery

pytestmark = pytest.mark.anyio

HUGE: Final = Page("x" * (8 << 20), "default-src 'none'")
"""More than the buffers of two sockets take."""


class Held:
    """An answer that is held back until it is released, and how often it was worked on."""

    def __init__(self) -> None:
        self.count = 0
        self.began = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._released = threading.Event()

    def page(self, _: StatusQuery) -> Page:
        """Returns the page once it is released."""
        self.count += 1
        self._loop.call_soon_threadsafe(self.began.set)
        self._released.wait()
        return Page("released", "default-src 'none'")

    def release(self) -> None:
        """Lets all answers end."""
        self._released.set()


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    """An answer that ends with the test at the latest."""
    answer = Held()
    try:
        async with asyncio.timeout(BOUND):
            yield answer
    finally:
        answer.release()


@asynccontextmanager
async def endpoints(answers: Answers = WELL, **settings: Any) -> AsyncIterator[int]:
    """Serves on a free port, for some seconds at most, and yields the port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        async with asyncio.timeout(BOUND), serving(answers, "0.0.0.0", 0, listening=listening, **settings):
            yield listening.getsockname()[1]


@asynccontextmanager
async def client(port: int, sent: bytes = b"") -> AsyncIterator[asyncio.StreamReader]:
    """A connection on which something was sent, and nothing is read beyond what small buffers take."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
    raw.setblocking(False)  # noqa: FBT003 - as the method has it
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1 << 10)
    try:
        writer.write(sent)
        yield reader
    finally:
        writer.transport.abort()


async def closed(reader: asyncio.StreamReader) -> int:
    """Reads until the server has closed the connection, and returns how many bytes came."""
    received = 0
    try:
        while piece := await reader.read(1 << 16):
            received += len(piece)
    except ConnectionError:
        pass
    return received


def get(path: str = "/", *, host: str = "localhost") -> bytes:
    """A request."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


async def head(port: int, sent: bytes) -> str:
    """The head of the answer to what is sent."""
    async with client(port, sent) as reader:
        return (await reader.readuntil(b"\r\n\r\n")).decode()


async def page_of(port: int) -> Reply:
    """The page."""
    return await ask(f"http://127.0.0.1:{port}/")


async def test_at_most_64_connections() -> None:
    """The connection that was silent for longest gives way, and whoever asks is answered."""
    async with endpoints() as port, AsyncExitStack() as stack:
        readers = []
        for _ in range(connections.CONNECTIONS_MAX + 10):
            readers.append(await stack.enter_async_context(client(port)))
            assert 200 == (await page_of(port)).status
        assert [0] * 11 == [await closed(reader) for reader in readers[:11]]
        assert not readers[11].at_eof()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
async def test_a_request_that_does_not_end(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends nothing, or not all of its request, is cut off in time."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    async with endpoints() as port, client(port, begun) as reader:
        assert 0 == await closed(reader)


async def test_a_body_that_does_not_end() -> None:
    """What a client sends beyond the bound is not read, and nothing of it is kept."""
    post = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    too_much = post + b"x" * (connections.RECEIVED_MAX + 1)
    async with endpoints() as port, client(port, too_much) as reader:
        assert await closed(reader) < 1000


async def test_an_answer_that_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not read is cut off in time, and its answer is not kept."""
    monkeypatch.setattr(server, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(server, "BODIES_MAX", 10 << 20)
    async with (
        endpoints(replace(WELL, page=lambda _: HUGE)) as port,
        client(port, get()) as reader,
    ):
        await reader.readuntil(b"\r\n\r\n")  # it is being written
        busy = await page_of(port)
        assert (503, "1") == (busy.status, busy.headers["Retry-After"])
        while (page := await page_of(port)).status == 503:
            pass
        assert HUGE.html == page.text
        assert await closed(reader) < len(HUGE.html)


async def test_probes_do_not_wait_for_pages(held: Held) -> None:
    """While a page is being made, readiness, liveness and metrics are answered."""
    async with endpoints(replace(WELL, page=held.page)) as port:
        page = asyncio.create_task(page_of(port))
        await held.began.wait()
        for path in ("readyz", "healthz", "metrics"):
            assert 200 == (await ask(f"http://127.0.0.1:{port}/{path}")).status
        held.release()
        assert "released" == (await page).text


async def test_clients_that_left_cost_nothing(held: Held) -> None:
    """Hundreds of abandoned requests leave no work behind."""
    async with endpoints(replace(WELL, page=held.page)) as port:
        first = asyncio.create_task(page_of(port))
        await held.began.wait()
        for _ in range(500):
            async with client(port, get()):
                pass
        held.release()
        assert "released" == (await first).text
        assert "released" == (await page_of(port)).text
        assert held.count <= 3


async def test_shutdown_waits_for_no_client(held: Held) -> None:
    """Clients that are idle or slow do not delay the end, and neither does an answer that takes long."""
    async with AsyncExitStack() as stack:
        async with endpoints(replace(WELL, page=held.page, metrics=HUGE.html.encode)) as port:
            await stack.enter_async_context(client(port))
            slow = await stack.enter_async_context(client(port, get("/metrics")))
            waiting = await stack.enter_async_context(client(port, get()))
            await slow.readuntil(b"\r\n\r\n")
            await held.began.wait()
        assert 0 == await closed(waiting)  # the page is still held: nothing waited for it


@pytest.mark.parametrize("rubbish", [b"\x16\x03\x01 rubbish", b"GET / HTTP/9.9", b"GET"])
async def test_rubbish_is_refused_with_the_usual_headers(
    rubbish: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not HTTP gets a 400 that is guarded as every answer is, and no line in the log."""
    async with endpoints() as port:
        answer = await head(port, rubbish + b"\r\n\r\n")
    assert "400" == answer.split()[1]
    assert [] == [name for name, value in server.HEADERS.items() if f"{name}: {value}\r\n" not in answer]
    assert [] == caplog.records


OURS: Final = (
    "localhost", "LocalHost:8080", "localhost.", "a.localhost", "127.0.0.1:8080", "10.1.2.3", "[::1]:8080",
    "[fe80::1]", "watcher.example", "WATCHER.example:443", "approvals.internal",
)  # fmt: skip
FOREIGN: Final = (
    "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost",
    "2130706433", "127.1", "[::1].evil.example", "127.0.0.1@evil.example", "localhost,evil.example", "",
)  # fmt: skip


@pytest.mark.parametrize("host", [*OURS, *FOREIGN])
async def test_only_our_own_names_are_answered(host: str) -> None:
    """Under a foreign name a browser may be asking for a foreign page: it learns nothing, not even paths."""
    async with endpoints(allowed_hosts=("approvals.internal", "Watcher.Example")) as port:
        answers = [await head(port, get(path, host=host)) for path in ("/", "/readyz", "/nowhere")]
    expected = ["200", "200", "404"] if host in OURS else ["421"] * 3
    assert expected == [answer.split()[1] for answer in answers]
    assert ["Cache-Control: no-store" in answer for answer in answers] == [True] * 3


async def test_a_second_host_does_not_get_in() -> None:
    """A foreign name is refused beside an allowed one, too."""
    async with endpoints() as port:
        answer = await head(port, get().replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n"))
    assert answer.split()[1] in {"400", "421"}


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost:8080/readyz", "localhost", "200"),
        ("http://evil.example/readyz", "localhost", "421"),
        ("http://localhost/readyz", "evil.example", "421"),
        ("//evil.example/readyz", "localhost", "404"),
    ],
)
async def test_a_whole_url_as_the_target(target: str, host: str, status: str) -> None:
    """The name in the target counts like the one in the header."""
    async with endpoints() as port:
        assert status == (await head(port, get(target, host=host))).split()[1]


async def test_a_program_without_a_host_is_answered() -> None:
    """A probe by HTTP/1.0 may leave the name out, which no browser does."""
    async with endpoints() as port:
        assert "200" == (await head(port, b"GET /readyz HTTP/1.0\r\n\r\n")).split()[1]
