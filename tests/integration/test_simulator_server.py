"""How the simulator starts, announces itself and stops."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.simulator_bench import (
    served,
    simulation,
)
from watcher.simulator.catalog import DESCRIPTIONS
from watcher.simulator.faults import Fault
from watcher.simulator.server import serve
from watcher.simulator.standalone import run

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("scenario", ["approval", "busy"])
async def test_the_simulator_by_itself(scenario: str) -> None:
    """It says where it listens, plays, and serves on after the script has ended, until it is cancelled."""
    announced: asyncio.Queue[str] = asyncio.Queue()
    alone = asyncio.create_task(run("127.0.0.1", 0, scenario, announce=announced.put_nowait))
    async with asyncio.timeout(10), httpx.AsyncClient(trust_env=False, verify=False) as client:
        line = await announced.get()
        items = (await client.get(f"{line.split()[0]}/v1/runs")).json()["data"]
        assert not alone.done()
        alone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await alone

    assert DESCRIPTIONS[scenario] in line
    assert {item["status"] for item in items} == {"awaiting_input"}


async def test_a_taken_port_is_an_error() -> None:
    """Serving on a port in use raises instead of serving elsewhere."""
    async with served(simulation()) as (server, _):
        port = urlsplit(server.url).port
        assert port is not None
        with pytest.raises(OSError, match="address already in use"):
            async with serve(simulation(), port=port):
                pass


async def test_stopping_does_not_wait_for_slow_callers() -> None:
    """Leaving the block ends a call that would hang for an hour."""
    app = simulation()
    app.faults.add(Fault(kind="delay", seconds=3600))
    async with asyncio.timeout(10):
        async with httpx.AsyncClient(trust_env=False, verify=False) as client, serve(app) as server:
            call = asyncio.create_task(client.get(f"{server.url}/v1/runs"))
            await server.wait_for(lambda: len(server.requests) == 1)
        with pytest.raises(httpx.HTTPError):
            await call
