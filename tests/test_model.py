"""A model of apps, runs and requests against the real poller, store and lanes, by Hypothesis.

`pytest tests/test_model.py` takes a short way of always the same course; `pytest tests/test_model.py
--hypothesis-profile=long` looks for new ones for as long as it is let.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model_process import Blow, Destination, Mood
from tests.model_scene import Scene
from tests.model_world import BAD, FORMS, Form, ModelRun, World
from watcher.models import AWAITING, PAUSED, Route
from watcher.store import outbox
from watcher.store.schema import open_beside

LONG: Final = settings.get_current_profile_name() == "long"

pytestmark = pytest.mark.timeout(0 if LONG else 240)

REMINDERS: Final = ((), (600.0,), (600.0, 3600.0, 7200.0), (3600.0, 200_000.0))
JUMPS: Final = (-60.0, -3.0, -0.5, 1.0, 4.0, 6.0, 40.0, 130.0, 700.0, 3700.0, 30_000.0, 90_000.0, 300_000.0)
BLOWS: Final[tuple[Blow, ...]] = ("killed before", "killed after", "refused", "cut short")
MOODS: Final[tuple[Mood, ...]] = (
    "well",
    "refuses",
    "says when",
    "wants mending",
    "slips",
    "loses replies",
    "hangs",
    "replies late",
)
THEN: Final = ("poll, send", "poll, send", "poll", "send", "nothing")
RETENTION: Final = 200_000.0


def step(**strategies: Any) -> Callable[[Callable[..., None]], Any]:
    """A rule, after which the watcher does its work, or some of it: no mixture of rules leaves it idle."""

    def decorate(happens: Callable[..., None]) -> Any:
        @rule(**strategies, then=st.sampled_from(THEN))
        @wraps(happens)
        def stepped(self: "Watching", *, then: str, **drawn: Any) -> None:
            happens(self, **drawn)
            if "poll" in then:
                self.poll_once()
            if "send" in then:
                self.deliver()
            self.clock.now += 1.0

        return stepped

    return decorate


class Watching(Scene, RuleBasedStateMachine):
    """Runs ask, people answer, everything fails, time passes; after each step what must hold is checked."""

    @initialize(
        after=st.tuples(*[st.sampled_from((0.0, 0.0, 60.0, 900.0))] * 3),
        remind_after=st.tuples(*[st.sampled_from(REMINDERS)] * 3),
        resolved=st.tuples(*[st.sampled_from((True, True, False))] * 3),
        digest_above=st.sampled_from((0, 1, 2, 4)),
        watch_paused=st.booleans(),
        page_size=st.sampled_from((1, 2, 3, 100)),
        form=st.sampled_from(FORMS),
        questions=st.lists(st.sampled_from((1, 1, 2, 3, 0)), min_size=1, max_size=4),
    )
    def set_up(
        self,
        *,
        after: tuple[float, ...],
        remind_after: tuple[tuple[float, ...], ...],
        resolved: tuple[bool, ...],
        digest_above: int,
        watch_paused: bool,
        page_size: int,
        form: Form,
        questions: list[int],
    ) -> None:
        """Configures the watcher and starts it; some runs wait already."""
        self.open(
            World(watch_paused=watch_paused, page_size=page_size, form=form),
            digest_above,
            [
                Destination(
                    Route(
                        name,
                        for_people=name != "webhook",
                        after=after[number],
                        resolved=resolved[number],
                        digests=name == "slack" and digest_above > 0,
                    ),
                    tuple(age for age in remind_after[number] if age > after[number]),
                )
                for number, name in enumerate(("slack", "console", "webhook"))
            ],
        )
        for number in questions:
            self.world.new_run(number)

    # What happens in the world

    @step(questions=st.lists(st.sampled_from((1, 1, 2, 3, 0)), min_size=1, max_size=4))
    def runs_appear(self, questions: list[int]) -> None:
        """Runs appear that ask so many things at once; 0 is one that waits without showing what for."""
        for number in questions:
            self.world.new_run(number)

    @precondition(lambda self: self.world.runs)
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
        run = self.a_run(data)

        def ask() -> None:
            old = [each for each in run.questions if each.request_id == request_id]
            if answered:
                run.questions.clear()
            elif not same:
                run.questions = [each for each in run.questions if each not in old]
            prompt = old[0].prompt if same and old else None
            self.world.ask(run, request_id, prompt or (f"{request_id} as ever" if same else None))

        self.happens(ask, midway)

    @precondition(lambda self: self.world.waiting())
    @step(data=st.data(), midway=st.integers(0, 4))
    def request_is_answered(self, data: st.DataObject, midway: int) -> None:
        """A request is answered."""
        run = self.a_run(data, waiting=True)
        place = data.draw(st.integers(0, 2))

        def answer() -> None:
            del run.questions[place : place + 1]
            run.settle()

        self.happens(answer, midway)

    @precondition(lambda self: self.world.waiting())
    @step(
        data=st.data(),
        how=st.sampled_from(("completed", "failed", "canceled", "started", "deleted", "curious")),
        midway=st.integers(0, 4),
    )
    def run_ends(self, data: st.DataObject, how: str, midway: int) -> None:
        """A run ends, is deleted, or goes on."""
        run = self.a_run(data, waiting=True)

        def end() -> None:
            run.status, run.hidden = how, False
            run.questions.clear()
            if how == "deleted":
                self.world.runs.pop(run.id, None)

        self.happens(end, midway)

    @precondition(lambda self: self.world.waiting())
    @step(data=st.data(), how=st.sampled_from(("hidden", "shown", "paused")))
    def question_is_hidden(self, data: st.DataObject, how: str) -> None:
        """A run hides its question, shows it again, or is paused without one."""
        run = self.a_run(data, waiting=True)
        run.hidden = how == "hidden"
        run.status = AWAITING
        if how == "paused":
            run.status = PAUSED
            run.questions.clear()
        run.settle()
        if how == "hidden":
            run.status = AWAITING

    # What befalls the API

    @step(
        call=st.sampled_from(("app", "details", "page 1", "page 2", "run-1", "run-2")),
        kind=st.sampled_from(sorted(BAD)),
        polls=st.sampled_from((1, 2, 100)),
    )
    def calls_fail(self, *, call: str, kind: str, polls: int) -> None:
        """Calls of one kind fail in the next polls."""
        self.world.trouble[call] = (kind, polls)

    @precondition(lambda self: self.world.trouble)
    @step()
    def api_heals(self) -> None:
        """The API is well again."""
        self.world.trouble.clear()

    @step(form=st.sampled_from(FORMS), junk=st.booleans())
    def list_looks_different(self, *, form: Form, junk: bool) -> None:
        """The list shows questions, or not, or has something odd among the runs."""
        self.world.form, self.world.junk = form, junk

    @precondition(lambda self: self.world.waiting())
    @step(data=st.data(), twice=st.booleans())
    def pages_shift(self, *, data: st.DataObject, twice: bool) -> None:
        """A run is missing in the next listing, or is there twice."""
        (self.world.twice if twice else self.world.missing).add(self.a_run(data, waiting=True).id)

    # What the watcher does

    @step(times=st.integers(1, 3), apart=st.sampled_from((0.0, 6.0, 15.0)))
    def watch(self, *, times: int, apart: float) -> None:
        """The app is polled once or a few times more, and what is due is sent."""
        for _ in range(times):
            self.poll_once()
            self.deliver()
            self.clock.now += apart

    @precondition(lambda self: self.rows("SELECT 1 FROM deliveries WHERE state = 'dead' LIMIT 1"))
    @step()
    def dead_are_put_back(self) -> None:
        """Somebody uses `watcher retry --all-dead`."""
        dead = self.rows("SELECT id, subject FROM deliveries WHERE state = 'dead'")
        connection = open_beside(self.path)
        with connection:
            outbox.put_back(connection, [row["id"] for row in dead], self.clock.now)
        connection.close()
        self.ledger.put_back |= {row["subject"] for row in dead}

    @step(seconds=st.sampled_from(JUMPS))
    def time_passes(self, seconds: float) -> None:
        """Time passes, or the clock is set back a little; what is long over is deleted."""
        self.clock.now += seconds
        self.run(self.process.prune(self.clock.now - RETENTION))
        self.ledger.forget()

    # What befalls the watcher and the destinations

    @step(
        blow=st.sampled_from(BLOWS),
        commits=st.integers(0, 5),
        delivering=st.booleans(),
        asks=st.booleans(),
    )
    def blow_falls(self, *, blow: Blow, commits: int, delivering: bool, asks: bool) -> None:
        """While it polls or delivers the process is killed at a commit, or cannot commit, or is stopped."""
        if asks:
            self.world.new_run(1)
        if blow == "cut short":
            self.run(self.process.start())
        self.fate.arm("killed after" if delivering and blow == "cut short" else blow, commits)
        if delivering:
            self.deliver()
        else:
            self.poll_once()
        self.fate.blow = None

    @precondition(lambda self: self.process.store)
    @step()
    def killed(self) -> None:
        """The process is killed, with whatever is under way; it is started again when it is needed."""
        self.run(self.process.kill())

    @step(
        number=st.integers(0, 2),
        mood=st.sampled_from(MOODS),
        script=st.lists(st.sampled_from(MOODS), max_size=3),
    )
    def mood_changes(self, *, number: int, mood: Mood, script: list[Mood]) -> None:
        """A destination does something else from now on."""
        destination = self.destinations[number]
        destination.mood, destination.script = mood, script
        destination.gate.clear()

    @step(number=st.integers(0, 2))
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

    def a_run(self, data: st.DataObject, *, waiting: bool = False) -> ModelRun:
        """Returns one of the runs."""
        runs = self.world.waiting() if waiting else list(self.world.runs.values())
        return data.draw(st.sampled_from([run.id for run in runs]).map(self.world.runs.__getitem__))

    def happens(self, what: Callable[[], None], midway: int) -> None:
        """Lets something happen now, or at a call in the midst of the next poll."""
        if midway:
            self.world.midway[midway] = what
        else:
            what()


TestWatching = Watching.TestCase
TestWatching.settings = (
    settings(settings.default)
    if LONG
    else settings(
        settings.default,
        max_examples=60,
        stateful_step_count=30,
        derandomize=True,
        database=None,
        deadline=None,
    )
)
