"""Signals to the real daemon, before it runs, and to every other command."""

import asyncio
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.support.builders import lock_database, open_store
from tests.support.fakes import Reply
from tests.support.process import WITHIN, run_watcher
from tests.support.world import open_world, wait_for_sent
from watcher.simulator.faults import Fault

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        (signal.SIGINT, signal.SIGTERM, 143),
        (signal.SIGTERM, signal.SIGINT, 130),
    ],
)
async def test_a_second_signal_is_the_end(
    tmp_path: Path, first: signal.Signals, second: signal.Signals, status: int
) -> None:
    """A second signal while sends are under way ends the daemon with one more line, and loses nothing."""
    async with open_world(tmp_path) as world:
        world.hook.replies.append(Reply(silent=True))
        world.ask()
        async with world.running(WATCHER_REQUEST_TIMEOUT="1h") as daemon:
            await wait_for_sent(daemon, "slack", "run.input_requested")
            await world.wait_for_delivery(state="sent", notifier="slack")
            await world.api.wait_for(lambda: bool(world.hook.received), within=20)
            daemon.send(first)
            await daemon.wait_for_log("daemon.stopping", reason=first.name)
            assert await daemon.stop(second) == status
            assert "daemon.stopping" in daemon.lines[-2]
            assert [daemon.lines[-1]] == [line for line in daemon.lines if "daemon.aborted" in line]
            assert daemon.out == ""
        (left,) = world.deliveries(state="pending", type="run.input_requested")
        assert left["notifier"] == "webhook"
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            assert await daemon.stop() == 0
    assert len({event["id"] for event in world.events()}) == 1


ENDINGS = [(signal.SIGINT, 130, "watcher: interrupted\n"), (signal.SIGTERM, 143, "watcher: terminated\n")]


SIGNALLED = """
import builtins, os, sys
load = builtins.__import__
module, number = sys.argv[1], int(sys.argv[2])
def signalled(name, *arguments):
    if name == module:
        builtins.__import__ = load
        os.kill(os.getpid(), number)
    return load(name, *arguments)
builtins.__import__ = signalled
from watcher.cli import main
sys.argv = ["watcher", "config"]
main()
"""
"""Runs a command that gets a signal when it is about to import a module."""


@pytest.mark.parametrize(
    "module", ["watcher.cli.signals", "select", "watcher.cli.commands", "watcher.config.errors"]
)
@pytest.mark.parametrize(("number", "status", "line"), ENDINGS)
def test_a_signal_while_modules_are_imported(
    tmp_path: Path, module: str, number: signal.Signals, status: int, line: str
) -> None:
    """A signal before any command runs ends the process with one word, too."""
    ended = subprocess.run(
        [sys.executable, "-c", SIGNALLED, module, str(int(number))],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (status, line) == (ended.returncode, ended.stderr)


def test_a_signal_while_the_log_is_being_imported() -> None:
    """The end of the process does not need a module that is there only in part."""
    script = """
import os, sys, time, types
from watcher.cli.signals import end_by_signal
sys.modules["watcher.logs"] = types.ModuleType("watcher.logs")
end_by_signal()
os.kill(os.getpid(), 15)
time.sleep(30)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (143, "watcher: terminated\n") == (ended.returncode, ended.stderr)


@pytest.mark.parametrize(
    ("command", "number", "status", "line"), [("once", *ENDINGS[0]), ("check", *ENDINGS[1])]
)
async def test_a_signal_ends_a_command_that_waits_for_an_app(
    tmp_path: Path, command: str, number: signal.Signals, status: int, line: str
) -> None:
    """A command that waits for an answer ends at a signal with one word and the status that shells report."""
    async with open_world(tmp_path) as world:
        world.app.faults.add(Fault(kind="delay", match="list", seconds=30, times=None))
        async with run_watcher(tmp_path, world.settings, command) as process:
            await world.api.wait_for(lambda: bool(world.api.requests), within=WITHIN)
            assert await process.stop(number) == status
            assert [line] == [line for line in process.lines if not line.startswith("{")]


async def test_a_signal_ends_the_healthcheck(tmp_path: Path) -> None:
    """A signal ends a command also amid a blocking read, here of an answer that does not come."""
    number, status, line = ENDINGS[1]
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = {"WATCHER_HTTP_PORT": str(silent.getsockname()[1])}
        async with run_watcher(tmp_path, port, "healthcheck") as process:
            connection, _ = await asyncio.wait_for(asyncio.to_thread(silent.accept), WITHIN)
            with closing(connection):
                assert await process.stop(number) == status
            assert [line] == process.lines


@pytest.mark.parametrize(
    ("arguments", "number", "status", "line"),
    [(("run",), *ENDINGS[0]), (("retry", "--all-dead"), *ENDINGS[1])],
)
async def test_a_signal_ends_a_command_that_waits_for_the_database(
    tmp_path: Path, arguments: tuple[str, ...], number: signal.Signals, status: int, line: str
) -> None:
    """A signal is the end while SQLite waits for a lock, when no handler in Python would run."""
    database = tmp_path / "watcher.db"
    async with open_store(database):
        pass
    settings = {"WATCHER_BASE_URL": "https://app.example", "WATCHER_NOTIFIERS__C__TYPE": "console"}
    with closing(lock_database(database)):
        async with run_watcher(tmp_path, settings, *arguments) as process:
            await asyncio.wait_for(asyncio.to_thread(_wait_until_open, process.pid, database), WITHIN)
            assert await process.stop(number) == status
            assert [line] == [line for line in process.lines if not line.startswith("{")]


@pytest.mark.parametrize(("number", "status", "line"), ENDINGS[1:])
async def test_a_signal_ends_the_simulator(
    tmp_path: Path, number: signal.Signals, status: int, line: str
) -> None:
    """The simulator serves until SIGINT or SIGTERM; SIGUSR1, SIGUSR2 and SIGALRM do not end it."""
    async with run_watcher(tmp_path, {}, "simulate", "--port", "0") as process:
        await process.printed("is the base URL")
        for ignored in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
            process.send(ignored)
        assert await process.stop(number) == status
        assert [line] == process.lines


TAKEN = "http_port (WATCHER_HTTP_PORT): cannot listen on 127.0.0.1:{taken}: "


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ('database = "/nowhere/at/all.db"\n', "database /nowhere/at/all.db: the directory /nowhere/at does"),
        ("http_port = {taken}\n", TAKEN),
        ('heartbeat_url_file = "missing"\n', "heartbeat_url_file: "),
    ],
)
async def test_sighup_finds_why_a_start_would_fail(tmp_path: Path, settings: str, problem: str) -> None:
    """A missing directory, a taken port or a missing secret is a problem of the reload, and not the end."""
    async with open_world(tmp_path) as world:
        del world.settings["WATCHER_HTTP_PORT"]
        file = tmp_path / "config.toml"
        file.write_text("http_port = 0\n")
        taken = world.api.url.rpartition(":")[2]
        async with world.running() as daemon:
            await daemon.wait_for_log("daemon.started")
            rest = "" if "http_port" in settings else "http_port = 0\n"
            file.write_text(rest + settings.format(taken=taken))
            daemon.send(signal.SIGHUP)
            (failed,) = await daemon.wait_for_log("config.reload_failed")
            (found,) = failed["problems"]
            assert problem.format(taken=taken) == found[: len(problem.format(taken=taken))]
            assert await daemon.stop() == 0
        assert 1 == len(daemon.logged("daemon.started"))


async def test_a_poll_is_asked_for(tmp_path: Path) -> None:
    """`watcher poll` makes the daemon of the same database poll now; without one it says so and fails."""
    async with open_world(tmp_path) as world:
        nobody = await world.command("poll")
        async with world.running(WATCHER_POLL_INTERVAL="1h") as daemon:
            await daemon.wait_for_log("poll.succeeded")
            world.ask()
            asked = await world.command("poll")
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            assert await daemon.stop() == 0
        gone = await world.command("poll")
    message = "watcher: no daemon is running here with the database watcher.db\n"
    assert [(1, message), (0, ""), (1, message)] == [
        (ended.status, ended.err) for ended in (nobody, asked, gone)
    ]
    assert f"process {daemon.pid} was asked to poll every app now\n" == asked.out


async def test_sighup_before_the_daemon_runs(tmp_path: Path) -> None:
    """A SIGHUP during the start is kept until the daemon can reload."""
    database = tmp_path / "watcher.db"
    async with open_store(database):
        pass
    async with open_world(tmp_path) as world:
        with closing(lock_database(database)) as holder:
            async with world.running() as daemon:
                await asyncio.wait_for(asyncio.to_thread(_wait_until_open, daemon.pid, database), WITHIN)
                daemon.send(signal.SIGHUP)
                holder.close()
                await daemon.wait_for_log("config.reloaded")
                await daemon.wait_for_log("daemon.started", count=2)
                assert await daemon.stop() == 0


@pytest.mark.parametrize(("number", "status", "line"), ENDINGS[:1])
async def test_a_signal_ends_the_demo(tmp_path: Path, number: signal.Signals, status: int, line: str) -> None:
    """The demo sums up what it has shown before a signal ends it, and leaves nothing behind."""
    place = tmp_path / "place"
    place.mkdir()
    async with run_watcher(tmp_path, {"TMPDIR": str(place)}, "demo") as process:
        await process.printed("run.input_requested")
        assert await process.stop(number) == status
        assert '{"caption": "Shown: ' in process.out
        assert [line] == process.lines
    assert [] == list(place.iterdir())


def _wait_until_open(pid: int, file: Path) -> None:
    """Waits until a process has a file open."""
    while True:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                if descriptor.readlink() == file:
                    return
