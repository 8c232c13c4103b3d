"""Killed before and after every single commit of one scenario that has everything in it."""

from collections.abc import Sequence
from functools import cache
from typing import Final

import pytest

from tests.resilience.model.config import APPS, make_config
from tests.resilience.model.fate import Blow
from tests.resilience.model.scene import Scene
from tests.resilience.model.world import World
from tests.support.postgresql import Schema
from tests.support.strategies import LONG

pytestmark = pytest.mark.timeout(240)

FIRST: Final = make_config(
    after=(0.0, 60.0, 0.0), remind_after=((600.0,), (600.0, 3600.0), (3600.0,)), digest_above=2
)
SECOND: Final = make_config(
    notifiers=("slack", "webhook"),
    sales_told_to=("webhook",),
    remind_after=((3600.0,), (), ()),
    digest_above=1,
)
LONGEST: Final = (("begin", "miss", "fail", "change"),)
SCENARIOS: Final = LONGEST if LONG else (("begin", "miss"), ("begin", "fail"), ("begin", "change"))
"""The parts of each scenario: each needs only the first; with the profile `long` all follow each other."""


class Played(Scene):
    """A scenario from its beginning to its end, in which the process is killed at one commit, or never.

    `wrote` are the numbers of the commits that changed something, by the part that they were made in.
    """

    settling_turns = 4  # the last reminder is due after an hour, and a delivery is given up after a day

    def __init__(self, parts: Sequence[str], blow: Blow | None = None, commits: int = 0) -> None:
        super().__init__()
        self.fate.blow, self.fate.commits_left = blow, commits
        self.wrote: dict[str, list[tuple[int, int]]] = {}
        worlds = [World(page_size=2, form="carried"), World(page_size=100, form="absent")]
        try:
            self.open(worlds, FIRST, min_interval=1.0, shared=True)
            for part in parts:
                getattr(self, f"_{part}")()
                self.wrote[part] = self.fate.wrote.copy()
                self.fate.wrote.clear()
            self.told = {row["type"] for row in self.rows("SELECT DISTINCT type FROM events")}
            self.digests = len(self.rows("SELECT DISTINCT digest_id FROM digest_members"))
            assert self.fate.blow is None
        finally:
            self.teardown()

    def _begin(self) -> None:
        """A request, then many at once, one of which is not shown; then one is asked anew."""
        support, sales = (self.worlds[app] for app in APPS)
        first = support.new_run(1)
        self._step()
        for number in (0, 1, 1, 1):
            sales.new_run(number)
        self._step()
        support.ask(first, "q1")
        first.questions.pop(0)
        self._step(100.0)

    def _miss(self) -> None:
        """A run is missing, and a proxy answers for it; a reply is lost, and its request answered."""
        support, slack = self.worlds["support"], self.destinations[0]
        missing = support.new_run(1)
        self._step()
        support.missing.add(missing.id)
        support.trouble[missing.id] = ("a proxy's 404", 1)
        slack.feels("loses replies", [])
        told = support.new_run(1)
        self._step()
        told.questions.clear()
        told.settle()
        self._step()
        slack.feels("well", [])
        self._step()

    def _fail(self) -> None:
        """An app and a notifier fail for minutes, while one is answered and one deleted; hours pass."""
        sales, slack = self.worlds["sales"], self.destinations[0]
        answered, deleted = list(sales.runs.values())[1:3]
        answered.questions.clear()
        answered.settle()
        sales.runs.pop(deleted.id)
        self.worlds["support"].trouble["app"] = ("broken", 2)
        slack.feels("refuses", [])
        self._step(130.0)
        self._step(400.0)
        slack.feels("well", [])
        slack.gate.set()
        self._step(3600.0)

    def _change(self) -> None:
        """A run fails, one asks two things, the configuration changes, and hours pass."""
        support = self.worlds["support"]
        failed = next(iter(support.runs.values()))
        failed.status = "failed"
        failed.questions.clear()
        support.new_run(2)
        self._step()
        self.configure(SECOND)
        for _ in range(2):
            support.new_run(1)
        self._step(4000.0)
        self.prune()
        self._step()

    def _step(self, seconds: float = 1.0) -> None:
        self.poll_once()
        self.deliver()
        self.check_destinations()
        self.check_outbox()
        self.clock.passes(seconds)


class PlayedOnPostgresql(Played):
    """The same on PostgreSQL."""


@cache
def played(parts: Sequence[str], on_postgresql: bool = False) -> Played:  # noqa: FBT001, FBT002
    """Plays a scenario in which nothing is killed; it always takes the same course."""
    return PlayedOnPostgresql(parts) if on_postgresql else Played(parts)


def test_the_scenarios_have_everything_in_them() -> None:
    """What the other test cuts short announces everything that can be announced, and in digests too."""
    whole = [played(parts) for parts in SCENARIOS]
    assert set().union(*(each.told for each in whole)) == {
        "run.input_requested",
        "run.input_reminder",
        "run.input_resolved",
        "watcher.app_failing",
        "watcher.app_recovered",
        "watcher.notifier_failing",
        "watcher.notifier_recovered",
    }
    assert max(each.digests for each in whole) == 2
    assert sum(len(wrote) for each in whole for wrote in each.wrote.values()) > 120


@pytest.mark.parametrize("number", range(len(SCENARIOS)))
@pytest.mark.parametrize("blow", ["killed before", "killed after"])
def test_a_kill_at_any_commit_loses_nothing_and_repeats_no_more_than_was_in_flight(
    blow: Blow, number: int
) -> None:
    """All that must hold does when the process is killed before, or after, each commit that writes.

    After one commit is as before the next where no send began or ended in between.
    """
    kill_at_each_commit(Played, blow, number)


@pytest.mark.parametrize("number", range(len(SCENARIOS) if LONG else 1))
@pytest.mark.parametrize("blow", ["killed before", "killed after"])
def test_a_kill_at_any_commit_on_postgresql(
    blow: Blow, number: int, emptied_schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, too: at every sixteenth commit of the first scenario, with the profile `long` at all of all."""
    monkeypatch.setattr(PlayedOnPostgresql, "schema", emptied_schema)
    kill_at_each_commit(PlayedOnPostgresql, blow, number, step=1 if LONG else 16)


def kill_at_each_commit(kind: type[Played], blow: Blow, number: int, *, step: int = 1) -> None:
    """Plays a scenario again and again; each time the process is killed at another commit."""
    parts, tried = SCENARIOS[number], {part for earlier in SCENARIOS[:number] for part in earlier}
    for part, commits in played(parts, kind is PlayedOnPostgresql).wrote.items():
        following = [sends for _, sends in commits[1:]] + [-1]
        chosen = [
            commit
            for (commit, sends), then in zip(commits, following, strict=True)
            if blow == "killed before" or sends != then or LONG
        ]
        for commit in chosen[::step] if part not in tried else ():
            kind(parts, blow, commit)
