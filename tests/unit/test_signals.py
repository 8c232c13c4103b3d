"""What signals ask of a daemon."""

import asyncio
import os
import signal
import threading
from pathlib import Path

import pytest

from tests.support.builders import soon
from watcher import daemon
from watcher import signals as signals_module
from watcher.bootstrap import open_services
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


async def test_a_second_signal_ends_a_process_that_began_to_lead_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby handles signals already when it begins to lead; the second still ends the process at once."""
    aborted: asyncio.Queue[signal.Signals] = asyncio.Queue()
    monkeypatch.setattr(signals_module, "_abort", aborted.put_nowait)
    signals = Signals(None)
    signals.handle()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await soon(signals.end.wait())
        async with open_services(Config(database=tmp_path / "watcher.db")) as services:
            await soon(daemon._lead(services, signals, None))
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.SIGTERM == await soon(aborted.get())
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            asyncio.get_running_loop().remove_signal_handler(number)
