"""Signals to the real daemon: the first lets it finish, the second does not."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.process.test_daemon import a_world, sent
from tests.support.fakes import Reply
from tests.support.process import WITHIN, run_watcher
from watcher.simulator.faults import Fault

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (signal.SIGINT, signal.SIGINT, 130),
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGTERM, signal.SIGINT, 130),
    ],
)
async def test_a_second_signal_is_the_end(
    tmp_path: Path, first: signal.Signals, second: signal.Signals, status: int
) -> None:
    """A second signal while sends are under way ends the daemon with one more line, and loses nothing."""
    async with a_world(tmp_path) as world:
        world.hook.replies.append(Reply(silent=True))
        world.ask()
        async with world.running(WATCHER_REQUEST_TIMEOUT="1h") as daemon:
            await sent(daemon, "slack", "run.input_requested")
            async with asyncio.timeout(WITHIN):  # it is said before it is recorded
                while await world.deliveries(state="pending", notifier="slack"):
                    pass
            await world.api.wait_for(lambda: bool(world.hook.received), within=20)
            daemon.send(first)
            await daemon.log("daemon.stopping", reason=first.name)
            assert await daemon.end(second) == status
            assert "daemon.stopping" in daemon.lines[-2]
            assert [daemon.lines[-1]] == [line for line in daemon.lines if "daemon.aborted" in line]
            assert daemon.out == ""
        (left,) = await world.deliveries(state="pending", type="run.input_requested")
        assert left["notifier"] == "webhook"
        async with world.running() as daemon:
            await sent(daemon, "webhook", "run.input_requested")
            assert await daemon.end() == 0
    assert len({event["id"] for event in world.events()}) == 1


async def test_ctrl_c_without_a_daemon(tmp_path: Path) -> None:
    """A command that Ctrl-C interrupts ends with one line and the status that shells know."""
    async with a_world(tmp_path) as world:
        world.app.faults.add(Fault(kind="delay", match="list", seconds=30, times=None))
        async with run_watcher(tmp_path, world.settings, "once") as once:
            await world.api.wait_for(lambda: bool(world.api.requests), within=20)
            assert await once.end(signal.SIGINT) == 130
            assert ["watcher: interrupted\n"] == [line for line in once.lines if not line.startswith("{")]
