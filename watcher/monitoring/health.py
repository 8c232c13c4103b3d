"""Pure: whether the daemon is alive, and whether people can rely on being notified.

Ages of polls are measured by the monotonic clock, so a wall clock that is set changes no verdict.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from watcher.leadership import Standing
from watcher.messages import ADVICE, count, format_elapsed, sentence
from watcher.models import Failure, Json
from watcher.monitoring.liveness import Deadline
from watcher.sanitize.text import one_line, truncate
from watcher.store.results import AppStatus, NotifierStatus

OVERDUE_AFTER: Final = 300.0
"""Seconds after which a due delivery that was not accepted makes the daemon not ready."""
LATE_AFTER: Final = 30.0
"""Seconds after which a due delivery is late although no attempt failed; most take less than one."""
GRACE: Final = 60.0
"""Seconds by which a part of the daemon may miss its deadline, as it can on a busy machine."""
RETRY_DEAD: Final = "Fix the destination, then run `watcher retry --all-dead`."
_SHOWN: Final = 300
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Status:
    """The state of every configured app and notifier."""

    apps: tuple[AppStatus, ...]
    notifiers: tuple[NotifierStatus, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with what, and how to fix it if that is known. `fix` is a sentence."""

    kind: Literal["app", "notifier", "part"]
    name: str
    reason: str
    fix: str | None = None

    @property
    def subject(self) -> str:
        """What has the problem: `app support`, `notifier slack`, `database`."""
        return self.name if self.kind == "part" else f"{self.kind} {self.name}"

    @property
    def text(self) -> str:
        """The reason and the fix."""
        return f"{sentence(self.reason)} {self.fix}" if self.fix else self.reason

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Healthy, or the problems; with several replicas also the role of this one, and who leads."""

    problems: tuple[Problem, ...] = ()
    standing: Standing | None = None

    @property
    def good(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def liveness(deadlines: Mapping[str, Deadline], now: float) -> HealthReport:
    """Returns the parts of the daemon that make no progress; `now` is by the clock of the deadlines."""
    return HealthReport(
        tuple(
            Problem("part", part, f"no activity for {format_elapsed(now - deadline.set_at)}")
            for part, deadline in deadlines.items()
            if now - deadline.due_at > GRACE
        )
    )


def readiness(status: Status) -> HealthReport:
    """Returns the apps that are not visible and the notifiers that do not deliver."""
    problems = [_not_visible(app) for app in status.apps if not app.visible]
    for notifier in status.notifiers:
        problems += _not_delivered(notifier)
    return HealthReport(tuple(problems))


def standby_readiness(standing: Standing) -> HealthReport:
    """Returns whether a standby can rely on a leader: its readiness is not about apps and notifiers."""
    if standing.problem is not None:
        return HealthReport((Problem("part", "database", standing.problem),), standing)
    if standing.leader is None:
        return HealthReport((Problem("part", "leader", "no replica leads"),), standing)
    return HealthReport((), standing)


def lateness(status: Status) -> str:
    """Returns which messages are late, though not late enough for readiness; empty if none is."""
    late = [
        notifier
        for notifier in status.notifiers
        if notifier.oldest_undelivered is not None
        and notifier.oldest_undelivered <= OVERDUE_AFTER
        and (notifier.last_error or notifier.oldest_undelivered > LATE_AFTER)
    ]
    if not late:
        return ""
    names = ", ".join(f"{notifier.name}{_reason(notifier.last_error)}" for notifier in late[:_NAMED])
    more = f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
    number = sum(notifier.undelivered for notifier in late)
    return f"{count(number, 'message')} {'is' if number == 1 else 'are'} late: {names}{more}"


def as_json(report: HealthReport, word: str) -> dict[str, Json]:
    """Returns a report as JSON; `word` is the key of the verdict, for example `ready`."""
    standing = report.standing
    roles: dict[str, Json] = {"role": standing.role, "leader": standing.leader} if standing else {}
    return {
        word: report.good,
        **roles,
        "problems": [{problem.kind: problem.name, "reason": problem.text} for problem in report.problems],
    }


def failure_line(failure: Failure) -> str:
    """Returns why an app cannot be polled, in one line."""
    status = f"HTTP {failure.status} " if failure.status else ""
    return truncate(one_line(f"{status}{failure.code}: {failure.message}"), _SHOWN)


def given_up(notifier: NotifierStatus) -> str:
    """Returns how many messages to a notifier were given up, and the last error."""
    were = "was" if notifier.dead == 1 else "were"
    return f"{count(notifier.dead, 'message')} {were} given up{_reason(notifier.dead_error)}"


def undelivered(notifier: NotifierStatus) -> str:
    """Returns how many messages to a notifier are undelivered, since when and why."""
    oldest = format_elapsed(notifier.oldest_undelivered or 0.0)
    why = _reason(notifier.last_error)
    return f"{count(notifier.undelivered, 'message')} undelivered, the oldest for {oldest}{why}"


def _not_visible(app: AppStatus) -> Problem:
    failure = app.failure if app.polled_ago is not None else None  # else it may be an earlier process's
    if app.polled_ago is None:
        reason = "not checked yet"
    elif app.succeeded_ago is None:
        reason = "no successful check yet"
    else:
        every = format_elapsed(app.interval)
        reason = f"last successful check {format_elapsed(app.succeeded_ago)} ago, expected every {every}"
    if failure is None:
        return Problem("app", app.name, reason)
    return Problem("app", app.name, f"{reason}: {failure_line(failure)}", ADVICE.get(failure.status))


def _not_delivered(notifier: NotifierStatus) -> Iterator[Problem]:
    if notifier.dead:
        yield Problem("notifier", notifier.name, given_up(notifier), RETRY_DEAD)
    if notifier.oldest_undelivered is not None and notifier.oldest_undelivered > OVERDUE_AFTER:
        yield Problem("notifier", notifier.name, undelivered(notifier))


def _reason(error: str | None) -> str:
    return f" ({truncate(one_line(error), _SHOWN)})" if error else ""
