"""`watcher move`: a SQLite database goes into PostgreSQL, whole or not at all."""

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import make_new_request, open_store, record_new
from tests.support.postgresql import Schema
from tests.support.process import WITHIN, run_command, run_watcher
from watcher.store.files import DatabaseLock
from watcher.store.transfer import TABLES

pytestmark = pytest.mark.anyio

MANY = 100_000
"""Rows of the database whose move is killed."""


def settings_of(schema: Schema) -> dict[str, str]:
    """Returns the settings of a watcher that has this schema."""
    return {
        "WATCHER_BASE_URL": "http://127.0.0.1:1",
        "WATCHER_DATABASE": schema.url,
        "WATCHER_DATABASE_SCHEMA": schema.name,
    }


def rows_of(schema: Schema, table: str) -> list[tuple[Any, ...]]:
    """Returns the rows of a table, none if the schema does not exist."""
    with schema.server.connect() as connection:
        if connection.execute("SELECT to_regclass(%s)", [f"{schema.name}.{table}"]).fetchone() == (None,):
            return []
        found = connection.execute(f"SELECT * FROM {schema.name}.{table} ORDER BY 1, 2".encode())
        return [tuple(row) for row in found.fetchall()]


def is_led(schema: Schema) -> bool:
    """Returns whether a process has the lease."""
    with schema.server.connect() as connection:
        if connection.execute("SELECT to_regclass(%s)", [f"{schema.name}.lease"]).fetchone() == (None,):
            return False
        found = connection.execute(f"SELECT expires_at > now() FROM {schema.name}.lease".encode())
        return found.fetchone() == (True,)


def rows_in(file: Path, table: str) -> list[tuple[Any, ...]]:
    """Returns the rows of a table of a SQLite file; PostgreSQL has no text with a NUL."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
    return [tuple(v.replace("\0", "\ufffd") if isinstance(v, str) else v for v in row) for row in found]


async def test_every_row_is_moved(tmp_path: Path, schema: Schema) -> None:
    """All tables are the same afterwards, each is counted, and no daemon starts on the file again."""
    file = tmp_path / "old.db"
    async with open_store(file) as store:
        await record_new(store, *(make_new_request(f"run-{number}", prompt="Ok?\0") for number in range(5)))
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("INSERT INTO apps VALUES ('support', 1.5, NULL)")
            connection.commit()
    done = await run_command(tmp_path, settings_of(schema), "move", "old.db")
    assert (0, "") == (done.status, done.err)
    moved = tmp_path / "old.db.moved"
    assert {table: rows_in(moved, table) for table in TABLES} == {
        table: rows_of(schema, table) for table in TABLES
    }
    counts = dict(line.split() for line in done.out.splitlines()[:-1])
    assert {table: str(len(rows_in(moved, table))) for table in TABLES} == counts
    assert not file.exists()
    listed = await run_command(tmp_path, settings_of(schema), "deliveries", "--json")
    assert listed.out.count('"type": "run.input_requested"') == len(rows_in(moved, "deliveries"))


async def test_nothing_is_moved_onto_something(tmp_path: Path, schema: Schema) -> None:
    """A schema with rows, a file in use, a missing file and a SQLite target are refused in one line each."""
    for name in ("one.db", "two.db"):
        async with open_store(tmp_path / name) as store:
            await record_new(store, make_new_request("run-1"))
    assert 0 == (await run_command(tmp_path, settings_of(schema), "move", "one.db")).status
    second = await run_command(tmp_path, settings_of(schema), "move", "two.db")
    assert (2, 1) == (second.status, second.err.count("\n"))
    assert "its schema is not empty: the table requests has rows" in second.err
    assert "rename FILE to FILE.moved" in second.err
    again = await run_command(tmp_path, settings_of(schema), "move", "one.db")
    assert (2, "watcher: one.db does not exist; it was moved already, and is one.db.moved now\n") == (
        again.status,
        again.err,
    )
    (tmp_path / "two.db.moved").touch()
    replacing = await run_command(tmp_path, settings_of(schema), "move", "two.db")
    assert (2, "watcher: two.db.moved exists already; rename it, because two.db would replace it\n") == (
        replacing.status,
        replacing.err,
    )
    (tmp_path / "two.db.moved").unlink()
    lock = DatabaseLock(tmp_path / "two.db")
    used = await run_command(tmp_path, settings_of(schema), "move", "two.db")
    lock.release()
    assert (2, f"watcher: two.db: it is in use by process {os.getpid()} ") == (
        used.status,
        used.err[: used.err.index("on ")],
    )
    missing = await run_command(tmp_path, settings_of(schema), "move", "three.db")
    assert (2, "watcher: three.db does not exist\n") == (missing.status, missing.err)
    onto_file = await run_command(tmp_path, {"WATCHER_BASE_URL": "http://127.0.0.1:1"}, "move", "two.db")
    assert (2, 1) == (onto_file.status, onto_file.err.count("\n"))
    assert (tmp_path / "two.db").exists()


async def test_files_that_cannot_be_renamed(tmp_path: Path, schema: Schema) -> None:
    """What was copied is said, and what is left to do, in one line."""
    async with open_store(tmp_path / "old.db") as store:
        await record_new(store, make_new_request("run-1"))
    (tmp_path / "old.db.moved-wal").mkdir()
    with closing(sqlite3.connect(tmp_path / "old.db")) as reader:  # keeps the write-ahead log
        reader.execute("SELECT * FROM requests").fetchall()
        done = await run_command(tmp_path, settings_of(schema), "move", "old.db")
    assert (1, "") == (done.status, done.out)
    assert (
        "watcher: old.db was copied, but its files cannot be renamed: Is a directory;"
        " rename old.db to old.db.moved, so that no daemon starts on it\n"
    ) == done.err
    assert 1 == len(rows_of(schema, "requests"))


async def test_a_move_that_is_killed_moved_all_or_nothing(tmp_path: Path, schema: Schema) -> None:
    """Killed in the middle of 100,000 rows, nothing is in PostgreSQL and the file is as before."""
    file = tmp_path / "old.db"
    async with open_store(file):
        pass
    with closing(sqlite3.connect(file)) as connection:
        connection.executemany(
            "INSERT INTO incidents (scope, name, since, reason) VALUES ('app', ?, 1.0, 'down')",
            ((f"app-{number}",) for number in range(MANY)),
        )
        connection.commit()
    chance = random.Random(20261128)
    for _ in range(3):
        async with run_watcher(tmp_path, settings_of(schema), "move", "old.db") as process:
            async with asyncio.timeout(WITHIN):
                while not is_led(schema) and file.exists():  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(0.02)
            await asyncio.sleep(chance.uniform(0.05, 0.5))  # any instant of the copy is good
            await process.stop(signal.SIGKILL)
        copied = len(rows_of(schema, "incidents"))
        assert (copied, file.exists()) in {(0, True), (MANY, True), (MANY, False)}
        with schema.server.connect() as connection:  # what a dead process holds expires in 10 s
            connection.execute(f"UPDATE {schema.name}.lease SET expires_at = '-infinity'".encode())
        if copied:
            break
    else:
        assert 0 == (await run_command(tmp_path, settings_of(schema), "move", "old.db")).status
    assert MANY == len(rows_of(schema, "incidents"))
