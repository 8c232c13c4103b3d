"""The scenarios: what each shows, how it ends, and what may interfere."""

import asyncio
from typing import Any

import pytest

from tests.support.simulator_bench import (
    RUN_1,
    WAITING,
    listed,
    shown,
    simulation,
)
from watcher.simulator.catalog import DESCRIPTIONS
from watcher.simulator.parsing import ListQuery
from watcher.simulator.scenarios import SCENARIOS, play
from watcher.simulator.state import Simulation

pytestmark = pytest.mark.anyio


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
    """The catalog has a description of one line for each scenario, in the same order."""
    assert list(SCENARIOS) == list(DESCRIPTIONS)
    assert [] == [text for text in DESCRIPTIONS.values() if not text or "\n" in text]


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
    app, _ = await rehearse("busy", until=540.0)

    assert len(app.runs) == 505
