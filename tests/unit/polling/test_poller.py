"""One poll of one app: what it asks for, what it finds, and what it records of that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.builders import MACHINE, NOW, claim, event_of, outbox, pending, records, soon
from tests.support.databases import Place
from tests.support.poll_bench import Answer, PollBench, api_run, open_bench, question, refusal
from watcher.models import Json, RequestEvent
from watcher.polling import sync
from watcher.polling.poller import PollResult
from watcher.store import RecordResult

pytestmark = pytest.mark.anyio

NEWS = "run.input_requested"


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[PollBench]:
    """A poller's surroundings."""
    async with open_bench(database) as opened:
        yield opened


# Listing


async def test_what_waits_is_recorded_and_told(bench: PollBench) -> None:
    """A listed request is recorded with its deliveries, the workers are woken, and the poll was whole."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    result = await poller.poll()
    assert PollResult(complete=True, runs=1, new=1) == result
    assert [("run-1", "q1", "Approve?")] == bench.waiting()
    assert [("slack", NEWS, "pending"), ("webhook", NEWS, "pending")] == outbox(bench.database)
    assert [NOW] == bench.wakes
    assert (await poller.poll()).error is None
    assert (2, [NOW]) == (len(outbox(bench.database)), bench.wakes)


async def test_a_page_is_recorded_before_the_next_is_asked_for(bench: PollBench) -> None:
    """What the first page shows is in the outbox, and the workers are woken, when the second is requested."""
    bench.api.pages = [[api_run("run-1", question())], [api_run("run-2", question())]]
    seen: dict[str, tuple[int, int]] = {}

    async def look(call: str) -> None:
        seen[call] = (len(pending(bench.database)), len(bench.wakes))

    bench.api.before = look
    await bench.poller().poll()
    assert {"page 1": (0, 0), "page 2": (1, 1)} == seen
    assert ["run-1", "run-2"] == [run for run, _, _ in bench.waiting()]


async def test_a_run_that_moves_between_pages_counts_once(bench: PollBench) -> None:
    """A run that is listed on two pages, or twice on one, is one run."""
    one, two = api_run("run-1", question()), api_run("run-2")
    bench.api.pages = [[one, one, two], [one, two]]
    bench.api.runs["run-2"] = api_run("run-2", question())
    with capture_logs() as logs:
        assert (await bench.poller().poll()).error is None
    assert ["run-1", "run-2"] == [run for run, _, _ in bench.waiting()]
    assert ["run-2"] == bench.api.looks()
    assert [2] == [entry["runs"] for entry in logs if entry["event"] == "poll.succeeded"]


@pytest.mark.parametrize("status", ["completed", "failed", "canceled"])
async def test_a_listed_run_that_has_ended_asks_nothing(bench: PollBench, status: str) -> None:
    """An API that ignores the filter lists finished runs: they are neither announced nor fetched."""
    bench.api.lists(api_run("run-1", question(), status=status), api_run("run-2", status=status))
    assert PollResult(complete=True, runs=0) == await bench.poller().poll()
    assert ([], []) == (bench.waiting(), bench.api.looks())


async def test_the_filters_of_the_app_go_with_the_list(bench: PollBench) -> None:
    """User, session, page size and paused runs are asked for as configured."""
    session = "3d3e8a1f-09a6-4f64-9d68-1d2f3a4b5c6d"
    await bench.poller(user_id="u 1", session_id=session, watch_paused=True).poll()
    (query,) = bench.api.queries
    assert ("u 1", session, "100") == (query["user_id"], query["session_id"], query["page_size"])
    assert ["awaiting_input", "paused"] == query.getall("status")


async def test_a_malformed_run_is_logged_and_the_page_counts(bench: PollBench) -> None:
    """An item that is no run is skipped, loudly; the rest of its page is recorded."""
    bench.api.lists({"status": "awaiting_input"}, {"id": "run-9", "status": 7}, api_run("run-1", question()))
    with capture_logs() as logs:
        assert (await bench.poller().poll()).error is None
    (skipped,) = [entry for entry in logs if entry["event"] == "run.skipped"]
    assert ("support", 2) == (skipped["app"], skipped["count"])
    assert [None, "run-9"] == [example["run"] for example in skipped["examples"]]
    assert ["run-1"] == [run for run, _, _ in bench.waiting()]


async def test_hostile_answers_do_not_fill_the_log(bench: PollBench) -> None:
    """However many items are no runs, a poll logs one line with their number and three short examples."""
    endless = {"id": "x" * 100_000, "status": 7}
    bench.api.pages = [[endless] * 50, [*[None] * 40, api_run("run-1", question())]]
    with capture_logs() as logs:
        assert (await bench.poller().poll()).error is None
    assert ["run.skipped", "request.new", "poll.succeeded"] == sorted(
        (entry["event"] for entry in logs), key=["run.skipped", "request.new", "poll.succeeded"].index
    )
    (skipped,) = [entry for entry in logs if entry["event"] == "run.skipped"]
    assert (90, 3) == (skipped["count"], len(skipped["examples"]))
    assert len(str(skipped)) < 1000


async def test_many_new_requests_are_recorded_in_batches(
    bench: PollBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run with 500 questions makes three transactions, so that others get their turn in between."""
    record, sizes = bench.store.record_changes, []

    async def counted(*arguments: Any, new: Sequence[Any], **more: Any) -> RecordResult:
        sizes.append(len(new))
        return await record(*arguments, new=new, **more)

    monkeypatch.setattr(bench.store, "record_changes", counted)
    bench.api.lists(api_run("run-1", *[question(f"q{number}") for number in range(500)]))
    result = await bench.poller().poll()
    assert ([200, 200, 100], 500) == (sizes, result.new)


async def test_several_requests_of_a_run_say_which_of_how_many(bench: PollBench) -> None:
    """A run that asks two things at once gives two requests with their positions; one alone has none."""
    bench.api.lists(api_run("run-1", question("q1"), question("q2")), api_run("run-2", question()))
    await bench.poller().poll()
    positions = [
        event_of(delivery, RequestEvent).position for delivery in await claim(bench.store, "webhook")
    ]
    assert [(1, 2), (2, 2), None] == positions


# Ending


@pytest.mark.parametrize(
    ("shown", "outcome"),
    [
        pytest.param(api_run("run-1", status="completed"), "answered", id="completed"),
        pytest.param(api_run("run-1", status="started"), "answered", id="resumed"),
        pytest.param(api_run("run-1", status="something new"), "answered", id="unknown status"),
        pytest.param(api_run("run-1", status="canceled"), "canceled", id="canceled"),
        pytest.param(api_run("run-1", status="failed"), "failed", id="failed"),
        pytest.param(api_run("run-1", question(prompt="Sure?")), "replaced", id="other content"),
        pytest.param(api_run("run-1", question("q2")), "answered", id="other request"),
        pytest.param(refusal(404, "not_found"), "gone", id="gone"),
    ],
)
async def test_how_a_request_ended_is_what_its_run_shows(bench: PollBench, shown: Json, outcome: str) -> None:
    """A request that is no longer listed ends as the run, fetched by itself, says."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    bench.api.lists()
    bench.api.runs["run-1"] = shown
    with capture_logs() as logs:
        assert (await poller.poll()).error is None
    ended = [entry for entry in logs if entry["event"] in {"request.resolved", "request.replaced"}]
    event = "request.replaced" if outcome == "replaced" else "request.resolved"
    assert [(event, "support", "run-1", "q1", outcome)] == [
        (entry["event"], entry["app"], entry["run"], entry["request"], entry["outcome"]) for entry in ended
    ]


async def test_a_run_that_still_waits_stays_whatever_the_list_says(bench: PollBench) -> None:
    """A run that the list forgot and that, by itself, still asks the same is not ended."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    bench.api.lists()
    bench.api.runs["run-1"] = api_run("run-1", question())
    assert (await poller.poll()).error is None
    assert ["run-1"] == bench.api.looks()
    assert [("run-1", "q1", "Approve?")] == bench.waiting()


async def test_a_partial_list_ends_nothing(bench: PollBench) -> None:
    """When a later page fails nothing is even suspected to be over, and what is new counts all the same."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    bench.api.looks()
    bench.api.pages = [[api_run("run-2", question())], refusal(500, "internal")]
    assert (await poller.poll()).error is not None
    assert [] == bench.api.looks()
    assert ["run-1", "run-2"] == [run for run, _, _ in bench.waiting()]


async def test_a_page_that_is_not_there_ends_nothing(bench: PollBench) -> None:
    """A list shorter than its counts say is read to its end; what is missing is looked at by itself."""
    runs = [api_run("run-1", question()), api_run("run-2", question())]
    bench.api.lists(*runs)
    poller = bench.poller()
    await poller.poll()
    bench.api.looks()
    bench.api.pages = [runs[:1], refusal(404, "not_found", "no such page")]
    bench.api.runs["run-2"] = runs[1]
    assert (await poller.poll()).error is None
    assert ["run-2"] == bench.api.looks()
    assert ["run-1", "run-2"] == [run for run, _, _ in bench.waiting()]


async def test_an_app_that_is_deleted_between_two_pages_ends_nothing(bench: PollBench) -> None:
    """The 404 of a later page is not the end of the list when it is the end of the app."""
    runs = [api_run("run-1", question()), api_run("run-2", question())]
    bench.api.lists(*runs)
    poller = bench.poller()
    await poller.poll()
    bench.api.pages = [runs[:1], refusal(404, "not_found")]
    bench.api.runs["run-2"] = refusal(404, "not_found")

    async def delete_the_app(call: str) -> None:
        if call == "page 2":
            bench.api.pages = [refusal(404, "not_found"), refusal(404, "not_found")]

    bench.api.before = delete_the_app
    assert (await poller.poll()).error is not None
    assert ["run-1", "run-2"] == [run for run, _, _ in bench.waiting()]


async def test_a_proxys_404_does_not_make_a_run_gone(bench: PollBench) -> None:
    """A 404 that is not the API's own says nothing about a run."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    bench.api.lists()
    bench.api.runs["run-1"] = Answer(404, "<h1>Not here</h1>")
    assert (await poller.poll()).error is not None
    assert ["run-1"] == [run for run, _, _ in bench.waiting()]


@pytest.mark.parametrize("listed", [True, False])
async def test_an_app_that_vanishes_during_a_poll_ends_nothing(bench: PollBench, *, listed: bool) -> None:
    """When the app is deleted between the list and the look at a run, the 404 is no word about the run."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    bench.api.lists(*([api_run("run-1")] if listed else []))

    async def delete_the_app(call: str) -> None:
        if call == "run-1":
            bench.api.pages = [refusal(404, "not_found")]

    bench.api.before = delete_the_app
    bench.api.runs["run-1"] = refusal(404, "not_found")
    assert (await poller.poll()).error is not None
    assert ["run-1"] == [run for run, _, _ in bench.waiting()]


async def test_a_run_that_was_listed_just_now_is_not_gone(bench: PollBench) -> None:
    """A run that the list shows and that is not found by itself stays until the list forgets it too."""
    bench.api.lists(api_run("run-1", question()))
    poller = bench.poller()
    await poller.poll()
    bench.api.lists(api_run("run-1"))
    bench.api.runs["run-1"] = refusal(404, "not_found")
    assert (await poller.poll()).error is None
    assert ["run-1"] == [run for run, _, _ in bench.waiting()]


async def test_a_listed_run_that_is_never_found_is_told(bench: PollBench) -> None:
    """A run that is listed twice in a row and not found by itself is announced without its question."""
    bench.api.lists(api_run("run-1"))
    bench.api.runs["run-1"] = refusal(404, "not_found")
    poller = bench.poller()
    assert PollResult(complete=True, runs=1) == await poller.poll()
    for _ in range(2):
        await poller.poll()
        assert [("run-1", "", None)] == bench.waiting()


@pytest.mark.parametrize("listed", [True, False])
async def test_another_question_between_two_polls_is_news(bench: PollBench, *, listed: bool) -> None:
    """A run that was answered and asked again under the same id is told of, whatever lists carry."""
    bench.api.lists(api_run("run-1", question(prompt="First?")))
    poller = bench.poller()
    await poller.poll()
    now_asked = api_run("run-1", question(prompt="Second?"))
    bench.api.lists(now_asked if listed else api_run("run-1"))
    bench.api.runs["run-1"] = now_asked
    with capture_logs() as logs:
        assert (await poller.poll()).error is None
    assert [("run-1", "q1", "Second?")] == bench.waiting()
    events = [entry["event"] for entry in logs if entry["event"].startswith("request.")]
    assert ["request.new", "request.replaced"] == sorted(events)


async def test_two_questions_of_which_one_is_answered(bench: PollBench) -> None:
    """When a run no longer shows one of two requests only that one ends."""
    bench.api.lists(api_run("run-1", question("q1"), question("q2")))
    poller = bench.poller()
    await poller.poll()
    bench.api.lists(api_run("run-1", question("q2")))
    await poller.poll()
    assert ["q2"] == [request for _, request, _ in bench.waiting()]


# Looking at runs one by one


async def test_new_runs_are_fetched_where_lists_say_nothing(bench: PollBench) -> None:
    """What a run asks is fetched in the same poll when the list carries no requests: absent, null, empty."""
    bench.api.lists(
        api_run("run-1"),
        api_run("run-2", input_requests=None),
        api_run("run-3", input_requests=[]),
    )
    for run_id in ("run-1", "run-2", "run-3"):
        bench.api.runs[run_id] = api_run(run_id, question())
    assert (await bench.poller().poll()).error is None
    assert ["run-1", "run-2", "run-3"] == [run for run, _, _ in bench.waiting()]


async def test_eight_runs_are_fetched_at_a_time(bench: PollBench) -> None:
    """Eight detail calls are under way at once, and never more."""
    bench.api.lists(*[api_run(f"run-{number}") for number in range(20)])
    eight = asyncio.Event()
    under_way: set[str] = set()
    most = 0

    async def hold_until_eight(call: str) -> None:
        nonlocal most
        if call.startswith("page"):
            return
        under_way.add(call)
        most = max(most, len(under_way))
        if len(under_way) == 8:
            eight.set()
        await soon(eight.wait())
        under_way.discard(call)

    bench.api.before = hold_until_eight
    assert (await bench.poller().poll()).error is None
    assert (8, 20) == (most, len(bench.api.looks()))


async def test_known_runs_are_rechecked_in_turn(bench: PollBench) -> None:
    """Of many known runs at most 50 are fetched per poll, those first that were not for the longest time."""
    names = [f"run-{number:02}" for number in range(60)]
    bench.api.lists(*[api_run(name, question()) for name in names])
    poller = bench.poller()
    await poller.poll()
    assert [] == bench.api.looks()
    bench.api.lists(*[api_run(name) for name in names])
    bench.api.runs = {name: api_run(name, question()) for name in names}
    looks = []
    for _ in range(3):
        assert (await poller.poll()).error is None
        looks.append(bench.api.looks())
    assert [names[:50], names[50:] + names[:40], names[40:] + names[:30]] == looks


async def test_runs_that_cannot_be_fetched_do_not_keep_others_from_their_turn(bench: PollBench) -> None:
    """Fifty broken runs are asked for in one poll; the next one begins with those behind them."""
    names = [f"run-{number:02}" for number in range(60)]
    bench.api.lists(*[api_run(name, question()) for name in names])
    poller = bench.poller()
    await poller.poll()
    bench.api.lists(*[api_run(name) for name in names])
    bench.api.runs = {name: refusal(500, "internal") for name in names[:50]}
    await poller.poll()
    bench.api.looks()
    await poller.poll()
    assert names[50:] == bench.api.looks()[:10]


async def test_one_broken_run_does_not_stop_the_others(bench: PollBench) -> None:
    """A run whose details fail is logged; the rest counts, and so does the poll."""
    bench.api.lists(api_run("run-1"), api_run("run-2"))
    bench.api.runs = {"run-1": refusal(500, "internal", "boom"), "run-2": api_run("run-2", question())}
    with capture_logs() as logs:
        assert (await bench.poller().poll()).error is None
    assert ["run-2"] == [run for run, _, _ in bench.waiting()]
    assert [[{"run": "run-1", "reason": "internal: boom"}]] == [
        entry["examples"] for entry in logs if entry["event"] == "run.skipped"
    ]


async def test_an_app_all_of_whose_runs_are_broken_fails(bench: PollBench) -> None:
    """When no run at all can be fetched the poll has failed, for the reason that the runs gave."""
    bench.api.lists(api_run("run-1"), api_run("run-2"))
    bench.api.runs = {"run-1": refusal(502, "bad_gateway"), "run-2": refusal(502, "bad_gateway")}
    with capture_logs() as logs:
        assert 15.0 == (await bench.poller().poll()).wait
    assert [(502, "bad_gateway")] == [
        (entry["status"], entry["code"]) for entry in logs if entry["event"] == "poll.failed"
    ]


@pytest.mark.parametrize("malformed", [Answer(200, "<h1>no</h1>"), {"id": "run-1", "status": 7}, None])
async def test_a_malformed_run_alone_does_not_fail_the_app(bench: PollBench, malformed: Json) -> None:
    """The only run that is fetched can be no JSON or of the wrong shape: it is skipped, and later told of."""
    bench.api.lists(api_run("run-1"))
    bench.api.runs = {"run-1": malformed}
    poller = bench.poller()
    with capture_logs() as logs:
        assert (await poller.poll()).error is None
    ((example,),) = [entry["examples"] for entry in logs if entry["event"] == "run.skipped"]
    assert example["run"] == "run-1"
    assert example["reason"].startswith("invalid_response: ")
    assert (await poller.poll()).error is None
    assert [("run-1", "", None)] == bench.waiting()


async def test_a_malformed_run_shows_that_the_app_answers(bench: PollBench) -> None:
    """Where one run is malformed and the others fail, the API could be reached, and the poll counts."""
    bench.api.lists(api_run("run-1"), api_run("run-2"))
    bench.api.runs = {"run-1": refusal(502, "bad_gateway"), "run-2": None}
    assert (await bench.poller().poll()).error is None


async def test_a_login_page_instead_of_runs_fails_the_app(bench: PollBench) -> None:
    """A redirect for every run is no fault of the runs."""
    bench.api.lists(api_run("run-1"))
    bench.api.runs = {"run-1": Answer(302, "", {"Location": "https://login.example"})}
    assert (await bench.poller().poll()).error is not None


async def test_a_refusal_of_the_whole_app_ends_the_poll_and_keeps_what_it_had(
    bench: PollBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 for one run's details stops the poll for as long as asked; what was fetched is recorded."""
    monkeypatch.setattr(sync, "DETAIL_BATCH", 2)
    names = [f"run-{number}" for number in range(5)]
    bench.api.lists(*[api_run(name) for name in names])
    bench.api.runs = {name: api_run(name, question()) for name in names}
    bench.api.runs["run-3"] = refusal(429, "rate_limited", Retry_After="77")
    assert 77.0 == (await bench.poller().poll()).wait
    assert names[:4] == bench.api.looks()
    assert names[:3] == [run for run, _, _ in bench.waiting()]


# What is asked anew


@pytest.mark.parametrize("fetched", ["asks anew", "fails", "is refused", "has ended"])
async def test_a_question_ends_before_the_one_that_replaces_it_begins(bench: PollBench, fetched: str) -> None:
    """Programs hear that the old question was replaced, then of the new one, which no failure holds back."""
    poller = bench.poller(routes=[MACHINE])
    bench.api.lists(api_run("run-1", question(prompt="Old?")))
    await poller.poll()
    bench.api.lists(api_run("run-1", question(prompt="New?")), api_run("run-2", question()))
    match fetched:
        case "fails":
            bench.api.runs["run-1"] = refusal(500, "internal")
        case "is refused":
            bench.api.runs["run-1"] = refusal(429, "slow_down", Retry_After="3600")
        case "has ended":
            bench.api.runs["run-1"] = api_run("run-1", status="completed")
    assert (fetched in {"fails", "is refused"}) == ((await poller.poll()).error is not None)
    told = [(record.run_id, record.type.rpartition("_")[2]) for record in records(bench.database)[1:]]
    expected = {
        "asks anew": [("run-2", "requested"), ("run-1", "resolved"), ("run-1", "requested")],
        "fails": [("run-2", "requested"), ("run-1", "requested")],
        "is refused": [("run-2", "requested"), ("run-1", "requested")],
        "has ended": [("run-2", "requested"), ("run-1", "resolved")],
    }
    assert expected[fetched] == told
    assert 1 == bench.api.calls.count("run-1") - (fetched == "fails")


# A stale list


@pytest.mark.parametrize("fetched", ["has ended", "fails", "asks again"])
async def test_a_question_that_has_ended_is_announced_again_only_if_its_run_says_so(
    bench: PollBench, fetched: str
) -> None:
    """A list that lags behind shows an answered question as pending: a fetch of its run decides."""
    poller = bench.poller(routes=[MACHINE])
    bench.api.lists(api_run("run-1", question()))
    await poller.poll()
    bench.api.lists()
    bench.api.runs["run-1"] = api_run("run-1", status="completed")
    await poller.poll()
    bench.clock.now += 60
    bench.api.lists(api_run("run-1", question()), api_run("run-2", question()))
    match fetched:
        case "fails":
            bench.api.runs["run-1"] = refusal(500, "internal")
        case "asks again":
            del bench.api.runs["run-1"]
    bench.api.looks()
    for _ in range(3):
        await poller.poll()
    again = ["run-1"] if fetched == "asks again" else []
    assert ["run-2", *again] == [run for run, _, _ in bench.waiting()]
    assert (1 if again else 3) == bench.api.looks().count("run-1")
