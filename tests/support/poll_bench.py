"""A poller with everything around it: a scripted Runs API behind a real client, a store, a clock."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from yarl import URL

from tests.support.api_fakes import FakeAnswer
from tests.support.builders import APP, BOTH, BOUND, Clock, open_store, pending
from tests.support.databases import Place
from watcher.config.models import AppConfig
from watcher.hooks import Observer
from watcher.models import (
    APPROVAL,
    AWAITING,
    Json,
    Route,
)
from watcher.polling.context import PollContext, PollSettings
from watcher.polling.poller import Poller
from watcher.runs_api.client import RunsClient
from watcher.sanitize.masking import Masker
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret
from watcher.store import Store

if TYPE_CHECKING:
    import aiohttp
    from multidict import MultiMapping


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the Runs API: JSON, or HTML where the body is a text, or any bytes."""

    status: int
    body: Json | bytes = None
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
        self.queries: list[MultiMapping[str]] = []
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
            session=cast("aiohttp.ClientSession", self),
            timeout=5,
            keep_input=True,
            wall=wall,
        )

    @asynccontextmanager
    async def get(self, url: URL, **_: Any) -> AsyncIterator[FakeAnswer]:
        """Answers one call, as a session of aiohttp does."""
        run_id = url.path.removeprefix("/v1/runs").strip("/")
        call = run_id or f"page {int(url.query.get('page', 1))}"
        self.calls.append(call)
        self.queries.append(url.query)
        if self.before is not None:
            await self.before(call)
        answer = self._answer(call)
        yield FakeAnswer(answer.status, HTTPStatus(answer.status).phrase, answer.headers, _body(answer))

    def _answer(self, call: str) -> Answer:
        if not call.startswith("page "):
            return self._run(call)
        number = int(call.removeprefix("page "))
        content = self.pages[number - 1]
        if isinstance(content, Answer):
            return content
        pagination = {"page": number, "page_count": len(self.pages)}
        return Answer(200, {"data": content, "pagination": pagination})

    def _run(self, run_id: str) -> Answer:
        listed = {item["id"]: item for page in self.pages if isinstance(page, list) for item in page}
        content = {**listed, **self.runs}.get(run_id, refusal(404, "not_found", "no such run"))
        return content if isinstance(content, Answer) else Answer(200, {"data": content})


async def _body(answer: Answer) -> AsyncIterator[bytes]:
    if isinstance(answer.body, bytes):
        yield answer.body
    else:
        yield (answer.body if isinstance(answer.body, str) else json.dumps(answer.body)).encode()


@dataclass(frozen=True, slots=True)
class PollBench:
    """All that a poller needs, and a look at what it did. `wakes` are the times when it woke the workers."""

    database: Place
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
        digest_above: int = 20,
        request_timeout: float = BOUND,
        alert_after: float = 120.0,
        jitter: Callable[[], float] = lambda: 0.0,
        routes: Sequence[Route] = BOTH,
        wake: Callable[[Collection[str] | None], None] | None = None,
        observer: Observer | None = None,
        **config: Any,
    ) -> Poller:
        """Returns a poller of the app; what is not named here is the app's configuration."""
        redactor = redactor or Redactor()
        app = AppConfig(**{"name": APP.name, "base_url": APP.base_url} | config)
        settings = PollSettings(
            page_size=100,
            request_timeout=request_timeout,
            backoff_max=300.0,
            alert_after=alert_after,
            baseline=baseline,
            digest_above=digest_above,
        )
        context = PollContext(
            settings=settings,
            store=self.store,
            masker=Masker(redact, redactor),
            observer=observer or Observer(),
            wake=wake or (lambda _: self.wakes.append(self.clock.now)),
            redact=redactor.redact,
            wall=self.clock.time,
            jitter=jitter,
        )
        return Poller(app, routes, self.api.client(app.access_key, self.clock.time), context)

    def waiting(self) -> list[tuple[str, str, str | None]]:
        """Returns run, request and prompt of what waits, the longest waiting first."""
        return [(request.run_id, request.request_id, request.prompt) for request in pending(self.database)]


@asynccontextmanager
async def open_bench(database: Place) -> AsyncIterator[PollBench]:
    """A bench with an empty store and a Runs API where nothing waits."""
    async with open_store(database) as store:
        yield PollBench(database, store)
