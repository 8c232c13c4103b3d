"""What the simulated runs and their list look like, as documented and as the options say."""

from typing import Any

import pytest

from tests.support.simulator_bench import (
    RUN_1,
    Clock,
    listed,
    numbered_ids,
    shown,
    simulation,
)
from watcher.simulator.options import Options, Refusal
from watcher.simulator.parsing import ListQuery
from watcher.simulator.state import Simulation

pytestmark = pytest.mark.anyio


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
    for options, same in ((Options(), True), (Options(request_ids="fresh"), False)):
        app = simulation(options)
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
    """With the option on, a question whose id was answered never shows, and later the run is parked."""
    clock = Clock()
    app = Simulation(clock, Options(swallow_second_ask=True), ids=numbered_ids())
    run_id = app.start_run()
    app.answer(run_id, app.ask(run_id))
    app.ask(run_id, prompt="Swallowed?")

    assert (listed(app), app.get_run(run_id)["data"]["status"]) == ([], "started")
    clock.now += 600
    assert (listed(app), app.get_run(run_id)["data"]["status"]) == ([], "paused")


@pytest.mark.parametrize(("after", "status"), [("pause", "awaiting_input"), ("fail", "failed")])
def test_a_question_outlives_the_window_or_the_run_fails(after: Any, status: str) -> None:
    """Past the time in memory a run is parked and still shown as awaiting, or fails, as the option says."""
    clock = Clock()
    app = Simulation(clock, Options(after_window=after))
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
    app = Simulation(clock, Options(input_window=None))
    app.ask(app.start_run())
    clock.now += 1_000_000

    assert app.runs[0].base == "started"


def test_an_answered_request_may_show_once_more() -> None:
    """With the option on, one list and one reading of the run still show what was just answered."""
    app = simulation(Options(seen_once_more=True))
    run_id = app.start_run()
    app.answer(run_id, app.ask(run_id))

    assert [[run_id], []] == [listed(app), listed(app)]
    assert [len(shown(app, run_id)), len(shown(app, run_id))] == [1, 0]


def test_a_finished_run_does_not_show_its_answered_request_once_more() -> None:
    """The option is about open runs: one that completed right after the answer awaits nothing."""
    app = simulation(Options(seen_once_more=True))
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
        app.options = Options(hidden_requests=blank)
        found.append(app.get_run(run_id)["data"].get("input_requests", missing))

    assert [run_id] == listed(app)
    assert [missing, None, []] == found
    app.reveal(run_id)
    assert len(shown(app, run_id)) == 1


def test_a_stuck_run_takes_answers_and_waits_on() -> None:
    """A stuck run's request stays pending after an answer and never leaves memory."""
    clock = Clock()
    app = Simulation(clock)
    run_id = app.start_run()
    request_id = app.ask(run_id)
    app.make_stuck(run_id)
    app.answer(run_id, request_id)
    clock.now += 100_000

    assert [run_id] == listed(app)
    assert (len(app.answers), app.runs[0].base) == (1, "started")


@pytest.mark.parametrize("status", [400, 404, 409])
def test_wrong_inputs_are_refused(status: Any) -> None:
    """A wrong request id, a wrong type, a second answer and a finished run get the status of the option."""
    app = simulation(Options(wrong_input_status=status))
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
    ("options", "expected"),
    [
        (Options(), {}),
        (Options(list_requests="null"), {"input_requests": None}),
        (Options(list_requests="empty"), {"input_requests": []}),
        (Options(unfinished="null"), {"ended_at": None, "output": None}),
        (Options(time_format="milliseconds"), {"started_at": "2026-06-10T09:15:21.123Z"}),
        (Options(time_format="microseconds"), {"started_at": "2026-06-10T09:15:21.123456Z"}),
        (Options(time_format="nanoseconds"), {"started_at": "2026-06-10T09:15:21.123456000Z"}),
        (Options(time_format="offset"), {"started_at": "2026-06-10T09:15:21+00:00"}),
    ],
)
def test_options_change_how_list_items_look(options: Options, expected: dict[str, Any]) -> None:
    """Each option of the shape changes its own fields of a list item and no other."""
    app = simulation(options)
    app.ask(app.start_run())
    plain = {"id": RUN_1, "status": "awaiting_input", "started_at": "2026-06-10T09:15:21Z"}

    assert [plain | expected] == app.list_runs(ListQuery())["data"]


def test_list_items_may_carry_the_requests() -> None:
    """With `list_requests="present"` a list item shows what the run itself shows."""
    app = simulation(Options(list_requests="present"))
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
    """Missing parameters are absent, null or empty, as the option says."""
    app = simulation(Options(no_params=blank))
    request_id = app.ask(app.start_run(), type="human_feedback", prompt="Which?")

    assert [{"id": request_id, "type": "human_feedback", "prompt": "Which?"} | expected] == shown(app, RUN_1)
