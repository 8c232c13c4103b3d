"""Events to tell about, as the tests need them."""

from dataclasses import replace
from typing import Final

from watcher.models import (
    App,
    AppEvent,
    AppGroupEvent,
    Delivery,
    Digest,
    DigestEntry,
    DigestEvent,
    Event,
    Failure,
    InputRequest,
    Json,
    MessageRef,
    NotifierEvent,
    NotifierFailure,
    Outcome,
    Reminder,
    RequestEvent,
    Resolution,
    Run,
    SampleEvent,
)

SEEN_AT = 1781082939.7
"""2026-06-10T09:15:39Z and a bit."""

REQUEST = InputRequest(
    id="7a1b",
    type="approval_request",
    prompt="Approve the refund?",
    params={"amount": 620, "customer": "Ada"},
    editable_params=("amount",),
    fingerprint="f",
)
RUN = Run("8c2c", "awaiting_input", SEEN_AT - 18, "customer-7421", "3d3e")
REQUESTED = RequestEvent(
    id="evt_1",
    type="run.input_requested",
    at=SEEN_AT + 1,
    app=App("support", "https://support.example"),
    run=RUN,
    request=REQUEST,
    first_seen_at=SEEN_AT,
)
REMINDED = replace(
    REQUESTED, id="evt_2", type="run.input_reminder", at=SEEN_AT + 1800, reminder=Reminder(1, 3)
)
RESOLVED = replace(
    REQUESTED,
    id="evt_3",
    type="run.input_resolved",
    at=SEEN_AT + 313,
    run=replace(RUN, status="completed"),
    resolution=Resolution("answered", "completed", SEEN_AT + 312),
)
FAILURE = Failure(401, "unauthorized", "invalid key", SEEN_AT, 2)
APPS_FAILING = AppGroupEvent(
    "evt_10",
    "watcher.app_failing",
    SEEN_AT + 130,
    tuple((replace(REQUESTED.app, name=name), FAILURE) for name in ("support", "billing", "sales")),
)
FAILING = AppEvent("evt_4", "watcher.app_failing", SEEN_AT + 120, REQUESTED.app, FAILURE)
RECOVERED = replace(FAILING, id="evt_5", type="watcher.app_recovered", at=SEEN_AT + 600)
TEST = SampleEvent("evt_6", SEEN_AT)
NOTIFIER_FAILURE = NotifierFailure("audit", "HTTP 503", SEEN_AT, 7)
NOTIFIER_FAILING = NotifierEvent("evt_7", "watcher.notifier_failing", SEEN_AT + 120, NOTIFIER_FAILURE)
NOTIFIER_RECOVERED = replace(
    NOTIFIER_FAILING, id="evt_8", type="watcher.notifier_recovered", at=SEEN_AT + 600
)
INVISIBLE_REQUEST = replace(
    REQUESTED,
    run=replace(RUN, status="paused"),
    request=InputRequest("", "unknown", None, None, (), "f"),
)


def digest_entry(
    prompt: str | None = "Approve the refund?",
    *,
    type: str = "approval_request",  # noqa: A002 - the field's name
    run_id: str = "8c2c",
    link: str | None = None,
    outcome: Outcome | None = None,
) -> DigestEntry:
    """Returns a request of a digest; one that ended had waited for 312 s."""
    return DigestEntry(run_id, type, prompt, SEEN_AT, link, outcome, 312.0 if outcome else None)


DIGEST = DigestEvent(
    id="evt_9",
    type="run.input_requested",
    at=SEEN_AT + 1,
    app=REQUESTED.app,
    digest=Digest(
        25,
        25,
        (),
        SEEN_AT,
        (
            digest_entry(link="https://console.example/r/8c2c"),
            digest_entry("Which clause?", type="human_feedback", run_id="9d3d"),
        ),
    ),
)
DIGEST_REMINDED = replace(
    DIGEST, id="evt_10", type="run.input_reminder", at=SEEN_AT + 1800, reminder=Reminder(1, 3)
)
DIGEST_PARTLY_ENDED = replace(
    DIGEST,
    id="evt_11",
    type="run.input_resolved",
    at=SEEN_AT + 313,
    digest=Digest(25, 1, (("answered", 20), ("canceled", 4)), SEEN_AT, (digest_entry("Which clause?"),)),
)
DIGEST_ENDED = replace(
    DIGEST_PARTLY_ENDED,
    id="evt_12",
    digest=Digest(
        25,
        0,
        (("answered", 21), ("canceled", 4)),
        SEEN_AT,
        (
            digest_entry(outcome="answered", link="https://console.example/r/8c2c"),
            digest_entry(outcome="canceled"),
        ),
    ),
)

ALL_EVENTS: Final[tuple[Event, ...]] = (
    REQUESTED,
    REMINDED,
    RESOLVED,
    INVISIBLE_REQUEST,
    APPS_FAILING,
    FAILING,
    RECOVERED,
    NOTIFIER_FAILING,
    NOTIFIER_RECOVERED,
    DIGEST,
    DIGEST_REMINDED,
    DIGEST_PARTLY_ENDED,
    DIGEST_ENDED,
    TEST,
)


def request_event(
    prompt: str | None = "Approve the refund?",
    params: Json = None,
    *,
    type: str = "approval_request",  # noqa: A002 - the field's name
    editable: tuple[str, ...] = (),
) -> RequestEvent:
    """Returns the event of a request with this content."""
    request = replace(REQUEST, type=type, prompt=prompt, params=params, editable_params=editable)
    return replace(REQUESTED, request=request)


def make_delivery(
    event: Event = REQUESTED, first: MessageRef | None = None, reminders: tuple[MessageRef, ...] = ()
) -> Delivery:
    """Returns the first attempt at telling of an event."""
    return Delivery(17, "here", event, attempt=1, due_at=event.at, first_message=first, reminders=reminders)
