"""The Runs API simulator does what the API's documentation says, and what its knobs and faults say."""

import ast
import asyncio
import json
import signal
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from watcher import simulator
from watcher.simulator import (
    SCENARIOS,
    Fault,
    Knobs,
    Refusal,
    Served,
    Simulation,
    SimulatorServer,
    numbered_ids,
    play,
    run,
    serve,
)
from watcher.simulator.parsing import InputBody, ListQuery, parse_input, parse_query
from watcher.simulator.record import Record

pytestmark = pytest.mark.anyio

STARTED = 1781082921.123456
"""2026-06-10T09:15:21Z and a bit."""
KEY = "dynamiq_acc_test"
BEARER = {"Authorization": f"Bearer {KEY}"}
RUN_1 = "00000000-0000-0000-0000-000000000001"
WAITING = ListQuery(statuses=frozenset({"awaiting_input"}))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = STARTED

    def __call__(self) -> float:
        """Returns the time that was set."""
        return self.now


def simulation(knobs: Knobs | None = None, keys: frozenset[str] | None = None) -> Simulation:
    """Returns an app whose time stands still and whose run ids count up."""
    return Simulation(Clock(), knobs, keys, ids=numbered_ids())


def listed(app: Simulation, query: ListQuery = WAITING) -> list[str]:
    """Returns the ids of the runs that a query finds."""
    return [item["id"] for item in app.list_runs(query)["data"]]


def shown(app: Simulation, run_id: str) -> list[Any]:
    """Returns the requests that a run shows."""
    found: list[Any] = app.get_run(run_id)["data"].get("input_requests", [])
    return found


@asynccontextmanager
async def served(
    *apps: Simulation, headers: dict[str, str] | None = None
) -> AsyncIterator[tuple[SimulatorServer, httpx.AsyncClient]]:
    """Serves the first app as `default` and a second as `support`, with a client for them."""
    names = dict(zip(("default", "support"), apps, strict=False))
    async with (
        serve(names) as server,
        httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False) as client,
    ):
        yield server, client


def test_a_waiting_run_looks_as_documented() -> None:
    """A run that asks is awaiting input, shows its request in the detail only, and omits what it lacks."""
    app = simulation()
    run_id = app.start_run({"ticket": 1}, user_id="customer-7421", session_id="s")
    request_id = app.ask(run_id, prompt="Approve?", params={"amount": 620}, editable_params=["amount"])

    common = {
        "id": run_id,
        "status": "awaiting_input",
        "started_at": "2026-06-10T09:15:21Z",
        "input": {"ticket": 1},
        "user_id": "customer-7421",
        "session_id": "s",
    }
    assert {
        "data": [common],
        "pagination": {"page": 1, "page_size": 25, "page_count": 1, "total_count": 1},
    } == app.list_runs(ListQuery())
    request = {
        "id": request_id,
        "type": "approval_request",
        "prompt": "Approve?",
        "params": {"amount": 620},
        "editable_params": ["amount"],
    }
    assert {"data": {**common, "input_requests": [request]}} == app.get_run(run_id)


@pytest.mark.parametrize(
    ("end", "status"), [("complete", "completed"), ("fail", "failed"), ("cancel", "canceled")]
)
def test_a_finished_run_awaits_nothing_and_stays_finished(end: str, status: str) -> None:
    """Ending a run takes it out of the awaiting view, and a later end changes nothing."""
    app = simulation()
    app.ask(app.start_run())
    getattr(app, end)(RUN_1)
    app.cancel(RUN_1)
    app.fail(RUN_1)

    detail = app.get_run(RUN_1)["data"]
    assert listed(app) == []
    assert (status, "2026-06-10T09:15:21Z") == (detail["status"], detail["ended_at"])
    assert "input_requests" not in detail


def test_an_answer_resolves_one_request_and_resumes_a_paused_run() -> None:
    """Of two requests only the answered one goes; the run goes on and still waits for the other."""
    app = simulation()
    run_id = app.start_run()
    first, second = app.ask(run_id, "one"), app.ask(run_id, "two")
    app.pause(run_id)
    app.answer(run_id, first, feedback="fine")

    assert [second] == [request["id"] for request in shown(app, run_id)]
    assert app.runs[0].base == "started"
    assert [(first, "fine")] == [(answer.request_id, answer.feedback) for answer in app.answers]


def test_stable_ids_are_reused_and_fresh_ones_are_not() -> None:
    """A node's second question has its first one's id where ids are stable, and one of its own where not."""
    for knobs, same in ((Knobs(), True), (Knobs(request_ids="fresh"), False)):
        app = simulation(knobs)
        run_id = app.start_run()
        first = app.ask(run_id, prompt="One?")
        app.answer(run_id, first)
        second = app.ask(run_id, prompt="Two?")
        assert same == (first == second)
        assert [request["prompt"] for request in shown(app, run_id)] == ["Two?"]


def test_asking_again_while_pending_replaces_the_question() -> None:
    """Answered and asked again between two reads looks like one request whose content has changed."""
    app = simulation()
    run_id = app.start_run()
    request_id = app.ask(run_id, prompt="One?")
    app.ask(run_id, prompt="Two?")

    assert [(request_id, "Two?")] == [(request["id"], request["prompt"]) for request in shown(app, run_id)]


def test_a_swallowed_second_question_never_shows_and_ends_paused() -> None:
    """With the knob on, a question whose id was answered never shows, and later the run is parked."""
    clock = Clock()
    app = Simulation(clock, Knobs(swallow_second_ask=True), ids=numbered_ids())
    run_id = app.start_run()
    app.answer(run_id, app.ask(run_id))
    app.ask(run_id, prompt="Swallowed?")

    assert (listed(app), app.get_run(run_id)["data"]["status"]) == ([], "started")
    clock.now += 600
    assert (listed(app), app.get_run(run_id)["data"]["status"]) == ([], "paused")


@pytest.mark.parametrize(("after", "status"), [("pause", "awaiting_input"), ("fail", "failed")])
def test_a_question_outlives_the_window_or_the_run_fails(after: Any, status: str) -> None:
    """Past the time in memory a run is parked and still shown as awaiting, or fails, as the knob says."""
    clock = Clock()
    app = Simulation(clock, Knobs(after_window=after))
    run_id = app.start_run()
    app.ask(run_id)

    clock.now += 599
    assert app.runs[0].base == "started"
    clock.now += 1
    assert status == app.get_run(run_id)["data"]["status"]
    assert app.runs[0].base != "started"


def test_without_a_window_a_run_waits_in_memory_forever() -> None:
    """With no input window a run is never parked."""
    clock = Clock()
    app = Simulation(clock, Knobs(input_window=None))
    app.ask(app.start_run())
    clock.now += 1_000_000

    assert app.runs[0].base == "started"


def test_an_answered_request_may_show_once_more() -> None:
    """With the knob on, one list and one reading of the run still show what was just answered."""
    app = simulation(Knobs(seen_once_more=True))
    run_id = app.start_run()
    app.answer(run_id, app.ask(run_id))

    assert [[run_id], []] == [listed(app), listed(app)]
    assert [len(shown(app, run_id)), len(shown(app, run_id))] == [1, 0]


def test_a_finished_run_does_not_show_its_answered_request_once_more() -> None:
    """The knob is about open runs: one that completed right after the answer awaits nothing."""
    app = simulation(Knobs(seen_once_more=True))
    run_id = app.start_run()
    app.answer(run_id, app.ask(run_id))
    app.complete(run_id)

    assert listed(app) == []
    assert app.get_run(run_id)["data"]["status"] == "completed"


def test_a_hidden_question_awaits_without_requests() -> None:
    """A hidden run is listed as awaiting; its requests are absent, null or empty until it is revealed."""
    app = simulation()
    run_id = app.start_run()
    app.ask(run_id)
    app.hide(run_id)
    missing = object()
    found = []
    for blank in ("absent", "null", "empty"):
        app.knobs = Knobs(hidden_requests=blank)
        found.append(app.get_run(run_id)["data"].get("input_requests", missing))

    assert [run_id] == listed(app)
    assert [missing, None, []] == found
    app.reveal(run_id)
    assert len(shown(app, run_id)) == 1


def test_a_zombie_takes_answers_and_waits_on() -> None:
    """A zombie's request stays pending after an answer and never leaves memory."""
    clock = Clock()
    app = Simulation(clock)
    run_id = app.start_run()
    request_id = app.ask(run_id)
    app.make_zombie(run_id)
    app.answer(run_id, request_id)
    clock.now += 100_000

    assert [run_id] == listed(app)
    assert (len(app.answers), app.runs[0].base) == (1, "started")


@pytest.mark.parametrize("status", [400, 404, 409])
def test_wrong_inputs_are_refused(status: Any) -> None:
    """A wrong request id, a wrong type, a second answer and a finished run get the status of the knob."""
    app = simulation(Knobs(wrong_input_status=status))
    run_id = app.start_run()
    request_id = app.ask(run_id)
    found = []

    def refused(request_id: str, **rest: Any) -> None:
        with pytest.raises(Refusal) as caught:
            app.answer(run_id, request_id, **rest)
        found.append(caught.value.status)

    refused("unknown")
    refused(request_id, type="human_feedback")
    app.answer(run_id, request_id)
    refused(request_id)
    app.ask(run_id)
    app.cancel(run_id)
    refused(request_id)
    assert [status] * 4 == found


def test_a_deleted_run_is_unknown_to_every_verb() -> None:
    """After it was deleted a run is neither listed nor read nor answered."""
    app = simulation()
    run_id = app.start_run()
    request_id = app.ask(run_id)
    app.delete(run_id)

    assert listed(app) == []
    for verb in (
        lambda: app.get_run(run_id),
        lambda: app.answer(run_id, request_id),
        lambda: app.cancel(run_id),
    ):
        with pytest.raises(Refusal, match="404"):
            verb()


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        (Knobs(), {}),
        (Knobs(list_requests="null"), {"input_requests": None}),
        (Knobs(list_requests="empty"), {"input_requests": []}),
        (Knobs(unfinished="null"), {"ended_at": None, "output": None}),
        (Knobs(time_format="milliseconds"), {"started_at": "2026-06-10T09:15:21.123Z"}),
        (Knobs(time_format="microseconds"), {"started_at": "2026-06-10T09:15:21.123456Z"}),
        (Knobs(time_format="nanoseconds"), {"started_at": "2026-06-10T09:15:21.123456000Z"}),
        (Knobs(time_format="offset"), {"started_at": "2026-06-10T09:15:21+00:00"}),
    ],
)
def test_knobs_change_how_list_items_look(knobs: Knobs, expected: dict[str, Any]) -> None:
    """Each knob of the shape changes its own fields of a list item and no other."""
    app = simulation(knobs)
    app.ask(app.start_run())
    plain = {"id": RUN_1, "status": "awaiting_input", "started_at": "2026-06-10T09:15:21Z"}

    assert [plain | expected] == app.list_runs(ListQuery())["data"]


def test_list_items_may_carry_the_requests() -> None:
    """With `list_requests="present"` a list item shows what the run itself shows."""
    app = simulation(Knobs(list_requests="present"))
    app.ask(app.start_run(), extra={"questions": [{"question": "Which?"}]})

    assert app.get_run(RUN_1)["data"] == app.list_runs(ListQuery())["data"][0]
    assert shown(app, RUN_1)[0]["questions"] == [{"question": "Which?"}]


@pytest.mark.parametrize(
    ("blank", "expected"),
    [
        ("absent", {}),
        ("null", {"params": None, "editable_params": None}),
        ("empty", {"params": {}, "editable_params": []}),
    ],
)
def test_a_request_without_parameters(blank: Any, expected: dict[str, Any]) -> None:
    """Missing parameters are absent, null or empty, as the knob says."""
    app = simulation(Knobs(no_params=blank))
    request_id = app.ask(app.start_run(), type="human_feedback", prompt="Which?")

    assert [{"id": request_id, "type": "human_feedback", "prompt": "Which?"} | expected] == shown(app, RUN_1)


def test_an_unknown_choice_of_a_knob_is_an_error() -> None:
    """A misspelled knob value is refused instead of being without effect, and so is a misspelled fault."""
    with pytest.raises(ValueError, match="list_requests: 'presnt' is not one of absent, present"):
        Knobs(list_requests="presnt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind: 'rest' is not one of status"):
        Fault(kind="rest")  # type: ignore[arg-type]


def test_filters_and_sorting() -> None:
    """Statuses are OR-ed, user and session narrow, the newest comes first unless the sort says otherwise."""
    app = simulation()
    session = "3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d"
    old = app.start_run(user_id="ada", started_at=100.0)
    new = app.start_run(user_id="bob", session_id=session, started_at=200.0)
    waiting = app.start_run(user_id="ada", started_at=150.0)
    oldest = app.start_run(started_at=50.0)
    app.ask(waiting)
    app.complete(old)

    def found(text: str) -> list[str]:
        pairs = [(name, value) for name, _, value in (part.partition("=") for part in text.split("&"))]
        return listed(app, parse_query(pairs, app.knobs))

    assert listed(app, ListQuery()) == [new, waiting, old, oldest]
    assert found("status=awaiting_input") == [waiting]
    assert found("status=awaiting_input&status=completed") == [waiting, old]
    assert found("status=started") == [new, waiting, oldest]
    assert found("user_id=ada") == [waiting, old]
    assert found(f"session_id={session}") == [new]
    assert found("sort=started_at") == [oldest, old, waiting, new]
    assert found("sort=-status,started_at") == [oldest, new, old, waiting]
    assert found("sort=ended_at,-started_at") == [old, new, waiting, oldest]
    app.knobs = Knobs(awaiting_matches_base=False)
    assert found("status=started") == [new, oldest]


def test_equal_times_keep_the_order_of_starting() -> None:
    """Runs started at the same instant are listed by their start, in the direction of the sort."""
    app = simulation()
    ids = [app.start_run() for _ in range(3)]

    assert ids[::-1] == listed(app, ListQuery())
    assert ids == listed(app, ListQuery(sort=(("started_at", False),)))


@pytest.mark.parametrize(
    ("total", "counts"), [(0, [0]), (1, [1]), (3, [3]), (4, [3, 1]), (7, [3, 3, 1]), (9, [3, 3, 3])]
)
def test_pages_hold_every_run_once(total: int, counts: list[int]) -> None:
    """Pages are full but for the last one, hold each run once, and the numbers agree with them."""
    app = simulation()
    ids = {app.start_run() for _ in range(total)}
    pages = [app.list_runs(ListQuery(page=number, page_size=3)) for number in range(1, len(counts) + 1)]
    past = app.list_runs(ListQuery(page=len(counts) + 1, page_size=3))

    assert counts == [len(page["data"]) for page in pages]
    assert ids == {item["id"] for page in pages for item in page["data"]}
    assert {(3, -(-total // 3), total)} == {
        (page["pagination"]["page_size"], page["pagination"]["page_count"], page["pagination"]["total_count"])
        for page in (*pages, past)
    }
    assert past["data"] == []


def test_knobs_of_paging() -> None:
    """An empty list may count one page, and a page past the end may be unknown."""
    app = simulation(Knobs(empty_page_count=1, past_the_end="not_found"))

    assert app.list_runs(ListQuery())["pagination"]["page_count"] == 1
    with pytest.raises(Refusal, match="404"):
        app.list_runs(ListQuery(page=2))


@pytest.mark.parametrize(
    "pair",
    [
        ("page", "0"),
        ("page", "-1"),
        ("page", "x"),
        ("page", ""),
        ("page_size", "0"),
        ("page_size", "501"),
        ("status", "bogus"),
        ("status", "awaiting_input,failed"),
        ("session_id", "bogus"),
        ("sort", "prompt"),
        ("sort", ""),
    ],
)
def test_wrong_parameters(pair: tuple[str, str]) -> None:
    """A wrong parameter is refused by name, ignored, or finds nothing, as the knob says."""
    app = simulation()
    app.start_run()
    with pytest.raises(Refusal) as caught:
        parse_query([pair], Knobs())

    assert (400, {pair[0]}) == (caught.value.status, set(caught.value.details or {}))
    assert listed(app, parse_query([pair], Knobs(wrong_params="ignore", over_limit="clamp"))) == [RUN_1]
    empty = Knobs(wrong_params="empty")
    assert listed(app, parse_query([("status", "bogus")], empty)) == []
    assert listed(app, parse_query([("status", "started")], empty)) == [RUN_1]


def test_page_sizes() -> None:
    """The page size is 25 unless given, at most 500, and clamped to that if the knob says so."""
    sizes = [
        parse_query(pairs, Knobs(over_limit="clamp")).page_size
        for pairs in ([], [("page_size", "500")], [("page_size", "501")])
    ]
    assert sizes == [25, 500, 500]


def test_runs_shift_between_two_pages_once() -> None:
    """An insertion pushes a run onto the next page again, a removal pulls one past the reader."""
    app = simulation()
    ids = [app.start_run() for _ in range(4)][::-1]
    for run_id in ids:
        app.ask(run_id)

    def sweep() -> list[str]:
        return [run_id for page in (1, 2, 3) for run_id in listed(app, ListQuery(page=page, page_size=2))]

    app.shift_next_page(insert=1)
    assert listed(app, ListQuery(page_size=4)) == ids
    assert [ids[0], ids[1], ids[1], ids[2], ids[3]] == sweep()
    newest = listed(app)[0]
    app.shift_next_page(remove=1)
    waiting_pages = [
        listed(app, ListQuery(statuses=WAITING.statuses, page=page, page_size=2)) for page in (1, 2)
    ]
    assert [[newest, ids[0]], [ids[2], ids[3]]] == waiting_pages
    assert [ids[0], ids[1], ids[2], ids[3]] == listed(app)


def test_malformed_items_and_fields_are_passed_on() -> None:
    """Injected values head every list as they are, and overridden fields replace a run's own."""
    app = simulation()
    run_id = app.start_run()
    app.ask(run_id)
    app.inject(None)
    app.inject({"id": 7})
    app.override(run_id, {"status": "exploded", "more": [1]})

    items = app.list_runs(WAITING)["data"]
    assert items[:2] == [None, {"id": 7}]
    assert (items[2]["status"], items[2]["more"]) == ("exploded", [1])
    assert app.list_runs(WAITING)["pagination"]["total_count"] == 3


def test_authorization() -> None:
    """Missing and unknown keys are 401, other projects' keys and personal tokens 403, a deleted app 404."""
    app = simulation(keys=frozenset({KEY}))
    app.rotate_keys([KEY], foreign=["dynamiq_acc_other"])

    def status(header: str | None) -> int:
        try:
            app.authorize(header)
        except Refusal as refusal:
            return refusal.status
        return 200

    headers = (None, KEY, f"Basic {KEY}", "Bearer wrong", "Bearer dynamiq_acc_other", "Bearer dyn_pat_x")
    assert [status(header) for header in headers] == [401, 401, 401, 401, 403, 403]
    assert [status(f"Bearer {KEY}"), status(f"bearer {KEY}")] == [200, 200]
    app.rotate_keys(["new"])
    assert status(f"Bearer {KEY}") == 401
    app.rotate_keys(None)
    assert status(None) == 200
    app.delete_app()
    assert status(None) == 404
    app.restore_app()
    assert status(None) == 200


def test_reset_returns_to_the_beginning() -> None:
    """After a reset no run, fault, injected item, knob or key of the past is left."""
    app = simulation(Knobs(default_page_size=7), frozenset({KEY}))
    app.ask(app.start_run())
    app.inject(1)
    app.knobs = Knobs()
    app.rotate_keys(None)
    app.delete_app()
    app.faults.add(Fault(kind="reset", times=None))
    app.reset()

    assert (7, frozenset({KEY}), False) == (app.knobs.default_page_size, app.keys, app.deleted)
    assert (listed(app, ListQuery()), app.faults.take("list", "1", None)) == ([], None)


def test_inputs_are_read_leniently_or_strictly() -> None:
    """An approval's decision is known by several names, or by one; types are checked in either case."""
    approval = {"type": "approval_request", "data": {"request_id": "r", "approved": True}}

    assert InputBody(
        type="approval_request", request_id="r", feedback=None, is_approved=True, params=None
    ) == parse_input(approval, Knobs())
    strict = Knobs(approval_body="strict")
    wrong = [
        approval,
        {**approval, "data": {"request_id": "r", "is_approved": "yes"}},
        {**approval, "data": {"request_id": 7, "is_approved": True}},
        {**approval, "data": {"request_id": "r", "feedback": None}},
        {**approval, "data": {"request_id": "r", "is_approved": True, "params": []}},
        {**approval, "data": None},
        {"data": {"request_id": "r", "is_approved": True}},
        [],
    ]
    for body in wrong:
        with pytest.raises(Refusal, match="400"):
            parse_input(body, strict)


def test_faults_hit_what_they_match_as_often_as_they_say() -> None:
    """Call, page and run narrow a fault; it is used up after its times, or never; the oldest goes first."""
    faults = simulation().faults
    second_page = Fault(kind="reset", match="list", page=2, times=2)
    one_run = Fault(kind="html", run_id="r", times=None)
    faults.add(second_page)
    faults.add(one_run)

    assert None is faults.take("list", "1", None)
    assert None is faults.take("get", "1", "other")
    hits = [faults.take("list", "2", None) for _ in range(3)]
    assert [hit and hit.kind for hit in hits] == ["reset", "reset", None]
    assert [one_run, one_run] == [faults.take("get", "1", "r"), faults.take("cancel", "1", "r")]
    faults.remove(one_run)
    faults.remove(second_page)
    assert None is faults.take("get", "1", "r")


async def test_the_api_over_http() -> None:
    """A client lists, reads, answers and cancels, with a key, as the documentation shows."""
    app = simulation(keys=frozenset({KEY}))
    run_id = app.start_run()
    request_id = app.ask(run_id, type="human_feedback", prompt="Which?")
    async with served(app, headers=BEARER) as (_, client):
        listing = await client.get("/v1/runs", params={"status": ["failed", "awaiting_input"]})
        detail = await client.get(f"/v1/runs/{run_id}")
        body = {"type": "human_feedback", "data": {"request_id": request_id, "feedback": "That one."}}
        answer = await client.post(f"/v1/runs/{run_id}/input", json=body)
        again = await client.post(f"/v1/runs/{run_id}/input", json=body)
        cancel = await client.post(f"/v1/runs/{run_id}/cancel")

    assert [run_id] == [item["id"] for item in listing.json()["data"]]
    assert [request["prompt"] for request in detail.json()["data"]["input_requests"]] == ["Which?"]
    assert (answer.status_code, answer.json()) == (200, {"message": "ok"})
    assert (again.status_code, again.json()["error"]["details"]["request_id"]) == (400, "is not pending")
    assert (cancel.status_code, cancel.json()) == (200, {"message": "canceled"})
    assert [given.feedback for given in app.answers] == ["That one."]


async def test_errors_come_in_the_envelope() -> None:
    """Every refusal is JSON with a code of its own, unknown paths and methods too."""
    app = simulation(keys=frozenset({KEY}))
    run_id = app.start_run()
    async with served(app, headers=BEARER) as (_, client):
        responses = [
            await client.get("/v1/runs?page=x"),
            await client.get("/v1/runs", headers={"Authorization": "Bearer wrong"}),
            await client.get("/v1/runs", headers={"Authorization": "Bearer dyn_pat_x"}),
            await client.get("/v1/runs/unknown"),
            await client.get("/apps/unknown/v1/runs"),
            await client.get("/v2/nothing"),
            await client.put("/v1/runs"),
            await client.post(f"/v1/runs/{run_id}/input", data={"type": "form"}),
            await client.post(
                f"/v1/runs/{run_id}/input", content=b"{", headers={"Content-Type": "application/json"}
            ),
            await client.post(
                f"/v1/runs/{run_id}/input", content=b"\xff", headers={"Content-Type": "application/json"}
            ),
            await client.post(
                f"/v1/runs/{run_id}/input", content=b"[NaN]", headers={"Content-Type": "application/json"}
            ),
            await client.post(f"/v1/runs/{run_id}/input"),
        ]

    assert [(response.status_code, response.json()["error"]["code"]) for response in responses] == [
        (400, "bad_request"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not_found"),
        (404, "not_found"),
        (404, "not_found"),
        (405, "method_not_allowed"),
        (415, "unsupported_media_type"),
        (400, "bad_request"),
        (400, "bad_request"),
        (400, "bad_request"),
        (400, "bad_request"),
    ]
    assert responses[6].headers["Allow"] == "GET"


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("object", {"page": "must be a positive integer"}),
        ("text", "page must be a positive integer"),
        ("absent", None),
    ],
)
async def test_details_of_errors(form: Any, expected: Any) -> None:
    """An error's details are an object, a text, or not there, as the knob says."""
    async with served(simulation(Knobs(error_details=form))) as (_, client):
        error = (await client.get("/v1/runs?page=x")).json()["error"]

    assert expected == error.get("details")


async def test_several_apps_share_a_server() -> None:
    """Each app has its own runs and keys under its own path; the first is also found without one."""
    first, second = simulation(), simulation(keys=frozenset({KEY}))
    first.start_run(run_id="a")
    second.start_run(run_id="b")
    async with served(first, second, headers=BEARER) as (server, client):
        urls = ("/v1/runs", f"{server.app_url('default')}/v1/runs", f"{server.app_url('support')}/v1/runs")
        found = [[item["id"] for item in (await client.get(url)).json()["data"]] for url in urls]

        assert found == [["a"], ["a"], ["b"]]
        assert (server.finished(), server.finished(app="support")) == (2, 1)


async def test_requests_are_recorded_and_waited_for() -> None:
    """A test waits for a call without sleeping, sees what was sent, and gets an error if none comes."""
    async with served(simulation()) as (server, client):
        waiting = asyncio.create_task(server.wait_for_calls(2))
        await client.get("/v1/runs?status=failed&status=paused", headers={"X-Mark": "1"})
        assert not waiting.done()
        await client.get("/v1/runs?page=x")
        await waiting

        first, second = server.requests
        assert (
            first.number,
            first.call,
            first.method,
            first.path,
            first.status,
        ) == (1, "list", "GET", "/v1/runs", 200)
        assert first.query == (("status", "failed"), ("status", "paused"))
        assert (first.headers["x-mark"], second.status) == ("1", 400)
        assert first.monotonic <= second.monotonic
        with pytest.raises(TimeoutError):
            await server.wait_for_calls(3, within=0.01)


def test_the_record_is_bounded_and_counts_on() -> None:
    """Only the last 10,000 requests are kept; one that was forgotten meanwhile still counts as finished."""
    record = Record()
    served = Served(
        number=0,
        app="default",
        call="list",
        method="GET",
        path="/v1/runs",
        query=(),
        headers={},
        at=0.0,
        monotonic=0.0,
    )
    numbers = [record.begin(served) for _ in range(10_001)]
    record.finish(numbers[0], "default", "list", 200)
    record.finish(numbers[-1], "default", "list", 200)

    assert [request.number for request in record.requests] == numbers[1:]
    assert record.finished("default", "list") == 2


async def test_a_request_is_recorded_before_it_is_answered() -> None:
    """A call that hangs can be waited for; it is finished, without a status, when the caller gives up."""
    app = simulation()
    app.faults.add(Fault(kind="delay", seconds=3600))
    async with served(app) as (server, client):
        call = asyncio.create_task(client.get("/v1/runs"))
        await server.wait_for(lambda: len(server.requests) == 1)
        assert (server.requests[0].status, server.requests[0].finished) == (None, False)
        call.cancel()
        await server.wait_for_calls(1)
        assert None is server.requests[0].status


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(kind="status"), (500, "application/json", "internal_server_error")),
        (Fault(kind="status", status=429, retry_after=3), (429, "application/json", "too_many_requests")),
        (Fault(kind="status", status=503, body="<h1>busy</h1>"), (503, "text/html", "<h1>busy</h1>")),
        (Fault(kind="status", status=400, body={"x": 1}), (400, "application/json", '{"x": 1}')),
        (Fault(kind="shape", body={"data": None}), (200, "application/json", '{"data": null}')),
        (Fault(kind="shape", body=[]), (200, "application/json", "[]")),
        (Fault(kind="shape"), (200, "application/json", "null")),
        (Fault(kind="html"), (502, "text/html", "502 from a gateway")),
        (Fault(kind="echo_secret"), (401, "application/json", f"Bearer {KEY} is not a valid key")),
        (Fault(kind="delay", seconds=0.001), (200, "application/json", '"total_count": 1')),
        (Fault(kind="drip", seconds=0), (200, "application/json", '"total_count": 1')),
        (Fault(kind="oversize", size=200_000), (200, "application/json", "x" * 200_000 + '"}')),
    ],
)
async def test_faults_that_answer(fault: Fault, expected: tuple[int, str, str]) -> None:
    """Each fault answers with its own status, type and text, and the next call is answered rightly."""
    app = simulation()
    app.start_run()
    app.faults.add(fault)
    async with served(app, headers=BEARER) as (_, client):
        response = await client.get("/v1/runs")
        right = await client.get("/v1/runs")

    kind = response.headers["Content-Type"].partition(";")[0]
    assert expected[:2] == (response.status_code, kind)
    assert expected[2] in response.text
    assert [item["id"] for item in right.json()["data"]] == [RUN_1]


async def test_an_oversize_answer_is_still_json() -> None:
    """The padding is one more field, so that only the size is wrong."""
    app = simulation()
    app.faults.add(Fault(kind="oversize", size=70_001))
    async with served(app) as (_, client):
        document = (await client.get("/v1/runs")).json()

    assert (document["data"], len(document["padding"])) == ([], 70_001)


async def test_retry_after_headers() -> None:
    """A fault asks for patience in seconds or as a date, and may carry any other header."""
    app = simulation()
    app.faults.add(Fault(kind="status", status=429, retry_after=2.5, headers={"X-Proxy": "edge"}))
    app.faults.add(Fault(kind="status", status=503, retry_after=86_400, retry_after_form="date"))
    async with served(app) as (server, client):
        seconds = await client.get("/v1/runs")
        date = await client.get("/v1/runs")
        asked_at = server.requests[1].at

    assert (seconds.headers["Retry-After"], seconds.headers["X-Proxy"]) == ("2.5", "edge")
    ahead = parsedate_to_datetime(date.headers["Retry-After"]).timestamp() - asked_at
    assert 86_398 < ahead <= 86_401


async def test_a_redirect_names_its_target_and_nothing_follows() -> None:
    """The target is the fault's, and a caller that stays away leaves no second request."""
    app = simulation()
    app.faults.add(Fault(kind="redirect", status=307, location="https://elsewhere.example/"))
    async with served(app) as (server, client):
        response = await client.get("/v1/runs")
        assert (response.status_code, response.headers["Location"]) == (307, "https://elsewhere.example/")
        assert len(server.requests) == 1


@pytest.mark.parametrize(("kind", "error"), [("reset", httpx.ReadError), ("cut", httpx.RemoteProtocolError)])
async def test_faults_that_break_the_connection(kind: Any, error: type[Exception]) -> None:
    """The caller sees a reset, or a body that ends too early; the record shows no status."""
    app = simulation()
    app.faults.add(Fault(kind=kind))
    async with served(app) as (server, client):
        with pytest.raises(error):
            await client.get("/v1/runs")
        await server.wait_for_calls(1)
        assert None is server.requests[0].status
        assert (await client.get("/v1/runs")).status_code == 200


async def test_truncated_json_ends_in_the_middle() -> None:
    """The answer is whole to HTTP, but not to JSON."""
    app = simulation()
    app.faults.add(Fault(kind="truncated"))
    async with served(app) as (_, client):
        response = await client.get("/v1/runs")

    assert (response.status_code, response.text[:25]) == (200, '{"data": [], "pagination"')
    with pytest.raises(json.JSONDecodeError):
        response.json()


async def test_gzip_comes_unasked_and_inflates() -> None:
    """The body is compressed though the caller refused that, and much larger than what was sent."""
    app = simulation()
    app.faults.add(Fault(kind="gzip", size=1_000_000))
    async with served(app, headers={"Accept-Encoding": "identity"}) as (server, _):
        address = urlsplit(server.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, packed = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    assert b"content-encoding: gzip" in head.lower()
    assert len(packed) < 10_000
    body = zlib.decompress(packed, wbits=31)
    assert (len(body) - len(body.rstrip()), json.loads(body)["data"]) == (1_000_000, [])


async def test_a_fault_stays_until_cleared_and_spares_other_calls() -> None:
    """A lasting fault of the list leaves reading a run alone and ends when it is cleared."""
    app = simulation()
    app.start_run()
    app.faults.add(Fault(kind="status", status=401, match="list", times=None))
    async with served(app) as (_, client):
        statuses = [
            (await client.get(path)).status_code for path in ("/v1/runs", "/v1/runs", f"/v1/runs/{RUN_1}")
        ]
        app.faults.clear()
        statuses.append((await client.get("/v1/runs")).status_code)

    assert statuses == [401, 401, 200, 200]


async def test_the_control_endpoint_drives_an_app() -> None:
    """Another process starts runs, asks, answers, turns knobs and faults, and reads state and requests."""
    async with served(simulation()) as (_, client):

        async def control(verb: str, **arguments: Any) -> Any:
            response = await client.post(f"/_control/{verb}", json=arguments)
            assert response.status_code == 200, response.text
            return response.json()["result"]

        run_id = await control("start_run", app="billing", input={"a": 1}, user_id="u")
        request_id = await control("ask", app="billing", run_id=run_id, prompt="Really?", params={"b": 2})
        await control("knobs", app="billing", list_requests="present")
        await control("fault", app="billing", kind="status", status=503, match="list")
        statuses = [(await client.get("/apps/billing/v1/runs")).status_code for _ in range(2)]
        items = (await client.get("/apps/billing/v1/runs")).json()["data"]
        await control("fault", app="billing", kind="reset", times=None)
        await control("clear_faults", app="billing")
        await control("answer", app="billing", run_id=run_id, request_id=request_id, is_approved=True)
        state = (await client.get("/_control/state?app=billing")).json()
        requests = (await client.get("/_control/requests?app=billing&after=1")).json()
        await control("keys", app="billing", keys=["k"])
        locked = await client.get("/apps/billing/v1/runs")
        await control("reset", app="billing")
        emptied = (await client.get("/apps/billing/v1/runs")).json()["data"]

    assert statuses == [503, 200]
    assert [[request["prompt"] for request in item["input_requests"]] for item in items] == [["Really?"]]
    assert [(run_id, "started", [])] == [(run["id"], run["base"], run["pending"]) for run in state["runs"]]
    assert [(request_id, True)] == [(given["request_id"], given["is_approved"]) for given in state["answers"]]
    assert [(request["number"], request["status"]) for request in requests] == [(2, 200), (3, 200)]
    assert (locked.status_code, emptied) == (401, [])


@pytest.mark.parametrize(
    ("verb", "arguments", "status"),
    [
        ("explode", {}, 404),
        ("ask", {"run_id": "unknown"}, 404),
        ("start_run", {"inptu": 1}, 400),
        ("knobs", {"list_requests": "presnt"}, 400),
        ("fault", {"kind": "rest"}, 400),
        ("start_run", {"app": 7}, 400),
        ("start_run", ["list"], 400),
    ],
)
async def test_wrong_control_calls_are_refused(verb: str, arguments: Any, status: int) -> None:
    """A misspelled verb, argument or value is an error, not a test that silently tests nothing."""
    async with served(simulation()) as (_, client):
        response = await client.post(f"/_control/{verb}", json=arguments)

    assert status == response.status_code
    assert "error" in response.json()


@pytest.mark.parametrize("path", ["/_control/state?app=unknown", "/_control/requests?after=x"])
async def test_wrong_questions_to_the_control_endpoint(path: str) -> None:
    """Asking for an unknown app or after no number is refused."""
    async with served(simulation()) as (_, client):
        assert (await client.get(path)).status_code in (400, 404)


class Rehearsal:
    """Time for a scenario: every sleep passes at once; the playing stops when the time is up."""

    def __init__(self, app: Simulation, until: float) -> None:
        self._app = app
        self._until = until
        self.at = 0.0
        self.refused_at: list[float] = []
        self._waiting: dict[float, list[str]] = {}

    def waiting_at(self, at: float) -> list[str]:
        """Returns the ids of the runs that waited after so many seconds of the script."""
        return self._waiting[at]

    async def sleep(self, seconds: float) -> None:
        """Notes what waits and whether keys are refused, then lets the time pass."""
        self._waiting[self.at] = listed(self._app)
        if self._app.faults.take("list", "1", None):
            self.refused_at.append(self.at)
        self.at += seconds
        if self.at > self._until:
            raise asyncio.CancelledError


async def rehearse(name: str, until: float = 300.0, speed: float = 1.0) -> tuple[Simulation, Rehearsal]:
    """Plays a scenario in no time."""
    app = simulation()
    rehearsal = Rehearsal(app, until)
    try:
        await play(name, app, sleep=rehearsal.sleep, speed=speed)
    except asyncio.CancelledError:
        return app, rehearsal
    await asyncio.sleep(0)
    return app, rehearsal


@pytest.mark.parametrize(
    ("name", "waiting", "requests"),
    [
        ("quiet", 0, 0),
        ("approval", 1, 1),
        ("feedback", 1, 1),
        ("two_at_once", 1, 2),
        ("asked_again", 1, 1),
        ("rejected_asked_again", 1, 1),
        ("completed", 0, 0),
        ("canceled", 0, 0),
        ("failed", 0, 0),
        ("expired", 1, 1),
        ("hidden", 1, 0),
        ("backlog", 30, 30),
        ("outage", 2, 2),
        ("gone", 0, 0),
        ("app_gone", 1, 1),
        ("busy", 5, 5),
        ("pages_none", 0, 0),
        ("pages_one", 1, 1),
        ("pages_exact", 100, 100),
        ("pages_one_more", 101, 101),
        ("pages_three", 250, 250),
        ("hostile", 13, 13),
    ],
)
async def test_scenarios_end_as_described(name: str, waiting: int, requests: int) -> None:
    """Each scenario leaves so many runs that wait with so many visible requests, and no fault."""
    app, _ = await rehearse(name)
    ids = listed(app, ListQuery(statuses=WAITING.statuses, page_size=500))

    assert (waiting, requests) == (len(ids), sum(len(shown(app, run_id)) for run_id in ids))
    assert None is app.faults.take("list", "1", None)
    assert not app.deleted


def test_every_scenario_is_described() -> None:
    """Each scenario has a description of one line, and `demo` is among them."""
    assert "demo" in SCENARIOS
    for scenario in SCENARIOS.values():
        assert scenario.description
        assert "\n" not in scenario.description


async def test_asking_again_keeps_the_id_and_leaves_no_gap() -> None:
    """In `asked_again` the run waits before and after under one request id with another prompt."""
    app = simulation()
    seen: list[dict[str, Any]] = []

    async def sleep(_: float) -> None:
        seen.extend(shown(app, RUN_1))

    await play("asked_again", app, sleep=sleep)
    seen.extend(shown(app, RUN_1))

    assert len({request["id"] for request in seen}) == 1
    assert len({request["prompt"] for request in seen}) == 2


async def test_the_demo_shows_everything_in_half_a_minute() -> None:
    """Two wait within a second; later come a second question, answers, a cancel, a pair and an outage."""
    app, rehearsal = await rehearse("demo", until=25.0)
    refund = app.runs[0]
    prompts = [ask.prompt for run in app.runs for ask in run.pending]

    assert len(rehearsal.waiting_at(0.5)) == 2
    assert len(refund.pending) == 1
    assert "goodwill" in refund.pending[0].prompt
    assert {"started", "completed", "canceled"} == {run.base for run in app.runs}
    assert any(len(run.answered) == 2 for run in app.runs)
    assert rehearsal.refused_at == [16.0]
    assert any("A-20533" in prompt for prompt in prompts)
    late = next(ask for run in app.runs for ask in run.pending if "A-20533" in ask.prompt)
    assert "payment_api_token" in late.params
    assert late.editable_params == ["amount", "reason"]
    assert rehearsal.at > 25


async def test_speed_shortens_the_script() -> None:
    """At double speed the same scenario sleeps half as long."""
    _, slow = await rehearse("outage")
    _, fast = await rehearse("outage", speed=2.0)

    assert (slow.at, fast.at) == (70.0, 35.0)


async def test_scenarios_survive_interference() -> None:
    """Somebody who cancels or answers what a scenario started does not end it."""
    app = simulation()
    turns = 0

    async def sleep(_: float) -> None:
        nonlocal turns
        turns += 1
        for started in app.runs:
            app.cancel(started.id)
        if turns == 50:
            raise asyncio.CancelledError

    for name in ("busy", "demo"):
        turns = 0
        with pytest.raises(asyncio.CancelledError):
            await play(name, app, sleep=sleep)
        assert turns == 50


async def test_a_busy_app_forgets_its_oldest_runs() -> None:
    """However long churn goes on, the simulator holds a bounded number of runs."""
    app, _ = await rehearse("busy", until=1000.0)

    assert len(app.runs) == 505


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("scenario", ["approval", "busy"])
async def test_the_simulator_by_itself(scenario: str, number: signal.Signals) -> None:
    """It says where it listens, plays, serves on after the script has ended, and stops at a signal."""
    announced: asyncio.Queue[str] = asyncio.Queue()
    alone = asyncio.create_task(run("127.0.0.1", 0, scenario, announce=announced.put_nowait))
    async with asyncio.timeout(10), httpx.AsyncClient(trust_env=False) as client:
        line = await announced.get()
        items = (await client.get(f"{line.split()[0]}/v1/runs")).json()["data"]
        assert not alone.done()
        signal.raise_signal(number)
        await alone

    assert SCENARIOS[scenario].description in line
    assert {item["status"] for item in items} == {"awaiting_input"}


async def test_a_taken_port_is_an_error() -> None:
    """Serving on a port in use raises instead of serving elsewhere."""
    async with served(simulation()) as (server, _):
        port = urlsplit(server.url).port
        assert port is not None
        with pytest.raises(OSError, match="address already in use"):
            async with serve(simulation(), port=port):
                pass


async def test_stopping_does_not_wait_for_slow_callers() -> None:
    """Leaving the block ends a call that would hang for an hour."""
    app = simulation()
    app.faults.add(Fault(kind="delay", seconds=3600))
    async with asyncio.timeout(10):
        async with httpx.AsyncClient(trust_env=False) as client, serve(app) as server:
            call = asyncio.create_task(client.get(f"{server.url}/v1/runs"))
            await server.wait_for(lambda: len(server.requests) == 1)
        with pytest.raises(httpx.HTTPError):
            await call


def test_the_simulator_knows_nothing_of_the_watcher() -> None:
    """No module of the simulator imports from the rest of the package, so it cannot share its mistakes."""
    folder = Path(simulator.__file__).parent
    imported = {
        name
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name.startswith("watcher")
    }

    assert {"watcher.simulator"} == {".".join(name.split(".")[:2]) for name in imported}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
