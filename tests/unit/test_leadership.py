"""The keeper of the lease, on a real server, and the clock that it keeps."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.postgresql import Schema
from tests.support.process import WITHIN
from watcher import leadership
from watcher.leadership import DatabaseClock, LeaseKeeper
from watcher.store.errors import StoreLost, StoreUnavailable, StoreUnusable
from watcher.store.postgresql_schema import VERSION

pytest.importorskip("psycopg")

from watcher.store.postgresql import PostgresqlDatabase, upgrade
from watcher.store.postgresql_session import Session


class Distant(PostgresqlDatabase):
    """A database that a test can put out of reach; the sessions that are open fail, too."""

    problem: Exception | None = None

    def prepare(self) -> None:
        """Prepares it if it can be reached."""
        self._reach()
        super().prepare()

    def session(self) -> Session:
        """Returns a session if it can be reached."""
        self._reach()
        database, session = self, super().session()

        class Interrupted(Session):
            @contextmanager
            def transaction(self) -> Iterator[Any]:
                database._reach()
                with session.transaction() as sql:
                    yield sql

            def close(self) -> None:
                session.close()

        return Interrupted.__new__(Interrupted)

    def _reach(self) -> None:
        if self.problem is not None:
            raise self.problem


class Kept:
    """A keeper, and what its thread says."""

    def __init__(self, database: PostgresqlDatabase, name: str = "one", version: int = VERSION) -> None:
        self.time = 0.0
        self.keeper = LeaseKeeper(
            database,
            upgrade,
            version=version,
            holder=f"process of {name}",
            clock=DatabaseClock(lambda: self.time),
            jitter=lambda: 0.5,
        )
        self._news = threading.Condition()

    def start(self) -> None:
        """Starts the thread."""
        self.keeper.start(self._tell, self._tell)

    def wait(self, reached: Callable[[leadership.Standing], object]) -> leadership.Standing:
        """Waits until the standing is as it should be, and returns it."""
        with self._news:
            assert self._news.wait_for(lambda: reached(self.keeper.standing), WITHIN), self.keeper.standing
        return self.keeper.standing

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for longer than necessary."""
    monkeypatch.setattr(leadership, "LOOK_INTERVAL", 0.01)
    monkeypatch.setattr(leadership, "RENEW_INTERVAL", 0.01)


@pytest.fixture(name="database")
def _database(schema: Schema) -> Distant:
    """A schema that does not exist yet."""
    return Distant(schema.url, schema=schema.name)


@pytest.fixture(name="keep")
def _keep() -> Iterator[Callable[..., Kept]]:
    """Makes keepers that are stopped in the end."""
    made: list[Kept] = []

    def make(*arguments: Any, **options: Any) -> Kept:
        made.append(Kept(*arguments, **options))
        made[-1].start()
        return made[-1]

    yield make
    for kept in made:
        kept.keeper.stop()


def execute(database: PostgresqlDatabase, statement: str) -> None:
    """Changes the row of the lease."""
    with closing(PostgresqlDatabase.session(database)) as session:
        session.execute(statement)


def leads(standing: leadership.Standing) -> bool:
    """Tells whether this process leads and could renew the lease."""
    return standing.role == "leader" and standing.problem is None


def test_one_leads_and_the_other_takes_over(database: Distant, keep: Callable[..., Kept]) -> None:
    """The first makes the schema and leads; the second names it, and leads as soon as the first stopped."""
    with capture_logs() as logs:
        first = keep(database)
        first.wait(leads)
        second = keep(database, "two")
        assert "process of one" == second.wait(lambda standing: standing.leader).leader
        first.keeper.stop()
        assert "process of two" == second.wait(leads).leader
    assert [
        ("daemon.leading", "process of one", 1),
        ("daemon.standby", "process of one", None),
        ("daemon.leading", "process of two", 2),
    ] == [(log["event"], log.get("holder", log.get("leader")), log.get("epoch")) for log in logs]


def test_of_three_that_start_at_once_one_leads(schema: Schema, keep: Callable[..., Kept]) -> None:
    """On an empty database, time and again, one makes the schema and leads, and the others name it."""
    for number in range(9):
        database = PostgresqlDatabase(schema.url, schema=f"{schema.name}_{number}")
        three = [keep(database, name) for name in ("one", "two", "three")]
        standings = [kept.wait(lambda standing: standing.leader) for kept in three]
        assert 1 == len({standing.leader for standing in standings})
        assert ["leader", "standby", "standby"] == sorted(standing.role for standing in standings)
        for kept in three:
            kept.keeper.stop()
        with schema.server.connect() as connection:
            connection.execute(f"DROP SCHEMA {schema.name}_{number} CASCADE".encode())


def test_who_was_replaced_is_told(database: Distant, keep: Callable[..., Kept]) -> None:
    """A leader that finds the lease taken has an error, which names the new leader."""
    with capture_logs() as logs:
        kept = keep(database)
        kept.wait(leads)
        execute(database, "UPDATE lease SET token = 'other', holder = 'process of two'")
        error = kept.wait(lambda standing: standing.error).error
    assert isinstance(error, StoreLost)
    assert "another replica leads: process of two" == str(error)
    assert ["daemon.leading"] == [log["event"] for log in logs]  # the daemon logs its own end


def test_a_leader_goes_on_after_an_outage(database: Distant, keep: Callable[..., Kept]) -> None:
    """While the database is away the leader says so; when it is back the same process leads on."""
    kept = keep(database)
    kept.wait(leads)
    with capture_logs() as logs:
        database.problem = StoreUnavailable("connection refused")
        away = kept.wait(lambda standing: standing.problem)
        database.problem = None
        kept.wait(leads)
    assert ("leader", "connection refused", None) == (away.role, away.problem, away.error)
    assert [("lease.renewal_failed", "connection refused")] == [(log["event"], log["error"]) for log in logs]


def test_after_an_outage_the_last_leader_goes_first(
    schema: Schema, database: Distant, keep: Callable[..., Kept]
) -> None:
    """A lease that expired while no replica reached the database is left to its leader, but not for long."""
    other = Distant(schema.url, schema=schema.name)
    first = keep(database)
    first.wait(leads)
    second = keep(other, "two")
    second.wait(lambda standing: standing.leader)
    for _ in range(2):
        for away in (database, other):
            away.problem = StoreUnavailable("gone")
        first.wait(lambda standing: standing.problem)
        second.wait(lambda standing: standing.problem)
        execute(database, "UPDATE lease SET expires_at = clock_timestamp() - interval '1 second'")
        other.problem = None
        assert second.wait(lambda standing: not standing.problem) == leadership.Standing("standby")
        database.problem = None
        first.wait(leads)
        assert "process of one" == second.wait(lambda standing: standing.leader).leader
    first.keeper.stop()
    second.time += leadership.HEAD_START
    second.wait(leads)


def test_a_database_that_is_away_at_the_start_is_waited_for(
    database: Distant, keep: Callable[..., Kept]
) -> None:
    """A process that cannot reach the database stands by and says why, and leads once it can."""
    database.problem = StoreUnavailable("connection refused")
    kept = keep(database)
    standing = kept.wait(lambda standing: standing.problem == "connection refused")
    assert ("standby", None) == (standing.role, standing.leader)
    database.problem = None
    kept.wait(leads)


def test_a_database_that_can_never_work_ends_the_start(database: Distant, keep: Callable[..., Kept]) -> None:
    """What waiting does not help is an error at the start; later, as with a rotated password, it passes."""
    database.problem = StoreUnusable("password authentication failed")
    assert database.problem is keep(database).wait(lambda standing: standing.error).error
    database.problem = None
    kept = keep(database, "two")
    kept.wait(leads)
    database.problem = StoreUnusable("password authentication failed")
    assert kept.wait(lambda standing: standing.problem).error is None
    database.problem = None
    kept.wait(leads)


def test_an_older_standby_waits_and_an_older_start_is_refused(
    database: Distant, keep: Callable[..., Kept]
) -> None:
    """A standby that knows less than the schema never leads, and says why; a new start with it is refused."""
    leader = keep(database)
    leader.wait(leads)
    older = keep(database, "two")
    older.wait(lambda standing: standing.leader)
    execute(database, f"UPDATE lease SET version = {VERSION + 1}")
    leader.keeper.stop()
    problem = older.wait(lambda standing: standing.problem).problem
    assert f"its schema has version {VERSION + 1}, this watcher knows {VERSION}" == problem
    error = keep(database, "three").wait(lambda standing: standing.error).error
    assert isinstance(error, StoreUnusable)
    assert str(error).startswith("it was written by a newer watcher")


def test_a_newer_standby_upgrades_as_it_takes_over(database: Distant, keep: Callable[..., Kept]) -> None:
    """The old leader goes on with its schema until it ends; then the newer replica upgrades it and leads."""
    old = keep(database)
    old.wait(leads)
    newer = keep(database, "two", version=VERSION + 1)
    newer.wait(lambda standing: standing.leader)
    old.keeper.stop()
    newer.wait(leads)
    with closing(PostgresqlDatabase.session(database)) as session:
        assert [(VERSION + 1,)] == [tuple(row) for row in session.execute("SELECT version FROM lease")]


def test_once_takes_the_lease_or_names_who_has_it(database: Distant) -> None:
    """Without a thread, one attempt is made; it is no error that another process leads."""
    first, second = Kept(database).keeper, Kept(database, "two").keeper
    assert first.try_once().mine
    found = second.try_once()
    assert (False, "process of one") == (found.mine, found.holder)
    first.start()
    first.stop()
    assert second.try_once().mine
    second.stop()
    with closing(PostgresqlDatabase.session(database)) as session:
        assert [(True,)] == [tuple(row) for row in session.execute("SELECT expires_at < now() FROM lease")]


def test_the_clock_is_the_databases() -> None:
    """Its time goes on by the machine's clock that cannot be set, from the middle of each round trip."""
    now = 100.0
    clock = DatabaseClock(lambda: now)
    now = 100.4
    with capture_logs() as logs:
        clock.set(5_000.0, asked_at=100.0)
        now = 110.4
        assert clock() == pytest.approx(5_010.2)
        now = 130.0
        clock.set(9_000.0, asked_at=110.4)  # took too long to say anything
        assert clock() == pytest.approx(5_029.8)
        clock.set(6_000.0, asked_at=130.0)
    assert clock() == 6_000.0
    (warning,) = logs
    assert "config.warning" == warning["event"]
    assert "s ahead of the database's" in warning["message"]
