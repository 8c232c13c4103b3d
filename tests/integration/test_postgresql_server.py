"""The PostgreSQL that tests use: a real one, shared, and gone when no process uses it any more."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.postgresql import REQUIRED, Schema, Server, find_binaries

USE = """
import json, sys
from pathlib import Path
from tests.support.postgresql import shared_server
with shared_server(Path(sys.argv[1])) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


def use(shared: Path) -> subprocess.Popen[str]:
    """Starts a process that uses the shared server until its standard input ends."""
    command = [sys.executable, "-c", USE, str(shared)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_each_test_has_a_schema_of_its_own(schema: Schema) -> None:
    """The role of the watcher may make the schema, whose texts are in UTF-8 and sort by code points."""
    with schema.server.connect("watcher") as connection:
        connection.execute(f'CREATE SCHEMA "{schema.name}"')
        found = connection.execute("SELECT current_user, getdatabaseencoding(), 'B' < 'a'").fetchone()
    assert ("watcher", "UTF8", True) == found


def test_it_listens_on_the_loopback_interface_too(postgresql_server: Server) -> None:
    """TCP is there for proxies that cut connections."""
    import psycopg  # noqa: PLC0415

    with psycopg.connect(postgresql_server.url(tcp=True)) as connection:
        assert ("127.0.0.1",) == connection.execute("SHOW listen_addresses").fetchone()


@pytest.mark.usefixtures("postgresql_server")  # skips it where there is no server
def test_it_ends_with_the_last_process_that_uses_it(tmp_path: Path) -> None:
    """Two processes share it; it goes when the second is killed, and the next one gets another."""
    shared = tmp_path / "shared"
    with use(shared) as first, use(shared) as second:
        assert first.stdout is not None
        assert second.stdout is not None
        port = first.stdout.readline()
        assert port == second.stdout.readline()
        first.kill()
        first.wait()
        second.kill()
        second.wait()
    with use(shared) as third:
        assert third.stdout is not None
        assert port != third.stdout.readline()
        third.communicate()


def test_where_it_is_required_a_missing_server_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without programs tests are skipped, and with the variable they fail."""
    from tests.support import postgresql  # noqa: PLC0415

    monkeypatch.setattr(postgresql, "find_binaries", lambda: None)
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception), postgresql.shared_server(tmp_path):
        pass
    monkeypatch.setenv(REQUIRED, "1")
    with (
        pytest.raises(pytest.fail.Exception, match="is not installed, but"),
        postgresql.shared_server(tmp_path),
    ):
        pass


def test_the_newest_server_is_found() -> None:
    """The programs stand in one directory."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    assert {"initdb", "postgres"} <= {path.name for path in binaries.iterdir()}
