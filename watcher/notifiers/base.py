"""What every kind of notifier offers to the dispatcher, and how it says that it failed."""

from typing import Protocol

from watcher.models import Delivery, MessageRef


class NotifierUnusable(Exception):
    """A notifier cannot be built as it is configured. The message names the setting and holds no secret."""


class DeliveryError(Exception):
    """A destination did not accept a delivery; it is retried in any case.

    The message holds no secret of ours, but may quote the destination. `retry_after` is what the
    destination asked for, in seconds. `fix` says what a person has to mend; with it the next attempt
    waits for the longest interval at once, because waiting alone does not help. `doubtful` says that it may
    have been accepted all the same: the answer did not come.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        fix: str | None = None,
        doubtful: bool = False,
    ) -> None:
        super().__init__(message)
        self.doubtful = doubtful
        self.retry_after = retry_after
        self.fix = fix


class Notifier(Protocol):
    """One configured destination.

    `slots` is how many sends may be under way at once and `spacing` the least number of seconds between
    the starts of two, which holds for all notifiers of one `place` together. `for_people` tells destinations
    that a person reads, where news that has become stale before it was told is dropped, from those that want
    every event. `digests` tells those that get many new requests of one poll as one message.
    """

    name: str
    max_concurrency: int
    min_interval: float
    rate_limit_key: str
    for_people: bool
    digests: bool

    async def send(self, delivery: Delivery) -> MessageRef | None:
        """Sends one delivery and returns when the destination has accepted it.

        Raises:
            DeliveryError: it was not accepted, or nobody knows.
            SecretError: a secret's file cannot be read now.
        """

    async def check(self) -> str:
        """Tries the credentials without sending anything and returns in a few words what was found.

        Raises:
            DeliveryError: they do not work.
            SecretError: a secret's file cannot be read now.
        """
