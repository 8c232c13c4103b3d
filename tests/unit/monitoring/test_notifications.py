"""Which notifiers were notified of a request, why others were not, and which reminders follow."""

from dataclasses import replace

import pytest

from watcher.config.models import NotifierConfig
from watcher.models import DeliveryRecord
from watcher.monitoring.notifications import Notification, next_reminders, notifications

NOW = 1_800_000_000.0
QUEUED = DeliveryRecord(
    id=1,
    event_id="evt_1",
    type="run.input_requested",
    notifier="slack",
    state="pending",
    attempts=0,
    next_attempt_at=NOW,
    last_error=None,
    app="support",
    run_id="run-1",
    request_id="q1",
    due_at=NOW,
    finished_at=None,
)
SENT = replace(QUEUED, state="sent", attempts=1, next_attempt_at=None, finished_at=NOW - 5)
REMINDER = replace(SENT, id=2, type="run.input_reminder", finished_at=NOW - 1)


def of_slack(*records: DeliveryRecord, paused: float | None = None) -> Notification:
    """What became of the notifier slack."""
    (found,) = notifications(["slack"], records, now=NOW, paused={"slack": paused})
    return found


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param([SENT], NOW - 5, id="sent"),
        pytest.param([SENT, REMINDER], NOW - 5, id="and reminded: the first message counts"),
        pytest.param([replace(SENT, state="dead"), REMINDER], NOW - 1, id="only by a reminder"),
    ],
)
def test_when_it_was_notified(records: list[DeliveryRecord], expected: float) -> None:
    """A notifier was notified when it accepted the first message about the request."""
    assert Notification("slack", at=expected) == of_slack(*records)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(QUEUED, "queued", id="a moment ago"),
        pytest.param(replace(QUEUED, due_at=NOW - 90), "queued for 1 min 30 s", id="for too long"),
        pytest.param(
            replace(QUEUED, due_at=NOW + 780, next_attempt_at=NOW + 780),
            "only if still waiting in 13 min",
            id="an escalation",
        ),
        pytest.param(
            replace(QUEUED, attempts=1, last_error="HTTP\n503", next_attempt_at=NOW + 20),
            "1 attempt failed: HTTP 503; next attempt in 20 s",
            id="failed",
        ),
        pytest.param(
            replace(QUEUED, attempts=2, last_error="HTTP 503", next_attempt_at=NOW - 1),
            "2 attempts failed: HTTP 503; next attempt now",
            id="being tried again",
        ),
        pytest.param(
            replace(QUEUED, state="dead", attempts=9, last_error="HTTP 404", next_attempt_at=None),
            "given up after 9 attempts: HTTP 404",
            id="dead",
        ),
        pytest.param(replace(QUEUED, state="superseded"), "no message is planned", id="superseded"),
        pytest.param(replace(SENT, type="run.input_resolved"), "no message is planned", id="only its end"),
    ],
)
def test_why_it_was_not(record: DeliveryRecord, expected: str) -> None:
    """The reason says what happened last, and when it is tried again."""
    assert Notification("slack", reason=expected) == of_slack(record)


def test_a_paused_notifier() -> None:
    """The pause that a destination asked for is the reason, and it counts for the next attempt."""
    paused = "paused at its destination's request, next attempt in 30 s"
    assert paused == of_slack(QUEUED, paused=30.0).reason
    failed = replace(QUEUED, attempts=1, next_attempt_at=NOW + 2)
    assert "1 attempt failed; next attempt in 30 s" == of_slack(failed, paused=30.0).reason


def test_every_notifier_is_named() -> None:
    """The app's notifiers come in their order, also those without any message, and then former ones."""
    former = replace(SENT, notifier="old")
    found = notifications(["audit", "slack"], [former, SENT], now=NOW, paused={})
    assert [("audit", None), ("slack", NOW - 5), ("old", NOW - 5)] == [
        (one.notifier, one.at) for one in found
    ]


def test_reminders_to_come() -> None:
    """Each notifier reminds at its ages, after its own announcement, and not of what it never announces."""
    slack = NotifierConfig(name="slack", remind_after=(60.0, 3600.0))
    phone = NotifierConfig(name="phone", after=900.0, remind_after=(600.0, 1800.0))
    audit = NotifierConfig(name="audit", remind_after=(60.0,))
    unneeded = replace(SENT, notifier="audit", state="superseded")
    records = [SENT, replace(QUEUED, notifier="phone"), unneeded]
    found = next_reminders([slack, phone, audit], records, first_seen_at=NOW - 100, now=NOW)
    assert ((NOW + 1700, "phone"), (NOW + 3500, "slack")) == found
