"""A simulated app, a webhook and a fake Slack on loopback, with the settings of a watcher between them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support.fakes import FakeSlack, WebhookReceiver, served
from tests.support.process import WITHIN, Finished, Process, run_command, run_watcher
from watcher.simulator.options import Options
from watcher.simulator.server import SimulatorServer, serve
from watcher.simulator.state import Simulation
from watcher.store import queries
from watcher.store.sqlite import SqliteDatabase

KEY = "dynamiq_acc_0123456789abcdef"
SECRET = "whsec_bWFkZS11cC1zZWNyZXQtb2YtdGhlLXRlc3Rz"


@dataclass(frozen=True, slots=True)
class World:
    """An app, two destinations, and the settings of a watcher between them."""

    directory: Path
    app: Simulation
    api: SimulatorServer
    hook: WebhookReceiver
    slack: FakeSlack
    settings: dict[str, str]

    def running(self, **settings: str) -> AbstractAsyncContextManager[Process]:
        """Runs the daemon with the settings of this world and these."""
        return run_watcher(self.directory, {**self.settings, **settings})

    async def command(self, *arguments: str, **settings: str) -> Finished:
        """Runs one command to its end."""
        return await run_command(self.directory, {**self.settings, **settings}, *arguments)

    def deliveries(self, **fields: Any) -> list[dict[str, Any]]:
        """Returns the deliveries that `watcher deliveries` would list with these fields, the oldest first."""
        with SqliteDatabase(self.directory / "watcher.db").reading() as database:
            found = [asdict(record) for record in queries.deliveries(database, now=time.time())]
        return [each for each in found if fields.items() <= each.items()]

    async def wait_for_delivery(self, **fields: Any) -> dict[str, Any]:
        """Waits for a delivery with these fields: the daemon logs an outcome before it records it."""
        async with asyncio.timeout(WITHIN):
            while not (found := self.deliveries(**fields)):  # noqa: ASYNC110 - the state of another process
                await asyncio.sleep(0.01)
        (delivery,) = found
        return delivery

    def events(self) -> list[dict[str, Any]]:
        """Returns the events that reached the webhook."""
        return [received.json() for received in self.hook.received]

    def ask(self, prompt: str = "Approve refund?", **fields: Any) -> str:
        """Starts a run that asks something and returns its id."""
        run_id = self.app.start_run()
        self.app.ask(run_id, prompt=prompt, **fields)
        return run_id


@asynccontextmanager
async def open_world(directory: Path, options: Options | None = None) -> AsyncIterator[World]:
    """Serves everything that a watcher talks to."""
    app = Simulation(time.time, options, frozenset({KEY}))
    hook, slack = WebhookReceiver(), FakeSlack()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(serve({"support": app}))
        hook_url = await stack.enter_async_context(served(hook))
        slack_url = await stack.enter_async_context(served(slack))
        settings = {
            "WATCHER_APP_NAME": "support",
            "WATCHER_BASE_URL": api.url,
            "WATCHER_ACCESS_KEY": KEY,
            "WATCHER_POLL_INTERVAL": "200ms",
            "WATCHER_BACKOFF_MAX": "400ms",
            "WATCHER_HTTP_PORT": "0",
            "WATCHER_WEBHOOK_URL": f"{hook_url}/hook/0123456789abcdef",
            "WATCHER_WEBHOOK_SECRET": SECRET,
            "WATCHER_SLACK_BOT_TOKEN": slack.token,
            "WATCHER_SLACK_CHANNEL": "C0123456789",
            "WATCHER_SLACK_API_URL": f"{slack_url}/api/",
        }
        yield World(directory, app, api, hook, slack, settings)


async def wait_for_sent(daemon: Process, notifier: str, event: str, count: int = 1) -> None:
    """Waits until so many events of a type were accepted by a notifier."""
    await daemon.wait_for_log("delivery.sent", notifier=notifier, event_type=event, count=count)


async def wait_for_polls(world: World, count: int = 3) -> None:
    """Waits for so many more polls."""
    await world.api.wait_for_calls(world.api.finished() + count, within=20)
