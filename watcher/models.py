"""The facts that move through the watcher, all frozen, and the words for them.

Times are Unix seconds (UTC) and durations are seconds, both as float, unless a name says otherwise.
The vocabulary of statuses and request types is the Runs API's (`GET /v1/runs`, `GET /v1/runs/{id}`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Json = Any
"""What a JSON document can hold; other people's data, so nothing more is known of it."""

AWAITING: Final = "awaiting_input"
PAUSED: Final = "paused"
TERMINAL: Final = frozenset({"completed", "failed", "canceled"})

APPROVAL: Final = "approval_request"
FEEDBACK: Final = "human_feedback"
INVISIBLE: Final = "unknown"
"""The type of a request that cannot be seen: the run waits, its question is not shown."""

RequestEventType = Literal["run.input_requested", "run.input_reminder", "run.input_resolved"]
AppEventType = Literal["watcher.app_failing", "watcher.app_recovered"]
NotifierEventType = Literal["watcher.notifier_failing", "watcher.notifier_recovered"]
SampleEventType = Literal["watcher.test"]
EventType = Literal[RequestEventType, AppEventType, NotifierEventType, SampleEventType]
Outcome = Literal["answered", "canceled", "failed", "gone", "replaced"]
DeliveryState = Literal["pending", "sent", "superseded", "dead"]


@dataclass(frozen=True, slots=True)
class App:
    """One watched app, as it is named to the outside."""

    name: str
    base_url: str


@dataclass(frozen=True, slots=True)
class InputRequest:
    """One question that a run asks a human.

    `fingerprint` identifies the content as the API gave it, before anything was masked. `id` is empty
    when the API gave none. `params` is None when there are none or they are not to be shown.
    """

    id: str
    type: str
    prompt: str | None
    params: Json
    editable_params: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of an app. `requests` is empty where the API showed none, `input` is as it came."""

    id: str
    status: str
    started_at: float | None = None
    user_id: str | None = None
    session_id: str | None = None
    input: Json = None
    requests: tuple[InputRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class Reminder:
    """The `number`th of `of` reminders, counted from 1."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a request ended. `run_status` is None where the run is gone."""

    outcome: Outcome
    run_status: str | None
    resolved_at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an app cannot be polled.

    `status` is the HTTP status if there was one, `code` the API's error code or one of ours
    (`timeout`, `connection_failed`, …), `pending_known` how many known requests wait meanwhile.
    """

    status: int | None
    code: str
    message: str
    since: float
    pending_known: int


@dataclass(frozen=True, slots=True)
class NotifierFailure:
    """Why a notifier accepts nothing, and how many deliveries wait for it meanwhile."""

    notifier: str
    message: str
    since: float
    undelivered: int


@dataclass(frozen=True, slots=True)
class DigestEntry:
    """One of the requests of a digest; `outcome` and `waited` are None while it waits."""

    run_id: str
    type: str
    prompt: str | None
    first_seen_at: float
    link: str | None
    outcome: Outcome | None
    waited: float | None


@dataclass(frozen=True, slots=True)
class Digest:
    """Many requests of one app, told of together, as they are now.

    `total` and `waiting` are counts, `outcomes` counts those that ended by how, `oldest` is when the one that
    waits longest was first seen. `entries` are some of those that wait, the oldest first, else of those that
    ended.
    """

    total: int
    waiting: int
    outcomes: tuple[tuple[Outcome, int], ...]
    oldest: float
    entries: tuple[DigestEntry, ...]


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A request waits, still waits (`reminder`), or has ended (`resolution`).

    `position` is (2, 3) for the second of three requests that wait in one run at once.
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


@dataclass(frozen=True, slots=True)
class DigestEvent:
    """Many requests wait, still wait (`reminder`), or some or all of them have ended."""

    id: str
    type: RequestEventType
    at: float
    app: App
    digest: Digest
    reminder: Reminder | None = None


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
    """Nothing happened; somebody tries whether a notifier works."""

    id: str
    at: float
    type: SampleEventType = "watcher.test"


Event = RequestEvent | DigestEvent | AppEvent | NotifierEvent | SampleEvent
"""Something worth telling; `id` is the same for every notifier and every attempt."""


@dataclass(frozen=True, slots=True)
class MessageRef:
    """What a destination gave back, so that a later message can refer to it: for Slack `channel` and `ts`."""

    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one notifier.

    `attempt` counts from 1. `first` is the receipt of the message that shows the same subject to the same
    notifier, if there is one (a later one if the first was gone), `reminders` those of the reminders of it.
    `due_at` is when it was first to be sent, from which on giving up is counted.
    """

    id: int
    notifier: str
    event: Event
    attempt: int
    due_at: float
    first_message: MessageRef | None = None
    reminders: tuple[MessageRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """How one notifier is to be told of one app's requests: after how many seconds, and of their end too?

    `for_people` is the notifier's: news that is stale before it was told is dropped. With `digests` it is
    told at the end of a poll, and of many new requests at once.
    """

    notifier: str
    for_people: bool
    after: float = 0.0
    resolved: bool = True
    digests: bool = False


@dataclass(frozen=True, slots=True)
class PendingKey:
    """A request that is known to wait, as far as telling it from others needs; `key` is the store's."""

    key: int
    run_id: str
    request_id: str
    fingerprint: str
    first_seen_at: float


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request seen for the first time, masked, in its run; `link` leads a person to it."""

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
    """A request that waits, for a list; `told` are the notifiers that accepted it.

    Who only lists requests by the thousand does without `user_id`, `params` and `editable_params`.
    """

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


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery with its state, for a list. `app` and both ids are None for events about none.

    `due_at` is when it was first to be sent, `finished_at` when it was sent, given up or not needed any more.
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
