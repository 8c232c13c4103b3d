"""The scene of the model: worlds, process, destinations, and what is checked after each happening."""

import asyncio
import tempfile
from collections.abc import Collection, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Final

import pytest
from structlog.testing import capture_logs

from tests.resilience.model import checks
from tests.resilience.model.book import Book
from tests.resilience.model.config import APPS, DIGESTS, NOTIFIERS, REMINDERS, make_config, notifier_config
from tests.resilience.model.destination import Destination
from tests.resilience.model.fate import Fate, ModelClock, ModelLoop, at_once
from tests.resilience.model.ledger import Ledger
from tests.resilience.model.news import News
from tests.resilience.model.process import Process
from tests.resilience.model.world import Exchange, World, identities
from tests.support.databases import OnSqlite, Place, empty, on_postgresql
from tests.support.postgresql import Schema
from watcher import bootstrap
from watcher.config.models import Config
from watcher.models import AWAITING
from watcher.polling import preparation as sightings
from watcher.store import outbox
from watcher.store.sql import Row

DAY: Final = 86_400.0
RETENTION: Final = 200_000.0
ENDLESS: Final = 2000
"""So many are too many for anything to be sent or given up."""


class Scene:
    """All parts of one scenario, on a database of its own.

    After `settling_turns` half days nothing more is planned.
    """

    settling_turns = 10
    schema: ClassVar[Schema | None] = None
    """Where it is played on PostgreSQL; on SQLite if there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(capture_logs())
        patched = self.stack.enter_context(pytest.MonkeyPatch.context())
        patched.setattr(sightings, "run_cpu_bound", at_once)
        self.clock = ModelClock()
        patched.setattr(bootstrap, "time", self.clock)
        runner = self.stack.enter_context(asyncio.Runner(loop_factory=lambda: ModelLoop(self.clock)))
        self.loop = runner.get_loop()
        # What a killed process did not look at any more is of no interest.
        self.loop.set_exception_handler(lambda *_: None)
        if self.schema is None:
            directory = self.stack.enter_context(tempfile.TemporaryDirectory())
            self.place: Place = OnSqlite(Path(directory, "watcher.db"))
        else:
            self.place = on_postgresql(self.schema)
            self.stack.callback(empty, self.schema)
        self.fate = Fate()

    def open(self, worlds: Sequence[World], config: Config, *, min_interval: float, shared: bool) -> None:
        """Starts the watcher; with `shared` the notifiers for people send to one place."""
        self.worlds = dict(zip(APPS, worlds, strict=True))
        self.place.open().close()
        self.database = self.stack.enter_context(self.place.looking())
        self.book = Book()
        self.news = News(self.clock, self.database)
        self.ledger = Ledger(self.clock, self.database, self.book, self.news)
        places = {"slack": "a channel", "leads": "a channel" if shared else "another"}
        self.destinations = [
            Destination(
                name,
                self.fate,
                self.ledger,
                place=places.get(name, name),
                min_interval=min_interval if name in places else 0.0,
            )
            for name in NOTIFIERS
        ]
        self.process = Process(
            self.place, self.clock, self.worlds, self.destinations, self.fate, self.ledger, config
        )
        self._adapt(config)
        self.run(self.process.start())

    def teardown(self) -> None:
        """Lets everything come to its end, and checks that it did."""
        try:
            if hasattr(self, "process"):
                self.come_to_an_end()
        finally:
            if hasattr(self, "process") and self.process.store is not None:
                self.loop.run_until_complete(self.process.kill())
            self.stack.close()

    # What the watcher does

    def poll_once(self, apps: Collection[str] | None = None) -> None:
        """Polls those of the apps that are watched, and checks that what changed is what was shown."""
        self.run(self.process.start())
        config = self.process.config
        watched = [each.name for each in config.apps if apps is None or each.name in apps]
        before = checks.remember(self.database, self.process.in_flight())
        began = self.clock.now
        for app in watched:
            self.worlds[app].begin()
        exchanges = {app: self.worlds[app].exchange for app in watched}
        struck = self.fate.blow is not None or self.fate.dead
        outcomes = self.loop.run_until_complete(self.process.poll(watched))
        for app in watched:
            self.worlds[app].end()
        after = checks.remember(self.database, self.process.in_flight())
        silent = {app for app in watched if config.backlog == "baseline" and app not in self.book.worked}
        for request in checks.begun_between(before, after):
            assert began <= request.first_seen_at <= self.clock.now
            self.book.first_seen(request.key, request.app, config, request.first_seen_at)
        self._look_at_news(before.in_flight | after.in_flight, exchanges)
        self.hold(
            *checks.check_ends(before, after, exchanges),
            *checks.check_nothing_ends_in_silence(before, after, exchanges),
            *checks.check_beginnings(before, after, exchanges, silent),
        )
        if self.clock.now == began or self.process.idle():
            self.hold(*checks.check_end_told(self.database, before, after, config, self.ledger))
        for app, outcome in outcomes.items():
            self._check_poll(app, outcome, before, after, exchanges[app], took=self.clock.now - began)
            if not struck and not (exchanges[app].troubled or exchanges[app].stirred):
                assert outcome == "whole"
                self.check_knowledge(app, after)

    def _check_poll(
        self,
        app: str,
        outcome: str,
        before: checks.Memory,
        after: checks.Memory,
        exchange: Exchange,
        *,
        took: float,
    ) -> None:
        self.news.polled(app, whole=outcome == "whole")
        silent = self.process.config.backlog == "baseline" and app not in self.book.worked
        if outcome == "whole" or (outcome != "failed" and self._worked(app)):
            self.book.worked.add(app)
        self.hold(
            *(f"{app} never was polled whole" for _ in [0] if self._worked(app) != (app in self.book.worked))
        )
        if outcome == "whole":
            self.hold(*self.news.check_app_well(app))
        if self.fate.refused or outcome == "killed":
            return
        self.hold(*(f"news of {app} is held" for held in after.held if held == app))
        if outcome == "cut short":
            return
        whole = outcome == "whole"
        self.hold(*checks.check_seen(after, app, exchange, self.clock.now, took=took, whole=whole))
        if not whole and self.process.store is not None:
            self.hold(*self.news.check_apps_told(self.process.config, app))
        begun = [each for each in checks.begun_between(before, after) if each.app == app]
        if not silent and app not in before.held and not took and all(each.outcome is None for each in begun):
            keys = {each.key for each in begun}
            for name in DIGESTS:
                self.hold(*checks.check_digest(self.database, self.process.config, app, keys, name))

    def _worked(self, app: str) -> bool:
        return bool(self.rows(f"SELECT 1 FROM apps WHERE name = '{app}' AND first_success_at IS NOT NULL"))

    def check_knowledge(self, app: str, after: checks.Memory) -> None:
        """After a quiet poll what is known to wait is what waits."""
        world = self.worlds[app]
        asked, known = identities(world.runs.values()), after.waiting(app)
        hidden = {run.id for run in world.waiting() if not run.asks()}
        self.hold(
            *(
                f"{run_id} no longer asks {identity}"
                for run_id, identity in known - asked
                if run_id not in hidden
            )
        )
        for run in world.waiting():
            if run.status == AWAITING and not run.asks() and not any(run.id == each for each, _ in known):
                assert (app, run.id) in after.hidden

    def deliver(self) -> None:
        """Sends what is due, and checks that who is well gets all of it."""
        self.run(self.process.start())
        due_by, began = self.clock.now, self.news.moment()
        newest = self.rows("SELECT coalesce(max(id), 0) AS id FROM deliveries")[0]["id"]
        finished = self.run(self.process.deliver())
        if self.process.store is None or self.fate.refused:
            self.news.unsure()
            return
        self.hold(*self.news.check_notifiers_told(self.process.config, began))
        assert self.ledger.life is not None
        polled = self.ledger.life.polled
        for destination in self.destinations:
            if destination.name in finished and destination.spotless:
                self.hold(
                    *checks.check_all_sent(
                        self.database, destination.name, newest=newest, due_by=due_by, polled=polled
                    )
                )

    # What befalls it

    def configure(self, config: Config) -> None:
        """Ends the process, if it runs; the next one has another configuration."""
        self.kill()
        self.process.config = config
        self._adapt(config)

    def _adapt(self, config: Config) -> None:
        for app in config.apps:
            self.worlds[app.name].watch_paused = app.watch_paused
        for destination in self.destinations:
            if notifier_config(config, destination.name) is None:
                destination.spotless = False

    def kill(self) -> None:
        """Kills the process, if it runs."""
        if self.process.store is not None:
            self.run(self.process.kill())

    def clock_is_set(self, seconds: float) -> None:
        """The wall clock is set, and the watcher sees it."""
        self.run(self.process.start())
        self.clock.set_by(seconds)
        self.book.clock_set(seconds)
        self.news.clock_set(seconds)
        self.run(self.process.clock_set(seconds))

    def prune(self) -> None:
        """What is long over is deleted."""
        self.run(self.process.prune(self.clock.now - RETENTION))
        self.ledger.forget()

    def put_back_dead(self) -> None:
        """Somebody uses `watcher retry --all-dead`."""
        dead = self.rows("SELECT id, thread_key FROM deliveries WHERE state = 'dead'")
        with self.place.changing(self.clock.now) as tx:
            outbox.requeue(tx, [row["id"] for row in dead])
        self.ledger.requeued |= {row["thread_key"] for row in dead}

    # What must hold

    def check_destinations(self) -> None:
        """Checks that destinations saw nothing that they should not have seen."""
        self.hold(*self.ledger.violations)

    def check_outbox(self) -> None:
        """Checks that everybody is to be told of everything that waits."""
        self.hold(*checks.check_told(self.database, self.book))
        if self.process.store is not None:  # else the outbox may still fit another configuration
            self.hold(
                *checks.check_removed(self.database, self.process.config, self.ledger.requeued),
                *checks.check_reminders(
                    self.database, self.process.config, self.ledger.requeued, self.clock.latest
                ),
            )

    def come_to_an_end(self) -> None:
        """Heals all but who is ill, puts back what was taken out, and lets time pass until all is over."""
        self._heal()
        self.deliver()
        for _ in range(3):
            self.poll_once()
            self.deliver()
            self.clock.passes(80.0)
        self.poll_once()
        for app, world in self.worlds.items():
            known = checks.remember(self.database, ()).waiting(app)
            for run in world.waiting():
                assert run.asks() or any(run.id == run_id for run_id, _ in known), run
        for turn in range(ENDLESS):
            # Who asks for a pause each time gets one delivery a turn, and each 25 times before it is dead.
            ended = self.process.idle() and not any(
                checks.check_all_ended(self.database, self.process.config)
            )
            if ended and turn >= self.settling_turns:
                break
            self.clock.passes(DAY / 2)
            self.deliver()
        self.check_destinations()
        self.check_outbox()
        assert self.process.idle()
        self.hold(*checks.check_all_ended(self.database, self.process.config))
        for destination in self.destinations:
            if destination.spotless:
                self.hold(*checks.check_delivered(self.database, self.ledger, destination.name))

    def _heal(self) -> None:
        self.fate.blow = None
        config = self.process.config
        if (len(config.apps), len(config.notifiers)) != (len(APPS), len(NOTIFIERS)):
            self.configure(make_config(remind_after=(REMINDERS[2],) * 3, digest_above=1))
        for world in self.worlds.values():
            world.trouble.clear()
        for destination in self.destinations:
            if destination.mood in {"well", "hangs", "replies late"}:
                destination.mood = "well"
            destination.script = []
            destination.gate.set()

    def somebody_waits(self) -> bool:
        """Returns whether a run of any app waits."""
        return any(world.waiting() for world in self.worlds.values())

    def hold(self, *wrong: str) -> None:
        """Fails if anything is wrong."""
        assert not wrong, "\n".join(wrong)

    def rows(self, query: str) -> Sequence[Row]:
        """Returns what the database says."""
        return self.database.execute(query)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs something to its end, and looks at what was told meanwhile of apps and notifiers."""
        before = self.process.in_flight()
        result = self.loop.run_until_complete(work)
        self._look_at_news(before | self.process.in_flight(), {})
        return result

    def _look_at_news(self, in_flight: Collection[int], exchanges: dict[str, Exchange]) -> None:
        polled = [app for app, exchange in exchanges.items() if exchange.list_seen]
        self.hold(*self.news.look(self.process.config, in_flight, polled))
