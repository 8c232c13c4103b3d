"""Real replicas on PostgreSQL: what a standby shows and answers, and which starts are refused."""

import json
import os
import signal
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.postgresql import Schema, Server
from tests.support.postgresql_keeper import free_port
from tests.support.process import run_command
from tests.support.replicas import Proxy, RestartableServer, restartable_server
from tests.support.world import World, open_world, wait_for_sent

pytestmark = pytest.mark.anyio

APP = {"WATCHER_BASE_URL": "http://127.0.0.1:1"}


def on(schema: Schema, **settings: str) -> dict[str, str]:
    """Returns the settings of a replica that has this schema."""
    return {"WATCHER_DATABASE": schema.url, "WATCHER_DATABASE_SCHEMA": schema.name, **settings}


async def get(port: int, path: str) -> tuple[int, str]:
    """Asks a replica once and returns status and text."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status, await response.text()


async def ready(port: int) -> tuple[int, dict[str, Any]]:
    """Asks a replica for its readiness."""
    status, text = await get(port, "/readyz")
    return status, json.loads(text)


def pending_prompts(text: str) -> list[str]:
    """Returns the prompts in a list of pending requests."""
    return [request["prompt"] for request in json.loads(text)]


async def test_a_standby_shows_who_leads(tmp_path: Path, schema: Schema) -> None:
    """It serves the pages from the database, is ready while a replica leads, and exports few metrics."""
    lead_port, port = free_port(), free_port()
    async with (
        open_world(tmp_path) as world,
        world.running(**on(schema, WATCHER_HTTP_PORT=str(lead_port))) as leader,
    ):
        world.ask("Approve the refund?")
        await wait_for_sent(leader, "webhook", "run.input_requested")
        async with world.running(**on(schema, WATCHER_HTTP_PORT=str(port))) as standby:
            await standby.wait_for_log("daemon.standby")
            await standby.wait_for_log("http.listening")
            pages = {path: await get(port, path) for path in ("/healthz", "/", "/api/pending", "/metrics")}
            standing, leading = await ready(port), await ready(lead_port)
            await check_signals_of_a_standby(standby)
            await check_commands(world, schema, leader.pid)
            assert 0 == await standby.stop()
        assert 0 == await leader.stop()
    name = f"process {leader.pid} on {os.uname().nodename}"
    assert (200, "standby", name) == (standing[0], standing[1]["role"], standing[1]["leader"])
    assert ("leader", name) == (leading[1]["role"], leading[1]["leader"])
    assert {200} == {status for status, _ in pages.values()}
    assert f"This replica stands by; {name} leads." in pages["/"][1]
    assert "Approve the refund?" in pages["/"][1]
    assert ["Approve the refund?"] == pending_prompts(pages["/api/pending"][1])
    families = list(text_string_to_metric_families(pages["/metrics"][1]))
    own = {family.name for family in families if not family.name.startswith("process_")}
    assert {"watcher_build_info", "watcher_leader"} == own


async def check_signals_of_a_standby(standby: Any) -> None:
    """SIGUSR1 polls nothing, and SIGHUP reloads: the process starts anew and stands by again."""
    standby.send(signal.SIGUSR1)
    await standby.wait_for_log("daemon.polling_now")
    standby.send(signal.SIGHUP)
    await standby.wait_for_log("config.reloaded")
    await standby.wait_for_log("daemon.standby", count=2)
    assert not standby.logged("poll.succeeded")


async def check_commands(world: World, schema: Schema, leader: int) -> None:
    """Beside a leader lists work, `poll` reaches it, and `once` is refused with its name."""
    listed = await world.command("pending", "--json", **on(schema))
    assert ["Approve the refund?"] == pending_prompts(listed.out)
    asked = await world.command("poll", **on(schema))
    assert (0, f"process {leader} was asked to poll every app now\n") == (asked.status, asked.out)
    once = await world.command("once", **on(schema))
    assert 2 == once.status
    assert f"it is in use by process {leader} on {os.uname().nodename}" in once.err
    checked = await world.command("check", **on(schema))
    assert f"process {leader} on {os.uname().nodename} leads" in checked.out


async def test_a_database_that_is_away_at_the_start(tmp_path: Path, schema: Schema) -> None:
    """The replica stands by, says why it is not ready, and leads as soon as the database answers."""
    port, proxy = free_port(), Proxy()
    async with open_world(tmp_path) as world, proxy.listening(free_port()):
        address = f"postgresql://watcher@127.0.0.1:{proxy.port}/watcher"
        settings = {"WATCHER_DATABASE": address, "WATCHER_HTTP_PORT": str(port)}
        async with world.running(**on(schema, **settings)) as replica:
            record = (await replica.wait_for_log("daemon.standby"))[0]
            await replica.wait_for_log("http.listening")
            assert ("warning", True) == (record["level"], "connection" in record["error"])
            status, answer = await ready(port)
            assert (503, "standby", "database") == (status, answer["role"], answer["problems"][0]["part"])
            assert 200 == (await get(port, "/healthz"))[0]
            proxy.target = schema.server.port
            await replica.wait_for_log("daemon.started")
            assert "leader" == (await ready(port))[1]["role"]
            assert 0 == await replica.stop()


NEWER = """
from watcher.store import postgresql_schema as schema
schema.STEPS += ("CREATE TABLE fresh (id integer)",)
schema.VERSION += 1
"""
"""What makes a process one of the next version, whose schema has another table."""


async def test_an_upgrade_of_one_replica_after_the_other(tmp_path: Path, schema: Schema) -> None:
    """The old leader goes on beside a new standby, which upgrades as it takes over; an old one waits then."""
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "sitecustomize.py").write_text(NEWER)
    upgraded = on(schema, PYTHONPATH=str(tmp_path / "newer"))
    async with open_world(tmp_path) as world, world.running(**on(schema)) as old:
        await old.wait_for_log("daemon.started")
        async with world.running(**on(schema)) as older, world.running(**upgraded) as newer:
            await older.wait_for_log("daemon.standby")
            await newer.wait_for_log("daemon.standby")
            world.ask("Before?")
            await wait_for_sent(old, "webhook", "run.input_requested")
            older.send(signal.SIGSTOP)  # or it might lead next
            assert 0 == await old.stop()
            await newer.wait_for_log("daemon.started")
            older.send(signal.SIGCONT)
            world.ask("After?")
            await wait_for_sent(newer, "webhook", "run.input_requested")
            assert 0 == await newer.stop()
            records = await older.wait_for_log("daemon.standby", level="warning")
            assert "this watcher knows" in records[0]["error"]
            assert not older.logged("daemon.leading")
            assert 0 == await older.stop()
    with schema.server.connect() as connection:
        assert [] == connection.execute(f"SELECT * FROM {schema.name}.fresh".encode()).fetchall()
    assert "it was written by a newer watcher" in await refusal(tmp_path, **on(schema))
    assert ["Before?", "After?"] == [event["data"]["request"]["prompt"] for event in world.events()]


async def test_once_takes_the_lease_and_gives_it_back(tmp_path: Path, schema: Schema) -> None:
    """Run after run, it polls and delivers, and leaves the lease free."""
    async with open_world(tmp_path) as world:
        for number in range(2):
            world.ask(f"Number {number}?")
            assert 0 == (await world.command("once", **on(schema))).status
        assert ["Number 0?", "Number 1?"] == [event["data"]["request"]["prompt"] for event in world.events()]


# Starts that are refused


def as_superuser(server: Server, statement: str) -> None:
    """Changes the server."""
    with server.connect() as connection:
        connection.execute(statement.encode())


async def refusal(directory: Path, **settings: str) -> str:
    """Returns the line with which a start is refused."""
    ended = await run_command(directory, {**APP, **settings}, "run")
    lines = [line for line in ended.err.splitlines() if not line.startswith("{")]
    assert (2, 1) == (ended.status, len(lines)), ended.err
    return lines[0]


async def test_a_wrong_address_is_refused(tmp_path: Path, schema: Schema) -> None:
    """A parameter that libpq does not know is one line, which names the setting and shows no password."""
    port = schema.server.port
    address = f"postgresql://watcher:of-no-one@127.0.0.1:{port}/watcher?no_such=1"
    line = await refusal(tmp_path, WATCHER_DATABASE=address)
    shown = address.replace("of-no-one", "********")
    assert line.startswith(f"watcher: database: {shown}: the address is wrong: ")
    assert "no_such" in line.removeprefix(f"watcher: database: {shown}")


async def test_a_port_that_is_taken(tmp_path: Path, schema: Schema) -> None:
    """A replica that cannot listen ends before it asks for the lease, or makes or upgrades a schema."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        line = await refusal(tmp_path, **on(schema, WATCHER_HTTP_PORT=str(taken.getsockname()[1])))
    with schema.server.connect() as connection:
        made = connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", [schema.name]).fetchone()
    assert ("cannot listen on 127.0.0.1" in line, made) == (True, (False,))


async def test_a_role_without_rights_is_refused(tmp_path: Path, schema: Schema) -> None:
    """A role that may not make the schema gets one line, and so does `check`."""
    as_superuser(schema.server, "DROP ROLE IF EXISTS poor")
    as_superuser(schema.server, "CREATE ROLE poor LOGIN")
    settings = on(schema, WATCHER_DATABASE=schema.server.url(user="poor"))
    assert "permission denied for database watcher" in await refusal(tmp_path, **settings)
    checked = await run_command(tmp_path, {**APP, **settings}, "check")
    wanted = f"the role lacks the right to make the schema {schema.name} (CREATE on the database)"
    assert (1, True) == (checked.status, wanted in checked.out)


@pytest.mark.usefixtures("postgresql_server")  # skips it where there are no programs of PostgreSQL
async def test_a_demoted_primary_is_refused(tmp_path: Path) -> None:
    """A server that only replays another's changes cannot be written, and the line says what to name."""
    with restartable_server() as server:
        demote(server)
        line = await refusal(tmp_path, WATCHER_DATABASE=server.server.url(tcp=True))
    assert line.endswith("the server is a read-only standby; name the primary")


def demote(server: RestartableServer) -> None:
    """Makes the server a standby."""
    server.stop(signal.SIGINT)
    (Path(server.server.host) / "data" / "standby.signal").touch()
    server.start()
