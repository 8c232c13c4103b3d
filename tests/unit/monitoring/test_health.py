"""Whether the daemon is alive and ready, from plain facts."""

from dataclasses import replace

import pytest

from watcher.leadership import Standing
from watcher.messages import ADVICE
from watcher.models import Failure
from watcher.monitoring.health import (
    OVERDUE_AFTER,
    RETRY_DEAD,
    HealthReport,
    Problem,
    Status,
    as_json,
    lateness,
    liveness,
    readiness,
    standby_readiness,
)
from watcher.monitoring.liveness import LivenessTracker
from watcher.store.results import AppStatus, NotifierStatus

UP = AppStatus(
    name="support",
    interval=15.0,
    polled_ago=3.0,
    took=0.1,
    succeeded_ago=3.0,
    succeeded_at=1_800_000_000.0,
    worked=True,
    failure=None,
    pending=0,
    oldest_pending=None,
)
IDLE = NotifierStatus("slack", 0, None, None, 0, None, None)
REFUSED = Failure(401, "unauthorized", "the key is\nnot valid", since=0.0, pending_known=2)
BROKEN = Failure(500, "server_error", "broken", since=0.0, pending_known=0)


def verdict(app: AppStatus = UP, notifier: NotifierStatus = IDLE) -> HealthReport:
    """What is said of one app and one notifier."""
    return readiness(Status((app,), (notifier,)))


def reasons(found: HealthReport) -> list[str]:
    """The problems in words."""
    return [str(problem) for problem in found.problems]


def test_ready_when_all_is_well() -> None:
    """An app that was polled a moment ago and a notifier with nothing to do are no problem."""
    assert verdict().good


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        pytest.param(replace(UP, succeeded_ago=45.0), None, id="just within"),
        pytest.param(
            replace(UP, succeeded_ago=45.1),
            "app support: last successful check 45 s ago, expected every 15 s",
            id="just over, and no failure is known",
        ),
        pytest.param(replace(UP, failure=REFUSED), None, id="fails, but not for long"),
        pytest.param(
            replace(UP, succeeded_ago=600.0, failure=REFUSED),
            "app support: last successful check 10 min ago, expected every 15 s:"
            f" HTTP 401 unauthorized: the key is not valid. {ADVICE[401]}",
            id="fails for long",
        ),
        pytest.param(
            replace(UP, succeeded_ago=600.0, failure=replace(REFUSED, message="The key is not valid.")),
            "app support: last successful check 10 min ago, expected every 15 s:"
            f" HTTP 401 unauthorized: The key is not valid. {ADVICE[401]}",
            id="the API's message is a sentence",
        ),
        pytest.param(
            replace(UP, polled_ago=None, succeeded_ago=None, failure=REFUSED),
            "app support: not checked yet",
            id="fresh start after an outage",
        ),
        pytest.param(
            replace(UP, succeeded_ago=None, failure=BROKEN),
            "app support: no successful check yet: HTTP 500 server_error: broken",
            id="fails from the start",
        ),
        pytest.param(
            replace(UP, succeeded_ago=None, failure=replace(BROKEN, status=None, code="timeout")),
            "app support: no successful check yet: timeout: broken",
            id="fails without an answer",
        ),
    ],
)
def test_an_app_must_have_been_seen_lately(app: AppStatus, reason: str | None) -> None:
    """An app is a problem until its first success, and later than three intervals after its last."""
    assert ([reason] if reason else []) == reasons(verdict(app))


@pytest.mark.parametrize(
    ("notifier", "found"),
    [
        pytest.param(replace(IDLE, undelivered=2, oldest_undelivered=300.0), [], id="late, not overdue"),
        pytest.param(
            replace(IDLE, undelivered=2, oldest_undelivered=301.0, last_error="HTTP 500"),
            ["notifier slack: 2 messages undelivered, the oldest for 5 min 1 s (HTTP 500)"],
            id="overdue",
        ),
        pytest.param(
            replace(IDLE, dead=1, dead_error="HTTP 400: no"),
            [f"notifier slack: 1 message was given up (HTTP 400: no). {RETRY_DEAD}"],
            id="dead",
        ),
        pytest.param(replace(IDLE, paused_for=30.0), [], id="paused"),
    ],
)
def test_deliveries_must_get_through(notifier: NotifierStatus, found: list[str]) -> None:
    """A dead delivery is a problem, and so is one that has been due for more than five minutes."""
    assert found == reasons(verdict(notifier=notifier))


def test_problems_as_json() -> None:
    """A program reads which app or notifier, and why."""
    found = HealthReport((Problem("app", "support", "gone"), Problem("notifier", "slack", "dead")))
    assert {
        "ready": False,
        "problems": [{"app": "support", "reason": "gone"}, {"notifier": "slack", "reason": "dead"}],
    } == as_json(found, "ready")
    assert {"healthy": True, "problems": []} == as_json(HealthReport(), "healthy")


@pytest.mark.parametrize(
    ("standing", "problem"),
    [
        (Standing("standby", leader="pod-1"), None),
        (Standing("standby"), {"part": "leader", "reason": "no replica leads"}),
        (Standing("standby", problem="no answer"), {"part": "database", "reason": "no answer"}),
    ],
)
def test_a_standby_is_ready_while_another_replica_leads(
    standing: Standing, problem: dict[str, str] | None
) -> None:
    """A standby is ready if the database answers and a replica leads, and says who leads."""
    assert {
        "ready": problem is None,
        "role": "standby",
        "leader": standing.leader,
        "problems": [problem] if problem else [],
    } == as_json(standby_readiness(standing), "ready")


class Clocks:
    """A monotonic clock, and a wall clock that somebody sets."""

    def __init__(self) -> None:
        self.monotonic_now = 1000.0
        self.set_by = 0.0

    def monotonic(self) -> float:
        """Seconds that have passed."""
        return self.monotonic_now

    def wall(self) -> float:
        """Unix time."""
        return 1_800_000_000.0 + self.monotonic_now + self.set_by


def test_a_part_that_does_not_stir() -> None:
    """A part that lets its deadline pass by more than the grace is named; in time it is not."""
    clocks = Clocks()
    vitals = LivenessTracker(monotonic=clocks.monotonic, wall=clocks.wall)
    vitals.set_deadline("scheduler", 5.0)
    vitals.set_deadline("app support", 600.0)
    clocks.monotonic_now += 65.0
    assert liveness(vitals.deadlines(), clocks.monotonic()).good
    clocks.monotonic_now += 1.0
    found = liveness(vitals.deadlines(), clocks.monotonic())
    assert ["scheduler: no activity for 1 min 6 s"] == reasons(found)
    vitals.set_deadline("scheduler", 5.0)
    assert liveness(vitals.deadlines(), clocks.monotonic()).good


def test_an_hour_set_back_makes_nobody_ill() -> None:
    """How long ago an app was polled, and whether parts stir, does not depend on what the wall clock says."""
    clocks = Clocks()
    vitals = LivenessTracker(monotonic=clocks.monotonic, wall=clocks.wall)
    vitals.polled("support", "success", 0.1)
    vitals.set_deadline("app support", 15.0)
    clocks.set_by = -3600.0
    clocks.monotonic_now += 30.0
    last = vitals.last_success("support")
    assert last is not None
    assert 30.0 == clocks.monotonic() - last.ended
    assert liveness(vitals.deadlines(), clocks.monotonic()).good


def test_a_failed_poll_is_the_last_but_not_the_last_success() -> None:
    """A failure is remembered beside the success before it."""
    clocks = Clocks()
    vitals = LivenessTracker(monotonic=clocks.monotonic, wall=clocks.wall)
    assert vitals.last("support") is vitals.last_success("support") is None
    vitals.polled("support", "success", 0.1)
    clocks.monotonic_now += 15.0
    vitals.polled("support", "timeout", 9.0)
    last, whole = vitals.last("support"), vitals.last_success("support")
    assert last is not None
    assert whole is not None
    assert (1015.0, 9.0, 1000.0) == (last.ended, last.took, whole.ended)


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ("abc", "3 messages are late: a, b, c"),
        ("abcd", "4 messages are late: a, b, c and 1 more"),
        ("abcdef", "6 messages are late: a, b, c and 3 more"),
    ],
)
def test_three_late_notifiers_are_named(names: str, line: str) -> None:
    """The line about late messages names three notifiers and counts the others, without those overdue."""
    late = [replace(IDLE, name=name, undelivered=1, oldest_undelivered=OVERDUE_AFTER) for name in names]
    overdue = replace(IDLE, name="z", undelivered=1, oldest_undelivered=OVERDUE_AFTER + 1)
    assert line == lateness(Status((), (*late, overdue)))


@pytest.mark.parametrize(("waits", "line"), [(30.0, ""), (30.1, "1 message is late: slack")])
def test_a_message_without_a_failed_attempt_is_late_after_30_s(waits: float, line: str) -> None:
    """The status page calls a message that was not tried late when it has been due for more than 30 s."""
    assert line == lateness(Status((), (replace(IDLE, undelivered=1, oldest_undelivered=waits),)))
