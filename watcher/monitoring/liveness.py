"""What the daemon did last, by the clock that nobody sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from watcher.hooks import SUCCESS, Observer


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll that ended: when by the monotonic and by the wall clock, and how many seconds it took."""

    ended: float
    ended_at: float
    took: float


class LivenessTracker(Observer):
    """Keeps, in memory, how the apps were last polled and when each part of the daemon must next stir."""

    def __init__(self, *, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._deadlines: dict[str, float] = {}
        self._last: dict[str, Poll] = {}
        self._last_whole: dict[str, Poll] = {}

    def set_deadline(self, part: str, within: float) -> None:
        """A part of the daemon is to stir again within so many seconds."""
        self._deadlines[part] = self._monotonic() + within

    def polled(self, app: str, outcome: str, seconds: float) -> None:
        """Keeps when the poll ended: just now."""
        poll = Poll(self._monotonic(), self._wall(), seconds)
        self._last[app] = poll
        if outcome == SUCCESS:
            self._last_whole[app] = poll

    def deadlines(self) -> Mapping[str, float]:
        """Returns until when, by the monotonic clock, each part is to stir."""
        return dict(self._deadlines)

    def last(self, app: str) -> Poll | None:
        """Returns the last poll of an app since this process started."""
        return self._last.get(app)

    def last_whole(self, app: str) -> Poll | None:
        """Returns the last poll of an app that succeeded since this process started."""
        return self._last_whole.get(app)
