"""The real `watcher` as a process of its own, watched through its logs."""

import asyncio
import json
import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.copies import Copy, start_copy

WITHIN = 45.0
"""Seconds that anything may take before a test gives up; a bound, not an expectation."""
OURS: Final = ("WATCHER_", "DYNAMIQ_")
READ_LATE: Final = (*OURS, "HOME", "HTTP_PROXY", "NETRC", "NO_PROXY")
"""Beginnings of variables that no import reads, nor the interpreter when it starts."""
LONGEST_LINE: Final = 2**24


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    status: int
    out: str
    err: str


class Process:
    """A running `watcher`, whose standard error is read as JSON log lines."""

    def __init__(self, process: asyncio.subprocess.Process | Copy) -> None:
        self._process = process
        self.lines: list[str] = []
        self.out = ""
        self._records: list[dict[str, Any]] = []
        self._news = asyncio.Condition()
        self._readers = [asyncio.create_task(self._read_logs()), asyncio.create_task(self._read_out())]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def memory_peak(self) -> int:
        """Returns the most bytes that it has had in memory so far."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    def logged(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Returns the log records of an event so far in which these fields have these values."""
        return [
            record
            for record in self._records
            if record["event"] == event and fields.items() <= record.items()
        ]

    async def wait_for_log(
        self, event: str, *, count: int = 1, within: float = WITHIN, **fields: Any
    ) -> list[dict[str, Any]]:
        """Waits until an event was logged so many times and returns those records."""
        async with asyncio.timeout(within), self._news:
            await self._news.wait_for(lambda: len(self.logged(event, **fields)) >= count)
        return self.logged(event, **fields)

    async def printed(self, text: str) -> None:
        """Waits until a text stands in its standard output."""
        async with asyncio.timeout(WITHIN), self._news:
            await self._news.wait_for(lambda: text in self.out)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit status."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self.wait()

    async def wait(self) -> int:
        """Waits for the end and returns the exit status."""
        async with asyncio.timeout(WITHIN):
            status = await self._process.wait()
            await asyncio.gather(*self._readers)
        return status

    async def _read_logs(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            async with self._news:
                self.lines.append(line.decode())
                if line.startswith(b"{"):
                    self._records.append(json.loads(line))
                self._news.notify_all()

    async def _read_out(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            async with self._news:
                self.out += line.decode()
                self._news.notify_all()


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Returns this process's environment with no settings of a watcher but these.

    Compiled modules are kept even where the environment forbids it: they halve the CPU time of every start.
    """
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(OURS)
        and not name.lower().endswith("_proxy")
        and name != "PYTHONDONTWRITEBYTECODE"
    }
    return {**clean, "PYTHONWARNINGS": "default", **settings}


@asynccontextmanager
async def run_watcher(
    directory: Path, settings: Mapping[str, str], *arguments: str, imported: bool = True
) -> AsyncIterator[Process]:
    """Runs `watcher run`, or another command that goes on, and ends it in the end.

    See `start` for `imported`.
    """
    process = Process(await start(directory, settings, *(arguments or ("run",)), imported=imported))
    try:
        yield process
    finally:
        await process.stop(signal.SIGKILL)


async def run_command(directory: Path, settings: Mapping[str, str], *arguments: str) -> Finished:
    """Runs one command of `watcher` to its end."""
    started = await start(directory, settings, *arguments)
    try:
        async with asyncio.timeout(WITHIN):
            out, err = await started.communicate()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()
    assert started.returncode is not None
    return Finished(started.returncode, out.decode(), err.decode())


async def start(
    directory: Path, settings: Mapping[str, str], *arguments: str, imported: bool = True
) -> asyncio.subprocess.Process | Copy:
    """Starts `watcher` with these arguments and settings.

    Where the modules may be `imported` it is a copy of a process that did so, unless a variable may matter to
    imports or to the interpreter.
    """
    if imported and all(name.startswith(READ_LATE) for name in settings):
        return await start_copy(directory, environment(settings), arguments, limit=LONGEST_LINE)
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "watcher",
        *arguments,
        cwd=directory,
        env=environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
    )


def read_until(descriptor: int, last: bytes) -> list[bytes]:
    """Reads lines up to one with these bytes in it."""
    data = b""
    while last not in data or not data.endswith(b"\n"):
        assert select.select([descriptor], [], [], WITHIN)[0], "nothing more comes"
        data += os.read(descriptor, 2**16)
    return data.splitlines()
