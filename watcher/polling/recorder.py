"""Records what a poll found, and reports it: to the log, to the hooks, to the delivery workers."""

from collections.abc import Sequence
from typing import Final

import structlog

from watcher.logs import log_superseded
from watcher.models import App, DeliveryRecord, NewRequest, ResolvedRequest, Route
from watcher.polling.batching import DigestWindow
from watcher.polling.context import PollContext
from watcher.store import StoreRejected

RECORD_BATCH: Final = 200
"""How many new requests are recorded in one transaction, which takes some 50 ms."""


class ChangeRecorder:
    """Records the changes of one app.

    The recorder counts what it recorded since `begin`; `rejected` are the runs with a question that the
    database does not take, each with the reason. Deliveries to people are held in `digest_window`.
    """

    def __init__(self, app: App, routes: Sequence[Route], context: PollContext) -> None:
        self.digest_window = DigestWindow(app.name, context)
        self.new = 0
        self.resolved = 0
        self.rejected: list[tuple[str, str]] = []
        self._app = app
        self._routes = routes
        self._context = context
        self._announce = True
        self._log = structlog.get_logger().bind(app=app.name)

    def begin(self, *, announce: bool) -> None:
        """Counts anew; without `announce` new requests are recorded and not announced."""
        self.new = self.resolved = 0
        self.rejected.clear()
        self._announce = announce

    async def record(self, new: Sequence[NewRequest], resolved: Sequence[ResolvedRequest] = ()) -> None:
        """Records requests that are new and requests that ended, with their deliveries.

        Many are recorded in batches, between which the store works for other apps and for the workers.
        """
        if not new and not resolved:
            return
        await self._record_batch(new[:RECORD_BATCH], resolved)
        for start in range(RECORD_BATCH, len(new), RECORD_BATCH):
            await self._record_batch(new[start : start + RECORD_BATCH], ())

    def report_superseded(self, deliveries: Sequence[DeliveryRecord]) -> None:
        """Reports deliveries that became unnecessary."""
        log_superseded(deliveries)
        self._context.observer.superseded(deliveries)

    async def _record_batch(self, new: Sequence[NewRequest], resolved: Sequence[ResolvedRequest]) -> None:
        """Records a batch; if the database does not take one of its requests, each of them by itself."""
        try:
            await self._record_together(new, resolved)
        except StoreRejected as error:
            if not new:
                raise
            if len(new) == 1 and not resolved:
                self.rejected.append((new[0].run.id, str(error)))
                return
            if resolved:
                await self._record_together((), resolved)
            for each in new:
                await self._record_batch([each], ())

    async def _record_together(self, new: Sequence[NewRequest], resolved: Sequence[ResolvedRequest]) -> None:
        now = self._context.wall()
        if new:  # before they are recorded: a poll that is cancelled here does not learn whether they were
            self.digest_window.add()
        recorded = await self._context.store.record_changes(
            self._app, self._routes, new=new, ended=resolved, announce=self._announce, now=now
        )
        self.new += len(recorded.new)
        self.resolved += len(recorded.ended)
        if recorded.notifiers:
            self._context.wake(recorded.notifiers)
        for new_request in recorded.new:
            request = new_request.request
            self._log.info("request.new", run=new_request.run.id, request=request.id, type=request.type)
            self._context.observer.request_seen(self._app.name, request.type)
        for change in recorded.ended:
            self._report_resolved(change, now)
        self.report_superseded(recorded.superseded)

    def _report_resolved(self, change: ResolvedRequest, now: float) -> None:
        event = "request.replaced" if change.outcome == "replaced" else "request.resolved"
        known = change.known
        self._log.info(event, run=known.run_id, request=known.request_id, outcome=change.outcome)
        self._context.observer.request_ended(self._app.name, change.outcome, now - known.first_seen_at)
