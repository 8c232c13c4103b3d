"""`watcher demo`: a simulated app and a watcher of it in one process, with nothing configured."""

import asyncio
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from watcher import daemon, logs
from watcher.config.fields import DEFAULT_REDACT
from watcher.config.models import AppConfig, Config, ConsoleConfig
from watcher.sanitize.secrets import Redactor, Secret
from watcher.simulator.scenarios import play
from watcher.simulator.server import serve
from watcher.simulator.state import Simulation

ACCESS_KEY: Final = "dynamiq_acc_demo"
POLL_INTERVAL: Final = 0.5
ALERT_AFTER: Final = 1.5
"""Short enough that the outage in the demo is told of."""
REMIND_AFTER: Final = 12.0
"""Short enough that somebody is reminded in the demo, and long enough that most is answered before."""


async def run(seconds: float | None, *, announce: Callable[[str], object]) -> None:
    """Plays the demo until a signal, or for so many seconds; `announce` is told where the status page is.

    Raises:
        StoreUnusable: there is no place for a temporary database.
    """
    app = Simulation(time.time, keys=frozenset({ACCESS_KEY}))
    with tempfile.TemporaryDirectory(prefix="watcher-demo-") as directory:
        async with serve({"support": app}) as server:
            redactor = Redactor()
            config = Config(
                database=Path(directory) / "watcher.db",
                poll_interval=POLL_INTERVAL,
                backoff_max=2 * POLL_INTERVAL,
                app_alert_after=ALERT_AFTER,
                redact=DEFAULT_REDACT,
                apps=(
                    AppConfig(
                        name="support",
                        base_url=server.app_url("support"),
                        access_key=Secret("apps.support.access_key", redactor, value=ACCESS_KEY),
                        poll_interval=POLL_INTERVAL,
                        notify=("console",),
                    ),
                ),
                notifiers=(ConsoleConfig(name="console", remind_after=(REMIND_AFTER,)),),
                redactor=redactor,
            )
            logs.configure(level="warning", format="auto", redactor=redactor)
            playing = asyncio.create_task(play("demo", {"support": app}))
            with socket.create_server(("127.0.0.1", 0)) as listening:
                announce(f"Status page: http://127.0.0.1:{listening.getsockname()[1]}/")
                try:
                    await daemon.run(config, seconds=seconds, listening=listening)
                finally:
                    playing.cancel()
                    await asyncio.wait({playing})
