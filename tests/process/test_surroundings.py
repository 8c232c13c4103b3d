"""The real watcher in surroundings that would hinder it: a pipe that nobody reads, a netrc, odd proxies."""

import asyncio
import fcntl
import json
import os
import signal
import sys
from asyncio.subprocess import Process as Child
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.support.fakes import Reply, WebhookReceiver, served
from tests.support.process import WITHIN, environment, read_until, run_command
from tests.support.world import open_world, wait_for_polls

pytestmark = pytest.mark.anyio

NETRC = "machine 127.0.0.1 login somebody password of-somebody-else\n"


@contextmanager
def a_full_pipe() -> Iterator[tuple[int, int]]:
    """The reading and the writing end of a pipe that is full."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"x" * fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ))
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@asynccontextmanager
async def a_daemon(
    directory: Path,
    settings: dict[str, str],
    *,
    stdout: int = asyncio.subprocess.DEVNULL,
    stderr: int = asyncio.subprocess.DEVNULL,
) -> AsyncIterator[Child]:
    """Runs `watcher run` with streams that somebody else reads, or nobody."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "watcher", "run"),
        cwd=directory,
        env=environment(settings),
        stdout=stdout,
        stderr=stderr,
    )
    try:
        async with asyncio.timeout(2 * WITHIN):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_pipe_that_nobody_reads_keeps_nothing_from_ending(tmp_path: Path) -> None:
    """A console that takes nothing is waited for 10 s at most, and its delivery stays in the outbox."""
    async with open_world(tmp_path) as world:
        console = {"WATCHER_NOTIFIERS__CONSOLE__TYPE": "console"}
        world.ask()
        with a_full_pipe() as (_, pipe):
            async with a_daemon(tmp_path, {**world.settings, **console}, stdout=pipe) as daemon:
                await world.api.wait_for_calls(5, within=WITHIN)
                daemon.send_signal(signal.SIGTERM)
                status = await daemon.wait()
        (left,) = world.deliveries(notifier="console")
        assert (0, "pending") == (status, left["state"])


@pytest.mark.parametrize("form", ["json", "console"])
async def test_a_log_that_nobody_reads_holds_up_nothing(tmp_path: Path, form: str) -> None:
    """With a standard error that is full, polls and deliveries go on, and a signal is a clean end."""
    async with open_world(tmp_path) as world:
        settings = {**world.settings, "WATCHER_LOG_LEVEL": "debug", "WATCHER_LOG_FORMAT": form}
        with a_full_pipe() as (_, pipe):
            async with a_daemon(tmp_path, settings, stderr=pipe) as daemon:
                await wait_for_polls(world)
                world.ask()
                await world.api.wait_for(lambda: bool(world.events()), within=WITHIN)
                await wait_for_polls(world)
                daemon.send_signal(signal.SIGTERM)
                assert await daemon.wait() == 0
        assert {"sent"} == {item["state"] for item in world.deliveries(type="run.input_requested")}


async def test_last_words_that_nobody_reads(tmp_path: Path) -> None:
    """A daemon that cannot go on ends with its status, though its reason finds no reader."""
    async with open_world(tmp_path) as world:
        taken = world.api.url.rpartition(":")[2].partition("/")[0]
        with a_full_pipe() as (_, pipe):
            async with a_daemon(
                tmp_path, {**world.settings, "WATCHER_HTTP_PORT": taken}, stderr=pipe
            ) as daemon:
                assert await daemon.wait() == 2


async def test_a_log_that_is_read_late_is_whole(tmp_path: Path) -> None:
    """What was logged while nobody read comes, in order and up to the end, when somebody does."""
    async with open_world(tmp_path) as world:
        settings = {**world.settings, "WATCHER_LOG_LEVEL": "debug", "WATCHER_LOG_FORMAT": "json"}
        with a_full_pipe() as (reading, pipe):
            async with a_daemon(tmp_path, settings, stderr=pipe) as daemon:
                await wait_for_polls(world, 5)
                reader = asyncio.create_task(asyncio.to_thread(read_until, reading, b"daemon.stopped"))
                daemon.send_signal(signal.SIGTERM)
                lines = await reader
                assert await daemon.wait() == 0
    records = [json.loads(line.lstrip(b"x")) for line in lines]
    events = [record["event"] for record in records]
    assert (1, "daemon.stopped") == (events.count("daemon.started"), events[-1])
    assert 4 <= events.count("poll.succeeded")  # one may have been under way
    assert sorted(records, key=lambda record: record["timestamp"]) == records


@pytest.mark.parametrize("variable", ["HOME", "NETRC"])
async def test_a_netrc_is_not_used(tmp_path: Path, variable: str) -> None:
    """Passwords that lie about for the same host go to no app and no destination, by proxy or directly."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text(NETRC)
    (home / ".netrc").chmod(0o600)
    place = {variable: str(home if variable == "HOME" else home / ".netrc")}
    async with open_world(tmp_path) as world:
        headers = {
            "WATCHER_NOTIFIERS__WEBHOOK__HEADERS": '{"Authorization": "Bearer of-ours"}',
            "WATCHER_NOTIFIERS__PLAIN__TYPE": "webhook",
            "WATCHER_NOTIFIERS__PLAIN__URL": world.settings["WATCHER_WEBHOOK_URL"],
        }
        assert (await world.command("check", "--send", **headers, **place)).status == 0
        proxy = WebhookReceiver()
        async with served(proxy) as url:
            await world.command("check", "--send", **headers, **place, HTTP_PROXY=url)
    sent = [received.headers.get("Authorization") for received in world.hook.received]
    assert {"Bearer of-ours", None} == set(sent)
    assert {f"Bearer {world.slack.token}"} == {call.headers["Authorization"] for call in world.slack.received}
    assert {None} == {received.headers.get("Proxy-Authorization") for received in proxy.received}


async def test_the_proxy_of_the_environment_is_used(tmp_path: Path) -> None:
    """Every call goes through the proxy, with the credentials of its URL, but for what NO_PROXY exempts."""
    proxy = WebhookReceiver()
    settings = {
        "WATCHER_BASE_URL": "http://app.example",
        "WATCHER_WEBHOOK_URL": "http://hook.example/in",
        "WATCHER_SLACK_WEBHOOK_URL": "http://slack.example/services/in",
        "WATCHER_HTTP_PORT": "0",
    }
    async with served(proxy) as url, served(WebhookReceiver()) as direct:
        through = url.replace("http://", "http://me:secret@")
        here = {
            "WATCHER_NOTIFIERS__HERE__TYPE": "webhook",
            "WATCHER_NOTIFIERS__HERE__URL": direct,
            "HTTP_PROXY": through,
            "NO_PROXY": "127.0.0.0/8,[",
        }
        ended = await run_command(tmp_path, {**settings, **here}, "check", "--send")
    hosts = [received.headers["Host"] for received in proxy.received]
    assert ["app.example", "hook.example", "slack.example"] == sorted(hosts)
    assert {"Basic bWU6c2VjcmV0"} == {received.headers["Proxy-Authorization"] for received in proxy.received}
    assert "secret" not in ended.out + ended.err
    assert "notifier here: the test message was accepted" in ended.out


async def test_credentials_of_a_proxy_that_echoes_them(tmp_path: Path) -> None:
    """What a proxy repeats of its credentials shows nowhere, not even in logs of libraries for debugging."""
    password, encoded = "hunter-2-pass/word", "bWU6aHVudGVyLTItcGFzcy93b3Jk"
    words = f"Basic {encoded} is me:{password} of http://me:hunter-2-pass%2fword@proxy"
    proxy = WebhookReceiver()
    proxy.replies.extend([Reply(500, json.dumps({"error": {"code": "x", "message": words}}))] * 20)
    settings = {
        "WATCHER_BASE_URL": "http://app.example",
        "WATCHER_WEBHOOK_URL": "http://hook.example/in",
        "WATCHER_HTTP_PORT": "0",
        "WATCHER_LOG_LEVEL": "debug",
    }
    async with served(proxy) as url:
        settings["HTTP_PROXY"] = url.replace("http://", "http://me:hunter-2-pass%2Fword@")
        ended = [
            await run_command(tmp_path, settings, *command) for command in (("once",), ("check", "--send"))
        ]
    said = "".join(each.out + each.err for each in ended)
    assert {f"Basic {encoded}"} == {received.headers["Proxy-Authorization"] for received in proxy.received}
    assert 2 <= said.count("Basic [redacted] is [redacted] of http")
    assert (False, False) == ("hunter-2" in said, encoded in said)


@pytest.mark.parametrize(("closed", "status"), [("2", 0), ("1", 1)])
async def test_a_process_without_standard_streams(tmp_path: Path, closed: str, status: int) -> None:
    """Without standard error all is done in silence; without standard output the console accepts nothing."""
    async with open_world(tmp_path) as world:
        world.ask()
        alone = {
            name: value
            for name, value in world.settings.items()
            if "SLACK" not in name and "WEBHOOK" not in name
        }
        shell = await asyncio.create_subprocess_shell(
            f"exec {sys.executable} -m watcher once {closed}>&-",
            cwd=tmp_path,
            env=environment(alone),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(shell.communicate(), WITHIN)
    assert status == shell.returncode
    assert ("Approve refund?" in out.decode(), b"Traceback" in err) == (closed == "2", False)
    assert (b"cannot write to standard output: there is none" in err) == (closed == "1")


@pytest.mark.parametrize(
    ("command", "output", "status", "said"),
    [
        ("config", "full", 1, "watcher: cannot write the output: No space left on device\n"),
        ("pending --json", "full", 1, "watcher: cannot write the output: No space left on device\n"),
        ("check", "full", 1, "watcher: cannot write the output: No space left on device\n"),
        ("--help", "full", 1, "watcher: cannot write the output: No space left on device\n"),
        ("pending --json", "unread", 1, ""),  # as of other programs whose reader is gone
        ("config", "closed", 0, ""),
        ("pending --json", "closed", 0, ""),
    ],
)
async def test_output_that_cannot_be_written(
    tmp_path: Path, command: str, output: str, status: int, said: str
) -> None:
    """A full disk is said in a line; a reader that is gone, and an output that is closed, need no words."""
    words = [sys.executable, "-m", "watcher", *command.split()]
    if output == "closed":
        words = ["sh", "-c", 'exec "$@" >&-', "sh", *words]
    reading, unread = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    async with open_world(tmp_path) as world:
        with os.fdopen(full, "wb"), os.fdopen(unread, "wb"):
            process = await asyncio.create_subprocess_exec(
                *words,
                cwd=tmp_path,
                env=environment(world.settings),
                stdout=unread if output == "unread" else full,
                stderr=asyncio.subprocess.PIPE,
            )
        _, err = await asyncio.wait_for(process.communicate(), WITHIN)
    lines = [line for line in err.decode().splitlines(keepends=True) if "no database" not in line]
    assert (status, said) == (process.returncode, "".join(lines))


async def test_the_outbox_is_seen_without_the_secrets(tmp_path: Path) -> None:
    """Who only looks at what waits, or puts it back, needs no file of a secret; who polls does."""
    settings = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_ACCESS_KEY_FILE": "/not/there"}
    looks = [
        await run_command(tmp_path, settings, *words) for words in (["pending"], ["deliveries"], ["run"])
    ]
    assert [0, 0, 2] == [ended.status for ended in looks]
    assert "access_key_file" in looks[2].err
