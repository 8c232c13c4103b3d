"""The store when its process dies, and when a second process wants it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.builders import (
    BOUND,
    NOW,
    claim,
    open_store,
    outbox,
    pending,
    record_new,
    take_database,
)
from watcher.store import StoreInUse
from watcher.store.files import find_lock_holder

pytestmark = pytest.mark.anyio

OTHER_PROCESS = f"""
import asyncio, os, sys
from pathlib import Path
from tests.support.builders import BOTH, make_new_request, APP
from watcher.store import Store
from watcher.store.sqlite import SqliteDatabase

async def main():
    store = Store(SqliteDatabase(Path(sys.argv[1])).open(), {{new_id}})
    {{then}}

async def record(store):
    await store.record_changes(APP, BOTH, new=[make_new_request()], now={NOW})

asyncio.run(main())
"""


def start_process(path: Path, then: str, make_id: str = "lambda now: 'evt_other'") -> subprocess.Popen[str]:
    """Starts a process that opens the store, and then does something with it."""
    program = OTHER_PROCESS.format(new_id=make_id, then=then)
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@contextmanager
def holding_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A second process holds the database until it is killed."""
    with start_process(path, "print('ready', flush=True); sys.stdin.read()") as process:
        assert process.stdout is not None
        assert "ready" == process.stdout.readline().strip()
        try:
            yield process
        finally:
            process.kill()


async def test_a_crash_between_request_and_delivery_leaves_neither(path: Path) -> None:
    """A process that dies after the request was written and before its delivery left nothing behind."""
    with start_process(path, "await record(store)", make_id="lambda now: os._exit(9)") as process:
        assert 9 == process.wait(BOUND)
    async with open_store(path) as store:
        assert ([], []) == (pending(path), outbox(path))
        await record_new(store)
        assert 1 == len(pending(path))


async def test_a_crash_after_the_recording_loses_nothing(path: Path) -> None:
    """What a unit of work returned from is there, though the process died without closing anything."""
    with start_process(path, "await record(store); os._exit(9)") as process:
        assert 9 == process.wait(BOUND)
    async with open_store(path) as store:
        assert 1 == len(pending(path))
        assert ["evt_other"] == [delivery.event.id for delivery in await claim(store, "webhook")]


async def test_a_second_daemon_is_refused_and_told_who_has_it(path: Path) -> None:
    """The second is told process id and host of the first; when that is killed the database is free."""
    with holding_process(path) as process:
        assert process.pid == find_lock_holder(path)
        with pytest.raises(StoreInUse, match=rf"in use by process {process.pid} on {os.uname().nodename}$"):
            take_database(path)
        process.send_signal(signal.SIGKILL)
        process.wait(BOUND)
        assert None is find_lock_holder(path)  # though the file still names it
        async with open_store(path) as store:
            await record_new(store)
    assert 1 == len(pending(path))
