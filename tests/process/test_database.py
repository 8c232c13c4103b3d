"""The real daemon and a database that is locked, damaged, read-only, or on a disk that is full."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.builders import corrupt_database, lock_database, open_store, outbox, pending, record_new
from tests.support.databases import OnSqlite
from tests.support.fakes import Reply, WebhookReceiver, served
from tests.support.process import Finished, Process, run_command
from tests.support.world import World, open_world, wait_for_polls, wait_for_sent
from watcher.simulator.options import Options

pytestmark = pytest.mark.anyio

ASKED = "run.input_requested"
MANY = 30
"""More requests than are sent at once."""
SLOTS = 8
"""How many sends to one webhook are under way at most."""
BURST = [f"number {number}?" for number in range(MANY)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount(place, "-t", "tmpfs", "-o", "size=8m", "tmpfs")
    try:
        yield place
    finally:
        unmount(place)


def mount(place: Path, *arguments: str | Path) -> None:
    """Mounts something, or skips the test where that is not permitted."""
    try:
        subprocess.run(["mount", *arguments, place], check=True, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"nothing can be mounted here: {error.stderr.strip()}")


def unmount(place: Path) -> None:
    """Undoes `mount`."""
    subprocess.run(["umount", place], check=True)


def fill(disk: Path) -> Path:
    """Fills a file system up to the last byte, and returns what has to go."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


async def make_database(path: Path) -> None:
    """Makes a database in which nothing is known."""
    async with open_store(path):
        pass


def words(daemon: Process) -> list[str]:
    """Returns what a daemon wrote on standard error that is no log line."""
    return [line for line in daemon.lines if not line.startswith("{")]


def refused(ended: Finished, reason: str, *, may_pass: bool = False) -> bool:
    """Tells whether a start was refused for a reason, in one line that is no log line.

    Whether that may pass by itself, so that a supervisor is to try again, shows in the exit status.
    """
    lines = [line for line in ended.err.splitlines() if not line.startswith("{")]
    return ended.status == (1 if may_pass else 2) and len(lines) == 1 and reason in lines[0]


class Watched(WebhookReceiver):
    """A webhook that does something when it hears of the n-th event, before it answers, and then goes on."""

    def __init__(self, number: int, act: Callable[[], Any]) -> None:
        super().__init__()
        self._number = number
        self._act = act

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Acts when it is time, and answers."""
        response = await super().handle(request)
        if len(self.received) == self._number:
            self._act()
        return response


@pytest.mark.parametrize(
    ("exists", "reason"), [([], "No space left on device"), ([True], "the disk may be full")]
)
async def test_a_disk_that_is_full_at_the_start(
    tmp_path: Path, disk: Path, exists: list[bool], reason: str
) -> None:
    """A start on a full disk is refused in one line; with room again it goes well."""
    place = {"WATCHER_DATABASE": str(disk / "watcher.db")}
    for _ in exists:
        await make_database(disk / "watcher.db")
    async with open_world(tmp_path) as world:
        world.ask()
        ballast = fill(disk)
        assert refused(await world.command("run", **place), reason, may_pass=True)
        ballast.unlink()
        assert 0 == (await world.command("once", **place)).status
    assert ["Approve refund?"] == asked(world.hook)


async def test_a_disk_that_fills_up_in_a_burst(tmp_path: Path, disk: Path) -> None:
    """A full disk is said again and again; with room again nothing was lost, and nothing is repeated."""
    async with (
        open_world(tmp_path) as world,
        a_burst(world, disk) as (hook, settings),
        world.running(**settings) as daemon,
    ):
        await daemon.wait_for_log("outbox.unavailable", notifier="webhook", count=2)
        world.ask("late?")
        (failed, *_) = await daemon.wait_for_log("poll.failed", code="database_error", count=2)
        assert "disk is full" in failed["error"]
        (disk / "ballast").unlink()
        await wait_for_sent(daemon, "webhook", ASKED, count=MANY + 1)
        await wait_for_polls(world)
        assert (0, []) == (await daemon.stop(), words(daemon))
    assert dict.fromkeys([*BURST, "late?"], 1) == Counter(asked(hook))
    assert MANY + 1 == recorded(disk / "watcher.db")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_an_end_while_the_disk_is_full(tmp_path: Path, disk: Path, number: signal.Signals) -> None:
    """What could not be recorded before the end is sent again, under the same id, and nothing else is."""
    async with open_world(tmp_path) as world, a_burst(world, disk) as (hook, settings):
        async with world.running(**settings) as daemon:
            await daemon.wait_for_log("outbox.unavailable", notifier="webhook")
            assert (0 if number is signal.SIGTERM else -number, []) == (
                await daemon.stop(number),
                words(daemon),
            )
        (disk / "ballast").unlink()
        assert 0 == (await world.command("once", **settings)).status
    ids = Counter(received.headers["webhook-id"] for received in hook.received)
    assert set(BURST) == set(asked(hook))
    assert MANY == len(ids)
    assert ids.total() <= MANY + SLOTS


@asynccontextmanager
async def a_burst(world: World, disk: Path) -> AsyncIterator[tuple[WebhookReceiver, dict[str, str]]]:
    """Many requests; when a webhook hears of the fifth the disk is full. With it come the settings."""
    hook = Watched(5, lambda: fill(disk))
    async with served(hook) as url:
        for prompt in BURST:
            world.ask(prompt)
        yield hook, {"WATCHER_DATABASE": str(disk / "watcher.db"), "WATCHER_WEBHOOK_URL": url}


def recorded(path: Path) -> int:
    """Returns of how many requests it is recorded that the webhook was told."""
    return outbox(path).count(("webhook", ASKED, "sent"))


def asked(hook: WebhookReceiver) -> list[str]:
    """Returns what a webhook was told that is asked, in the order in which it was."""
    events = [received.json() for received in hook.received]
    return [event["data"]["request"]["prompt"] for event in events if event["type"] == ASKED]


async def test_a_machine_without_a_directory_for_temporary_files(tmp_path: Path) -> None:
    """Hundreds of requests at the first start become a digest though no temporary file can be made."""
    gone = tmp_path / "gone"
    gone.mkdir()
    descriptor = os.open(gone, os.O_RDONLY)
    gone.rmdir()
    # A directory that was removed looks writable, also to root, and takes no file.
    temporary = f"/proc/{os.getpid()}/fd/{descriptor}"
    try:
        async with open_world(tmp_path, Options(list_requests="present")) as world:
            for number in range(400):
                world.ask(f"number {number}?")
            # Without a webhook the digest replaces every single event.
            alone = {"WATCHER_WEBHOOK_URL": "", "WATCHER_WEBHOOK_SECRET": "", "WATCHER_PAGE_SIZE": "400"}
            ended = await world.command("once", TMPDIR=temporary, SQLITE_TMPDIR=temporary, **alone)
    finally:
        os.close(descriptor)
    assert (0, 1) == (ended.status, len(world.slack.messages)), ended.err


# Locked


async def test_a_database_that_stays_locked_at_the_start(tmp_path: Path) -> None:
    """A start waits for a while for another process's lock, and is then refused in one line."""
    await make_database(tmp_path / "watcher.db")
    async with open_world(tmp_path) as world:
        with closing(lock_database(tmp_path / "watcher.db")):
            assert refused(await world.command("run"), "database is locked", may_pass=True)


async def test_a_database_that_is_locked_for_a_moment_at_the_start(tmp_path: Path) -> None:
    """A lock that lasts for half a second only delays the start."""
    await make_database(tmp_path / "watcher.db")
    async with open_world(tmp_path) as world:
        world.ask()
        with closing(OnSqlite(tmp_path / "watcher.db").lock()) as holder:
            async with world.running() as daemon:
                await daemon.wait_for_log("daemon.started")
                asyncio.get_running_loop().call_later(0.5, holder.rollback)
                await wait_for_sent(daemon, "webhook", ASKED)
                assert (0, []) == (await daemon.stop(), words(daemon))


async def test_a_database_that_is_locked_in_a_burst(tmp_path: Path) -> None:
    """While it is locked that is said; afterwards all goes on, nothing is lost and nothing repeated."""
    holders: list[sqlite3.Connection] = []
    hook = Watched(5, lambda: holders.append(OnSqlite(tmp_path / "watcher.db").lock()))
    async with open_world(tmp_path) as world, served(hook) as url:
        for prompt in BURST:
            world.ask(prompt)
        # One notifier alone: whoever finds the lock waits 5 s for it, one after the other.
        alone = {"WATCHER_SLACK_BOT_TOKEN": "", "WATCHER_SLACK_CHANNEL": "", "WATCHER_WEBHOOK_URL": url}
        async with world.running(**alone) as daemon:
            (trouble, *_) = await daemon.wait_for_log("outbox.unavailable", notifier="webhook")
            world.ask("late?")
            holders.pop().close()
            await wait_for_sent(daemon, "webhook", ASKED, count=MANY + 1)
            await wait_for_polls(world)
            assert (0, []) == (await daemon.stop(), words(daemon))
    assert "database is locked" in trouble["error"]
    assert dict.fromkeys([*BURST, "late?"], 1) == Counter(asked(hook))
    assert MANY + 1 == recorded(tmp_path / "watcher.db")


# Damaged


def newer(path: Path) -> None:
    """Makes a database one of a newer version."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def overwrite(path: Path, at: int, length: int) -> None:
    """Overwrites a part of a file with rubbish."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * length)


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (newer, "was written by a newer watcher: it has version 99"),
    (lambda path: os.truncate(path, path.stat().st_size // 2), "malformed"),
]


@pytest.mark.parametrize(("spoil", "reason"), DAMAGES)
async def test_a_damaged_database_at_the_start(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    """A start with a database that cannot be used is refused in one line, and changes nothing."""
    database = tmp_path / "watcher.db"
    async with open_store(database) as store:
        await record_new(store)
    spoil(database)
    spoilt = database.read_bytes()
    async with open_world(tmp_path) as world:
        assert refused(await world.command("run"), reason)
    assert spoilt == database.read_bytes()


async def test_a_database_that_is_damaged_while_it_is_used(tmp_path: Path) -> None:
    """Damage ends a daemon that runs, with status 1 and one line that says why."""
    async with open_world(tmp_path) as world:
        world.ask()
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", ASKED)
            corrupt_database(tmp_path / "watcher.db")
            world.ask("another?")
            assert 1 == await daemon.wait()
            (line,) = words(daemon)
            stopping = daemon.logged("daemon.stopping")  # of each part that ran into it
    assert "malformed" in line
    assert {True} == {"malformed" in record["reason"] for record in stopping}


# Cut short

FRAME = 24 + 4096
"""The bytes of one page in a write-ahead log; before the first there are 32 more."""

SPOILS: dict[str, Callable[[Path, int], None]] = {
    "no log": lambda log, _: os.truncate(log, 0),
    "half a header": lambda log, _: os.truncate(log, 16),
    "half a page": lambda log, _: os.truncate(log, 32 + FRAME // 2),
    "half of it": lambda log, size: os.truncate(log, 32 + FRAME * (size // FRAME // 2)),
    "all but a byte": lambda log, size: os.truncate(log, size - 1),
    "rubbish in the middle": lambda log, size: overwrite(log, size // 2, FRAME),
    "rubbish at the end": lambda log, size: overwrite(log, size, 2 * FRAME),
    "no database": lambda log, _: os.truncate(log.with_name("watcher.db"), 0),
}


async def test_a_database_that_is_cut_short_by_a_crash(tmp_path: Path) -> None:
    """What the database forgot is seen again: nothing is lost, and only what it forgot is announced again."""
    killed = tmp_path / "killed"
    killed.mkdir()
    async with open_world(killed) as world:
        world.ask("in the database?")
        assert 0 == (await world.command("once")).status
        world.ask("in the log?")
        async with world.running() as daemon:
            await wait_for_sent(daemon, "webhook", ASKED)
            world.hook.replies.append(Reply(silent=True))
            world.ask("in the outbox?")
            await wait_for_sent(daemon, "slack", ASKED, count=2)
            await daemon.stop(signal.SIGKILL)
        size = (killed / "watcher.db-wal").stat().st_size
        known, told = {}, {}
        for name, spoil in SPOILS.items():
            here = shutil.copytree(killed, tmp_path / name)
            spoil(here / "watcher.db-wal", size)
            async with open_store(here / "watcher.db"):
                known[name] = sorted(
                    request.prompt or "" for request in pending(here / "watcher.db", "support")
                )
        for name in ("rubbish at the end", "no log", "no database"):
            before = len(world.hook.received)
            ended = await run_command(tmp_path / name, world.settings, "once")
            told[name] = (ended.status, *sorted(asked(world.hook)[before:]))
    in_order = ["in the database?", "in the log?", "in the outbox?"]
    assert (in_order, in_order[:1], []) == (
        known["rubbish at the end"],
        known["no log"],
        known["no database"],
    )
    assert {name: in_order[: len(prompts)] for name, prompts in known.items()} == known
    assert {
        "rubbish at the end": (0, "in the outbox?"),
        "no log": (0, "in the log?", "in the outbox?"),
        "no database": (0, "in the database?", "in the log?", "in the outbox?"),
    } == told


# Read-only


@pytest.mark.parametrize("exists", [[], [True]])
async def test_a_directory_that_is_read_only(tmp_path: Path, disk: Path, exists: list[bool]) -> None:
    """A start is refused in one line where nothing can be written."""
    for _ in exists:
        await make_database(disk / "watcher.db")
    mount(disk, "-o", "remount,ro")
    async with open_world(tmp_path) as world:
        ended = await world.command("run", WATCHER_DATABASE=str(disk / "watcher.db"))
    assert refused(ended, "Read-only file system")


async def test_a_database_file_that_is_read_only(tmp_path: Path) -> None:
    """A start is refused in one line also where only the database itself cannot be written."""
    database = tmp_path / "watcher.db"
    await make_database(database)
    mount(database, "--bind", "-o", "ro", database)
    try:
        async with open_world(tmp_path) as world:
            assert refused(await world.command("run"), "it is read-only")
    finally:
        unmount(database)
