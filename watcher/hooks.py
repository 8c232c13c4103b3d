"""What polling and delivery report of their work, and how monitoring subscribes to it."""

from collections.abc import Iterable
from typing import Final, Literal

from watcher.models import DeliveryRecord, EventType, Outcome

DeliveryOutcome = Literal["sent", "retry", "superseded", "dead"]

SUCCESS: Final = "success"
"""The outcome of a poll that read everything; every other outcome is a kind of failure."""


class Observer:
    """Receives every report and ignores it; subscribers override what they need. Times are in seconds."""

    def set_deadline(self, part: str, within: float) -> None:
        """A part of the daemon promises to report again within so many seconds."""

    def polled(self, app: str, outcome: str, seconds: float) -> None:
        """A poll took so long and ended with `SUCCESS` or with another of `poller.OUTCOMES`."""

    def request_seen(self, app: str, kind: str) -> None:
        """A request of that type was recorded."""

    def request_ended(self, app: str, outcome: Outcome, waited: float) -> None:
        """A request ended after it had been known for so long."""

    def delivery_ended(
        self, notifier: str, event: EventType, outcome: DeliveryOutcome, latency: float | None = None
    ) -> None:
        """An attempt ended or became unnecessary; `latency` counts from when the request was first seen."""

    def superseded(self, deliveries: Iterable[DeliveryRecord]) -> None:
        """These deliveries became unnecessary, because their news is out of date."""
        for delivery in deliveries:
            self.delivery_ended(delivery.notifier, delivery.type, "superseded")


class Hooks(Observer):
    """Passes every report on to its subscribers, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._subscribers: list[Observer] = []

    def subscribe(self, subscriber: Observer) -> None:
        """Passes all further reports on to this subscriber too."""
        self._subscribers.append(subscriber)

    def set_deadline(self, part: str, within: float) -> None:
        """Passes the report on."""
        for subscriber in self._subscribers:
            subscriber.set_deadline(part, within)

    def polled(self, app: str, outcome: str, seconds: float) -> None:
        """Passes the report on."""
        for subscriber in self._subscribers:
            subscriber.polled(app, outcome, seconds)

    def request_seen(self, app: str, kind: str) -> None:
        """Passes the report on."""
        for subscriber in self._subscribers:
            subscriber.request_seen(app, kind)

    def request_ended(self, app: str, outcome: Outcome, waited: float) -> None:
        """Passes the report on."""
        for subscriber in self._subscribers:
            subscriber.request_ended(app, outcome, waited)

    def delivery_ended(
        self, notifier: str, event: EventType, outcome: DeliveryOutcome, latency: float | None = None
    ) -> None:
        """Passes the report on."""
        for subscriber in self._subscribers:
            subscriber.delivery_ended(notifier, event, outcome, latency)
