"""What the real daemon says of itself, over HTTP, by the healthcheck and by the heartbeat."""

import asyncio
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from tests.support.fakes import Reply, WebhookReceiver, served
from tests.support.process import WITHIN
from tests.support.world import KEY, SECRET, World, open_world, wait_for_sent
from watcher.simulator.faults import Fault

pytestmark = pytest.mark.anyio


class Endpoints(NamedTuple):
    """The endpoints of a daemon, which may be running or not."""

    session: aiohttp.ClientSession
    port: int

    @property
    def settings(self) -> dict[str, str]:
        """What makes a daemon serve them, and the healthcheck ask them."""
        return {"WATCHER_HTTP_PORT": str(self.port)}

    async def get(self, path: str) -> tuple[int, str]:
        """Asks once and returns status and text."""
        async with self.session.get(f"http://127.0.0.1:{self.port}{path}") as response:
            return response.status, await response.text()

    async def ready(self) -> tuple[int, list[dict[str, str]]]:
        """Asks for readiness and returns the status and the problems."""
        status, text = await self.get("/readyz")
        return status, json.loads(text)["problems"]

    async def until(self, status: int) -> list[dict[str, str]]:
        """Asks until readiness has this status, for what only the passing of time brings about."""
        async with asyncio.timeout(WITHIN):
            while (answer := await self.ready())[0] != status:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.05)
        return answer[1]

    async def samples(self) -> dict[tuple[str, ...], float]:
        """Asks for the metrics, by name and sorted values of labels."""
        _, text = await self.get("/metrics")
        return {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


class Pinged(WebhookReceiver):
    """Tells of each request that comes."""

    def __init__(self) -> None:
        super().__init__()
        self.news: asyncio.Queue[None] = asyncio.Queue()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answers, and tells."""
        response = await super().handle(request)
        self.news.put_nowait(None)
        return response


@pytest.fixture
async def endpoints() -> AsyncIterator[Endpoints]:
    """A free port, and somebody who asks there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WITHIN)) as session:
        yield Endpoints(session, port)


@asynccontextmanager
async def watching(world: World, endpoints: Endpoints, **settings: str) -> AsyncIterator[Any]:
    """Runs a daemon with endpoints until it has started."""
    async with world.running(**endpoints.settings, **settings) as daemon:
        await daemon.wait_for_log("daemon.started")
        yield daemon


async def test_a_fresh_start(tmp_path: Path, endpoints: Endpoints) -> None:
    """Until its first poll has succeeded a daemon is alive and not ready; then it is both."""
    async with open_world(tmp_path) as world:
        world.app.faults.add(Fault(kind="delay", match="list", seconds=1, times=1))
        async with watching(world, endpoints, WATCHER_POLL_INTERVAL="5s") as daemon:
            assert (503, [{"app": "support", "reason": "not checked yet"}]) == await endpoints.ready()
            assert 200 == (await endpoints.get("/healthz"))[0]
            await daemon.wait_for_log("poll.succeeded")
            assert (200, []) == await endpoints.ready()
            assert 0 == await daemon.stop()


async def test_an_api_that_goes_down(tmp_path: Path, endpoints: Endpoints) -> None:
    """Three missed intervals make the daemon not ready, with the reason; a success makes it ready again."""
    async with open_world(tmp_path) as world, watching(world, endpoints) as daemon:
        await daemon.wait_for_log("poll.succeeded")
        world.app.faults.add(Fault(kind="status", match="list", times=None))
        (problem,) = await endpoints.until(503)
        assert "support" == problem["app"]
        assert "HTTP 500 internal_server_error" in problem["reason"]
        assert 200 == (await endpoints.get("/healthz"))[0]
        found = await endpoints.samples()
        assert (0.0, True) == (
            found["watcher_app_up", "support"],
            found["watcher_polls_total", "server_error", "support"] > 0,
        )
        assert "failing for" in (await endpoints.get("/"))[1]
        world.app.faults.clear()
        assert [] == await endpoints.until(200)


async def test_a_database_that_is_gone_while_it_is_used(tmp_path: Path, endpoints: Endpoints) -> None:
    """Readiness and one log line say that the file was removed or replaced; alerts go on meanwhile."""
    database, aside = tmp_path / "watcher.db", tmp_path / "aside.db"
    async with open_world(tmp_path) as world, watching(world, endpoints) as daemon:
        await daemon.wait_for_log("poll.succeeded")
        database.rename(aside)
        (gone,) = await endpoints.until(503)
        await daemon.wait_for_log("database.unreadable")
        world.ask()
        await wait_for_sent(daemon, "webhook", "run.input_requested")
        database.touch()
        (replaced,) = (await endpoints.ready())[1]
        aside.replace(database)
        await daemon.wait_for_log("database.readable")
        assert (200, []) == await endpoints.ready()
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA user_version = 1")
        (unfinished,) = (await endpoints.ready())[1]
        assert 0 == await daemon.stop()
    reasons = [problem["reason"] for problem in (gone, replaced, unfinished)]
    assert ["its file was removed", "its file was replaced", "it is of an older version"] == [
        reason.partition(" by")[0].partition(";")[0] for reason in reasons
    ]
    assert 1 == len(daemon.logged("database.unreadable"))


async def test_one_of_two_apps_is_down(tmp_path: Path, endpoints: Endpoints) -> None:
    """Only the app that cannot be polled is named."""
    async with (
        open_world(tmp_path) as world,
        watching(world, endpoints, WATCHER_APPS__BILLING__BASE_URL="http://127.0.0.1:1") as daemon,
    ):
        await daemon.wait_for_log("poll.succeeded", app="support")
        await daemon.wait_for_log("poll.failed", app="billing", count=2)
        status, problems = await endpoints.ready()
        assert (503, ["billing"]) == (status, [problem["app"] for problem in problems])
        assert problems[0]["reason"].startswith("no successful check yet: connection_failed: ")


async def test_a_dead_delivery(tmp_path: Path, endpoints: Endpoints) -> None:
    """What was given up makes the daemon not ready until it has been put back and sent."""
    async with open_world(tmp_path) as world:
        world.hook.replies.extend([Reply(404, "no such hook")] * 20)
        world.ask()
        async with watching(world, endpoints, WATCHER_GIVE_UP_AFTER="300ms") as daemon:
            await wait_for_sent(daemon, "slack", "run.input_requested")
            await daemon.wait_for_log("delivery.dead", notifier="webhook")
            (problem,) = await endpoints.until(503)
            assert {
                "notifier": "webhook",
                "reason": "1 message was given up (HTTP 404: no such hook)."
                " Fix the destination, then run `watcher retry --all-dead`.",
            } == problem
            assert "1 message was given up" in (await endpoints.get("/"))[1]
            assert (
                1
                == (await endpoints.samples())[
                    "watcher_deliveries_total", "dead", "run.input_requested", "webhook"
                ]
            )
            world.hook.replies.clear()
            assert 0 == (await world.command("retry", "--all-dead")).status
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            assert [] == await endpoints.until(200)


async def test_a_port_that_is_taken(tmp_path: Path, endpoints: Endpoints) -> None:
    """The start fails with 2 and one line that names port and setting, before anything was polled."""
    async with open_world(tmp_path) as world:
        with closing(socket.create_server(("127.0.0.1", endpoints.port))):
            ended = await world.command("run", **endpoints.settings)
        assert () == world.api.requests
    assert 2 == ended.status
    (line,) = ended.err.splitlines()
    assert f"http_port (WATCHER_HTTP_PORT): cannot listen on 127.0.0.1:{endpoints.port}: " in line


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 70])
async def test_a_host_that_is_not_ours(tmp_path: Path, endpoints: Endpoints, host: str) -> None:
    """An address of another machine, and a name that is none, are an error of one line, too."""
    async with open_world(tmp_path) as world:
        ended = await world.command("run", WATCHER_HTTP_HOST=host, **endpoints.settings)
    (line,) = ended.err.splitlines()
    expected = f"http_host (WATCHER_HTTP_HOST): cannot listen on {host}:{endpoints.port}: "
    assert (2, True) == (ended.status, expected in line)


async def test_a_second_daemon_hears_of_the_first(tmp_path: Path, endpoints: Endpoints) -> None:
    """On one database and one port the error names the process that has the database, not the port."""
    async with open_world(tmp_path) as world, watching(world, endpoints) as daemon:
        second = await world.command("run", **endpoints.settings)
        (listening,) = daemon.logged("http.listening")
    assert f"http://127.0.0.1:{endpoints.port}/" == listening["url"]
    assert (2, True) == (second.status, f"process {daemon.pid}" in second.err)


async def test_no_port_no_endpoints(tmp_path: Path, endpoints: Endpoints) -> None:
    """Port 0 turns them off, which the healthcheck says."""
    async with open_world(tmp_path) as world:
        async with world.running(WATCHER_HTTP_PORT="0") as daemon:
            await daemon.wait_for_log("poll.succeeded")
            assert [] == daemon.logged("http.listening")
            with pytest.raises(aiohttp.ClientConnectorError):
                await endpoints.get("/healthz")
        ended = await world.command("healthcheck", WATCHER_HTTP_PORT="0")
    assert (1, "not ready: http_port is 0, so the daemon has no endpoints to ask\n") == (
        ended.status,
        ended.out,
    )


async def test_the_healthcheck(tmp_path: Path, endpoints: Endpoints) -> None:
    """It exits with 0 if the daemon is ready, else with 1 and the reasons in a line."""
    async with open_world(tmp_path) as world:
        async with watching(world, endpoints, WATCHER_POLL_INTERVAL="1s") as daemon:
            await daemon.wait_for_log("poll.succeeded")
            ready = await world.command("healthcheck", **endpoints.settings)
            assert (0, "ready\n", "") == (ready.status, ready.out, ready.err)
            world.app.faults.add(Fault(kind="status", match="list", times=None))
            await endpoints.until(503)
            not_ready = await world.command("healthcheck", **endpoints.settings)
        gone = await world.command("healthcheck", WATCHER_ACCESS_KEY_FILE="/nowhere", **endpoints.settings)
        wrong = await world.command("healthcheck", WATCHER_HTTP_PORT="many")
    assert 1 == not_ready.status
    assert not_ready.out.startswith("not ready: app support: last successful check ")
    assert (1, 1) == (gone.status, len(gone.out.splitlines()))
    assert (2, "watcher: http_port: got 'many'; must be a port from 0 to 65535\n") == (
        wrong.status,
        wrong.err,
    )


async def test_the_list_is_the_command_lines(tmp_path: Path, endpoints: Endpoints) -> None:
    """/api/pending is what `watcher pending --json` prints, and the page shows it."""
    async with open_world(tmp_path) as world:
        world.ask("Refund <b>620</b>?")
        async with watching(world, endpoints) as daemon:
            await wait_for_sent(daemon, "slack", "run.input_requested")
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            await endpoints.until(200)
            served_list: list[dict[str, Any]] = [{"told": []}]
            async with asyncio.timeout(WITHIN):
                while len(served_list[0]["told"]) < len(("slack", "webhook")):
                    served_list = json.loads((await endpoints.get("/api/pending"))[1])
            printed = json.loads((await world.command("pending", "--json")).out)
            page = (await endpoints.get("/"))[1]
    for item in [*served_list, *printed]:
        del item["waiting_seconds"]
    assert 1 == len(printed)
    assert printed == served_list
    assert "Refund &lt;b&gt;620&lt;/b&gt;?" in page


async def test_metrics_right_after_a_restart(tmp_path: Path, endpoints: Endpoints) -> None:
    """What is in the database shows before anything was polled; what is counted starts at zero."""
    async with open_world(tmp_path) as world:
        world.ask()
        async with watching(world, endpoints) as daemon:
            await wait_for_sent(daemon, "webhook", "run.input_requested")
            found = await endpoints.samples()
            assert 1 == found["watcher_requests_total", "approval_request", "support"]
            assert 1 == found["watcher_notify_latency_seconds_count", "webhook"]
            assert 0 == await daemon.stop()
        world.app.faults.add(Fault(kind="delay", match="list", seconds=30, times=None))
        async with watching(world, endpoints):
            found = await endpoints.samples()
    assert 1 == found["watcher_pending_requests", "support"]
    assert found["watcher_oldest_pending_seconds", "support"] > 0
    assert 1 == found["watcher_app_up", "support"]
    assert 0 == found["watcher_polls_total", "success", "support"]
    assert 0 == found["watcher_requests_total", "approval_request", "support"]


async def test_the_heartbeat(tmp_path: Path, endpoints: Endpoints) -> None:
    """The URL is pinged while all is well, and not while a delivery is dead."""
    pinged = Pinged()
    async with open_world(tmp_path) as world, served(pinged) as url:
        settings = {"WATCHER_HEARTBEAT_URL": f"{url}/ping/fedcba9876543210", "WATCHER_GIVE_UP_AFTER": "300ms"}
        async with watching(world, endpoints, **settings) as daemon:
            async with asyncio.timeout(WITHIN):
                for _ in range(3):
                    await pinged.news.get()
            world.hook.replies.extend([Reply(404)] * 20)
            world.ask()
            await daemon.wait_for_log("delivery.dead", notifier="webhook")
            await endpoints.until(503)
            count = len(pinged.received)
            await world.api.wait_for_calls(world.api.finished() + 5, within=WITHIN)
            assert len(pinged.received) <= count + 1  # one may have been under way
            assert [] == [line for line in daemon.lines if "fedcba9876543210" in line]
    assert {("/ping/fedcba9876543210", b"")} == {(ping.path, ping.body) for ping in pinged.received}


async def test_the_heartbeat_of_cron(tmp_path: Path) -> None:
    """`once` pings when all went well, and only then."""
    pinged = WebhookReceiver()
    async with open_world(tmp_path) as world, served(pinged) as url:
        settings = {"WATCHER_HEARTBEAT_URL": f"{url}/ping"}
        assert 0 == (await world.command("once", **settings)).status
        assert 1 == len(pinged.received)
        world.app.rotate_keys({"dynamiq_acc_another"})
        assert 1 == (await world.command("once", **settings)).status
    assert 1 == len(pinged.received)


async def test_no_secret_is_on_any_page(tmp_path: Path, endpoints: Endpoints) -> None:
    """Whatever failed and whatever echoed them, no endpoint shows a secret."""
    async with open_world(tmp_path) as world:
        secrets = [KEY, world.slack.token, SECRET, SECRET.removeprefix("whsec_"), "0123456789abcdef"]
        world.ask(f"please use {KEY}")
        world.hook.replies.extend([Reply(404, f"{SECRET} 0123456789abcdef")] * 50)
        world.slack.failures.extend([world.slack.token] * 50)
        async with watching(world, endpoints) as daemon:
            await daemon.wait_for_log("delivery.retry", notifier="webhook")
            await daemon.wait_for_log("delivery.retry", notifier="slack")
            world.app.faults.add(Fault(kind="echo_secret", match="list", times=None))
            await endpoints.until(503)
            pages = [
                (await endpoints.get(path))[1]
                for path in ("/", "/healthz", "/readyz", "/metrics", "/api/pending")
            ]
    assert [] == [secret for secret in secrets if secret in "".join(pages)]
    assert "please use" in pages[0]
