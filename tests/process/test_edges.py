"""Edges of the whole path that once were defects, each with the case that showed it."""

import asyncio
import os
import re
import signal
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.support.api_fakes import KEY, refusal, session_of
from tests.support.builders import corrupt_database, lock_database, open_store
from tests.support.process import WITHIN, environment, run_command, run_watcher
from watcher.config.errors import ConfigError
from watcher.config.sources import load
from watcher.net import open_session
from watcher.runs_api.client import RunsClient
from watcher.runs_api.errors import ConnectionFailed, Unauthorized
from watcher.sanitize.redactor import Redactor
from watcher.sanitize.secrets import Secret
from watcher.store import StoreInUse
from watcher.store.files import DatabaseLock

pytestmark = pytest.mark.anyio

NOWHERE = {"WATCHER_BASE_URL": "http://127.0.0.1:1", "WATCHER_HTTP_PORT": "0"}
"""An app that refuses every connection."""
ENOUGH = 20
"""Polls by which the one that got lost would have been."""


async def test_a_poll_that_is_due_at_once_is_not_lost(tmp_path: Path) -> None:
    """An app is polled on even if its next poll is due before the last one has been put away."""
    polls = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal polls
        await reader.readuntil(b"\r\n\r\n")
        polls += 1
        head = b"HTTP/1.1 503 Busy\r\nRetry-After: 0.000001\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        writer.write(head)
        await writer.drain()
        writer.close()
        if polls == ENOUGH:
            enough.set()

    enough = asyncio.Event()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with (
            run_watcher(tmp_path, {**NOWHERE, "WATCHER_BASE_URL": f"http://127.0.0.1:{port}"}),
            asyncio.timeout(WITHIN),
        ):
            await enough.wait()


async def test_a_signal_right_after_the_start_is_a_clean_end(tmp_path: Path) -> None:
    """Whoever reads that the daemon has started may end it at once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "watcher",
        "run",
        cwd=tmp_path,
        env=environment(NOWHERE),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(WITHIN):
        while b"daemon.started" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert 0 == process.returncode


@pytest.mark.parametrize("base_url", ["http://xn--a.example", "http://a\udcff.example"])
async def test_a_host_name_that_is_none(base_url: str) -> None:
    """A name that the rules for international names refuse is a failed call, not the end of the daemon."""
    async with open_session(timeout=5) as session:
        with pytest.raises(ConnectionFailed):
            await RunsClient(base_url, None, session=session, timeout=5).run("r1")


async def test_a_key_at_the_cut_of_a_message() -> None:
    """Where a long message of the API is cut, no half of an echoed key is left."""

    def answer(_: httpx.Request) -> httpx.Response:
        return refusal(401, code="unauthorized", message="x" * 450 + KEY)

    client = RunsClient(
        "http://app.test",
        Secret("apps.support.access_key", Redactor(), value=KEY),
        session=session_of(answer),
        timeout=5,
    )
    with pytest.raises(Unauthorized) as caught:
        await client.run("r1")
    assert "x" * 450 + "[redacted]" == caught.value.message


def test_a_database_by_another_name_is_the_same(tmp_path: Path) -> None:
    """A second daemon is refused also where it reaches the database through a link."""
    database, alias = tmp_path / "watcher.db", tmp_path / "alias.db"
    alias.symlink_to(database)
    lock = DatabaseLock(database)
    with pytest.raises(StoreInUse, match=str(os.getpid())):
        DatabaseLock(alias)
    lock.release()


@pytest.mark.parametrize("arguments", [("pending",), ("deliveries",), ("retry", "--all-dead"), ("check",)])
async def test_a_damaged_database_is_said_without_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Damage that shows only when tables are read ends a command with one line, too."""
    async with open_store(tmp_path / "watcher.db"):
        pass
    corrupt_database(tmp_path / "watcher.db")
    ended = await run_command(tmp_path, NOWHERE, *arguments)
    assert ended.status in {1, 2}
    assert re.search("malformed|damaged", ended.out + ended.err)
    assert "Traceback" not in ended.err


async def test_retry_while_the_database_is_locked(tmp_path: Path) -> None:
    """A database that another process keeps locked is said in one line."""
    async with open_store(tmp_path / "watcher.db"):
        pass
    with closing(lock_database(tmp_path / "watcher.db")):
        ended = await run_command(tmp_path, NOWHERE, "retry", "--all-dead")
    assert (2, ["watcher: database: watcher.db: database is locked"]) == (
        ended.status,
        ended.err.splitlines(),
    )


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WATCHER_DATABASE": "."}, "WATCHER_DATABASE"),
        ({"WATCHER_USER_ID": "a\udcff"}, "WATCHER_USER_ID"),
        ({"WATCHER_LINK_TEMPLATE": "https://x/\udcff"}, "WATCHER_LINK_TEMPLATE"),
        ({"WATCHER_ACCESS_KEY_FILE": "/"}, "WATCHER_ACCESS_KEY_FILE"),
    ],
)
def test_variables_that_cannot_be_used(tmp_path: Path, variables: dict[str, str], named: str) -> None:
    """A path that is none, and bytes that are no text, are problems that name their variable."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ={**NOWHERE, **variables}, directory=tmp_path)
    assert [True] == [named in problem for problem in caught.value.problems]


def test_a_notifier_named_like_another_with_file(tmp_path: Path) -> None:
    """A variable for a notifier leaves alone one in the file that merely has `_file` after its name."""
    (tmp_path / "config.toml").write_text('[notifiers.audit_file]\ntype = "console"\n')
    config = load(None, environ={**NOWHERE, "WATCHER_NOTIFIERS__AUDIT__TYPE": "console"}, directory=tmp_path)
    assert {"audit", "audit_file"} == {notifier.name for notifier in config.notifiers}
