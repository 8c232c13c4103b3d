"""What the units of work take and give back; nothing here knows which database is behind."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from watcher.models import (
    Delivery,
    DeliveryRecord,
    Failure,
    MessageRef,
    NewRequest,
    NotifierFailure,
    Outcome,
    PendingKey,
    ResolvedRequest,
    Route,
)

F = TypeVar("F", Failure, NotifierFailure)

SUCCESS_SECONDS: Final = 60.0
"""How exactly the last success of an app is remembered: a quiet poll is not worth a write."""
MISSED_INTERVALS: Final = 3
"""An app without a successful poll for this many of its intervals counts as not visible."""


@dataclass(frozen=True, slots=True)
class AppState:
    """What is known of an app before it is polled.

    `invisible` are the runs that waited without showing a question when it was last polled, and since when.
    `first_poll` says that it has never been polled whole, `failing` that an incident is open.
    """

    known: tuple[PendingKey, ...]
    invisible: Mapping[str, float]
    first_poll: bool
    last_success_at: float | None
    failing: bool

    def success_is_news(self, invisible: Collection[str], now: float) -> bool:
        """Whether a successful poll that sees these invisible runs has anything to record."""
        stale = self.last_success_at is None or abs(now - self.last_success_at) >= SUCCESS_SECONDS
        return stale or self.failing or self.invisible.keys() != set(invisible)


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What was really new and really ended, and which deliveries became stale by it.

    `notifiers` have something new to claim.
    """

    new: tuple[NewRequest, ...]
    ended: tuple[ResolvedRequest, ...]
    superseded: tuple[DeliveryRecord, ...]
    notifiers: frozenset[str]


@dataclass(frozen=True, slots=True)
class AppFailure:
    """Why an app could not be polled: HTTP status, if there was one, code and message of the error.

    `since` is the last success that this process knows of, else its start.
    """

    status: int | None
    code: str
    message: str
    since: float


@dataclass(frozen=True, slots=True)
class IncidentChange(Generic[F]):
    """The failure that is announced now, or has passed, and the deliveries that became stale by that.

    `alert_at` is when a failure that is not announced yet has lasted long enough; `notifiers` have something
    new to claim. `closed` says that a failure, announced or not, has passed.
    """

    failure: F | None
    superseded: tuple[DeliveryRecord, ...] = ()
    alert_at: float | None = None
    notifiers: frozenset[str] = frozenset()
    closed: bool = False


@dataclass(frozen=True, slots=True)
class NotifierPolicy:
    """What holds for a notifier whatever the app.

    It reminds at the ages `remind_after`, ascending, in seconds, of requests of `apps` only (None: of all).
    When it has accepted nothing for `alert_after` seconds, `others` get an alert. More than `digest_above`
    undelivered requests of an app become one message (0: never). A notifier `for_people` gets late what was
    given up and is still pending.
    """

    for_people: bool = False
    digest_above: int = 0
    remind_after: tuple[float, ...] = ()
    apps: frozenset[str] | None = None
    alert_after: float = math.inf
    others: tuple[Route, ...] = ()

    def covers(self, app: str) -> bool:
        """Returns whether it reminds of an app."""
        return self.apps is None or app in self.apps


@dataclass(frozen=True, slots=True)
class Sent:
    """The destination accepted a delivery."""

    delivery: int
    receipt: MessageRef | None


@dataclass(frozen=True, slots=True)
class Retry:
    """The destination did not accept a delivery; the next attempt is at `at`.

    `possibly_delivered` says that the destination may have accepted it without saying so. So far it was tried
    for `tried_for` seconds.
    """

    delivery: int
    error: str
    at: float
    possibly_delivered: bool = False
    tried_for: float = 0.0


@dataclass(frozen=True, slots=True)
class Dead:
    """The destination did not accept a delivery for so long that it is given up; else as `Retry`."""

    delivery: int
    error: str
    possibly_delivered: bool = False


Result = Sent | Retry | Dead


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """How many deliveries to claim at most, and which.

    None is claimed before `pause_until`, none that became due only after `due_by`, and none with an id up to
    `leftover` that is about one of the apps in `withheld`. `served` are the apps whose deliveries were
    claimed before, the last one last.
    """

    limit: int
    pause_until: float | None
    due_by: float
    leftover: int
    withheld: Collection[str]
    served: Sequence[str]


@dataclass(frozen=True, slots=True)
class Claim:
    """Deliveries to send now, when to ask again at the latest (None: never), and what became stale.

    `failing` and `recovered` say that the other notifiers get a message about this one. `revived` counts the
    announcements that had been given up and are made after all.
    """

    deliveries: tuple[Delivery, ...]
    wake_at: float | None
    superseded: tuple[DeliveryRecord, ...] = ()
    failing: NotifierFailure | None = None
    recovered: NotifierFailure | None = None
    revived: int = 0


@dataclass(frozen=True, slots=True)
class AppStatus:
    """The state of an app. Ages are in seconds; None means never since the start of this process.

    `failure` is the last poll's, `worked` says that some poll ever succeeded, `succeeded_at` is Unix time,
    in the database to the minute. The database knows nothing of the other facts about polls.
    """

    name: str
    interval: float
    polled_ago: float | None = None
    took: float | None = None
    succeeded_ago: float | None = None
    succeeded_at: float | None = None
    worked: bool = False
    failure: Failure | None = None
    pending: int = 0
    oldest_pending: float | None = None

    @property
    def up(self) -> bool:
        """Whether the last recorded poll, maybe an earlier process's, succeeded."""
        return self.worked and self.failure is None

    @property
    def visible(self) -> bool:
        """Whether a poll succeeded recently enough to know what is waiting."""
        return self.succeeded_ago is not None and self.succeeded_ago <= MISSED_INTERVALS * self.interval


@dataclass(frozen=True, slots=True)
class NotifierStatus:
    """The state of a notifier. `undelivered` counts what is due, `oldest_undelivered` is its age in seconds.

    `last_error` is the oldest undelivered delivery's, `dead_error` the newest dead delivery's. `revived`
    counts the announcements that were made after all when the notifier accepted again, in the last 24 hours.
    """

    name: str
    undelivered: int = 0
    oldest_undelivered: float | None = None
    last_error: str | None = None
    dead: int = 0
    dead_error: str | None = None
    paused_for: float | None = None
    revived: int = 0
    revived_ago: float | None = None


@dataclass(frozen=True, slots=True)
class RecentResolution:
    """A request that no longer waits, for a list."""

    id: int
    app: str
    run_id: str
    type: str
    prompt: str | None
    outcome: Outcome
    first_seen_at: float
    resolved_at: float
