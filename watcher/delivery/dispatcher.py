"""Runs one delivery worker for each notifier, so that trouble with one delays no other."""

import asyncio
from collections.abc import Collection, Sequence

from watcher.delivery.worker import DeliveryWorker


class Dispatcher:
    """Starts, wakes and stops the workers."""

    def __init__(self, workers: Sequence[DeliveryWorker]) -> None:
        self._workers = workers

    async def run(self, *, until_idle: bool = False) -> None:
        """Runs every worker until it ends; see `DeliveryWorker.run`."""
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.run(until_idle=until_idle))

    def wake(self, notifiers: Collection[str] | None = None) -> None:
        """Makes the workers of these notifiers (None: of all) claim now: deliveries were recorded."""
        for worker in self._workers:
            if notifiers is None or worker.name in notifiers:
                worker.wake()

    def stop(self) -> None:
        """Makes the workers claim nothing more and end when their sends under way have ended."""
        for worker in self._workers:
            worker.stop()
