"""What the tests of the simulator share."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx

from watcher.simulator.options import Options
from watcher.simulator.parsing import ListQuery
from watcher.simulator.server import SimulatorServer, serve
from watcher.simulator.state import Simulation

STARTED = 1781082921.123456
"""2026-06-10T09:15:21Z and a bit."""
KEY = "dynamiq_acc_test"
BEARER = {"Authorization": f"Bearer {KEY}"}
RUN_1 = "00000000-0000-0000-0000-000000000001"
WAITING = ListQuery(statuses=frozenset({"awaiting_input"}))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = STARTED

    def __call__(self) -> float:
        """Returns the time that was set."""
        return self.now


def numbered_ids() -> Callable[[], uuid.UUID]:
    """Returns a source of run ids that count up from 1."""
    numbers = count(1)
    return lambda: uuid.UUID(int=next(numbers))


def simulation(options: Options | None = None, keys: frozenset[str] | None = None) -> Simulation:
    """Returns an app whose time stands still and whose run ids count up."""
    return Simulation(Clock(), options, keys, ids=numbered_ids())


def listed(app: Simulation, query: ListQuery = WAITING) -> list[str]:
    """Returns the ids of the runs that a query finds."""
    return [item["id"] for item in app.list_runs(query)["data"]]


def shown(app: Simulation, run_id: str) -> list[Any]:
    """Returns the requests that a run shows."""
    found: list[Any] = app.get_run(run_id)["data"].get("input_requests", [])
    return found


@asynccontextmanager
async def served(
    *apps: Simulation, headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[SimulatorServer, httpx.AsyncClient]]:
    """Serves the first app as `default` and a second as `support`, with a client for them."""
    names = dict(zip(("default", "support"), apps, strict=False))
    # Without TLS no certificates need be loaded, which takes longer than most tests.
    async with (
        serve(names) as server,
        httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False, verify=False) as client,
    ):
        yield server, client
