"""What signals ask of a daemon."""

import asyncio
import threading

import pytest

from watcher.config.models import Config
from watcher.signals import Signals

pytestmark = pytest.mark.anyio


async def test_a_reload_is_not_forgotten_when_a_standby_begins_to_lead() -> None:
    """A check of the configuration that is cut short is made again by who watches next."""
    checks, going_on = asyncio.Queue[None](), threading.Event()
    loop = asyncio.get_running_loop()

    def load() -> Config:
        loop.call_soon_threadsafe(checks.put_nowait, None)
        going_on.wait()
        raise ValueError("a problem")

    signals = Signals(load)
    signals._reload_asked.set()
    standing_by = asyncio.create_task(signals.watch_reload())
    await checks.get()
    standing_by.cancel()
    await asyncio.gather(standing_by, return_exceptions=True)
    leading = asyncio.create_task(signals.watch_reload())
    await checks.get()
    going_on.set()
    leading.cancel()
    await asyncio.gather(leading, return_exceptions=True)
