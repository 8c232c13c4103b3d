"""What a poller records where not everything is shown, is to be shown, or is to be told of."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.builders import claim, event_of, outbox, pending, records
from tests.support.databases import TABLES, OnSqlite, Place, rows
from tests.support.poll_bench import PollBench, api_run, open_bench, question, refusal
from watcher.messages import render
from watcher.models import INVISIBLE, Json, RequestEvent, Run
from watcher.notifiers.webhook import payload
from watcher.runs_api.parser import parse_run
from watcher.sanitize.redactor import MASK, Redactor

pytestmark = pytest.mark.anyio

NEWS = "run.input_requested"


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[PollBench]:
    """A poller's surroundings."""
    async with open_bench(database) as opened:
        yield opened


# Questions that cannot be seen


async def test_a_hidden_question_is_told_after_two_polls(bench: PollBench) -> None:
    """A run that waits twice in a row without saying what for is told of once, as of unknown type."""
    bench.api.lists(api_run("run-1"))
    poller = bench.poller()
    assert (await poller.poll()).error is None
    assert [] == bench.waiting()
    assert (await poller.poll()).error is None
    assert (await poller.poll()).error is None
    assert [("run-1", "", INVISIBLE, None)] == [
        (request.run_id, request.request_id, request.type, request.prompt)
        for request in pending(bench.database)
    ]
    assert 2 == len(outbox(bench.database))


@pytest.mark.parametrize("listed", [True, False])
async def test_a_run_that_only_informs_is_not_announced(bench: PollBench, *, listed: bool) -> None:
    """A message that asks nothing makes its run neither a request nor one without a visible question."""
    run = api_run("run-1", question(prompt="3 of 7 done.", action="info"))
    bench.api.lists(run if listed else api_run("run-1"))
    bench.api.runs["run-1"] = run
    poller = bench.poller()
    for _ in range(4):
        assert (await poller.poll()).error is None
    assert [] == bench.waiting()


async def test_a_hidden_question_is_counted_across_a_restart(bench: PollBench) -> None:
    """The second of the two polls may be another process's."""
    bench.api.lists(api_run("run-1"))
    await bench.poller().poll()
    await bench.poller().poll()
    assert [("run-1", "", None)] == bench.waiting()


async def test_a_question_hidden_once_is_not_told_as_such(bench: PollBench) -> None:
    """Two polls that are not in a row do not count, and a question that shows itself is told as it is."""
    poller = bench.poller()
    for listed in (True, False, True):
        bench.api.lists(*[api_run("run-1")] if listed else [])
        assert (await poller.poll()).error is None
    assert [] == bench.waiting()
    bench.api.runs["run-1"] = api_run("run-1", question())
    assert (await poller.poll()).error is None
    assert [("run-1", "q1", "Approve?")] == bench.waiting()


@pytest.mark.parametrize("listed", [True, False])
async def test_a_hidden_question_is_replaced_when_it_shows(bench: PollBench, *, listed: bool) -> None:
    """The question that shows itself at last is told as new, and the unknown one ends as replaced."""
    bench.api.lists(api_run("run-1"))
    poller = bench.poller()
    await poller.poll()
    await poller.poll()
    shown = api_run("run-1", question())
    bench.api.lists(shown if listed else api_run("run-1"))
    bench.api.runs["run-1"] = shown
    with capture_logs() as logs:
        assert (await poller.poll()).error is None
    assert [("run-1", "q1", "Approve?")] == bench.waiting()
    assert ["replaced"] == [entry["outcome"] for entry in logs if entry["event"] == "request.replaced"]


async def test_a_paused_run_without_a_question_is_told_after_a_while(bench: PollBench) -> None:
    """With `watch_paused` a run that stays paused for four poll intervals is told of once, as paused."""
    bench.api.lists(api_run("run-1", status="paused"))
    poller = bench.poller(watch_paused=True, poll_interval=15.0)
    told = []
    for _ in range(6):
        await poller.poll()
        told.append(len(bench.waiting()))
        bench.clock.now += 15.0
    assert [0, 0, 0, 0, 1, 1] == told
    (delivery,) = await claim(bench.store, "webhook", now=bench.clock.now)
    event = event_of(delivery, RequestEvent)
    assert ("paused", INVISIBLE) == (event.run.status, event.request.type)


async def test_a_run_that_goes_on_in_time_was_not_parked(bench: PollBench) -> None:
    """The time for which a run is paused counts anew when it was seen to go on."""
    poller = bench.poller(watch_paused=True, poll_interval=15.0)
    for paused in (True, True, True, False, True, True, True, True):
        bench.api.lists(*[api_run("run-1", status="paused")] if paused else [])
        await poller.poll()
        bench.clock.now += 15.0
    assert [] == bench.waiting()


async def test_a_run_whose_details_keep_failing_is_told_as_hidden(bench: PollBench) -> None:
    """A new run that cannot be fetched twice in a row, while others can, is not passed over in silence."""
    bench.api.lists(api_run("run-1"), api_run("run-2"))
    bench.api.runs = {"run-1": refusal(500, "internal"), "run-2": api_run("run-2", question())}
    poller = bench.poller()
    await poller.poll()
    await poller.poll()
    assert [("run-1", "", None), ("run-2", "q1", "Approve?")] == sorted(bench.waiting())


# The backlog at the first poll


async def test_a_baseline_is_recorded_and_not_told(bench: PollBench) -> None:
    """With `baseline` what waits at the first whole poll is known and told to nobody; later news is."""
    poller = bench.poller(baseline=True)
    bench.api.pages = [[api_run("run-1", question())], refusal(500, "internal")]
    await poller.poll()
    bench.api.pages = [[api_run("run-1", question())], [api_run("run-2", question())]]
    assert (await poller.poll()).error is None
    assert (["run-1", "run-2"], []) == ([run for run, _, _ in bench.waiting()], outbox(bench.database))
    bench.api.lists(*[api_run(f"run-{number}", question()) for number in (1, 2, 3)])
    assert (await poller.poll()).error is None
    assert ["run-3", "run-3"] == [record.run_id for record in records(bench.database)]


async def test_a_hidden_question_of_the_baseline_is_not_told(bench: PollBench) -> None:
    """What waits at the first poll without saying what for is known at once, and told to nobody later."""
    bench.api.lists(api_run("run-1"))
    poller = bench.poller(baseline=True)
    for _ in range(3):
        assert (await poller.poll()).error is None
        assert [("run-1", "", None)] == bench.waiting()
    bench.api.lists(api_run("run-1"), api_run("run-2"))
    for _ in range(2):
        assert (await poller.poll()).error is None
    assert ["run-2", "run-2"] == [record.run_id for record in records(bench.database)]


async def test_a_baseline_is_for_the_first_poll_ever(bench: PollBench) -> None:
    """After a restart what waits was there before, or is news."""
    await bench.poller(baseline=True).poll()
    bench.api.lists(api_run("run-1", question()))
    await bench.poller(baseline=True).poll()
    assert 2 == len(outbox(bench.database))


# What is shown of a request


async def shown_with(bench: PollBench, run: Json, **settings: Any) -> RequestEvent:
    """Returns the event by which a run that waits is told of."""
    bench.api.lists(run)
    await bench.poller(**settings).poll()
    (delivery,) = await claim(bench.store, "webhook")
    return event_of(delivery, RequestEvent)


async def test_params_and_input_are_shown_as_configured(bench: PollBench) -> None:
    """Parameters are shown and the input is not, unless it is configured the other way round."""
    run = api_run("run-1", question(params={"amount": 620}), input={"text": "hello"})
    by_default = await shown_with(bench, run)
    assert ({"amount": 620}, None) == (by_default.request.params, by_default.run.input)
    run["id"] = "run-2"
    other = await shown_with(bench, run, include_params=False, include_input=True)
    assert (None, {"text": "hello"}) == (other.request.params, other.run.input)
    assert ((), ("amount",)) == (by_default.request.masked, other.request.masked)


@pytest.mark.parametrize("shown", [True, False])
async def test_what_is_left_out_is_masked_where_it_is_repeated(bench: PollBench, *, shown: bool) -> None:
    """A secret of parameters or input is masked in the prompt although neither is shown itself."""
    asked = question(prompt="Set hunter22 for fido-1999?", params={"password": "hunter22"})
    run = api_run("run-1", asked, input={"token": "fido-1999", "note": "hunter22"})
    event = await shown_with(
        bench, run, redact=["*password*", "*token*"], include_params=shown, include_input=shown
    )
    assert f"Set {MASK} for {MASK}?" == event.request.prompt
    assert ({"token": MASK, "note": MASK} if shown else None) == event.run.input


async def test_what_one_request_masks_is_masked_in_the_whole_run(bench: PollBench) -> None:
    """A secret in the questions of a request is masked in the input and in the other requests of its run."""
    asked = question("q1", questions=[{"question": "Which?", "token": "fido-1999"}])
    other = question("q2", prompt="Is fido-1999 right?")
    bench.api.lists(api_run("run-1", asked, other, input={"note": "fido-1999"}))
    await bench.poller(redact=["*token*"], include_input=True).poll()
    first, second = [event_of(each, RequestEvent) for each in await claim(bench.store, "webhook")]
    assert f"Is {MASK} right?" == second.request.prompt
    assert [{"note": MASK}] * 2 == [first.run.input, second.run.input]


async def test_what_is_to_be_redacted_is_not_even_recorded(bench: PollBench) -> None:
    """Masked values reach neither destination nor database, in parameters, prompt and input alike."""
    redactor = Redactor()
    redactor.add_secret("dynamiq_acc_secret")
    asked = question(
        prompt="Pay with hunter22? dynamiq_acc_secret", params={"Password": "hunter22", "amount": 1}
    )
    run = api_run("run-1", asked, input={"deep": [{"password": "hunter22"}]})
    event = await shown_with(bench, run, redactor=redactor, redact=["*password*"], include_input=True)
    assert "Pay with [redacted]? [redacted]" == event.request.prompt
    assert {"Password": "[redacted]", "amount": 1} == event.request.params
    assert ["Password"] == payload(event)["data"]["request"]["masked"]
    assert {"deep": [{"password": "[redacted]"}]} == event.run.input
    recorded = everything(bench.database)
    found = [word for word in (b"Pay with", b"hunter22", b"acc_secret") if word in recorded]
    assert [b"Pay with"] == found


@pytest.mark.parametrize(
    ("asked", "include_input", "kept"),
    [(True, False, None), (True, True, None), (False, False, None), (False, True, {"text": "hello"})],
)
async def test_a_poll_remembers_little_of_a_run(
    bench: PollBench, *, asked: bool, include_input: bool, kept: Json
) -> None:
    """Only the input of a run that may have to be told of as hidden is kept while the list is read on."""
    run = parse_run(api_run("run-1", *[question(params={"a": 1})] * asked, input={"text": "hello"}))
    assert isinstance(run, Run)
    remembered = bench.poller(include_input=include_input)._sync._strip_payload(run)
    assert kept == remembered.input
    assert [(None, None)] * asked == [(request.params, request.prompt) for request in remembered.requests]
    assert [request.fingerprint for request in run.requests] == [
        request.fingerprint for request in remembered.requests
    ]


async def test_too_much_is_cut_before_it_is_recorded(bench: PollBench) -> None:
    """Endless parameters, prompts and inputs are cut, in the database too; the question stays the same."""
    endless = "x" * 2_000_000
    asked = question(prompt=f"Send? {endless}", params={"body": endless, "rows": [0] * 10})
    run = api_run("run-1", asked, input={"text": endless})
    event = await shown_with(bench, run, include_input=True)
    assert event.request.prompt is not None
    assert 256 * 1024 - 100 < len(event.request.prompt) <= 256 * 1024
    assert (1000, 1000) == (len(event.request.params["body"]), len(event.run.input["text"]))
    assert [0] * 10 == event.request.params["rows"]
    assert 1_000_000 > len(everything(bench.database))
    asked["params"]["body"] = f"{endless}!"
    await bench.poller().poll()
    bench.api.lists(api_run("run-1", asked))
    await bench.poller().poll()
    assert 3 == len([kind for notifier, kind, _ in outbox(bench.database) if notifier == "webhook"])


async def test_a_prompt_is_the_apis_own(bench: PollBench) -> None:
    """Programs get the prompt as it was asked; people see it without its common indentation."""
    prompt = "\n    Approve?\n      - now\n  "
    event = await shown_with(bench, api_run("run-1", question(prompt=prompt)))
    assert prompt == payload(event)["data"]["request"]["prompt"]
    assert [("run-1", "q1", prompt)] == bench.waiting()
    assert "Approve?\n  - now" == render(event).body


async def test_times_at_the_ends_of_the_calendar_are_shown(bench: PollBench) -> None:
    """A run that claims to have started in the year 1 or 9999 is recorded and sent like any other."""
    times = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z"]
    bench.api.lists(*[api_run(f"run-{time[:4]}", question(), started_at=time) for time in times])
    assert (await bench.poller().poll()).error is None
    told = [payload(delivery.event)["data"]["run"] for delivery in await claim(bench.store, "webhook")]
    assert ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"] == [run["started_at"] for run in told]


async def test_masking_makes_no_other_question(bench: PollBench) -> None:
    """Two questions that differ only in what is masked are two questions."""
    poller = bench.poller(redact=["password"])
    for password in ("first", "second"):
        bench.api.lists(api_run("run-1", question(params={"password": password})))
        await poller.poll()
    assert 2 == len(
        [kind for notifier, kind, _ in outbox(bench.database) if (notifier, kind) == ("webhook", NEWS)]
    )


@pytest.mark.parametrize(
    ("template", "link"),
    [
        (None, None),
        (
            "https://ui.example/{app}?run={run_id}&q={request_id}#else",
            "https://ui.example/support?run=run%2F1%3F&q=q%201%26#else",
        ),
    ],
)
async def test_a_link_leads_to_the_request(bench: PollBench, template: str | None, link: str | None) -> None:
    """The template's placeholders are filled in URL-encoded, everything else is kept."""
    event = await shown_with(bench, api_run("run/1?", question("q 1&")), link_template=template)
    assert link == event.link


def everything(database: Place) -> bytes:
    """Returns all that a database holds: of SQLite all bytes, those in its log too."""
    if isinstance(database, OnSqlite):
        files = database.path.parent.glob(f"{database.path.name}*")
        return b"".join(file.read_bytes() for file in files)
    return repr([rows(database, f"SELECT * FROM {table}") for table in TABLES]).encode()
