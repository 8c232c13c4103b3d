"""`watcher demo`: a simulated app and a watcher of it in one process, with nothing configured."""

import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from watcher.cli.options import Duration, config_option
from watcher.cli.process import run_async

if TYPE_CHECKING:
    from watcher.config.models import Config

ACCESS_KEY: Final = "dynamiq_acc_demo"
APP: Final = "support"
POLL_INTERVAL: Final = 0.5
ALERT_AFTER: Final = 1.5
"""Short enough for the outage in the demo to raise an alert."""
REMIND_AFTER: Final = 12.0
"""Short enough for a reminder in the demo, and long enough for most requests to be answered before."""


@click.command(short_help="Try it on a simulated app, with nothing configured.")
@config_option
@click.option(
    "--for", "seconds", type=Duration(), metavar="DURATION", help="Stop automatically, e.g. after 30s."
)
def demo(config_file: Path | None, seconds: float | None) -> None:
    """Watch a simulated app and show every message on the terminal.

    It needs no configuration and no network: --config is accepted and ignored.
    """
    del config_file
    click.echo(
        "Watching a simulated app. Every message that people would get is shown here. Ctrl-C stops it."
    )
    run_async(_play(seconds))


async def _play(seconds: float | None) -> None:
    """Plays the demo until a signal, or for so many seconds."""
    import asyncio

    from watcher import daemon, logs
    from watcher.simulator.scenarios import play
    from watcher.simulator.server import serve
    from watcher.simulator.state import Simulation

    app = Simulation(time.time, keys=frozenset({ACCESS_KEY}))
    with tempfile.TemporaryDirectory(prefix="watcher-demo-") as directory:
        async with serve({APP: app}) as server:
            config = _config(server.app_url(APP), Path(directory) / "watcher.db")
            logs.configure(level="warning", format="auto", redactor=config.redactor)
            playing = asyncio.create_task(play("demo", {APP: app}))
            with socket.create_server(("127.0.0.1", 0)) as listening:
                click.echo(f"Status page: http://127.0.0.1:{listening.getsockname()[1]}/")
                try:
                    await daemon.run(config, seconds=seconds, listening=listening)
                finally:
                    playing.cancel()
                    with suppress(asyncio.CancelledError):
                        await playing


def _config(base_url: str, database: Path) -> "Config":
    from watcher.config.models import AppConfig, Config, ConsoleConfig
    from watcher.sanitize.redactor import Redactor
    from watcher.sanitize.secrets import Secret

    redactor = Redactor()
    app = AppConfig(
        name=APP,
        base_url=base_url,
        access_key=Secret("apps.support.access_key", redactor, value=ACCESS_KEY),
        poll_interval=POLL_INTERVAL,
        notify=("console",),
    )
    return Config(
        database=database,
        poll_interval=POLL_INTERVAL,
        backoff_max=2 * POLL_INTERVAL,
        app_alert_after=ALERT_AFTER,
        apps=(app,),
        notifiers=(ConsoleConfig(name="console", remind_after=(REMIND_AFTER,)),),
        redactor=redactor,
    )
