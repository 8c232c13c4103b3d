"""When an app is polled next, and which notifiers are told of it how."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
import time_machine
from structlog.testing import capture_logs

from tests.support.builders import BOUND, ScriptedNotifier, new_id, soon
from watcher import daemon as daemon_module
from watcher.bootstrap import open_services, routes
from watcher.config.models import AppConfig, Config, ConsoleConfig, SlackConfig, WebhookConfig
from watcher.daemon import DaemonDiedError, _Daemon
from watcher.models import Route
from watcher.polling.clock import ClockChange, boottime
from watcher.polling.scheduler import next_poll
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret
from watcher.signals import Signals
from watcher.store import Store, StoreUnavailable, StoreUnusable
from watcher.store.sqlite import SqliteDatabase

URL = Secret("notifiers.audit.url", Redactor(), file=Path("unread"))
SLACK = SlackConfig(name="approvals", webhook_url=URL, after=300.0)
AUDIT = WebhookConfig(name="audit", url=URL, resolved=False)
CONSOLE = ConsoleConfig(name="console")
NOTIFIERS = [
    ScriptedNotifier("approvals"),
    ScriptedNotifier("audit", for_people=False),
    ScriptedNotifier("console"),
]


@pytest.mark.parametrize(
    ("now", "following"),
    [
        pytest.param(100.0, 115.0, id="no time at all"),
        pytest.param(103.0, 115.0, id="quick"),
        pytest.param(114.9, 115.0, id="just in time"),
        pytest.param(115.0, 130.0, id="exactly one interval"),
        pytest.param(144.0, 145.0, id="intervals missed"),
        pytest.param(40.0, 55.0, id="a clock set back"),
    ],
)
def test_polls_keep_to_their_beat(now: float, following: float) -> None:
    """However long a poll took, the next is a whole number of intervals after the last, and to come."""
    assert following == next_poll(100.0, now, 15.0)


def test_an_app_is_told_to_its_notifiers_as_they_are_configured() -> None:
    """The notifiers that an app names are told of it, in the order of configuration, each in its own way."""
    app = AppConfig(name="support", base_url="https://runs.example", notify=("audit", "approvals"))
    config = Config(apps=(app,), notifiers=(SLACK, AUDIT, CONSOLE))
    assert [
        Route("approvals", for_people=True, after=300.0, resolved=True),
        Route("audit", for_people=False, after=0.0, resolved=False),
    ] == routes(config, app, NOTIFIERS)


def test_an_app_that_names_no_notifier_is_told_to_none() -> None:
    """Filling in that no list means every notifier is the configuration's business."""
    app = AppConfig(name="support", base_url="https://runs.example")
    assert [] == routes(Config(apps=(app,), notifiers=(SLACK,)), app, NOTIFIERS[:1])


class LockedStore(Store):
    """Cannot be changed now."""

    async def shift_timestamps(self, seconds: float) -> None:
        """Refuses."""
        raise StoreUnavailable(f"locked, {seconds:g}")


@pytest.mark.anyio
async def test_a_database_that_is_locked_when_the_clock_was_set(tmp_path: Path) -> None:
    """If the store cannot follow the clock now, that is logged, and the daemon goes on."""
    config = Config(database=tmp_path / "watcher.db", notifiers=(CONSOLE,))
    async with open_services(config) as services:
        locked = LockedStore(SqliteDatabase(tmp_path / "other.db").open(), new_id)
        daemon = _Daemon(replace(services, store=locked), Signals(None))
        daemon._scheduler.start()
        with capture_logs() as logs:
            await daemon._follow_clock(ClockChange(step=-3600.0, slept=0.0))
        await daemon._scheduler.stop()
        await locked.close()
    assert [("clock.stepped", None), ("clock.shift_failed", "locked, -3600")] == [
        (entry["event"], entry.get("error")) for entry in logs
    ]


@pytest.mark.anyio
async def test_a_machine_that_woke_moves_nothing(tmp_path: Path) -> None:
    """Time asleep has really passed: waits are not made longer, and polls and claims come at once."""
    config = Config(database=tmp_path / "watcher.db", notifiers=(CONSOLE,))
    async with open_services(config) as services:
        locked = LockedStore(SqliteDatabase(tmp_path / "other.db").open(), new_id)
        daemon = _Daemon(replace(services, store=locked), Signals(None))
        daemon._scheduler.start()
        with capture_logs() as logs:
            await daemon._follow_clock(ClockChange(step=0.0, slept=28_800.0))
        await daemon._scheduler.stop()
        await locked.close()
    assert [("clock.slept", 28_800.0)] == [(entry["event"], entry["seconds"]) for entry in logs]


AHEAD = time.time() - boottime() + 3600.0


def another_clock() -> float:
    """A database's clock, an hour ahead of this machine's, and not set when that one is."""
    return boottime() + AHEAD


@pytest.mark.anyio
async def test_polls_go_by_the_clock_of_this_machine(tmp_path: Path) -> None:
    """A database whose clock differs by an hour neither puts polls off nor makes them come without a wait."""
    app = AppConfig(name="support", base_url="http://app.test", notify=("console",))
    config = Config(database=tmp_path / "watcher.db", apps=(app,), notifiers=(CONSOLE,))
    async with open_services(config) as services:
        scheduler = _Daemon(replace(services, wall=another_clock), Signals(None))._scheduler
        with time_machine.travel(1_800_000_000.0, tick=False):
            scheduler.start()
            job = scheduler._scheduler.get_job("support")
            assert job is not None
            assert 1_800_000_000.0 == job.next_run_time.timestamp()
        await scheduler.stop()


@pytest.mark.anyio
async def test_the_clock_of_this_machine_is_set_and_not_the_databases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polls are scheduled anew, because APScheduler goes by it; what is recorded is not moved."""
    monkeypatch.setattr(daemon_module, "CLOCK_CHECK_INTERVAL", 0.0)
    config = Config(database=tmp_path / "watcher.db", notifiers=(CONSOLE,))
    restarted = asyncio.Event()
    async with open_services(config) as services:
        daemon = _Daemon(replace(services, wall=another_clock), Signals(None))
        monkeypatch.setattr(daemon._scheduler, "restart", restarted.set)
        watching = asyncio.create_task(daemon._watch_clocks())
        await asyncio.sleep(0)  # the task remembers the clocks
        with capture_logs() as logs, time_machine.travel(time.time() - 3600.0):
            async with asyncio.timeout(BOUND):
                await restarted.wait()
        watching.cancel()
    assert [] == logs


@pytest.mark.anyio
async def test_pruning_goes_on_after_a_locked_database_and_ends_with_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may pass is logged and tried again; what cannot pass ends the daemon."""
    monkeypatch.setattr(daemon_module, "PRUNE_INTERVAL", 0.0)
    config = Config(database=tmp_path / "watcher.db", notifiers=(CONSOLE,))
    errors = iter([StoreUnavailable("it is locked"), StoreUnusable("it is damaged")])

    async def prune(**_: float) -> int:
        raise next(errors)

    async with open_services(config) as services:
        monkeypatch.setattr(services.store, "prune", prune)
        with capture_logs() as logs, pytest.raises(DaemonDiedError, match="StoreUnusable: it is damaged"):
            await soon(_Daemon(services, Signals(None)).run(None, None))
    assert ["it is locked"] == [entry["error"] for entry in logs if entry["event"] == "database.prune_failed"]
