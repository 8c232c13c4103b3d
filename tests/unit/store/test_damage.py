"""The store when things go wrong: full disks, locks, damage, and other connections."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.builders import (
    APP,
    BOTH,
    MACHINE,
    NOW,
    claim,
    corrupt_database,
    lock_database,
    make_new_request,
    open_store,
    outbox,
    pending,
    record_new,
    sqlite_of,
    take_database,
)
from watcher.store import Sent, StoreError, StoreInUse, StoreUnavailable, StoreUnusable, sqlite
from watcher.store import outbox as outbox_work
from watcher.store.migrations import MIGRATIONS
from watcher.store.sqlite import SqliteDatabase, open_reader

pytestmark = pytest.mark.anyio

NEWS = "run.input_requested"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a locked database fail quickly."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)


def requeue(path: Path) -> None:
    """Puts back what is dead, as another process does."""
    with SqliteDatabase(path).changing(NOW) as tx:
        outbox_work.requeue(tx, None)


def halve(path: Path) -> None:
    """Cuts off the second half of a file."""
    os.truncate(path, path.stat().st_size // 2)


# All or nothing


async def test_a_delivery_that_cannot_be_recorded_takes_its_request_with_it(path: Path) -> None:
    """When the second half of a unit of work fails, the first half is gone too, and it can be done again."""
    async with open_store(path) as store:
        with closing(sqlite3.connect(path)) as beside:
            beside.execute(
                "CREATE TRIGGER no BEFORE INSERT ON deliveries BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        with pytest.raises(StoreError, match="no"):
            await record_new(store)
        assert ([], []) == (pending(path), outbox(path))
        with closing(sqlite3.connect(path)) as beside:
            beside.execute("DROP TRIGGER no")
        await record_new(store)
        assert 1 == len(pending(path))


async def test_one_request_that_cannot_be_recorded_takes_its_page_with_it(path: Path) -> None:
    """A page of requests is recorded whole or not at all."""
    async with open_store(path, lambda _: "evt_always_the_same") as store:
        with pytest.raises(StoreError):
            await record_new(store, make_new_request("run-1"), make_new_request("run-2"))
        assert ([], []) == (pending(path), outbox(path))


async def test_a_slip_inside_a_unit_of_work_leaves_nothing_open(path: Path) -> None:
    """An error that is not the database's passes through, and the next unit of work goes on."""
    with pytest.raises(ZeroDivisionError):
        async with open_store(path, lambda _: str(1 / 0)) as store:
            await record_new(store)
    async with open_store(path) as store:
        await record_new(store)
        assert 1 == len(pending(path))


# Full and locked


async def test_a_full_disk_is_an_error_and_loses_nothing(path: Path) -> None:
    """What does not fit is refused as an error that may pass; what was there stays, and later it goes in."""
    big = make_new_request("run-2", prompt="x" * 1_000_000)
    async with open_store(path) as store:
        await record_new(store)
        full = sqlite_of(store).execute("PRAGMA page_count").fetchone()[0]
        sqlite_of(store).execute(f"PRAGMA max_page_count = {full}")
        with pytest.raises(StoreUnavailable, match="full"):
            await record_new(store, big)
        assert ["run-1"] == [request.run_id for request in pending(path)]
        sqlite_of(store).execute(f"PRAGMA max_page_count = {full + 1000}")
        await record_new(store, big)
        assert ["run-1", "run-2"] == [request.run_id for request in pending(path)]


async def test_a_lock_of_another_process_is_an_error_that_passes(path: Path) -> None:
    """While another connection holds the database nothing is changed; afterwards everything works again."""
    async with open_store(path) as store:
        await record_new(store, routes=[MACHINE])
        (news,) = await claim(store, "webhook")
        with closing(lock_database(path)):
            with pytest.raises(StoreUnavailable, match="locked"):
                await record_new(store, make_new_request("run-2"))
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.settle_and_claim("webhook", [Sent(news.id, None)], limit=9, now=NOW)
        assert [("webhook", NEWS, "pending")] == outbox(path)
        assert () == await claim(store, "webhook")
        await store.settle_and_claim("webhook", [Sent(news.id, None)], limit=0, now=NOW)
        assert [("webhook", NEWS, "sent")] == outbox(path)


async def test_a_new_database_that_is_locked_is_an_error_that_passes(path: Path) -> None:
    """A lock at the start is told from damage, and leaves the database to be opened later."""
    with closing(lock_database(path)), pytest.raises(StoreUnavailable, match="locked"):
        take_database(path)
    async with open_store(path) as store:
        await record_new(store)


# Unusable


async def test_a_database_of_a_newer_version_is_refused(path: Path) -> None:
    """Neither writer nor readers touch what a newer watcher wrote, and both versions are named."""
    async with open_store(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for opening in (
        lambda: take_database(path),
        lambda: open_reader(path),
        lambda: requeue(path),
    ):
        with pytest.raises(
            StoreUnusable, match=f"newer watcher: it has version 99, this one knows {len(MIGRATIONS)}"
        ):
            opening()


def test_a_reader_does_not_upgrade(path: Path) -> None:
    """A database of an older version is the daemon's to upgrade; who only reads says so."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE something (else_ TEXT)")
    with pytest.raises(StoreUnusable, match="older version; start the daemon once"):
        open_reader(path)


def test_a_reader_makes_no_database(path: Path) -> None:
    """Reading where there is no database says so and leaves none behind."""
    with pytest.raises(StoreUnusable, match=r"does not exist$"):
        open_reader(path)
    assert not path.exists()


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """Garbage is neither opened nor overwritten, and the lock is given back each time."""
    path.write_bytes(b"this is no database" * 1000)
    for opening in (
        lambda: take_database(path),
        lambda: take_database(path),
        lambda: open_reader(path),
    ):
        with pytest.raises(StoreUnusable, match="not a database"):
            opening()
    assert b"this is no database" * 1000 == path.read_bytes()


def overwrite(path: Path, at: int, length: int) -> None:
    """Overwrites a part of a file with rubbish."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * length)


def damage_deliveries(path: Path) -> None:
    """Overwrites the page that the deliveries begin at, and nothing else."""
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'deliveries'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    overwrite(path, (page - 1) * size, size)


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (lambda path: overwrite(path, 0, 100), "file is not a database"),
    (lambda path: overwrite(path, 100, 4000), "malformed"),
    (lambda path: os.truncate(path, path.stat().st_size // 2), "malformed"),
    (lambda path: os.truncate(path, path.stat().st_size - 4096), "malformed"),
    (lambda path: os.truncate(path, 50), "malformed|not a database"),
    (damage_deliveries, "malformed"),
]


@pytest.mark.parametrize(("spoil", "reason"), DAMAGES)
def test_a_damaged_database_is_refused(path: Path, spoil: Callable[[Path], None], reason: str) -> None:
    """Whatever part of a database is damaged or missing, it is not used, and stays as it is."""
    asyncio.run(record(path, "run-1"))
    spoil(path)
    spoilt = path.read_bytes()
    with pytest.raises(StoreUnusable, match=reason):
        asyncio.run(record(path, "run-2"))
    assert spoilt == path.read_bytes()


async def record(path: Path, run_id: str) -> None:
    """Records a request."""
    async with open_store(path) as store:
        await record_new(store, make_new_request(run_id))


async def test_a_truncated_database_is_unusable(path: Path) -> None:
    """A database that lost its second half is reported as damaged."""
    async with open_store(path) as store:
        await record_new(store, *[make_new_request(f"run-{number}") for number in range(200)])
    halve(path)
    with pytest.raises(StoreUnusable, match="malformed"):
        take_database(path)


async def test_damaged_pages_are_unusable(path: Path) -> None:
    """Rubbish in the middle of a database is reported as damage as soon as it is read, while it runs too."""
    async with open_store(path) as store:
        await record_new(store)
        corrupt_database(path)
        with pytest.raises(StoreUnusable, match="malformed"):
            await store.app_state(APP.name)
    async with open_store(path) as store:
        with pytest.raises(StoreUnusable, match="malformed"):
            await store.app_state(APP.name)


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A database in what is no directory is reported with its place."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match=r"cannot write .*file/watcher\.db\.lock: Not a directory"):
        take_database(tmp_path / "file" / "watcher.db")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """A database in a directory that does not exist is refused with the name of the directory."""
    with pytest.raises(StoreUnusable, match=rf"^the directory {tmp_path}/data does not exist$"):
        take_database(tmp_path / "data" / "watcher.db")


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    """A directory in place of the database is reported, to the writer as what does not pass."""
    (tmp_path / "watcher.db").mkdir()
    with pytest.raises(StoreUnusable, match="it is a directory"):
        take_database(tmp_path / "watcher.db")
    with pytest.raises(StoreUnusable, match="it is a directory"):
        open_reader(tmp_path / "watcher.db")


# Other processes


async def test_a_closed_store_can_be_opened_again(path: Path) -> None:
    """Closing gives the database back within the same process."""
    async with open_store(path):
        with pytest.raises(StoreInUse):
            take_database(path)
    async with open_store(path):
        pass


async def test_readers_do_not_disturb_the_writer(path: Path) -> None:
    """A reader in the middle of reading sees what was, the writer writes on, and neither waits."""
    async with open_store(path) as store:
        await record_new(store)
        with closing(open_reader(path)) as reader:
            rows = reader.execute("SELECT run_id FROM requests")
            reader.execute("BEGIN")
            assert "run-1" == reader.execute("SELECT run_id FROM requests").fetchone()["run_id"]
            await record_new(store, make_new_request("run-2"))
            assert ["run-1"] == [row["run_id"] for row in reader.execute("SELECT run_id FROM requests")]
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.execute("DELETE FROM requests")
            rows.close()
        assert ["run-1", "run-2"] == [request.run_id for request in pending(path)]


async def test_what_is_changed_beside_a_daemon_reaches_it(path: Path) -> None:
    """A change by another connection is committed without a checkpoint and is seen by the running store."""
    async with open_store(path) as store:
        await store.record_changes(APP, BOTH, new=[make_new_request()], now=NOW)
        with SqliteDatabase(path).changing(NOW) as beside:
            assert [0] == [row[0] for row in beside.execute("PRAGMA wal_autocheckpoint")]
            assert [2] == [row[0] for row in beside.execute("PRAGMA synchronous")]
            beside.execute("UPDATE deliveries SET next_attempt_at = ?", (NOW + 60,))
        assert () == await claim(store, "webhook", now=NOW + 59)
        assert 1 == len(await claim(store, "webhook", now=NOW + 60))


async def test_the_database_is_durable(path: Path) -> None:
    """The writer uses a write-ahead log, syncs each commit, and checks references."""
    async with open_store(path) as store:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        settings = [sqlite_of(store).execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas]
    assert ["wal", 2, 1] == settings
