"""What the simulated API accepts and refuses."""

import pytest

from tests.support.simulator_bench import (
    KEY,
    RUN_1,
    WAITING,
    listed,
    simulation,
)
from watcher.simulator.faults import Fault
from watcher.simulator.options import Options, Refusal
from watcher.simulator.parsing import InputBody, ListQuery, parse_input, parse_query

pytestmark = pytest.mark.anyio


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
        return listed(app, parse_query(pairs, app.options))

    assert listed(app, ListQuery()) == [new, waiting, old, oldest]
    assert found("status=awaiting_input") == [waiting]
    assert found("status=awaiting_input&status=completed") == [waiting, old]
    assert found("status=started") == [new, waiting, oldest]
    assert found("user_id=ada") == [waiting, old]
    assert found(f"session_id={session}") == [new]
    assert found("sort=started_at") == [oldest, old, waiting, new]
    assert found("sort=-status,started_at") == [oldest, new, old, waiting]
    assert found("sort=ended_at,-started_at") == [old, new, waiting, oldest]
    app.options = Options(awaiting_matches_base=False)
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


def test_options_of_paging() -> None:
    """An empty list may count one page, and a page past the end may be unknown."""
    app = simulation(Options(empty_page_count=1, past_the_end="not_found"))

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
    """A wrong parameter is refused by name, ignored, or finds nothing, as the option says."""
    app = simulation()
    app.start_run()
    with pytest.raises(Refusal) as caught:
        parse_query([pair], Options())

    assert (400, {pair[0]}) == (caught.value.status, set(caught.value.details or {}))
    assert listed(app, parse_query([pair], Options(wrong_params="ignore", over_limit="clamp"))) == [RUN_1]
    empty = Options(wrong_params="empty")
    assert listed(app, parse_query([("status", "bogus")], empty)) == []
    assert listed(app, parse_query([("status", "started")], empty)) == [RUN_1]


def test_page_sizes() -> None:
    """The page size is 25 unless given, at most 500, and clamped to that if the option says so."""
    sizes = [
        parse_query(pairs, Options(over_limit="clamp")).page_size
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
    """After a reset no run, fault, injected item, option or key of the past is left."""
    app = simulation(Options(default_page_size=7), frozenset({KEY}))
    app.ask(app.start_run())
    app.inject(1)
    app.options = Options()
    app.rotate_keys(None)
    app.delete_app()
    app.faults.add(Fault(kind="reset", times=None))
    app.reset()

    assert (7, frozenset({KEY}), False) == (app.options.default_page_size, app.keys, app.deleted)
    assert (listed(app, ListQuery()), app.faults.take("list", "1", None)) == ([], None)


def test_inputs_are_read_leniently_or_strictly() -> None:
    """An approval's decision is known by several names, or by one; types are checked in either case."""
    approval = {"type": "approval_request", "data": {"request_id": "r", "approved": True}}

    assert InputBody(
        type="approval_request", request_id="r", feedback=None, is_approved=True, params=None
    ) == parse_input(approval, Options())
    strict = Options(approval_body="strict")
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
