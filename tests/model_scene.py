"""The scene of the model: world, process, destinations, and what is checked after a poll and in the end."""

import asyncio
import sqlite3
import tempfile
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from tests import model_checks as checks
from tests.builders import Clock
from tests.model_ledger import Ledger
from tests.model_process import Destination, Fate, Process, StillLoop, at_once
from tests.model_world import World, identities
from watcher import sightings
from watcher.models import AWAITING

DAY: Final = 86_400.0


class Scene:
    """All parts of one scenario, on a database of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(capture_logs())
        patched = self.stack.enter_context(pytest.MonkeyPatch.context())
        patched.setattr(sightings, "computing", at_once)
        self.runner = self.stack.enter_context(asyncio.Runner(loop_factory=StillLoop))
        # What a killed process did not look at any more is of no interest.
        self.runner.get_loop().set_exception_handler(lambda *_: None)
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.path = Path(directory, "watcher.db")
        self.clock = Clock()
        self.fate = Fate()

    def open(self, world: World, digest_above: int, destinations: Sequence[Destination]) -> None:
        """Starts the watcher."""
        self.world = world
        self.digest_above = digest_above
        self.destinations = destinations
        self.database = sqlite3.connect(self.path, isolation_level=None)
        self.database.row_factory = sqlite3.Row
        self.stack.callback(self.database.close)
        self.ledger = Ledger(self.clock, self.database, {each.name: each.slots for each in destinations})
        for destination in destinations:
            destination.belongs_to(self.fate, self.ledger)
        self.process = Process(
            self.path, self.clock, world, destinations, self.fate, self.ledger, digest_above
        )
        self.run(self.process.start())

    def teardown(self) -> None:
        """Lets everything come to its end, and checks that it did."""
        try:
            if hasattr(self, "process"):
                self.come_to_an_end()
        finally:
            if hasattr(self, "process") and self.process.store is not None:
                self.run(self.process.kill())
            self.stack.close()

    def deliver(self) -> None:
        """Sends what is due."""
        self.run(self.process.deliver())

    def check_destinations(self) -> None:
        """Checks that destinations saw nothing that they should not have seen."""
        self.hold(*self.ledger.violations)

    def check_outbox(self) -> None:
        """Checks that everybody is to be told of everything that waits."""
        self.hold(
            *checks.check_told(self.database, self.destinations),
            *checks.check_reminders(self.database, self.destinations, self.ledger.put_back, self.clock.now),
            *checks.check_digests(self.database, self.digest_above),
        )

    def poll_once(self) -> None:
        """Polls, and checks that what changed is what was shown."""
        self.run(self.process.start())
        before = checks.remember(self.database, self.process.in_flight())
        self.world.begin()
        quiet = not (self.world.exchange.troubled or self.world.exchange.stirred or self.fate.blow)
        outcome = self.run(self.process.poll())
        self.world.end()
        after = checks.remember(self.database, ())
        exchange = self.world.exchange
        self.hold(
            *checks.check_ends(before, after, exchange),
            *checks.check_beginnings(before, after, exchange),
            *checks.check_end_told(self.database, before, after, self.destinations),
        )
        if self.fate.refused or outcome == "killed":
            return
        self.hold(*(f"{row['id']} is held" for row in self.rows("SELECT id FROM deliveries WHERE held")))
        if outcome != "cut short":
            whole = outcome == "whole"
            self.hold(*checks.check_seen(after, exchange, self.clock.now, whole=whole))
            if whole:
                self.hold(*checks.check_recovery(self.database, self.ledger))
        if quiet:
            assert outcome == "whole"
            self.check_knowledge(after)

    def check_knowledge(self, after: checks.Memory) -> None:
        """After a quiet poll what is known to wait is what waits."""
        asked = identities(self.world.waiting())
        known = after.waiting()
        hidden = {run.id for run in self.world.waiting() if not run.asks()}
        self.hold(
            *(
                f"{run_id} no longer asks {identity}"
                for run_id, identity in known - asked
                if run_id not in hidden
            )
        )
        for run in self.world.waiting():
            if run.status == AWAITING and not run.asks() and not any(run.id == each for each, _ in known):
                assert any(row["run_id"] == run.id for row in self.rows("SELECT run_id FROM hidden_runs"))

    def come_to_an_end(self) -> None:
        """Heals everything, and lets time pass until all that waits for time is over."""
        self.fate.blow = None
        self.world.trouble.clear()
        for destination in self.destinations:
            if destination.mood in {"well", "hangs", "replies late"}:
                destination.mood = "well"
            destination.script = []
            destination.gate.set()
        self.deliver()
        for _ in range(3):
            self.poll_once()
            self.deliver()
            self.clock.now += 80.0
        self.poll_once()
        for run in self.world.waiting():
            if not run.asks():
                known = checks.remember(self.database, ()).waiting()
                assert any(run.id == run_id for run_id, _ in known), run
        for _ in range(20):
            self.clock.now += DAY / 4
            self.deliver()
        self.check_destinations()
        self.check_outbox()
        assert self.process.idle()
        left = self.rows(
            "SELECT d.*, e.type FROM deliveries d JOIN events e ON e.id = d.event WHERE d.state = 'pending'"
        )
        self.hold(*(f"{row['id']} {row['type']} for {row['notifier']} never ends" for row in left))

    def hold(self, *wrong: str) -> None:
        """Fails if anything is wrong."""
        assert not wrong, "\n".join(wrong)

    def rows(self, query: str) -> list[sqlite3.Row]:
        """Returns what the database says."""
        return self.database.execute(query).fetchall()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs something to its end."""
        return self.runner.run(work)
