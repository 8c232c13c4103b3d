"""The session that all outgoing calls share."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from tests.support.builders import BOUND
from tests.support.hostile_peers import Peer, answers, listening
from watcher.net import open_session

pytestmark = pytest.mark.anyio


async def test_a_name_server_that_hangs_delays_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many hosts of a zone cannot be looked up, another host is reached, and asked for once."""
    released = threading.Event()
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        if host.endswith(".hangs.test"):
            released.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    peer = Peer(answers)
    async with listening([peer]), open_session(timeout=0.05) as session:
        for number in range(60):
            with pytest.raises(TimeoutError):
                await session.get(f"http://app-{number}.hangs.test/")
        url = peer.url.replace("127.0.0.1", "healthy.test")
        try:
            async with asyncio.timeout(BOUND):
                for _ in range(2):
                    await session.get(url, headers={"Connection": "close"}, timeout=None)
        finally:
            released.set()
    assert 1 == asked.count("healthy.test")
