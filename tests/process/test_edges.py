"""Edges of the whole path that once were defects, each with the case that showed it."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.support.process import WITHIN, environment, run_watcher

pytestmark = pytest.mark.anyio

NOWHERE = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_HTTP_PORT": "0"}
"""An app that refuses every connection."""
ENOUGH = 20
"""Polls by which the one that got lost would have been."""


async def test_a_poll_that_is_due_at_once_is_not_lost(tmp_path: Path) -> None:
    """An app is polled on even if its next poll is due before the last one has been put away."""
    polls = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal polls
        await reader.readuntil(b"\r\n\r\n")
        polls += 1
        head = b"HTTP/1.1 503 Busy\r\nRetry-After: 0.000001\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        writer.write(head)
        await writer.drain()
        writer.close()
        if polls == ENOUGH:
            enough.set()

    enough = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with (
            run_watcher(tmp_path, {**NOWHERE, "WATCHER_BASE_URL": f"http://127.0.0.1:{port}"}),
            asyncio.timeout(WITHIN),
        ):
            await enough.wait()


async def test_a_signal_right_after_the_start_is_a_clean_end(tmp_path: Path) -> None:
    """Whoever reads that the daemon has started may end it at once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "watcher",
        "run",
        cwd=tmp_path,
        env=environment(NOWHERE),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(WITHIN):
        while b"daemon.started" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert 0 == process.returncode
