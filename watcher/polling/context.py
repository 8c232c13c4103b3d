"""What all pollers share: their settings, and the services that they use."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from watcher.hooks import Observer
from watcher.sanitize.masking import Masker
from watcher.store import Store


@dataclass(frozen=True, slots=True)
class PollSettings:
    """Settings that hold for every app; durations are in seconds.

    With `baseline` the requests that are pending at the very first poll are recorded and not announced.
    """

    page_size: int
    request_timeout: float
    backoff_max: float
    alert_after: float
    baseline: bool
    digest_above: int


@dataclass(frozen=True, slots=True)
class PollContext:
    """The services that every poller uses.

    `wake` makes the workers of these notifiers (None: of all) claim, `redact` takes known secrets out of a
    text, `wall` returns Unix time, `jitter` random numbers in [0, 1).
    """

    settings: PollSettings
    store: Store
    masker: Masker
    observer: Observer
    wake: Callable[[Collection[str] | None], None]
    redact: Callable[[str], str]
    wall: Callable[[], float]
    jitter: Callable[[], float]
