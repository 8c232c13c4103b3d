"""One simulated app: its runs, their questions, and what its API says of them.

Nothing here waits, draws random numbers or reads a clock of its own: the same calls give the same answers.
"""

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count, islice
from typing import Final

from watcher.simulator.faults import Faults
from watcher.simulator.listing import Row, select
from watcher.simulator.options import Count, Json, Moment, Options, Refusal
from watcher.simulator.parsing import InputBody, ListQuery
from watcher.simulator.runs import OPEN, TERMINAL, Answer, Ask, Base, SimulatedRun, View, render

_PERSONAL_TOKENS: Final = ("dyn_pat_", "uak_")
_REQUEST_IDS: Final = uuid.UUID("6f1a2a52-6a0b-4d5e-9a3b-0c9f5a1d7e42")
_ANSWERS_KEPT: Final = 1000


def numbered_ids() -> Callable[[], uuid.UUID]:
    """Returns a source of run ids that count up from 1, for tests that want the same ids every time."""
    numbers = count(1)
    return lambda: uuid.UUID(int=next(numbers))


class Simulation:
    """One simulated app.

    `clock` gives Unix seconds, `ids` gives run ids. `keys` are the access keys that are accepted; None makes
    the app public. Verbs that name an unknown run raise `Refusal` with 404.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        options: Options | None = None,
        keys: frozenset[str] | None = None,
        *,
        ids: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._first_options = options or Options()
        self._first_keys = keys
        self.reset()

    def reset(self) -> None:
        """Forgets every run and fault and returns to the options and keys of the beginning."""
        self.options = self._first_options
        self.keys = self._first_keys
        self.foreign_keys: frozenset[str] = frozenset()
        self.deleted = False
        self.faults = Faults()
        self.answers: deque[Answer] = deque(maxlen=_ANSWERS_KEPT)
        self._runs: dict[str, SimulatedRun] = {}
        self._numbers = count(1)
        self._injected: list[Json] = []
        self._lingering: dict[tuple[View, str], tuple[Ask, ...]] = {}
        self._asked: dict[str, int] = {}
        self._shift: tuple[int, int] | None = None

    def sibling(self) -> "Simulation":
        """Returns an empty app with the same clock, ids, and first options and keys."""
        return Simulation(self._clock, self._first_options, self._first_keys, ids=self._ids)

    @property
    def runs(self) -> tuple[SimulatedRun, ...]:
        """Every run that was not deleted, in the order in which they were started."""
        self._let_time_pass()
        return tuple(self._runs.values())

    def start_run(
        self,
        input: Json = None,  # noqa: A002 - the API's name for it
        *,
        run_id: str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        base: Base = "started",
        started_at: Moment | None = None,
    ) -> str:
        """Starts a run and returns its id; `started_at` defaults to now."""
        run = SimulatedRun(
            id=run_id or str(self._ids()),
            number=next(self._numbers),
            base=base,
            started_at=self._clock() if started_at is None else started_at,
            input=input,
            user_id=user_id,
            session_id=session_id,
        )
        self._runs[run.id] = run
        return run.id

    def ask(
        self,
        run_id: str,
        node: str = "approve",
        *,
        type: str = "approval_request",  # noqa: A002 - the API's name for it
        prompt: Json = "Approve this step?",
        params: Json = None,
        editable_params: Json = None,
        extra: Mapping[str, Json] | None = None,
    ) -> str:
        """Lets a node of a run ask a human, and returns the request's id.

        If a request with that id is pending, it is replaced, as when it is answered and the node asks again
        before anybody reads. Whatever the run's status, it goes on as started, a finished run too: no such
        case is known, but a reader should survive it.
        """
        run = self._run(run_id)
        now = self._clock()
        request_id = self._request_id(run_id, node)
        if self.options.swallow_second_ask and request_id in run.answered:
            self._keep(replace(run, base="started", swallowed_at=now))
            return request_id
        ask = Ask(
            id=request_id,
            node=node,
            type=type,
            prompt=prompt,
            params=params,
            editable_params=editable_params,
            asked_at=now,
            extra=extra or {},
        )
        others = tuple(other for other in run.pending if other.id != request_id)
        self._keep(replace(run, base="started", ended_at=None, pending=(*others, ask), swallowed_at=None))
        return request_id

    def answer(
        self,
        run_id: str,
        request_id: str,
        *,
        type: str | None = None,  # noqa: A002 - the API's name for it
        feedback: str | None = None,
        is_approved: bool | None = None,
        params: Json = None,
    ) -> None:
        """Answers a pending request, which resolves it and lets a paused run go on.

        `type` defaults to the request's own. A stuck run takes the answer and still waits.

        Raises:
            Refusal: the run is unknown (404), or there is no such pending request of that type, or the run
                is not open (the status for that is assumed, see `Knobs.wrong_input_status`).
        """
        run = self._run(run_id)
        ask = next((ask for ask in run.pending if ask.id == request_id), None)
        if ask is None or run.base not in OPEN or type not in (None, ask.type):
            raise Refusal(self.options.wrong_input_status, {"request_id": "is not pending"})
        self.answers.append(
            Answer(
                run_id=run_id,
                request_id=request_id,
                type=ask.type,
                feedback=feedback or "",
                is_approved=is_approved,
                params=params,
                at=self._clock(),
            )
        )
        if run.stuck:
            return
        if self.options.seen_once_more:
            self._lingering |= {("list", run_id): (ask,), ("get", run_id): (ask,)}
        pending = tuple(other for other in run.pending if other is not ask)
        self._keep(replace(run, base="started", pending=pending, answered=run.answered | {request_id}))

    def send_input(self, run_id: str, body: InputBody) -> None:
        """Serves `POST /v1/runs/{id}/input`: as `answer`."""
        self.answer(
            run_id,
            body.request_id,
            type=body.type,
            feedback=body.feedback,
            is_approved=body.is_approved,
            params=body.params,
        )

    def pause(self, run_id: str) -> None:
        """Parks an open run; its requests stay pending."""
        self._keep(replace(self._run(run_id), base="paused"))

    def cancel(self, run_id: str) -> str:
        """Cancels a run; does nothing to a finished one. Returns the API's message."""
        self._end(run_id, "canceled")
        return "canceled"

    def fail(self, run_id: str) -> None:
        """Ends a run as failed; does nothing to a finished one."""
        self._end(run_id, "failed")

    def complete(self, run_id: str, output: Json = None) -> None:
        """Ends a run as completed; does nothing to a finished one."""
        self._end(run_id, "completed", {} if output is None else output)

    def delete(self, run_id: str) -> None:
        """Makes a run unknown, as if it never was."""
        self._run(run_id)
        del self._runs[run_id]

    def hide(self, run_id: str) -> None:
        """Lets a run await input without showing what it asks."""
        self._keep(replace(self._run(run_id), hidden=True))

    def reveal(self, run_id: str) -> None:
        """Shows a hidden run's questions again; without any it no longer awaits input."""
        self._keep(replace(self._run(run_id), hidden=False))

    def make_stuck(self, run_id: str) -> None:
        """Lets a run wait forever: answers are accepted and go nowhere."""
        self._keep(replace(self._run(run_id), stuck=True))

    def override(self, run_id: str, fields: Mapping[str, Json]) -> None:
        """Replaces or adds fields of a run's JSON, however wrong; filters still see the real ones."""
        self._keep(replace(self._run(run_id), override=dict(fields)))

    def inject(self, item: Json) -> None:
        """Puts any JSON value before the runs of every list, whatever the filters."""
        self._injected.append(item)

    def shift_next_page(self, insert: Count = 0, remove: Count = 0) -> None:
        """Moves runs across pages once, right after a page that others follow has been read.

        `insert` new runs ask something, and the first `remove` awaiting runs of the page read are answered.
        """
        self._shift = (insert, remove)

    def rotate_keys(self, keys: Iterable[str] | None, foreign: Iterable[str] = ()) -> None:
        """Replaces the accepted keys (None: public) and the valid keys of other projects."""
        self.keys = None if keys is None else frozenset(keys)
        self.foreign_keys = frozenset(foreign)

    def delete_app(self) -> None:
        """Makes the whole app unknown: every call is a 404."""
        self.deleted = True

    def restore_app(self) -> None:
        """Brings a deleted app back as it was."""
        self.deleted = False

    def authorize(self, header: str | None) -> None:
        """Checks an Authorization header.

        Raises:
            Refusal: 404 for a deleted app, 401 for no or an unknown key, 403 for another project's key or a
                personal access token.
        """
        if self.deleted:
            raise Refusal(404)
        if self.keys is None:
            return
        scheme, _, key = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Refusal(401)
        if key in self.foreign_keys or key.startswith(_PERSONAL_TOKENS):
            raise Refusal(403)
        if key not in self.keys:
            raise Refusal(401)

    def get_run(self, run_id: str) -> dict[str, Json]:
        """Serves `GET /v1/runs/{id}`.

        Raises:
            Refusal: 404 for an unknown run.
        """
        self._let_time_pass()
        run = self._run(run_id)
        return {"data": render(run, self._visible(run, "get"), self.options, "get")}

    def list_runs(self, query: ListQuery) -> dict[str, Json]:
        """Serves `GET /v1/runs`.

        Raises:
            Refusal: 404 for a page past the end, if the options say so (assumed: an empty page).
        """
        self._let_time_pass()
        seen = (Row(run, self._visible(run, "list")) for run in self._runs.values())
        entries = [*self._injected, *select(seen, query, self.options)]
        total = len(entries)
        pages = -(-total // query.page_size) or self.options.empty_page_count
        if query.page > max(pages, 1) and self.options.past_the_end == "not_found":
            raise Refusal(404)
        first = (query.page - 1) * query.page_size
        page = entries[first : first + query.page_size]
        if self._shift and query.page < pages:
            self._shift_after(entry for entry in page if isinstance(entry, Row))
        return {
            "data": [
                render(*entry, self.options, "list") if isinstance(entry, Row) else entry for entry in page
            ],
            "pagination": {
                "page": query.page,
                "page_size": query.page_size,
                "page_count": pages,
                "total_count": total,
            },
        }

    def _run(self, run_id: str) -> SimulatedRun:
        if run_id not in self._runs:
            raise Refusal(404)
        return self._runs[run_id]

    def _keep(self, run: SimulatedRun) -> None:
        self._runs[run.id] = run

    def _end(self, run_id: str, base: Base, output: Json = None) -> None:
        run = self._run(run_id)
        if run.base not in TERMINAL:
            ended = replace(run, base=base, ended_at=self._clock(), output=output)
            self._keep(replace(ended, pending=(), hidden=False))

    def _request_id(self, run_id: str, node: str) -> str:
        """Hashes run and node, as the vendor's notes say; fresh ids (assumed) count the questions too."""
        name = f"{run_id}:{node}"
        if self.options.request_ids == "fresh":
            self._asked[name] = self._asked.get(name, 0) + 1
            name = f"{name}:{self._asked[name]}"
        return str(uuid.uuid5(_REQUEST_IDS, name))

    def _visible(self, run: SimulatedRun, view: View) -> tuple[Ask, ...]:
        return run.pending + self._lingering.pop((view, run.id), ())

    def _let_time_pass(self) -> None:
        """Ends the time in memory of runs that wait, or believe to wait, for longer than the window."""
        window = self.options.input_window
        if window is None:
            return
        overdue = self._clock() - window
        for run in list(self._runs.values()):
            since = min((ask.asked_at for ask in run.pending), default=run.swallowed_at)
            if run.base != "started" or run.stuck or since is None or since > overdue:
                continue
            if self.options.after_window == "fail":
                self.fail(run.id)
            else:
                self.pause(run.id)

    def _shift_after(self, page: Iterable[Row]) -> None:
        insert, remove = self._shift or (0, 0)
        self._shift = None
        for run, asks in islice((row for row in page if row.asks), remove):
            for ask in asks:
                self.answer(run.id, ask.id)
        for _ in range(insert):
            self.ask(self.start_run(), prompt="Approve what came in between two pages?")
