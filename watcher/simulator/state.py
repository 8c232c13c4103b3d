"""One simulated app: its runs, their requests, and the responses of its API.

Nothing here waits, draws random numbers or reads a clock of its own: the same calls give the same results.
"""

import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import count, islice
from typing import Final

from watcher.simulator.faults import Faults
from watcher.simulator.listing import Row, paginate, select
from watcher.simulator.options import Count, Json, Moment, Options, Refusal
from watcher.simulator.parsing import ListQuery
from watcher.simulator.runs import OPEN, Answer, Ask, Base, SimulatedRun, View, ended, is_overdue, render
from watcher.simulator.runs import request_id as request_id_of

_ANSWERS_KEPT: Final = 1000
_PERSONAL_TOKENS: Final = ("dyn_pat_", "uak_")


class Simulation:
    """One simulated app; most of its methods are control verbs (see `catalog.VERBS`).

    `clock` returns Unix seconds, `ids` returns run ids. `keys` are the accepted access keys; None makes the
    app public. A method that is given an unknown run raises `Refusal` with 404.
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
        """Forgets every run and fault, and returns to the first options and keys."""
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
        self._asked: Counter[tuple[str, str]] = Counter()
        self._shift: tuple[int, int] | None = None

    def sibling(self) -> "Simulation":
        """Returns an empty app with the same clock, ids, and first options and keys."""
        return Simulation(self._clock, self._first_options, self._first_keys, ids=self._ids)

    @property
    def runs(self) -> tuple[SimulatedRun, ...]:
        """Every run that was not deleted, in the order of their starts."""
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
        """Lets a node of a run ask a person, and returns the request's id.

        A pending request with the same id is replaced, as if it had been answered and the node had asked
        again between two reads. Any run becomes started, even a finished one: no such case is known, but a
        reader should survive it.
        """
        run = self._run(run_id)
        now = self._clock()
        self._asked[run_id, node] += 1
        asked = self._asked[run_id, node] if self.options.request_ids == "fresh" else None
        request_id = request_id_of(run_id, node, asked)
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
        """Answers a pending request, which resolves it and resumes a paused run.

        `type` defaults to the request's own. A stuck run accepts the answer and keeps waiting.

        Raises:
            Refusal: the run is unknown (404), or it is not open or has no such pending request of that type
                (the status for that is assumed, see `Options.wrong_input_status`).
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

    def pause(self, run_id: str) -> None:
        """Pauses an open run; its requests stay pending."""
        self._keep(replace(self._run(run_id), base="paused"))

    def cancel(self, run_id: str) -> str:
        """Cancels a run unless it is finished, and returns the API's message."""
        self._keep(ended(self._run(run_id), "canceled", self._clock()))
        return "canceled"

    def fail(self, run_id: str) -> None:
        """Ends a run as failed unless it is finished."""
        self._keep(ended(self._run(run_id), "failed", self._clock()))

    def complete(self, run_id: str, output: Json = None) -> None:
        """Ends a run as completed unless it is finished."""
        self._keep(ended(self._run(run_id), "completed", self._clock(), {} if output is None else output))

    def delete(self, run_id: str) -> None:
        """Makes a run unknown, as if it had never existed."""
        self._run(run_id)
        del self._runs[run_id]

    def hide(self, run_id: str) -> None:
        """Lets a run await input without showing its question."""
        self._keep(replace(self._run(run_id), hidden=True))

    def reveal(self, run_id: str) -> None:
        """Shows a hidden run's requests again; without any the run no longer awaits input."""
        self._keep(replace(self._run(run_id), hidden=False))

    def make_stuck(self, run_id: str) -> None:
        """Lets a run wait forever: answers are accepted and have no effect."""
        self._keep(replace(self._run(run_id), stuck=True))

    def override(self, run_id: str, fields: Mapping[str, Json]) -> None:
        """Replaces or adds fields of a run's JSON, however wrong; filters still use the real ones."""
        self._keep(replace(self._run(run_id), override=dict(fields)))

    def inject(self, item: Json) -> None:
        """Puts any JSON value before the runs of every list, whatever the filters."""
        self._injected.append(item)

    def shift_next_page(self, insert: Count = 0, remove: Count = 0) -> None:
        """Moves runs across pages once, right after a page that is not the last has been read.

        `insert` new runs ask something, and the first `remove` waiting runs of that page are answered.
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
        """Checks an Authorization header against the keys of the app's project and of other projects.

        Raises:
            Refusal: 404 for a deleted app, 403 for another project's key or a personal access token, 401
                without a known key.
        """
        if self.deleted:
            raise Refusal(404)
        if self.keys is None:
            return
        scheme, _, key = (header or "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        if is_bearer and (key in self.foreign_keys or key.startswith(_PERSONAL_TOKENS)):
            raise Refusal(403)
        if not is_bearer or key not in self.keys:
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
        page, pagination = paginate(entries, query, self.options)
        if self._shift and query.page < pagination["page_count"]:
            self._shift_after(entry for entry in page if isinstance(entry, Row))
        data = [render(*entry, self.options, "list") if isinstance(entry, Row) else entry for entry in page]
        return {"data": data, "pagination": pagination}

    def _run(self, run_id: str) -> SimulatedRun:
        if run_id not in self._runs:
            raise Refusal(404)
        return self._runs[run_id]

    def _keep(self, run: SimulatedRun) -> None:
        self._runs[run.id] = run

    def _visible(self, run: SimulatedRun, view: View) -> tuple[Ask, ...]:
        return run.pending + self._lingering.pop((view, run.id), ())

    def _let_time_pass(self) -> None:
        """Pauses or fails the runs that have waited for longer than the input window."""
        window = self.options.input_window
        if window is None:
            return
        for run in [run for run in self._runs.values() if is_overdue(run, self._clock() - window)]:
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
            self.ask(self.start_run(), prompt="Approve what arrived between two pages?")
