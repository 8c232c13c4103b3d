"""Which database a setting names, and where its driver and its password come from."""

import sys
from pathlib import Path

import pytest

from tests.support.postgresql import Schema
from watcher.config.database import PostgresqlAddress
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret
from watcher.store.databases import locate, locate_server
from watcher.store.errors import StoreUnavailable, StoreUnusable
from watcher.store.sqlite import SqliteDatabase

ADDRESS = PostgresqlAddress("postgresql://watcher@127.0.0.1:1/watcher")


def test_a_path_is_sqlite(tmp_path: Path) -> None:
    """A path names a file, for which no driver is loaded."""
    assert isinstance(locate(tmp_path / "watcher.db"), SqliteDatabase)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says how to install it."""
    monkeypatch.setitem(sys.modules, "watcher.store.postgresql", None)
    with pytest.raises(StoreUnusable, match=r"pip install 'dynamiq-watcher\[postgresql\]'$"):
        locate(ADDRESS)


def test_a_password_whose_file_is_gone_may_come_back(tmp_path: Path) -> None:
    """The file is read at each connect; while it is missing, the database is only unavailable."""
    pytest.importorskip("psycopg")
    password = Secret("database_password", Redactor(), file=tmp_path / "password")
    database = locate_server(PostgresqlAddress(ADDRESS.url, password=password))
    with pytest.raises(StoreUnavailable, match=r"^database_password: cannot read .*: No such file"):
        database.prepare()


def test_a_password_is_read_afresh(tmp_path: Path, schema: Schema) -> None:
    """A rotated password is used from the next connect on."""
    role = f"rotating_{schema.name}"
    with schema.server.connect() as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'new' IN ROLE passworded".encode())
    file = tmp_path / "password"
    file.write_text("old")
    password = Secret("database_password", Redactor(), file=file)
    url = f"postgresql://{role}@127.0.0.1:{schema.server.port}/watcher"
    database = locate_server(PostgresqlAddress(url, password=password))
    with pytest.raises(StoreUnusable, match="password authentication failed"):
        database.now()
    file.write_text("new\n")
    assert database.now() > 0
    with schema.server.connect() as connection:
        connection.execute(f"DROP ROLE {role}".encode())
