"""When an app is polled next, and which notifiers are told of it how."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.support.builders import ScriptedNotifier, new_id
from watcher.bootstrap import open_services, routes
from watcher.config.models import AppConfig, Config, ConsoleConfig, SlackConfig, WebhookConfig
from watcher.daemon import _Daemon
from watcher.models import Route
from watcher.polling.clock import ClockChange
from watcher.polling.scheduler import next_poll
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret
from watcher.signals import Signals
from watcher.store import Store, StoreUnavailable
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
    assert [] == routes(Config(apps=(app,), notifiers=(SLACK,)), app, NOTIFIERS)


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
