"""Servers of PostgreSQL that will not do: names, passwords, rights, versions, read-only ones, a full disk."""

import os
import pwd
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

import pytest

from tests.support import postgresql_keeper
from tests.support.builders import (
    APP,
    MACHINE,
    NOW,
    PEOPLE,
    make_new_request,
    new_id,
    open_store,
    pending,
    record_new,
)
from tests.support.databases import on_postgresql, rows
from tests.support.postgresql import Schema, Server
from watcher.store import (
    Store,
    StoreUnavailable,
    StoreUnusable,
)

psycopg = pytest.importorskip("psycopg")

from watcher.store import postgresql  # noqa: E402
from watcher.store.postgresql import PostgresqlDatabase  # noqa: E402
from watcher.store.postgresql_schema import VERSION  # noqa: E402

pytestmark = pytest.mark.anyio

# Rights, passwords, names


def refusal(url: str, schema: str = "watcher", password: str | None = None) -> str:
    """Returns why a daemon cannot start there, which no waiting changes."""
    given = None if password is None else (lambda: password)
    with pytest.raises(StoreUnusable) as raised:
        PostgresqlDatabase(url, schema=schema, password=given).prepare()
    return str(raised.value)


@pytest.fixture
def role(postgresql_server: Server) -> Iterator[str]:
    """A role that has no rights and, over TCP, the password `right`."""
    name = f"role_{token_hex(4)}"
    with postgresql_server.connect() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right' IN ROLE passworded".encode())
        yield name
        connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.fixture
def other_database(postgresql_server: Server) -> Iterator[str]:
    """A database of its own."""
    name = f"other_{token_hex(4)}"
    with postgresql_server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER watcher".encode())
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_names_and_passwords_that_are_wrong(postgresql_server: Server, role: str) -> None:
    """Each is one line that says what is wrong, and shows no password."""
    server = postgresql_server
    assert 'database "nowhere" does not exist' in refusal(server.url(database="nowhere"))
    assert 'role "nobody-here" does not exist' in refusal(server.url(user="nobody-here"))
    tcp = server.url(user=role, tcp=True)
    assert "no password supplied" in refusal(tcp)
    wrong = refusal(tcp, password="wrong-word")
    assert "password authentication failed" in wrong
    assert "wrong-word" not in wrong
    assert "permission denied" in refusal(tcp, password="right")


def test_a_password_that_changes(schema: Schema, role: str) -> None:
    """It is read at each connect; while a process runs a refusal passes."""
    passwords = ["right"]
    database = PostgresqlDatabase(schema.server.url(user=role, tcp=True), password=lambda: passwords[0])
    session = database.session()
    assert 1 == len(session.execute("SELECT 1"))
    session.close()
    passwords[0] = "of yesterday"
    with pytest.raises(StoreUnavailable, match="password authentication failed"):
        session.execute("SELECT 1")
    passwords[0] = "right"
    session._not_before = 0.0
    assert 1 == len(session.execute("SELECT 1"))
    session.close()


async def test_a_right_that_is_revoked(schema: Schema) -> None:
    """What the role may not do any more does not pass."""
    async with open_store(on_postgresql(schema)) as store:
        with schema.server.connect() as connection:
            connection.execute(f"REVOKE INSERT ON {schema.name}.deliveries FROM watcher".encode())
        with pytest.raises(StoreUnusable, match="permission denied for table deliveries"):
            await record_new(store)
        assert [] == pending(on_postgresql(schema))


# Servers that will not do


def test_an_old_server(schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version and the oldest that will do are named."""
    monkeypatch.setattr(postgresql, "OLDEST_SERVER", 99)
    assert "it must be 99 or newer" in refusal(schema.url)


def test_another_encoding(postgresql_server: Server) -> None:
    """Texts of any language must go in."""
    name = f"latin_{token_hex(4)}"
    with postgresql_server.connect() as connection:
        connection.execute(
            f"CREATE DATABASE {name} OWNER watcher ENCODING 'LATIN1' TEMPLATE template0".encode()
        )
        assert "its encoding is LATIN1; it must be UTF8" == refusal(postgresql_server.url(database=name))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def test_a_server_that_becomes_read_only(
    postgresql_server: Server, other_database: str, schema: Schema
) -> None:
    """At the start it is refused; a running process goes on when it can write again."""
    url = postgresql_server.url(database=other_database)
    database = PostgresqlDatabase(url, schema=schema.name)
    database.prepare()
    session = database.open("mine")
    session.execute("UPDATE lease SET token = 'mine'")
    store = Store(session, new_id)
    await record_new(store, make_new_request("run-1"))
    read_only = f"ALTER DATABASE {other_database} SET default_transaction_read_only"
    with postgresql_server.connect() as connection:
        connection.execute(f"{read_only} = on".encode())
        session.close()  # so that the next connection sees it
        with pytest.raises(StoreUnavailable, match="read-only"):
            await record_new(store, make_new_request("run-2"))
        assert "read-only" in refusal(url, schema.name)
        connection.execute(f"{read_only} = off".encode())
    await record_new(store, make_new_request("run-2"))
    assert 2 == len((await store.app_state(APP.name)).known)
    await store.close()


async def test_a_schema_of_a_newer_version(schema: Schema) -> None:
    """Neither a daemon nor a command touches it."""
    on_postgresql(schema).open().close()
    database = PostgresqlDatabase(schema.url, schema=schema.name)
    session = database.session()
    session.execute("UPDATE lease SET version = 99")
    session.close()
    words = f"newer watcher: it has version 99, this one knows {VERSION}"
    assert words in refusal(schema.url, schema.name)
    with pytest.raises(StoreUnusable, match=words), database.reading():
        pass
    with pytest.raises(StoreUnusable, match=words), database.changing(NOW):
        pass


def test_many_make_the_tables_at_once(schema: Schema) -> None:
    """Starts on an empty schema wait for each other, and all find the tables made."""
    failures: list[Exception] = []

    def start() -> None:
        try:
            PostgresqlDatabase(schema.url, schema=schema.name).prepare()
        except Exception as error:  # noqa: BLE001 - in a thread
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failures
    assert [(1, VERSION)] == rows(on_postgresql(schema), "SELECT one, version FROM lease")


# A full disk


@pytest.fixture
def small_tablespace(postgresql_server: Server) -> Iterator[str]:
    """A tablespace of 16 MiB."""
    place, name = Path(postgresql_server.host) / f"small-{token_hex(4)}", f"small_{token_hex(4)}"
    place.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    try:
        if owner := postgresql_keeper.server_user():
            os.chown(place, pwd.getpwnam(owner).pw_uid, -1)
        with postgresql_server.connect() as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{place}'".encode())
            connection.execute(f"CREATE DATABASE {name} OWNER watcher TABLESPACE {name}".encode())
            yield name
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute(f"DROP TABLESPACE {name}".encode())
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


async def test_a_full_disk_is_an_error_that_passes(postgresql_server: Server, small_tablespace: str) -> None:
    """What does not fit is refused and leaves nothing; what was there stays, and later it goes in."""
    database = PostgresqlDatabase(postgresql_server.url(database=small_tablespace))
    database.prepare()
    session = database.open("mine")
    session.execute("UPDATE lease SET token = 'mine'")
    store = Store(session, new_id)
    await record_new(store, make_new_request("run-1"), routes=[MACHINE])
    with postgresql_server.connect(database=small_tablespace) as connection:
        connection.execute(
            "CREATE TABLE ballast (text text); ALTER TABLE ballast ALTER text SET STORAGE PLAIN"
        )
        with suppress(psycopg.Error):
            while True:
                connection.execute("INSERT INTO ballast SELECT repeat('x', 4000) FROM generate_series(1, 50)")
        big = [make_new_request(f"big-{number}", prompt=token_hex(100_000)) for number in range(20)]
        with pytest.raises(StoreUnavailable, match="No space left on device"):
            await record_new(store, *big, routes=[PEOPLE])
        assert ["run-1"] == [key.run_id for key in (await store.app_state(APP.name)).known]
        connection.execute("DROP TABLE ballast")
    await record_new(store, *big[:2], routes=[PEOPLE])
    assert 3 == len((await store.app_state(APP.name)).known)
    await store.close()
