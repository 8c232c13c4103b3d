"""Events to tell about, as the tests need them."""

from dataclasses import replace

from watcher.models import (
    App,
    Delivery,
    Event,
    Failure,
    InputRequest,
    Json,
    Receipt,
    Reminder,
    Resolution,
    Run,
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
REQUESTED = Event(
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
FAILING = Event("evt_4", "watcher.app_failing", SEEN_AT + 120, app=REQUESTED.app, failure=FAILURE)
RECOVERED = replace(FAILING, id="evt_5", type="watcher.app_recovered", at=SEEN_AT + 600)
TEST = Event("evt_6", "watcher.test", SEEN_AT)
EVERY = (REQUESTED, REMINDED, RESOLVED, FAILING, RECOVERED, TEST)


def asking(
    prompt: str | None = "Approve the refund?",
    params: Json = None,
    *,
    type: str = "approval_request",  # noqa: A002 - the field's name
    editable: tuple[str, ...] = (),
) -> Event:
    """Returns the event of a request with this content."""
    request = replace(REQUEST, type=type, prompt=prompt, params=params, editable_params=editable)
    return replace(REQUESTED, request=request)


def delivery(event: Event = REQUESTED, first: Receipt | None = None) -> Delivery:
    """Returns the first attempt at telling of an event."""
    return Delivery(id=17, notifier="here", event=event, attempt=1, due_at=event.at, first=first)
