"""A replica that stands by: it waits for the lease, and shows who leads meanwhile."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from watcher.bootstrap import build_monitor
from watcher.concurrency import run_blocking
from watcher.config.database import PostgresqlAddress
from watcher.config.models import Config
from watcher.leadership import DatabaseClock, LeaseKeeper
from watcher.monitoring.liveness import LivenessTracker
from watcher.polling.clock import boottime
from watcher.signals import Signals
from watcher.store import StoreInUse
from watcher.store.databases import locate_server
from watcher.store.lease import holder_name

LOOK_DEADLINE: Final = 10.0
"""Seconds in which a standby looks at the lease, or fails to, at least once."""


class Standby:
    """Follows a lease keeper from the event loop."""

    def __init__(self, config: Config, keeper: LeaseKeeper) -> None:
        self.keeper = keeper
        liveness = LivenessTracker(monotonic=time.monotonic, wall=keeper.clock)
        self.monitor = build_monitor(config, liveness, keeper)
        self._changed = asyncio.Event()
        self._liveness = liveness

    async def wait(self, signals: Signals) -> bool:
        """Asks for the lease from now on, until this process leads or is to end; returns whether it leads.

        Raises:
            StoreUnusable: the database cannot be used.
        """
        loop = asyncio.get_running_loop()

        def changed() -> None:
            with suppress(RuntimeError):  # the loop is closed, and the process about to end
                loop.call_soon_threadsafe(self._changed.set)

        self.keeper.start(changed, lambda: self._liveness.set_deadline("lease", LOOK_DEADLINE))
        end = asyncio.create_task(signals.end.wait())
        leads = asyncio.create_task(self._until(lambda: self.keeper.standing.role == "leader"))
        reload = asyncio.create_task(signals.watch_reload())
        try:
            done, _ = await asyncio.wait({end, leads, reload}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # or the error that ended it
            return not signals.end.is_set()
        finally:
            for task in (end, leads, reload):
                task.cancel()

    async def lost(self) -> None:
        """Waits until another replica has taken over.

        Raises:
            StoreLost: it has.
        """
        await self._until(lambda: False)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while True:
            self._changed.clear()
            if self.keeper.standing.error is not None:
                raise self.keeper.standing.error
            if reached():
                return
            await self._changed.wait()


@asynccontextmanager
async def standing_by(config: Config) -> AsyncIterator[Standby]:
    """Makes ready to ask for the lease, and gives it back at the end of the block."""
    assert isinstance(config.database, PostgresqlAddress)
    keeper = _keeper_of(config.database)
    try:
        yield Standby(config, keeper)
    finally:
        await run_blocking(keeper.stop)


@asynccontextmanager
async def holding_lease(address: PostgresqlAddress) -> AsyncIterator[LeaseKeeper]:
    """Holds the lease in the block, without waiting for it.

    Raises:
        StoreInUse: another process holds it.
        StoreError: the database cannot be used, or not now.
    """
    keeper = _keeper_of(address)
    try:
        found = await run_blocking(keeper.try_once)
        if not found.mine:
            raise StoreInUse(f"it is in use by {found.holder}")
        keeper.start()
        yield keeper
    finally:
        await run_blocking(keeper.stop)


def _keeper_of(address: PostgresqlAddress) -> LeaseKeeper:
    database = locate_server(address)
    from watcher.store.postgresql import upgrade  # noqa: PLC0415 - 10 MiB that SQLite needs not
    from watcher.store.postgresql_schema import VERSION  # noqa: PLC0415 - 10 MiB that SQLite needs not

    return LeaseKeeper(
        database,
        upgrade,
        version=VERSION,
        holder=holder_name(os.getpid(), os.uname().nodename),
        clock=DatabaseClock(boottime),
        jitter=random.random,
    )
