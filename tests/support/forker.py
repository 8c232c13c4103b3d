"""A program that starts `watcher` as a copy of itself, where what `watcher run` imports is imported already.

Imports are nine tenths of the CPU of a start. `python -m tests.support.forker FD` reads from the socket `FD`,
for each process: the size of a `Start`, with the descriptors of standard output, of standard error and of a
socket, and then the `Start` as JSON. To that socket it writes a line with the process id, and a line with the
exit status when the process has ended. When the other end of `FD` closes it kills what still runs and ends.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Final, NamedTuple

IMPORTED: Final = (
    "watcher.bootstrap",
    "watcher.cli.commands",
    "watcher.cli.service",
    "watcher.config.sources",
    "watcher.daemon",
    "watcher.monitoring.metrics",
    "watcher.monitoring.server",
    "watcher.monitoring.status_page",
    "watcher.notifiers.console",
    "watcher.notifiers.slack.notifier",
    "watcher.notifiers.webhook",
    "watcher.store.sqlite",
)
"""With what these import in their turn. A process imports by itself what else it needs."""
SIZE: Final = struct.Struct("I")


class Start(NamedTuple):
    """What is to be started: arguments of `watcher`, its working directory and its whole environment."""

    arguments: Sequence[str]
    directory: str
    environment: Mapping[str, str]


def main(descriptor: int) -> None:
    """Starts what it is asked for; goes on as that in each copy."""
    for module in IMPORTED:
        import_module(module)
    with suppress(ImportError):  # where PostgreSQL's driver is not installed
        import_module("watcher.store.postgresql")
    gc.freeze()
    with socket.socket(fileno=descriptor) as requests:
        start = serve(requests)
    if start is not None:
        become(start)


def serve(requests: socket.socket) -> Start | None:
    """Returns what to become in each copy, and nothing when no more requests come."""
    running: dict[int, socket.socket] = {}
    wakes, wake = socket.socketpair()
    wake.setblocking(False)  # noqa: FBT003 - it takes no keyword
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    with wakes, wake:
        while True:
            ready, _, _ = select.select([requests, wakes], [], [])
            if wakes in ready:
                wakes.recv(2**16)
                report_ended(running)
            if requests not in ready:
                continue
            size, descriptors, _, _ = socket.recv_fds(requests, SIZE.size, 3)
            if not size:
                break
            start = receive(requests, *SIZE.unpack(size))
            *streams, last = descriptors
            reports = socket.socket(fileno=last)
            if not (pid := os.fork()):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (reports, *running.values()):
                    each.close()
                replace_streams(*streams)
                return start
            for stream in streams:
                os.close(stream)
            reports.sendall(b"%d\n" % pid)
            running[pid] = reports
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return None


def replace_streams(out: int, err: int) -> None:
    """Makes these descriptors standard output and standard error."""
    for descriptor, name in ((out, "stdout"), (err, "stderr")):
        stream = getattr(sys, name)
        number = stream.fileno()
        os.dup2(descriptor, number)
        os.close(descriptor)
        fresh = open(  # noqa: SIM115 - of a number, for the rest of the process
            number, "w", encoding=stream.encoding, errors=stream.errors, closefd=False
        )
        fresh.reconfigure(line_buffering=stream.line_buffering)
        setattr(sys, name, fresh)
        setattr(sys, f"__{name}__", fresh)


def receive(requests: socket.socket, size: int) -> Start:
    """Returns the request of this size that comes next."""
    with requests.makefile("rb", buffering=0) as file:
        message = b""
        while len(message) < size:
            message += file.read(size - len(message)) or b""
    return Start(**json.loads(message))


def report_ended(running: dict[int, socket.socket]) -> None:
    """Reports the exit status of each process that has ended, negative if it was a signal."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        with running.pop(pid) as reports:
            reports.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def become(start: Start) -> None:
    """Goes on as if the interpreter had been started as `python -m watcher`."""
    os.chdir(start.directory)
    os.environ.clear()
    os.environ.update(start.environment)
    sys.path[0] = start.directory
    sys.argv = ["watcher", *start.arguments]
    sys.orig_argv = [sys.executable, "-m", *sys.argv]
    runpy.run_module("watcher", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
