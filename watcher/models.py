"""The domain types that every layer shares, all frozen.

Times are Unix seconds (UTC) and durations are seconds, both as float. Statuses and types of requests are the
Runs API's (`GET /v1/runs`, `GET /v1/runs/{id}`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Json = Any
"""Any JSON value: data of other people, whose structure is unknown."""

AWAITING: Final = "awaiting_input"
PAUSED: Final = "paused"
TERMINAL: Final = frozenset({"completed", "failed", "canceled"})

APPROVAL: Final = "approval_request"
FEEDBACK: Final = "human_feedback"
INVISIBLE: Final = "unknown"
"""The type of a request that the API does not show: the run waits, but its question is not visible."""

RequestEventType = Literal["run.input_requested", "run.input_reminder", "run.input_resolved"]
AppEventType = Literal["watcher.app_failing", "watcher.app_recovered"]
NotifierEventType = Literal["watcher.notifier_failing", "watcher.notifier_recovered"]
SampleEventType = Literal["watcher.test"]
EventType = Literal[RequestEventType, AppEventType, NotifierEventType, SampleEventType]
Outcome = Literal["answered", "canceled", "failed", "gone", "replaced"]
DeliveryState = Literal["pending", "sent", "superseded", "dead"]


@dataclass(frozen=True, slots=True)
class App:
    """One watched app, as messages name it."""

    name: str
    base_url: str


@dataclass(frozen=True, slots=True)
class InputRequest:
    """One question that a run asks a human.

    `fingerprint` identifies the content before masking. `id` is empty if the API gave none. `params` is None
    if the configuration withholds them. `masked` holds the paths of masked values in it, such as
    `llm.options[0].api_key`, or the names of what is withheld. `questions` and `is_browser_takeover` are None
    if the API gave none.
    """

    id: str
    type: str
    prompt: str | None
    params: Json
    editable_params: tuple[str, ...]
    fingerprint: str
    masked: tuple[str, ...] = ()
    questions: Json = None
    is_browser_takeover: bool | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of an app, as the API shows it; one that `informs` shows messages but asks nothing."""

    id: str
    status: str
    started_at: float | None = None
    user_id: str | None = None
    session_id: str | None = None
    input: Json = None
    requests: tuple[InputRequest, ...] = ()
    informs: bool = False


@dataclass(frozen=True, slots=True)
class Reminder:
    """The `number`th of `of` reminders, counted from 1."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a request ended. `run_status` is None if the run no longer exists."""

    outcome: Outcome
    run_status: str | None
    resolved_at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an app cannot be polled.

    `status` is the HTTP status if there was one, `code` the API's error code or one of `runs_api.errors`,
    `pending_known` the number of known pending requests of the app.
    """

    status: int | None
    code: str
    message: str
    since: float
    pending_known: int


@dataclass(frozen=True, slots=True)
class NotifierFailure:
    """Why a notifier accepts nothing, and how many deliveries are due for it."""

    notifier: str
    message: str
    since: float
    undelivered: int


@dataclass(frozen=True, slots=True)
class DigestEntry:
    """One of the requests of a digest, see `RequestEvent`; without `outcome` and `waited` it is pending."""

    run_id: str
    type: str
    prompt: str | None
    first_seen_at: float
    link: str | None
    outcome: Outcome | None
    waited: float | None
    params: Json = None
    key: int | None = None


@dataclass(frozen=True, slots=True)
class Digest:
    """Many requests of one app in one message, as they are now.

    `waiting` of the `total` are pending; `outcomes` counts the others. `oldest` is when the oldest pending
    one was first seen. `entries` are some of the pending ones, oldest first, else some of the others.
    """

    total: int
    waiting: int
    outcomes: tuple[tuple[Outcome, int], ...]
    oldest: float
    entries: tuple[DigestEntry, ...]


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A request is pending, is still pending (`reminder`), or ended (`resolution`).

    `position` is (2, 3) for the second of three requests that are pending in one run, `key` the request's
    number in the store. `asked_before` is when the run asked the same before, if that was answered. For
    people `at` is the time of sending, and `next_reminder_at` is known.
    """

    id: str
    type: RequestEventType
    at: float
    app: App
    run: Run
    request: InputRequest
    first_seen_at: float
    link: str | None = None
    position: tuple[int, int] | None = None
    reminder: Reminder | None = None
    resolution: Resolution | None = None
    key: int | None = None
    asked_before: float | None = None
    next_reminder_at: float | None = None


@dataclass(frozen=True, slots=True)
class DigestEvent:
    """Many requests are pending, are still pending (`reminder`), or some or all ended; see `RequestEvent`."""

    id: str
    type: RequestEventType
    at: float
    app: App
    digest: Digest
    reminder: Reminder | None = None
    next_reminder_at: float | None = None


@dataclass(frozen=True, slots=True)
class AppEvent:
    """An app cannot be polled, or can be polled again after this failure."""

    id: str
    type: AppEventType
    at: float
    app: App
    failure: Failure


@dataclass(frozen=True, slots=True)
class NotifierEvent:
    """A notifier accepts nothing, or accepts again after this failure."""

    id: str
    type: NotifierEventType
    at: float
    failure: NotifierFailure


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """A test of a notifier; nothing happened."""

    id: str
    at: float
    type: SampleEventType = "watcher.test"


@dataclass(frozen=True, slots=True)
class AppGroupEvent:
    """Several apps cannot be polled, or can be polled again after these failures."""

    id: str
    type: AppEventType
    at: float
    failures: tuple[tuple[App, Failure], ...]


Event = RequestEvent | DigestEvent | AppEvent | AppGroupEvent | NotifierEvent | SampleEvent
"""What a message reports; `id` is the same for every notifier and every attempt."""


@dataclass(frozen=True, slots=True)
class MessageRef:
    """How a later message can refer to a message that was sent: for Slack `channel` and `ts`."""

    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one notifier.

    `attempt` counts from 1. `first_message` is the message that opened the thread at this notifier (a later
    one if the first was deleted), `reminders` are the reminders in it. It was tried for `tried_for` seconds
    up to `last_attempt_at`. `together_with` are the deliveries that the same message makes.
    """

    id: int
    notifier: str
    event: Event
    attempt: int
    due_at: float
    first_message: MessageRef | None = None
    reminders: tuple[MessageRef, ...] = ()
    tried_for: float = 0.0
    last_attempt_at: float | None = None
    together_with: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """How one notifier gets the messages about one app's requests.

    It gets a request `after` so many seconds, and with `resolved` how it ended. A notifier `for_people` gets
    nothing that is out of date. With `digests` it gets many new requests of a poll as one message, if
    `grouped` also alerts about several apps.
    """

    notifier: str
    for_people: bool
    after: float = 0.0
    resolved: bool = True
    digests: bool = False
    grouped: bool = False


@dataclass(frozen=True, slots=True)
class PendingKey:
    """The identity of a known pending request; `key` is the store's."""

    key: int
    run_id: str
    request_id: str
    fingerprint: str
    first_seen_at: float


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request seen for the first time, masked, with its run and a link for people."""

    run: Run
    request: InputRequest
    link: str | None = None
    position: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """A known request that ended."""

    known: PendingKey
    outcome: Outcome
    run_status: str | None


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A pending request in a list; `told` names the notifiers that accepted it.

    `id` identifies it on the command line and in addresses. A list without details leaves what follows `told`
    empty.
    """

    id: int
    app: str
    run_id: str
    request_id: str
    type: str
    prompt: str | None
    first_seen_at: float
    link: str | None
    told: tuple[str, ...]
    user_id: str | None = None
    params: Json = None
    editable_params: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    questions: Json = None
    is_browser_takeover: bool | None = None


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery in a list. `app`, `run_id` and `request_id` are None for events without them.

    `due_at` is when the first attempt was due, `finished_at` when the delivery became sent, superseded or
    dead.
    """

    id: int
    event_id: str
    type: EventType
    notifier: str
    state: DeliveryState
    attempts: int
    next_attempt_at: float | None
    last_error: str | None
    app: str | None
    run_id: str | None
    request_id: str | None
    due_at: float
    finished_at: float | None
