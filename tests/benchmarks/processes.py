"""The processes that are measured, and those they talk to."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.faults import Fault
from tests.benchmarks.ledger import Ledger
from tests.support.process import environment

PATIENCE: Final = 300.0
"""Seconds that anything may take before a benchmark gives up."""
MIB: Final = 1024 * 1024
LOG: Final = "watcher.log"
"""What a watcher says, in the directory of the scene."""
BENCH: Final = "bench"
"""The app of all benchmarks that need but one."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core the watcher has to itself, and which all else; None where there are not two."""

    watcher: int | None
    others: int | None


def cores() -> Cores:
    """Returns the cores to use on this machine."""
    usable = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    return Cores(usable[-1], usable[0]) if len(usable) > 1 else Cores(None, None)


def pin(pid: int, core: int | None) -> None:
    """Keeps a process, 0 for this one, and all that it starts from now on, on one core."""
    if core is not None and sys.platform == "linux":
        os.sched_setaffinity(pid, {core})


def free_port() -> int:
    """Returns a port of the loopback interface that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Post:
    """A webhook that was received, and when by the monotonic clock."""

    at: float
    event: dict[str, Any]

    @property
    def run(self) -> str:
        """The id of the run that it is about."""
        return str(self.event["data"]["run"]["id"])


@dataclass(frozen=True, slots=True)
class Report:
    """What the servers saw since they were told to forget, with monotonic times."""

    served: dict[str, float]
    polls: list[tuple[float, str]]
    answers: list[float]
    posts: list[Post]


class Servers:
    """The Runs API and the webhook receiver, in a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = f"http://127.0.0.1:{self._answer()}"

    @property
    def app(self) -> str:
        """The base URL of the app in which runs are published."""
        return f"{self.url}/{BENCH}"

    def publish(self, count: int, *, app: str = BENCH, carried: bool = True, hidden: bool = False) -> None:
        """Lets so many new runs of an app wait.

        Their requests are in the list if `carried`, else only in each run, and nowhere if `hidden`.
        """
        self._do("publish", app=app, count=count, carried=carried, hidden=hidden)

    def ask_again(self, *, app: str, carried: bool) -> None:
        """Lets a run that has waited for a while ask something else."""
        self._do("ask_again", app=app, carried=carried)

    def finish(self, count: int, *, app: str = BENCH, status: str = "completed") -> None:
        """Lets the oldest waiting runs end; `deleted` leaves nothing of them."""
        self._do("finish", app=app, count=count, status=status)

    def misbehave(self, places: Sequence[str], fault: Fault) -> None:
        """Calls whose path begins with one of these places are answered wrongly from now on."""
        self._do("fault", places=places, fault=asdict(fault))

    def behave(self, places: Sequence[str]) -> None:
        """Calls to these places are answered as they should be."""
        self._do("fault", places=places, fault=None)

    def wait(self, what: str, count: int = 1, seconds: float = PATIENCE) -> None:
        """Waits until there were so many `polls` or `posts`.

        Raises:
            TimeoutError: there were not.
        """
        if not self._do("wait", what=what, count=count, seconds=seconds):
            raise TimeoutError(f"fewer than {count} {what} within {seconds:g} s")

    def wait_for_polls(self, more: int) -> None:
        """Waits until so many more polls have begun."""
        self.wait("polls", self._do("count", what="polls") + more)

    def wait_for_silence(self, seconds: float = 2.0) -> None:
        """Waits until no webhook has come for so long."""
        while self._do("wait", what="posts", count=self._do("count", what="posts") + 1, seconds=seconds):
            pass

    def kill_at(self, posts: int, pid: int) -> None:
        """Kills a process at the moment when that webhook arrives."""
        self._do("kill_at", posts=posts, pid=pid)

    def forget(self) -> None:
        """Takes times and counts anew from here on."""
        self._do("forget")

    def report(self) -> Report:
        """Returns what was seen."""
        told = self._do("report")
        return Report(
            told["served"],
            [(at, app) for at, app in told["polls"]],
            told["answers"],
            [Post(at, event) for at, event in told["posts"]],
        )

    def keep_ledger(self) -> None:
        """Keeps book of questions and of what was accepted, and not of posts, from here on."""
        self._do("keep_ledger")

    def ledger(self) -> Ledger:
        """Returns the book, with what waits now."""
        return Ledger.of(self._do("ledger"))

    def _do(self, command: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def servers(core: int | None) -> Iterator[Servers]:
    """Runs the servers on a core."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.servers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    pin(process.pid, core)
    with ended(process):
        yield Servers(process)


class Watched:
    """A process under measurement. Costs are what the kernel counted; memory is what is resident."""

    def __init__(self, process: subprocess.Popen[bytes], started: float) -> None:
        self.process = process
        self.pid = process.pid
        self.started = started

    def cpu(self) -> float:
        """Returns the seconds of CPU that all threads have had so far."""
        return self._schedule(0)

    def held_up(self) -> float:
        """Returns the seconds in which a thread could have run and had no core: how disturbed a figure is."""
        return self._schedule(1)

    def memory(self) -> float:
        """Returns the resident memory in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB

    def descriptors(self) -> int:
        """Returns how many file descriptors are open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def own_memory(self) -> float:
        """Returns the part of it that is no file's, in MiB."""
        return self._number("smaps_rollup", "Anonymous:") / 1024

    def threads(self) -> int:
        """Returns how many threads there are."""
        return self._number("status", "Threads:")

    def _number(self, file: str, label: str) -> int:
        lines = Path(f"/proc/{self.pid}/{file}").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(label))

    def _schedule(self, column: int) -> float:
        nanoseconds = 0
        for task in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
                nanoseconds += int(task.read_text().split()[column])
        return nanoseconds / 1e9


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a watcher with these settings."""
    clean = environment(settings)
    del clean["PYTHONWARNINGS"]  # warnings are what the tests look at; showing them costs time
    return clean


@contextmanager
def watched(
    directory: Path, settings: Mapping[str, str], core: int | None, arguments: Sequence[str] = ("run",)
) -> Iterator[Watched]:
    """Runs `watcher run` on a core; its log goes to a file in the directory."""
    settings = {"WATCHER_HTTP_PORT": str(free_port()), "WATCHER_LOG_FORMAT": "json", **settings}
    with (directory / LOG).open("ab") as log:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "watcher", *arguments],
            cwd=directory,
            env=clean_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    pin(process.pid, core)
    with ended(process):
        yield Watched(process, started)


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Ends a process, kindly at first, when the block does."""
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
