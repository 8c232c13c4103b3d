"""The lists that are read beside a daemon."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.builders import MACHINE, make_new_request, open_store, record_new
from watcher.store import queries
from watcher.store.sql import Parameters, Row
from watcher.store.sqlite import SqliteDatabase

pytestmark = pytest.mark.anyio


async def test_a_delivery_that_is_deleted_while_a_list_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list leaves out the deliveries that the daemon deletes or merges between two statements."""
    path = tmp_path / "watcher.db"
    async with open_store(path) as store:
        await record_new(store, make_new_request("run-1"), routes=[MACHINE])
    with SqliteDatabase(path).reading() as reader:
        assert [1] == [record.id for record in queries.request_deliveries(reader, [1])[1]]
        execute = reader.execute

        def execute_and_delete(statement: str, parameters: Parameters = ()) -> Sequence[Row]:
            rows = execute(statement, parameters)
            with closing(sqlite3.connect(path)) as other, other:
                other.execute("DELETE FROM deliveries")
            return rows

        monkeypatch.setattr(reader, "execute", execute_and_delete)
        assert {1: []} == queries.request_deliveries(reader, [1])
