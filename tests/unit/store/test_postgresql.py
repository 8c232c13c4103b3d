"""The driver of PostgreSQL: quoting, transactions, the fence, round trips."""

import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.databases import rows
from tests.support.postgresql import Schema
from watcher.store.errors import StoreError, StoreLost, StoreRejected, StoreUnavailable, StoreUnusable
from watcher.store.migrations import MIGRATIONS
from watcher.store.sql import Listed
from watcher.store.sqlite import SqliteDatabase

psycopg = pytest.importorskip("psycopg")

from watcher.store.postgresql import PostgresqlDatabase  # noqa: E402
from watcher.store.postgresql_schema import VERSION  # noqa: E402
from watcher.store.postgresql_session import BATCH_SIZE, Session  # noqa: E402

HOSTILE = "it's \\ \" % %s ? :name \u202e \U0001f600 $1 {} \n --"
ADD = "INSERT INTO apps (name, first_success_at) VALUES (?, ?)"


@pytest.fixture
def database(schema: Schema) -> PostgresqlDatabase:
    """A schema in which nothing is known, and of which nobody has the lease."""
    database = PostgresqlDatabase(schema.url, schema=schema.name)
    database.prepare()
    return database


@pytest.fixture
def leader(database: PostgresqlDatabase) -> Iterator[Session]:
    """The session of the process that has the lease."""
    take_lease(database, "mine")
    session = database.open("mine")
    yield session
    session.close()


def take_lease(database: PostgresqlDatabase, token: str) -> None:
    """Takes the lease from who has it."""
    session = database.session()
    session.execute("UPDATE lease SET token = ?", [token])
    session.close()


def names(database: PostgresqlDatabase) -> list[str]:
    """Returns the names of the apps as another process sees them."""
    with database.reading() as reader:
        return [row["name"] for row in reader.execute("SELECT name FROM apps ORDER BY name")]


def add(session: Session, *names: str) -> None:
    """Adds apps one by one, in a transaction that reads first."""
    with session.transaction() as sql:
        assert [] == sql.execute("SELECT 1 FROM apps WHERE name = 'no app'")
        for name in names:
            sql.execute(ADD, [name, None])


# Values


@pytest.mark.parametrize("text", [HOSTILE, "", "é" * 5000, "'; DROP TABLE apps; --", "\\'", "E'\\x'"])
def test_a_text_is_stored_as_it_is(leader: Session, text: str) -> None:
    """Nothing in a text acts on the statement that it stands in."""
    with leader.transaction() as sql:
        sql.execute(ADD, [text, 1.0])
        found = sql.execute("SELECT name FROM apps WHERE name = :name", {"name": text})
    assert [text] == [row["name"] for row in found]


@pytest.mark.parametrize(
    "number", [0.0, -1.5, 1_800_000_000.123456, 5e-324, 1.7e308, math.inf, -math.inf, None, 7]
)
def test_a_number_is_stored_as_it_is(leader: Session, number: float | None) -> None:
    """To the last bit."""
    with leader.transaction() as sql:
        sql.execute(ADD, ["app", number])
        ((found,),) = sql.execute("SELECT first_success_at FROM apps")
    assert number == found


def test_a_list_finds_what_is_in_it(leader: Session) -> None:
    """Lists of texts and of numbers, empty ones and ones full of marks of arrays."""
    odd = ["a", "NULL", "{}", 'quo"te', "back\\slash", "com,ma", " blank ", "", HOSTILE]
    with leader.transaction() as sql:
        sql.execute_many(ADD, [(name, number) for number, name in enumerate(odd)])
        where = (
            "SELECT name FROM apps WHERE name IN (SELECT value FROM json_each(?)) ORDER BY first_success_at"
        )
        assert odd == [row["name"] for row in sql.execute(where, [Listed(odd)])]
        assert [] == sql.execute(where, [Listed([])])
        where = "SELECT 1 FROM apps WHERE NOT (first_success_at IN (SELECT value FROM json_each(:some)))"
        assert len(odd) - 2 == len(sql.execute(where, {"some": Listed([0, 1, 99])}))


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_cannot_be_stored_is_refused_and_leaves_nothing(
    leader: Session, database: PostgresqlDatabase, text: str
) -> None:
    """A NUL, or half a surrogate pair, is an error of its own kind, and the next transaction works."""
    with pytest.raises(StoreRejected):
        add(leader, "before", text)
    add(leader, "after")
    assert ["after"] == names(database)


def test_rows_have_names_and_places(leader: Session) -> None:
    """As SQLite's have."""
    with leader.reading() as sql:
        (row,) = sql.execute("SELECT 1 AS one, 'two' AS two")
    assert (1, "two", "two", [1, "two"]) == (row["one"], row["two"], row[1], list(row))
    with pytest.raises(KeyError):
        row["three"]


# Transactions


def test_a_failure_takes_back_the_whole_transaction(leader: Session, database: PostgresqlDatabase) -> None:
    """An error of the database, and one of the program."""
    with pytest.raises(StoreUnavailable, match="duplicate key"), leader.transaction() as sql:
        sql.execute_many(ADD, [("one", None), ("one", None)])
    with pytest.raises(ZeroDivisionError), leader.transaction() as sql:
        sql.execute(ADD, ["two", 1 / 0])
    assert [] == names(database)


def test_an_error_that_is_passed_over_commits_nothing(leader: Session, database: PostgresqlDatabase) -> None:
    """PostgreSQL answers COMMIT with ROLLBACK then, and no error."""
    rolled_back = pytest.raises(StoreUnavailable, match="rolled back")
    with rolled_back, leader.transaction() as sql, suppress(StoreError):
        sql.execute(ADD, ["one", None])
        sql.execute("SELECT no_such_column FROM apps")
    assert [] == names(database)


def test_reading_writes_nothing(leader: Session, database: PostgresqlDatabase) -> None:
    """What only reads is a transaction that may not write."""
    with pytest.raises(StoreUnavailable, match="read-only"), leader.reading() as sql:
        sql.execute(ADD, ["one", None])
    assert [] == names(database)


def test_a_large_batch_goes_in_parts(leader: Session, database: PostgresqlDatabase) -> None:
    """A page of long prompts is not one text of hundreds of megabytes."""
    before, long = leader.round_trips, "x" * (BATCH_SIZE // 2)
    rows = [(f"app-{number}", "app", 0.0, long) for number in range(4)]
    with leader.transaction() as sql:
        sql.execute_many("INSERT INTO incidents (name, scope, since, reason) VALUES (?, ?, ?, ?)", rows)
    with database.reading() as reader:
        ((count,),) = reader.execute("SELECT count(*) FROM incidents")
    assert 4 == count
    assert 3 == leader.round_trips - before


def test_round_trips(leader: Session) -> None:
    """What writes goes with the next question or with the end, and the beginning and the fence with it."""
    before = leader.round_trips
    with leader.transaction():
        pass
    assert 0 == leader.round_trips - before
    with leader.transaction() as sql:
        ((one,),), ((two,),) = sql.execute_all([("SELECT 1", ()), ("SELECT 2", ())])
        assert (1, 2) == (one, two)
        sql.execute_many(ADD, [(f"app-{number}", None) for number in range(100)])
        sql.execute("DELETE FROM apps WHERE name = ?", ["app-7"])
        assert 99 == len(sql.execute("SELECT 1 FROM apps"))
        sql.execute(ADD, ["app-7", None])
    assert 3 == leader.round_trips - before
    with leader.transaction() as sql:
        sql.execute(ADD, ["alone", None])
    assert 4 == leader.round_trips - before
    with leader.reading() as sql:
        sql.execute_all([("SELECT 1", ()), ("SELECT 2", ())])
    assert 5 == leader.round_trips - before


# The fence


def test_who_lost_the_lease_writes_nothing(leader: Session, database: PostgresqlDatabase) -> None:
    """However late in the transaction its first write comes."""
    take_lease(database, "another")
    with pytest.raises(StoreLost, match="another process"):
        add(leader, "one")
    assert [] == names(database)


def test_who_lost_the_lease_may_read(leader: Session, database: PostgresqlDatabase) -> None:
    """Reading needs no lease."""
    take_lease(database, "another")
    with leader.transaction() as sql:
        assert [] == sql.execute("SELECT name FROM apps")


def test_the_lease_cannot_be_taken_while_its_owner_writes(
    leader: Session, database: PostgresqlDatabase
) -> None:
    """From the first write to the commit; the lease can be renewed meanwhile."""
    with leader.transaction() as sql:
        sql.execute(ADD, ["one", None])
        sql.execute("SELECT 1")  # with which it is sent
        other = database.session()
        other.execute("UPDATE lease SET expires_at = clock_timestamp()")  # a renewal
        with pytest.raises(StoreUnavailable, match="lock"), other.transaction() as waiting:
            waiting.execute("SELECT 1 FROM lease FOR UPDATE NOWAIT")
        other.close()
    assert ["one"] == names(database)


# Opening


def test_a_wrong_address_is_refused() -> None:
    """Without the password that stands in it."""
    with pytest.raises(StoreUnusable, match="the address is wrong") as raised:
        PostgresqlDatabase("postgresql://watcher:secret@localhost/db?colour=red")
    assert "secret" not in str(raised.value)


def test_tables_are_made_once(database: PostgresqlDatabase) -> None:
    """A second start finds them."""
    assert database.exists()
    database.prepare()
    assert [] == names(database)


def test_where_nothing_was_made_there_is_nothing(schema: Schema) -> None:
    """Asking makes nothing."""
    database = PostgresqlDatabase(schema.url, schema=schema.name)
    assert not database.exists()
    assert f"the tables of the schema {schema.name} do not exist yet in {database};" in database.absence
    with pytest.raises(StoreUnusable, match="does not exist"):
        names(database)
    assert not database.exists()


def test_the_schema_is_that_of_sqlite(database: PostgresqlDatabase, path: Path) -> None:
    """Both have the same version, tables, columns and indexes, but for the lease."""
    SqliteDatabase(path).open().close()
    file = SqliteDatabase(path)
    columns = rows(
        file,
        "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c"
        " WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%'",
    )
    indexes = rows(file, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    columns_here = rows(
        database,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND table_name <> 'lease'",
    )
    indexes_here = rows(
        database,
        "SELECT indexname FROM pg_indexes"
        " WHERE schemaname = current_schema() AND indexname NOT LIKE '%_pkey'",
    )
    assert len(MIGRATIONS) == VERSION
    assert (set(columns), set(indexes)) == (set(columns_here), set(indexes_here))


def test_texts_sort_as_in_sqlite(leader: Session, database: PostgresqlDatabase) -> None:
    """By code points, whatever the collation of the database is."""
    add(leader, "b", "A", "a", "é", "B", "_")
    assert ["A", "B", "_", "a", "b", "é"] == names(database)
    others = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        " AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
    )
    assert [] == rows(database, others)
