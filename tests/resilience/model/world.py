"""The model's world: runs of an app that ask, answered or not, and a Runs API that shows them well or badly.

Each app has a world of its own, with runs of the same ids that ask the same. The truth is in `World.runs`.
`World.exchange` is what the API really showed since the last poll began, and all that a watcher can know.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Final, Literal

import aiohttp

from tests.support.poll_bench import Answer, ScriptedApi, question, refusal
from watcher.models import AWAITING, PAUSED, Json
from watcher.runs_api.parser import fingerprint

Identity = tuple[str, str]
"""The id of a request and the fingerprint of its content."""
Form = Literal["carried", "absent", "null", "empty"]
"""How the list shows what a run asks."""

FORMS: Final[tuple[Form, ...]] = ("carried", "absent", "null", "empty")

NO_API: Final = Answer(404, "<h1>not here</h1>")
NO_RUN: Final = refusal(404, "not_found", "no such run")
BAD: Final[dict[str, Answer | type[Exception]]] = {
    "bad request": refusal(400, "bad_request"),
    "unauthorized": refusal(401, "unauthorized"),
    "forbidden": refusal(403, "forbidden"),
    "not found": NO_RUN,
    "a proxy's 404": NO_API,
    "too many": refusal(429, "rate_limited", Retry_After="30"),
    "broken": refusal(500, "internal"),
    "unavailable": Answer(503, "<h1>later</h1>"),
    "redirected": Answer(302, "", {"Location": "https://elsewhere.example"}),
    "no answer": aiohttp.ServerTimeoutError,
    "reset": aiohttp.ClientOSError,
    "refused": aiohttp.ClientConnectionError,
    "not JSON": Answer(200, "<html>"),
    "no object": Answer(200, [1]),
    "null data": Answer(200, {"data": None}),
    "odd data": Answer(200, {"data": "odd"}),
    "another run": Answer(200, {"data": {"id": "another", "status": "completed"}}),
}
"""What can become of a call."""
JUNK: Final[tuple[Json, ...]] = (17, {"status": AWAITING}, {"id": "run-with-no-status"})
"""List items that are no runs."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question that a run asks."""

    request_id: str
    prompt: str

    def item(self) -> Json:
        """Returns it as the API writes it."""
        return question(self.request_id, self.prompt)

    @cache  # noqa: B019 - a question is small and frozen
    def identity(self) -> Identity:
        """Returns what tells it from others of its run."""
        return self.request_id, fingerprint(self.item())


@dataclass(slots=True)
class ModelRun:
    """A run; while `hidden` it waits without showing its questions."""

    id: str
    status: str = AWAITING
    questions: list[Question] = field(default_factory=list)
    hidden: bool = False

    def asks(self) -> frozenset[Identity]:
        """Returns what it shows when it is looked at."""
        return frozenset() if self.hidden else frozenset(each.identity() for each in self.questions)

    def settle(self) -> None:
        """Goes on once nothing is asked any more."""
        if self.status == AWAITING and not self.questions:
            self.status, self.hidden = "started", False


@dataclass(frozen=True, slots=True)
class Shown:
    """What an answer showed of a run; `status` is None where it said that there is no such run."""

    status: str | None
    asks: frozenset[Identity] = frozenset()


@dataclass(slots=True)
class Exchange:
    """What the API showed since a poll began; `troubled` and `stirred` say that it was no quiet one."""

    calls: int = 0
    listed: dict[str, frozenset[Identity]] = field(default_factory=dict)
    looked: dict[str, Shown] = field(default_factory=dict)
    pages: set[int] = field(default_factory=set)
    list_seen: int = 0
    gone_at: dict[str, int] = field(default_factory=dict)
    troubled: bool = False
    stirred: bool = False


class World:
    """All runs of one app, and the API that shows them."""

    def __init__(self, *, page_size: int, form: Form) -> None:
        self.api = ScriptedApi()
        self.api.before = self._before
        self.runs: dict[str, ModelRun] = {}
        self.watch_paused = False
        self.form = form
        self.trouble: dict[str, tuple[str, int]] = {}
        self.missing: set[str] = set()
        self.twice: set[str] = set()
        self.junk = False
        self.midway: dict[int, Callable[[], None]] = {}
        self.exchange = Exchange()
        self._page_size = page_size
        self._run_numbers = count(1)
        self._prompt_numbers = count(1)

    def new_run(self, questions: int) -> ModelRun:
        """A run appears that asks so many things at once, or waits without showing what for."""
        run = ModelRun(f"run-{next(self._run_numbers)}", hidden=questions == 0)
        self.runs[run.id] = run
        for number in range(1, questions + 1):
            self.ask(run, f"q{number}")
        return run

    def ask(self, run: ModelRun, request_id: str, prompt: str | None = None) -> None:
        """A run asks something, new unless it is said what."""
        asked = Question(request_id, prompt or f"prompt {next(self._prompt_numbers)}")
        run.status = AWAITING
        if asked not in run.questions:
            run.questions.append(asked)

    def waiting(self) -> list[ModelRun]:
        """Returns the runs that the list is to show, the oldest first."""
        wanted = {AWAITING, PAUSED} if self.watch_paused else {AWAITING}
        return [run for run in self.runs.values() if run.status in wanted]

    def happens(self, what: Callable[[], None], midway: int) -> None:
        """Lets something happen now, or at the so-manieth call of the next poll."""
        if midway:
            self.midway[midway] = what
        else:
            what()

    def begin(self) -> None:
        """A poll begins."""
        self.exchange = Exchange(
            troubled=bool(self.trouble), stirred=bool(self.missing or self.twice or self.midway)
        )

    def end(self) -> None:
        """A poll has ended: what was to happen during one poll is over."""
        self.missing, self.twice, self.midway = set(), set(), {}
        self.trouble = {call: (kind, polls - 1) for call, (kind, polls) in self.trouble.items() if polls > 1}

    async def _before(self, call: str) -> None:
        exchange = self.exchange
        exchange.calls += 1
        if (happens := self.midway.pop(exchange.calls, None)) is not None:
            happens()
        page = int(call.removeprefix("page ")) if call.startswith("page ") else None
        trouble = self._trouble(call, page)
        if isinstance(trouble, type):
            raise trouble("made up")
        if page is not None:
            self._show_page(page, trouble)
        else:
            self._show_run(call, trouble)

    def _trouble(self, call: str, page: int | None) -> Answer | type[Exception] | None:
        keys = ("app", "details", call) if page is None else ("app", call)
        return next((BAD[self.trouble[key][0]] for key in keys if key in self.trouble), None)

    def _show_page(self, number: int, trouble: Answer | None) -> None:
        shown = [run for run in self.waiting() for _ in range(1 + (run.id in self.twice))]
        shown = [run for run in shown if run.id not in self.missing]
        size = self._page_size
        pages = [shown[start : start + size] for start in range(0, len(shown), size)] or [[]]
        pages += [[] for _ in range(number - len(pages))]
        junk = JUNK if self.junk else ()
        self.api.pages = [[*(self._item(run) for run in page), *junk] for page in pages]
        if trouble is not None:
            self.api.pages[number - 1] = trouble
            return
        self.exchange.list_seen = self.exchange.calls
        if number in self.exchange.pages:
            return  # only to see that the app is there; nothing is read of it
        self.exchange.pages.add(number)
        for run in pages[number - 1]:
            carried = run.asks() if self.form == "carried" else frozenset()
            self.exchange.listed.setdefault(run.id, carried)

    def _show_run(self, run_id: str, trouble: Answer | None) -> None:
        run = self.runs.get(run_id)
        self.api.pages = [[]]
        if trouble is not None:
            self.api.runs[run_id] = trouble
        elif run is None:
            self.api.runs[run_id] = NO_RUN
        else:
            self.api.runs[run_id] = self._item(run, "carried")
            self.exchange.looked[run_id] = Shown(run.status, run.asks())
        if self.api.runs[run_id] is NO_RUN:
            self.exchange.looked[run_id] = Shown(None)
            self.exchange.gone_at[run_id] = self.exchange.calls

    def _item(self, run: ModelRun, form: Form | None = None) -> Json:
        item: dict[str, Json] = {"id": run.id, "status": run.status}
        match form or self.form:
            case "carried" if run.asks():
                item["input_requests"] = [each.item() for each in run.questions]
            case "null":
                item["input_requests"] = None
            case "empty":
                item["input_requests"] = []
            case _:
                pass
        return item


def identities(runs: Iterable[ModelRun]) -> set[tuple[str, Identity]]:
    """Returns what these runs show that they ask."""
    return {(run.id, identity) for run in runs for identity in run.asks()}
