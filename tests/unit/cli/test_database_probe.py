"""What `watcher check` says of a PostgreSQL server."""

from contextlib import closing
from dataclasses import replace

import pytest

from tests.support.postgresql import Schema
from watcher.cli import database_probe
from watcher.cli.database_probe import CheckResult, check_database
from watcher.config.database import PostgresqlAddress
from watcher.config.models import Config
from watcher.store.databases import locate_server
from watcher.store.inspection import Inspection, inspect


@pytest.fixture(name="config")
def _config(schema: Schema) -> Config:
    """The configuration of a replica with a schema that does not exist yet."""
    return Config(database=PostgresqlAddress(schema.url, schema.name))


def prepare(config: Config) -> None:
    """Makes the tables."""
    assert isinstance(config.database, PostgresqlAddress)
    locate_server(config.database).prepare()


def texts(results: list[CheckResult]) -> list[tuple[bool, bool, str]]:
    """Returns what the results say, without the version of the server."""
    return [(each.good, each.warning, each.text.partition("), ")[2] or each.text) for each in results]


def test_who_leads_is_said(config: Config, schema: Schema) -> None:
    """Before the first start, without a leader, and with one."""
    assert [(True, False, "not encrypted; will be made")] == texts(check_database(config))
    with schema.server.connect() as connection:
        assert connection.execute("SELECT to_regnamespace(%s)", [schema.name]).fetchone() == (None,)
    prepare(config)
    assert [(True, False, "not encrypted; no replica leads")] == texts(check_database(config))
    with schema.server.connect() as connection:
        connection.execute(
            f"UPDATE {schema.name}.lease SET holder = 'process 1 on a', expires_at = 'infinity'".encode()
        )
    assert [(True, False, "not encrypted; process 1 on a leads")] == texts(check_database(config))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("REVOKE UPDATE ON {}.lease FROM watcher", "the role lacks rights on the tables of the schema {}"),
        (
            "DROP SCHEMA {0} CASCADE; CREATE SCHEMA {0}; GRANT USAGE ON SCHEMA {0} TO watcher",
            "the role lacks the right to make tables in the schema {}",
        ),
        ("UPDATE {}.lease SET version = 99", "it was written by a newer watcher"),
    ],
)
def test_what_cannot_work_is_a_failure(config: Config, schema: Schema, change: str, text: str) -> None:
    """A right that is missing, or a schema of a newer version, is said before a daemon fails by it."""
    prepare(config)
    with schema.server.connect() as connection:
        connection.execute(change.format(schema.name).encode())
    ((good, _, said),) = texts(check_database(config))
    assert (False, True) == (good, said.startswith(text.format(schema.name)))


def test_a_long_transaction_and_another_clock_are_warnings(
    config: Config, monkeypatch: pytest.MonkeyPatch, schema: Schema
) -> None:
    """Both let a daemon work, and do harm in time."""
    monkeypatch.setattr(database_probe, "LONG_TRANSACTION", 0.0)
    monkeypatch.setattr(database_probe, "CLOCK_TOLERANCE", -1.0)
    with schema.server.connect("watcher") as connection:
        connection.execute("BEGIN")
        found = texts(check_database(config))
    assert [False, True, True] == [warning for _, warning, _ in found]
    assert "this machine's clock is 0 s" in found[1][2]
    assert found[2][2].startswith("a transaction has been open for ")


def test_a_connection_in_the_clear_is_a_warning(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a network it shows prompts and may show the password."""

    def remote(*arguments: object) -> Inspection:
        return replace(inspect(*arguments), local=False)  # type: ignore[arg-type]

    monkeypatch.setattr(database_probe, "inspect", remote)
    (_, (good, warning, text)) = texts(check_database(config))
    assert (True, True) == (good, warning)
    assert text == "the connection is not encrypted; add sslmode=verify-full to the address"


def test_a_server_that_is_away_is_a_failure() -> None:
    """The line says why it cannot be reached, and shows no password."""
    address = PostgresqlAddress("postgresql://watcher:of-no-one@127.0.0.1:1/watcher")
    pytest.importorskip("psycopg")
    (found,) = check_database(Config(database=address))
    assert (False, "database postgresql://watcher:********@127.0.0.1:1/watcher") == (
        found.good,
        found.subject,
    )
    assert "connection" in found.text


def test_a_leader_keeps_its_lease_while_it_is_checked(config: Config) -> None:
    """The check asks and changes nothing."""
    prepare(config)
    assert isinstance(config.database, PostgresqlAddress)
    state = "SELECT epoch, holder, CAST(expires_at AS text) FROM lease"
    with closing(locate_server(config.database).session()) as session:
        before = [tuple(row) for row in session.execute(state)]
        check_database(config)
        assert before == [tuple(row) for row in session.execute(state)]
