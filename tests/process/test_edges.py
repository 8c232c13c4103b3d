"""Edges of the whole path that once were defects, each with the case that showed it."""

import asyncio
from pathlib import Path

import pytest

from tests.support.hostile_peers import Call, Peer, listening, reply
from tests.support.process import WITHIN, run_watcher

pytestmark = pytest.mark.anyio

NOWHERE = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_HTTP_PORT": "0"}
"""An app that refuses every connection."""
ENOUGH = 20
"""Polls by which the one that got lost would have been."""


async def test_a_poll_that_is_due_at_once_is_not_lost(tmp_path: Path) -> None:
    """An app is polled on even if its next poll is due before the last one has been put away."""
    enough = asyncio.Event()

    async def is_busy_for_an_instant(call: Call) -> None:
        await call.say(reply(b"", b"503 Busy", more=b"Retry-After: 0.000001\r\n"))
        call.writer.close()
        if len(peer.calls) == ENOUGH:
            enough.set()

    peer = Peer(is_busy_for_an_instant)
    async with listening([peer]), run_watcher(tmp_path, {**NOWHERE, "WATCHER_BASE_URL": peer.url}):
        await asyncio.wait_for(enough.wait(), WITHIN)


async def test_a_signal_right_after_the_start_is_a_clean_end(tmp_path: Path) -> None:
    """As soon as the log says that the daemon has started, a signal is a clean end."""
    async with run_watcher(tmp_path, NOWHERE) as daemon:
        await daemon.wait_for_log("daemon.started")
        assert 0 == await daemon.stop()
