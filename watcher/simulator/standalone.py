"""The simulator by itself, to develop against."""

import asyncio
import signal
import time
from collections.abc import Callable

from watcher.simulator.scenarios import SCENARIOS, play
from watcher.simulator.server import serve
from watcher.simulator.state import Simulation


async def run(host: str, port: int, scenario: str, *, announce: Callable[[str], object]) -> None:
    """Serves one public app, plays a scenario on it, and serves on until SIGINT or SIGTERM.

    `announce` gets one line that begins with the base URL as soon as that answers; port 0 takes a free one.

    Raises:
        OSError: the address is taken or is not one of this machine.
        KeyError: there is no scenario of that name.
    """
    description = SCENARIOS[scenario].description
    app = Simulation(time.time)
    async with serve(app, host, port) as server:
        playing = asyncio.create_task(_play_and_stay(scenario, app))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, playing.cancel)
        try:
            announce(f"{server.url} is the base URL; {scenario}: {description}")
            await asyncio.wait({playing})
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            playing.cancel()
    if not playing.cancelled():
        playing.result()


async def _play_and_stay(scenario: str, app: Simulation) -> None:
    await play(scenario, app)
    await asyncio.Event().wait()
