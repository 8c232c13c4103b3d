"""What every kind of notifier offers to its delivery worker, and how it reports a failure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TextIO

import aiohttp

from watcher.messages import MessageSettings
from watcher.models import Delivery, MessageRef

PAUSING_STATUSES: Final = frozenset({429, 503})
"""With these HTTP statuses a destination refuses all messages for a while; others refuse one message."""


@dataclass(frozen=True, slots=True)
class NotifierContext:
    """What all notifiers of a process share.

    `session` carries everything that goes out and is closed by its owner, `request_timeout` is seconds for
    one send, `clock` gives the Unix time, and `stream` is what the console writes to: as `json_lines` if no
    person reads it. `mentioned_at` is when each Slack channel was last mentioned.
    """

    session: aiohttp.ClientSession
    request_timeout: float
    clock: Callable[[], float]
    stream: TextIO | None = None
    json_lines: bool = False
    messages: MessageSettings = field(default_factory=MessageSettings)
    mentioned_at: dict[str, float] = field(default_factory=dict)


class NotifierUnusable(Exception):
    """A notifier cannot be built as it is configured. The message names the setting and holds no secret."""


class DeliveryError(Exception):
    """A destination did not accept a delivery; it is retried in any case.

    The message holds no secret of ours, but may quote the destination. `retry_after` is what the
    destination asked for, in seconds; with `pauses` that holds for all deliveries to it. `fix` says what a
    person has to correct; with it the next attempt comes after the longest interval, because waiting alone
    does not help. `possibly_delivered` says that the destination may have accepted the delivery, because its
    answer did not arrive.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        pauses: bool = False,
        fix: str | None = None,
        possibly_delivered: bool = False,
    ) -> None:
        super().__init__(message)
        self.pauses = pauses
        self.possibly_delivered = possibly_delivered
        self.retry_after = retry_after
        self.fix = fix


class Notifier(Protocol):
    """One configured destination.

    At most `max_concurrency` sends run at once, and at least `min_interval` seconds pass between the starts
    of two, over all notifiers with the same `rate_limit_key`. A person reads a notifier that is `for_people`:
    a delivery that is out of date before it is sent is superseded there; all others get every event.
    A notifier with `digests` gets many new requests of one poll as one message.
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
            DeliveryError: it was not accepted, or the outcome is unknown.
            SecretError: a secret's file cannot be read now.
        """

    async def check(self) -> str:
        """Tries the credentials without sending anything and returns the finding in a few words.

        Raises:
            DeliveryError: they do not work.
            SecretError: a secret's file cannot be read now.
        """
