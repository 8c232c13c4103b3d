"""Processes that `forker` starts, with what tests use of `asyncio.subprocess.Process`."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Final

from tests.support import forker
from tests.support.forker import SIZE, Start

ROOT: Final = Path(__file__).parents[2]
_ending: Final = ExitStack()


class Copy:
    """A process of `watcher` that `forker` started."""

    def __init__(
        self, pid: int, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader, status: asyncio.Task[int]
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._status = status

    @property
    def returncode(self) -> int | None:
        """The exit status if it has ended, negative if that was by a signal."""
        return self._status.result() if self._status.done() else None

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kills it."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Waits for the end and returns the exit status."""
        return await asyncio.shield(self._status)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Waits for the end and returns what it wrote."""
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err


async def start_copy(
    directory: Path, environment: Mapping[str, str], arguments: Sequence[str], *, limit: int
) -> Copy:
    """Starts `watcher` with these arguments and nothing but this environment.

    `limit` is the size of the longest line that can be read.
    """
    requests = _requests(environment.get("PYTHONWARNINGS", ""))
    body = json.dumps(Start(arguments, str(directory), environment)._asdict()).encode()
    with ExitStack() as theirs:
        ours, reports = socket.socketpair()
        theirs.enter_context(reports)
        reading, writing = zip(os.pipe(), os.pipe(), strict=True)
        for descriptor in writing:
            theirs.callback(os.close, descriptor)
        socket.send_fds(requests, [SIZE.pack(len(body))], [*writing, reports.fileno()])
        requests.sendall(body)
    reader, writer = await asyncio.open_connection(sock=ours)
    stdout, stderr = [await _read(descriptor, limit) for descriptor in reading]
    pid = int(await reader.readline())
    return Copy(pid, stdout, stderr, asyncio.create_task(_status(reader, writer)))


def end() -> None:
    """Ends the forker of this process, if there is one."""
    _ending.close()
    _requests.cache_clear()


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    try:
        return int(await reader.readline())
    finally:
        writer.close()


async def _read(descriptor: int, limit: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit)
    file = os.fdopen(descriptor, "rb", 0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    return reader


@cache
def _requests(warnings: str) -> socket.socket:
    """Starts the forker of this process and returns where it is asked."""
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", forker.__name__, str(theirs.fileno())]
        environment = {**os.environ, "PYTHONWARNINGS": warnings}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[theirs.fileno()])
    _ending.callback(process.wait)
    _ending.callback(ours.close)
    return ours
