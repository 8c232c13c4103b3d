"""What people read of what a poll found: from the API through poller, store and worker to the text."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.builders import NOW, PEOPLE, ScriptedNotifier, make_worker
from tests.support.databases import Place
from tests.support.poll_bench import PollBench, api_run, open_bench, question
from watcher.messages import MessageSettings, plain_text, render
from watcher.models import Json
from watcher.polling.poller import Poller
from watcher.store import NotifierPolicy

pytestmark = pytest.mark.anyio

HINT = "Answer in the Dynamiq console: app support → History → the run with the id below."
SITE = MessageSettings(public_url="https://watcher.example/")
BLOCKED = "The run stays blocked until it is answered."


@pytest.fixture
async def bench(database: Place) -> AsyncIterator[PollBench]:
    """A poller's surroundings."""
    async with open_bench(database) as opened:
        yield opened


def poller_of(bench: PollBench, **config: Any) -> Poller:
    """Returns a poller that tells people only, in digests of more than two requests."""
    return bench.poller(routes=[replace(PEOPLE, digests=True)], digest_above=2, **config)


async def told(
    bench: PollBench,
    poller: Poller,
    *runs: Json,
    settings: MessageSettings = MessageSettings(),  # noqa: B008
) -> list[str]:
    """Polls while these runs are listed and returns what people then get, as lines of text."""
    bench.api.lists(*runs)
    bench.api.runs |= {run["id"]: run for run in runs}
    assert (await poller.poll()).error is None
    notifier, policy = ScriptedNotifier(), NotifierPolicy(for_people=True, remind_after=(1800.0,))
    await make_worker(notifier, bench.store, bench.clock, policy=policy).run(until_idle=True)
    texts = [plain_text(render(delivery.event, settings)) for delivery in notifier.accepted]
    return [line for text in texts for line in text.splitlines()]


@pytest.mark.parametrize(
    ("template", "settings", "where"),
    [
        (None, MessageSettings(), [HINT]),
        (None, MessageSettings({"support": "Open our inbox."}), ["Open our inbox."]),
        (None, SITE, ["Open the request: https://watcher.example/requests/1"]),
        (
            "https://x.example/{run_id}",
            SITE,
            [
                "Open the request: https://x.example/run-1",
                "Show everything: https://watcher.example/requests/1",
            ],
        ),
    ],
)
async def test_where_to_answer_and_what_happens_next(
    bench: PollBench, template: str | None, settings: MessageSettings, where: list[str]
) -> None:
    """A message says where its request is answered, that the run is blocked, and when it is reminded of."""
    poller = poller_of(bench, link_template=template)
    lines = await told(bench, poller, api_run("run-1", question()), settings=settings)
    following = [
        *where,
        BLOCKED,
        "Next reminder: 2027-01-15T08:30:00Z",
        "Waiting since: 2027-01-15T08:00:00Z",
    ]
    assert following == lines[-len(following) - 1 : -1]
    assert "Run: run-1" == lines[-1]
    bench.clock.now = NOW + 1860
    reminder = await told(bench, poller, api_run("run-1", question()), settings=settings)
    assert ["Waiting for 31 min. Reminder 1 of 1.", "> Approve?"] == reminder[1:3]
    assert [*where, BLOCKED, "Waiting since: 2027-01-15T08:00:00Z", "Run: run-1"] == reminder[3:]


async def test_a_question_that_is_asked_again_says_so(bench: PollBench) -> None:
    """What its run asked before, and was answered, is told as such when it is asked again."""
    poller, asked = poller_of(bench), api_run("run-1", question(params={"amount": 620}))
    await told(bench, poller, asked)
    bench.clock.now = NOW + 60
    await told(bench, poller, api_run("run-1", status="started"))
    bench.clock.now = NOW + 240
    lines = await told(bench, poller, asked)
    assert "Asked before, 4 min ago: it was answered, and the run asks again." == lines[1]


async def test_digests_tell_requests_apart(bench: PollBench) -> None:
    """Each request of a digest has its first parameters and leads to its own page."""
    runs = [api_run(f"run-{number}", question(params={"amount": number})) for number in (1, 2, 3)]
    lines = await told(bench, poller_of(bench), *runs, settings=SITE)
    assert ["3 requests need input · support"] == lines[:1]
    for number in (1, 2, 3):
        assert any(f"Approve? · amount: {number}" in line for line in lines)
        assert any(f"https://watcher.example/requests/{number}" in line for line in lines)
    assert [
        "Each run stays blocked until its request is answered.",
        "Next reminder: 2027-01-15T08:30:00Z",
        "Oldest waiting since: 2027-01-15T08:00:00Z",
    ] == lines[-3:]


async def test_questions_and_a_takeover_are_told(bench: PollBench) -> None:
    """Each question has its options and how it can be answered, and a takeover is said first."""
    asked = {"question": "Which size?", "options": [{"label": "S"}, {"label": "L"}], "multi_select": True}
    given = question(prompt="Tell me more.", questions=[asked], is_browser_takeover=True)
    lines = await told(bench, poller_of(bench), api_run("run-1", given))
    assert [
        "The run asks a person to take over its browser. A text answer alone may not be enough.",
        "> Tell me more.",
        "Question 1 of 1. Choose any number, or give your own answer.",
        "> Which size?",
        ">   - S",
        ">   - L",
    ] == lines[1:7]
