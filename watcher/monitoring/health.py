"""Pure: whether the daemon is alive, and whether people can rely on being told, from plain facts.

Ages of polls are measured by the monotonic clock, so that setting the wall clock makes nobody ill or well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from watcher.config.durations import format_duration
from watcher.messages import format_elapsed
from watcher.models import Failure, Json
from watcher.sanitize.text import one_line, truncate

MISSED_INTERVALS: Final = 3
"""An app that was not polled successfully for so many of its intervals cannot be seen."""
OVERDUE_AFTER: Final = 300.0
"""Seconds after which a delivery that is due and was not accepted makes the daemon not ready."""
LATE_AFTER: Final = 30.0
"""Seconds after which a delivery is late that was not even refused; most take less than one."""
GRACE: Final = 60.0
"""Seconds by which a part of the daemon may stir too late, as it may on a machine that is busy."""
_SHOWN: Final = 300
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class AppStatus:
    """How an app is. Ages are seconds before now, None for never since the start of this process.

    `failure` is what the last poll failed with, `worked` that it was ever polled successfully.
    `oldest_pending` is the age of the request that waits longest.
    """

    name: str
    interval: float
    polled_ago: float | None
    took: float | None
    succeeded_ago: float | None
    succeeded_at: float | None
    worked: bool
    failure: Failure | None
    pending: int
    oldest_pending: float | None

    @property
    def up(self) -> bool:
        """Whether the last poll that is known of, maybe an earlier process's, succeeded."""
        return self.worked and self.failure is None


@dataclass(frozen=True, slots=True)
class NotifierStatus:
    """How a notifier is: what is due and undelivered, the age of the oldest of that, what was given up.

    `last_error` is why the oldest is undelivered, `dead_error` why the newest was given up.
    """

    name: str
    undelivered: int
    oldest_undelivered: float | None
    last_error: str | None
    dead: int
    dead_error: str | None
    paused_for: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """How everything that is configured is now."""

    apps: tuple[AppStatus, ...]
    notifiers: tuple[NotifierStatus, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with what."""

    kind: Literal["app", "notifier", "part"]
    name: str
    reason: str

    def __str__(self) -> str:
        name = self.name if self.kind == "part" else f"{self.kind} {self.name}"
        return f"{name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All is well, or these are the problems."""

    problems: tuple[Problem, ...] = ()

    @property
    def good(self) -> bool:
        """Whether all is well."""
        return not self.problems


def liveness(deadlines: Mapping[str, float], now: float) -> HealthReport:
    """Says whether every part of the daemon stirs; `deadlines` and `now` are by one monotonic clock."""
    return HealthReport(
        tuple(
            Problem("part", part, f"should have stirred {format_elapsed(now - deadline)} ago")
            for part, deadline in deadlines.items()
            if now - deadline > GRACE
        )
    )


def readiness(now: Status) -> HealthReport:
    """Says whether every app was seen lately and everything that was due has been delivered."""
    ill = [Problem("app", app.name, reason) for app in now.apps if (reason := _blindness(app))]
    for notifier in now.notifiers:
        ill += [Problem("notifier", notifier.name, reason) for reason in _arrears(notifier)]
    return HealthReport(tuple(ill))


def lateness(now: Status) -> str:
    """Says what is late, though not so late that the daemon is not ready; nothing if nothing is."""
    late = [
        notifier
        for notifier in now.notifiers
        if notifier.oldest_undelivered is not None
        and notifier.oldest_undelivered <= OVERDUE_AFTER
        and (notifier.last_error or notifier.oldest_undelivered > LATE_AFTER)
    ]
    if not late:
        return ""
    names = ", ".join(_late(notifier) for notifier in late[:_NAMED])
    more = f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
    return f"{_deliveries(sum(notifier.undelivered for notifier in late))} late: {names}{more}"


def remedy(notifier: NotifierStatus) -> str:
    """Says why deliveries to a notifier are dead, and what to do about it."""
    why = f" ({truncate(one_line(notifier.dead_error), _SHOWN)})" if notifier.dead_error else ""
    return f"dead{why}; watcher retry --all-dead puts {'it' if notifier.dead == 1 else 'them'} back"


def as_json(verdict: HealthReport, word: str) -> dict[str, Json]:
    """Returns a verdict as JSON; `word` says what all is that is well, for example `ready`."""
    return {
        word: verdict.good,
        "problems": [{problem.kind: problem.name, "reason": problem.reason} for problem in verdict.problems],
    }


def failure_words(failure: Failure) -> str:
    """Returns in a line why an app cannot be polled."""
    status = f"HTTP {failure.status} " if failure.status else ""
    return truncate(one_line(f"{status}{failure.code}: {failure.message}"), _SHOWN)


def _blindness(app: AppStatus) -> str | None:
    if app.succeeded_ago is not None and app.succeeded_ago <= MISSED_INTERVALS * app.interval:
        return None
    why = ""
    if app.failure is not None and app.polled_ago is not None:  # else it may be an earlier process's
        why = f": {failure_words(app.failure)}"
    if app.succeeded_ago is None:
        return f"not polled successfully yet{why}" if app.polled_ago is not None else "not polled yet"
    limit = f"{MISSED_INTERVALS} intervals of {format_duration(app.interval)}"
    return f"last polled successfully {format_elapsed(app.succeeded_ago)} ago, more than {limit}{why}"


def _arrears(notifier: NotifierStatus) -> Iterator[str]:
    if notifier.dead:
        yield f"{_deliveries(notifier.dead)} {remedy(notifier)}"
    oldest = notifier.oldest_undelivered
    if oldest is not None and oldest > OVERDUE_AFTER:
        why = f": {truncate(one_line(notifier.last_error), _SHOWN)}" if notifier.last_error else ""
        yield f"{_deliveries(notifier.undelivered)} undelivered, the oldest for {format_elapsed(oldest)}{why}"


def _late(notifier: NotifierStatus) -> str:
    why = truncate(one_line(notifier.last_error or ""), _SHOWN)
    return f"{notifier.name} ({why})" if why else notifier.name


def _deliveries(count: int) -> str:
    return "1 delivery is" if count == 1 else f"{count} deliveries are"
