"""What tests of store, poller and dispatcher build on: facts, a clock, a scripted notifier and Runs API."""

import asyncio
import json
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx

from watcher.api import RunsClient
from watcher.config import AppConfig
from watcher.models import (
    APPROVAL,
    AWAITING,
    App,
    Change,
    Delivery,
    DeliveryRecord,
    InputRequest,
    Json,
    Known,
    PendingRequest,
    Receipt,
    Route,
    Run,
    Sighting,
)
from watcher.poller import Poller, PollSettings
from watcher.redaction import Masker
from watcher.secrets import Redactor, Secret
from watcher.store import Store, reports
from watcher.store.schema import open_reader

NOW: Final = 1_800_000_000.0
BOUND: Final = 20.0
"""Seconds after which a test that waits for something gives up."""

APP: Final = App("support", "https://runs.example")
PEOPLE: Final = Route("slack", for_people=True)
MACHINE: Final = Route("webhook", for_people=False)
BOTH: Final = (PEOPLE, MACHINE)

_numbers = count(1)


async def soon(happening: Awaitable[Any]) -> Any:
    """Returns what is awaited, and fails rather than waits for ever."""
    return await asyncio.wait_for(happening, BOUND)


class Clock:
    """A wall clock that only the test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def time(self) -> float:
        """Returns the Unix time."""
        return self.now


def make_request(request_id: str = "q1", prompt: str = "Approve?", *, params: Json = None) -> InputRequest:
    """Returns an approval request whose fingerprint is its prompt."""
    return InputRequest(request_id, APPROVAL, prompt, {} if params is None else params, (), prompt)


def make_run(run_id: str = "run-1", *requests: InputRequest, status: str = AWAITING) -> Run:
    """Returns a run that waits."""
    return Run(id=run_id, status=status, started_at=NOW - 60, requests=requests)


def make_sighting(run_id: str = "run-1", request_id: str = "q1", prompt: str = "Approve?") -> Sighting:
    """Returns a request seen for the first time."""
    return Sighting(make_run(run_id), make_request(request_id, prompt))


def new_id(_: float) -> str:
    """Returns an id of an event that no other has."""
    return f"evt_{next(_numbers)}"


@asynccontextmanager
async def open_store(path: Path, make_id: Callable[[float], str] = new_id) -> AsyncIterator[Store]:
    """A store in a real file."""
    store = Store(path, make_id)
    try:
        yield store
    finally:
        await store.close()


async def sight(
    store: Store,
    *sightings: Sighting,
    routes: Iterable[Route] = BOTH,
    now: float = NOW,
    announce: bool = True,
) -> None:
    """Records new requests; without any named, `run-1` asks `q1`."""
    new = sightings or (make_sighting(),)
    await store.record_changes(APP, tuple(routes), new=new, announce=announce, now=now)


async def known(store: Store, run_id: str = "run-1") -> Known:
    """Returns the one request that is known to wait in a run."""
    (found,) = [request for request in (await store.app_state(APP.name)).known if request.run_id == run_id]
    return found


async def end(
    store: Store, run_id: str = "run-1", *, routes: Iterable[Route] = BOTH, now: float = NOW + 10
) -> tuple[DeliveryRecord, ...]:
    """Records that the one request of a run was answered; returns what became stale by it."""
    change = Change(await known(store, run_id), "answered", "completed")
    return (await store.record_changes(APP, tuple(routes), ended=[change], now=now)).superseded


async def claim(store: Store, notifier: str, *, limit: int = 100, now: float = NOW) -> tuple[Delivery, ...]:
    """Takes what a notifier is to send now."""
    return (await store.settle_and_claim(notifier, (), limit=limit, now=now)).deliveries


def outbox(path: Path) -> list[tuple[str, str, str]]:
    """Returns notifier, type and state of every delivery, the oldest first."""
    return [(record.notifier, record.type, record.state) for record in records(path)]


def records(path: Path) -> list[DeliveryRecord]:
    """Returns every delivery, the oldest first, as a second process would read it."""
    with closing(open_reader(path)) as connection:
        return reports.deliveries(connection)


def pending(path: Path) -> list[PendingRequest]:
    """Returns the requests that wait, as a second process would read them."""
    with closing(open_reader(path)) as connection:
        return reports.pending_requests(connection)


def hold(path: Path) -> sqlite3.Connection:
    """Locks a database against writing, as another process would, until what is returned is closed."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def damage(path: Path) -> None:
    """Overwrites tables and indexes with rubbish, under whoever has the database open."""
    with closing(sqlite3.connect(path)) as connection:
        pages = connection.execute("SELECT rootpage FROM sqlite_master").fetchall()
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute("CREATE TABLE makes_others_read_anew (a)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        for (page,) in pages:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)


class ScriptedNotifier:
    """Accepts every delivery but those that the script has something else for, in the order of attempts.

    A send takes as long as `gate` is closed; `started` tells of each that begins.
    """

    def __init__(
        self,
        name: str = "slack",
        *,
        slots: int = 1,
        spacing: float = 0.0,
        for_people: bool = True,
        script: Iterable[Receipt | Exception | None] = (),
    ) -> None:
        self.name = name
        self.slots = slots
        self.spacing = spacing
        self.for_people = for_people
        self.attempts: list[Delivery] = []
        self.accepted: list[Delivery] = []
        self.started: asyncio.Queue[Delivery] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = 0
        self.most_under_way = 0
        self._script = iter(script)

    async def send(self, delivery: Delivery) -> Receipt | None:
        """Does what the script says."""
        self.attempts.append(delivery)
        answer = next(self._script, None)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        self.started.put_nowait(delivery)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        if isinstance(answer, Exception):
            raise answer
        self.accepted.append(delivery)
        return answer

    async def check(self) -> str:
        """Finds nothing wrong."""
        return "scripted"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the Runs API: JSON, or HTML where the body is a text."""

    status: int
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)


def question(request_id: str = "q1", prompt: str = "Approve?", **fields: Json) -> Json:
    """Returns a request as the API writes it."""
    return {"id": request_id, "type": APPROVAL, "prompt": prompt, **fields}


def api_run(run_id: str, *questions: Json, status: str = AWAITING, **fields: Json) -> Json:
    """Returns a run as the API writes it; without questions it carries no `input_requests`."""
    asked = {"input_requests": list(questions)} if questions else {}
    return {"id": run_id, "status": status, **asked, **fields}


def refusal(status: int, code: str, message: str = "no", **headers: str) -> Answer:
    """Returns a refusal in the API's own words."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"error": {"code": code, "message": message}}, named)


class ScriptedApi:
    """The Runs API behind a real client: `pages` is the list, `runs` what each run by itself shows.

    A run without an entry of its own is shown as listed, and is unknown when it is not listed. `calls` are
    the pages and runs asked for, in order, `queries` what each was asked with; `before` is awaited first.
    """

    def __init__(self) -> None:
        self.pages: list[list[Json] | Answer] = [[]]
        self.runs: dict[str, Json | Answer] = {}
        self.calls: list[str] = []
        self.queries: list[httpx.QueryParams] = []
        self.before: Callable[[str], Awaitable[None]] | None = None

    def lists(self, *items: Json) -> None:
        """Makes these runs the only page of the list."""
        self.pages = [list(items)]

    def looks(self) -> list[str]:
        """Returns the runs that were fetched by themselves, in order, and forgets all calls."""
        looked = [call for call in self.calls if not call.startswith("page ")]
        self.calls.clear()
        return looked

    def client(self, access_key: Secret | None = None, wall: Callable[[], float] = time.time) -> RunsClient:
        """Returns a client that reaches this API and nothing else."""
        return RunsClient(
            APP.base_url,
            access_key,
            timeout=5,
            keepalive=5,
            tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            transport=httpx.MockTransport(self._handle),
            wall=wall,
        )

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        run_id = request.url.path.removeprefix("/v1/runs").strip("/")
        page = int(request.url.params.get("page", 1))
        call = run_id or f"page {page}"
        self.calls.append(call)
        self.queries.append(request.url.params)
        if self.before is not None:
            await self.before(call)
        return self._run(run_id) if run_id else self._page(page)

    def _page(self, number: int) -> httpx.Response:
        content = self.pages[number - 1]
        if isinstance(content, Answer):
            return _response(content)
        pagination = {"page": number, "page_count": len(self.pages)}
        return _response(Answer(200, {"data": content, "pagination": pagination}))

    def _run(self, run_id: str) -> httpx.Response:
        listed = {item["id"]: item for page in self.pages if isinstance(page, list) for item in page}
        content = {**listed, **self.runs}.get(run_id, refusal(404, "not_found", "no such run"))
        return _response(content if isinstance(content, Answer) else Answer(200, {"data": content}))


def _response(answer: Answer) -> httpx.Response:
    text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
    return httpx.Response(answer.status, stream=httpx.ByteStream(text.encode()), headers=answer.headers)


@dataclass(frozen=True, slots=True)
class PollBench:
    """All that a poller needs, and a look at what it did. `wakes` are the times when it woke the lanes."""

    path: Path
    store: Store
    api: ScriptedApi = field(default_factory=ScriptedApi)
    clock: Clock = field(default_factory=Clock)
    wakes: list[float] = field(default_factory=list)

    def poller(
        self,
        *,
        redactor: Redactor | None = None,
        redact: Iterable[str] = (),
        baseline: bool = False,
        request_timeout: float = BOUND,
        jitter: Callable[[], float] = lambda: 0.0,
        **config: Any,
    ) -> Poller:
        """Returns a poller of the app; what is not named here is the app's configuration."""
        redactor = redactor or Redactor()
        app = AppConfig(**{"name": APP.name, "base_url": APP.base_url} | config)
        settings = PollSettings(
            page_size=100,
            request_timeout=request_timeout,
            backoff_max=300.0,
            alert_after=120.0,
            baseline=baseline,
        )
        return Poller(
            app,
            settings,
            client=self.api.client(app.access_key, self.clock.time),
            store=self.store,
            routes=BOTH,
            masker=Masker(redact, redactor),
            wake=lambda: self.wakes.append(self.clock.now),
            scrub=redactor.scrub,
            wall=self.clock.time,
            jitter=jitter,
        )

    def waiting(self) -> list[tuple[str, str, str | None]]:
        """Returns run, request and prompt of what waits, the longest waiting first."""
        return [(request.run_id, request.request_id, request.prompt) for request in pending(self.path)]


@asynccontextmanager
async def open_bench(path: Path) -> AsyncIterator[PollBench]:
    """A bench with an empty store and a Runs API where nothing waits."""
    async with open_store(path) as store:
        yield PollBench(path, store)
