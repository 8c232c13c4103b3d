"""What the parts of the daemon did last, by the monotonic clock, which cannot be set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from watcher.hooks import SUCCESS, Observer


@dataclass(frozen=True, slots=True)
class Deadline:
    """A part was active at `set_at` and must be active again by `due_at`, both by the monotonic clock."""

    set_at: float
    due_at: float


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll that ended, `ended` by the monotonic and `ended_at` by the wall clock, after `took` seconds."""

    ended: float
    ended_at: float
    took: float


class LivenessTracker(Observer):
    """Remembers, in memory, the last polls of each app and the deadline of each part of the daemon."""

    def __init__(self, *, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._deadlines: dict[str, Deadline] = {}
        self._last: dict[str, Poll] = {}
        self._last_success: dict[str, Poll] = {}

    def now(self) -> float:
        """Returns the time by the clock of the deadlines and polls."""
        return self._monotonic()

    def set_deadline(self, part: str, within: float) -> None:
        """Remembers that a part was active just now, and until when it must be active again."""
        now = self._monotonic()
        self._deadlines[part] = Deadline(now, now + within)

    def polled(self, app: str, outcome: str, seconds: float) -> None:
        """Remembers a poll that ended just now."""
        poll = Poll(self._monotonic(), self._wall(), seconds)
        self._last[app] = poll
        if outcome == SUCCESS:
            self._last_success[app] = poll

    def deadlines(self) -> Mapping[str, Deadline]:
        """Returns the deadline of each part."""
        return dict(self._deadlines)

    def last(self, app: str) -> Poll | None:
        """Returns the last poll of an app since this process started."""
        return self._last.get(app)

    def last_success(self, app: str) -> Poll | None:
        """Returns the last successful poll of an app since this process started."""
        return self._last_success.get(app)
