"""A model of apps, runs and requests against the real pollers, store and workers, by Hypothesis.

Two apps are watched for three notifiers. Runs ask and are answered, calls and sends fail in every way, the
process is killed at any commit and started again, with the same configuration or another, and time passes or
the clock is set. After each step everything is checked that must hold:

- `world`: runs, and the API that shows them; `config`: what can be configured;
- `fate`: time, and blows at commits; `destination`: what can become of a send;
- `process`: the watcher itself; `scene`: all that together, and when what is checked;
- `ledger`: what no destination may see; `book`: what was promised to whom; `news`: what is
  told of failing apps and notifiers; `checks`: what the database must say.

`pytest tests/resilience/test_model.py` takes a short way of always the same course; with
`--hypothesis-profile=long` it looks for new ones for as long as it is let.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.resilience.model.config import APPS, CONFIGS, NOTIFIERS
from tests.resilience.model.destination import MOODS, Mood
from tests.resilience.model.fate import BLOWS, Blow
from tests.resilience.model.scene import Scene
from tests.resilience.model.world import BAD, FORMS, Form, ModelRun, World
from tests.support.postgresql import Schema
from watcher.config.models import Config
from watcher.models import AWAITING, PAUSED

LONG: Final = settings().max_examples == settings.get_profile("long").max_examples

pytestmark = pytest.mark.timeout(0 if LONG else 240)

JUMPS: Final = (1.0, 4.0, 6.0, 40.0, 130.0, 700.0, 3700.0, 30_000.0, 90_000.0, 300_000.0)
UNSEEN_SETS: Final = (-60.0, -3.0, -0.5)
"""By how much the clock is set back before the watcher has seen it, or while it is down."""
SEEN_SETS: Final = (-3700.0, -60.0, 60.0, 3700.0)
ONE: Final = tuple(f"poll {app}, send" for app in APPS)
THEN: Final = ("poll all, send", "poll all, send", "poll all", *ONE, "send", "nothing")
RUNS_MAX: Final = 40
"""So many runs of an app are all looked at in one poll."""
QUESTIONS: Final = st.lists(st.sampled_from((1, 1, 2, 3, 0)), min_size=1, max_size=4)
LOOKS_FAIL: Final = ("a proxy's 404", "a proxy's 404", "another run", "no answer", "null data", "unavailable")
AN_APP: Final = st.sampled_from(APPS)


def step(**strategies: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule, after which the watcher does its work, or some of it: no mixture of rules leaves it idle."""

    def decorate(happens: Callable[..., None]) -> Any:
        @rule(**strategies, then=st.sampled_from(THEN))
        @wraps(happens)
        def stepped(self: "Watching", *, then: str, **drawn: Any) -> None:
            happens(self, **drawn)
            if "poll" in then:
                self.poll_once([app for app in APPS if app in then] or None)
            if "send" in then:
                self.deliver()
            self.clock.passes(1.0)

        return stepped

    return decorate


class Watching(Scene, RuleBasedStateMachine):
    """Runs ask, people answer, everything fails, time passes; after each step what must hold is checked."""

    @initialize(
        config=CONFIGS,
        page_sizes=st.tuples(*[st.sampled_from((1, 2, 3, 100))] * 2),
        forms=st.tuples(*[st.sampled_from(FORMS)] * 2),
        min_interval=st.sampled_from((0.0, 0.0, 1.0)),
        shared=st.booleans(),
        questions=st.tuples(QUESTIONS, QUESTIONS),
    )
    def set_up(
        self,
        *,
        config: Config,
        page_sizes: tuple[int, int],
        forms: tuple[Form, Form],
        min_interval: float,
        shared: bool,
        questions: tuple[list[int], list[int]],
    ) -> None:
        """Configures the watcher and starts it; some runs wait already."""
        worlds = [World(page_size=size, form=form) for size, form in zip(page_sizes, forms, strict=True)]
        self.open(worlds, config, min_interval=min_interval, shared=shared)
        for world, numbers in zip(worlds, questions, strict=True):
            for number in numbers:
                world.new_run(number)

    # What happens in the world

    @step(app=AN_APP, questions=QUESTIONS)
    def runs_appear(self, *, app: str, questions: list[int]) -> None:
        """Runs appear that ask so many things at once; 0 is one that waits without showing what for."""
        for number in questions:
            if len(self.worlds[app].runs) < RUNS_MAX:
                self.worlds[app].new_run(number)

    @precondition(lambda self: any(world.runs for world in self.worlds.values()))
    @step(
        data=st.data(),
        request_id=st.sampled_from(("q1", "q2", "fresh")),
        same=st.booleans(),
        answered=st.booleans(),
        midway=st.integers(0, 3),
    )
    def run_asks(
        self, *, data: st.DataObject, request_id: str, same: bool, answered: bool, midway: int
    ) -> None:
        """A run asks again, or one thing more: with an id that it had or another, the same or not."""
        world, run = self.a_run(data)

        def ask() -> None:
            old = [each for each in run.questions if each.request_id == request_id]
            if answered:
                run.questions.clear()
            elif not same:
                run.questions = [each for each in run.questions if each not in old]
            prompt = old[0].prompt if same and old else None
            world.ask(run, request_id, prompt or (f"{request_id} as ever" if same else None))

        world.happens(ask, midway)

    @precondition(lambda self: self.somebody_waits())
    @step(data=st.data(), midway=st.integers(0, 4))
    def request_is_answered(self, data: st.DataObject, midway: int) -> None:
        """A request is answered."""
        world, run = self.a_run(data, waiting=True)
        place = data.draw(st.integers(0, 2))

        def answer() -> None:
            del run.questions[place : place + 1]
            run.settle()

        world.happens(answer, midway)

    @precondition(lambda self: self.somebody_waits())
    @step(data=st.data())
    def answer_echoes(self, data: st.DataObject) -> None:
        """A request is answered, and shown once more when its run resumes."""
        world, run = self.a_run(data, waiting=True)
        asked = list(run.questions)
        run.questions.clear()
        run.settle()
        self.poll_once()
        if run.id in world.runs and asked:
            run.status, run.questions = AWAITING, asked
        self.poll_once()

    @precondition(lambda self: self.somebody_waits())
    @step(
        data=st.data(),
        how=st.sampled_from(("completed", "failed", "canceled", "started", "deleted", "curious")),
        midway=st.integers(0, 4),
    )
    def run_ends(self, data: st.DataObject, how: str, midway: int) -> None:
        """A run ends, is deleted, or goes on."""
        world, run = self.a_run(data, waiting=True)

        def end() -> None:
            run.status, run.hidden = how, False
            run.questions.clear()
            if how == "deleted":
                world.runs.pop(run.id, None)

        world.happens(end, midway)

    @precondition(lambda self: self.somebody_waits())
    @step(data=st.data(), how=st.sampled_from(("hidden", "shown", "paused", "parked")))
    def question_is_hidden(self, data: st.DataObject, how: str) -> None:
        """A run hides its question, shows it again, or is paused, without one or with it."""
        _, run = self.a_run(data, waiting=True)
        run.hidden = how == "hidden"
        run.status = AWAITING
        if how == "paused":
            run.status = PAUSED
            run.questions.clear()
        run.settle()
        if how == "hidden":
            run.status = AWAITING
        if how == "parked" and run.questions:
            run.status = PAUSED

    # What befalls the API

    @step(
        app=AN_APP,
        call=st.sampled_from(("app", "details", "page 1", "page 2", "run-1", "run-2")),
        kind=st.sampled_from(sorted(BAD)),
        polls=st.sampled_from((1, 2, 100)),
    )
    def calls_fail(self, *, app: str, call: str, kind: str, polls: int) -> None:
        """Calls of one kind to an app fail in the next polls."""
        self.worlds[app].trouble[call] = (kind, polls)

    @precondition(lambda self: any(world.trouble for world in self.worlds.values()))
    @step(apps=st.sampled_from((APPS, *[(app,) for app in APPS])))
    def api_heals(self, apps: tuple[str, ...]) -> None:
        """The API of some apps is well again."""
        for app in apps:
            self.worlds[app].trouble.clear()

    @precondition(lambda self: self.somebody_waits())
    @step(data=st.data(), kind=st.sampled_from(LOOKS_FAIL))
    def run_is_lost_sight_of(self, *, data: st.DataObject, kind: str) -> None:
        """A run is missing in the next listing, and cannot be looked at either."""
        world, run = self.a_run(data, waiting=True)
        world.missing.add(run.id)
        world.trouble[run.id] = (kind, 1)
        self.poll_once()

    @step(app=AN_APP, times=st.integers(1, 3), seconds=st.sampled_from((0.0, 0.0, *SEEN_SETS)))
    def app_is_down(self, *, app: str, times: int, seconds: float) -> None:
        """An app answers nothing for minutes, just when the clock is set or not; the other is well or not."""
        self.worlds[app].trouble["app"] = ("broken", 100)
        if seconds:
            self.clock_is_set(seconds)
        for _ in range(times):
            self.poll_once()
            self.deliver()
            self.clock.passes(50.0)

    @step(app=AN_APP, call=st.integers(1, 3))
    def api_is_slow(self, *, app: str, call: int) -> None:
        """A call of the next poll takes so long that people cannot wait for the end of the poll."""
        self.worlds[app].midway[call] = lambda: self.clock.passes(6.0)

    @step(app=AN_APP, form=st.sampled_from(FORMS), junk=st.booleans())
    def list_looks_different(self, *, app: str, form: Form, junk: bool) -> None:
        """The list shows questions, or not, or has something odd among the runs."""
        self.worlds[app].form, self.worlds[app].junk = form, junk

    @precondition(lambda self: self.somebody_waits())
    @step(data=st.data(), twice=st.booleans())
    def pages_shift(self, *, data: st.DataObject, twice: bool) -> None:
        """A run is missing in the next listing, or is there twice."""
        world, run = self.a_run(data, waiting=True)
        (world.twice if twice else world.missing).add(run.id)

    # What the watcher does

    @step(times=st.integers(1, 3), apart=st.sampled_from((0.0, 6.0, 15.0)))
    def watch(self, *, times: int, apart: float) -> None:
        """The apps are polled once or a few times more, and what is due is sent."""
        for _ in range(times):
            self.poll_once()
            self.deliver()
            self.clock.passes(apart)

    @precondition(lambda self: self.rows("SELECT 1 FROM deliveries WHERE state = 'dead' LIMIT 1"))
    @step()
    def dead_are_put_back(self) -> None:
        """Somebody uses `watcher retry --all-dead`."""
        self.put_back_dead()

    @step(seconds=st.sampled_from(JUMPS))
    def time_passes(self, seconds: float) -> None:
        """Time passes, and what is long over is deleted."""
        self.clock.passes(seconds)
        self.prune()

    @step()
    def something_comes_due(self) -> None:
        """Time passes until the next delivery that waits for its time."""
        (row,) = self.rows(
            "SELECT min(next_attempt_at) AS at FROM deliveries WHERE state = 'pending'"
            f" AND next_attempt_at > {self.clock.now}"
        )
        if row["at"] is not None:
            self.clock.passes(row["at"] - self.clock.now)
            self.deliver()

    @step(seconds=st.sampled_from(UNSEEN_SETS))
    def clock_is_set_unseen(self, seconds: float) -> None:
        """The clock is set back a little, and the watcher has not noticed yet."""
        self.clock.set_by(seconds)

    @step(seconds=st.sampled_from(SEEN_SETS))
    def clock_is_set_by(self, seconds: float) -> None:
        """The clock is set, and the watcher sees it."""
        self.clock_is_set(seconds)

    # What befalls the watcher and the destinations

    @step(
        blow=st.sampled_from(BLOWS),
        commits=st.integers(0, 5),
        delivering=st.booleans(),
        asks=st.sampled_from((None, *APPS)),
    )
    def blow_falls(self, *, blow: Blow, commits: int, delivering: bool, asks: str | None) -> None:
        """While it polls or delivers the process is killed at a commit, or cannot commit, or is stopped."""
        if asks is not None:
            self.worlds[asks].new_run(1)
        if delivering:
            self.poll_once()  # so that there is something to send
        if blow == "cut short":
            self.run(self.process.start())
        self.fate.arm("killed after" if delivering and blow == "cut short" else blow, commits)
        if delivering:
            self.deliver()
        else:
            self.poll_once()
        self.fate.blow = None
        if blow == "cut short":  # the process is stopping: it sends what it can
            self.deliver()
            self.kill()

    @precondition(lambda self: self.process.store)
    @step()
    def killed(self) -> None:
        """The process is killed, with whatever is under way; it is started again when it is needed."""
        self.kill()

    @step(config=CONFIGS)
    def configuration_changes(self, config: Config) -> None:
        """The process is started with another configuration."""
        self.configure(config)

    @step(
        number=st.integers(0, len(NOTIFIERS) - 1),
        mood=st.sampled_from(MOODS),
        script=st.lists(st.sampled_from(MOODS), max_size=3),
    )
    def mood_changes(self, *, number: int, mood: Mood, script: list[Mood]) -> None:
        """A destination does something else from now on."""
        self.destinations[number].feels(mood, script)

    @step(
        number=st.integers(0, len(NOTIFIERS) - 1),
        mood=st.sampled_from(("refuses", "says when", "loses replies")),
        times=st.integers(1, 3),
        answered=st.booleans(),
    )
    def notifier_is_down(self, *, number: int, mood: Mood, times: int, answered: bool) -> None:
        """A destination accepts nothing for minutes, while runs ask and are answered or not."""
        self.destinations[number].feels(mood, [])
        for time in range(times):
            world = self.worlds[APPS[time % len(APPS)]]
            run = world.new_run(1)
            self.poll_once()
            self.deliver()
            self.clock.passes(70.0)
            if answered:
                run.questions.clear()
                run.settle()

    @step(number=st.integers(0, len(NOTIFIERS) - 1))
    def reply_comes(self, number: int) -> None:
        """A destination that hung goes on."""
        self.destinations[number].gate.set()
        self.destinations[number].mood, self.destinations[number].script = "well", []
        self.deliver()

    # What must hold

    @invariant()
    def destinations_saw_nothing_wrong(self) -> None:
        """Nobody is told twice, out of order, late or early."""
        self.check_destinations()

    @invariant()
    def outbox_is_sound(self) -> None:
        """Everybody is to be told of everything that waits."""
        self.check_outbox()

    def a_run(self, data: st.DataObject, *, waiting: bool = False) -> tuple[World, ModelRun]:
        """Returns one of the runs, and its world."""
        runs = [
            (app, run.id)
            for app, world in self.worlds.items()
            for run in (world.waiting() if waiting else world.runs.values())
        ]
        app, run_id = data.draw(st.sampled_from(runs))
        return self.worlds[app], self.worlds[app].runs[run_id]


class WatchingOnPostgresql(Watching):
    """The same on PostgreSQL."""


def exploring(examples: int) -> settings:
    """Returns settings by which the same so many scenarios are played each time, unless more are wanted."""
    if LONG:
        return settings()
    return settings(
        max_examples=examples, stateful_step_count=30, derandomize=True, database=None, deadline=None
    )


TestWatching = Watching.TestCase
TestWatching.settings = exploring(40)
TestWatchingOnPostgresql = pytest.mark.usefixtures("on_postgresql")(WatchingOnPostgresql.TestCase)
TestWatchingOnPostgresql.settings = exploring(4)


@pytest.fixture
def on_postgresql(emptied_schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plays on PostgreSQL."""
    monkeypatch.setattr(WatchingOnPostgresql, "schema", emptied_schema)
