"""The lease: one process at a time has it, and the row itself decides which."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.postgresql import Schema
from watcher.store.errors import StoreLost, StoreUnavailable
from watcher.store.lease import LEASE_SECONDS, Lease, holder_name, look, process_id, release, renew, take
from watcher.store.postgresql_schema import VERSION
from watcher.store.sql import Sql

pytest.importorskip("psycopg")

from watcher.store.postgresql import PostgresqlDatabase
from watcher.store.postgresql_session import Session


@pytest.fixture(name="database")
def _database(schema: Schema) -> PostgresqlDatabase:
    """A schema with its tables."""
    database = PostgresqlDatabase(schema.url, schema=schema.name)
    database.prepare()
    return database


@pytest.fixture(name="session")
def _session(database: PostgresqlDatabase) -> Iterator[Session]:
    """A session without a fence."""
    with closing(database.session()) as session:
        yield session


def leave(_sql: Sql, _version: int) -> None:
    """Changes nothing of the schema."""


def take_now(session: Session, token: str, version: int = VERSION) -> Lease:
    """Takes the lease in a transaction of its own, if it is free."""
    with session.transaction() as sql:
        return take(sql, token, f"process of {token}", version, leave)


def take_impatiently(session: Session, token: str) -> None:
    """Takes the lease, but waits for no one."""
    with session.transaction() as sql:
        sql.execute("SET LOCAL lock_timeout = '100ms'")
        take(sql, token, f"process of {token}", VERSION, leave)


def change(session: Session, assignment: str) -> None:
    """Changes the row."""
    session.execute(f"UPDATE lease SET {assignment}")


def test_one_process_has_it_until_it_gives_it_back(session: Session) -> None:
    """Who takes it has it; another one gets it only after it was released, and that is another epoch."""
    mine = take_now(session, "one")
    assert (True, False, 1, "process of one") == (mine.mine, mine.free, mine.epoch, mine.holder)
    other = take_now(session, "two")
    assert (False, False, 1, "process of one") == (other.mine, other.free, other.epoch, other.holder)
    with session.transaction() as sql:
        release(sql, "two")  # it is not its own
    assert not take_now(session, "two").mine
    with session.transaction() as sql:
        release(sql, "one")
    taken = take_now(session, "two")
    assert (True, 2, "process of two") == (taken.mine, taken.epoch, taken.holder)


def test_it_holds_for_its_time_by_the_clock_of_the_database(session: Session) -> None:
    """Taking and renewing both let it expire so many seconds later."""
    take_now(session, "one")
    left = "SELECT CAST(extract(epoch FROM expires_at - clock_timestamp()) AS float8) FROM lease"
    ((taken,),) = session.execute(left)
    change(session, "expires_at = '-infinity'")
    with session.transaction() as sql:
        now = renew(sql, "one")
    ((renewed,),) = session.execute(left)
    assert LEASE_SECONDS - 5 < taken <= LEASE_SECONDS
    assert LEASE_SECONDS - 5 < renewed <= LEASE_SECONDS
    with session.reading() as sql:
        assert 0 <= look(sql, "one").now - now < 5


def test_it_is_lost_once_another_process_has_it(session: Session) -> None:
    """What expired can be renewed until another process takes it; then the error names that process."""
    take_now(session, "one")
    change(session, "expires_at = '-infinity'")
    with session.transaction() as sql:
        renew(sql, "one")
    change(session, "expires_at = '-infinity'")
    take_now(session, "two")
    with (
        pytest.raises(StoreLost, match=r"^another replica leads: process of two$"),
        session.transaction() as sql,
    ):
        renew(sql, "one")


def test_it_is_not_taken_while_its_holder_writes(database: PostgresqlDatabase, session: Session) -> None:
    """A transaction of the holder that has begun to write ends before another process has the lease.

    The takeover locks the row first: its UPDATE alone would pass the lock of the fence.
    """
    take_now(session, "one")
    with closing(database.open("one")) as leader:
        with leader.transaction() as sql:
            sql.execute("INSERT INTO apps (name) VALUES ('support')")
            sql.execute("SELECT 1")  # with which it is sent
            change(session, "expires_at = '-infinity'")
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                take_impatiently(session, "two")
        assert take_now(session, "two").mine
        with pytest.raises(StoreLost), leader.transaction() as sql:
            sql.execute("INSERT INTO apps (name) VALUES ('sales')")
    assert [("support",)] == [tuple(row) for row in session.execute("SELECT name FROM apps")]


def test_an_older_schema_is_upgraded_as_the_lease_is_taken(session: Session) -> None:
    """The upgrade is in the same transaction: if it fails, the lease is as it was."""
    change(session, "version = 3")

    def fail(_sql: Sql, version: int) -> None:
        raise StoreUnavailable(f"from {version}")

    with pytest.raises(StoreUnavailable, match=r"^from 3$"), session.transaction() as sql:
        take(sql, "one", "process of one", VERSION, fail)
    assert ((True, 3, 0),) == tuple(
        tuple(row) for row in session.execute("SELECT token IS NULL, version, epoch FROM lease")
    )
    assert (True, VERSION) == ((taken := take_now(session, "one")).mine, taken.version)


def test_a_newer_schema_is_not_taken(session: Session) -> None:
    """A process that knows less leaves the lease alone, though it is free."""
    change(session, f"version = {VERSION + 1}")
    found = take_now(session, "one")
    assert (False, True, VERSION + 1, 0) == (found.mine, found.free, found.version, found.epoch)


def test_a_lease_without_a_row(session: Session) -> None:
    """A row that a person deleted is an error of the database, not a crash."""
    session.execute("DELETE FROM lease")
    with pytest.raises(StoreUnavailable, match=r"^the table lease has no row$"):
        take_now(session, "one")


def test_the_holder_names_its_process_and_host() -> None:
    """The process id can be had from the name on that host only."""
    name = holder_name(12, "node-1")
    assert ("process 12 on node-1", 12, None) == (name, process_id(name, "node-1"), process_id(name, "node"))
    assert process_id("somebody", "node-1") is None
