"""What the commands beside a daemon say of a PostgreSQL database that cannot be read."""

import pytest

from tests.support.postgresql import Schema
from tests.unit.cli.conftest import Invoke

APP = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_APP_NAME": "support"}


@pytest.mark.parametrize("made_by_a_person", [False, True])
def test_before_the_first_start(invoke: Invoke, schema: Schema, *, made_by_a_person: bool) -> None:
    """Lists, retry and poll each say in one plain line that there is nothing yet, and make nothing."""
    settings = {**APP, "WATCHER_DATABASE": schema.url, "WATCHER_DATABASE_SCHEMA": schema.name}
    with schema.server.connect() as connection:
        if made_by_a_person:
            connection.execute(f"CREATE SCHEMA {schema.name} AUTHORIZATION watcher".encode())
        commands = [("pending",), ("deliveries",), ("retry", "--all-dead"), ("poll",)]
        *beside, poll = [invoke(*command, **settings) for command in commands]
        absence = (
            f"watcher: the tables of the schema {schema.name} do not exist yet in"
            f" {schema.server.host}/watcher; `watcher run` makes them\n"
        )
        assert [(0, absence), (0, absence), (2, absence)] == [(ended.status, ended.err) for ended in beside]
        nobody = f"watcher: no daemon is running here with the database {schema.url}\n"
        assert (1, nobody) == (poll.status, poll.err)
        found = connection.execute("SELECT to_regclass(%s)", [f"{schema.name}.lease"]).fetchone()
    assert (None,) == found


@pytest.mark.parametrize("command", [("pending",), ("deliveries",), ("retry", "--all-dead"), ("poll",)])
def test_a_server_that_is_away(invoke: Invoke, command: tuple[str, ...]) -> None:
    """A server that cannot be reached may come back: one line that names the database, and exit status 1."""
    pytest.importorskip("psycopg")
    url = "postgresql://watcher@127.0.0.1:1/watcher"
    ended = invoke(*command, **APP, WATCHER_DATABASE=url)
    assert (1, 1) == (ended.status, ended.err.count("\n"))
    assert ended.err.startswith(f"watcher: database: {url}: ")
