"""What polling and delivering report of what they do, to whoever counts it."""

from collections.abc import Iterable
from typing import Literal

from watcher.models import DeliveryRecord, EventType, Outcome

DeliveryOutcome = Literal["sent", "retry", "superseded", "dead"]


class Observer:
    """Is told of everything and keeps nothing; `metrics` counts. All times are in seconds."""

    def polled(self, app: str, outcome: str, seconds: float) -> None:
        """A poll took so long and was a `success`, or failed for a reason of `poller.OUTCOMES`."""

    def request_seen(self, app: str, kind: str) -> None:
        """A request of that type was recorded."""

    def request_ended(self, app: str, outcome: Outcome, waited: float) -> None:
        """A request ended after it had been known for so long."""

    def delivery_ended(
        self, notifier: str, event: EventType, outcome: DeliveryOutcome, latency: float | None = None
    ) -> None:
        """An attempt ended, or was spared; `latency` is from the first sight of what was told until then."""

    def superseded(self, deliveries: Iterable[DeliveryRecord]) -> None:
        """These deliveries are not made, because their news became stale."""
        for delivery in deliveries:
            self.delivery_ended(delivery.notifier, delivery.type, "superseded")
