"""Runs one delivery worker for each notifier, so that trouble with one delays no other."""

from collections.abc import Collection, Sequence

from watcher.concurrency import run_together
from watcher.delivery.worker import DeliveryWorker


class Dispatcher:
    """Starts, wakes and stops the workers."""

    def __init__(self, workers: Sequence[DeliveryWorker]) -> None:
        self._workers = workers

    async def run(self, *, until_idle: bool = False) -> None:
        """Runs every worker until it ends; see `DeliveryWorker.run`. An error of one ends all."""
        await run_together(worker.run(until_idle=until_idle) for worker in self._workers)

    def wake(self, notifiers: Collection[str] | None = None) -> None:
        """Makes the workers of these notifiers (None: of all) claim now: deliveries were recorded."""
        for worker in self._workers:
            if notifiers is None or worker.name in notifiers:
                worker.wake()

    def stop(self) -> None:
        """Makes the workers claim nothing more and end when their sends under way have ended."""
        for worker in self._workers:
            worker.stop()
