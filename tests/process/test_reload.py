"""SIGHUP and SIGUSR1 to the real daemon."""

import signal
from pathlib import Path

import pytest

from tests.support.fakes import Reply
from tests.support.process import WITHIN
from tests.support.world import KEY, open_world, wait_for_polls, wait_for_sent

pytestmark = pytest.mark.anyio

SECOND = '[notifiers.second]\ntype = "console"\n'


async def test_sighup_starts_anew_with_the_changed_configuration(tmp_path: Path) -> None:
    """The send under way comes to its end, the process keeps its id, and the new configuration holds."""
    file = tmp_path / "config.toml"
    file.write_text("")
    async with open_world(tmp_path) as world:
        world.hook.replies.append(Reply(silent=True))
        world.ask("first?")
        async with world.running(WATCHER_CONFIG=str(file), WATCHER_REQUEST_TIMEOUT="3s") as daemon:
            await daemon.wait_for_log("daemon.started", notifiers=["slack", "webhook"], pid=daemon.pid)
            await world.api.wait_for(lambda: bool(world.hook.received), within=WITHIN)
            file.write_text(SECOND)
            daemon.send(signal.SIGHUP)
            daemon.send(signal.SIGHUP)
            await daemon.wait_for_log("config.reloaded")
            await daemon.wait_for_log(
                "daemon.started", notifiers=["second", "slack", "webhook"], pid=daemon.pid
            )
            assert [1] == [record["attempt"] for record in daemon.logged("delivery.retry")]
            world.ask("second?")
            await wait_for_sent(daemon, "second", "run.input_requested", count=2)
            await wait_for_sent(daemon, "webhook", "run.input_requested", count=2)
            assert await daemon.stop() == 0
    prompts = {event["id"]: event["data"]["request"]["prompt"] for event in world.events()}
    assert ["first?", "second?"] == sorted(prompts.values())


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("page_size = 0", "page_size"),
        ('[notifiers.phone]\ntype = "apprise"\nurl = "nonsense://"\n', "notifiers.phone"),
    ],
)
async def test_sighup_with_a_broken_configuration_changes_nothing(
    tmp_path: Path, broken: str, problem: str
) -> None:
    """The problems are logged, the daemon goes on as it was, and a corrected file is taken the next time."""
    file = tmp_path / "config.toml"
    file.write_text("")
    async with open_world(tmp_path) as world, world.running(WATCHER_CONFIG=str(file)) as daemon:
        await daemon.wait_for_log("daemon.started")
        file.write_text(broken)
        daemon.send(signal.SIGHUP)
        (record,) = await daemon.wait_for_log("config.reload_failed")
        assert [problem] == [line[: len(problem)] for line in record["problems"]]
        world.ask()
        await wait_for_sent(daemon, "webhook", "run.input_requested")
        assert [] == daemon.logged("daemon.stopping")
        file.write_text(SECOND)
        daemon.send(signal.SIGHUP)
        await daemon.wait_for_log("daemon.started", count=2)
        await wait_for_polls(world)
        assert await daemon.stop() == 0


async def test_sigterm_during_a_reload_is_the_end(tmp_path: Path) -> None:
    """Whoever stops the daemon while it finishes its sends for a reload does not get a new one."""
    async with open_world(tmp_path) as world:
        world.hook.replies.append(Reply(silent=True))
        world.ask()
        async with world.running(WATCHER_REQUEST_TIMEOUT="3s") as daemon:
            await world.api.wait_for(lambda: bool(world.hook.received), within=WITHIN)
            daemon.send(signal.SIGHUP)
            await daemon.wait_for_log("daemon.stopping", reason="SIGHUP")
            assert await daemon.stop() == 0
            assert 1 == len(daemon.logged("daemon.started"))


async def test_sigusr1_polls_now(tmp_path: Path) -> None:
    """An app that would be polled in an hour is polled now, and so is one that backs off for an hour."""
    hour = {"WATCHER_POLL_INTERVAL": "1h", "WATCHER_BACKOFF_MAX": "1h"}
    async with open_world(tmp_path) as world, world.running(**hour) as daemon:
        await daemon.wait_for_log("poll.succeeded")
        world.ask("first?")
        daemon.send(signal.SIGUSR1)
        await wait_for_sent(daemon, "webhook", "run.input_requested")
        world.app.rotate_keys({"another"})
        daemon.send(signal.SIGUSR1)
        await daemon.wait_for_log("poll.failed", status=401)
        world.app.rotate_keys({KEY})
        world.ask("second?")
        daemon.send(signal.SIGUSR1)
        await wait_for_sent(daemon, "webhook", "run.input_requested", count=2)
        assert await daemon.stop() == 0
