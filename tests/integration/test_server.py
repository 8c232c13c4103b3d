"""The HTTP endpoints over real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any, NamedTuple

import aiohttp
import pytest

from watcher.monitoring.health import HealthReport, Problem
from watcher.monitoring.server import Answers, Page, serving
from watcher.store import StoreError, StoreUnavailable

pytestmark = pytest.mark.anyio

PAGE = Page("<!doctype html><title>ok</title>", "default-src 'none'; img-src data:")
WELL = Answers(
    alive=HealthReport,
    ready=HealthReport,
    metrics=lambda: b"watcher_build_info 1\n",
    pending=lambda after: ([b'{"app": "support"}'], (1.0, 1)) if after is None else ([], None),
    page=lambda query: PAGE if query.app in {None, "support"} else None,
    request=lambda number: PAGE if number == 17 else None,
)
ILL = HealthReport((Problem("app", "support", "not polled yet"),))
PAGES = ("/", "/?app=support", "/requests/17")
PATHS = (*PAGES, "/healthz", "/readyz", "/metrics", "/api/pending")


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Any
    text: str


@asynccontextmanager
async def endpoints(answers: Answers = WELL) -> AsyncIterator[str]:
    """Serves on a free port and yields the URL."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        async with serving(answers, "unused", 0, listening=listening):
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def ask(url: str, method: str = "GET") -> Reply:
    """Asks once."""
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        return Reply(response.status, response.headers, await response.text())


async def test_answers_when_all_is_well() -> None:
    """Each endpoint answers with 200, its content and its type."""
    async with endpoints() as url:
        replies = {path: await ask(url + path) for path in PATHS}
    assert {200} == {reply.status for reply in replies.values()}
    assert {"healthy": True, "problems": []} == json.loads(replies["/healthz"].text)
    assert {"ready": True, "problems": []} == json.loads(replies["/readyz"].text)
    assert [{"app": "support"}] == json.loads(replies["/api/pending"].text)
    assert "watcher_build_info 1\n" == replies["/metrics"].text
    assert "text/plain; version=0.0.4; charset=utf-8" == replies["/metrics"].headers["Content-Type"]
    assert {"text/html; charset=utf-8"} == {replies[path].headers["Content-Type"] for path in PAGES}


@pytest.mark.parametrize(
    ("path", "answers"),
    [("/healthz", replace(WELL, alive=lambda: ILL)), ("/readyz", replace(WELL, ready=lambda: ILL))],
)
async def test_what_is_wrong_is_a_503_that_says_so(path: str, answers: Answers) -> None:
    """A probe sees the status, a person reads which app and why."""
    async with endpoints(answers) as url:
        reply = await ask(url + path)
    assert 503 == reply.status
    assert [{"app": "support", "reason": "not polled yet"}] == json.loads(reply.text)["problems"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_nothing_can_be_changed(path: str, method: str) -> None:
    """Only GET and HEAD are allowed."""
    async with endpoints() as url:
        reply = await ask(url + path, method)
    assert (405, "GET,HEAD") == (reply.status, reply.headers["Allow"])


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body(path: str) -> None:
    """HEAD answers like GET."""
    async with endpoints() as url:
        reply = await ask(url + path, "HEAD")
    assert (200, "") == (reply.status, reply.text)


@pytest.mark.parametrize("path", [*PATHS, "/nowhere", "/../etc/passwd", "/requests/18"])
async def test_every_answer_is_guarded(path: str) -> None:
    """No answer is kept, guessed at, framed, or may load anything; only the page has a policy of its own."""
    async with endpoints() as url:
        headers = (await ask(url + path)).headers
    assert ("no-store", "nosniff", "no-referrer") == (
        headers["Cache-Control"],
        headers["X-Content-Type-Options"],
        headers["Referrer-Policy"],
    )
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert ("img-src" in headers["Content-Security-Policy"]) == (path in PAGES)
    assert "watcher" == headers["Server"]


@pytest.mark.parametrize(
    "path", ["/nowhere", "/?app=sales", "/requests/18", "/requests/", "/requests/x", "/requests/" + "9" * 19]
)
async def test_what_does_not_exist_is_not_found(path: str) -> None:
    """A path, an app or a request that does not exist is a 404 in plain text."""
    async with endpoints() as url:
        reply = await ask(url + path)
    assert (404, "404 Not Found\n") == (reply.status, reply.text)


async def test_a_long_list_comes_in_parts() -> None:
    """The list is one JSON document, however many parts it is read in; an empty one is one too."""
    asked: list[Any] = []

    def parts(after: Any) -> Any:
        asked.append(after)
        number = 0 if after is None else after[1]
        items = [json.dumps({"number": number, "text": "x" * 100_000}).encode()]
        return (items, (1.0, number + 1)) if number < 40 else ([], None)

    async with endpoints(replace(WELL, pending=parts)) as url:
        reply = await ask(f"{url}/api/pending")
        head = await ask(f"{url}/api/pending", "HEAD")
    assert [*range(40)] == [item["number"] for item in json.loads(reply.text)]
    assert [None, *((1.0, number) for number in range(1, 41)), None] == asked
    assert (200, "") == (head.status, head.text)
    async with endpoints(replace(WELL, pending=lambda _: ([], None))) as url:
        assert [] == json.loads((await ask(f"{url}/api/pending")).text)


async def test_a_list_that_breaks_off_is_no_whole_one() -> None:
    """When the database fails in the middle of the list, the client sees that it did not end."""

    def broken(after: Any) -> Any:
        if after is not None:
            raise StoreError("database is locked")
        return [b"{}"], (1.0, 1)

    async with endpoints(replace(WELL, pending=broken)) as url:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(f"{url}/api/pending")


async def test_a_browser_reloads_what_asks_for_it() -> None:
    """A page that shows what changes is reloaded by the browser, by a header that no script needs."""
    async with endpoints(replace(WELL, page=lambda _: replace(PAGE, refresh=60))) as url:
        assert "60" == (await ask(f"{url}/")).headers["Refresh"]
        assert "Refresh" not in (await ask(f"{url}/requests/17")).headers


async def test_a_database_that_cannot_be_read() -> None:
    """Page and list say so with a 503, the page in words that name watcher."""

    def broken(*_: Any) -> Any:
        raise StoreUnavailable("database is locked")

    async with endpoints(replace(WELL, pending=broken, page=broken)) as url:
        page, listed = await ask(f"{url}/"), await ask(f"{url}/api/pending")
    assert (503, "watcher cannot read its database: database is locked\n") == (page.status, page.text)
    assert (503, "database is locked") == (listed.status, json.loads(listed.text)["problems"][0]["reason"])


async def test_a_slow_database_holds_up_no_probe_of_life() -> None:
    """While somebody waits for the database, /healthz answers."""
    loop, asked, release = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def slow() -> HealthReport:
        loop.call_soon_threadsafe(asked.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(20)
        return HealthReport()

    async with endpoints(replace(WELL, ready=slow)) as url:
        waiting = asyncio.create_task(ask(f"{url}/readyz"))
        async with asyncio.timeout(20):
            await asked.wait()
            assert 200 == (await ask(f"{url}/healthz")).status
            release.set()
            assert 200 == (await waiting).status


async def test_rubbish_is_refused_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are no HTTP get a 400 and make no noise in the log."""
    async with endpoints() as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"\x16\x03\x01 rubbish\r\n\r\n")
        async with asyncio.timeout(20):
            line = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert b"400" in line
    assert [] == caplog.records


async def test_a_port_that_is_taken() -> None:
    """Nobody listens twice: the start fails."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="address already in use"):
            async with serving(WELL, "127.0.0.1", port):
                pass
