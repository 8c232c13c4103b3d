"""`watcher demo`: a simulated app and a watcher of it in one process, with nothing configured."""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from watcher.cli.options import Duration, config_option
from watcher.cli.process import exit_with, run_async
from watcher.cli.signals import ENDING

if TYPE_CHECKING:
    from structlog.typing import EventDict

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
    """Watch a simulated app and show every message on the terminal, or as lines of JSON on a pipe.

    It needs no configuration and no network: --config is accepted and ignored.
    """
    del config_file
    number = run_async(_play(seconds))
    if number is not None:
        exit_with(ENDING[number], 128 + number)


async def _play(seconds: float | None) -> int | None:
    """Plays the demo for `seconds`, or until a signal, whose number it returns."""
    import asyncio
    import socket
    import tempfile

    import structlog

    from watcher import daemon, logs
    from watcher.simulator.scenarios import play
    from watcher.simulator.server import serve
    from watcher.simulator.state import Simulation

    _caption("This is a simulated app with a watcher. Every message that people would get is shown here.")
    app = Simulation(time.time, keys=frozenset({ACCESS_KEY}))
    with tempfile.TemporaryDirectory(prefix="watcher-demo-") as directory:
        async with serve({APP: app}) as server:
            database = Path(directory) / "watcher.db"
            config = _config(server.app_url(APP), database)
            logs.configure(level="warning", format="auto", redactor=config.redactor)
            structlog.configure(processors=[_drop_outage, *structlog.get_config()["processors"]])
            with socket.create_server(("127.0.0.1", 0)) as listening:
                port = listening.getsockname()[1]
                _caption(f"The status page is at http://127.0.0.1:{port}/ . Ctrl-C stops the demo.")
                playing = asyncio.create_task(play("demo", app, caption=_caption))
                try:
                    number = await daemon.run(config, seconds=seconds, listening=listening)
                finally:
                    playing.cancel()
                    with suppress(asyncio.CancelledError):
                        await playing
            _caption(_summary(database))
    return number


def _drop_outage(_logger: object, _method: str, event: "EventDict") -> "EventDict":
    """Keeps the staged outage out of the log; people get a message about it."""
    from structlog import DropEvent

    if event["event"] in {"poll.failed", "app.failing"}:
        raise DropEvent
    return event


def _caption(text: str) -> None:
    """Prints a line of ours: on a pipe as JSON, as the console notifier does beside a JSON log."""
    import json

    from watcher.logs import writes_json

    if writes_json("auto") and not sys.stdout.isatty():
        click.echo(json.dumps({"caption": text}))
    else:
        click.echo(f"\n{click.style(f'-- {text}', bold=True)}\n")


def _summary(database: Path) -> str:
    """Returns how many messages of each kind people got."""
    from collections import Counter

    from watcher.messages.formatting import count
    from watcher.store import queries
    from watcher.store.sqlite import SqliteDatabase

    with SqliteDatabase(database).reading() as reader:
        sent = Counter(delivery.type for delivery in queries.deliveries(reader, "sent", now=time.time()))
    shown = [
        count(sent["run.input_requested"], "request"),
        count(sent["run.input_reminder"], "reminder"),
        count(sent["run.input_resolved"], "resolution"),
        count(sent["watcher.app_failing"], "outage"),
    ]
    return f"Shown: {', '.join(shown)}, each once. For your own app see `watcher check --help`."


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
