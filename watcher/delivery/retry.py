"""Pure: when a failed delivery is tried again, and when it is given up."""

from dataclasses import dataclass
from typing import Final

from watcher.backoff import RETRY_AFTER_MAX, backoff
from watcher.models import Delivery
from watcher.notifiers.base import DeliveryError
from watcher.store import Dead, Retry

FIRST_RETRY: Final = 1.0
"""Seconds after the first failure, before jitter."""
_INSTANT: Final = 0.001
"""Seconds by which sums of times may be wrong."""
_LONGEST: Final = 64
"""A number of failures after which the backoff is at its maximum, whatever that is."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """What holds for all deliveries, in seconds."""

    backoff_max: float
    give_up_after: float

    @property
    def longest_wait(self) -> float:
        """The longest time between two attempts, which no clock and no destination can extend."""
        return max(self.backoff_max, RETRY_AFTER_MAX)


def after_failure(
    delivery: Delivery,
    error: DeliveryError,
    settings: RetrySettings,
    *,
    message: str,
    now: float,
    jitter: float,
) -> Retry | Dead:
    """Returns the time of the next attempt, or that the delivery is given up.

    A delivery is given up when it was tried for `give_up_after`. Between two attempts at most the longest
    wait counts, so neither a process that did not run nor a clock that was set can end it. The last attempt
    is made exactly when giving up is due. `message` is the error without secrets, `jitter` a random number
    in [0, 1).
    """
    since_last = now - delivery.last_attempt_at if delivery.last_attempt_at is not None else 0.0
    tried_for = delivery.tried_for + min(max(since_last, 0.0), settings.longest_wait)
    left = settings.give_up_after - tried_for
    if left < _INSTANT:
        return Dead(delivery.id, message, error.possibly_delivered)
    wait = error.retry_after or backoff(
        _LONGEST if error.fix else delivery.attempt,
        base=min(FIRST_RETRY, settings.backoff_max),
        maximum=settings.backoff_max,
        jitter=jitter,
    )
    return Retry(delivery.id, message, now + min(wait, left), error.possibly_delivered, tried_for)
