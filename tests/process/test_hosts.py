"""The names under which the real daemon answers come from its settings."""

import socket
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

from tests.support.world import open_world

pytestmark = pytest.mark.anyio

SETTINGS = {
    "WATCHER_HTTP_HOST": "localhost",
    "WATCHER_HTTP_ALLOWED_HOSTS": '["approvals.internal", "Other.Example."]',
    "WATCHER_PUBLIC_URL": "https://Watcher.Example:8443/pages",
}
OURS = (
    "localhost", "approvals.internal", "APPROVALS.internal.:80", "other.example", "watcher.example:8443",
    "watcher.example", "10.0.0.7:8080", "[fd00::7]:8080", "[FD00::7]",
)  # fmt: skip
FOREIGN = (
    "evil.example", "watcher.example.evil.example", "internal", "[fd00::7", "watcher.example@evil.example",
    "watcher.example:80:80",
)  # fmt: skip


async def test_names_come_from_the_settings(tmp_path: Path) -> None:
    """Allowed hosts and the host of the public URL are answered, in every spelling; other names get 421."""
    with closing(socket.create_server(("localhost", 0))) as free:
        port = free.getsockname()[1]
    statuses = {}
    async with (
        open_world(tmp_path) as world,
        world.running(**SETTINGS, WATCHER_HTTP_PORT=str(port)) as daemon,
        aiohttp.ClientSession() as session,
    ):
        await daemon.wait_for_log("http.listening")
        for host in (*OURS, *FOREIGN):
            url = f"http://localhost:{port}/healthz"
            async with session.get(url, headers={"Host": host}) as response:
                statuses[host] = response.status
    assert dict.fromkeys(OURS, 200) | dict.fromkeys(FOREIGN, 421) == statuses
