"""The simulator as a process of its own, for `watcher simulate`."""

import asyncio
import time
from collections.abc import Callable

from watcher.simulator.catalog import DESCRIPTIONS
from watcher.simulator.scenarios import play
from watcher.simulator.server import serve
from watcher.simulator.state import Simulation


async def run(host: str, port: int, scenario: str, *, announce: Callable[[str], object]) -> None:
    """Serves one public app and plays a scenario on it, until it is cancelled.

    `announce` gets one line, which begins with the base URL, as soon as it is served; port 0 is a free one.

    Raises:
        OSError: the address is in use or not of this machine.
        KeyError: there is no scenario of that name.
    """
    app = Simulation(time.time)
    async with serve(app, host, port) as server:
        announce(f"{server.url} is the base URL; {scenario}: {DESCRIPTIONS[scenario]}")
        await play(scenario, app)
        await asyncio.Event().wait()
