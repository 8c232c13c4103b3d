"""The real daemon stays within the memory of its container, whatever legal answers apps give."""

import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.fakes import WebhookReceiver, served
from tests.support.process import run_watcher

pytestmark = pytest.mark.anyio

MEMORY = 256 * 2**20
"""Bytes that the compose file and the Kubernetes manifest allow."""
MIB = 2**20


class LargeApp(WebhookReceiver):
    """The Runs API of an app whose runs are prepared as JSON: they may be large at no cost to the test."""

    def __init__(self, runs: Sequence[bytes], readable: int | None = None) -> None:
        super().__init__()
        self.readable = len(runs) if readable is None else readable
        self.runs = runs

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers a page of the list, or one run."""
        if (run_id := request.path.removeprefix("/v1/runs/")) != request.path:
            body = b'{"data":%b}' % self.runs[int(run_id)]
        else:
            page, size = int(request.query["page"]), int(request.query["page_size"])
            shown = self.runs[(page - 1) * size : page * size]
            body = b'{"data":[%b],"pagination":{"total_count":%d}}' % (b",".join(shown), len(self.runs))
        return web.Response(body=body, content_type="application/json")


def run(
    number: int, rest: bytes = b'"user_id":"7"', *, prompt: bytes = b"Approve?", params: bytes = b"{}"
) -> bytes:
    """Returns a run that asks for an approval, with more members."""
    return (
        b'{"id":"%d","status":"awaiting_input","started_at":"2026-06-10T09:15:21Z",%b,"input_requests":'
        b'[{"id":"q%d","type":"approval_request","prompt":"%b","params":%b}]}'
        % (number, rest, number, prompt, params)
    )


def table(rows: int) -> bytes:
    """Returns rows as a database has them."""
    row = {"id": 4711, "name": "Ada Lovelace", "amount": 620.0, "currency": "EUR", "paid": False, "due": None}
    return json.dumps([row] * rows).encode()


RUNS = 100
WIDE = "\N{GRINNING FACE}".encode()
APPS: dict[str, Callable[[], list[LargeApp]]] = {
    "objects": lambda: [
        LargeApp([run(0), run(1, b'"input":[%b]' % b",".join([b"{}"] * (10 * MIB // 3))), run(2)])
    ],
    "tables in parameters": lambda: [
        LargeApp([run(number, params=b'{"table":%b}' % table(400)) for number in range(RUNS)])
    ],
    "three apps at once": lambda: [
        LargeApp([run(number, b'"input":{"table":%b}' % table(1000)) for number in range(RUNS)]),
        LargeApp([run(number, b'"output":"%b"' % (b"x" * 100_000 + WIDE)) for number in range(RUNS)]),
        LargeApp([run(number, b'"input":"%b"' % (WIDE * 25_000)) for number in range(RUNS)]),
    ],
    "one text each that is too large": lambda: [
        LargeApp([run(0), run(1, prompt=b"x" * 15 * MIB + WIDE), run(2)], readable=2) for _ in range(3)
    ],
}
"""Apps by what is large in them."""


@pytest.mark.parametrize("name", APPS)
async def test_large_answers(tmp_path: Path, name: str) -> None:
    """Every run that can be read is announced, and the memory of the container is enough for all polls."""
    apps, hook = APPS[name](), WebhookReceiver()
    settings = {"WATCHER_HTTP_PORT": "0", "WATCHER_POLL_INTERVAL": "1s", "WATCHER_LOG_LEVEL": "debug"}
    settings["WATCHER_PAGE_SIZE"] = str(max(len(app.runs) for app in apps))
    expected = sum(app.readable for app in apps)
    async with AsyncExitStack() as stack:
        settings["WATCHER_WEBHOOK_URL"] = await stack.enter_async_context(served(hook))
        for number, app in enumerate(apps):
            url = await stack.enter_async_context(served(app))
            settings[f"WATCHER_APPS__APP{number}__BASE_URL"] = url
        daemon = await stack.enter_async_context(run_watcher(tmp_path, settings, imported=False))
        await daemon.wait_for_log("delivery.sent", count=expected)
        for number in range(len(apps)):
            await daemon.wait_for_log("poll.succeeded", count=2, app=f"app{number}")
        peak = daemon.memory_peak()
        assert 0 == await daemon.stop()
    told = {
        (event["app"]["name"], event["run"]["id"])
        for event in (each.json()["data"] for each in hook.received)
    }
    assert expected == len(told)
    assert peak < MEMORY
