"""What the units of work take and give back; nothing here knows which database is behind."""

from dataclasses import dataclass

from watcher.models import Change, Delivery, DeliveryRecord, Failure, Known, Receipt, Sighting


@dataclass(frozen=True, slots=True)
class AppState:
    """What is known of an app before it is polled.

    `hidden` are the runs that waited without showing a question when it was last polled. `first_poll` says
    that it has never been polled whole.
    """

    known: tuple[Known, ...]
    hidden: frozenset[str]
    first_poll: bool


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was really new and really ended, and which deliveries became stale by it."""

    new: tuple[Sighting, ...]
    ended: tuple[Change, ...]
    superseded: tuple[DeliveryRecord, ...]


@dataclass(frozen=True, slots=True)
class Health:
    """What a poll changed: the failure that is told of now or has passed, and deliveries stale by it.

    `alert_at` is when a failure that is not told of yet has lasted long enough.
    """

    failure: Failure | None
    superseded: tuple[DeliveryRecord, ...] = ()
    alert_at: float | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The destination accepted a delivery."""

    delivery: int
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class Retry:
    """The destination did not accept a delivery; the next attempt is at `at`."""

    delivery: int
    error: str
    at: float


@dataclass(frozen=True, slots=True)
class Dead:
    """The destination did not accept a delivery for so long that it is given up."""

    delivery: int
    error: str


Result = Sent | Retry | Dead


@dataclass(frozen=True, slots=True)
class Claim:
    """Deliveries to send now, when to ask again at the latest (None: never), and what became stale."""

    deliveries: tuple[Delivery, ...]
    wake_at: float | None
    superseded: tuple[DeliveryRecord, ...]
