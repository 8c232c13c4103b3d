"""When an app is polled next, and which notifiers are told of it how."""

import asyncio
from itertools import count
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.builders import NOW, ScriptedNotifier, new_id, soon
from watcher import daemon
from watcher.config import AppConfig, Config, ConsoleConfig, SlackConfig, WebhookConfig
from watcher.daemon import Parts, _Daemon, next_poll, routes
from watcher.dispatcher import Dispatcher
from watcher.models import Route
from watcher.secrets import Redactor, Secret
from watcher.store import Store, StoreError

URL = Secret("notifiers.audit.url", Redactor(), file=Path("unread"))
SLACK = SlackConfig(name="approvals", after=300.0)
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


class SteppedClock:
    """A wall clock that is set back by an hour after its first look, beside a monotonic one that is not."""

    def __init__(self) -> None:
        self._looks = count()

    def time(self) -> float:
        """Returns the Unix time."""
        return NOW if next(self._looks) == 0 else NOW - 3600

    def monotonic(self) -> float:
        """Returns the time since some start."""
        return 0.0


class ShiftedStore(Store):
    """Tells by how much its deliveries were moved; `failing` makes it refuse once."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, new_id)
        self.moves: asyncio.Queue[float] = asyncio.Queue()
        self.failing = False

    async def shift_deliveries(self, seconds: float) -> None:
        """Remembers the seconds, or fails."""
        self.moves.put_nowait(seconds)
        if self.failing:
            raise StoreError("locked")


@pytest.mark.anyio
@pytest.mark.parametrize("failing", [False, True])
async def test_a_clock_that_is_set_moves_what_is_to_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, failing: bool
) -> None:
    """When the wall clock is set back, waiting deliveries are moved by as much, once; a failure is logged."""
    monkeypatch.setattr(daemon, "time", SteppedClock())
    monkeypatch.setattr(daemon, "LOOK_AT_CLOCK", 0.001)
    store = ShiftedStore(tmp_path / "watcher.db")
    store.failing = failing
    parts = Parts(Config(), store, [], [], Dispatcher([]))
    watcher = _Daemon(parts, asyncio.Event())
    watcher._scheduler.start()
    with capture_logs() as logs:
        watching = asyncio.create_task(watcher._watch_clock())
        assert -3600.0 == await soon(store.moves.get())
        for _ in range(20):
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait({watching})
    watcher._scheduler.shutdown()
    await store.close()
    assert watching.cancelled()
    assert store.moves.empty()
    assert ["daemon.clock_stepped", *["daemon.clock_unshifted"] * failing] == [
        entry["event"] for entry in logs
    ]
