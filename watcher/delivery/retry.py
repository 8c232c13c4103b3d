"""Pure: when a failed delivery is tried again, and when it is given up."""

from dataclasses import dataclass
from typing import Final

from watcher.backoff import backoff
from watcher.models import Delivery
from watcher.notifiers.base import DeliveryError
from watcher.store import Dead, Retry

FIRST_RETRY: Final = 1.0
"""Seconds after the first failure, before jitter."""
_LONGEST: Final = 64
"""A number of failures after which the backoff is at its maximum, whatever that is."""


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """What holds for all deliveries, in seconds."""

    backoff_max: float
    give_up_after: float


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

    The last attempt is made exactly when giving up is due: a long wait never skips it. `message` is the error
    without secrets, `jitter` a random number in [0, 1).
    """
    give_up_at = delivery.due_at + settings.give_up_after
    if now >= give_up_at:
        return Dead(delivery.id, message, error.doubtful)
    wait = error.retry_after or backoff(
        _LONGEST if error.fix else delivery.attempt,
        base=min(FIRST_RETRY, settings.backoff_max),
        maximum=settings.backoff_max,
        jitter=jitter,
    )
    return Retry(delivery.id, message, min(now + wait, give_up_at), error.doubtful)
